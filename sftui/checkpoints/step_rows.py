"""The rows of a step for the screen, read by a process of its own (`sftui data RUN --json`)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from engine.files import checked
from engine.run.run_dir import RunDir
from sftui.checkpoints.jobs import Job
from sftui.text.clean import clean

MOST_BYTES = 64 * 2**20
"""Of what that process may say: hundreds of long rows."""


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row, token by token."""

    where: str
    source: str
    tokens: tuple[str, ...] = ()
    """Cleaned, each on one line."""
    mask: tuple[bool, ...] = ()
    dropped: int = 0
    """Tokens cut off at the end."""
    fault: str = ""

    @property
    def supervised(self) -> int:
        return sum(self.mask)

    @property
    def silent(self) -> bool:
        """Without a token that is learned; the first one never is."""
        return not any(self.mask[1:])


class StepRows:
    """Rows of one step at a time; `poll` takes them when they have come."""

    def __init__(self, run: RunDir | None) -> None:
        self._run = run
        self._job: Job | None = None
        self._known: dict[int, tuple[ShownRow, ...]] = {}
        self._recent: deque[int] = deque()
        self.step = 0
        self.problem = ""
        """Why there are none, in one line."""

    @property
    def rows(self) -> tuple[ShownRow, ...] | None:
        """Of the step that was asked for; None while they are read."""
        return self._known.get(self.step)

    def ask(self, step: int) -> None:
        """Begin to read the rows of a step, unless they are known."""
        self.step, self.problem = step, ""
        self.close()
        if self._run is None:
            self.problem = "The rows lie where the log was written, not here."
        elif step not in self._known:
            words = ["data", str(self._run.path), "--step", str(step), "--json"]
            try:
                self._job = Job("reading rows", words, Path.cwd(), most_output=MOST_BYTES)
            except OSError as error:
                self.problem = f"The rows cannot be read: {error.strerror}."

    def poll(self) -> bool:
        """Take the answer if it has come; whether something has changed."""
        job = self._job
        if job is None or job.code is None:
            return False
        if job.code == 0:
            lines = [line for line in job.output().split("\n") if line.startswith("{")]
            self._keep(tuple(map(_row, lines)))
        else:
            said = job.lines() or [f"exit code {job.code}"]
            errors = [line for line in said if line.startswith("sftui: error: ")] or said
            self.problem = errors[-1].removeprefix("sftui: error: ")
        self.close()
        return True

    def close(self) -> None:
        """End the process, if one runs."""
        if self._job is not None:
            self._job.close()
            self._job = None

    def _keep(self, rows: tuple[ShownRow, ...]) -> None:
        """A few steps are kept, for who goes to and fro."""
        self._known[self.step] = rows
        self._recent.append(self.step)
        if len(self._recent) > 8:
            self._known.pop(self._recent.popleft(), None)


def _row(line: str) -> ShownRow:
    found = checked.parse_json(line)
    where, source = clean(found["where"], 400), clean(found.get("source", ""), 80)
    if "fault" in found:
        return ShownRow(where, source, fault=clean(found["fault"], 1000))
    return ShownRow(
        where,
        source,
        tokens=tuple(clean(text.replace("\n", "⏎").replace("\t", "⇥")) for text in found["tokens"]),
        mask=tuple(map(bool, found["mask"])),
        dropped=found["dropped"],
    )
