"""Read and check every row that a run would use, before anything is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.conversations.chat_format import MAX_TOKENS
from engine.data import row_digests, supervision
from engine.data.dataset import Rows
from engine.data.entries import DataEntry, DataSettings, ExamLimits
from engine.data.hub import HubRows
from engine.data.mixture import TaskRows
from engine.data.mixture_plan import Share
from engine.data.supervision import Tally, Teaches
from engine.data.task_rows import Part, epoch_counts, kept_rows, load_rows, open_all, side_of
from engine.data.tasks import (
    Starter,
    as_questions,
    build_mixture,
    digests_of,
    load_questions,
    load_validation,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSummary:
    """What `check_data` found, without keeping the rows."""

    train: Mapping[str, int]
    """Training rows by task; of a hub data set, the published size."""
    validation_rows: int
    questions: Mapping[str, int]
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Malformed rows left out, by task and split."""
    notes: tuple[str, ...] = ()
    from_hub: tuple[str, ...] = ()
    """Tasks that are read from the hub later, hence not checked row by row."""
    shares: tuple[Share, ...] = ()
    """What stands of each training source in an epoch."""
    tally: Tally = field(default_factory=Tally)
    """Answers of the training rows that were looked at."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the rows, by `row_digests.collect`; hub data sets are not among them."""

    @property
    def num_rows(self) -> int:
        return sum(self.train.values())


def check_data(
    settings: DataSettings,
    *,
    max_validation_rows: int = 400,
    limits: ExamLimits | int | None = 1024,
    starter: Starter | None = None,
    teaches: Teaches | None = None,
    max_tokens: int = MAX_TOKENS,
) -> DataSummary:
    """Read and check every row a run with these settings would use; start nothing.

    Hub data sets are only looked for (cached or reachable), not downloaded.

    Args:
        teaches: whether a conversation has a supervised token; given, every source of training
            and validation rows must have one such row.

    Raises:
        DataError: file and line of the first fault, and how many more there are.
    """
    if not isinstance(limits, ExamLimits):
        limits = ExamLimits(letters=limits, generated=limits)
    if settings.starter:
        mixture = build_mixture(settings, starter=starter)
        validation = load_validation(settings, max_validation_rows, starter=starter)
        questions = load_questions(settings, limits, starter=starter)
        return DataSummary(
            train=mixture.counts(),
            validation_rows=len(validation),
            questions={name: len(found) for name, found in questions.items()},
            digests=digests_of(mixture, validation, questions),
        )
    checks = [_Check(use="training", entry=entry) for entry in settings.train_entries()]
    if settings.validation is None:
        checks = [replace(check, part="training") for check in checks]
        checks += [replace(check, use="validation", part="held_out") for check in checks]
    else:
        checks += [
            _Check(use="validation", entry=each, limit=max_validation_rows, part="exam")
            for each in settings.validation_entries()
        ]
    checks += [
        _Check(use="question", entry=each, limit=limits.of(each.name), part="exam")
        for each in settings.questions
    ]
    sources = open_all([check.entry for check in checks], settings, download=False)
    found = [
        _looked_at(check, rows, note, settings)
        for check, (rows, note) in zip(checks, sources, strict=True)
    ]
    if teaches is not None:
        for each in found:
            if each.task is not None and each.check.use != "question":
                items = each.task.items
                supervision.require(each.where, items, teaches, max_tokens=max_tokens)
    return _summary(found, max_validation_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """One source of rows that is looked at beforehand."""

    use: Literal["training", "validation", "question"]
    entry: DataEntry
    limit: int | None = None
    part: Part = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What was found of it."""

    check: _Check
    where: str
    count: int
    task: TaskRows | None = None
    """None for a data set of the hub."""


def _looked_at(check: _Check, rows: Rows, note: str, settings: DataSettings) -> _Looked:
    entry = check.entry
    if isinstance(rows, HubRows):
        kept = kept_rows(len(rows), entry.size, check.limit)
        count = len(side_of(range(kept), check.part, settings.held_out))
        return _Looked(check=check, where=rows.name, count=count)
    task = load_rows(rows, entry, settings, limit=check.limit, note=note, part=check.part)
    if check.use == "question":
        # As they are asked: a row of GSM8K is then a problem, and has the digest of one.
        task = replace(task, items=as_questions(task, rows.name))
    where = rows.name
    if check.part == "held_out":
        where = f"{where}, rows held out for validation (--validation FILE names others)"
    return _Looked(check=check, where=where, count=len(task.items), task=task)


def _summary(found: Sequence[_Looked], max_validation_rows: int) -> DataSummary:
    train: dict[str, int] = {}
    skipped: dict[str, int] = {}
    notes: dict[str, None] = {}
    total = Tally()
    training = [each for each in found if each.check.use == "training"]
    entries = [each.check.entry for each in training]
    counts = epoch_counts(entries, [each.count for each in training])
    shares = [
        Share(name=entry.name, rows=each.count, per_epoch=count, weight=entry.weight)
        for entry, each, count in zip(entries, training, counts, strict=True)
    ]
    for share in shares:
        train[share.name] = train.get(share.name, 0) + share.per_epoch
    for each in found:
        entry, task = each.check.entry, each.task
        if task is None:
            continue
        if task.skipped:
            skipped[f"{entry.name}.{entry.split}"] = task.skipped
        said = [task.note] if task.note else []
        if each.check.use == "training":
            tally = supervision.tally(task.items)
            total += tally
            said += supervision.notes(entry.name, tally)
        notes.update(dict.fromkeys(said))
    of_validation = sum(each.count for each in found if each.check.use == "validation")
    return DataSummary(
        train=train,
        validation_rows=min(of_validation, max_validation_rows),
        questions={e.check.entry.name: e.count for e in found if e.check.use == "question"},
        skipped=skipped,
        notes=tuple(notes),
        shares=tuple(shares),
        from_hub=tuple(dict.fromkeys(e.check.entry.name for e in found if e.task is None)),
        tally=total,
        digests=row_digests.collect(
            (e.check.use, e.check.entry.name, None if e.task is None else e.task.items)
            for e in found
        ),
    )
