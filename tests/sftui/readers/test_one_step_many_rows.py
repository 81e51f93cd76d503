"""Numbers of one step that are printed in several rows belong to one update."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftui.commands import series
from sftui.sources import snapshot
from sftui.state.run_state import RunState

LOSSES = [2.5, 2.3, 2.1, 1.95, 1.9, 1.84, 1.8, 1.77, 1.75, 1.74]
STEPS = range(1, len(LOSSES) + 1)


def rows_of(step: int) -> list[dict[str, float]]:
    return [{"loss": LOSSES[step - 1]}, {"lr": step * 1e-5}, {"grad_norm": 1.0 + step}]


def as_text(step: int, row: dict[str, float]) -> str:
    return f"step {step} " + " ".join(f"{name} {value}" for name, value in row.items())


def as_json(step: int, row: dict[str, float]) -> str:
    return json.dumps({"step": step, **row})


def as_tags(step: int, row: dict[str, float]) -> str:
    return "\n".join(json.dumps({"step": step, "tag": n, "value": v}) for n, v in row.items())


def as_cells(step: int, row: dict[str, float]) -> str:
    return "\n".join(f"{step},{name},{value}" for name, value in row.items())


FORMS = {"text": as_text, "json": as_json, "tags": as_tags, "table": as_cells}
HEADS = {"table": "step,metric,value\n"}


def values(state: RunState, name: str) -> list[Any]:
    (entry,) = series.chosen(state, name)
    return [pytest.approx(value, rel=1e-6) for value in entry.series.y.tolist()]


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(sorted(FORMS)), st.lists(st.permutations(range(3)), min_size=10, max_size=10)
)
def test_a_step_in_several_rows_loses_none_of_its_numbers(tmp_path_factory, form, orders):
    """Whichever row comes first, the loss does not go when the learning rate comes."""
    path = tmp_path_factory.mktemp("log") / "some.log"
    lines = [FORMS[form](step, rows_of(step)[i]) for step in STEPS for i in orders[step - 1]]
    path.write_text(HEADS.get(form, "") + "\n".join(lines) + "\n", encoding="utf-8")
    state = snapshot.read(str(path), None).state
    assert values(state, "loss") == LOSSES
    assert values(state, "lr/lr") == [step * 1e-5 for step in STEPS]
    assert values(state, "grad_norm") == [1.0 + step for step in STEPS]
