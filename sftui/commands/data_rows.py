"""`sftui data`: rows as a model will see them, of a file or of one step of a run."""

from __future__ import annotations

import json
import os
import statistics
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

from engine.conversations.conversation import Conversation, RowFault
from engine.data.dataset import Rows, parse_row
from engine.data.row_files import name_of, open_path
from engine.data.row_forms import FormedRows, RowForm, formed
from engine.errors import UsageError
from engine.model.family import RunTokenizer
from engine.model.hf.hf_tokenizer import HfTokenizer, described
from engine.run import run_dir
from engine.step import rows_of_step
from engine.step.rows_of_step import SeenRow, token_texts
from sftui.commands.checkpoint_flags import DataFlags
from sftui.text.clean import clean

SUPERVISED, PLAIN = "\x1b[32m", "\x1b[0m"
BETWEEN = "\u00b7"
"""Stands between two tokens."""
OPEN, CLOSE = "\u27e6", "\u27e7"
"""Around supervised tokens where there are no colours."""


def print_rows(flags: DataFlags) -> Iterator[str]:
    """Lines, or with `--json` one object a row.

    Raises:
        UsageError: the file or the model's tokenizer cannot be read.
    """
    if flags.step is not None and flags.file is not None and flags.model is None:
        yield from _of_step(flags, flags.step)
        return
    if flags.file is None or flags.model is None:
        raise UsageError(
            "expected a file and --model DIR, e.g. sftui data chat.jsonl --model DIR, or a run and "
            "--step N."
        )
    rows = formed(open_path(flags.file), RowForm.read(flags.data_format, flags.map))
    tokenizer = HfTokenizer.load(
        flags.model, template_file=flags.chat_template, last_answer_only=flags.last_answer_only
    )
    seen = _seen(rows, tokenizer, flags)
    if flags.json:
        yield from (json.dumps(_as_json(row, tokenizer)) for row in seen)
        return
    yield f"{'rows':<18} {_form(rows)}"
    for name, text in described(tokenizer).items():
        yield f"{name:<18} {text}"
    yield from _shown(seen, tokenizer, flags, flags.max_tokens)


def _of_step(flags: DataFlags, step: int) -> Iterator[str]:
    """The rows of one update of a run, in the order of its micro-batches."""
    found = rows_of_step.open_run(run_dir.find(str(flags.file), run_dir.runs_root(flags.runs_dir)))
    seen = found.of_step(step)
    if flags.json:
        yield from (json.dumps(_as_json(row, found.tokenizer)) for row in seen)
        return
    yield f"step {step:,} of {found.num_updates:,}"
    yield from _shown(seen, found.tokenizer, flags, found.max_tokens)


def _shown(
    seen: Iterator[SeenRow], tokenizer: RunTokenizer, flags: DataFlags, max_tokens: int
) -> Iterator[str]:
    """The first rows, and what is to be said of all."""
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    summary = Summary(max_tokens)
    for row in seen:
        summary.add(row)
        if summary.rows <= flags.rows:
            yield from _lines(row, tokenizer, colours=colours)
    yield from ("", *summary.lines())


def _form(rows: Rows) -> str:
    """What the rows were recognised as."""
    fit = rows.fit if isinstance(rows, FormedRows) else None
    return "messages or questions, each as it says" if fit is None else fit.words


def _seen(rows: Rows, tokenizer: HfTokenizer, flags: DataFlags) -> Iterator[SeenRow]:
    first = flags.first - 1
    for index in range(max(0, first), len(rows)):
        where = rows.where(index)
        try:
            item = parse_row(rows.read(index), subject=name_of(Path(rows.name)))
            conversation = item if isinstance(item, Conversation) else item.conversation()
            yield SeenRow(where=where, rendered=tokenizer.render(conversation, flags.max_tokens))
        except RowFault as fault:
            yield SeenRow(where=where, rendered=None, fault=str(fault))


def _lines(row: SeenRow, tokenizer: RunTokenizer, *, colours: bool) -> Iterator[str]:
    yield ""
    found = row.rendered
    if found is None:
        yield f"{row.where}: {clean(row.fault)}"
        return
    cut = f", {found.num_dropped:,} more are cut" if found.num_dropped else ""
    yield f"{row.where}: {len(found.ids):,} tokens{cut}, {sum(found.mask):,} supervised"
    begin, end = (SUPERVISED, PLAIN) if colours else (OPEN, CLOSE)
    text, before = "", 0
    pieces = token_texts(tokenizer, found)
    for piece, supervised in zip(pieces, found.mask, strict=True):
        if supervised and not before:
            text += begin
        elif before and not supervised:
            text += end
        elif text:
            text += BETWEEN
        text += _printed(piece)
        before = supervised
    yield text + (end if before else "")


def _printed(text: str) -> str:
    """A token on one line."""
    return clean(text.replace("\n", "\u23ce").replace("\t", "\u21e5"))


class Summary:
    """What is to be said of all rows together; none of them is kept."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self.rows = self.faults = self.cut = self.silent = self.tokens = self.supervised = 0
        self._first_fault = ""
        self._lengths = array("q")
        """Tokens of each row that can be used, those that are cut included."""

    def add(self, row: SeenRow) -> None:
        self.rows += 1
        found = row.rendered
        if found is None:
            self.faults += 1
            self._first_fault = self._first_fault or f"{row.where}: {row.fault}"
            return
        self._lengths.append(len(found.ids) + found.num_dropped)
        self.tokens += len(found.ids)
        self.supervised += sum(found.mask)
        self.cut += bool(found.num_dropped)
        # The first token is never asked for.
        self.silent += 1 not in found.mask[1:]

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.rows:,} rows"
        if self.faults:
            yield f"{self.faults:,} cannot be used; the first: {clean(self._first_fault, 1000)}"
        if lengths := self._lengths:
            middle = statistics.median(lengths)
            span = f"{min(lengths):,} to {max(lengths):,} tokens"
            yield f"{span}, half of them at most {middle:,.0f}"
            yield f"{self.supervised:,} of {self.tokens:,} tokens supervised"
        if self.cut:
            yield f"{self.cut:,} lose their end at {self.max_tokens:,} tokens (--max-tokens)"
        if self.silent:
            yield f"{self.silent:,} have no supervised token"


def _as_json(row: SeenRow, tokenizer: RunTokenizer) -> dict[str, object]:
    found = row.rendered
    if found is None:
        return {"where": row.where, "source": row.source, "fault": row.fault}
    return {
        "where": row.where,
        "source": row.source,
        "ids": found.ids,
        "mask": found.mask,
        "tokens": token_texts(tokenizer, found),
        "dropped": found.num_dropped,
    }
