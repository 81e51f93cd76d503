"""An earlier run behind the curve: which one, what is drawn, and what is said of it."""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine import events as ev
from engine.errors import SftuiError, UsageError
from engine.journal import wire
from engine.journal.event_files import JournalWriter
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.app import SftuiApp
from sftui.cockpit import past_runs
from sftui.cockpit.screen_request import ScreenRequest
from sftui.compare.differences import changed_words
from sftui.drawing.roles import Role
from sftui.sources import snapshot
from sftui.state.run_state import RunState
from sftui.widgets.loss_chart import LossChart
from tests.sftui.fake_run import ListSource
from tests.sftui.test_app import Clock, panel_of, ready

START = 1_800_000_000.0


def make(root: Path, name: str, day: int, *, rate: float = 0.02, more: Any = None) -> RunDir:
    """A run of 200 updates; its loss falls from 3 towards 1 + rate."""
    run = run_dir.create(root, name, datetime(2026, 1, day))
    manifest: dict[str, Any] = {
        "id": run.id,
        "world_size": 1,
        "config": {"source": "starter"},
        "start": {"model_config": {"n_layer": 4, "n_embd": 128, "vocab_size": 3072}},
        "tokenizer_sha256": "8a34",
        "row_digests": {"training Facts": "1", "training Sums": "2", "validation validation": "3"},
    }
    run.manifest.write_text(json.dumps(manifest | (more or {})))
    writer = JournalWriter(run.events, run.id, "r0")
    settings: dict[str, str | float] = {"matrix_lr": rate, "eval_every": day, "run": name}
    writer.write(ev.RunStarted(name=name, num_iterations=200, settings=settings), 1)
    for step in range(200):
        writer.write(ev.StepFinished(step=step, loss=1 + rate + 2 / (1 + step / 10)), 1)
    return run


DIFFERENT: list[dict[str, Any]] = [
    {"config": {"source": "sft"}},
    {"config": {"source": "starter", "model": "other"}},
    {"start": {"model_config": {"n_layer": 8, "n_embd": 128, "vocab_size": 3072}}},
    {"tokenizer_sha256": "ffff"},
    {"row_digests": {"training Facts": "1"}},
    {"trainer": "foreign", "command": ["python", "train.py"]},
]


def test_the_last_run_of_the_same_model_and_data_is_found(tmp_path: Path) -> None:
    """Not a later one, not another model's, tokenizer's or data's; a broken one is passed over."""
    make(tmp_path, "old", 1)
    wanted = make(tmp_path, "before", 2)
    for place, more in enumerate(DIFFERENT):
        make(tmp_path, f"other-{place}", 3, more=more)
    make(tmp_path, "broken", 4).manifest.write_text("[")
    here = make(tmp_path, "here", 5)
    make(tmp_path, "later", 6)
    assert past_runs.read(None, here.path, tmp_path).name == wanted.id
    names = [run.id.split("-", 2)[2] for run in past_runs.comparable(here, tmp_path)]
    assert names == ["before", "old"]
    first = next(run for run in run_dir.list_runs(tmp_path) if run.id.endswith("-old"))
    assert past_runs.is_any(here, tmp_path)
    assert past_runs.is_any(first, tmp_path) is False
    for folder in (first.path, None):
        with pytest.raises(UsageError, match="past RUN"):
            past_runs.read(None, folder, tmp_path)
    assert past_runs.read("later", here.path, tmp_path).name.endswith("later")


def test_among_many_other_runs_nothing_is_said_that_was_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A screen reads some manifests; where there are more, it does not know."""
    make(tmp_path, "before", 1)
    for place, more in enumerate(DIFFERENT):
        make(tmp_path, f"other-{place}", 3, more=more)
    here = make(tmp_path, "here", 5)
    assert past_runs.is_any(here, tmp_path) is True
    monkeypatch.setattr(past_runs, "MOST_LOOKED_AT", 3)
    assert past_runs.is_any(here, tmp_path) is None


async def test_a_slow_disk_does_not_hold_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty manifests may take seconds: they are read beside the frames, and told when known."""
    make(tmp_path, "before", 1)
    here = make(tmp_path, "here", 2)
    events = list(snapshot_events(here))
    disk = threading.Event()
    is_any = past_runs.is_any

    def slow(run: RunDir, root: Path) -> bool | None:
        disk.wait(60)
        return is_any(run, root)

    monkeypatch.setattr(past_runs, "is_any", slow)
    request = ScreenRequest(ListSource(events), "test", folder=here.path)
    app = SftuiApp(request, now=Clock((events[-1].stamp.t or START) + 0.5))
    async with app.run_test(size=(120, 36)) as pilot:
        # Every update is folded and painted while the disk has not answered.
        await ready(pilot)
        cockpit = app.cockpit
        assert cockpit is not None
        assert len(cockpit.state.steps) == 200
        assert cockpit.view.earlier is None
        disk.set()
        while cockpit.view.earlier is None:
            await pilot.pause(0.01)
            cockpit.tick()
        assert cockpit.view.earlier


@given(
    st.dictionaries(
        st.sampled_from(["trainer", "command", "start", "config", "row_digests"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3) | st.just("foreign"),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["model_config", "source"]), inner, max_size=2)
            ),
            max_leaves=4,
        ),
    )
)
@example({"start": {"model_config": [1]}})
@example({"trainer": "foreign", "command": 5})
def test_no_manifest_is_too_strange_to_be_compared(
    tmp_path_factory: pytest.TempPathFactory, manifest: dict[str, Any]
) -> None:
    """`model_config` may be a list, `command` a number: it is asked between two frames."""
    run = RunDir(tmp_path_factory.mktemp("strange"))
    run.manifest.write_text(json.dumps(manifest))
    with contextlib.suppress(SftuiError):
        assert hash(past_runs.kind_of(run.read_manifest())) is not None
    assert past_runs.is_any(run, run.path / "none") in (None, False)


def test_what_was_changed_is_one_line(tmp_path: Path) -> None:
    """What changes the weights by name, what a person did by hand, the rest as a number."""
    before, now = make(tmp_path, "a", 1), make(tmp_path, "b", 2, rate=0.1)
    old, new = snapshot.read_run(before).state, snapshot.read_run(now).state
    words = "changed: matrix_lr 0.02 → 0.1, 1 that leaves the weights alone"
    assert changed_words(old, new) == words
    new.apply(ev.ControlApplied(id="x", command="lr", argument=0.5, outcome="applied", step=20))
    assert "by hand: lr ×0.5 from step 20, matrix_lr" in changed_words(old, new)
    # Whose hand it was is told before what it did: a narrow line is cut at its end.
    assert "by hand before: lr ×0.5 from step 20, matrix_lr" in changed_words(new, old)
    assert changed_words(RunState(), old) == "its settings are not known"
    old.apply(ev.ControlApplied(id="y", command="lr", argument=0.1, outcome="applied", step=30))
    assert "by hand: lr ×0.5 from step 20 → lr ×0.1 from step 30" in changed_words(new, old)
    assert changed_words(old, old) == "no setting differs"


@pytest.mark.parametrize("size", [(160, 48), (80, 24)])
async def test_a_key_draws_it_pale_names_it_and_takes_it_away(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """By updates; the range and the curve of the run itself stay as they were."""
    make(tmp_path, "before", 1)
    here = make(tmp_path, "here", 2, rate=0.1)
    events = list(snapshot_events(here))
    request = ScreenRequest(ListSource(events), "test", folder=here.path)
    app = SftuiApp(request, now=Clock((events[-1].stamp.t or START) + 0.5))
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        chart = panel_of(dashboard, "loss")
        assert isinstance(chart, LossChart)
        plain, limits = chart.text(), chart.plot and chart.plot.y_limits
        while app._cockpit.view.earlier is None:
            await pilot.pause(0.01)
            app._cockpit.tick()
        assert app._cockpit.view.earlier is True
        await pilot.press("d")
        while app._cockpit.view.past is None:
            await pilot.pause(0.02)
        await pilot.pause()
        text, past = chart.text(), app._cockpit.view.past
        assert "━ before" in text.splitlines()[0]
        assert "against before · changed: matrix_lr 0.02 → 0.1" in text.splitlines()[-1]
        assert chart.plot is not None
        assert chart.plot.y_limits == limits
        assert pale(chart) > 20
        assert "better" not in text
        await pilot.press("d")
        await pilot.pause()
        assert chart.text() == plain
        app._cockpit.use_past(past)
        assert pale(chart) > 20
        # By another measure than updates it would say something false.
        assert not app._cockpit.charts.set_x_axis(app._cockpit.state, "time")
        assert "before: by steps alone" in chart.text()
        assert pale(chart) == 0


def pale(chart: LossChart) -> int:
    """Cells of the plot that have the colour of the past run and dots in them."""
    plot = chart.plot
    assert plot is not None
    rows, cols = slice(plot.row, plot.row + plot.height), slice(plot.col, plot.col + plot.width)
    codes, styles = chart.grid.codes[rows, cols], chart.grid.styles[rows, cols]
    dots = (codes >= 0x2801) & (codes <= 0x28FF)
    return int((dots & ((styles & 0x3F) == Role.FAINT)).sum())


def snapshot_events(run: RunDir) -> list[ev.Event]:
    """All events of a run's own log."""
    return [wire.decode(line) for line in run.events.read_bytes().splitlines()]
