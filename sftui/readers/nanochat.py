"""Read what nanochat's programs print: chat_sft, mid_train, base_train and their evaluations.

One file may hold a whole pipeline. Each program in it is a stage: its `RunStarted`
comes with the first line of its loop (name, settings and shape are in the start-up
lines before it), and once more when a later line names the planned iterations. A
stage ends where start-up lines come again, or where steps start again. Its stages
share a name when a program ran twice; `stamp.run` tells them apart.

`Final: 356/1024 (34.77%)` names no task. The line after it does: the metrics line in
chat_sft (tasks in the same order), `TASK accuracy: ...` in chat_eval.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from engine.events import (
    CheckpointSaved,
    EndStatus,
    EvalFinished,
    Event,
    LogLevel,
    LogLine,
    MetricLogged,
    RunFinished,
    SampleGenerated,
    Stamp,
    ValidationFinished,
)
from sftui.readers import LineBuffer, LineCounts, Sniffed
from sftui.readers import nanochat_lines as ln
from sftui.readers.last_words import last_words
from sftui.readers.nanochat_head import Head, script_of
from sftui.readers.nanochat_steps import StepRows, one_row, pretrain_rows, sft_rows
from sftui.readers.rows import Rows
from sftui.readers.tracebacks import ERROR

LOG_LINES = 20_000
"""Unknown lines kept as `LogLine`; a screen keeps 5000, and a million would fill the memory."""
LOG_CHARACTERS = 2000


_MARKS = re.compile(
    rb"Step \d+/\d+ \| Training loss: |step \d+(?:/\d+)? \([-\d.]+%\) \| loss: "
    rb"|Step \d+ \| (?:Validation (?:bpb|loss)|ChatCORE|\w+_acc): | - nanochat\.\w+ - "
    rb"|Final: \d+/\d+ \(\d|Overriding: \w+ = "
    rb"|scripts/(?:base_train|base_loss|mid_train|chat_sft|chat_eval|chat_rl)\.py"
)
_RESULT_LETTERS = frozenset("EtvC<MTP")


class NanochatReader:
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "nanochat"

    def __init__(self) -> None:
        self.lines = LineCounts()
        self._buffer = LineBuffer()
        self._rows = Rows()
        self._out: list[Event] = []
        self._head = Head()
        self._last_start = ""
        self._running = False
        self._ended = False
        self._stamp = Stamp(src=self.name)
        self._stages = 0
        self._step = -1
        self._eval_step: int | None = None
        self._finals: list[tuple[int, int]] = []
        self._scores: list[EvalFinished] = []
        self._seconds: float | None = None
        self._estimates = 0
        self._traceback = False
        self._error: str | None = None
        self._end: EndStatus = "failed"
        """What `_error` makes of the stage."""
        self._logged = 0

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        found = _MARKS.findall(head)
        if not found:
            return Sniffed(0.0)
        in_loop = [mark for mark in found if not mark.startswith((b" - ", b"Over"))]
        loops = len(in_loop)
        example = (in_loop or found)[0].decode("utf-8", "replace").strip(" -|:(")
        # A fork's own trainer uses nanochat's logger too: without a loop line it is no proof.
        confidence = min(0.98, 0.7 + 0.05 * loops) if loops else 0.3
        return Sniffed(
            confidence, f"{len(found):,} lines of nanochat's at its start, as {example!r}"
        )

    @property
    def format(self) -> str:
        return f"nanochat {self._head.generation or 'October 2025'}"

    @property
    def stage(self) -> str | None:
        return self._head.name if self._running else None

    def feed(self, data: bytes) -> list[Event]:
        lines = self._buffer.feed(data)
        self.lines.total += len(lines)
        lines = [*filter(None, lines)]
        at = 0
        while at < len(lines):
            start, line = at, lines[at]
            at += 1
            # Nearly all of a log is training lines; runs of them are converted column by column.
            if line[:5] == "step ":
                while at < len(lines) and lines[at][:5] == "step ":
                    at += 1
                self._run(lines[start:at], pretrain_rows)
            elif line[:5] == "Step " and "/" in line[:20]:
                while at < len(lines) and lines[at][:5] == "Step " and "/" in lines[at][:20]:
                    at += 1
                self._run(lines[start:at], sft_rows)
            elif line and not line.isspace():
                self._line(line)
        return self._drain()

    def close(self) -> list[Event]:
        last = self._buffer.close()
        if last is not None:
            self.lines.total += 1
            if last and not last.isspace():
                self._line(last, torn=True)
        self._end_stage()
        return self._drain()

    # ---- lines ------------------------------------------------------------------------------

    def _line(self, line: str, *, torn: bool = False) -> None:
        known = [self._piece(piece, torn) for piece in ln.pieces(line)]
        if any(known):
            self._traceback = False
            return
        if self._head.take(line) or self._result(line):
            return
        if ln.PROGRESS.match(line) or line == "=" * 50:
            return
        self._unknown(line)

    def _piece(self, text: str, torn: bool) -> bool:
        """One known line, which may be followed by foreign text."""
        if rows := one_row(text):
            if torn and rows.names[-1] == "supervised_tokens":
                # Without the end of its line the last number may lack digits.
                rows = replace(rows, names=rows.names[:-1], columns=rows.columns[:-1])
            self._take(rows)
        elif match := ln.STEP_VALUES.match(text):
            return self._values(int(match[1]), match[2])
        elif match := ln.FINAL.match(text):
            self._finals.append((int(match[1]), int(match[2])))
        elif match := ln.LOGGER.match(text):
            return self._logged_line(match)
        elif text.startswith("\u2705 Saved model checkpoint to"):
            self._finish()
        elif text.startswith(("Overriding: ", "Autodetected device type: ")):
            self._start_line(text, "override" if text[0] == "O" else "device")
            return self._head.take(text)
        else:
            return False
        return True

    def _start_line(self, text: str, mark: str) -> None:
        """A line that each program prints once (overrides: one each, before the others)."""
        if text == self._last_start:  # two writers into one file: every line comes twice
            return
        self._last_start = text
        marks = self._head.marks
        again = mark in marks if mark != "override" else "device" in marks and mark in marks
        if self._running or again or self._error is not None:
            self._end_stage()
            self._head = Head()

    def _logged_line(self, match: re.Match[str]) -> bool:
        message = match[3]
        t = ln.seconds_of(match[1], match[2])
        if message.startswith("Distributed world size: "):
            self._start_line(match[0], "world")
        if saved := ln.SAVED_MODEL.match(message):
            stamp = Stamp(src=self.name, run=self._stamp.run, t=t)
            self._emit(
                CheckpointSaved(
                    step=int(saved[2]), path=saved[1], reason="final", kind="nanochat", stamp=stamp
                )
            )
            return True
        return message.startswith("Saved ") or self._head.take_logged(message, t)

    def _unknown(self, line: str) -> None:
        self.lines.unrecognised += 1
        if line.startswith("Traceback (most recent call last)"):
            self._traceback = True
        if self._traceback:
            self._blame(script_of(line))
            if ERROR.match(line):
                self._traceback = False
                self._error, self._end = line[:LOG_CHARACTERS], "failed"
                self._log(line, "error")
                return
        if self._running and self._error is None and (found := last_words(line)):
            self._end, self._error = found
        if "%|" in line or "B/s]" in line or self._logged >= LOG_LINES:
            return  # a progress bar, of which a log holds thousands
        self._log(line, "error" if self._traceback else None)

    def _blame(self, script: str | None) -> None:
        """A traceback names its program; another one than before is another stage."""
        if script is None:
            return
        if self._running and self._ended and script != self._head.name:
            # The program before it came to its end: this is the next one, dead at its start.
            self._end_stage()
            self._head = Head()
        if self._running:
            return
        if self._error is not None and self._head.name not in (None, script):
            self._end_stage()
            self._head = Head()
        self._head.name = self._head.name or script

    def _log(self, line: str, level: LogLevel | None) -> None:
        self._logged += 1
        if not level:
            level = "warn" if "arning" in line or "WARN" in line or line[:2] == "[W" else "info"
        self._emit(LogLine(text=line[:LOG_CHARACTERS], level=level, stamp=self._stamp))

    # ---- training lines ---------------------------------------------------------------------

    def _run(self, lines: list[str], convert: Callable[[list[str]], StepRows | None]) -> None:
        """Lines that look like training lines: all at once, or halved around what is odd."""
        if len(lines) <= 4:
            for line in lines:
                self._line(line)
            return
        rows = convert(lines)
        # In mid_train every line must be looked at until its percentage tells the total.
        planned = rows is not None and (rows.total or self._head.num_iterations) is not None
        if rows is None or not planned or not self._rises(rows):
            half = len(lines) // 2
            self._run(lines[:half], convert)
            self._run(lines[half:], convert)
        else:
            self._take(rows)

    def _rises(self, rows: StepRows) -> bool:
        steps = rows.steps
        return steps[0] >= self._step and not any(map(operator.gt, steps, steps[1:]))

    def _take(self, rows: StepRows) -> None:
        self._enter(rows.program, rows.steps[0], rows.total, rows.percent)
        if not self._rows.fits(rows.names):
            self._out += self._rows.drain(self._stamp)
        self._rows.extend(rows.steps, rows.names, rows.columns)
        self._step = rows.steps[-1]
        self._finals = []

    # ---- results ----------------------------------------------------------------------------

    def _values(self, step: int, rest: str) -> bool:
        """`Step 00200 | ...`: validation, the accuracies of a round, CORE or ChatCORE."""
        if match := ln.VALIDATION.match(rest):
            self._enter("chat_sft" if match[1] == "loss" else None, step)
            self._eval_step = step
            self._emit(
                ValidationFinished(
                    step=step, loss=float(match[2]), metric=match[1], stamp=self._stamp
                )
            )
            return True
        pairs = ln.NAME_VALUE.findall(rest)
        if not pairs:
            return False
        accuracies = [(name[:-4], value) for name, value in pairs if name.endswith("_acc")]
        self._enter("chat_sft" if accuracies else None, step)
        finals = self._finals if len(self._finals) == len(accuracies) else []
        for i, (name, value) in enumerate(accuracies):
            correct, total = finals[i] if finals else (None, None)
            task = ln.TASKS.get(name, name)
            self._score(task, float(value), correct, total, step)
        self._finals = []
        self._flush_scores(step)
        others = {name: float(value) for name, value in pairs if not name.endswith("_acc")}
        if others:
            if "ChatCORE" in others:
                self._head.generation = "2026"
            self._emit(MetricLogged(step=step, values=others, stamp=self._stamp))
        return True

    def _result(self, line: str) -> bool:
        """Lines that stand alone and say how something ended."""
        if not self._finals and line[0] not in _RESULT_LETTERS:
            return False
        if self._finals and (match := ln.TASK_ACCURACY.match(line)):
            correct, total = self._finals.pop()
            self._finals = []
            if match[1]:  # the round's own line, which has the step, is still to come
                self._enter(None, self._step)
                accuracy = correct / total if total else float(match[3]) / 100
                self._score(match[1], accuracy, correct, total, None)
            else:
                self._enter("chat_eval", self._step)
                self._score(match[2], float(match[3]) / 100, correct, total, None)
                self._flush_scores(self._head.source_step)
        elif match := ln.CORE_TASK.match(line):
            self._enter("base_eval", self._step)
            self._metric(f"CORE/{match[1]}", float(match[2]))
        elif match := ln.BPB.match(line):
            self._enter("base_loss", self._step)
            self._metric(f"{match[1]} bpb", float(match[2]))
        elif (match := ln.CORE_METRIC.match(line)) and self._running:
            self._metric("CORE metric", float(match[1]))
        elif line.startswith("<|bos|>"):
            if self._running:
                self._emit(
                    SampleGenerated(prompt="", text=line[7 : 7 + LOG_CHARACTERS], stamp=self._stamp)
                )
        elif line.startswith("Minimum validation bpb: "):
            self._finish()
        elif match := ln.TRAINING_TIME.fullmatch(line):
            self._seconds = float(match[1]) * 60
        elif match := ln.PEAK_MEMORY.fullmatch(line):
            self._metric("peak_memory_mib", float(match[1]))
        else:
            return False
        return True

    def _metric(self, name: str, value: float) -> None:
        step = self._eval_step if self._eval_step is not None else self._head.source_step
        self._emit(MetricLogged(step=step, values={name: value}, stamp=self._stamp))

    def _score(
        self, task: str, accuracy: float, correct: int | None, total: int | None, step: int | None
    ) -> None:
        if correct is not None and total:
            accuracy = correct / total
        self._scores.append(
            EvalFinished(step=step, task=task, correct=correct, total=total, accuracy=accuracy)
        )

    def _flush_scores(self, step: int | None) -> None:
        for score in self._scores:
            self._emit(
                EvalFinished(
                    step=step,
                    task=score.task,
                    correct=score.correct,
                    total=score.total,
                    accuracy=score.accuracy,
                    stamp=self._stamp,
                )
            )
        self._scores = []

    # ---- stages -----------------------------------------------------------------------------

    def _enter(
        self, guess: str | None, step: int, total: int | None = None, percent: float | None = None
    ) -> None:
        """Make sure that the stage of a loop line is open, and knows its planned steps."""
        if self._running and step < self._step:
            head = self._head
            self._end_stage()
            self._head = head
        if not self._running:
            self._open(guess, total)
        elif total is not None and self._head.num_iterations is None:
            self._plan(total)
        elif percent is not None and self._head.num_iterations is None:
            # mid_train prints no total, and its percentage is of the data, not of the steps.
            if percent >= 100:
                self._plan(step)
            elif self._estimates < 2 and percent >= (10, 50)[self._estimates]:
                self._estimates += 1
                self._plan(round(100 * step / percent), estimate=True)

    def _open(self, guess: str | None, total: int | None) -> None:
        head = self._head
        if head.name is None:
            loads_base = (head.source or "").startswith("base")
            head.name = guess or ("mid_train" if loads_base else "base_train")
        if total is not None:
            head.num_iterations = total
        self._stages += 1
        self._running, self._ended, self._error = True, False, None
        self._step, self._eval_step, self._seconds = -1, None, None
        self._estimates = 0
        self._stamp = Stamp(src=self.name, run=f"{head.name}-{self._stages}")
        self._emit(head.event(Stamp(src=self.name, run=self._stamp.run, t=head.t)))

    def _plan(self, total: int, *, estimate: bool = False) -> None:
        self._head.num_iterations = total
        self._emit(self._head.event(self._stamp))
        if estimate:
            self._head.num_iterations = None

    def _finish(self) -> None:
        if self._running and not self._ended:
            self._ended = True
            done = max(self._step, self._eval_step if self._eval_step is not None else -1)
            if self._estimates and self._head.num_iterations is None and done >= 0:
                # What was planned was reckoned from a percentage; now it is known. Of a chat_sft
                # the plan counts an iteration more, which only evaluates.
                self._plan(done + (self._head.name == "chat_sft"))
            self._emit(
                RunFinished(
                    status="finished",
                    updates=done if done >= 0 else None,
                    seconds=self._seconds,
                    stamp=self._stamp,
                )
            )

    def _end_stage(self) -> None:
        """Nothing more comes for this stage: give what waited, and say if it failed."""
        if not self._running and self._error is not None and self._head.name is not None:
            error = self._error
            self._open(None, None)
            self._error = error
        if self._running:
            self._flush_scores(self._eval_step)
            if self._error is not None and not self._ended:
                self._emit(RunFinished(status=self._end, reason=self._error, stamp=self._stamp))
        self._running, self._ended, self._error = False, False, None
        self._finals, self._scores = [], []
        self._step, self._eval_step = -1, None

    def _emit(self, event: Event) -> None:
        if self._rows:
            self._out += self._rows.drain(self._stamp)
        self._out.append(event)

    def _drain(self) -> list[Event]:
        if self._rows:
            self._out += self._rows.drain(self._stamp)
        out, self._out = self._out, []
        return out
