"""Which update a line of a text log names."""

from __future__ import annotations

import re

STEP = re.compile(rb"(?:[Ss]tep|STEP|[Ii]ter(?:ation)?|[Uu]pdate)s?\"?[\s:=#\[]{0,8}(\d{1,12})")


def last_step(data: bytes) -> int | None:
    """The last update that a piece of a log names; None where it names none."""
    named = STEP.findall(data)
    return int(named[-1]) if named else None
