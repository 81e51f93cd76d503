"""The A/A check itself, on runs of a second."""

from dataclasses import replace

import pytest

from engine.evaluation import eval_items
from engine.events import EvalFinished
from engine.journal import wire
from sftui.statistics.paired_tests import CLEAR
from tests import aa
from tests.faults.place import Place, work
from tests.processes import events


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three tiny runs that differ in their seed alone."""
    place = Place(tmp_path_factory.mktemp("aa"))
    for seed in range(3):
        flags = ("--eval-metrics-every=2", f"--seed={seed}", f"--run=seed-{seed}")
        assert work(place.make(*flags)) == 0
    return place.root


@pytest.mark.slow
def test_runs_that_differ_in_their_seed_are_not_called_different(root):
    """Every pair both ways, every task; no verdict is `clear`."""
    runs = aa.finished(root)
    assert len(runs) == 3
    found = aa.judge_pairs(runs)
    assert found.told.total() == 3 * 2 * len(runs[0].shot.state.evals)
    assert found.false_clear == 0.0
    assert aa.lines(runs)[-1] == "false clear 0.0%: at most 5%"


@pytest.mark.slow
def test_a_run_that_is_different_is_called_so(root):
    """The check can fail: one run is made to have every question of its evaluations right."""
    run = aa.finished(root)[0].shot.run
    lines = []
    for event in events(run.events):
        if isinstance(event, EvalFinished):
            event = replace(event, correct=event.total, accuracy=1.0)
        lines.append(wire.encode(event))
    kept = run.events.read_bytes()
    items = {path: path.read_bytes() for path in run.path.glob("evals/*.npz")}
    try:
        run.events.write_bytes(b"".join(lines))
        for path in items:
            if ".val." not in path.name:
                found = eval_items.load_items(path)
                fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
                right = eval_items.EvalResult(**fields | {"predicted": found.gold})
                eval_items.save_items(path, right)
        found = aa.judge_pairs(aa.finished(root))
        assert found.told[CLEAR] > 0
        assert found.false_clear > aa.ALLOWED
    finally:
        run.events.write_bytes(kept)
        for path, content in items.items():
            path.write_bytes(content)
