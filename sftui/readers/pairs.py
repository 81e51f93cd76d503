"""Lines, dicts and objects to `name = value` pairs with their place.

A line is cut into words and numbers. Its words are its shape: what they mean is worked out
for the first line of a shape (`pairs_of_shape`), and the next ones only bring numbers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sftui.readers.layouts import Pair
from sftui.readers.meanings import (
    NAMING,
    PARTS_OF_A_LOSS,
    VALUES,
    Kind,
    Names,
    is_split_key,
    may_mean,
    split_of,
    word_split,
    words_of,
)
from sftui.readers.quantities import is_decimal_comma, quantity, unit_of, whole

MOST_KEYS = 4096
"""Of an object; a log of every layer has a thousand."""
MOST_NUMBERS = 2000
"""Read of one line; a log of every layer has a thousand."""
_DELIMITERS = re.compile(
    r"[|,;{}<>\t\"]+|\s[-\u2013\u2014\u2022\u00b7~]+\s|(?<=[\w)])\. |\s{4,}(?=[A-Za-z])"
)
_LABELS = re.compile(r"[\[\]():=#@]+|\s-+\s")
_WORD = re.compile(r"[A-Za-z][A-Za-z]*(?![\w.]*\.\w)")
_UNIT_AFTER = re.compile(
    r"\s?(tokens?/s(?:ec)?|tok/s(?:ec)?|samples/s(?:ec)?|it/s|steps?/s(?:ec)?|ms(?:/step|/it)?|"
    r"s/it|s/step|sec|secs|seconds|s|min|%)(?![\w/])"
)
_IN_BRACKETS = re.compile(r"\s?\(([^()\s]{1,12})\)(?=\s*[:=]\s*[-+.\dnNiI])")
_UNIT_NAMES = {
    "tok/s": "tokens_per_second",
    "tok/sec": "tokens_per_second",
    "token/s": "tokens_per_second",
    "token/sec": "tokens_per_second",
    "tokens/s": "tokens_per_second",
    "tokens/sec": "tokens_per_second",
    "ms": "step_time",
    "ms/step": "step_time",
    "ms/it": "step_time",
    "s/it": "step_time",
    "s/step": "step_time",
}
_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "eval", "test", "dev"})
_NO_COUNTER = frozenset(
    [
        "of",
        "number",
        "num",
        "skipped",
        "nan",
        "per",
        "every",
        "total",
        "max",
        "warmup",
        "save",
        "remaining",
        "last",
        "each",
        "in",
        "until",
        "logging",
    ]
)
"""Words before `iterations` that make it a number of some, not the one that goes on."""
_COUNTS = (Kind.STEP, Kind.EPOCH)
_LOSSES = (Kind.LOSS, Kind.VALIDATION)
_IS = frozenset({":", "=", "is", "was", "->", "of", ": ="})
_AT = frozenset({"at", "after", "for", "in", "on"})
_COUNT_UNITS = ("", "k", "K")
"""A step may be printed as `1.5k`; a size in `M` or `G` is of tokens or memory."""
_STEPS_AFTER = re.compile(r"[- ]?(steps|iterations|iters|updates)\b", re.IGNORECASE)
_BLANK_THOUSANDS = re.compile(
    r"(?<=\b)((?:global[ _])?(?:step|iter|iteration|update)s?\b\W{0,3}?[ :=#\[]?)"
    r"([1-9]\d{0,2}(?: \d{3})+)(?![\d.])(?:(\s?/\s?)([1-9]\d{0,2}(?: \d{3})+)(?![\d.]))?",
    re.IGNORECASE,
)
_PARTED = re.compile(r"\d \d{3}")
_HEADS = re.compile(r"\b(loss|losses|acc|accuracy|ppl|perplexity)\b", re.IGNORECASE)


def with_plain_units(text: str) -> str:
    """`time (ms): 5` as `time_ms: 5`, so that a name holds no bracket with a number."""
    if "(" not in text:
        return text
    return _IN_BRACKETS.sub(_with_plain_unit, text)


def with_plain_thousands(text: str) -> str:
    """`step 10 000` as `step 10_000`: behind the name of a count, blanks part its thousands."""
    if not _PARTED.search(text):
        return text
    return _BLANK_THOUSANDS.sub(lambda match: _joined(match[0]), text)


def _joined(text: str) -> str:
    return re.sub(r"(?<=\d) (?=\d)", "_", text)


def _with_plain_unit(match: re.Match[str]) -> str:
    """As long as it was, so that all else keeps its place."""
    return ("_" + re.sub(r"[^\w]+", "_", match[1])).ljust(len(match[0]))


class _Scan:
    """One line's words and numbers on their way to pairs."""

    def __init__(self, parts: Sequence[str], names: Names) -> None:
        self.texts, self.numbers = parts[::2], parts[1::2]
        self.names = names
        self.pairs: list[Pair] = []
        self.split = ""
        self.head = ""
        self.phrase = ""
        self.explicit = False
        self.before = ""

    def run(self) -> list[Pair]:
        at = 0
        while at < len(self.numbers):
            at += self._take(at)
        return self.pairs

    def _take(self, at: int) -> int:
        """One number, with its total if it has one; how many were taken."""
        total = at + 1 if self._is_total(at + 1) else -1
        taken = 1 if total < 0 else 2
        after = self.texts[at + taken]
        self.before = ""
        unit = unit_of(self.numbers[at]) or self._unit_after(after)
        name, split = self._name(at, self.texts[at])
        if name in _IS:
            name = ""
        if total < 0 and (steps := _STEPS_AFTER.match(after)) and name.lower() in ("", *_AT):
            self.pairs.append(
                Pair(steps[1].lower(), at, -1, split, "", _is_count(self.numbers[at]))
            )
            return 1
        if not name and total < 0 and self.phrase and self.texts[at].strip(" ~") in _IS:
            name, split = self._resolve([w for w in self.phrase.split() if w not in _AT])
        if not name and total < 0:
            name = _UNIT_NAMES.get(unit, "")
        if total >= 0 and (not name or name.lower() in _SPLIT_NAMES):
            # `Test: [10/40] loss: 2.1` is of the test rows, all of it.
            self.split = split = word_split(name) or split
            name = "/"
        elif not name and self._is_bare(at, after):
            name = "#"
        if name:
            is_whole = _is_count(self.numbers[at])
            if name == "/" and not is_whole:
                return taken
            self.pairs.append(Pair(name, at, total, split, unit, is_whole, self.before))
        return taken

    def _is_total(self, at: int) -> bool:
        if at >= len(self.numbers) or not at > 0:
            return False
        gap = self.texts[at].strip()
        both = _is_count(self.numbers[at]) and _is_count(self.numbers[at - 1])
        return both and gap in ("/", "of", "out of")

    def _unit_after(self, text: str) -> str:
        match = _UNIT_AFTER.match(text)
        return match[1] if match else ""

    def _is_bare(self, at: int, after: str) -> bool:
        """A count that begins a line and a list of numbers: `470 | loss 4.1`."""
        if at or self.texts[0].strip(" [#") or not _is_count(self.numbers[0]):
            return False
        return bool(re.match(r"\s*[\]|:,;\t]|\s+-\s|\s+\w", after)) and len(self.numbers) > 1

    def _name(self, at: int, gap: str) -> tuple[str, str]:
        """The name that stands before a number, and the split it is of."""
        if at:
            gap = _UNIT_AFTER.sub(" ", gap, count=1) if _UNIT_AFTER.match(gap) else gap
        pieces = _DELIMITERS.split(gap)
        for piece in pieces[:-1]:
            self._mark(piece)
        last = pieces[-1]
        if not last.strip(" :=#([@~") and len(pieces) > 1 and self._is_name(pieces[-2], gap):
            last = pieces[-2]
        self.explicit = last.rstrip()[-1:] in (":", "=")
        labels = _LABELS.split(last.rstrip(" :=#([@~\u2248"))
        for label in labels[:-1]:
            self._mark(label)
        words = labels[-1].split()[-8:]
        keyed = len(words) > 1 and len(labels) > 1 and is_split_key(words_of(labels[-2])[-1:])
        if keyed and (split := self._split_of(words[:1])):
            # `collection=eval/mix loss=2.1`: what stands behind the key says it of the line.
            self.split, words = split, words[1:]
        if not words:  # `Iter(train) [10/90]` counts iterations
            heads = [label.split() for label in labels[:-1] if label.split()]
            heads = [head for head in heads if self.names.of(head[-1]).kind in _COUNTS]
            words = heads[-1][-1:] if heads else []
        return self._resolve(words)

    def _is_name(self, piece: str, gap: str) -> bool:
        """Whether the cell before this one names its number: `"loss", 2.5`, `loss;2.5`."""
        kind = self.names.of(piece.strip()).kind
        return '"' in gap or (kind not in (Kind.FREE, Kind.NOTHING) and "|" not in gap)

    def _resolve(self, words: list[str]) -> tuple[str, str]:
        """The name among the last words before a number: the longest that means something."""
        longest = min(6, len(words))
        if words and self.names.of(words[-1]).kind is Kind.STEP:
            # `validation loss at iteration 3387` counts, and the loss is still to come.
            counts = (Kind.STEP, Kind.PLANNED)
            while longest > 1 and self.names.of(" ".join(words[-longest:])).kind not in counts:
                longest -= 1
            self.phrase = " ".join(words[:-longest])
        slashed = any("/" in word for word in words)
        for size in range(longest, 0, -1):
            if not (slashed or self.names or may_mean(words[-size])):
                continue  # no word to begin with: asked of most words of a text
            name = " ".join(words[-size:])
            kind = self.names.of(name).kind
            if kind is Kind.FREE or kind is Kind.NOTHING:
                continue
            before = words[:-size]
            if kind in _LOSSES and before and _names_a_part(before[-1]):
                return "_".join([before[-1], name]), self.split
            split = self._split_of(before)
            if {"best", "min", "lowest", "previous", "prev", "target"} & set(
                map(str.lower, before)
            ):
                return "_".join([*before, name]), self.split
            if kind in (Kind.STEP, Kind.EPOCH):
                if kind is Kind.STEP and _NO_COUNTER & set(map(str.lower, before)):
                    return "_".join([*before, name]), self.split
                self.split = split or self.split
            self.before = before[-1] if before and before[-1].isidentifier() else ""
            return name, split or self.split
        if not words:
            return "", self.split
        name = words[-1] if len(words) > 3 or not self.explicit else " ".join(words)
        if name.lower() in _SPLIT_NAMES and self._head_before(words):
            split = word_split(name)
            return self.head, split
        if _HEADS.fullmatch(name):
            self.head = name
        return name, self._split_of(words[:-1]) or self.split

    def _head_before(self, words: list[str]) -> bool:
        """Whether `train` or `val` alone stands behind `loss` or `acc`."""
        for word in reversed(words[:-1]):
            if _HEADS.fullmatch(word):
                self.head = word
                return True
        if self.pairs:
            found = _HEADS.search(self.pairs[-1].name.replace("_", " "))
            if found:
                self.head = found[1]
        return bool(self.head)

    def _mark(self, text: str) -> None:
        """A piece of text without a number: a label such as `[Eval]` or `valid`."""
        if split := self._split_of(text.split()):
            self.split = split
        if found := _HEADS.search(text):
            self.head = found[1]

    def _split_of(self, words: list[str]) -> str:
        if len(words) > 8:
            return ""
        for word in words:
            if split := _split_in(word):
                return split
        return ""


@functools.lru_cache(maxsize=4096)
def _split_in(word: str) -> str:
    """The split that a printed word names."""
    splits = [word_split(plain) for plain in _WORD.findall(word.strip("'\""))]
    # `training_eval/mix` is an evaluation, on whichever rows.
    other = next((split for split in splits if split not in ("", "train")), "")
    return other or max(splits, default="")


def _names_a_part(word: str) -> bool:
    """Whether a word before `loss` makes it a part of the loss: `moe loss`, `train/Z loss`."""
    return words_of(word)[-1:] != [] and words_of(word)[-1] in PARTS_OF_A_LOSS


def pairs_of_shape(parts: Sequence[str], names: Names) -> list[Pair]:
    """The pairs of a line that was cut into texts and numbers in turn.

    `#` names a count that begins the line, `/` one of many without a name.
    """
    return _Scan(parts[: 2 * MOST_NUMBERS + 1], names).run()


def _is_count(text: str) -> bool:
    if unit_of(text) not in _COUNT_UNITS:
        return False
    try:
        return whole(quantity(text)) is not None and not is_decimal_comma(text)
    except ValueError:
        return False


# ---- dicts and objects -------------------------------------------------------------------------

_ITEM = re.compile(
    r"(?<=[{,\s])(['\"])([^'\"{}\n]{1,100})\1: ?"
    r"(?:(['\"])([^'\"\n]{0,200})\3|(?:[a-z_.]{1,30}\()?([-+]?[\w.+-]{1,40})\)?)(?=\s*[,}\])])"
)
_DICT = re.compile(r"\{\s?['\"][^'\"{}\n]{1,100}['\"]: .{0,20000}?\}")
_COUNT = re.compile(r"\s*(\d{1,12})\s*(?:/|of)\s*(\d{1,12})\s*")


def dicts_of(line: str) -> tuple[list[dict[str, Any]], str]:
    """The dicts that a line holds, as names and printed values, and the line without them."""
    found: list[dict[str, Any]] = []
    rest: list[str] = []
    end = 0
    for match in _DICT.finditer(line):
        items = {
            name: text if quote else word for _, name, quote, text, word in _ITEM.findall(match[0])
        }
        if items:
            found.append(items)
            rest.append(line[end : match.start()])
            end = match.end()
    rest.append(line[end:])
    return found, " | ".join(rest)


def rows_of(line: str) -> tuple[Sequence[tuple[dict[str, Any], Row]], str]:
    """`dicts_of`, each dict with its row; not to be changed, for a line that comes again is
    remembered."""
    return _remembered(line) if len(line) <= _LONGEST_KEPT else _read(line)


def _read(line: str) -> tuple[tuple[tuple[dict[str, Any], Row], ...], str]:
    found, rest = dicts_of(line)
    return tuple((items, Row(items)) for items in found), rest


_LONGEST_KEPT = 2000
_remembered = functools.lru_cache(maxsize=512)(_read)


def long_named(items: Mapping[str, Any]) -> Mapping[str, Any]:
    """`{"name": "train/loss", "value": 2.5}` as `{"train/loss": 2.5}`."""
    values = [name for name in items if name in VALUES]
    names = [name for name in items if name in NAMING and isinstance(items[name], str)]
    if len(values) != 1 or len(names) != 1:
        return items
    rest = {name: each for name, each in items.items() if name not in (values[0], names[0])}
    return {**rest, items[names[0]]: items[values[0]]}


class Row:
    """An object of names and values as pairs, numbers and what its words say."""

    __slots__ = ("numbers", "pairs", "split", "words")

    def __init__(self, items: Mapping[str, Any], outer: str = "") -> None:
        """`outer`: the split that the text before it names."""
        self.pairs: list[Pair] = []
        self.numbers: list[float | None] = []
        self.words: dict[str, str] = {}
        self.split = outer
        flat = list(_flat(long_named(items), "", 0))[:2000]
        for name, value in flat:
            key = words_of(name)
            if isinstance(value, str) and is_split_key(key):
                self.split = split_of(value) or self.split
        for name, value in flat:
            self._take(name, value)

    def _take(self, name: str, value: Any) -> None:
        if type(value) is str:  # of all that is printed
            self._text(name, value)
            return
        if isinstance(value, bool):
            return
        if isinstance(value, int | float):
            self._number(name, _float(value))
        elif value is None:
            self._number(name, None)
        elif isinstance(value, str):
            self._text(name, value)

    def _text(self, name: str, value: str) -> None:
        try:
            self._number(name, float(value))
        except ValueError:
            pass
        else:
            return
        if count := _COUNT.fullmatch(value):
            self._number(name, float(count[1]))
            self.pairs[-1] = Pair(name, self.pairs[-1].at, len(self.numbers), self.split)
            self.numbers.append(float(count[2]))
            return
        try:
            number = quantity(value)
        except ValueError:
            self.words[name] = value[:200]
            return
        self._number(name, number, unit_of(value))

    def _number(self, name: str, value: float | None, unit: str = "") -> None:
        is_whole = value is None or whole(value) is not None
        self.pairs.append(Pair(name, len(self.numbers), -1, self.split, unit, is_whole))
        self.numbers.append(value)


def _flat(items: Mapping[str, Any], outer: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Names and values, nested ones under `outer/inner`."""
    for name, value in list(items.items())[:MOST_KEYS]:
        if isinstance(value, dict):
            if depth < 4:
                yield from _flat(value, f"{outer}{name}/", depth + 1)
        elif isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict | list):
            yield f"{outer}{name}", value[0]
        else:
            yield f"{outer}{name}", value


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of more than 308 digits
        return float("inf")
