"""nanochat's training lines to columns of numbers, many at once.

Whole columns are converted because a million lines must take seconds: matching and
splitting are C loops over the lines, and no line costs a Python call of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sftui.readers import nanochat_lines as ln

_SFT = ("loss_micro_last", "lr_mult", "supervised_tokens")
_PRETRAIN = ("loss", "lr_mult", "seconds", "tokens_per_second", "mfu_percent")
_PRETRAIN_EPOCH = (*_PRETRAIN, "epoch")
_FORK_NAMES = {"lrm": "lr_mult", "tok/sec": "tokens_per_second", "dt": "seconds"}


@dataclass(frozen=True, slots=True)
class StepRows:
    """Training lines of one shape; `columns[i]` belongs to `names[i]`."""

    program: str
    """Which program prints such lines."""
    steps: Sequence[int]
    names: tuple[str, ...]
    columns: Sequence[Sequence[float]]
    total: int | None
    """Planned steps, where the lines have them."""
    percent: float | None
    """Progress that the last line prints; of the data, in mid_train."""


_Match = Callable[[str], re.Match[str] | None]


def sft_rows(lines: list[str], match: _Match = ln.SFT_STEP.fullmatch) -> StepRows | None:
    """chat_sft of October 2025; None if a line is another or holds what is no number."""
    matches = list(map(match, lines))
    if None in matches:
        return None
    groups = zip(*(found.groups() for found in matches if found), strict=True)
    steps, totals, losses, lr_mults, tokens = groups
    try:
        return StepRows(
            program="chat_sft",
            steps=list(map(int, steps)),
            names=_SFT,
            columns=[
                list(map(float, losses)),
                list(map(float, lr_mults)),
                list(map(ln.count, tokens)),
            ],
            total=int(totals[0]),
            percent=None,
        )
    except ValueError:
        return None


def pretrain_rows(lines: list[str], match: _Match = ln.PRETRAIN_STEP.fullmatch) -> StepRows | None:
    """base_train, mid_train and the chat_sft of 2026; None as for `sft_rows`."""
    matches = list(map(match, lines))
    if None in matches:
        return None
    groups = zip(*(found.groups() for found in matches if found), strict=True)
    steps, totals, percents, losses, lr_mults, times, rates, mfus, epochs = groups
    if (None in totals) != (totals[0] is None) or (None in epochs) != (epochs[0] is None):
        return None
    columns: list[Sequence[float]] = []
    try:
        columns += [list(map(float, losses)), list(map(float, lr_mults))]
        columns += [[float(ms) / 1000 for ms in times], list(map(ln.count, rates))]
        columns += [list(map(float, mfus))]
        if epochs[0] is not None:
            columns += [list(map(int, epochs))]
        return StepRows(
            program="base_train" if totals[0] else "chat_sft" if epochs[0] else "mid_train",
            steps=list(map(int, steps)),
            names=_PRETRAIN if epochs[0] is None else _PRETRAIN_EPOCH,
            columns=columns,
            total=int(totals[0]) if totals[0] else None,
            percent=float(percents[-1]),
        )
    except ValueError:
        return None


def fork_row(text: str) -> StepRows | None:
    """A training line with other fields than nanochat's; None without a loss."""
    match = ln.STEP_FIELDS.match(text)
    if match is None:
        return None
    step, total, percent, rest = match.groups()
    values: dict[str, float] = {}
    for part in rest.split("|"):
        if field := ln.FIELD.fullmatch(part.replace(",", "")):
            number = float(field[2])
            values[_FORK_NAMES.get(field[1], field[1])] = number / (1000 if field[1] == "dt" else 1)
    if "loss" not in values:
        return None
    return StepRows(
        program="base_train" if total else "mid_train",
        steps=[int(step)],
        names=tuple(values),
        columns=[[value] for value in values.values()],
        total=int(total) if total else None,
        percent=float(percent),
    )


def one_row(text: str) -> StepRows | None:
    """The training line that `text` starts with; foreign text may follow it."""
    return (
        sft_rows([text], ln.SFT_STEP.match)
        or pretrain_rows([text], ln.PRETRAIN_STEP.match)
        or fork_row(text)
    )
