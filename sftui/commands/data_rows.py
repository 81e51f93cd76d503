"""`sftui data`: rows as a model will see them, of a file or of one step of a run."""

from __future__ import annotations

import json
import os
import statistics
import sys
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
    found = []
    for row in seen:
        found.append(row)
        if len(found) <= flags.rows:
            yield from _lines(row, tokenizer, colours=colours)
    yield from ("", *_summary(found, max_tokens))


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


def _summary(found: list[SeenRow], max_tokens: int) -> Iterator[str]:
    seen = [row.rendered for row in found if row.rendered is not None]
    yield f"{len(found):,} rows"
    if faults := [row for row in found if row.rendered is None]:
        first = f"{faults[0].where}: {faults[0].fault}"
        yield f"{len(faults):,} cannot be used; the first: {clean(first, 1000)}"
    if seen:
        lengths = [len(each.ids) + each.num_dropped for each in seen]
        middle = statistics.median(lengths)
        yield f"{min(lengths):,} to {max(lengths):,} tokens, half of them at most {middle:,.0f}"
        supervised = sum(sum(each.mask) for each in seen)
        yield f"{supervised:,} of {sum(len(each.ids) for each in seen):,} tokens supervised"
    if cut := sum(bool(each.num_dropped) for each in seen):
        yield f"{cut:,} lose their end at {max_tokens:,} tokens (--max-tokens)"
    if silent := sum(not any(each.mask[1:]) for each in seen):
        yield f"{silent:,} have no supervised token"


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
