"""The run as plain lines: for a pipe, a dumb terminal or `--headless`.

The same source and the same state as the screen, one line an event that matters
and one line every few steps. Ctrl-C once stops the run with a checkpoint and
waits for it; twice leaves the run running and goes. SIGTERM, by which a cluster or a
container takes its machine back, stops the run and waits: who ends first takes all
others of the job along.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from engine import events as ev
from engine.control import Command, Request
from engine.errors import SftuiError
from engine.journal import wire
from sftui.logbook import event_lines
from sftui.sources import Source
from sftui.state.run_state import RunState
from sftui.terminal import interrupts
from sftui.text import format as fmt
from sftui.text.clean import clean

TICK_SECONDS = 0.25
"""Between two looks: twenty people may watch a run, and each look costs the machine of the run."""

STEP_LINE_SECONDS = 5.0
"""Seconds between two lines of training: fast runs make hundreds a minute; run.log has all."""


class PlainView:
    """Turns events into lines, by way of the one state."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.state = RunState()
        self._write = write
        self._step_line_at = -STEP_LINE_SECONDS

    def show(self, event: ev.Event) -> None:
        """Fold one event and print it, if it is worth a line."""
        self.state.apply(event)
        at = event_lines.time_of_day(event.stamp.t)
        if isinstance(event, ev.StepFinished):
            now = event.stamp.t or 0.0
            last = self.state.planned is not None and self.state.updates >= self.state.planned
            if now - self._step_line_at >= STEP_LINE_SECONDS or last:
                self._step_line_at = now
                self._write(f"{at}   {self._step_line(event)}")
            return
        if isinstance(event, ev.RankHeartbeat):
            return
        if isinstance(event, ev.PhaseStarted):
            detail = f" {clean(event.detail, 120)}" if event.detail else ""
            self._write(f"{at} - {clean(event.phase, 40)}{detail}")
            return
        entry = event_lines.entry(event)
        if entry is not None:
            self._write(f"{at} {entry.mark} {entry.text}")

    def _step_line(self, event: ev.StepFinished) -> str:
        state = self.state
        planned = "" if state.planned is None else f"/{fmt.count(state.planned)}"
        parts = [
            f"step {fmt.count((event.step or 0) + 1)}{planned}",
            f"loss {fmt.loss(event.loss)}",
            f"lr x{event.lr_mult:.3f}" if event.lr_mult is not None else "",
            f"{fmt.si(event.tokens_per_second)} tok/s" if event.tokens_per_second else "",
        ]
        eta = state.eta_seconds()
        if eta is not None:
            parts.append(f"eta {fmt.duration(eta)}")
        return "  ".join(part for part in parts if part)


def watch(
    source: Source,
    *,
    send_stop: bool,
    history: bool = True,
    told_to_end: bool = False,
    write: Callable[[str], None] | None = None,
    tell: Callable[[ev.Event], None] | None = None,
) -> tuple[RunState, bool]:
    """Print until the run is over; the state, and whether the person left before.

    `send_stop`: the first Ctrl-C, and SIGTERM, ask the run to stop (a run we started);
    otherwise Ctrl-C only ends the watching. Without `history` what happened so far is not
    printed. `told_to_end`: a SIGTERM came before we could count it. `tell` gets every event,
    for notices.
    """
    view = PlainView(write or _print)
    numbers = (signal.SIGINT, signal.SIGTERM) if send_stop else (signal.SIGINT,)
    with _counted(*numbers) as seen:
        asked, tries, noticed = 0, 0, False
        seen[signal.SIGTERM] = int(told_to_end)
        while not history and (past := source.poll()):
            for event in past:
                view.state.apply(event)
        while True:
            news = source.poll()
            for event in news:
                view.show(event)
                if tell is not None:
                    tell(event)
            if source.closed:
                return view.state, False
            if seen[signal.SIGTERM] and not noticed:
                noticed = _pass_on(source, view, first=not tries)
                tries += 1
            if seen[signal.SIGINT] > asked:
                asked = seen[signal.SIGINT]
                if not send_stop or asked > 1:
                    return view.state, True
                source.send(Request(id=wire.new_id(), command=Command.STOP, author="ctrl-c"))
                view._write(
                    "stop requested: the run saves a checkpoint and ends. Ctrl-C again leaves it."
                )
            if not news:
                # While there is more, nobody waits: a long run's past is many polls.
                time.sleep(TICK_SECONDS)


def _pass_on(source: Source, view: PlainView, *, first: bool) -> bool:
    """Ask the run to stop; False where no request can be written yet, as on a full disk."""
    try:
        source.send(Request(id=wire.new_id(), command=Command.STOP, author=signal.SIGTERM.name))
    except SftuiError as error:
        if first:
            view._write(f"told to end (SIGTERM), but {clean(str(error), 300)} It is tried again.")
        return False
    view._write("told to end (SIGTERM): the run saves a checkpoint and ends.")
    return True


@contextmanager
def _counted(*numbers: signal.Signals) -> Iterator[Counter[int]]:
    """Count these signals instead of dying of them."""
    seen: Counter[int] = Counter()

    def count(number: int, frame: FrameType | None) -> None:
        seen[number] += 1

    before = {number: signal.signal(number, count) for number in numbers}
    if interrupts.noted():
        # Pressed before this, where the exception was dropped.
        interrupts.forget()
        seen[signal.SIGINT] += 1
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
