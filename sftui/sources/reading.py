"""What a person says of a log on the command line: its format, its names, which stage is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import UsageError
from sftui.text.clean import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`--format`, `--map` and `--stage` of one log; None where it is found out."""

    format: str | None = None
    mapped: str | None = None
    stage: int | None = None
    """Counted from 1."""


FOUND_OUT = Reading()
"""Nothing was said."""


def readings(
    count: int, *, format: str | None, mapped: str | None, stage: str | None
) -> list[Reading]:
    """For each of several logs: what was said once holds for all, a list with commas for one each.

    Args:
        count: of the logs.
        format: one format, or as many as there are logs; an empty one is found out.
        stage: likewise, numbers from 1.

    Raises:
        UsageError: a list of another length, or a stage that is no number.
    """
    formats = _one_each("--format", format, count)
    stages = _one_each("--stage", stage, count)
    return [
        Reading(format=form or None, mapped=mapped, stage=_stage(number))
        for form, number in zip(formats, stages, strict=True)
    ]


def no_stage(number: int, names: Sequence[str]) -> UsageError:
    """That a log has no such stage, with those that it has."""
    there = ", ".join(f"{i} {clean(name, 40)}" for i, name in enumerate(names, start=1))
    return UsageError(f"there is no stage {number}; the file has {there or 'none'}.")


def _one_each(flag: str, words: str | None, count: int) -> list[str]:
    parts = [part.strip() for part in (words or "").split(",")]
    if len(parts) == 1:
        return parts * count
    if len(parts) != count:
        raise UsageError(
            f"{flag} {words} names {len(parts)} for {count} logs; expected one for all of them, "
            "or one each with commas between."
        )
    return parts


def _stage(word: str) -> int | None:
    if not word:
        return None
    try:
        return int(word)
    except ValueError:
        raise UsageError(f"--stage {word!r} is no number; stages count from 1.") from None
