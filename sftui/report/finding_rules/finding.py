"""One sentence of the findings and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["strength", "weakness", "next"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence and what it rests on."""

    code: str
    """The rule, for tests and for readers who search."""
    kind: Kind
    text: str
    evidence: str


def strength(code: str, text: str, evidence: str) -> Finding:
    """What went well."""
    return Finding(code=code, kind="strength", text=text, evidence=evidence)


def weakness(code: str, text: str, evidence: str) -> Finding:
    """What went wrong, or what cannot be known."""
    return Finding(code=code, kind="weakness", text=text, evidence=evidence)


def next_step(code: str, text: str, evidence: str) -> Finding:
    """What to do about it."""
    return Finding(code=code, kind="next", text=text, evidence=evidence)
