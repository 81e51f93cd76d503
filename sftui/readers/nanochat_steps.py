"""nanochat's training lines to columns of numbers, many at once.

Whole columns are converted because a million lines must take seconds: matching and
splitting are C loops over the lines, and no line costs a Python call of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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


_SFT_LINES = re.compile(f"^{ln.SFT_STEP.pattern}$", re.MULTILINE)
_PRETRAIN_LINES = re.compile(f"^{ln.PRETRAIN_STEP.pattern}$", re.MULTILINE)

_Groups = Sequence[tuple[str, ...]]
"""The groups of a pattern for each line; empty where an optional one is missing."""


def sft_rows(lines: list[str]) -> StepRows | None:
    """chat_sft of October 2025; None if a line is another or holds what is no number."""
    groups = _SFT_LINES.findall("\n".join(lines))
    return _sft(groups) if len(groups) == len(lines) else None


def pretrain_rows(lines: list[str]) -> StepRows | None:
    """base_train, mid_train and the chat_sft of 2026; None as for `sft_rows`."""
    groups = _PRETRAIN_LINES.findall("\n".join(lines))
    return _pretrain(groups) if len(groups) == len(lines) else None


def one_row(text: str) -> StepRows | None:
    """The training line that `text` starts with; foreign text may follow it."""
    if match := ln.SFT_STEP.match(text):
        return _sft([match.groups("")])
    if match := ln.PRETRAIN_STEP.match(text):
        return _pretrain([match.groups("")])
    return _fork_row(text)


def _sft(groups: _Groups) -> StepRows | None:
    steps, totals, losses, lr_mults, tokens = zip(*groups, strict=True)
    try:
        return StepRows(
            program="chat_sft",
            steps=list(map(int, steps)),
            names=_SFT,
            columns=[list(map(float, losses)), list(map(float, lr_mults)), _counts(tokens)],
            total=int(totals[0]),
            percent=None,
        )
    except ValueError:
        return None


def _pretrain(groups: _Groups) -> StepRows | None:
    columns = zip(*groups, strict=True)
    steps, totals, percents, losses, lr_mults, times, rates, mfus, epochs = columns
    if ("" in totals) != (totals[0] == "") or ("" in epochs) != (epochs[0] == ""):
        return None  # two kinds of lines
    try:
        values: list[Sequence[float]] = [
            list(map(float, losses)),
            list(map(float, lr_mults)),
            [float(ms) / 1000 for ms in times],
            _counts(rates),
            list(map(float, mfus)),
        ]
        if epochs[0]:
            values.append(list(map(int, epochs)))
        return StepRows(
            program="base_train" if totals[0] else "chat_sft" if epochs[0] else "mid_train",
            steps=list(map(int, steps)),
            names=_PRETRAIN_EPOCH if epochs[0] else _PRETRAIN,
            columns=values,
            total=int(totals[0]) if totals[0] else None,
            percent=float(percents[-1]),
        )
    except ValueError:
        return None


def _counts(digits: Sequence[str]) -> list[int]:
    """Numbers with thousands commas."""
    return list(map(int, " ".join(digits).replace(",", "").split(" ")))


def _fork_row(text: str) -> StepRows | None:
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
