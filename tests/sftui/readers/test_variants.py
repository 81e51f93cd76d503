"""Variants of each kind of log, one a line of `variants.jsonl`, with what is right of it.

Made by hand in our own words and numbers: counters within epochs, splits and marks, ranks and
prefixes, bars before, between and under evaluations, several runs, tables in other clothes.
"""

import json
import math
from pathlib import Path

import pytest

from engine.events import EvalFinished, StepFinished, ValidationFinished
from tests.sftui.readers.reader_checks import flat, of
from tests.sftui.readers.test_strangers import opened

FILE = Path(__file__).parent / "variants.jsonl"
VARIANTS = {
    each["name"]: each for each in map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
}


def near(found: list[tuple[int, float]], right: list[list[float]]) -> bool:
    pairs = zip(found, sorted(map(tuple, right)), strict=False)
    same = all(a[0] == b[0] and math.isclose(a[1], b[1], abs_tol=1e-9) for a, b in pairs)
    return len(found) == len(right) and same


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_read_right(name, tmp_path):
    """Steps and losses of the last run, its validations and scores, the plan, how many runs."""
    right = VARIANTS[name]
    found = opened(tmp_path, right["text"], right.get("file", "some.log"))
    last = found.recording.stages[-1]
    events = flat(last.timeline.events(0, len(last.timeline)))
    known = [e for e in of(StepFinished, events) if e.loss is not None]
    losses = {e.step: e.loss for e in known if not math.isnan(e.loss)}
    assert near(sorted(losses.items()), right["losses"])
    val = {(e.set_name, e.step): e.loss for e in of(ValidationFinished, events)}
    assert near(sorted((step, loss) for (_, step), loss in val.items()), right["val"])
    assert len(found.recording.stages) == right["stages"]
    if "planned" in right:
        assert last.start.num_iterations == right["planned"]
    if "evals" in right:
        scores = [(e.step, e.accuracy) for e in of(EvalFinished, events)]
        assert near(sorted(scores), right["evals"])
