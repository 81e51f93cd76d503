"""What reaches a terminal, a report or JSON is cleaned at one door each; errors are one line."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoints import checkpoint_dir
from engine.control import Command, Request
from engine.events import AttemptStarted, ControlApplied, StepFinished
from engine.run.run_dir import RunDir
from engine.steering import inbox
from sftui.checkpoints.checkpoint_list import CheckpointList
from tests.conftest import SHARED, needs_shared
from tests.faults.place import Place, end_of, told
from tests.faults.terminal import Terminal
from tests.faults.test_bounds import bomb
from tests.faults.test_strangers import Desk, desk, said, tree
from tests.processes import children, wait_for

__all__ = ["desk"]

INJECTED = "<img src=x onerror=alert(1)> [x](javascript:alert(1))\x1b]52;c;aGk=\x07\n# no heading"


def log_of(folder: Path, **started: object) -> Path:
    """A run of three updates whose first event says `started`."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    data = {"name": "r", "num_iterations": 4, **started}
    lines = [{"type": "run_started", "seq": 1, "d": data}]
    lines += [
        {"type": "step_finished", "seq": 2 + step, "step": step, "d": {"loss": 2.0 - step}}
        for step in range(3)
    ]
    text = "".join(json.dumps({"v": 1, "src": "r0", "t": 1.0, **line}) + "\n" for line in lines)
    (folder / "events.jsonl").write_text(text)
    return folder


def test_a_log_writes_no_markup_into_a_report(desk: Desk) -> None:
    """The device came into the column of what a setting came to as it stood."""
    run = log_of(desk.folder / "injected", device=INJECTED, settings={"device_type": ""})
    said(desk.type("report", str(run), "-o", "r.md"))
    text = (desk.folder / "r.md").read_text()
    assert "onerror" in text
    assert not re.search(r"(?<!\\)<img|(?<!\\)\]\(javascript|\x1b|\n# no heading", text)


@pytest.mark.parametrize("command", ["show", "compare"])
def test_json_is_strict_whatever_a_setting_is(desk: Desk, command: str) -> None:
    """NaN in a setting of somebody's log was a traceback."""
    log = desk.folder / "trainer_state.json"
    entries = [{"step": 1, "loss": 10**400, "grad_norm": 1.0}, {"step": 2, "loss": 0.5}]
    state = {"log_history": entries, "max_steps": 2, "num_train_epochs": float("nan")}
    log.write_text(json.dumps(state))
    words = (command, *([str(log)] * (2 if command == "compare" else 1)), "--json")
    done = desk.type(*words)
    said(done)

    strict(done.stdout)


def strict(text: str) -> Any:
    """The value of JSON in which no word stands that JSON has not."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("show", LONG),
        ("attach", "--headless", LONG),
        ("ctl", LONG, "stop"),
        ("replay", "--headless", LONG),
        ("report", LONG),
        ("questions", LONG),
        ("runs", "--runs-dir", LONG),
        ("run", "--dry-run", "--headless", "--resume", LONG),
        ("run", "--dry-run", "--headless", "--config", LONG),
        ("run", "--dry-run", "--headless", "--data-dir", "~nobody-of-this-name/x"),
        ("export", LONG, "-o", "~nobody-of-this-name/x"),
        ("chat", LONG, "--prompt", "hi"),
    ],
)
def test_what_the_system_refuses_is_one_line(desk: Desk, words: tuple[str, ...]) -> None:
    """A name longer than a file system takes, a home that nobody has."""
    done = desk.type(*words)
    assert len(said(done).splitlines()) == 1
    assert done.returncode in (0, 2) if words[0] == "runs" else done.returncode == 2


def test_a_full_disk_behind_stdout_and_a_deleted_folder_are_one_line(desk: Desk) -> None:
    """`sftui runs > /dev/full`; a working folder that went away."""
    command = [sys.executable, "-m", "sftui", "runs"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=-1, text=True, env=desk.env)
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    gone = desk.folder / "gone"
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    gone.mkdir()
    env = {name: value for name, value in desk.env.items() if name != "SFTUI_RUNS"}
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(gone), *command], capture_output=True, text=True, env=env
    )
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, f"matrix_lr = {10**400}", "a = \x00"])
def test_settings_that_toml_cannot_hold_are_one_line(desk: Desk, text: str) -> None:
    """5,000 brackets, 400 digits."""
    (desk.folder / "settings.toml").write_text(text)
    done = desk.type("run", "--dry-run", "--headless", "--config", "settings.toml")
    assert len(said(done).splitlines()) == 1
    assert done.returncode == 2


def test_another_runs_checkpoints_are_neither_listed_nor_deleted(desk: Desk) -> None:
    """`ckpt` is a link to them: `d` in the browser deleted there."""
    innocent, shelf = desk.copy("innocent"), desk.copy("shelf")
    shutil.rmtree(shelf / "ckpt")
    [first, *_] = checkpoint_dir.list_checkpoints(RunDir(innocent))
    before = tree(innocent)
    (shelf / "ckpt").symlink_to(innocent / "ckpt")
    assert checkpoint_dir.list_checkpoints(RunDir(shelf)) == []
    assert CheckpointList(RunDir(shelf)).run is not None
    with pytest.raises(OSError, match="link"):
        checkpoint_dir.remove(shelf / "ckpt" / first.path.name)
    assert checkpoint_dir.remove_partials(RunDir(shelf)) == []
    assert tree(innocent) == before


# ---- the inputs of the reference folder, each as its table says ---------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """What its `make.py` makes from a run that was stopped, with an export."""
    desk = Desk(tmp_path_factory.mktemp("cases"))
    [weights] = desk.folder.glob("cache/mid_checkpoints/*")
    shutil.copytree(weights, desk.stopped / "export" / "chatsft_checkpoints" / "d4")
    # Its bombs of 8 GB take minutes to pack; the same are made below, at once.
    results = [path for path in desk.stopped.glob("evals/*.npz") if ".val." not in path.name]
    kept = {path.name: path.read_bytes() for path in results}
    for path in results:
        path.unlink()
    (desk.stopped / "logs").mkdir(exist_ok=True)
    (desk.stopped / "logs" / "supervisor.log").touch()
    # It imports the tokenizer by the name that the module had when it was written.
    program = (
        "import runpy, sys, engine.conversations.tokenizer as found; "
        "sys.modules['engine.tokenizer'] = found; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = [str(SHARED / "cases_faults" / "make.py"), str(desk.folder / "out"), str(desk.stopped)]
    subprocess.run([sys.executable, "-c", program, *words], env=desk.env, check=True)
    [bombed] = (desk.folder / "out" / "npz").iterdir()
    for name, data in kept.items():
        path = bombed / "evals" / name
        path.write_bytes(data)
        bomb(path, "letter_logprobs.npy", 478 * 16)
    return desk


@needs_shared
def test_every_row_of_the_reference_folder_is_tried_here() -> None:
    """Its page may get more rows: each names an input, and each input stands in this file."""
    page = (SHARED / "cases_faults" / "README.md").read_text()
    first = re.findall(r"^\| ([^|]*`[^|]*) \|", page, re.MULTILINE)
    inputs = [name for cell in first for name in re.findall(r"`([^`]+)`", cell)]
    here = Path(__file__).read_text()
    tried = {name: name.rstrip("/*").rpartition("/")[2].rpartition("...")[2] for name in inputs}
    assert len(tried) >= 20
    assert {name for name, word in tried.items() if word.lstrip("-") not in here} == set()


MOST_BYTES = 10**9
"""Of memory that a command may take over one of the inputs."""


def case(desk: Desk, *words: str, rows: int | None = None) -> subprocess.CompletedProcess[str]:
    """What a command says of an input: a limit of memory, no traceback, so many rows."""
    with tempfile.NamedTemporaryFile() as report:
        done = desk.type(*words, seconds=30, report=Path(report.name))
        assert int(report.read()) < MOST_BYTES
    text = said(done)
    if rows is not None:
        assert len(text.splitlines()) == rows + 1, text
    return done


@needs_shared
def test_the_small_inputs_of_the_reference_folder_do_nothing(made: Desk) -> None:
    """Events, injections, foreign logs, settings."""
    here = SHARED / "cases_faults"
    case(made, "runs", "--runs-dir", str(here / "runs_one_bad"), rows=2)
    case(made, "runs", "--runs-dir", str(here / "bad_events"), rows=4)
    for run in sorted((here / "bad_events").iterdir()):
        shot = json.loads(case(made, "show", str(run), "--json").stdout)
        assert shot["lines"]["unrecognised"] == 1
        assert shot["stages"][0]["steps"]["last"] == 2
        case(made, "replay", "--headless", str(run))
        case(made, "report", str(run), "-o", "r.md")
    case(made, "report", str(here / "inject" / "20260101-000000-inject"), "-o", "r.md")
    report = (made.folder / "r.md").read_text()
    assert "onerror" in report
    assert not re.search(r"(?<!\\)<img|(?<!\\)\]\(javascript|\x1b|\n# ", report.partition("\n")[2])
    case(made, "questions", str(here / "inject" / "20260102-000000-items"))
    done = case(made, "show", str(here / "trainer_state_bigint.json"), "--json")
    loss = strict(done.stdout)["stages"][0]["train_loss"]
    # One point, and one number that is none.
    assert (loss["count"] - loss["nonfinite"], loss["nonfinite"], loss["mean"]) == (1, 1, 1.0)
    done = case(made, "show", str(here / "trainer_state_nan_setting.json"), "--json")
    assert strict(done.stdout)["stages"][0]["settings"]["eval_steps"] is None
    deep = str(here / "deep.toml")
    done = case(made, "run", "--dry-run", "--headless", "--config", deep, rows=0)
    assert (done.returncode, "deep.toml" in done.stderr) == (2, True)


@needs_shared
def test_the_made_inputs_of_the_reference_folder_do_nothing(made: Desk) -> None:
    """Names, depths, pipes, bombs, links."""
    out = made.folder / "out"
    for name in ("named", "deep-lock", "huge-pid", "pipe-lock", "pipe-events", "pipe-supervisor"):
        case(made, "runs", "--runs-dir", str(out / name), rows=1)
    [named] = (out / "named").iterdir()
    for typed in (["show", str(named)], ["runs", "rm", str(named)], ["ctl", str(named), "stop"]):
        case(made, *typed)
    for name in ("deep-run", "deep-resume", "links"):
        [run] = (out / name).iterdir()
        before = tree(out / "victims")
        done = case(made, "run", "--headless", "--resume", str(run), rows=0)
        assert done.returncode == 2
        # What is wrong with which file, in that one line.
        told = {"deep-run": "run.json", "deep-resume": "resume.json", "links": "(a link)"}
        assert told[name] in done.stderr
        assert tree(out / "victims") == before
    config = str(out / "config.toml")
    done = case(made, "run", "--dry-run", "--headless", "--config", config, rows=0)
    assert (done.returncode, "config.toml" in done.stderr) == (2, True)
    [bomb] = (out / "npz").iterdir()
    done = case(made, "questions", str(bomb))
    assert "its entries are too large: they unpack to 8,0" in done.stderr
    case(made, "show", str(bomb))
    case(made, "report", str(bomb), "-o", "r.md")
    for name, words in (
        ("layers", ("fit", "--source", "sft")),
        ("layers", ("export", "sft:d4:7")),
        ("rows", ("chat", "sft:d4:7", "--prompt", "hi")),
    ):
        made.env["NANOCHAT_BASE_DIR"] = str(out / name)
        done = case(made, *words, rows=0)
        assert done.returncode == 2
        assert re.search("meta_|no such|is no ", done.stderr), done.stderr


@needs_shared
@pytest.mark.slow
def test_the_control_line_of_the_reference_folder_costs_itself_alone(tmp_path: Path) -> None:
    """Appended while a run trains, and read again by every attempt and every resumption."""
    line = (SHARED / "cases_faults" / "control_line.jsonl").read_bytes()
    with children() as started:
        place = Place(tmp_path, started)
        run = place.make("--num-iterations=12", "--checkpoint-every=4")
        slow = {"rank": 0, "step": 0, "action": "sleep", "seconds": 0.2, "attempt": "any"}
        process = place.supervise(run, [slow, {"rank": 0, "step": 9, "action": "kill"}])
        wait_for(lambda: told(run, StepFinished))
        with run.control.open("ab") as file:
            file.write(line)
        factor = Request(id="after", command=Command.LR_FACTOR, argument=0.5, author="test")
        inbox.post(run, factor)
        assert place.ended(process) == 0
        end = end_of(run)
        assert end is not None
        assert (end.status, end.updates) == ("finished", 11)
        assert len(told(run, AttemptStarted)) == 2
        answers = {each.id: each.outcome for each in told(run, ControlApplied)}
        assert answers == {"bad1": "rejected", "after": "applied"}


@needs_shared
@pytest.mark.parametrize("name", ["deep-live", "card", "shelf"])
def test_a_screen_over_the_made_inputs_harms_nothing(made: Desk, name: str) -> None:
    """Opened on a terminal; with the browser of checkpoints and `d` where they are another's."""
    out = made.folder / "out"
    [run] = (out / name).iterdir()
    dear = {each: tree(out / each) for each in ("sftui-live-precious", "innocent")}
    with children() as started:
        screen = Terminal(started, "-m", "sftui", "attach", str(run), env=dict(made.env))
        try:
            screen.see("STOPPED")
            for key in "cd":
                screen.press(key)
                screen.repaint()
            screen.process.send_signal(signal.SIGTERM)
            # How the run ended is said, as after any other way to leave its screen.
            assert screen.wait() == 0
            assert "Traceback" not in screen.words()
        finally:
            screen.close()
    assert {each: tree(out / each) for each in dear} == dear
