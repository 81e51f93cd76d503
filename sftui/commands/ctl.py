"""`sftui ctl`: append one request to a run, wait for its answer and print it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from engine.control import Command, Request
from engine.errors import RunDirError, UsageError, WireError
from engine.events import ControlApplied, RunFinished
from engine.journal import event_files, wire
from engine.run.run_dir import RunDir
from engine.steering import inbox
from sftui.text import format as fmt
from sftui.verbs.typed import lr_factor, steps_of

POLL_SECONDS = 0.05
ALIVE_SECONDS = 2.0
"""Between two checks that the run is alive."""


def ask(
    run: RunDir,
    command: Command,
    argument: float | None = None,
    *,
    author: str = "ctl",
    timeout_seconds: float = 120.0,
    alive: Callable[[], bool],
) -> ControlApplied:
    """Append one request and wait for its acknowledgement.

    Raises:
        RunDirError: the run is over, or nothing answered within `timeout_seconds`.
    """
    if not alive() or event_files.finished(run) is not None:
        raise RunDirError(
            f"{run.id} is not running, so nothing can answer. `sftui runs` shows which runs are."
        )
    now = time.time()
    request = Request(
        id=wire.new_id(),
        command=command,
        argument=argument,
        author=author,
        t=now,
        expires=now + timeout_seconds,
    )
    offset = run.events.stat().st_size if run.events.exists() else 0
    inbox.post(run, request)
    deadline = time.monotonic() + timeout_seconds
    look_again = time.monotonic() + ALIVE_SECONDS
    rest = b""
    while time.monotonic() < deadline:
        offset, lines, rest = _new_lines(run.events, offset, rest)
        for line in lines:
            try:
                event = wire.decode(line)
            except WireError:
                continue
            if isinstance(event, ControlApplied) and event.id == request.id:
                return event
            if isinstance(event, RunFinished):
                raise RunDirError(f"{run.id} ended ({event.status}) before it could answer.")
        if time.monotonic() > look_again:
            look_again = time.monotonic() + ALIVE_SECONDS
            if not alive():
                # Whoever is left when the ranks are gone answers what they could not.
                for event in event_files.scan(run.supervisor_events, ControlApplied):
                    if isinstance(event, ControlApplied) and event.id == request.id:
                        return event
                raise RunDirError(f"{run.id} died before it could answer. `sftui show` says more.")
        time.sleep(POLL_SECONDS)
    raise RunDirError(
        f"{run.id} did not answer {command.value} within {timeout_seconds:.0f} s; the request "
        "has expired. `sftui runs` shows whether it is alive."
    )


def parse_command(word: str, argument: str | None) -> tuple[Command, float | None]:
    """The command of the words typed.

    Raises:
        UsageError: unknown command, or an argument where none (or a number) belongs.
    """
    try:
        command = Command(word)
    except ValueError:
        from engine.config import nearest  # noqa: PLC0415  all settings, for a mistyped word

        words = [c.value for c in Command]
        close = nearest(word, words) or "."
        raise UsageError(
            f"unknown command {word!r}; expected one of {', '.join(words)}{close}"
        ) from None
    if command is Command.RESUME and argument is not None:
        return command, float(steps_of(argument, "resume", "resume 50"))
    if command is not Command.LR_FACTOR:
        if argument is not None:
            raise UsageError(f"{word} takes no argument; found {argument!r}.")
        return command, None
    if argument is None:
        raise UsageError("lr takes a factor on the schedule: type sftui ctl RUN lr 0.5.")
    return command, lr_factor(argument)


CLOCK_TOLERANCE_SECONDS = 5.0
"""Between the clocks of two machines that are kept right."""


def clocks_differ(answer: ControlApplied, asked: float, now: float) -> str:
    """By how much the run's clock is off this machine's, in words; empty when it is not.

    The answer was made between `asked` and `now` (seconds since the epoch).
    """
    there = answer.stamp.t
    if there is None or asked - CLOCK_TOLERANCE_SECONDS < there < now + CLOCK_TOLERANCE_SECONDS:
        return ""
    off = there - now
    side = "ahead of" if off > 0 else "behind"
    return f"the clocks differ: the run's is {fmt.duration(abs(off))} {side} this machine's"


def words(answer: ControlApplied) -> str:
    """The answer as one line."""
    at = "" if answer.step is None else f" at step {answer.step}"
    reason = f": {answer.reason}" if answer.reason else ""
    return f"{answer.command} {answer.outcome}{at}{reason}"


def _new_lines(path: Path, offset: int, rest: bytes) -> tuple[int, list[bytes], bytes]:
    """Whole lines after `offset`, and the unfinished tail."""
    if not path.exists():
        return offset, [], rest
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    *lines, rest_now = (rest + data).split(b"\n")
    return offset + len(data), lines, rest_now
