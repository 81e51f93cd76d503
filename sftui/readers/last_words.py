"""The line with which a shell, a scheduler or a launcher says that the program it ran is dead.

A run that is killed prints nothing itself; what started it does: `Killed`, `CANCELLED AT ... DUE TO
TIME LIMIT`, `failed (exitcode: -9)`. What a person or a scheduler ended was stopped, all else
failed.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from typing import NamedTuple

from engine.events import EndStatus

_MOST_CHARACTERS = 600
"""Of a line that is looked at; theirs are short."""


class LastWords(NamedTuple):
    """How a program ended by the word of another."""

    status: EndStatus
    reason: str


def last_words(line: str) -> LastWords | None:
    """What a line says of the end of the program; None for any other line."""
    line = line[:_MOST_CHARACTERS]
    if not _ANY.search(line):
        return None
    for pattern, said in _PATTERNS:
        if match := pattern.search(line):
            return said(match)
    return None


def _cancelled(match: re.Match[str]) -> LastWords:
    why = f", {match[2].strip().lower()}" if match[2] else ""
    return LastWords("stopped", f"Slurm cancelled the {match[1].lower()}{why}")


def _by_shell(match: re.Match[str]) -> LastWords:
    word = match[1]
    if word == "Terminated":
        return LastWords("stopped", "terminated (SIGTERM)")
    if word == "Killed":
        return LastWords("failed", "killed (SIGKILL): often the machine's memory was full")
    return LastWords("failed", word.lower())


def _exit_code(match: re.Match[str]) -> LastWords | None:
    code = int(match[1])
    if code == 0:
        return None
    who = f"rank {match[2]}" if match.re.groups > 1 and match[2] else "a process"
    if code < 0:
        try:
            return LastWords("failed", f"{who} was ended by {signal.Signals(-code).name}")
        except ValueError:
            pass
    return LastWords("failed", f"{who} ended with exit code {code}")


def _out_of_memory(_: re.Match[str]) -> LastWords:
    return LastWords("failed", "killed for want of the machine's memory (out of memory)")


def _watchdog(match: re.Match[str]) -> LastWords:
    where = f" on rank {match[1]}" if match[1] else ""
    return LastWords("failed", f"a collective operation timed out{where} (NCCL's watchdog)")


def _quoted(match: re.Match[str]) -> LastWords:
    return LastWords("failed", match[1].strip())


_SLURM = (
    r"\*\*\* (JOB|STEP) \S+ ON \S+ CANCELLED AT \S+(?: DUE TO ([A-Za-z ]{1,40}?))?"
    r" ?(?:\*\*\*|,|$)"
)
_SHELL = (
    r"^(?:\S{1,200}: line \d+: +\d+ )?(Killed|Terminated|Segmentation fault|Bus error|Aborted"
    r"|Illegal instruction|Floating point exception)(?: +\(core dumped\))?(?: {2,}.*)?$"
)
_MEMORY = r"[Dd]etected \d+ oom[-_]kill|\bOut Of Memory$|\bOOM ?Killed\b"
_SRUN = r"^srun: error: \S+: tasks? [^:]{1,80}: Exited with exit code (\d{1,5})"
_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], LastWords | None]], ...] = (
    (re.compile(_SLURM), _cancelled),
    (re.compile(_MEMORY), _out_of_memory),
    (re.compile(_SHELL), _by_shell),
    (re.compile(r"\bfailed \(exitcode: (-?\d{1,5})\) local_rank: (\d{1,5})"), _exit_code),
    (re.compile(r"\bexits with return code = (-?\d{1,5})"), _exit_code),
    (re.compile(_SRUN), _exit_code),
    (re.compile(r"(?:\[Rank (\d{1,5})\] )?Watchdog caught collective operation"), _watchdog),
    (re.compile(r"^\s*what\(\):\s+(\S.{0,300})"), _quoted),
    (re.compile(r"^(Fatal Python error: \S.{0,300})"), _quoted),
)
_ANY = re.compile(
    r"CANCELLED AT|oom[-_]kill|Out Of Memory|OOM ?Killed|what\(\):|Fatal Python error"
    r"|Killed|Terminated|Segmentation fault|Bus error|Aborted|Illegal instruction|Floating point"
    r"|exitcode: |exits with return code|Exited with exit code|Watchdog caught"
)
"""What every line of `_PATTERNS` holds: only letters to begin with, which are found fast."""
