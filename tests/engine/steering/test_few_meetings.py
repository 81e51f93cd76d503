"""A trainer that meets only where somebody wants to decides the same as one that always does."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.control import Command, Request
from engine.distributed import Ranks
from engine.events import ControlApplied, Event
from engine.run.run_dir import RunDir
from engine.steering.inbox import post
from engine.steering.steering import Decision, Steering
from tests.processes import make_run


class Notes:
    """A bus that keeps what it is given."""

    lost_folder = ""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def folder_in_place(self) -> bool:
        return True


ASKED = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.sampled_from(
            [
                (Command.RESUME, 1.0),
                (Command.RESUME, 3.0),
                (Command.LR_FACTOR, 0.5),
                (Command.LR_FACTOR, 2.0),
                (Command.EVALUATE, None),
                (Command.CHECKPOINT, None),
                (Command.CANCEL, None),
                (Command.PAUSE, None),
                (Command.STOP, None),
            ]
        ),
    ),
    max_size=8,
)


def driven(
    folder: Path, asked: list[tuple[int, tuple[Command, float | None]]], *, always: bool
) -> tuple[list[Decision], list[ControlApplied]]:
    """Decisions of 14 boundaries and the answers; a pause is resumed at once."""
    run: RunDir = make_run(folder)
    bus = Notes()
    steering = Steering(run, bus, Ranks(device=torch.device("cpu")), 1)  # type: ignore[arg-type]
    decisions: list[Decision] = []
    again = True
    for step in range(14):
        for number, (when, (command, argument)) in enumerate(asked):
            if when == step:
                post(run, Request(id=f"r{number}", command=command, argument=argument))
        meets = always or again or steering.wants_meeting(step)
        decision = steering.at_boundary(step) if meets else steering.unchanged()
        again = decision.again
        decisions.append(replace(decision, again=False))
        if decision.paused:
            post(run, Request(id=f"resume-{step}", command=Command.RESUME))
            decisions.append(replace(steering.wait_while_paused(step), again=False))
        if decision.stop:
            break
    return decisions, [e for e in bus.events if isinstance(e, ControlApplied)]


@settings(max_examples=30)
@given(asked=ASKED)
def test_a_boundary_that_nobody_wanted_would_have_decided_nothing(
    asked: list[tuple[int, tuple[Command, float | None]]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        eager = driven(Path(name) / "always", asked, always=True)
        lazy = driven(Path(name) / "wanted", asked, always=False)
    assert lazy == eager
