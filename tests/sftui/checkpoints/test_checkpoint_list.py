"""The checkpoint browser: what is on disk, what a person may do with it, and by which keys."""

import dataclasses
import itertools
import json
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from textual.widgets import Static

from engine import events as ev
from engine.checkpoints import checkpoint_dir
from engine.run import owners, run_dir
from engine.run.run_dir import RunDir
from sftui.app import SftuiApp
from sftui.checkpoints import checkpoint_list as shelf_module
from sftui.checkpoints.checkpoint_list import CheckpointList, Job, busy_words
from sftui.cockpit.screen_request import ScreenRequest
from sftui.drawing.canvas import Grid
from sftui.drawing.roles import Role, parts
from sftui.sources.replay import replay_events
from sftui.state import deleted_checkpoints
from sftui.state.run_state import RunState
from sftui.view.view import View
from sftui.widgets.checkpoint_table import CheckpointTable
from tests.sftui.cockpit.test_playback import shown
from tests.sftui.fake_run import START, ListSource, fake_run
from tests.sftui.test_app import Clock, panel_of, ready

EVENTS = fake_run()


def add_checkpoint(run: RunDir, step: int) -> None:
    partial = run.checkpoints / "partial"
    partial.mkdir()
    checkpoint_dir.write_json(partial / checkpoint_dir.STATE, {"val_loss": 1.0})
    record = checkpoint_dir.digest_file(partial / checkpoint_dir.STATE)
    checkpoint_dir.commit(run, partial, step, [record], START)


@pytest.fixture
def run(tmp_path) -> RunDir:
    """A run whose checkpoints of steps 300 and 400 are on disk, as its events say."""
    made = run_dir.create(tmp_path / "runs", "x", datetime(2026, 1, 2, 3, 4, 5))
    made.manifest.write_text(json.dumps({"id": made.id}))
    for step in (300, 400):
        add_checkpoint(made, step)
    return made


def state_of(events=EVENTS) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def row_of(shelf: CheckpointList, step: int, kind="sftui"):
    return next(r for r in shelf.rows(state_of()) if r.step == step and r.known.kind == kind)


def app_over(run: RunDir | None, events=EVENTS) -> SftuiApp:
    end = max(e.stamp.t for e in events)
    folder = run.path if run is not None else None
    return SftuiApp(ScreenRequest(ListSource(list(events)), "t", folder=folder), now=Clock(end))


def test_rows_are_state_and_disk(run):
    """Best, exported, marked, gone, and the start as the last row."""
    shelf = CheckpointList(run)
    shelf.toggle_mark(row_of(shelf, 300))
    rows = {(r.step, r.known.kind): r for r in shelf.rows(state_of())}
    assert rows[400, "sftui"].best
    assert rows[400, "sftui"].exported
    assert rows[300, "sftui"].marked
    assert rows[300, "sftui"].info is not None
    assert rows[100, "sftui"].info is None
    assert shelf.rows(state_of())[-1].known.kind == "start"


def test_a_mark_is_the_file_that_pruning_looks_for(run):
    """Marked, it is not pruned; marked again, it is."""
    shelf = CheckpointList(run)
    assert "never pruned" in shelf.toggle_mark(row_of(shelf, 300))
    infos = checkpoint_dir.list_checkpoints(run)
    assert checkpoint_dir.to_prune(infos, keep=1) == []
    assert "pruned again" in shelf.toggle_mark(row_of(shelf, 300))
    assert not any(info.marked for info in checkpoint_dir.list_checkpoints(run))


@pytest.mark.parametrize("what", ["mark", "ckpt"])
def test_a_mark_is_made_and_removed_in_the_run_alone(run, tmp_path, what):
    """A link of the mark's name made a file outside; one in the place of `ckpt` marked theirs."""
    shelf = CheckpointList(run)
    row = row_of(shelf, 300)
    outside = tmp_path / "outside"
    outside.mkdir()
    if what == "mark":
        row.info.path.with_name("step-300.keep").symlink_to(outside / "made")
        assert not row_of(shelf, 300).marked
    else:
        run.checkpoints.rename(outside / "ckpt")
        run.checkpoints.symlink_to(outside / "ckpt")
    before = sorted(outside.rglob("*"))
    said = [shelf.toggle_mark(row), shelf.toggle_mark(replace(row, marked=True))]
    assert sorted(outside.rglob("*")) == before
    assert "cannot be written" in said[0]
    assert ("pruned again" if what == "mark" else "cannot be written") in said[1]


def test_the_only_checkpoint_is_never_deleted(run):
    """Nor the one that a running run would go on from."""
    shelf = CheckpointList(run)
    assert "go on from" in shelf.delete(row_of(shelf, 400), alive=True)
    assert "deleted" in shelf.delete(row_of(shelf, 300), alive=True)
    assert "only checkpoint" in shelf.delete(row_of(shelf, 400), alive=False)
    assert [i.step for i in checkpoint_dir.list_checkpoints(run)] == [400]


def test_what_is_not_ours_is_left_alone(run):
    """The start, an export, a pruned one, and everything in a log from elsewhere."""
    shelf = CheckpointList(run)
    for step, kind in ((0, "start"), (400, "nanochat"), (100, "sftui")):
        row = row_of(shelf, step, kind)
        assert shelf.why_not(row)
        assert shelf.delete(row, alive=False) == shelf.why_not(row)
        assert shelf.start("eval", row) == shelf.why_not(row)
    assert "not here" in CheckpointList(None).why_not(row_of(CheckpointList(None), 400))


def test_a_job_is_a_process_with_its_output_kept(run):
    """What it prints comes cleaned to the browser, never to the terminal, with its exit code."""
    job = Job("exporting", ["export", str(run.path / "nothing")], Path.cwd())
    while job.code is None:
        time.sleep(0.02)
    assert job.code == 2
    assert any("sftui: error" in line for line in job.lines())
    job.close()
    assert job.lines() == []


def test_jobs_ask_for_this_checkpoint_one_at_a_time(run, monkeypatch):
    """`eval` and `export` get the folder; a second job waits for the first."""
    asked = []

    class Waiting:
        code = None
        words = "exporting"

        def __init__(self, words, arguments, cwd):
            asked.append(arguments)

        def close(self):
            pass

    monkeypatch.setattr(shelf_module, "Job", Waiting)
    shelf = CheckpointList(run)
    assert shelf.start("eval", row_of(shelf, 300)) == ""
    assert "One at a time" in shelf.start("hf", row_of(shelf, 300))
    assert asked == [["eval", str(run.checkpoint(300))]]
    shelf.job.code = 0
    assert shelf.start("hf", row_of(shelf, 400)) == ""
    assert asked[1][:4] == ["export", str(run.checkpoint(400)), "--format", "hf"]


def test_a_branch_is_exported_and_its_command_said(run, tmp_path, monkeypatch):
    """Of a nanochat model, of a Hugging Face one, of a trainer's own folder; with the run's data
    and recipe. What cannot be started from says why, and has no command."""
    begun = []
    monkeypatch.setattr(CheckpointList, "_begin", lambda _, words, asked: begun.append(asked) or "")
    shelf = CheckpointList(run)
    manifest = {"id": run.id, "recipe": "nanochat", "config": {"data_dir": "/my data"}}
    run.manifest.write_text(json.dumps(manifest))
    words, command = shelf.branch(row_of(shelf, 300))
    folder = run.path / "export-step-300-nanochat"
    assert words == "A new run from it, once it is exported:"
    assert command == (
        f"NANOCHAT_BASE_DIR={folder} sftui run --source sft --step 300 --recipe nanochat "
        "--data-dir '/my data'"
    )
    assert begun[-1][-2:] == ["-o", str(folder)]
    folder.mkdir()
    assert shelf.branch(row_of(shelf, 300))[0] == "A new run from it:"
    assert len(begun) == 1
    run.manifest.write_text(json.dumps(manifest | {"start": {"source": "hf"}, "config": {}}))
    assert shelf.branch(row_of(shelf, 400))[1] == f"sftui run --model {run.path}/export-step-400-hf"
    run.manifest.write_text(json.dumps({"id": run.id, "start": {"source": "starter"}}))
    assert "name yours with --data-dir" in shelf.branch(row_of(shelf, 300))[0]
    own = tmp_path / "checkpoint-7"
    own.mkdir()
    saved = ev.CheckpointSaved(step=7, path=str(own), kind="hf")
    [theirs] = CheckpointList(None).rows(state_of([saved]))
    assert CheckpointList(None).branch(theirs)[1] == f"sftui run --model {own}"
    assert shelf.branch(row_of(shelf, 100)) == ("step 100 is not on disk any more.", "")


async def test_keys_of_the_browser(run):
    """Cursor, mark, delete with a question, close: and none of them reaches the run."""
    app = app_over(run)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("c")
        await pilot.pause()
        table = app.screen.table
        assert table.chosen.step == 400
        await pilot.press("down", "m")
        assert table.chosen.marked
        await pilot.press("d")
        await pilot.press("escape")
        assert run.checkpoint(300).exists()
        await pilot.press("d")
        await pilot.press("y")
        await pilot.pause()
        assert not run.checkpoint(300).exists()
        assert "gone" in table.text()
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.cockpit.dashboard
        assert app.source.sent == []


async def test_the_cursor_stays_on_its_checkpoint_when_a_newer_one_is_saved(run):
    """Whoever reaches for `d` must not find another checkpoint under the cursor."""
    app = app_over(run)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("c")
        await pilot.pause()
        table = app.screen.table
        assert table.chosen.step == 400
        saved = ev.CheckpointSaved(step=500, path="ckpt/step-500", size_bytes=1)
        app.cockpit.state.apply(saved)
        table.reload()
        assert table.rows[0].step == 500
        assert table.chosen.step == 400


async def test_a_deleted_checkpoint_is_gone_on_the_dashboard(run):
    """`n` is no; after `y` neither the list nor its count knows the checkpoint any more."""
    app = app_over(run)
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        kept = panel_of(dashboard, "checkpoints").text().splitlines()[-1]
        assert "2 to resume from" in kept
        await pilot.press("c")
        await pilot.pause()
        await pilot.press("down", "d", "n")
        await pilot.pause()
        assert run.checkpoint(300).exists()
        await pilot.press("d", "y")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        lines = panel_of(dashboard, "checkpoints").text().splitlines()
        assert "1 to resume from" in lines[-1]
        assert "gone" in next(line for line in lines if "step 300" in line)


@pytest.mark.parametrize(("other", "said"), [("alice", True), ("", False)])
async def test_whoever_deletes_for_somebody_else_reads_whose_run_it_is(
    run, monkeypatch, other, said
):
    """The rights of a shared folder may let one user delete what another saved."""
    monkeypatch.setattr(owners, "other_owner", lambda _: other)
    app = app_over(run)
    async with app.run_test(size=(160, 48)) as pilot:
        await ready(pilot)
        await pilot.press("c")
        await pilot.pause()
        await pilot.press("down", "d")
        await pilot.pause()
        text = " ".join(str(part.render()) for part in app.screen.query(Static))
        assert "It cannot be brought back." in text
        assert ("The run is alice's." in text) is said


async def test_what_was_deleted_on_another_screen_is_gone_on_this_one(run):
    """No event tells it: attached again, the list once offered what was not there any more."""
    checkpoint_dir.remove(run.checkpoint(300))
    app = app_over(run)
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        lines = panel_of(dashboard, "checkpoints").text().splitlines()
        assert "1 to resume from" in lines[-1]
        assert "gone" in next(line for line in lines if "step 300" in line)


async def test_a_slow_disk_is_not_asked_at_every_save(run, monkeypatch):
    """Each save asked for every checkpoint; now one look waits twenty times as long as the last
    took, and what was saved meanwhile is looked for then."""
    app, looks, look = app_over(run), [], deleted_checkpoints.missing

    def slowly(*asked):
        looks.append(time.monotonic())
        time.sleep(0.02)
        return look(*asked)

    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        monkeypatch.setattr(deleted_checkpoints, "missing", slowly)
        for step in range(500, 520):
            saved = ev.CheckpointSaved(step=step, path=f"ckpt/step-{step}", size_bytes=1)
            app.source.events.append(saved)
            app.cockpit.tick()
        assert len(looks) < 20
        assert len(app.cockpit.state.checkpoints) > 20
        while not app.cockpit.state.checkpoints["ckpt/step-519"].removed:
            app.cockpit.tick()
            await pilot.pause(0.05)
        assert all(after - before >= 0.4 for before, after in itertools.pairwise(looks))


async def test_in_the_middle_of_a_replay_the_disk_says_nothing(run):
    """What was there at that moment is shown so, whatever has become of it; the end is today."""
    checkpoint_dir.remove(run.checkpoint(300))
    clock = Clock(100.0)
    source = replay_events(list(EVENTS), now=clock)
    app = SftuiApp(ScreenRequest(source, "old", replay_of="a test", folder=run.path), now=clock)

    def gone() -> set[int]:
        rows = app.cockpit.state.checkpoints.values()
        return {row.step for row in rows if row.kind == "sftui" and row.removed}

    async with app.run_test(size=(160, 48)) as pilot:
        await shown(pilot)
        assert gone() >= {100, 200, 300}
        assert 400 not in gone()
        await pilot.press("home")
        while app.cockpit.state.updates < 320:
            await pilot.press("right")
        assert 300 in {row.step for row in app.cockpit.state.checkpoints.values()}
        assert 300 not in gone()
        await pilot.press("end")
        assert 300 in gone()


def test_the_browser_says_nothing_of_a_wait_that_is_over(run):
    """`One at a time` stands while the job works, and no longer."""
    shelf = CheckpointList(run)
    table = CheckpointTable(state_of(), View(now=lambda: START), shelf, id="checkpoint-table")
    table.reload()
    for code, stands in ((None, True), (0, False)):
        shelf.job = SimpleNamespace(words="exporting step 400", code=code, lines=list)
        table.said = busy_words(shelf.job)
        grid = Grid(20, 120)
        table.paint(grid)
        assert ("One at a time" in "".join(grid.lines())) is stands


def test_the_browser_cuts_no_mark(run):
    """Best, marked and exported at once, where there is room for it."""
    shelf = CheckpointList(run)
    shelf.toggle_mark(row_of(shelf, 400))
    table = CheckpointTable(state_of(), View(now=lambda: START), shelf, id="checkpoint-table")
    table.reload()
    grid = Grid(20, 120)
    table.paint(grid)
    assert "best · marked · exported" in "".join(grid.lines())


@pytest.mark.parametrize("size", [(200, 60), (160, 48), (80, 24), (40, 10), (20, 5)])
async def test_the_browser_fits(run, size):
    """At any size it is whole and raises nothing."""
    app = app_over(run)
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.press("c")
        await pilot.pause()
        lines = app.screen.table.text().splitlines()
        assert lines[0][0] + lines[-1][-1] == "╭╯"
        await pilot.press("up", "pagedown", "m", "m")


async def test_a_path_is_shown_as_it_is_typed_here(run, monkeypatch):
    """Right under the table: from the working directory, or whole where it lies elsewhere."""
    elsewhere = run.path / "evals"
    elsewhere.mkdir(exist_ok=True)
    for here, words in ((run.path.parent, f"{run.id}/ckpt/"), (elsewhere, f"{run.path}/ckpt/")):
        monkeypatch.chdir(here)
        app = app_over(run)
        async with app.run_test(size=(300, 40)) as pilot:
            await ready(pilot)
            await pilot.press("c")
            await pilot.pause()
            table = app.screen.table
            # The page is 120 wide: what does not fit goes on in the next line.
            rows = [table.grid.line(3 + len(table.rows) + i)[2:-1].rstrip() for i in range(4)]
            assert "".join(rows).startswith(f"{words}step-400")


def test_what_is_gone_is_faint(run):
    """Among thirty rows the three that can still be used are found at a glance."""
    table = CheckpointTable(
        state_of(), View(now=lambda: START), CheckpointList(run), id="checkpoint-table"
    )
    table.reload()
    grid = Grid(20, 100)
    table.paint(grid)

    def role(step: str, col: int) -> Role:
        row = next(i for i, line in enumerate(grid.lines()) if f"step {step}" in line)
        return parts(int(grid.styles[row, col]))[0]

    col = grid.lines()[1].index("val") + 1
    assert (role("300", col), role("100", col)) == (Role.VAL, Role.FAINT)


def test_hostile_names_are_drawn_as_text():
    """A task or path with escapes and wide characters stays inside its column."""
    events = [
        ev.EvalFinished(step=0, task="\x1b[31m[b]日本語" * 9, correct=1, total=2),
        ev.CheckpointSaved(step=3, path="\x1b]52;c;eA==\x07[/]" * 20, size_bytes=None),
    ]
    state = state_of(
        [dataclasses.replace(e, stamp=ev.Stamp(seq=i + 1)) for i, e in enumerate(events)]
    )
    table = CheckpointTable(
        state, View(now=lambda: START), CheckpointList(None), id="checkpoint-table"
    )
    table.reload()
    for width in (1, 9, 30, 77, 150):
        grid = Grid(20, width)
        table.paint(grid)
        assert "\x1b" not in "".join(grid.lines())
