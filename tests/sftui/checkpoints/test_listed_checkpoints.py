"""The rows of the checkpoint browser: made when they are read, and the same as if all were."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.checkpoints import checkpoint_dir
from engine.checkpoints.checkpoint_dir import CheckpointInfo
from engine.run.run_dir import RunDir
from sftui.checkpoints.checkpoint_list import CheckpointList
from sftui.checkpoints.checkpoint_row import CheckpointRow
from sftui.drawing.canvas import Grid
from sftui.state import deleted_checkpoints
from sftui.state.records import Checkpoint
from sftui.state.run_state import FEW_ROWS, RunState
from sftui.view.view import View
from sftui.widgets.checkpoint_table import CheckpointTable

STEPS = st.integers(0, 6)
EVENTS = st.one_of(
    st.builds(
        lambda step, name, kind, reason: ev.CheckpointSaved(
            step=step, path=f"ckpt/step-{step}{name}", kind=kind, reason=reason
        ),
        STEPS,
        st.sampled_from(["", "-again"]),
        st.sampled_from(["sftui", "sftui", "nanochat", "hf"]),
        st.sampled_from(["interval", "interval", "export"]),
    ),
    st.builds(lambda step: ev.CheckpointRemoved(path=f"ckpt/step-{step}"), STEPS),
    st.builds(
        lambda step, loss: ev.ValidationFinished(step=step, loss=loss), STEPS, st.floats(1, 2)
    ),
)


def info(step: int, marked: bool) -> CheckpointInfo:
    path = Path(f"ckpt/step-{step}")
    return CheckpointInfo(
        path=path, step=step, size_bytes=9, created=1.0, val_loss=None, marked=marked, state={}
    )


def all_at_once(state: RunState, disk: list[CheckpointInfo]) -> list[CheckpointRow]:
    """Every row in its turn: the disk's checkpoint of a step goes to the first row of it."""
    left = {found.step: found for found in disk}
    best = state.best_validation
    exported = {known.step for known in state.checkpoints.values() if known.exported}
    rows = []
    for known in state.checkpoint_rows():
        found = left.pop(known.step, None) if known.kind == "sftui" else None
        rows.append(
            CheckpointRow(
                known=known,
                info=found,
                best=best is not None and best.step == known.step and not known.exported,
                marked=found is not None and found.marked,
                exported=known.kind == "sftui" and known.step in exported,
            )
        )
    return rows


@given(st.lists(EVENTS, max_size=25), st.dictionaries(STEPS, st.booleans(), max_size=5))
def test_a_row_is_the_same_whenever_it_is_made(
    events: list[ev.Event], there: dict[int, bool]
) -> None:
    state = RunState()
    for event in events:
        state.apply(event)
    disk = [info(step, marked) for step, marked in sorted(there.items())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_dir, "list_checkpoints", lambda run: disk)
        rows = CheckpointList(RunDir(Path("run"))).rows(state)
    wanted = all_at_once(state, disk)
    assert list(rows) == wanted
    assert [rows[-1 - at] for at in range(len(rows))] == wanted[::-1]
    assert rows[2:5] == wanted[2:5]
    assert rows.on_disk == [row for row in wanted if row.info is not None]
    for at, row in enumerate(wanted):
        assert rows.place_of(row.known) == at
        first = next(at for at, other in enumerate(wanted) if other.step == row.step)
        assert rows.place_of_step(row.step) == first
    assert rows.place_of_step(99) is None


def saved(number: int) -> RunState:
    state = RunState()
    for step in range(number):
        state.apply(ev.CheckpointSaved(step=step, path=f"ckpt/step-{step}", size_bytes=9))
    return state


def test_the_browser_makes_the_rows_that_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It made one of each of 100,000 checkpoints, every second: `c` took half a second."""
    made = 0
    make = CheckpointRow.__init__

    def counted(self: CheckpointRow, **fields: object) -> None:
        nonlocal made
        made += 1
        make(self, **fields)  # type: ignore[arg-type]

    monkeypatch.setattr(CheckpointRow, "__init__", counted)
    table = CheckpointTable(saved(3000), View(now=lambda: 0.0), CheckpointList(None), id="table")
    table.reload()
    table.begin_at(1500)
    table.reload()
    table.move(1)
    grid = Grid(20, 100)
    table.paint(grid)
    assert any("step 1,499" in line for line in grid.lines())
    assert made < 100


@pytest.mark.parametrize("number", [3, FEW_ROWS + 5])
def test_checkpoints_that_the_disk_lacks_are_marked_at_once(tmp_path: Path, number: int) -> None:
    """Few or many, the state is that of as many removals."""
    run = RunDir(tmp_path)
    run.checkpoint(1).mkdir(parents=True)
    state, single = saved(number), saved(number)
    gone = deleted_checkpoints.missing(run, state)
    assert [known.step for known in gone] == [step for step in range(number) if step != 1]
    assert state.lose(gone)
    for step in range(number):
        if step != 1:
            single.apply(ev.CheckpointRemoved(path=f"ckpt/step-{step}"))
    assert state.checkpoints == single.checkpoints
    assert list(state.checkpoint_rows()) == list(single.checkpoint_rows())
    assert state.checkpoint_rows().removed.tolist() == single.checkpoint_rows().removed.tolist()
    assert state.checkpoint_rows().kept == 1
    assert deleted_checkpoints.missing(run, state) == []
    assert not state.lose([])


def test_what_was_removed_is_not_looked_for_again(tmp_path: Path) -> None:
    """Each tick over a run that is being read asked of every checkpoint so far."""
    state = saved(50)
    for step in range(45):
        state.apply(ev.CheckpointRemoved(path=f"ckpt/step-{step}"))
    state.apply(ev.CheckpointSaved(step=50, path="export-50", kind="nanochat"))
    there: list[Checkpoint] = state.checkpoint_rows().there
    assert [known.step for known in there] == [*range(45, 50), 50]
