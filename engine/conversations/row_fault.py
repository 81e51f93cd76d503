"""The error of a single row; whoever knows the file puts its name and line before it."""

from __future__ import annotations


class RowFault(ValueError):
    """What is wrong with one row: what was found and what was expected."""
