"""The keeper of another's command: its session, its restarts, its end, and what it prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.control import Command, Request
from engine.events import (
    ControlApplied,
    Event,
    LogLine,
    RankLost,
    RunFinished,
    RunStarted,
    StepFinished,
)
from engine.journal.event_files import scan
from engine.processes import keeper as keeper_module
from engine.run import foreign, lock
from engine.run.run_dir import RunDir
from engine.steering import inbox

STEPS = """
import sys, time
for step in range(1, {count}):
    print(f"step {{step}} | loss {{5 - step / 100:.4f}} | lr 1e-3", flush=True)
    time.sleep({seconds})
"""


def make(tmp_path: Path, script: str, *, python: list[str] | None = None, **more: Any) -> RunDir:
    """A run of `script`, not started yet."""
    path = tmp_path / "script.py"
    path.write_text(script)
    return foreign.create(
        tmp_path / "runs",
        "script",
        command=[sys.executable, *(python or []), str(path)],
        cwd=tmp_path,
        now=datetime.now(),
        max_restarts=int(more.pop("max_restarts", 3)),
        kept=True,
        more=more,
    )


def start(run: RunDir, **environment: str) -> subprocess.Popen[bytes]:
    """The keeper, as the launcher starts it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "sftui.commands.keep", str(run.path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=kept | environment,
    )


def keep(run: RunDir, **environment: str) -> int:
    """Start the keeper and wait for its end."""
    process = start(run, **environment)
    process.communicate(timeout=60)
    return process.returncode


def told(run: RunDir, *kinds: type[Event]) -> list[Any]:
    """Events of both journals, rank 0's first."""
    return [*scan(run.events, *kinds), *scan(run.supervisor_events, *kinds)]


def until(
    condition: Any, seconds: float = 30.0, keeper: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait until it holds; once `keeper` has ended it never will."""
    end = time.monotonic() + seconds
    while True:
        ended = keeper is not None and keeper.poll() is not None
        if condition():
            return
        assert not ended, "the keeper ended before it came to be"
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)


def ask(run: RunDir, request_id: str, command: Command) -> ControlApplied:
    """Ask, and wait for the answer."""
    inbox.post(run, Request(id=request_id, command=command, author="test", t=time.time()))

    def answers() -> list[ControlApplied]:
        return [e for e in told(run, ControlApplied) if e.id == request_id]

    until(lambda: bool(answers()))
    (found,) = answers()
    return found


def left_over(run: RunDir) -> list[int]:
    """Processes of the run's command that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(foreign.RUN_DIR_VARIABLE) == str(run.path):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_what_a_script_prints_is_its_run(tmp_path: Path) -> None:
    run = make(tmp_path, STEPS.format(count=41, seconds=0))
    assert keep(run) == 0
    steps = {e.step: e.loss for e in told(run, StepFinished)}
    assert steps == {step: pytest.approx(5 - step / 100) for step in range(1, 41)}
    (end,) = told(run, RunFinished)
    assert (end.status, end.reason) == ("finished", "the command ended (exit code 0)")
    (start_event,) = told(run, RunStarted)
    assert start_event.name == "script"
    assert set(start_event.unavailable) == {"pause", "resume", "eval", "checkpoint", "lr"}
    assert lock.evidence(run) == (False, f"the keeper (pid {lock.last_holder(run).pid}) is gone")


def test_a_script_that_attaches_nothing_can_only_be_stopped(tmp_path: Path) -> None:
    run = make(tmp_path, STEPS.format(count=2000, seconds=0.05), attach=False)
    process = start(run)
    until(lambda: bool(told(run, StepFinished)))
    assert lock.evidence(run)[1].startswith("the keeper (pid ")
    refused = ask(run, "pause", Command.PAUSE)
    assert refused.outcome == "rejected"
    assert refused.reason.endswith("told so by --no-attach")
    assert ask(run, "stop", Command.STOP).outcome == "applied"
    process.communicate(timeout=60)
    assert process.returncode == 0
    (end,) = told(run, RunFinished)
    assert (end.status, end.reason) == ("stopped", "stop asked for by test")
    assert not left_over(run)


def test_sigterm_to_the_keeper_stops_a_script_that_says_nothing(tmp_path: Path) -> None:
    run = make(tmp_path, "import time\nprint('quiet', flush=True)\ntime.sleep(600)\n")
    process = start(run)
    until(lambda: bool(left_over(run)))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    (end,) = told(run, RunFinished)
    assert end.status == "stopped"
    assert not left_over(run)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    stubborn = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(600)\n"
    run = make(tmp_path, stubborn)
    process = start(run)
    until(lambda: bool(left_over(run)))
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert time.monotonic() - began < keeper_module.GRACE_SECONDS / 2
    assert not left_over(run)


def test_a_crash_is_started_again_and_the_end_is_told(tmp_path: Path) -> None:
    script = STEPS.format(count=30, seconds=0) + (
        "from pathlib import Path\n"
        "import os\n"
        "count = Path('count'); n = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(n))\n"
        "assert os.environ['SFTUI_ATTEMPT'] == str(n)\n"
        "if n < 3: raise RuntimeError(f'planted {n}')\n"
    )
    run = make(tmp_path, script)
    assert keep(run) == 0
    lost = [e.reason for e in told(run, RankLost)]
    assert lost == [
        f"the command ended with exit code 1: RuntimeError: planted {n}" for n in (1, 2)
    ]
    assert {e.stamp.att for e in told(run, StepFinished)} == {1, 2, 3}
    assert sorted(path.name for path in run.logs.glob("attempt-*")) == [
        "attempt-1",
        "attempt-2",
        "attempt-3",
    ]


ORPHAN = """
import os, signal, subprocess, sys, time
from pathlib import Path
if os.environ["SFTUI_ATTEMPT"] == "1":
    rank = (
        "import signal, time; from pathlib import Path\\n"
        "signal.signal(signal.SIGTERM, lambda *_: Path('asked').touch())\\n"
        "Path('ready').touch()\\n"
        "time.sleep(600)"
    )
    subprocess.Popen([sys.executable, "-c", rank], start_new_session=True)
    while not Path("ready").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_ranks_of_a_killed_launcher_are_not_asked_to_stop(tmp_path: Path) -> None:
    """They would write the end of a run that goes on, and the next attempt a run of its own."""
    run = make(tmp_path, ORPHAN)
    assert keep(run) == 0
    assert len(told(run, RankLost)) == 1
    assert not (tmp_path / "asked").exists()
    assert not left_over(run)


@pytest.mark.parametrize("most", [0, 1])
def test_it_gives_up_after_the_restarts_it_was_given(tmp_path: Path, most: int) -> None:
    script = STEPS.format(count=30, seconds=0) + "raise ValueError('always')\n"
    run = make(tmp_path, script, max_restarts=most)
    assert keep(run) == 1
    assert len(told(run, RankLost)) == most + 1
    (end,) = told(run, RunFinished)
    assert end.status == "failed"
    assert "ValueError: always" in end.reason
    assert f"logs/attempt-{most + 1}/rank-0" in end.reason


def test_a_script_that_dies_before_it_trains_is_not_started_over_and_over(tmp_path: Path) -> None:
    run = make(tmp_path, "import no_such_module_of_theirs\n")
    assert keep(run) == 1
    (end,) = told(run, RunFinished)
    assert "twice before it trained" in end.reason
    assert "ModuleNotFoundError" in end.reason


def test_a_killed_keeper_leaves_the_script_running_and_the_lock_free(tmp_path: Path) -> None:
    run = make(tmp_path, STEPS.format(count=2000, seconds=0.05))
    process = start(run)
    until(lambda: bool(left_over(run)))
    process.kill()
    process.communicate(timeout=30)
    (pid,) = left_over(run)
    try:
        lock.RunLock.acquire(run).release()
        assert psutil.pid_exists(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_sitecustomize_that_was_there_before_still_runs(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("import builtins\nbuiltins.theirs = 'still here'\n")
    script = (
        "import os, subprocess, sys\n"
        "print('own', theirs, flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'print(\"child\", theirs)'], check=True)\n"
    )
    run = make(tmp_path, script)
    assert keep(run, PYTHONPATH=os.pathsep.join([str(theirs), str(Path.cwd())])) == 0
    printed = (run.rank_log(1, 0) / "stdout.log").read_text()
    assert printed.splitlines() == ["own still here", "child still here"]


def test_an_isolated_python_is_followed_by_its_log(tmp_path: Path) -> None:
    run = make(tmp_path, STEPS.format(count=30, seconds=0), python=["-I"])
    assert keep(run) == 0
    assert len(told(run, StepFinished)) == 29


def test_a_command_that_is_not_there_fails_in_words(tmp_path: Path) -> None:
    run = make(tmp_path, "")
    manifest = run.read_manifest() | {"command": ["/nowhere/python", "x.py"]}
    import json

    run.manifest.write_text(json.dumps(manifest))
    assert keep(run) == 1
    (end,) = told(run, RunFinished)
    assert "could not be started: No such file or directory: /nowhere/python" in end.reason


def test_its_words_are_in_its_own_journal(tmp_path: Path) -> None:
    run = make(tmp_path, "print('nothing of use')\n")
    assert keep(run) == 0
    lines = [e.text for e in told(run, LogLine)]
    assert any(line.startswith("started ") and "script.py" in line for line in lines)


def test_a_folder_that_takes_the_runs_place_is_not_written_to(tmp_path: Path) -> None:
    """Its words and the end of the run are where the run's own folder is now."""
    run = make(
        tmp_path,
        "import os, pathlib\n"
        f"run = pathlib.Path(os.environ[{foreign.RUN_DIR_VARIABLE!r}])\n"
        "run.rename(run.with_name('elsewhere'))\n"
        "run.mkdir()\n",
    )
    assert keep(run) == 0
    assert list(run.path.iterdir()) == []
    (end,) = told(RunDir(run.path.with_name("elsewhere")), RunFinished)
    assert end.status == "finished"
