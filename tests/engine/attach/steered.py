"""Post requests at chosen steps of a training in this process, and read what came of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from transformers import TrainerCallback

from engine.control import Command, Request
from engine.events import ControlApplied, Event, StepFinished
from engine.journal.event_files import scan
from engine.run.run_dir import RunDir
from engine.steering import inbox

E = TypeVar("E", bound=Event)


def ask(run: RunDir, request_id: str, command: Command, argument: float | None = None) -> None:
    """Append one request, as a screen would."""
    inbox.post(
        run,
        Request(id=request_id, command=command, argument=argument, author="test", t=time.time()),
    )


class AtSteps(TrainerCallback):
    """Does something when an update is done, ahead of the boundary of that step.

    `plan` maps `global_step` to what is called with the run directory.
    """

    def __init__(self, attached: Callable[[], Any], plan: dict[int, Callable[[RunDir], None]]):
        self._attached = attached
        self._plan = plan

    def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
        act = self._plan.get(state.global_step)
        if act is not None:
            act(RunDir(self._attached().run))


def in_a_pause(run: RunDir, *commands: tuple[str, Command]) -> None:
    """Pause now; once that is answered, ask for `commands` in turn, and resume at the end."""
    ask(run, "pause", Command.PAUSE)

    def go_on() -> None:
        wait_for_answer(run, "pause")
        for request_id, command in commands:
            ask(run, request_id, command)
            wait_for_answer(run, request_id)
        ask(run, "resume", Command.RESUME)

    threading.Thread(target=go_on, daemon=True).start()


def wait_for_answer(run: RunDir, request_id: str, seconds: float = 30.0) -> ControlApplied:
    """The answer to a request, once it is on disk."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for event in events(run.path, ControlApplied):
            if event.id == request_id:
                return event
        time.sleep(0.02)
    raise AssertionError(f"{request_id} was not answered")


def events(run: Path, kind: type[E]) -> list[E]:
    """All events of a kind, in file order."""
    return [event for event in scan(RunDir(run).events, kind) if isinstance(event, kind)]


def answers(run: Path) -> dict[str, ControlApplied]:
    """Answers by request; fails when one was answered twice."""
    found = events(run, ControlApplied)
    assert len({event.id for event in found}) == len(found)
    return {event.id: event for event in found}


def losses(run: Path) -> dict[int, float]:
    """Loss of every step; of a step that was made twice, the later one."""
    return {e.step or 0: e.loss for e in events(run, StepFinished) if e.loss is not None}
