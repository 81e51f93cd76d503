"""A later attempt that goes on before every result of a task: nobody finds a task without one.

`show` and `report` asked a task for its last result, and there was none.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.state.run_state import RunState
from tests.conftest import examples

TASKS, SETS = ("MMLU", "ARC-Easy"), ("", "code", "chat")


def result(step: int, task: str, attempt: int) -> ev.EvalFinished:
    return ev.EvalFinished(
        step=step, task=task, correct=step % 10, total=10, stamp=ev.Stamp(att=attempt)
    )


@examples(100)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("eval"), st.integers(0, 30), st.sampled_from(TASKS)),
            st.tuples(st.just("val"), st.integers(0, 30), st.sampled_from(SETS)),
            st.tuples(st.just("again"), st.integers(0, 30), st.just("")),
        ),
        max_size=15,
    )
)
def test_every_task_and_set_that_is_there_has_a_result(told: list[tuple[str, int, str]]) -> None:
    state, attempt = RunState(), 1
    for kind, step, name in told:
        stamp = ev.Stamp(att=attempt)
        match kind:
            case "eval":
                state.apply(result(step, name, attempt))
            case "val":
                state.apply(
                    ev.ValidationFinished(
                        step=step, loss=1.0, metric="loss", set_name=name, stamp=stamp
                    )
                )
            case _:
                attempt += 1
                stamp = ev.Stamp(att=attempt)
                state.apply(ev.AttemptStarted(step=step, start_step=step, stamp=stamp))
                state.apply(ev.StepFinished(step=step, loss=1.0, stamp=stamp))
        assert all(state.evals.values())
        assert all(state.other_validations.values())
