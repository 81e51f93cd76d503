"""Numbers as CSV: what a log calls them is text in every program that opens the file."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from sftui.report.series_table import table

NAMES = ("=1+1", "+cmd", "-2", "@SUM(A1)", " =HYPERLINK(x)", "\t=x", "\x1b[2J=x", "=a,b", '="a"')


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_log_is_a_formula(name: str) -> None:
    """A spreadsheet computes a cell that begins with one of these, and may start programs."""
    text = table("step", [(name, np.array([0.0, 1.0]), np.array([1.0, 0.5], np.float32))])
    head = next(csv.reader(io.StringIO(text)))[1]
    assert head.lstrip()[0] not in "=+-@"
    assert not set(text) & set(map(chr, [*range(9), 27]))


def test_other_names_stand_as_they_are() -> None:
    places, values = np.array([0.0]), np.array([1.0], np.float32)
    columns = [("val/loss", places, values), ("lr (x-y)", places, values)]
    assert table("step", columns).splitlines()[0] == "step,val/loss,lr (x-y)"
