"""The error of a single row; whoever knows the file puts its name and line before it."""

from __future__ import annotations


class RowFault(ValueError):
    """What is wrong with one row: what was found and what was expected."""


def shown(value: object, most: int = 40) -> str:
    """The first characters of a name out of somebody's file, as it stands in a sentence of ours.

    Signs that are not printed are written as escapes: half of a terminal's sequence would take
    the words behind it along where the sentence is cleaned as a whole.
    """
    text = str(value)[:most]
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
