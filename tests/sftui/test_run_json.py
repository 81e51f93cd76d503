"""JSON that commands print: any program reads it, and long lists are an item a line."""

from __future__ import annotations

import json
import math
from types import MappingProxyType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sftui.run_json import strict

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=4),
        st.dictionaries(st.text(max_size=4), inner, max_size=3).map(MappingProxyType),
    ),
    max_leaves=12,
)


def plain(value: Any) -> Any:
    """What a reader of the text has: lists, dicts, and null for what is no number."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict | MappingProxyType):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@given(VALUES, st.integers(1, 150))
def test_what_is_printed_is_read_back(value, times):
    value = [value] * times
    text = strict(value)
    assert json.loads(text, parse_constant=lambda name: name) == plain(value)
    assert text.isascii()


@given(
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        ),
    )
)
def test_what_is_short_is_indented_by_two(value):
    assert strict(value) == json.dumps(plain(value), indent=2)


def test_an_item_of_a_long_list_is_one_line():
    rows = [{"step": step, "value": [0.5, math.inf]} for step in range(10_000)]
    lines = strict({"val": rows}).splitlines()
    assert len(lines) == 10_000 + 4
    assert lines[2] == '    {"step": 0, "value": [0.5, null]},'
