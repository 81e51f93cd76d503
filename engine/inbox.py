"""Where controls come from: new lines of `control.jsonl`, whoever appended them.

Each request gets exactly one answer over the whole life of a run, restarts of
the ranks included: the file is read from its start by every attempt, and what
the event log has already answered is passed over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from engine import wire
from engine.control import Request
from engine.errors import RunDirError, WireError
from engine.events import ControlApplied
from engine.journal import ends_a_line, scan
from engine.run_dir import RunDir

MAX_REQUEST_BYTES = 16 * 1024
"""A request is a few hundred bytes; a longer line is no request."""


class Mail(NamedTuple):
    """What one look at the inbox found."""

    requests: list[Request]
    """To be carried out, in file order."""
    refusals: list[ControlApplied]
    """Answers to requests that must not be carried out: expired, outdated, unknown."""


class Inbox:
    """Rank 0's reader of `control.jsonl`; a look without news costs one stat (about 2 us)."""

    def __init__(
        self, run_dir: RunDir, attempt: int, *, now: Callable[[], float] = time.time
    ) -> None:
        self._path = run_dir.control
        self._attempt = attempt
        self._now = now
        self._answered = answered_ids(run_dir.events)
        self._offset = 0
        self._seen: tuple[int, int, int] | None = None
        self.num_bad_lines = 0
        """Lines that are no request and have no id to answer to."""

    def changed(self) -> bool:
        """Whether the file has changed since the last `read`."""
        return self._look() not in (None, self._seen)

    def read(self) -> Mail:
        """The requests that came in since the last call, each id once."""
        mail = Mail([], [])
        seen = self._look()
        if seen is None or seen == self._seen:
            return mail
        if self._seen is None or seen[0] != self._seen[0] or seen[2] < self._offset:
            # Another file, or a shortened one: read it all; ids keep answers single.
            self._offset = 0
        self._seen = seen
        for line in self._new_lines():
            self._sort(line, mail)
        return mail

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  Path.stat costs twice as much, every step
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        # A line without its newline is still being written.
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [line for line in whole.split(b"\n") if line.strip()]

    def _sort(self, line: bytes, mail: Mail) -> None:
        try:
            if len(line) > MAX_REQUEST_BYTES:
                raise WireError(f"a request of {len(line)} bytes; at most {MAX_REQUEST_BYTES}")
            request = wire.decode_request(line)
        except WireError as error:
            if len(error.args) < 2:
                self.num_bad_lines += 1
                return
            request_id = str(error.args[1])
            if request_id not in self._answered:
                self._answered.add(request_id)
                mail.refusals.append(
                    ControlApplied(
                        id=request_id, command="?", outcome="rejected", reason=str(error.args[0])
                    )
                )
            return
        if request.id in self._answered:
            return
        self._answered.add(request.id)
        if request.attempt is not None and request.attempt < self._attempt:
            reason = f"the ranks were restarted since: this is attempt {self._attempt}, not "
            mail.refusals.append(answer(request, "rejected", f"{reason}{request.attempt}"))
        elif request.expires is not None and request.expires < self._now():
            late = self._now() - request.expires
            mail.refusals.append(answer(request, "expired", f"read {late:.0f} s too late"))
        else:
            mail.requests.append(request)


def answer(
    request: Request, outcome: str = "applied", reason: str = "", step: int | None = None
) -> ControlApplied:
    """The answer to a request."""
    return ControlApplied(
        id=request.id,
        command=request.command.value,
        outcome=outcome,
        reason=reason,
        author=request.author,
        argument=request.argument,
        step=step,
    )


def post(run_dir: RunDir, request: Request) -> None:
    """Append a request to `control.jsonl` with one write call, from any process.

    Raises:
        RunDirError: it could not be written whole.
    """
    line = wire.encode_request(request)
    try:
        descriptor = os.open(run_dir.control, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise RunDirError(f"cannot open {run_dir.control}: {error.strerror}.") from None
    try:
        # A writer that died in the middle of a line must not spoil this one.
        data = b"" if ends_a_line(descriptor) else b"\n"
        data += line
        written = os.write(descriptor, data)
    except OSError as error:
        raise RunDirError(
            f"cannot write {run_dir.control}: {error.strerror}. "
            "Make room on the disk and ask again."
        ) from None
    finally:
        os.close(descriptor)
    if written < len(data):
        raise RunDirError(f"{run_dir.control}: the disk is full. Make room and ask again.")


def answered_ids(events_path: Path) -> set[str]:
    """Ids of the requests that the event log has answered."""
    found = scan(events_path, ControlApplied)
    return {event.id for event in found if isinstance(event, ControlApplied)}
