"""Lines that people's programs print: dicts, `name: value` pairs and progress bars, mixed.

A line is freed of what launchers and loggers put before it and of the bars in it, and cut
into words and numbers. Lines of the same words share their meaning (`layouts`), so that a
long log costs a cut and a look-up a line.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from engine.events import CheckpointSaved, Event, LogLine
from sftui.readers.alikes import Alike, alike
from sftui.readers.bars import Bar, take_bars
from sftui.readers.chinese import in_english
from sftui.readers.layouts import EVALUATED, Layout, Pair, is_accuracy, layout_of
from sftui.readers.ledger import TELLING, TELLING_ALONE, LedgerReader
from sftui.readers.meanings import split_of
from sftui.readers.pairs import (
    MOST_NUMBERS,
    Row,
    pairs_of_shape,
    rows_of,
    with_plain_thousands,
    with_plain_units,
)
from sftui.readers.prefixes import bare_label, take_clock, take_rank, without_noise, without_objects
from sftui.readers.quantities import NUMBER, is_decimal_comma, quantity

MOST_CHARACTERS = 4000
"""Longer lines are prose or a dump, and read for the dicts in them alone, unless numbers stand as
close in them as in a log."""
LONGEST = 64 * 1024
"""So much of a line is read."""
_CLOSE = 60
"""Characters from one number to the next, on average, in a line of names and numbers."""
MOST_SHAPES = 2000
_MOST_IN_HEADING = 9
COUNT_ALONE = (
    r"\W*(?:global[ _]|training )?(?:step|iter|iteration)\W{1,3}\d[\d,]*(?: ?/ ?\d[\d,]*)?\W*$"
)
"""A line of nothing but a counter: the numbers below it are of that step."""
_COUNT_ALONE = re.compile(COUNT_ALONE, re.I)
_WORTH_A_LOOK = (*TELLING, "epoch", "train", "val", "test")
_WORTH_ALONE = re.compile(
    "|".join(rf"{word}(?<![^\W_]{word})(?![a-z0-9])" for word in TELLING_ALONE)
)
"""Every branch begins with a letter: so the others are skipped fast."""
_PLAN = re.compile(
    r"\b(?:total optimization steps|total training steps|total steps|max[_ ]steps|max[_ ]iters"
    r"|num[_ ]iterations|train[_ ]iters|total number of steps|num training steps)\b\W{1,4}"
    r"([\d,]{1,15})\b",
    re.IGNORECASE,
)
_EPOCH = re.compile(
    r"\W{0,6}epoch\b[ :#\[]{0,3}(\d{1,9})(?:\s?(?:/|of)\s?(\d{1,9}))?\W{0,12}", re.I
)
_LABEL = re.compile(
    r"\W{0,10}([A-Za-z][\w ]{2,40}?)(?: error| results?| set| metrics)?\W{0,10}", re.I
)
_FRAMED = re.compile(r"\s*(?:={2,}|-{2,}|#{1,}|\*{2,})\s?\S.{0,200}")
"""A heading: `=== Evaluation at step 20 ===`."""
_BRACKETED = re.compile(r"\[[^\[\]]{1,200}\]\s*$")
"""Counters in brackets at the end of a line: `INFO [step=3/100,epoch=0]`."""
_ROWS = re.compile(r"\[\s?\{\s?['\"]")
_SAVED = re.compile(
    r"Saving model checkpoint to (?P<path>\S{1,400}?checkpoint-(?P<step>\d{1,12}))\b"
    r"|saved checkpoint from iteration\s+(?P<iteration>\d{1,12}) to (?P<folder>\S{1,400})"
)
_OPEN = re.compile(r"\{\s*(?:['\"][^'\"{}]{1,100}['\"]: ?[^{}]*,\s*)?$")
"""The first line of an object that is printed over several, by pprint or with an indent."""
_INNER = re.compile(r"\s*(?:['\"][^'\"]{1,100}['\"]: ?.*?(?:[,{}]|\d|['\"\w])|[}\]],?)\s*$")
_MOST_INNER = 400
_EXACT = 5
"""Digits of a gradient norm that two steps do not share by chance."""
_EXPECTED_END = frozenset({"train_runtime", "train_loss"})

STEPS_COUNTED = " (steps counted: it prints none)"
"""Behind the name of the format, where the numbers of the steps are this reader's own."""


class PrintedReader(LedgerReader):
    """See the module; one instance reads one file from its start."""

    carries: ClassVar[bool] = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._shapes: dict[tuple[str, ...], Layout] = {}
        self._keys: dict[tuple[Any, ...], Layout] = {}
        self._label = ""
        self._above = ""
        """Counters that stand on a line of their own, above the numbers they count."""
        self._framed = False
        """`_above` is a heading between bars, whose numbers need not be indented."""
        self._like: Alike | None = None
        self._last_keys: frozenset[str] = frozenset()
        self._last_place: int | None = None
        self._last_dict: dict[str, Any] = {}
        self._last_items: dict[str, float | None] = {}
        self._cut = False
        """It was said that lines hold more numbers than are read."""
        self._inner: list[str] = []
        """Lines of an object that has not ended yet."""
        self._depth = 0
        """Brackets that are open in them."""
        self._ranked_bars = False
        """Bars stand behind a rank: `0:  10%|...`."""

    @property
    def format(self) -> str:
        return self.words + (STEPS_COUNTED if self._counted else "")

    def feed(self, data: bytes) -> list[Event]:
        lines = self._buffer.feed(data)
        self.lines.total += len(lines)
        run: list[tuple[str, ...]] = []
        for line in filter(None, lines):
            if self._like is not None and (match := self._like.match(line)):
                run.append(match.groups())
                continue
            if run:
                self._take_run(run)
                run = []
            if not line.isspace():
                if not self._reads(line):
                    self._unknown(line)
            else:
                self._blank(line)
        if run:
            self._take_run(run)
        return self._drain()

    def _take_run(self, run: list[tuple[str, ...]]) -> None:
        """Lines that are alike but for their numbers."""
        like = self._like
        assert like is not None
        texts = list(zip(*run, strict=True))
        times: list[float | None] = []
        if like.clocked:
            times = [take_clock(text)[1] for text in texts.pop(0)]
        columns = {
            at: like.numbers(column, unit)
            for (at, unit), column in zip(like.slots, texts, strict=True)
        }
        self._take_rows(like.layout, columns, len(run), times)

    def _blank(self, line: str) -> None:
        if len(line) > 10:
            self._bars.wipe()

    def _line(self, line: str) -> bool:
        if self.overturned:
            return True
        if self._inner or (line[-1] in "{," and "{" in line and _OPEN.search(line)):
            return self._inner_line(line)
        return self._whole_line(line)

    def _inner_line(self, line: str) -> bool:
        """One of the lines of an object; it is read where it ends, or where it shows to be none."""
        if self._inner and not (len(self._inner) < _MOST_INNER and _INNER.match(line)):
            self._give_inner()
            return self._line(line)
        self._inner.append(line)
        self._depth += line.count("{") - line.count("}")
        if self._depth > 0:
            return True
        text = " ".join(map(str.strip, self._inner))
        # A config is printed like that too: only an object with a loss or a result is a row.
        if any(self._layout_of_row(row).tells for _, row in rows_of(text)[0]):
            self._depth = 0
            self._inner = []
            return self._whole_line(text)
        self._give_inner()
        return True

    def _give_inner(self) -> None:
        """Lines that only looked like an object of the run."""
        lines, self._inner, self._depth = self._inner, [], 0
        for each in lines:
            if not self._whole_line(each):
                self._unknown(each)

    def _end(self) -> None:
        self._give_inner()

    def _whole_line(self, line: str) -> bool:
        bars: list[Bar] = []
        rest = without_objects(in_english(line))
        if "%|" in line or "━" in line or "=]" in line or ("..." in line and "/" in line):
            bars, rest = self._bars_of(rest)
        known = bool(bars)
        if line[:1] == "{" and _ROWS.search(line):
            return known  # a row of data: what is written in it is no line of a log
        if "{" in rest and ("': " in rest or '": ' in rest):
            dicts, outer = rows_of(rest)
            # Each dict is read with the words beside it, which a line of many has no end of.
            beside = outer if len(outer) <= MOST_CHARACTERS else ""
            told = known
            for items, row in dicts:
                said = items.get("message") or items.get("msg")
                if isinstance(said, str):  # a logger that writes JSON
                    told = self._text(said, None) or told
                    self._like = None
                told = self._entry(items, row, beside) or told
            if told and dicts:
                return True
            rest = outer if dicts else rest  # `loss=2.5,grad_norm={'0_default': 1.2}`
        if saved := _SAVED.search(line):
            step, path = saved["step"] or saved["iteration"], saved["path"] or saved["folder"]
            self._saved(int(step), path)
            return True
        if len(rest) > MOST_CHARACTERS:
            if not is_of_numbers(rest):
                return known
            rest = rest[:LONGEST]
        known = self._text(rest, bars[-1] if bars else None) or known
        if rest is not line:
            self._like = None
        return known

    def _bars_of(self, line: str) -> tuple[list[Bar], str]:
        """The bars of a line, and the line without; another rank's bars tell nothing."""
        label, percent, behind = line.partition("%|")
        rank = None
        if percent and not label.strip("\r 0123456789"):
            bars, rest = take_bars(line)  # nothing stands before it
        elif percent:
            label, rank, _ = take_rank(take_clock(label)[0])
            bars, rest = take_bars(bare_label(label) + percent + behind)
        else:
            bars, rest = take_bars(line)
        if rank is not None and bars:
            self._ranked_bars = True
            if rank != (self.settled.lead or 0):
                return bars, rest
        for bar in bars:
            self._bars.take(bar)
        return bars, rest

    # ---- text ------------------------------------------------------------------------------

    def _text(self, text: str, bar: Bar | None) -> bool:
        if not (self.names or is_worth_a_look(text.lower())):
            return self._facts(text)
        line, text_was = text, len(text)
        cut = _cut_kept if len(line) <= _LONGEST_KEPT else _cut
        text, t, rank, unsure, parts = cut(line, time.tzname)
        if len(parts) == 1:
            return self._words(text)
        if len(parts) > 2 * MOST_NUMBERS + 1:
            self._say_cut(len(parts) // 2)
            parts, text_was = parts[: 2 * MOST_NUMBERS + 1], -1
        layout = self._layout(parts)
        if unsure and rank is not None and layout.tells and not layout.counters:
            # `12: loss 0.5` begins with its step, `0: step 12 loss 0.5` with a rank.
            parts, rank = ("", str(rank), ": " + parts[0], *parts[1:]), None
            text_was = -1
            layout = self._layout(parts)
        try:
            numbers = self._quantities(parts, layout)
        except ValueError:
            return False
        label, self._label = self._label, ""
        if label and layout.losses and not layout.counters and layout.epoch < 0:
            layout = self._layout((label + ": " + parts[0], *parts[1:]))
            text_was = -1
        indented = line[:1].isspace()  # a clock that was taken leaves blanks in the text
        below = self._above and (self._framed or indented)
        if below and _is_below(layout):
            above, self._above = self._above, ""
            known = self._text(f"{above} | {text.strip()}", bar)
            self._above = above
            return known
        inner = self._above and indented and not text.rstrip().endswith(":")
        if (layout.counters or layout.epoch >= 0) and not inner:
            self._framed = bool(_FRAMED.fullmatch(text) or _COUNT_ALONE.match(text))
            heading = "" if layout.tells else _heading(text, framed=self._framed)
            short = heading and len(NUMBER.split(heading)) <= _MOST_IN_HEADING
            self._above = heading if short else ""
        if self._take(layout, numbers, rank=rank, t=t, bar=bar):
            alone = layout.goes_in_blocks and layout.losses and rank is None
            if alone and text_was == len(text) and not self.settled.decimal_commas:
                self._like = alike(line, text, layout, clocked=t is not None)
            return True
        return self._facts(text)

    def _say_cut(self, count: int) -> None:
        """Once: what follows in such lines is not read."""
        if not self._cut:
            self._cut = True
            text = f"a line holds {count:,} numbers; of each the first {MOST_NUMBERS:,} are read."
            self._emit(LogLine(text=f"sftui: {text}", level="warn", stamp=self._stamp))

    def _quantities(self, parts: Sequence[str], layout: Layout) -> list[float | None]:
        commas = self.settled.decimal_commas
        losses = [*layout.losses, *layout.validations]
        if not commas and any(is_decimal_comma(parts[2 * at + 1]) for at, *_ in losses):
            self._reads_decimal_commas()
            commas = True
        return [quantity(part, decimal_commas=commas) for part in parts[1::2]]

    def _layout(self, parts: Sequence[str]) -> Layout:
        key = tuple(parts[::2])
        found = self._shapes.get(key)
        if found is None:
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
            found = layout_of(pairs_of_shape(parts, self.names), self.names)
            self._shapes[key] = found
        return found

    def _words(self, text: str) -> bool:
        """A line without a number may head the ones below: `Test Error:`."""
        if self._framed and _FRAMED.fullmatch(text):
            self._above = ""  # another heading
        match = _LABEL.fullmatch(text)
        if match and split_of(match[1]) in EVALUATED and len(match[1].split()) <= 3:
            self._label = match[1]
        return False

    def _facts(self, text: str) -> bool:
        """What is planned, and the epoch that begins."""
        small = text.lower()
        if _counts(small) and (plan := _PLAN.search(text)):
            self._planned = int(plan[1].replace(",", "") or 0) or None
            return True
        if "epoch" in small and (epoch := _EPOCH.fullmatch(text)):
            number = int(epoch[1])
            if number == 0:
                self.settled.from_zero = True
            self._epoch = number
            self._epochs = int(epoch[2]) if epoch[2] else self._epochs
            return True
        return False

    def _saved(self, step: int, path: str) -> None:
        self._emit(CheckpointSaved(step=step, path=path, kind="hf", stamp=self._stamp))

    # ---- dicts -----------------------------------------------------------------------------

    def _entry(self, items: dict[str, Any], row: Row, outer: str) -> bool:
        """One printed dict; `outer` is what its line says besides."""
        split = split_of(outer[-60:])
        if split not in ("", "train"):
            row = Row(items, split)
        layout = self._layout_of_row(row)
        numbers = row.numbers
        if items.keys() >= _EXPECTED_END and "loss" not in items:
            self._end_of_run(_number(items["train_loss"]), _number(items["train_runtime"]))
            return True
        if not (layout.tells or layout.epoch >= 0):
            return False
        rank = None
        if outer.strip(" |"):
            bare, rank, unsure = take_rank(take_clock(outer)[0].split("|")[0].rstrip() + " {")
            if unsure and not self._ranked_bars:
                rank = None  # `12: {'loss': 2.5}` may begin with its step
            outer = outer if rank is None else bare.rstrip(" {")
        if not layout.counters and outer.strip(" |"):
            layout, numbers = self._with_text(row, outer)
        entry = not layout.counters
        if rank is not None and layout.tells and not self._leads(rank, bool(layout.losses)):
            return True
        if entry and self._is_repeated(items):
            self._bars.step_of_loss(repeated=True)
            return True
        if layout.tells:
            return self._take(layout, numbers, entry=entry)
        return self._metrics(layout, numbers, entry)

    def _metrics(self, layout: Layout, numbers: list[float | None], entry: bool) -> bool:
        """A dict of an epoch and metrics alone, such as rewards."""
        self._note_epoch(layout, numbers)
        if entry:
            step, total = self._step_of_entry(False)
        else:
            placed, total, _ = self._step_of(layout, numbers, None, None, False, False)
            step = placed if placed is not None else max(self._step, 0)
        row = self._row_of(layout, numbers)
        if set(row) - {"epoch"}:
            self._plain_row(step, row, total, None)
        return True

    def _with_text(self, row: Row, outer: str) -> tuple[Layout, list[float | None]]:
        """The pairs of a dict with those of the text before it, which may hold the step."""
        text, _ = take_clock(outer)
        parts = NUMBER.split(with_plain_units(without_noise(text)))
        pairs = pairs_of_shape(parts, self.names)
        layout = layout_of(pairs, self.names)
        if not layout.counters or len(parts) > 60:
            return self._layout_of_row(row), row.numbers
        shift = len(row.numbers)
        moved = [
            Pair(p.name, p.at + shift, p.total + shift if p.total >= 0 else -1, "", p.unit, p.whole)
            for p in pairs
            if not layout_of([p], self.names).tells
        ]
        numbers = [*row.numbers, *(quantity(part) for part in parts[1::2])]
        return layout_of([*row.pairs, *moved], self.names), numbers

    def _layout_of_row(self, row: Row) -> Layout:
        key = tuple((p.name, p.at, p.total, p.split, bool(p.unit), p.whole) for p in row.pairs)
        found = self._keys.get(key)
        if found is None:
            if len(self._keys) >= MOST_SHAPES:
                self._keys.clear()
            found = self._keys[key] = layout_of(row.pairs, self.names)
        return found

    def _is_repeated(self, items: dict[str, Any]) -> bool:
        """Whether a callback and the trainer print the same step, each in its own words."""
        now = {name: _number(items.get(name)) for name in ("loss", "epoch")}
        before, self._last_items = self._last_items, now
        old_items, self._last_dict = self._last_dict, items
        keys = frozenset(items)
        old_keys, self._last_keys = self._last_keys, keys
        place, old_place = self._bars.place, self._last_place
        self._last_place = place
        if now["loss"] is None or before.get("loss") != now["loss"]:
            return False
        if keys == old_keys:
            norm = str(items.get("grad_norm", ""))
            exact = len(norm.strip("0.")) > _EXACT and items == old_items
            return exact
        epochs = now["epoch"], before.get("epoch")
        same = epochs[0] is not None and epochs[1] is not None
        same = same and abs((epochs[0] or 0) - (epochs[1] or 0)) < 0.0051
        if same and place == old_place:
            self._last_items = {}
            return True
        return False


def _cut(
    line: str, zone: tuple[str, str]
) -> tuple[str, float | None, int | None, bool, tuple[str, ...]]:
    """A line without what loggers put around it, its time and rank, whether that might be a step,
    and its texts and numbers in turn. `zone`: this machine's, which a process may change."""
    text, t = take_clock(line)
    text, rank, unsure = take_rank(text)
    text = with_plain_thousands(with_plain_units(without_noise(text)))
    return text, t, rank, unsure, tuple(NUMBER.split(text))


_LONGEST_KEPT = 500
_cut_kept = functools.lru_cache(maxsize=1024)(_cut)
"""Settings, headings and warnings come again, word by word, with every start of a script."""


def is_worth_a_look(small: str) -> bool:
    """Whether a line in small letters has a word that tells, or may head lines that do.

    Most lines of a text have neither, and looking for a word costs a tenth of matching them all.
    """
    for word in _WORTH_A_LOOK:
        if word in small:
            return True
    if small.rstrip()[-1:] in (":", "]") or _WORTH_ALONE.search(small):
        return True
    return _counts(small) and _COUNT_ALONE.match(small) is not None


def _counts(small: str) -> bool:
    """Whether a line in small letters may name a counter."""
    return "step" in small or "iter" in small


def is_of_numbers(line: str) -> bool:
    """Whether the beginning of a long line is as full of numbers as one of a log."""
    return len(NUMBER.findall(line, 0, MOST_CHARACTERS)) * _CLOSE >= MOST_CHARACTERS


def _heading(text: str, *, framed: bool) -> str:
    """What of a line with counters stands for the lines below it; empty for most lines."""
    if framed or text.rstrip().endswith(":"):
        return text.strip()
    # A logger's name and line number before it count nothing.
    bracketed = _BRACKETED.search(text)
    return bracketed[0].strip() if bracketed else ""


def _is_below(layout: Layout) -> bool:
    """Whether its numbers may be of the step that a heading names."""
    told = layout.tells or any(is_accuracy(name) for _, name in layout.free)
    return told and not layout.counters


def _number(value: Any) -> float | None:
    try:
        return quantity(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return None
