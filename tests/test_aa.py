"""The A/A check itself, on runs of a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.evaluation import eval_items
from engine.events import EvalFinished
from engine.journal import wire
from tests import aa
from tests.faults.place import Place, work
from tests.processes import events


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tiny runs that differ in their seed alone."""
    place = Place(tmp_path_factory.mktemp("aa"))
    for seed in range(4):
        flags = ("--eval-metrics-every=2", f"--seed={seed}", f"--run=seed-{seed}")
        assert work(place.make(*flags)) == 0
    return place.root


@pytest.mark.slow
def test_runs_that_differ_in_their_seed_are_not_called_different(root: Path) -> None:
    """Random halves of the seeds are one recipe, and single runs are said to be no recipes."""
    runs = aa.finished(root, "seed")
    assert len(runs) == 4
    found = aa.of_one_recipe(runs)
    assert found.within, found.lines
    assert (aa.singles(runs).pairs, aa.singles(runs).paired) == (6, 6)


@pytest.mark.slow
def test_a_run_that_is_different_is_called_so(root: Path) -> None:
    """The check can fail: one run is made to have every question of its last evaluation right."""
    run = aa.finished(root, "seed")[0].run
    assert run is not None
    told = events(run.events)
    last = max(e.step or 0 for e in told if isinstance(e, EvalFinished))
    lines = [
        wire.encode(
            replace(e, correct=e.total, accuracy=1.0, letters={})
            if isinstance(e, EvalFinished) and e.step == last
            else e
        )
        for e in told
    ]
    kept = run.events.read_bytes()
    items = {path: path.read_bytes() for path in run.path.glob(f"evals/step-{last}.*.npz")}
    try:
        run.events.write_bytes(b"".join(lines))
        for path in items:
            if ".val." not in path.name:
                found = eval_items.load_items(path)
                fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
                right = eval_items.EvalResult(**fields | {"predicted": found.gold})
                eval_items.save_items(path, right)
        shots = aa.finished(root, "seed")
        assert aa.claims(shots[0]).headline
        assert not aa.at_rest(shots).within
    finally:
        run.events.write_bytes(kept)
        for path, content in items.items():
            path.write_bytes(content)
