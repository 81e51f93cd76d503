"""What readers of printed logs share: lines to rows, stages, and the lines nobody knows.

A subclass says how its lines look (`_line`); rows and results find their stage here.
The names of other trainers are brought to those of `StepFinished`; a number that has
no place there stays a free metric under its own name.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from engine.events import (
    ACCURACY_COLUMN,
    VALIDATION_COLUMN,
    EndStatus,
    EvalFinished,
    Event,
    LogLine,
    RunFinished,
    RunStarted,
    Scalar,
    Stamp,
    ValidationFinished,
    is_result_column,
)
from sftui.logbook.log_level import log_level
from sftui.readers import LineBuffer, LineCounts, Sniffed, leftovers
from sftui.readers.rows import Rows
from sftui.readers.tasks import task_of
from sftui.readers.tracebacks import Tracebacks

LOG_LINES = 20_000
"""Unknown lines kept as `LogLine`; a screen keeps 5000, and a million would fill the memory."""
LOG_CHARACTERS = 2000

_ROWS_OF_A_RUN = 3
"""With fewer rows before it, a falling step is rather the other of two interleaved writers."""

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|NaN|inf|Infinity)"
"""A printed number, NaN and infinities included. `float` takes whatever it matches."""

_FIELDS = {
    "grad_norm": "grad_norm",
    "gradnorm": "grad_norm",
    "gnorm": "grad_norm",
    "norm": "grad_norm",
    "lr": "lrs/lr",
    "learning_rate": "lrs/lr",
    "lrm": "lr_mult",
    "epoch": "epoch",
    "tps": "tokens_per_second",
    "tok/s": "tokens_per_second",
    "tok/sec": "tokens_per_second",
    "tok_per_sec": "tokens_per_second",
    "tokens/s": "tokens_per_second",
    "tokens/sec": "tokens_per_second",
    "tokens_per_second": "tokens_per_second",
}
_COLUMNS = frozenset(_FIELDS.values()) | {"loss", "seconds"}
_LOSS = re.compile(r"(?:train|training|batch)?[_/ ]?loss(?:_step|/train|/step)?")
_VALIDATION = re.compile(
    r"(?:epoch_)?(?:val|valid|validation|eval|dev|test)[_/ ]?(loss|bpb)(?:_epoch)?"
    r"|loss/(?:val|eval)"
)
_ACCURACY = re.compile(
    r"(?:epoch_)?(?:val|valid|validation|eval|dev|test)[_/ ](?:(.*)[_/ ])?(?:acc|accuracy)"
    r"(?:_epoch)?"
)


@functools.lru_cache(maxsize=1000)
def canonical(name: str) -> str:
    """A number's column in a `StepBatch`: a field of `StepFinished`, or its own name."""
    plain = name.lower().replace(" ", "_")
    if _LOSS.fullmatch(plain):
        return "loss"
    return _FIELDS.get(plain.removeprefix("train/"), name)


@functools.lru_cache(maxsize=1000)
def _columns_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Canonical names of a row; the second of two that mean the same keeps its own."""
    found: list[str] = []
    for name in names:
        column = canonical(name)
        found.append(name if column in found else column)
    if all(column == "epoch" or _is_free(column) for column in found):
        # The epoch alone is no update: Lightning and others add it to every line.
        return tuple("" if column == "epoch" else column for column in found)
    return tuple(found)


@functools.lru_cache(maxsize=1000)
def _columns_with_results(names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of a row; of two that mean the same result the second keeps its own name."""
    found = [_result_column(name) for name in names]
    free = tuple(name for name, column in zip(names, found, strict=True) if column is None)
    plain = iter(_columns_of(free))
    out: list[str] = []
    for name, column in zip(names, found, strict=True):
        if column is None:
            out.append(next(plain))
        else:
            out.append(name if column in out else column)
    return tuple(out)


def _result_column(name: str) -> str | None:
    """The column of a `StepBatch` for results of that name; None for any other number."""
    plain = name.lower()
    if match := _VALIDATION.fullmatch(plain):
        return VALIDATION_COLUMN + ("bpb" if match[1] == "bpb" else "loss")
    match = _ACCURACY.fullmatch(plain)
    task = task_of(name) or ((match[1] or "eval") if match else None)
    return None if task is None else ACCURACY_COLUMN + task


def _holds(column: str, values: Sequence[float]) -> bool:
    """Whether a column of results can hold these: known, and fractions where it is accuracies."""
    if not is_result_column(column):
        return True
    fractions = column.startswith(VALIDATION_COLUMN) or 0.0 <= min(values) <= max(values) <= 1.0
    return fractions and not math.isnan(sum(values))


def _is_free(column: str) -> bool:
    return column not in _COLUMNS


def is_progress_bar(line: str) -> bool:
    """One redraw of a progress bar, of which a log holds thousands."""
    return "%|" in line or "it/s]" in line or "B/s]" in line or "s/it]" in line


class TextReader:
    """A reader of one line after another; see the module."""

    name: ClassVar[str]
    words: ClassVar[str]
    """The format, for a person."""
    marks: ClassVar[re.Pattern[bytes]]
    """What tells the format: found in the first bytes of its files, and in no other's."""
    stage_name: str = "train"

    def __init__(self) -> None:
        self.lines = LineCounts()
        self._buffer = LineBuffer()
        self._rows = Rows()
        self._rows_timed = False
        self._out: list[Event] = []
        self._stages = 0
        self._running = False
        self._stamp = Stamp(src=self.name)
        self._began: float | None = None
        """Wall clock of the start of the program, where a log tells it apart from its rows."""
        self._step = -1
        self._measured = -1
        """The furthest step of a validation or evaluation of the stage."""
        self._first_step = -1
        self._num_rows = 0
        self._total: int | None = None
        self._settings: dict[str, Scalar] = {}
        self._ended = False
        self._logged = 0
        self._tracebacks = Tracebacks()
        self._at_traceback: tuple[int, int, int] = (0, 0, 0)
        """How far the run was when the last traceback was read."""

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        found = cls.marks.findall(head)
        if not found:
            return Sniffed(0.0)
        first = cls.marks.search(head)
        example = first[0].decode("utf-8", "replace").strip()[:60] if first else ""
        return Sniffed(
            min(0.95, 0.5 + 0.05 * len(found)),
            f"{len(found)} line{'s' * (len(found) != 1)} like {example!r}",
        )

    @property
    def format(self) -> str:
        return self.words

    @property
    def stage(self) -> str | None:
        return self.stage_name if self._running else None

    def feed(self, data: bytes) -> list[Event]:
        lines = self._buffer.feed(data)
        self.lines.total += len(lines)
        for line in filter(None, lines):
            if not line.isspace():
                if not self._reads(line):
                    self._unknown(line)
            else:
                self._blank(line)
        return self._drain()

    def close(self) -> list[Event]:
        last = self._buffer.close()
        if last is not None:
            self.lines.total += 1
            if last and not last.isspace() and not self._reads(last):
                self._unknown(last)
        self._end()
        self._settle_end()
        self._end_by_traceback()
        return self._drain()

    def _reads(self, line: str) -> bool:
        """Read a line that is not blank; a number in a traceback is none of the run's."""
        if self._tracebacks.is_open and self._takes_traceback(line):
            self.lines.unrecognised += 1
            self._log(line)
            return True
        return self._line(line)

    # ---- for subclasses --------------------------------------------------------------------

    def _line(self, line: str) -> bool:
        """Read one line that is not blank; False when it is not known."""
        raise NotImplementedError

    def _blank(self, line: str) -> None:
        """A line of blanks."""

    def _end(self) -> None:
        """The file is at its end."""

    def _settle_end(self) -> None:
        """Give what waited for more lines."""

    def _row(
        self,
        step: int,
        values: Mapping[str, float],
        *,
        total: int | None = None,
        t: float | None = None,
    ) -> None:
        """The numbers of one update, by canonical name."""
        self._enter(step, total)
        names = tuple(values)
        timed = t is not None
        if not self._rows.fits(names) or timed != self._rows_timed:
            self._out += self._rows.drain(self._stamp)
        self._rows_timed = timed
        self._rows.append(step, names, values.values(), t)
        self._step = step
        self._num_rows += 1

    def _result(self, step: int, name: str, value: float) -> bool:
        """A validation loss or an accuracy, if that is what its name says."""
        plain = name.lower()
        if match := _VALIDATION.fullmatch(plain):
            self._enter(step)
            self._measured = max(self._measured, step)
            metric = "bpb" if match[1] == "bpb" else "loss"
            self._emit(ValidationFinished(step=step, loss=value, metric=metric, stamp=self._stamp))
            return True
        match = _ACCURACY.fullmatch(plain)
        task = task_of(name) or ((match[1] or "eval") if match else None)
        if task is not None and 0 <= value <= 1:
            self._enter(step)
            self._measured = max(self._measured, step)
            self._emit(EvalFinished(step=step, task=task, accuracy=value, stamp=self._stamp))
            return True
        return False

    def _numbers(
        self,
        step: int,
        numbers: Mapping[str, float],
        *,
        total: int | None = None,
        t: float | None = None,
    ) -> None:
        """Numbers of one step under their printed names: an update, and results beside it."""
        row: dict[str, float] = {}
        apart: dict[str, float] = {}
        for name, column in zip(numbers, _columns_with_results(tuple(numbers)), strict=True):
            value = numbers[name]
            if column.startswith(ACCURACY_COLUMN) and not 0.0 <= value <= 1.0:
                column = name  # percent, or no accuracy at all: nothing that could be judged
            if math.isnan(value) and is_result_column(column):
                apart[name] = value  # in a column it would say that nothing was measured
            elif column:
                row[column] = value
        if row:
            self._row(step, row, total=total, t=t)
        for name, value in apart.items():
            if not self._result(step, name, value):
                self._row(step, {name: value}, total=total, t=t)

    def _block(self, steps: list[int], names: tuple[str, ...], columns: list[list[float]]) -> None:
        """Many rows at once, under printed names: as `_numbers` of each, but fast."""
        rising = all(map(operator.le, steps, steps[1:])) and steps[0] >= self._step
        found = _columns_with_results(names)
        results = any(map(is_result_column, found))
        once = not results or all(map(operator.lt, steps, steps[1:]))
        whole = all(map(_holds, found, columns))
        if not rising or not once or not whole:
            for step, row in zip(steps, zip(*columns, strict=True), strict=True):
                self._numbers(step, dict(zip(names, row, strict=True)))
            return
        kept = [(column, values) for column, values in zip(found, columns, strict=True) if column]
        if not kept:
            return
        self._enter(steps[0])
        row_names = tuple(column for column, _ in kept)
        if not self._rows.fits(row_names) or self._rows_timed:
            self._out += self._rows.drain(self._stamp)
        self._rows_timed = False
        self._rows.extend(steps, row_names, [values for _, values in kept])
        self._step = steps[-1]
        self._num_rows += len(steps)

    def _enter(self, step: int, total: int | None = None) -> None:
        """Make sure that a stage is open: the first, or a new one where steps start again.

        A step that falls a little is a run that was resumed, or two processes that write into
        one file; it stays in its stage, and the later row of a step counts.
        """
        if self._running and self._begins_again(step):
            self._out += self._rows.drain(self._stamp)
            self._running = False
            self._total = None
        if not self._running:
            self._stages += 1
            self._running, self._ended, self._step = True, False, -1
            self._first_step, self._num_rows, self._measured = step, 0, -1
            self._total = total if total is not None else self._total
            self._stamp = Stamp(src=self.name, run=f"{self.stage_name}-{self._stages}")
            self._say_start()
        elif total is not None and total != self._total:
            self._total = total
            self._say_start()

    def _begins_again(self, step: int) -> bool:
        """Whether this step is the first of another run."""
        again = step <= self._first_step and self._num_rows >= _ROWS_OF_A_RUN
        return again and step < self._step

    def _say_start(self) -> None:
        self._emit(
            RunStarted(
                name=self.stage_name,
                num_iterations=self._total,
                settings=dict(self._settings),
                stamp=self._stamp.at(self._began),
            )
        )

    def _finish(self, seconds: float | None = None, status: EndStatus = "finished") -> None:
        """The log says that its run came to its end."""
        if self._running and not self._ended:
            self._ended = True
            self._emit(
                RunFinished(
                    status=status, updates=self._reached(), seconds=seconds, stamp=self._stamp
                )
            )

    def _end_by_traceback(self) -> None:
        """A traceback, or a launcher's word, that nothing of the run came after is how it ended."""
        error = self._tracebacks.error
        if error and self._running and not self._ended and self._at_traceback == self._place():
            self._ended = True
            reason = error[:LOG_CHARACTERS]
            self._emit(
                RunFinished(
                    status=self._tracebacks.status,
                    reason=reason,
                    updates=self._reached(),
                    stamp=self._stamp,
                )
            )

    def _place(self) -> tuple[int, int, int]:
        return self._num_rows, self._step, self._measured

    def _reached(self) -> int | None:
        """The furthest step of the stage; None where none is known."""
        reached = max(self._step, self._measured)
        return reached if reached >= 0 else None

    def _unknown(self, line: str) -> None:
        self.lines.unrecognised += 1
        if not self._takes_traceback(line) and (shape := leftovers.shape_of(line)):
            self.lines.with_numbers += 1
            leftovers.note(self.lines.shapes, shape)
        self._log(line)

    def _log(self, line: str) -> None:
        """A line for the screen's log."""
        if self._logged < LOG_LINES and not is_progress_bar(line):
            self._logged += 1
            text = line[:LOG_CHARACTERS]
            self._emit(LogLine(text=text, level=log_level(line), stamp=self._stamp))

    def _takes_traceback(self, line: str) -> bool:
        if self._at_traceback != self._place():
            self._tracebacks.forget()
        if not self._tracebacks.take(line):
            return False
        self._at_traceback = self._place()
        return True

    def _emit(self, event: Event) -> None:
        if self._rows:
            self._out += self._rows.drain(self._stamp)
        self._out.append(event)

    def _drain(self) -> list[Event]:
        if self._rows:
            self._out += self._rows.drain(self._stamp)
        out, self._out = self._out, []
        return out
