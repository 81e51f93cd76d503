"""What stands around what a trainer printed: times, loggers, ranks, hosts, containers, objects.

Launchers and loggers put it there; it is no number of the run. A rank in it is kept: of
several ranks that print the same steps, one counts.
"""

from __future__ import annotations

import functools
import itertools
import re
import time
from datetime import datetime

_CLOCK = re.compile(
    r"\[?\(?(\d{4})[-/](\d\d)[-/](\d\d)[ T_]{1,2}(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?"
    r"(?:Z|[+-]\d\d:?\d\d)?\)?\]?(?=[\s|:\]>,-]|$)"
)
_SHORT_CLOCK = re.compile(
    r"\[?(?:\d{4}[-/]\d\d[-/]\d\d|\d\d[-/]\d\d(?:[-/]\d\d(?:\d\d)?)?)?[ T]?"
    r"\b\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?[AP]M)?\]?(?=[\s|:\]>,-]|$)"
)
_RANKS = (
    re.compile(r"\s*\[(?:rank|RANK|default|Rank)[ _:=]?\s?(\d{1,5})\]:?\s?"),
    re.compile(
        r"\s*\[?(?:global[_ ])?(?:rank|RANK|default|Rank)[ _:=]?\s?(\d{1,5})\]?\s?[:|>-]{0,2}\s"
    ),
    re.compile(r"\s*(\d{1,5}): +(?=\S)"),
    re.compile(r"\s*\[\d{1,4},(?:mpirank:)?(\d{1,5})(?:,[\w.-]{1,80})?\]<\w+>:\s?"),
    re.compile(r"\s*\[(\d{1,5})\]:?\s(?=\S)"),
    re.compile(r"\s*(?:worker|node|gpu|GPU|proc|process)[-_ ]?(\d{1,5})\s?[:|>]\s"),
    re.compile(r"\s*\[pod/[\w.-]{0,200}?-(\d{1,5})/[\w.-]{1,80}\]\s?"),
)
_INNER_RANK = re.compile(r"[\[(](?:RANK|rank|Rank)[:= ]\s?(\d{1,5})[\])]")
_MAY_HAVE_RANK = re.compile(
    r"\s*(?:\[|\d{1,5}: |global|rank|RANK|default|Rank|worker|node|gpu|GPU|proc)"
)
"""How every line begins that one of `_RANKS` matches."""
_TIME_OF_DAY = re.compile(r"\d\d:\d\d:\d\d")
"""What every clock holds, and what is found ten times as fast as they are."""

_NOISE = (
    r"\((?:\w+ )?pid=\d+(?:, ip=[\d.]+)?\)(?: \[repeated[^\]]*\])?",  # Ray
    r"^\s*[IWEF]\d{4}\s+\d+\s+[\w./-]{1,80}:\d{1,6}\]",  # absl and glog, without their clock
    r"\[pod/[\w./-]{1,300}\]",
    r"\[PID:\d+\]",
    r"\[(?:INFO|WARNING|WARN|DEBUG|ERROR)\|?[^\]]{0,80}\]"
    r"|\b(?:INFO|WARNING|WARN|DEBUG|ERROR)\b:?(?:[\w.]{1,60}:)?",
    r"\[[\w./-]{1,80}(?::\w+)?:\d{1,6}(?::\w+)?\]",
    r"\b[\w./-]{1,80}\.py:\d{1,6}(?::\w+)?\]?",
    r"^(?:stdout|stderr) [FP] ",
    r"(?<![\w.:])(?:\d{1,5} days?, )?\d{1,4}:\d\d(?::\d\d)?(?![\w.:])",  # durations
)
"""What loggers put before a text. Of two that begin in one place the first counts. A line is
searched for those alone whose mark it holds (`_held`), and most lines hold none."""
_COLON = re.compile(r":\d")
_GLOG = re.compile(r"\s*[IWEF]\d{4}\s")
_DURATION = re.compile(r"\d:\d\d")


_BEFORE_A_BAR = re.compile(
    r"^\s*[\w.]{1,80}(?:-[\w.]{1,80}){0,9}-\d{1,4}\s+\|\s|\b(?:stdout|stderr)\b[ :>]*"
)
_OBJECT = re.compile(
    r"(?:\b(?:np|numpy|jnp|torch|mx)\.)?"
    r"\b(?:tensor|Tensor|array|Array|DeviceArray|b?float\d{0,2}|int\d{0,2})\("
    r"\s?\[?\s?([-+]?(?:[\d.]+(?:[eE][-+]?\d{1,4})?|nan|inf))\s?\]?"
    r"(?:,[^()\n]{0,200}(?:<[^<>\n]{0,80}>)?)?\)"
)
"""A number that was printed as the object it is: `tensor(2.5, device='cuda:0')`."""


def without_objects(line: str) -> str:
    """The line with plain numbers in place of tensors and scalars of NumPy, PyTorch, JAX or MLX."""
    return _OBJECT.sub(r"\1", line) if "(" in line else line


def take_clock(line: str) -> tuple[str, float | None]:
    """The line without its time, and that in seconds; read as this machine's zone."""
    if ":" not in line or not _TIME_OF_DAY.search(line, 0, 200):
        return line, None
    match = _CLOCK.search(line, 0, 200)
    if match is None:
        if short := _SHORT_CLOCK.search(line, 0, 120):
            return _blanked(line, short), None
        return line, None
    rest = _blanked(line, match)
    moment = _moment(match.group(1, 2, 3, 4, 5, 6), time.tzname)
    if moment is None:
        return line, None
    return rest, moment + float(f"0.{match[7] or 0}")


@functools.lru_cache(maxsize=512)
def _moment(parts: tuple[str, ...], zone: tuple[str, str]) -> float | None:
    """Seconds of a printed second, of which a log has many lines; None where there is no such.

    `zone`: this machine's, which a process may change.
    """
    try:
        year, month, day, hour, minute, second = map(int, parts)
        # Read as this machine's zone, so that it is shown again as printed.
        return datetime(year, month, day, hour, minute, second).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def bare_label(label: str) -> str:
    """What stands before a bar, without a container's name and the stream it was printed to."""
    return _BEFORE_A_BAR.sub("", without_noise(label))


def take_rank(line: str) -> tuple[str, int | None, bool]:
    """The line without its rank, the rank, and whether that might be a step instead (`12: `)."""
    match, unsure = find_rank(line)
    return (line, None, False) if match is None else (_blanked(line, match), int(match[1]), unsure)


def find_rank(line: str) -> tuple[re.Match[str] | None, bool]:
    """The rank of a line with what stands around it, and whether that might be a step instead."""
    if _MAY_HAVE_RANK.match(line):
        for number, pattern in enumerate(_RANKS):
            if match := pattern.match(line):
                return match, number in (2, 4)
    return _INNER_RANK.search(line, 0, 300), False


def without_noise(line: str) -> str:
    """The line without what loggers put before it."""
    held = _held(line)
    if True not in held:
        return line
    return _noise(held).sub(lambda match: " " * len(match[0]), line)


def _held(line: str) -> tuple[bool, ...]:
    """Which patterns of `_NOISE` may match: what each of its texts holds is found fast."""
    colon = _COLON.search(line) is not None
    return (
        "pid=" in line,
        colon and _GLOG.match(line) is not None,
        "[pod/" in line,
        colon and "[PID:" in line,
        "INFO" in line or "WARN" in line or "DEBUG" in line or "ERROR" in line,
        colon and "[" in line,
        colon and ".py:" in line,
        line.startswith(("stdout ", "stderr ")),
        colon and _DURATION.search(line) is not None,
    )


@functools.lru_cache(maxsize=1 << len(_NOISE))
def _noise(held: tuple[bool, ...]) -> re.Pattern[str]:
    """One pattern of those whose marks a line holds."""
    return re.compile("|".join(itertools.compress(_NOISE, held)))


def _blanked(line: str, match: re.Match[str]) -> str:
    """The line with blanks in place of a match, so that all else keeps its place."""
    return line[: match.start()] + " " * len(match[0]) + line[match.end() :]
