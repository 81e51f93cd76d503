"""How far the weights went, in words and in JSON."""

import pytest

from engine import events as ev
from sftui import run_json
from sftui.state.run_state import RunState
from sftui.state.weight_change import sentence, share, weight_changes
from sftui.view import run_facts


def state(*measured):
    found = RunState()
    found.apply(ev.RunStarted(name="r", num_iterations=101))
    for step, values in measured:
        found.apply(ev.MetricLogged(step=step, values=values))
    return found


def values(group, ratio, distance):
    return {f"train/update_ratio/{group}": ratio, f"train/distance/{group}": distance}


MOVED = state(
    (0, values("wte", 0.04, 0.04) | values("matrices", 0.007, 0.007)),
    (99, values("wte", 0.0002, 0.44) | values("matrices", 0.00008, 0.87)),
)


def test_the_group_that_moved_most_comes_first():
    """First and newest update, and the newest distance, each of its own group."""
    far, near = weight_changes(MOVED)
    assert (far.group, far.first_ratio, far.last_ratio) == (
        "matrices",
        *map(pytest.approx, (0.007, 0.00008)),
    )
    assert (near.group, near.step, near.distance) == ("wte", 99, pytest.approx(0.44))


def test_every_view_tells_the_same():
    """The line of `show`, its JSON and the page of facts."""
    assert sentence(weight_changes(MOVED)).startswith(
        "weights moved: matrices 87 % from the start (first update 0.70 %, newest 0.0080 %); wte "
    )
    told = run_json.stage(MOVED, "x")["weights"]
    assert [(entry["group"], entry["distance"]) for entry in told] == [
        ("matrices", pytest.approx(0.87)),
        ("wte", pytest.approx(0.44)),
    ]
    [facts] = [facts for title, facts in run_facts.sections(MOVED) if "weights" in title]
    assert [(fact.name, fact.value) for fact in facts] == [
        ("matrices", "87 % from the start"),
        ("wte", "44 % from the start"),
    ]


def test_what_was_not_measured_is_not_told():
    """A log without these numbers has no line; a run whose start is lost has no distance."""
    assert weight_changes(state((0, {"other": 1.0}))) == []
    assert sentence([]) == ""
    [found] = weight_changes(state((0, {"train/update_ratio/wte": 0.01})))
    assert found.distance is None
    assert "wte - from the start" in sentence([found])


@pytest.mark.parametrize(
    ("fraction", "told"),
    [(0.587, "59 %"), (0.0397, "4.0 %"), (9.29e-5, "0.0093 %"), (12.5, "1,250 %"), (0.0, "0 %"),
     (None, "-"), (float("nan"), "-")],
)  # fmt: skip
def test_shares_have_two_digits(fraction, told):
    """From ten times to a hundred thousandth."""
    assert share(fraction) == told
