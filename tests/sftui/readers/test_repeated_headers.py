"""A table whose header stands again and again, as of a script that restarts into one file."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Event
from sftui.readers import csv_metrics
from sftui.readers.csv_metrics import CsvReader
from tests.conftest import examples

HEADERS = (
    "epoch,step,train_loss,val_loss",
    "step,train_loss",
    "step\ttrain_loss\tlr",
    "step;loss;split",
    "a - train/loss,b - train/loss,Step",
    "step,key,value",
    "no,table,here",
)
ROWS = st.sampled_from(
    [
        "1,2,0.5,",
        "2,3,,0.75",
        "7,0.25",
        "8\t0.5\t1e-3",
        "3;0,5;val",
        "0.5,0.25,9",
        "4,loss,2",
        "x,y",
    ]
)
LINES = st.lists(st.one_of(st.sampled_from(HEADERS), ROWS), min_size=1, max_size=30)


def read(text: str) -> list[Event]:
    reader = CsvReader()
    return [*reader.feed(text.encode()), *reader.close()]


@examples(200)
@given(LINES)
def test_a_header_that_is_remembered_means_what_it_meant(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    remembered = read(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_metrics, "_LONGEST_KEPT", 0)
        assert repr(read(text)) == repr(remembered)


def test_thousands_of_headers_are_understood_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = csv_metrics._step_column

    def counted(header: list[str], names: Any) -> int:
        asked.append(header)
        return real(header, names)

    monkeypatch.setattr(csv_metrics, "_step_column", counted)
    block = f"{HEADERS[0]}\n1,2,0.5,\n2,3,0.25,\n{HEADERS[1]}\n4,0.5\n"
    assert len(read(block * 3000)) > 3000
    assert len(asked) < 10
