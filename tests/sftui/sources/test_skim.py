"""The list of runs reads a few lines of a log, and says what the whole log says."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine import events as ev
from engine.journal import wire
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.sources import run_briefs, skim, snapshot

TEXT = (
    'said "type":"run_finished", step_finished, state_changed, validation_finished, eval_finished'
)
"""A line of a program may hold any word."""


def life(chance: random.Random) -> Iterator[tuple[int, ev.Event]]:
    """Attempt and event of a run that is lost, taken up again, paused, ended, as it may come."""
    yield 1, ev.RunStarted(name="x", num_iterations=chance.randrange(1, 90))
    step, several = 0, chance.choice([0, 0, 0.3])
    for attempt in range(1, chance.choice([2, 2, 3, 5])):
        if chance.random() < 0.8:
            yield attempt, ev.PhaseStarted(phase="model")
        if attempt == 1 or chance.random() < 0.9:
            step = chance.randrange(step + 1) if attempt > 1 else 0
            yield attempt, ev.AttemptStarted(start_step=step)
        for _ in range(chance.randrange(60)):
            kind = chance.random()
            if kind < 0.5:
                loss = chance.choice([2.0, 1.5, float("nan"), None])
                yield attempt, ev.StepFinished(step=step, loss=loss, grad_norm=1.0)
                step += 1
            elif kind < 0.6:
                loss = chance.choice([chance.random(), 0.5, float("inf")])
                more: dict[str, Any] = {"rows": 8, "rows_file": "evals/val.npz"}
                if chance.random() < several:
                    more["set_name"] = "other"
                yield attempt, ev.ValidationFinished(step=step, loss=loss, **more)
            elif kind < 0.7:
                task = chance.choice(["ARC", "MMLU"])
                yield attempt, ev.EvalFinished(step=step, task=task, correct=1, total=step + 4)
            elif kind < 0.9:
                yield attempt, ev.RankHeartbeat(rank=0, at_step=step)
            elif kind < 0.95:
                yield attempt, ev.LogLine(text=TEXT)
            else:
                yield attempt, ev.StateChanged(state=chance.choice(["paused", "running"]))
        if chance.random() < 0.3:
            status: ev.EndStatus = chance.choice(("finished", "stopped", "failed"))
            yield attempt, ev.RunFinished(status=status, updates=step)
    if chance.random() < 0.3:
        for _ in range(50):
            yield attempt, ev.RankHeartbeat(rank=0, at_step=step)


def write(root: Path, events: Iterator[tuple[int, ev.Event]], boots: int = 0) -> RunDir:
    """Its log, written over that many boots after the first."""
    run = run_dir.create(root, "x", datetime(2026, 1, 2, 3, 4, 5))
    run.manifest.write_text(json.dumps({"id": run.id, "world_size": 1}))
    lines: list[bytes] = []
    told: list[bytes] = []
    for number, (attempt, event) in enumerate(events):
        # The wall clock is set to and fro.
        seq, t = number + 1, 1.76e9 + number + number // 40 % 2 * 3600
        boot = f"b{number * boots // 100}"
        stamp = ev.Stamp(run=run.id, att=attempt, seq=seq, t=t, m=float(number), boot=boot)
        lines.append(wire.encode(replace(event, stamp=stamp)))
        if isinstance(event, ev.AttemptStarted) and attempt > 1:
            lost = replace(stamp, src="sup", seq=len(told) + 1, t=t - 0.5, m=number - 0.5)
            told.append(wire.encode(ev.RankLost(rank=0, reason="killed", stamp=lost)))
    run.events.write_bytes(b"".join(lines))
    run.supervisor_events.write_bytes(b"".join(told))
    return run


def whole(run: RunDir) -> run_briefs.Brief:
    """As the list was before it skimmed."""
    return run_briefs.brief_of(snapshot.read_run(run))


@example(seed=1310)  # the start of its second attempt is missing
@given(seed=st.integers(0, 2**32))
def test_a_skimmed_log_says_what_the_whole_log_says(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Over restarts, ends that were taken back, pauses, and texts with any word in them."""
    events = list(life(random.Random(seed)))
    told = {attempt for attempt, event in events if isinstance(event, ev.AttemptStarted)}
    run = write(tmp_path_factory.mktemp("runs"), iter(events))
    with pytest.MonkeyPatch.context() as patch:
        # Also the short ones.
        patch.setattr(skim, "SHORT_BYTES", 0)
        # One whose start was not told began with any of its events.
        assert skim.read(run) is not None or events[-1][0] not in told
        assert run_briefs.read(run) == whole(run)


@pytest.mark.parametrize(
    "line",
    [b"garbage\n", b'{"v":1,"type":"step_finished"\n', b"\n", b'{"v":9,"type":"x"}\n', b"torn"],
)
@pytest.mark.parametrize("where", [0, 40, 80])
def test_a_line_that_is_no_event_is_counted_in_the_list(
    tmp_path: Path, line: bytes, where: int
) -> None:
    """It costs itself alone, and the list says how many."""
    steps = ((1, ev.StepFinished(step=step, loss=1.0)) for step in range(80))
    begin: tuple[int, ev.Event] = (1, ev.RunStarted(name="x", num_iterations=99))
    run = write(tmp_path, iter([begin, *steps]))
    lines = run.events.read_bytes().splitlines(keepends=True)
    lines.insert(where, line)
    run.events.write_bytes(b"".join(lines))
    assert len(run.events.read_bytes()) > skim.SHORT_BYTES
    assert run_briefs.read(run) == whole(run)


def test_other_logs_are_read_whole(tmp_path: Path) -> None:
    """Of several boots, of another program's trainer, or without a beginning."""
    steps: list[ev.Event] = [ev.StepFinished(step=n, loss=1.0) for n in range(99)]
    logs: list[list[ev.Event]] = [[ev.RunStarted(name="x"), *steps], steps]
    for number, events in enumerate(logs):
        run = write(tmp_path / str(number), ((1, event) for event in events), boots=3)
        assert skim.read(run) is None
        assert run_briefs.read(run) == whole(run)


def test_of_a_long_log_a_few_lines_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30,000 updates took a second and more for one row of the list."""

    def events() -> Iterator[tuple[int, ev.Event]]:
        yield 1, ev.RunStarted(name="x", num_iterations=30_001)
        for step in range(30_000):
            if step % 3000 == 0:
                yield 1, ev.ValidationFinished(step=step, loss=9.0 - step / 9000)
                for task in ("ARC", "MMLU"):
                    yield 1, ev.EvalFinished(step=step, task=task, correct=step // 3000, total=20)
            yield 1, ev.StepFinished(step=step, loss=1.0)
        yield 1, ev.RunFinished(status="finished", updates=30_000)

    run = write(tmp_path, events())
    decoded = 0
    decode = wire.decode

    def counted(line: bytes | str) -> ev.Event:
        nonlocal decoded
        decoded += 1
        return decode(line)

    monkeypatch.setattr(wire, "decode", counted)
    brief = run_briefs.read(run)
    assert decoded < 20
    assert (brief.status, brief.done, brief.planned) == ("finished", 30_000, 30_000)
    assert (brief.best_loss, brief.best_step) == (6.0, 27_000)
    assert (brief.last_loss, brief.tasks) == (1.0, (("ARC", 0.45), ("MMLU", 0.45)))
