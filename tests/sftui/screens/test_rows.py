"""The rows of a step: those the ranks train on, in a terminal and on the screen."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest

from engine.config import BatchConfig, DataConfig, RunConfig, StartConfig
from engine.data import tasks
from engine.errors import UsageError
from engine.processes import launch
from engine.run.run_dir import RunDir
from engine.step import rows_of_step, run_plan
from engine.step.token_rows import TokenRows
from sftui.checkpoints.step_rows import StepRows
from sftui.cli import main
from sftui.screens.rows import RowsScreen
from tests import hf_material, pictures
from tests.sftui.fake_run import fake_run

LONG = "the quick brown fox " * 60


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run that is prepared and not started: 40 rows, seven of which are cut."""
    place = tmp_path_factory.mktemp("rows")
    hf_material.folder(place / "tiny")
    rows = [{"prompt": f"what is {n}?", "completion": LONG if n % 6 == 0 else f"it is {n}"}
            for n in range(40)]  # fmt: skip
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = RunConfig(
        start=StartConfig(model=str(place / "tiny")),
        data=DataConfig(mixture=(str(place / "pairs.jsonl"),), max_tokens=40),
        batch=BatchConfig(target_examples_per_step=8),
    )
    typed = frozenset({"model", "mixture", "max_tokens", "target_examples_per_step"})
    prepared = launch.prepare(config, typed)
    now = datetime(2026, 1, 2, 3, 4, 5)
    return launch.create(prepared, place / "runs", command=["sftui"], cwd=place, now=now)


def test_they_are_those_that_the_ranks_train_on(run: RunDir) -> None:
    """Token by token and bit by bit of the mask, in the order of the plan."""
    found = rows_of_step.open_run(run)
    manifest = run.read_manifest()
    settings = RunConfig().replace(**{
        name: tuple(value) if isinstance(value, list) else value
        for name, value in manifest["config"].items()
    })  # fmt: skip
    mixture = tasks.build_mixture(run_plan.data_settings(settings))
    trained = TokenRows(mixture, found.tokenizer, settings.data.max_tokens)
    plan = run_plan.make_plan(settings, len(mixture))
    assert plan.num_updates == 3 == found.num_updates
    for step in range(3):
        rows = list(found.of_step(step))
        wanted = [row for micro in plan.micro_batches(step) for row in micro.rows]
        assert len(rows) == len(wanted) == 8
        for seen, index in zip(rows, wanted, strict=True):
            assert seen.rendered is not None
            assert seen.rendered.ids == trained[index].ids.tolist()
            assert seen.rendered.mask == trained[index].mask.astype(int).tolist()
    with pytest.raises(UsageError, match="there is no step 3; expected one from 0 to 2"):
        list(found.of_step(3))


def test_a_row_says_where_it_stands_in_its_file(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question of row N asks for N - 1."""
    assert main(["data", str(run.path), "--step", "1", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    for row in map(json.loads, lines):
        number = int(row["where"].removeprefix("pairs, row "))
        assert f"what is {number - 1}?" in "".join(row["tokens"])
        assert bool(row["dropped"]) == ((number - 1) % 6 == 0)


def test_a_run_of_another_trainer_says_that_it_keeps_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "20260102-030405-trl"
    made.mkdir()
    (made / "run.json").write_text(json.dumps({"id": made.name, "schema": 1}))
    assert main(["data", str(made), "--step", "1"]) == 2
    assert "another trainer" in capsys.readouterr().err


async def test_a_key_opens_them_and_goes_from_step_to_step(run: RunDir) -> None:
    shot = pictures.Shot(events=fake_run(until=2), folder=run.path, keys="b")
    async with pictures.shown(shot, (100, 30)) as app:
        screen = cast(RowsScreen, app.screen)
        assert type(screen) is RowsScreen
        await _read(screen)
        text = screen.table.text()
        assert "8 rows" in text
        assert "cut" in text
        assert "what" in text
        before = screen.table.rows.step
        screen.action_rows_step(-1)
        await _read(screen)
        assert screen.table.rows.step == max(0, before - 1)
        assert screen.table.copied().startswith("pairs, row ")
        screen.action_rows_close()


async def _read(screen: RowsScreen) -> None:
    """Wait for the process that reads the rows."""
    for _ in range(600):
        if screen.table.rows.rows is not None or screen.table.rows.problem:
            break
        await asyncio.sleep(0.05)
    screen.table.rebuild()
    assert screen.table.rows.problem == ""


def test_a_log_without_a_run_says_so() -> None:
    rows = StepRows(None)
    rows.ask(3)
    assert rows.rows is None
    assert "not here" in rows.problem
