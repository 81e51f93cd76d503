"""Recognise the form of a file's rows by its columns, and read all of them in that form.

Evidence and no guess: rows from all over the file are looked at, one form must fit them, and
what was recognised is said. Where two fit, or none, the file is refused with the columns that
were found and what to type.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.conversations.row_fault import RowFault, shown
from engine.data import row_columns
from engine.data.dataset import Rows
from engine.data.long_jsonl import rows_stay_on_disk
from engine.data.row_columns import FINDS, KEPT, Fit
from engine.errors import ConfigError, DataError

SAMPLE = 40
"""Rows that are looked at: half from the beginning, half from all over the file."""

OURS = ("messages", "instruction", "input", "output", "system", "history", "prompt", "completion",
        "question", "answer", "text", *KEPT)  # fmt: skip
"""Names that a column can be mapped to."""

NATIVE = frozenset({"messages", "questions", "question-answer"})
"""Forms that `parse_row` reads row by row, mixed in one file too."""

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class RowForm:
    """What was typed of the rows' form; nothing: it is recognised."""

    name: str = ""
    """Of `FINDS`."""
    columns: tuple[tuple[str, str], ...] = ()
    """(our name, the file's column); a dot goes into an object."""

    @classmethod
    def read(cls, name: str, mapping: Sequence[str]) -> RowForm:
        """Of `--data-format NAME` and `--map OURS=THEIRS,...`.

        Raises:
            ConfigError: an unknown form or name, or no `=`.
        """
        if name and name not in FINDS:
            raise ConfigError(
                f"data_format is {name!r}; expected one of {', '.join(FINDS)}, or nothing."
            )
        found = []
        for each in mapping:
            ours, equals, theirs = each.partition("=")
            if ours not in OURS or not equals or not theirs:
                raise ConfigError(
                    f"--map {each}: expected NAME=COLUMN, NAME one of {', '.join(OURS)}."
                )
            found.append((ours, theirs))
        return cls(name, tuple(found))


class FormedRows:
    """The rows of a file, each brought into the form that `parse_row` reads."""

    def __init__(self, rows: Rows, form: RowForm, fit: Fit | None) -> None:
        """`fit`: how the rows are read; None leaves them to `parse_row`."""
        self._rows = rows
        self._form = form
        self.fit = fit

    @property
    def on_disk(self) -> bool:
        """Whether the rows are read from disk whenever they are asked for."""
        return rows_stay_on_disk(self._rows)

    @property
    def name(self) -> str:
        return self._rows.name

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> object:
        raw = mapped(self._rows.read(index), self._form.columns)
        if self.fit is None or not isinstance(raw, Mapping):
            return raw
        row_columns.require_text(raw)
        own = [each for each in row_columns.fits(raw) if each.form == self.fit.form]
        # Columns that may be missing are missing in some rows: each row has its own fit.
        fit = next((each for each in own if each.columns[:2] == self.fit.columns[:2]), None)
        if fit is None and not _is_native(self.fit):
            missing = [name for name in self.fit.columns[:2] if raw.get(name) is None]
            what = f"no {' and no '.join(missing)}" if missing else f"the columns {_named(raw)}"
            raise RowFault(f"the row has {what}; expected {self.fit.words} as in the rest")
        return row_columns.convert(raw, self.fit if fit is None else fit)

    def prefetch(self, indices: Sequence[int]) -> None:
        self._rows.prefetch(indices)

    def where(self, index: int) -> str:
        return self._rows.where(index)


def formed(rows: Rows, form: RowForm) -> Rows:
    """The rows in the form that was typed, or that they are recognised to have.

    Raises:
        DataError: no form fits, or several do.
    """
    sample = _sample(rows)
    raws = [mapped(raw, form.columns) for raw in sample]
    if form.columns:
        _require_columns(rows.name, sample, raws, form)
    tables = [raw for raw in raws if isinstance(raw, Mapping)]
    if not tables or len(tables) < len(raws):
        return rows if not form.columns else FormedRows(rows, form, None)
    by_row = [row_columns.fits(raw) for raw in tables]
    if form.name:
        # Questions go on being questions.
        asked = all(each and each[0].form == "questions" for each in by_row)
        fit = None if asked else _typed(rows.name, tables, by_row, form.name)
    else:
        fit = recognised(rows.name, tables, by_row)
    if fit is None and not form.columns:
        return rows
    return FormedRows(rows, form, fit)


def recognised(
    where: str, tables: Sequence[Mapping[str, Any]], by_row: Sequence[list[Fit]]
) -> Fit | None:
    """The one form of the rows; None where `parse_row` knows each by itself.

    Raises:
        DataError: no form fits, or several do.
    """
    fitting = [each for each in by_row if each]
    if not fitting:
        raise DataError(_unknown(where, tables))
    if all(len(each) == 1 and _is_native(each[0]) for each in fitting):
        return None
    votes = Counter(_key(each) for found in fitting for each in found)
    (best, most), *_ = votes.most_common(1)
    rivals = Counter(
        _key(each) for found in fitting if any(_key(one) == best for one in found)
        for each in found
    )  # fmt: skip
    several = [key for key, count in rivals.items() if 2 * count > most]
    if len(several) > 1:
        raise DataError(_ambiguous(where, tables, [_first(by_row, key) for key in several]))
    return _first(by_row, best)


def described(rows: Rows) -> str:
    """How the rows are read, in words; empty where they are sftui's own form."""
    fit = rows.fit if isinstance(rows, FormedRows) else None
    return "" if fit is None or _is_native(fit) else fit.words


def mapped(raw: object, columns: Sequence[tuple[str, str]]) -> object:
    """The row with the columns that were mapped, under our names; what means the same in every
    form stays beside them."""
    if not columns or not isinstance(raw, Mapping):
        return raw
    found = {key: raw[key] for key in KEPT if key in raw}
    for ours, theirs in columns:
        value = _dig(raw, theirs)
        if value is not None:
            found[ours] = value
    return found


def _dig(raw: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or of `a.b`, inside an object."""
    if path in raw:
        return raw[path]
    value: Any = raw
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _sample(rows: Rows) -> list[object]:
    """Rows from all over the file; those that cannot be read are told of later, by their line."""
    count, half = len(rows), SAMPLE // 2
    places = sorted({*range(min(half, count)), *range(0, count, max(1, count // half))})
    rows.prefetch(places)
    found: list[object] = []
    for place in places:
        with contextlib.suppress(RowFault):
            found.append(rows.read(place))
    return found


def _require_columns(
    where: str, sample: Sequence[object], raws: Sequence[object], form: RowForm
) -> None:
    tables = [raw for raw in raws if isinstance(raw, Mapping)]
    for ours, theirs in form.columns:
        if not any(ours in table for table in tables):
            found = next((raw for raw in sample if isinstance(raw, Mapping)), {})
            raise DataError(
                f"{where}: there is no column {theirs}, which --map {ours}={theirs} names; the "
                f"rows have {_named(found)}."
            )


def _typed(
    where: str, tables: Sequence[Mapping[str, Any]], by_row: Sequence[list[Fit]], name: str
) -> Fit:
    find, words = FINDS[name]
    for table in tables:
        if found := [each for each in find(table) if each.form == name]:
            return found[0]
    raise DataError(
        f"{where}: --data-format {name} expects {words}; the rows have {_named(tables[0])}. Leave "
        "the flag out to have the form recognised, or name the columns with --map."
    )


def _is_native(fit: Fit) -> bool:
    if fit.form == "question-answer":
        return fit.columns == row_columns.ASKED[0]
    return fit.form in NATIVE


def _key(fit: Fit) -> tuple[str, tuple[str, ...]]:
    return fit.form, fit.columns[:2]


def _first(by_row: Sequence[list[Fit]], key: tuple[str, tuple[str, ...]]) -> Fit:
    return next(each for found in by_row for each in found if _key(each) == key)


def _unknown(where: str, tables: Sequence[Mapping[str, Any]]) -> str:
    keys = tables[0].keys()
    if wrong := row_columns.in_other_types(tables[0]):
        return f"{where}: the rows have the columns {_named(tables[0])}; {wrong}."
    known = ", ".join(words for _, words in FINDS.values())
    advice = "Say which column is which: --map prompt=COLUMN,completion=COLUMN"
    if {"chosen", "rejected"} <= keys:
        advice = "These are preferences, of which the chosen answers can be learned: --map " + (
            "prompt=prompt,completion=chosen" if "prompt" in keys else "messages=chosen"
        )
    return (
        f"{where}: the rows have the columns {_named(tables[0])}, and no form that is known here; "
        f"expected {known}. {advice}."
    )


def _ambiguous(where: str, tables: Sequence[Mapping[str, Any]], found: Sequence[Fit]) -> str:
    forms = dict.fromkeys(fit.form for fit in found)
    ways = " or as ".join(fit.words for fit in found)
    advice = f"Type --data-format {' or '.join(forms)}"
    if len(forms) == 1:
        advice = f"Name the columns with --map, e.g. --map {_example(found[0])}"
    return (
        f"{where}: the rows can be read as {ways}, and only one of them can be meant; the columns "
        f"are {_named(tables[0])}. {advice}."
    )


def _example(fit: Fit) -> str:
    if fit.form == "sharegpt":
        return f"messages={fit.columns[0]}"
    return f"prompt={fit.columns[0]},completion={fit.columns[1]}"


def _named(row: object) -> str:
    if not isinstance(row, Mapping) or not row:
        return "none"
    names = [shown(key) for key in row]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
