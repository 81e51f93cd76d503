"""What the state keeps in columns answers as the records themselves would, kept in a dict."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.state.checkpoint_columns import Figures
from sftui.state.records import Checkpoint, Validation
from sftui.state.results import Evaluations, Validations
from sftui.state.run_state import RunState
from sftui.state.series import LARGEST, bounded
from tests.conftest import examples

NUMBERS = st.sampled_from([None, 0.0, -0.0, 0.25, 1.5, math.nan, math.inf, 1e300])
TIMES = st.sampled_from([None, 1.7e9, 1.7e9 + 0.1])
PATHS = st.sampled_from(
    ["", "a", "1", "01", "ckpt/step-000120", "ckpt/step-120", "ckpt/step-121", "out/12/model.pt"]
) | st.from_regex(r"(?s)[a-z/\n]{0,3}[0-9]{0,17}[.²٣a]{0,2}", fullmatch=True)
STAMPS = st.builds(
    ev.Stamp,
    run=st.sampled_from(["", "run"]),
    src=st.sampled_from(["r0", "sup"]),
    seq=st.integers(0, 3) | st.just(2**53 + 1),
    t=NUMBERS,
    m=NUMBERS,
)
FOUND = st.builds(
    ev.EvalFinished,
    task=st.just("GSM8K"),
    step=st.integers(0, 6),
    correct=st.sampled_from([None, 0, 3, 2**53 + 1]),
    total=st.sampled_from([None, 0, 4]),
    accuracy=NUMBERS,
    chance=NUMBERS,
    one_letter=NUMBERS,
    seconds=NUMBERS,
    items_file=st.sampled_from([None, "evals/1.jsonl"]),
    letters=st.sampled_from([{}, {"A": 3}]),
    stamp=STAMPS,
)
LOSSES = st.builds(
    Validation,
    step=st.integers(0, 6),
    loss=st.sampled_from([0.5, 2.0, -0.0, math.nan, math.inf, LARGEST, -1.1]),
    metric=st.just("loss"),
    seconds=NUMBERS,
    t=NUMBERS,
    rows_file=st.sampled_from([None, "evals/1.jsonl"]),
    loss_by_source=st.sampled_from([{}, {"math": 1.0}]),
)
REWIND = st.integers(0, 6)


def alike(found: Any, wanted: Any) -> bool:
    """`==` by what is written of them, which tells NaN from None and 0.0 from -0.0."""
    return repr(found) == repr(wanted)


@given(st.lists(FOUND | REWIND, max_size=25))
@examples(30)
def test_evaluations_come_back_whole(told: list[ev.EvalFinished | int]) -> None:
    """In any order of steps, again and again, behind a rewind, with NaN and huge counts."""
    results, wanted = Evaluations("GSM8K"), dict[int, ev.EvalFinished]()
    for one in told:
        if isinstance(one, int):
            results.drop_after(one)
            wanted = {step: kept for step, kept in wanted.items() if step <= one}
        else:
            assert one.step is not None
            results.put(one.step, one)
            wanted[one.step] = one
        assert alike(list(results.ordered), [wanted[step] for step in sorted(wanted)])
        assert list(results) == sorted(wanted)
        for step in range(7):
            assert alike(results.get(step), wanted.get(step))


@given(st.lists(LOSSES | REWIND, max_size=25))
@examples(30)
def test_validations_come_back_whole(told: list[Validation | int]) -> None:
    results, wanted = Validations(), dict[int, Validation]()
    for one in told:
        if isinstance(one, int):
            results.drop_after(one)
            wanted = {step: kept for step, kept in wanted.items() if step <= one}
        else:
            results.put(one)
            wanted[one.step] = one
        assert alike(list(results.ordered), [wanted[step] for step in sorted(wanted)])
        finite = [kept for kept in wanted.values() if math.isfinite(kept.loss)]
        best = min(finite, key=lambda kept: (kept.loss, kept.step), default=None)
        assert alike(results.best, best)


SAVED = st.builds(
    ev.CheckpointSaved,
    step=st.integers(0, 6),
    path=PATHS,
    size_bytes=st.sampled_from([None, 0, 7, -1, 2**62]),
    val_loss=NUMBERS,
    reason=st.sampled_from(["schedule", "export", "a word of tomorrow"]),
    kind=st.sampled_from(["sftui", "nanochat", "hf"]),
    stamp=st.builds(ev.Stamp, t=TIMES),
)
REMOVED = st.builds(ev.CheckpointRemoved, path=PATHS)


@given(st.lists(SAVED | REMOVED, max_size=25), st.integers(0, 25))
@examples(40)
def test_checkpoints_come_back_whole(told: list[ev.Event], moment: int) -> None:
    """By path, saved again, removed, of any name; a list of a moment stays as it was."""
    state, wanted = RunState(), dict[str, Checkpoint]()
    listed, then = state.checkpoint_rows().listed(), list[Checkpoint]()
    for number, event in enumerate(told):
        state.apply(event)
        if isinstance(event, ev.CheckpointSaved):
            wanted.pop(event.path, None)
            assert event.step is not None
            wanted[event.path] = Checkpoint(
                step=event.step,
                path=event.path,
                size_bytes=event.size_bytes,
                reason=event.reason,
                kind=event.kind,
                val_loss=None if event.val_loss is None else bounded(event.val_loss),
                t=event.stamp.t,
            )
        elif isinstance(event, ev.CheckpointRemoved) and event.path in wanted:
            known = wanted[event.path]
            gone = {name: getattr(known, name) for name in Checkpoint.__slots__}
            wanted[event.path] = Checkpoint(**(gone | {"removed": True}))
        found = state.checkpoints
        assert alike(list(found.items()), list(wanted.items()))
        assert alike(list(found.values()), list(wanted.values()))
        assert list(found) == list(wanted)
        assert len(found) == len(wanted)
        for path in ("a", "1", "ckpt/step-000120", *wanted):
            assert alike(found.get(path), wanted.get(path))
            assert (path in found) == (path in wanted)
        if number == moment:
            listed = state.checkpoint_rows().listed()
            then = list(state.checkpoint_rows())
    assert alike(list(listed), then)
    assert alike([listed[i] for i in range(len(listed))], then)
    assert alike(listed.removed.tolist(), [one.removed for one in then])
    figures, kept = listed.figures, Figures.of(then)
    for name in ("losses", "told", "sizes", "times"):
        assert alike(getattr(figures, name).tolist(), getattr(kept, name).tolist())
