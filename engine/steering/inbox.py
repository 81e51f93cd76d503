"""Where requests come from: new lines of `control.jsonl`, whoever appended them.

Each request gets exactly one answer over the whole life of a run, restarts of
the ranks included: the file is read from its start by every attempt, and what
the event log has already answered is passed over.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from engine.control import Command, Request
from engine.errors import RunDirError, WireError
from engine.events import ControlApplied, ControlOutcome
from engine.files import checked
from engine.journal import wire
from engine.journal.event_files import ends_a_line, scan
from engine.run.owners import other_owner
from engine.run.run_dir import RunDir

HISTORY_VARIABLE = "SFTUI_CONTROL_BYTES"
"""Size of `control.jsonl` when the present supervisor took a run up again."""

_BLOCK_BYTES = 256 * 1024

MAX_REQUEST_BYTES = 16 * 1024
"""A request is a few hundred bytes; a longer line is no request."""

_SHORTEST = len('{"id":"a"}')
_NO_OBJECT = frozenset(range(0x21, 0x7F)) - {ord("{")}
"""First bytes of a line that is no JSON object, and so has no id to answer to."""

CLOCK_TOLERANCE_SECONDS = 5.0
"""Between the clocks of two machines that are kept right, with room for a slow disk."""


class RequestBatch(NamedTuple):
    """The new requests that one `Inbox.read` found."""

    requests: list[Request]
    """To be carried out, in file order."""
    refusals: list[ControlApplied]
    """Answers to requests that must not be carried out: expired, outdated, unknown."""


class Inbox:
    """Rank 0's reader of `control.jsonl`; without news a read costs one stat (about 2 us).

    Args:
        attempt: of the ranks; requests that name an older one are refused.
        history_bytes: size of the file when this session of the run began
            (`HISTORY_VARIABLE`): what was left unanswered then is not carried out today.
    """

    def __init__(
        self,
        run_dir: RunDir,
        attempt: int,
        *,
        history_bytes: int = 0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._looked: float | None = None
        """When the file was last seen as it had been read, on `clock`: what is new is younger."""
        self._path = run_dir.control
        self._attempt = attempt
        self._history_bytes = history_bytes
        self._now = now
        self._answered = answered_ids(run_dir)
        self._offset = 0
        self._torn = b""
        """Beginning of the last line, which has no end yet."""
        self._skipping = False
        """Whether the line that has no end yet is too long to be a request."""
        self._seen: tuple[int, int, int] | None = None
        self.num_bad_lines = 0
        """Lines that are no request and have no id to answer to."""

    def changed(self) -> bool:
        """Whether the file has changed since the last `read`."""
        found = self._stat() not in (None, self._seen)
        if not found:
            self._looked = self._clock()
        return found

    def read(self) -> RequestBatch:
        """The requests that came in since the last call, each id once."""
        batch = RequestBatch([], [])
        now = self._clock()
        seen = self._stat()
        if seen is None or seen == self._seen:
            self._looked = now
            return batch
        if self._seen is None or seen[0] != self._seen[0] or seen[2] < self._offset:
            # Another file, or a shortened one: read it all; ids keep answers single.
            self._offset, self._torn, self._skipping = 0, b"", False
        self._seen = seen
        for start, line in self._new_lines():
            self._sort(line, start < self._history_bytes, batch)
        self._looked = now
        return batch

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  Path.stat costs twice as much, every step
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _new_lines(self) -> Iterator[tuple[int, bytes]]:
        """Whole lines that were not there before, each with its offset.

        What is longer than a request, with or without a line end, is no request: it is counted,
        and its bytes are passed over in blocks, each once.
        """
        try:
            with checked.open_file(self._path) as file:
                file.seek(self._offset)
                while data := file.read(_BLOCK_BYTES):
                    yield from self._lines_of(data)
                    self._offset += checked.skip_hole(file, data)
        except OSError:
            return

    def _lines_of(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        start = self._offset - len(self._torn)
        self._offset += len(data)
        lines = (self._torn + data).split(b"\n")
        # A line without its newline is still being written.
        self._torn = lines.pop()
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif len(line) < _SHORTEST or line[0] in _NO_OBJECT:
                # Millions of them cost little more than their bytes.
                self.num_bad_lines += bool(line.strip())
            elif line.strip():
                yield start, line
            start += len(line) + 1
        if len(self._torn) > MAX_REQUEST_BYTES:
            self.num_bad_lines += not self._skipping
            self._skipping, self._torn = True, b""

    def _sort(self, line: bytes, is_history: bool, batch: RequestBatch) -> None:
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
                batch.refusals.append(
                    ControlApplied(
                        id=request_id, command="?", outcome="rejected", reason=str(error.args[0])
                    )
                )
            return
        if request.id in self._answered:
            return
        self._answered.add(request.id)
        if is_history:
            reason = "left over from an earlier session of the run; ask again"
            batch.refusals.append(answer(request, "rejected", reason))
        elif request.attempt is not None and request.attempt < self._attempt:
            reason = f"the ranks were restarted since: this is attempt {self._attempt}, not "
            batch.refusals.append(answer(request, "rejected", f"{reason}{request.attempt}"))
        elif late := self._too_late(request):
            batch.refusals.append(answer(request, "expired", late))
        else:
            batch.requests.append(request)

    def _too_late(self, request: Request) -> str:
        """Why a request must not be applied any more, in words; empty when it may be.

        Its times are of its author's clock, which may be hours off. By ours it has been in the
        file since our last look at the most. One that looks old may be held up as well (a network
        disk, a laptop that slept), so it is not applied; one from the future shows that the clocks
        differ, and lives as long as it asked for, by our clock.
        """
        if request.expires is None:
            return ""
        age = self._now() - request.t
        here = None if self._looked is None else self._clock() - self._looked
        if request.t and age < -CLOCK_TOLERANCE_SECONDS:
            if here is not None and here <= request.expires - request.t:
                return ""
            return f"the clocks differ: its author's is {-age:.0f} s ahead of ours. Ask again"
        late = self._now() - request.expires
        if late <= 0:
            return ""
        said = f"read {late:.0f} s too late"
        if here is None or age <= here + CLOCK_TOLERANCE_SECONDS:
            return said
        return f"{said}, by its author's clock; it was held up, or the clocks differ"


def answer(
    request: Request, outcome: ControlOutcome = "applied", reason: str = "", step: int | None = None
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


def late_answer(request: Request, step: int | None = None) -> ControlApplied:
    """The answer to a request that came when the run was over."""
    if request.command is Command.STOP:
        return answer(request, "applied", "the run was ending anyway", step)
    return answer(request, "rejected", "the run has ended", step)


def post(run_dir: RunDir, request: Request) -> None:
    """Append a request to `control.jsonl` with one write call, from any process.

    Raises:
        RunDirError: it could not be written whole.
    """
    line = wire.encode_request(request)
    try:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        descriptor = checked.open_descriptor(run_dir.control, flags)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM) and (name := other_owner(run_dir.path)):
            raise RunDirError(
                f"the run is {name}'s, and only who may write {run_dir.control} can steer it."
            ) from None
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


def answered_ids(run_dir: RunDir) -> set[str]:
    """Ids of the requests that have their answer, by a rank or by the supervisor."""
    found = [
        *scan(run_dir.events, ControlApplied),
        *scan(run_dir.supervisor_events, ControlApplied),
    ]
    return {event.id for event in found if isinstance(event, ControlApplied)}
