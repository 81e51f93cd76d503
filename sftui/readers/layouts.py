"""What the numbers of one kind of row mean, worked out once for all rows that are alike.

A row is a list of numbers; its `Layout` says which of them is the training loss, which
counts steps, which belongs to an evaluation. Lines of the same words, dicts of the same
keys and rows of the same columns share one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from engine.events import ACCURACY_COLUMN, VALIDATION_COLUMN
from sftui.readers.meanings import Kind, Meaning, Names, word_split, words_of


@dataclass(frozen=True, slots=True)
class Pair:
    """One `name = value` of a row."""

    name: str
    at: int
    """Index of its number in the row."""
    total: int = -1
    """Index of what it counts up to (`12/400`); -1 for none."""
    split: str = ""
    """`train`, `val` or `test` where a marker before it says so."""
    unit: str = ""
    whole: bool = True
    """Whether the number looked like a count when it was first seen."""
    before: str = ""
    """The word that stands before its name: `wikitext` of `wikitext val loss 2.9`."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A number that may be the step."""

    name: str
    order: int
    """How good its name is: 0 counts over the run, higher ones may count in an epoch."""
    at: int
    total: int = -1
    evaluated: bool = False
    """It counts the batches of an evaluation."""


BARE, NAMELESS = 5, 4
"""Orders of a line's leading number and of a count without a name, behind all names."""


@dataclass
class Layout:
    """See the module."""

    losses: list[tuple[int, str, int]] = field(default_factory=list)
    """(index, name, order) of what may be the training loss, the best name first."""
    validations: list[tuple[int, str, str]] = field(default_factory=list)
    """(index, set, metric); the set is empty for the only one."""
    accuracies: list[tuple[int, str, int]] = field(default_factory=list)
    """(index, task, index of the total or -1)."""
    counters: list[Counter] = field(default_factory=list)
    epoch: int = -1
    epochs: int = -1
    planned: int = -1
    rank: int = -1
    time: int = -1
    columns: list[tuple[int, str, float]] = field(default_factory=list)
    """(index, column of an update, scale)."""
    free: list[tuple[int, str]] = field(default_factory=list)
    is_validation: bool = False
    """The row says of itself that it is of an evaluation."""

    @functools.cached_property
    def parts(self) -> tuple[tuple[str, int, int], ...] | None:
        """Columns of an update, where they are and what they are divided by; None where a row
        needs more than a copy."""
        found = [("loss", self.losses[0][0], 1)] if self.losses else []
        found += [(column, at, round(1 / scale)) for at, column, scale in self.columns]
        found += [("epoch", self.epoch, 1)] if self.epoch >= 0 and found else []
        found += [(name, at, 1) for at, name in self.free]
        names = {name for name, *_ in found}
        return tuple(found) if len(names) == len(found) and names - {"epoch"} else None

    @functools.cached_property
    def part_names(self) -> tuple[str, ...]:
        return tuple(name for name, *_ in self.parts or ())

    @functools.cached_property
    def goes_in_blocks(self) -> bool:
        """Whether rows of it can be taken together when their steps rise: updates and the results
        beside them, or metrics alone."""
        plain = self.rank < 0 and not self.is_validation and len(self.counters) < 2
        whole = bool(self.losses) or not self.tells
        return plain and whole and self.parts is not None and self.result_parts is not None

    @functools.cached_property
    def result_parts(self) -> tuple[tuple[str, int], ...] | None:
        """Results as columns of a batch and where they are; None where a row needs more."""
        found = [(VALIDATION_COLUMN + metric, at) for at, _, metric in self.validations]
        found += [(ACCURACY_COLUMN + task, at) for at, task, _ in self.accuracies]
        named = any(name for _, name, _ in self.validations)
        counted = any(total >= 0 for _, _, total in self.accuracies)
        alike = len({name for name, _ in found}) < len(found)
        return None if named or counted or alike else tuple(found)

    @property
    def tells(self) -> bool:
        """Whether it holds a loss or a result."""
        return bool(self.losses or self.validations or self.accuracies)


EVALUATED = ("val", "test")
"""Splits whose loss is no training loss."""
_WITHOUT_NAME = {"#": BARE, "/": NAMELESS}
_OTHER_SETS = frozenset({"test"})
"""A set of rows beside the one that is validated on, not a part of its loss."""


def layout_of(pairs: Iterable[Pair], names: Names) -> Layout:
    """What the numbers of a row of these pairs mean."""
    found = Layout()
    implied: list[tuple[int, str, int, str]] = []
    pairs = list(pairs)
    named_before = _are_named_before(pairs, names)
    nameless = [pair for pair in pairs if pair.name == "/"]
    if len(nameless) > 1 and all(pair.at <= nameless[1].at for pair in pairs[:2]):
        # `[1/3][100/400] loss: 2.3` begins with its epoch.
        pairs[pairs.index(nameless[0])] = replace(nameless[0], name="epoch")
    elif len(nameless) == 1 and _is_epoch(pairs[0], nameless[0]):
        pairs[0] = replace(pairs[0], name="epoch")
    for pair in pairs:
        if pair.name in _WITHOUT_NAME:
            order = _WITHOUT_NAME[pair.name]
            found.counters.append(Counter(pair.name, order, pair.at, pair.total))
            continue
        meaning = names.of(pair.name)
        if named_before and meaning.kind is Kind.VALIDATION and not meaning.name:
            meaning = replace(meaning, name=pair.before)
        if pair.split in EVALUATED and meaning.kind not in _ALSO_IN_VALIDATION:
            found.is_validation = True
            if meaning.kind is Kind.LOSS:
                implied.append((pair.at, pair.name, meaning.order, _set_of(pair)))
                continue
            meaning = Meaning(Kind.ACCURACY, "eval") if is_accuracy(pair.name) else _AN_EVALUATIONS
        elif pair.split in EVALUATED:
            found.is_validation = True
        _place(found, pair, meaning)
    found.losses.sort(key=lambda loss: loss[2])
    implied.sort(key=lambda loss: loss[2])
    found.counters.sort(key=lambda counter: counter.order)
    # Behind the best name for the training loss, the others are metrics of their own.
    found.free += [(at, name) for at, name, _ in found.losses[1:]]
    del found.losses[1:]
    explicit = bool(found.validations)
    for at, name, _, of_set in implied:
        if explicit or of_set in {each[1] for each in found.validations}:
            found.free.append((at, f"val/{name}"))
        else:
            found.validations.append((at, of_set, "loss"))
    _keep_sets(found)
    return found


def _is_epoch(first: Pair, count: Pair) -> bool:
    """Whether a line begins with a number of its epoch alone: `Train: 3 [50/100] Loss: 2.5`."""
    plain = first.whole and first.total < 0 and not first.unit
    return plain and count.at == first.at + 1 and bool(word_split(first.name))


def _are_named_before(pairs: Iterable[Pair], names: Names) -> bool:
    """Whether several results of the same name are told apart by the words before it."""
    results = [pair for pair in pairs if names.of(pair.name).kind is Kind.VALIDATION]
    words = {pair.before for pair in results}
    return len(results) > 1 and len(words) == len(results) and "" not in words


_ALSO_IN_VALIDATION = frozenset(
    {Kind.STEP, Kind.EPOCH, Kind.EPOCHS, Kind.PLANNED, Kind.RANK, Kind.TIME, Kind.NOTHING}
    | {Kind.VALIDATION, Kind.ACCURACY}
)
_AN_EVALUATIONS = Meaning(Kind.FREE, "val/")


def _set_of(pair: Pair) -> str:
    return "test" if pair.split == "test" else ""


def _keep_sets(found: Layout) -> None:
    """One number for each set of rows; beside the loss of an evaluation, parts of it are none."""
    plain = any(not name for _, name, _ in found.validations)
    one: dict[tuple[str, str], tuple[int, str, str]] = {}
    for each in found.validations:
        at, name, metric = each
        if (name, metric) in one or (plain and name and name not in _OTHER_SETS):
            found.free.append((at, f"val/{name or metric}"))
        else:
            one[name, metric] = each
    found.validations = list(one.values())


def _place(found: Layout, pair: Pair, meaning: Meaning) -> None:
    match meaning.kind:
        case Kind.LOSS:
            found.losses.append((pair.at, pair.name, meaning.order))
        case Kind.VALIDATION:
            name = meaning.name or _set_of(pair)
            found.validations.append((pair.at, name, meaning.metric))
        case Kind.ACCURACY:
            if meaning.name in {task for _, task, _ in found.accuracies}:
                found.free.append((pair.at, pair.name))
            else:
                found.accuracies.append((pair.at, meaning.name, pair.total))
        case Kind.STEP:
            if pair.whole:
                of_eval = pair.split in EVALUATED and meaning.order >= NAMELESS
                found.counters.append(
                    Counter(meaning.name, meaning.order, pair.at, pair.total, of_eval)
                )
        case Kind.EPOCH:
            if found.epoch < 0:
                found.epoch, found.epochs = pair.at, max(pair.total, found.epochs)
        case Kind.EPOCHS:
            found.epochs = pair.at
        case Kind.PLANNED:
            found.planned = pair.at
        case Kind.RANK:
            if found.rank < 0 and pair.whole:
                found.rank = pair.at
        case Kind.TIME:
            if pair.unit:
                _column(found, pair, "seconds", 1.0)
            else:
                found.time = pair.at
        case Kind.FIELD:
            column, scale = meaning.name, 1.0
            if column == "milliseconds":
                column, scale = "seconds", 1.0 if pair.unit else 1e-3
            _column(found, pair, column, scale)
        case Kind.FREE:
            found.free.append((pair.at, meaning.name + pair.name))
        case Kind.NOTHING:
            pass


def _column(found: Layout, pair: Pair, column: str, scale: float) -> None:
    if any(column == there for _, there, _ in found.columns):
        found.free.append((pair.at, pair.name))
    else:
        found.columns.append((pair.at, column, scale))


_ACCURACIES = frozenset(
    {"acc", "accuracy", "top1", "acc1", "acc_1", "token_acc"} | {"mean_token_accuracy"}
)


def is_accuracy(name: str) -> bool:
    """Whether a number of an evaluation is a share of right answers by its name."""
    return "_".join(words_of(name.rsplit("/", 1)[-1])) in _ACCURACIES
