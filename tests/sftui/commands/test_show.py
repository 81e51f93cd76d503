"""`show --json` keeps its contract, and `show` fits the terminal."""

import itertools
import json
import math
import re
from datetime import datetime

import numpy as np
import pytest

from engine.evaluation.validation_rows import RowLosses, save_rows
from engine.events import (
    AlarmRaised,
    AttemptStarted,
    CheckpointSaved,
    ControlApplied,
    EvalFinished,
    LogLine,
    RunFinished,
    RunStarted,
    StateChanged,
    StepFinished,
    ValidationFinished,
)
from engine.journal.event_bus import EventBus
from engine.run import run_dir
from engine.run.lock import RunLock
from sftui import run_json
from sftui.cli import main
from sftui.commands import show
from sftui.sources import snapshot
from sftui.state.run_state import RunState
from tests.conftest import SHARED, needs_shared
from tests.sftui.readers.test_reader_formats import proto, record, scalar

KEYS = {
    "top": {"schema", "source", "status", "stages", "lines"},
    "source": {"path", "format"},
    "stage": {"name", "steps", "train_loss", "val", "evals", "checkpoints", "controls", "alarms"},
    "steps": {"first", "last", "logged", "planned"},
    "train_loss": {"count", "first", "last", "min", "max", "mean"},
    "val": {"step", "metric", "value"},
    "evals": {"step", "task", "accuracy", "correct", "total", "chance", "interval"},
    "checkpoints": {"step", "path"},
    "lines": {"total", "read", "unrecognised"},
}
STATUSES = {"running", "paused", "finished", "failed", "interrupted", "unknown"}


def check(found):
    """Assert that an object is what DESIGN promises to scripts."""
    assert found.keys() >= KEYS["top"]
    assert found["schema"] == 1
    assert found["status"] in STATUSES
    assert found["source"].keys() >= KEYS["source"]
    assert found["lines"].keys() >= KEYS["lines"]
    for stage in found["stages"]:
        assert stage.keys() >= KEYS["stage"]
        for name in ("steps", "train_loss"):
            assert stage[name].keys() >= KEYS[name]
        for name in ("val", "evals", "checkpoints"):
            for entry in stage[name]:
                assert entry.keys() >= KEYS[name]


def make(tmp_path, *events, name="demo"):
    run = run_dir.create(tmp_path / "runs", name, datetime(2026, 1, 1))
    run.manifest.write_text("{}")
    bus = EventBus(run, run.id, 1, live=False)
    for event in events:
        bus.emit(event)
        if isinstance(event, CheckpointSaved) and event.path is not None:
            (run.path / event.path).mkdir(parents=True, exist_ok=True)
    assert bus.close()
    return run


STORY = (
    RunStarted(name="demo", num_iterations=5, num_parameters=12, settings={"seed": 42}),
    AttemptStarted(),
    ValidationFinished(step=0, loss=2.0),
    EvalFinished(step=0, task="MMLU", correct=25, total=100, accuracy=0.25, chance=0.25),
    StepFinished(step=0, loss=2.0),
    StepFinished(step=1, loss=math.nan),
    StepFinished(step=2, loss=1.0),
    StepFinished(step=3, loss=1.5),
    ControlApplied(step=3, id="a", command="eval", author="ctl"),
    AlarmRaised(step=1, kind="nonfinite", severity="error", text="a NaN"),
    ValidationFinished(step=4, loss=1.5),
    EvalFinished(step=4, task="MMLU", correct=50, total=100, accuracy=0.5, chance=0.25),
    CheckpointSaved(step=4, path="ckpt/step-4"),
    RunFinished(status="finished", updates=4),
)


def test_the_json_of_a_run_is_the_contract(tmp_path):
    """Every field of the schema, with the values an independent count gives."""
    found = json.loads(run_json.as_json(snapshot.read_run(make(tmp_path, *STORY))))
    check(found)
    assert found["status"] == "finished"
    [stage] = found["stages"]
    assert stage["name"] == "chat_sft"
    assert stage["steps"] == {"first": 0, "last": 3, "logged": 4, "planned": 5}
    loss = stage["train_loss"]
    assert (loss["count"], loss["first"], loss["last"]) == (4, 2.0, 1.5)
    assert (loss["min"], loss["max"], loss["mean"]) == (1.0, 2.0, 1.5)
    assert stage["val"] == [
        {"step": 0, "metric": "loss", "value": 2.0},
        {"step": 4, "metric": "loss", "value": 1.5},
    ]
    last = stage["evals"][-1]
    assert (last["correct"], last["total"], last["chance"]) == (50, 100, 0.25)
    # Wilson, 50 of 100, from scipy.stats.binomtest.
    assert last["interval"] == pytest.approx([0.403832, 0.596168], abs=1e-6)
    assert stage["checkpoints"][0]["path"] == "ckpt/step-4"
    assert stage["controls"][0]["command"] == "eval"
    assert stage["alarms"][0]["kind"] == "nonfinite"
    assert found["lines"] == {"total": 14, "read": 14, "unrecognised": 0}


def test_status_comes_from_evidence(tmp_path):
    """Alive, paused, gone without a word, nothing yet: four different words."""
    start = (RunStarted(name="x"), AttemptStarted(), StepFinished(step=0, loss=1.0))
    gone = make(tmp_path, *start, name="gone")
    assert snapshot.read_run(gone).status == "interrupted"
    with RunLock.acquire(gone):
        assert snapshot.read_run(gone).status == "running"
    paused = make(tmp_path, *start, StateChanged(state="paused"), name="paused")
    with RunLock.acquire(paused):
        assert snapshot.read_run(paused).status == "paused"
    assert snapshot.read_run(make(tmp_path, name="empty")).status == "unknown"
    failed = make(tmp_path, *start, RunFinished(status="failed", reason="boom"), name="failed")
    assert snapshot.read_run(failed).status == "failed"


def test_bad_lines_are_counted(tmp_path):
    """Torn and foreign lines cost themselves only."""
    run = make(tmp_path, *STORY)
    with run.events.open("ab") as file:
        file.write(b'{"v":1,"type":"moon_rose","seq":99}\nnot json\n')
    assert run_json.to_dict(snapshot.read_run(run))["lines"] == {
        "total": 16,
        "read": 14,
        "unrecognised": 2,
    }


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_text_fits_the_terminal(tmp_path, columns):
    """No line of the chart is wider than asked, and hostile text is drawn as text."""
    hostile = LogLine(text="\x1b]52;c;aGk=\x07[/] gone")
    text = show.as_text(snapshot.read_run(make(tmp_path, *STORY, hostile)), columns, 24)
    chart = text.split("\n\n", 1)[1]
    assert all(len(line) <= columns for line in chart.splitlines())
    assert "\x1b]52" not in text
    assert "loss by step" in text


def test_the_text_says_what_the_difference_is_worth(tmp_path):
    """Points and a verdict, never a bare percentage."""
    text = show.as_text(snapshot.read_run(make(tmp_path, *STORY)), 100, 30)
    assert "against the start: clear, +25.0 points" in text


def test_a_plain_log_can_be_shown(tmp_path, capsys):
    """nanochat's own text, without a run directory."""
    log = tmp_path / "out.txt"
    log.write_text(
        "Step 00000 | Validation loss: 1.500000\n"
        "Step 00000/00003 | Training loss: 1.250000| lrm: 1.000000| num_tokens: 1,000\n"
        "Step 00001/00003 | Training loss: 1.125000| lrm: 0.666667| num_tokens: 900\n"
    )
    assert main(["show", str(log), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    check(found)
    assert found["stages"][0]["steps"] == {"first": 0, "last": 1, "logged": 2, "planned": 3}


@needs_shared
@pytest.mark.parametrize(
    "path",
    sorted(p for p in (SHARED / "nanochat" / "logs").glob("*.log")) if SHARED.is_dir() else [],
    ids=lambda path: path.name,
)
def test_real_logs_keep_the_contract(path):
    """Whatever a reader makes of them."""
    check(json.loads(run_json.as_json(snapshot.read(str(path)))))


def test_a_checkpoint_deleted_by_hand_is_not_offered(tmp_path):
    """No event tells of it; the disk does."""
    run = make(tmp_path, *STORY)
    (run.path / "ckpt" / "step-4").rmdir()
    [stage] = json.loads(run_json.as_json(snapshot.read_run(run)))["stages"]
    assert stage["checkpoints"] == []


def test_a_log_without_a_loss_says_what_it_has(tmp_path, capsys):
    """An event file of scalars that no reader knows: their names and numbers, no made-up rank."""
    log = tmp_path / "events.out.tfevents.1"
    scalars = [scalar(s, "odd/a", 1.0) + scalar(s, "odd/b", 2.0) for s in range(3)]
    log.write_bytes(record(proto((1, 1e9), (3, b"brain.Event:2"))) + b"".join(scalars))
    assert main(["show", str(log)]) == 0
    words = capsys.readouterr().out
    assert "No training loss so far. Other numbers, with how many: odd/a (3), odd/b (3)" in words
    assert "rank" not in words


@pytest.mark.parametrize("status", ["finished", "stopped", "failed"])
def test_an_ended_run_gives_its_reason_and_not_the_evidence_of_its_lock(tmp_path, status):
    """That its supervisor is gone is no news of a run that said it ended."""
    end = RunFinished(status=status, reason="all iterations done", updates=2)
    run = make(tmp_path, *(e for e in STORY if not isinstance(e, RunFinished)), end)
    with RunLock.acquire(run):
        pass
    first = show.summary_lines(snapshot.read_run(run))[0]
    assert first.endswith(": all iterations done")
    assert "supervisor" not in first


def test_a_run_that_died_says_what_the_verdict_rests_on(tmp_path):
    """Interrupted without a word: that its supervisor is gone is the reason."""
    run = make(tmp_path, *(e for e in STORY if not isinstance(e, RunFinished)))
    with RunLock.acquire(run):
        pass
    assert "is gone" in show.summary_lines(snapshot.read_run(run))[0]


_STEP = "step {:05d}/00003 (0.00%) | loss: {} | lrm: 1.00 | dt: 1.0ms | tok/sec: 10 | mfu: 1.0"
DEAD_STAGE = "\n".join(
    [
        "Overriding: depth = 4",
        "Autodetected device type: cuda",
        *(_STEP.format(step, 10.0 - step) + " | total time: 0.00m" for step in range(3)),
        "Minimum validation bpb: 1.0",
        "Traceback (most recent call last):",
        '  File "/x/scripts/chat_sft.py", line 70, in <module>',
        "    model, tokenizer, meta = load_model(source, device)",
        "FileNotFoundError: No checkpoints found in /x/mid_checkpoints",
        "",
    ]
)


def test_a_log_whose_last_stage_failed_opens_on_it_and_tells_the_end_of_each(tmp_path):
    """The stage that died before its first step is why somebody reads the log."""
    log = tmp_path / "speedrun.log"
    log.write_text(DEAD_STAGE)
    shot = snapshot.read(str(log))
    assert [stage.name for stage in shot.stages] == ["base_train", "chat_sft"]
    lines = show.summary_lines(shot)
    assert lines[0].startswith("speedrun.log  failed: FileNotFoundError: No checkpoints found")
    assert any("stage base_train: finished, step 3" in line for line in lines)
    assert any("stage chat_sft: failed: FileNotFoundError" in line for line in lines)


def a_run_of(losses):
    state = RunState()
    for step, loss in enumerate(losses):
        state.apply(StepFinished(step=step, loss=loss))
    return state


def test_the_best_validation_is_one_of_the_rows_of_the_last(tmp_path):
    """Lower on other rows is not better; that there were others is said."""
    run = run_dir.create(tmp_path, "x", datetime(2026, 1, 1))
    bus = EventBus(run, run.id, 1, live=False)
    bus.emit(RunStarted(name="x", num_iterations=9))
    for step, loss in enumerate((0.4, 0.3, 1.3, 1.1, 1.2)):
        number = 0 if step < 2 else 100
        file = run.eval_items(step, "val")
        save_rows(file, RowLosses(losses=np.full(4, loss), rows=number + np.arange(4)))
        name = file.relative_to(run.path).as_posix()
        bus.emit(ValidationFinished(step=step, loss=loss, rows_file=name))
    assert bus.close()
    [line] = [x for x in show.summary_lines(snapshot.read_run(run)) if "validation" in x]
    assert "1.3000 (step 2) -> 1.2000 (step 4), best 1.1000 at step 3" in line
    assert line.endswith("; 2 validations before asked other rows: no comparison")


@pytest.mark.parametrize(("steps", "columns"), [(30, 80), (400, 80), (30_000, 120)])
def test_ticks_of_the_printed_chart_are_round_numbers(steps, columns):
    """1, 2, 2.5 or 5 times a power of ten apart, without exponents; every row fits."""
    state = a_run_of([0.0123 + 3.1 / (1 + step / 9) for step in range(steps)])
    text = show.loss_chart(state, columns, 20)
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    assert "loss by step: " in lines[0]
    heights = [float(found[1]) for line in lines if (found := re.match(r"\s*([\d.]+)┤", line))]
    units = {"": 1, "k": 1000}
    places = [
        float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(k?)", lines[-1])
    ]
    for marks in (heights, places):
        gaps = {round(abs(b - a), 9) for a, b in itertools.pairwise(marks)}
        assert len(marks) >= 2
        assert len(gaps) == 1
        [gap] = gaps
        assert round(gap / 10 ** math.floor(math.log10(gap)), 6) in (1.0, 2.0, 2.5, 5.0)


def test_the_printed_line_is_the_data():
    """Few points are joined as they are; of many it is the mean around each column, as numpy
    takes it, and neither a spike nor the first loss bends it elsewhere."""
    few = [3.0, 1.0, 2.5, 1.5]
    (places, values), words = show._train_line(a_run_of(few).step_series("loss"), 80)
    assert (places, values, words) == ([0, 1, 2, 3], few, "train")
    noise = np.random.default_rng(1).normal(0, 0.3, 8000)
    losses = np.where(np.arange(8000) == 0, 19.0, 1.0 + noise)
    (places, values), words = show._train_line(a_run_of(losses.tolist()).step_series("loss"), 80)
    assert words == "mean of 200 steps of train"
    x = np.arange(8000)
    for place, value in list(zip(places, values, strict=True))[1:-1]:
        around = [losses[np.abs(x - place) < half].mean() for half in (80, 100, 120, 150)]
        assert min(around) - 0.02 <= value <= max(around) + 0.02
    assert max(values[2:]) < 1.2


def test_a_log_of_losses_that_are_no_number_says_so(tmp_path, capsys):
    """It has no point to draw, and is no reason for a traceback."""
    path = tmp_path / "some.log"
    path.write_text("".join(f"step {step} loss nan\n" for step in (1, 2, 3)), encoding="utf-8")
    assert main(["show", str(path)]) == 0
    said = capsys.readouterr().out
    assert "3 updates with a loss or gradient norm that is nan or infinite" in said
    assert "loss by step" not in said
