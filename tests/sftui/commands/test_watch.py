"""The report at the end of a run: written in front of a person, and never in anybody's way."""

import json
import signal
import subprocess
import sys
import time

import pytest

from engine.events import RunFinished
from engine.run.run_dir import RunDir
from sftui import cli
from sftui.commands import plain, watch
from sftui.compare import baseline
from sftui.diagnostics import ExitCode
from sftui.sources.tail import RunLiveness, TailSource
from sftui.state.run_state import RunState
from tests.faults.terminal import Terminal
from tests.processes import children, environment
from tests.sftui.report.test_report import END, RUN, make


@pytest.fixture
def terminal(monkeypatch):
    """Somebody is there."""
    monkeypatch.setattr(watch, "somebody_reads", lambda: True)


def test_a_run_that_ends_leaves_its_report(tmp_path, monkeypatch, terminal, capsys):
    """In its own folder, by a process of its own."""
    run = make(tmp_path, *RUN, *END)
    monkeypatch.setattr(watch, "REPORT_SECONDS", 60.0)
    watch.write_report(run)
    assert run.report.read_text().startswith("# Report: ")
    assert str(run.report) in capsys.readouterr().err
    # From the folder above: as it can be typed there.
    monkeypatch.chdir(run.path.parent)
    watch.write_report(run)
    said = capsys.readouterr().err
    assert f"report in {run.id}/report.md" in said
    assert str(run.path) not in said


def test_the_report_compares_with_what_the_screen_compared_with(
    tmp_path, monkeypatch, terminal, capsys
):
    """`--baseline` of the run is that of its report."""
    run = make(tmp_path, *RUN, *END)
    base = tmp_path / "base.toml"
    base.write_text('MMLU = "480/1000"\n')
    monkeypatch.setattr(watch, "REPORT_SECONDS", 60.0)
    watch.write_report(run, baseline.load(str(base)))
    text = run.report.read_text()
    assert "Baseline: `base.toml`." in text
    assert "48.00 %" in text
    earlier = make(tmp_path, *RUN, *END, name="earlier")
    found = baseline.load(earlier.id, tmp_path / "runs")
    watch.write_report(run, found)
    assert f"Baseline: `{earlier.id}`." in run.report.read_text()
    assert f"--baseline {earlier.id}" in run.report.read_text()


def test_the_baseline_of_the_command_reaches_the_report(tmp_path, monkeypatch):
    """From the flag to the end of the run, on plain lines."""
    run = make(tmp_path, *RUN, *END)
    base = tmp_path / "base.toml"
    base.write_text("MMLU = 48.0\n")
    written = []
    monkeypatch.setattr(watch, "write_report", lambda run, found: written.append((run.id, found)))
    words = ["attach", run.id, "--runs-dir", str(tmp_path / "runs"), "--baseline", str(base)]
    # Of a run that was over before anybody looked, nothing is written.
    assert cli.main([*words, "--headless"]) == 0
    assert written == []
    alive, first = RunLiveness.alive, [True]
    monkeypatch.setattr(
        RunLiveness, "alive", lambda self: (first.pop(), "") if first else alive(self)
    )
    assert cli.main([*words, "--headless"]) == 0
    [(name, found)] = written
    assert name == run.id
    assert found.flags[:2] == ("--baseline", str(base))


def test_nobody_there_nothing_written(tmp_path, monkeypatch):
    """A pipe or a script asks for it when it wants it."""
    run = make(tmp_path, *RUN, *END)
    monkeypatch.setattr(watch, "somebody_reads", lambda: False)
    watch.write_report(run)
    assert not run.report.exists()


def test_a_report_that_fails_is_no_failure_of_the_run(tmp_path, monkeypatch, terminal, capsys):
    """Neither without processes nor with a run that cannot be read."""
    run = make(tmp_path, *RUN, *END)

    def none(*_args, **_kwargs):
        raise OSError(11, "no more processes")

    with monkeypatch.context() as context:
        context.setattr(subprocess, "Popen", none)
        watch.write_report(run)
    assert "no more processes" in capsys.readouterr().err
    run.manifest.unlink()
    monkeypatch.setattr(watch, "REPORT_SECONDS", 60.0)
    watch.write_report(run)
    assert "says why" in capsys.readouterr().err


def test_a_slow_report_does_not_hold_up_the_end(tmp_path, monkeypatch, terminal, capsys):
    """The command ends; the report comes after it."""
    run = make(tmp_path, *RUN, *END)
    started = []
    real = subprocess.Popen

    def slow(_command, **kwargs):
        started.append(
            real([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        )
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", slow)
    monkeypatch.setattr(watch, "REPORT_SECONDS", 0.1)
    begun = time.monotonic()
    watch.write_report(run)
    assert time.monotonic() - begun < 5
    assert "being written" in capsys.readouterr().err
    started[0].communicate(b"", timeout=30)


def test_a_run_that_is_over_says_what_may_be_typed_next(tmp_path, terminal, capsys):
    """To it, about it, and beside the run before where there is one; nothing to no person."""
    first = make(tmp_path, *RUN, *END, name="first")
    source = TailSource(first)
    state = RunState()
    for event in source.poll(100_000, 10.0):
        state.apply(event)
    source.close()
    watch._closing(first, state, None, lived=False)
    said = capsys.readouterr().err
    assert f"sftui attach {first.id}" in said
    assert f"sftui report {first.id}" in said
    assert ("sftui chat" in said) == any(not c.exported for c in state.checkpoints.values())
    second = make(tmp_path, *RUN, *END, name="second")
    watch._closing(second, state, None, lived=False)
    newer, older = max(first.id, second.id), min(first.id, second.id)
    watch._closing(RunDir(first.path.parent / newer), state, None, lived=False)
    assert f"sftui compare {older} {newer}" in capsys.readouterr().err
    # Of another model or other data: their losses say nothing of each other.
    other = make(tmp_path, *RUN, *END, name="third")
    other.manifest.write_text(json.dumps({"trainer": "foreign", "command": ["x.py"]}))
    later = RunDir(other.path.parent / f"9{other.id}")
    other.path.rename(later.path)
    watch._closing(later, state, None, lived=False)
    said = capsys.readouterr().err
    assert "sftui compare" not in said
    assert f"sftui report {later.id}" in said


def test_a_script_is_told_no_next_commands(tmp_path, monkeypatch, capsys):
    """They are for a person at a terminal."""
    monkeypatch.setattr(watch, "somebody_reads", lambda: False)
    run = make(tmp_path, *RUN, *END)
    watch._closing(run, RunState(), None, lived=False)
    assert "look again" not in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_replay_that_a_signal_ends_exits_with_it(tmp_path, number):
    """That of a log with an end exited with 0, as if the person had left."""
    run = make(tmp_path, *RUN, *END)
    env = environment(SFTUI_CONFIG=str(tmp_path / "config.json"))
    with children() as started:
        screen = Terminal(started, "-m", "sftui", "replay", str(run.path), env=env)
        try:
            screen.wait_for("finished")
            screen.process.send_signal(number)
            assert screen.wait() == 128 + number
            assert screen.cooked()
        finally:
            screen.close()


@pytest.mark.parametrize(("left", "code"), [(True, 130), (False, 0)])
def test_lines_of_a_replay_that_ctrl_c_ends_exit_with_it(tmp_path, monkeypatch, left, code):
    """As those of a run do."""
    run = make(tmp_path, *RUN, *END)
    monkeypatch.setattr(plain, "watch", lambda *_, **__: (RunState(), left))
    assert cli.main(["replay", str(run.path), "--headless"]) == code


def test_a_signal_has_an_exit_code():
    """Also one that has no name of its own."""
    assert ExitCode(128 + signal.SIGUSR1) == 138
    assert ExitCode(143) is ExitCode.TERMINATED
    for number in (3, 128, 1000):
        with pytest.raises(ValueError, match="ExitCode"):
            ExitCode(number)


@pytest.mark.parametrize("status", ["finished", "stopped", "failed"])
def test_nothing_is_written_into_what_took_the_name_of_a_run(
    tmp_path, monkeypatch, terminal, capsys, status
):
    """The report went into the other run's folder, and the lines told how to go on with that."""
    run = make(tmp_path, *RUN, *END)
    held = watch._held(run)
    state = RunState()
    state.badge, state.end = status, RunFinished(status=status)
    elsewhere = tmp_path / "elsewhere"
    run.path.rename(elsewhere)
    run.path.mkdir()
    run.manifest.write_text("{}")
    monkeypatch.setattr(watch, "REPORT_SECONDS", 60.0)
    watch._closing(run, state, None, held=held)
    said = capsys.readouterr().err
    assert f"sftui run --resume {elsewhere}" in said
    assert "report" not in said
    assert [path.name for path in run.path.iterdir()] == ["run.json"]
