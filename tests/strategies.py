"""Hypothesis strategies for events, and an equality that treats NaN as itself."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from engine.events import KINDS, Event, Stamp

_text = st.text(max_size=30).map(lambda s: s.encode("utf-8", "replace").decode())
_int = st.integers(-(2**40), 2**40)
_float = st.floats(allow_nan=True, allow_infinity=True)
_BY_TYPE = {
    str: _text,
    int: _int,
    float: _float,
    bool: st.booleans(),
    type(None): st.none(),
}


def _for(hint: Any) -> st.SearchStrategy[Any]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*[_for(part) for part in typing.get_args(hint)])
    if origin in (Mapping, dict):
        _, value = typing.get_args(hint)
        return st.dictionaries(_text, _for(value), max_size=4)
    if origin is typing.Literal:
        # A newer version's file may have a word that this one does not know.
        return st.sampled_from(typing.get_args(hint)) | _text
    return _BY_TYPE[hint]


def stamps() -> st.SearchStrategy[Stamp]:
    """Stamps as a writer puts them: times rounded to microseconds."""
    time = st.none() | st.floats(0, 2e9).map(lambda t: round(t, 6))
    return st.builds(
        Stamp,
        run=_text,
        src=_text,
        att=st.integers(1, 9),
        seq=st.integers(0, 10**9),
        t=time,
        m=time,
        boot=_text,
    )


def events(*kinds: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of the given kinds (default: all)."""
    return st.one_of(*[_event(kind) for kind in kinds or KINDS.values()])


def _event(kind: type[Event]) -> st.SearchStrategy[Event]:
    hints = typing.get_type_hints(kind)
    fields = {
        f.name: _for(hints[f.name])
        for f in dataclasses.fields(kind)
        if f.name not in ("step", "stamp")
    }
    return st.builds(kind, step=st.none() | st.integers(0, 10**7), stamp=stamps(), **fields)


def same(left: Any, right: Any) -> bool:
    """Equality in which NaN equals NaN."""
    if dataclasses.is_dataclass(left):
        return type(left) is type(right) and all(
            same(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left)
        )
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right)
