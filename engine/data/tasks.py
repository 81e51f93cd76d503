"""The rows of a run: the training mixture, the validation rows, the evaluation questions.

A cut (`size`, `max_rows`, `max_problems`) always comes after the seed-42 shuffle
of the whole task, so asking for fewer rows gives a prefix of the same rows.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from engine.conversations.chat_format import MAX_TOKENS
from engine.conversations.conversation import RowFault
from engine.conversations.letter_questions import Question, with_ids
from engine.data import row_digests, supervision
from engine.data.dataset import Item, ListRows, Rows, find_file, open_rows, parse_row, row_id
from engine.data.hub import HUB, HubRows, require_hub
from engine.data.mixture import SEED, Mixture, TaskRows, seed_order
from engine.data.supervision import Tally, Teaches
from engine.errors import ConfigError, DataError

Part = Literal["all", "training", "held_out", "exam"]
"""Which rows of an entry: all that are trained on, one side of the rows held out for validation,
or all that are asked or measured. What is asked, and what is held out for it, is chosen by the
exam's seed; what is trained on is ordered by the run's."""

HELD_OUT_SHARE = 20
"""One row in so many is held out where validation has no rows of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataEntry:
    """One source of rows: a known task, or any file under a name of its own."""

    name: str
    """`ARC-Easy`, `GSM8K`, ...; with `file`, whatever the screen shall call it."""
    file: Path | None = None
    split: str = "train"
    size: int | None = None
    """Rows kept, counted after the shuffle; None keeps all."""
    epochs: int = 1
    """How often the rows stand in one epoch of the mixture."""
    shuffle: bool = True
    """False keeps the file's order, as nanochat does with its identity file."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ConfigError(f"{self.name}: size is {self.size}; expected 1 or more.")
        if self.epochs < 1:
            raise ConfigError(f"{self.name}: epochs is {self.epochs}; expected 1 or more.")
        if self.file is None and self.name not in HUB:
            near = difflib.get_close_matches(self.name, HUB, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f'There is no task "{self.name}"; expected one of {", ".join(HUB)}, or a '
                f"file beside the name.{meant}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """All settings that decide which rows a run trains on and is measured with."""

    data_dir: Path | None = None
    """Folder of `TASK.SPLIT.jsonl|.parquet`; None takes the hub's data sets."""
    mixture: tuple[DataEntry, ...] = ()
    """Empty: ARC-Easy, ARC-Challenge, GSM8K and SmolTalk, as in nanochat's reference run."""
    validation: DataEntry | None = DataEntry(name="SmolTalk", split="test")
    """None holds a twentieth of every training entry's rows out, at least one of each."""
    questions: tuple[DataEntry, ...] = (
        DataEntry(name="MMLU", split="test"),
        DataEntry(name="ARC-Easy", split="test"),
    )
    skip_bad_rows: bool = False
    """Count malformed rows instead of refusing the file."""
    starter: bool = False
    """Take the built-in generator's rows for everything; the fields above are not used."""
    max_smoltalk_rows: int = 10_000
    """Of the default mixture."""
    seed: int = SEED
    """Of the order that rows are trained in."""
    exam_seed: int = SEED
    """Of what is asked and measured: the same for every run, so that two seeds can be compared.
    A run that an earlier version began keeps its own (`run_plan.exam_seed`)."""

    def train_entries(self) -> tuple[DataEntry, ...]:
        return self.mixture or (
            DataEntry(name="ARC-Easy"),
            DataEntry(name="ARC-Challenge"),
            DataEntry(name="GSM8K"),
            DataEntry(name="SmolTalk", size=self.max_smoltalk_rows),
        )


class Starter(Protocol):
    """The built-in generator: rows of any form `parse_row` knows, the same at every call."""

    def train_rows(self) -> Mapping[str, Sequence[object]]: ...

    def validation_rows(self) -> Sequence[object]: ...

    def eval_questions(self) -> Mapping[str, Sequence[object]]: ...


def build_mixture(settings: DataSettings, *, starter: Starter | None = None) -> Mixture:
    """The training rows.

    Raises:
        DataError: a file is missing, empty or malformed, or the hub cannot be reached.
    """
    if settings.starter:
        made = _starter(starter).train_rows()
        return Mixture([_from_list(name, rows) for name, rows in made.items()], seed=settings.seed)
    entries = settings.train_entries()
    sources = _open_all(entries, settings)
    part: Part = "training" if settings.validation is None else "all"
    tasks = [
        _load(rows, entry, settings, note=note, part=part)
        for entry, (rows, note) in zip(entries, sources, strict=True)
    ]
    return Mixture(tasks, seed=settings.seed)


def load_validation(
    settings: DataSettings, max_rows: int, *, starter: Starter | None = None
) -> Mixture:
    """The first `max_rows` validation rows, in the task's shuffled order, every time the same."""
    if settings.starter:
        rows = _starter(starter).validation_rows()[:max_rows]
        return Mixture([_from_list("validation", rows)], seed=None)
    entry = settings.validation
    if entry is None:
        entries = settings.train_entries()
        tasks = [
            _load(rows, each, settings, note=note, part="held_out")
            for each, (rows, note) in zip(entries, _open_all(entries, settings), strict=True)
        ]
        # Mixed, so that the first `max_rows` are of all files.
        return Mixture(tasks, seed=settings.exam_seed, limit=max_rows, by_row=True)
    ((opened, note),) = _open_all([entry], settings)
    task = _load(opened, entry, settings, limit=max_rows, note=note, part="exam")
    return Mixture([task], seed=None, by_row=True)


def load_questions(
    settings: DataSettings, max_problems: int | None = None, *, starter: Starter | None = None
) -> dict[str, list[Question]]:
    """The evaluation questions by task: the first `max_problems` of each, in shuffled order."""
    if settings.starter:
        made = _starter(starter).eval_questions()
        return {
            name: _questions(_from_list(name, rows[:max_problems]), name)
            for name, rows in made.items()
        }
    sources = _open_all(settings.questions, settings)
    found: dict[str, list[Question]] = {}
    for entry, (opened, note) in zip(settings.questions, sources, strict=True):
        task = _load(opened, entry, settings, limit=max_problems, note=note, part="exam")
        found[entry.name] = _questions(task, opened.name)
    return found


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
    max_problems: int | None = 1024,
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
    if settings.starter:
        mixture = build_mixture(settings, starter=starter)
        validation = load_validation(settings, max_validation_rows, starter=starter)
        questions = load_questions(settings, max_problems, starter=starter)
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
        checks.append(
            _Check(
                use="validation",
                entry=settings.validation,
                limit=max_validation_rows,
                part="exam",
            )
        )
    checks += [
        _Check(use="question", entry=each, limit=max_problems, part="exam")
        for each in settings.questions
    ]
    sources = _open_all([check.entry for check in checks], settings, download=False)
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


def digests_of(
    mixture: Mixture, validation: Mixture, questions: Mapping[str, Sequence[Question]]
) -> dict[str, str]:
    """Digests of everything that a run reads, as `check_data` works them out."""
    return row_digests.collect(
        [
            *((row_digests.TRAIN, task.name, task.items) for task in mixture.tasks),
            *((row_digests.VALIDATION, task.name, task.items) for task in validation.tasks),
            *((row_digests.QUESTIONS, name, found) for name, found in questions.items()),
        ]
    )


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
        kept = _kept(len(rows), entry.size, check.limit)
        count = len(_side(range(kept), check.part)) * entry.epochs
        return _Looked(check=check, where=rows.name, count=count)
    task = _load(rows, entry, settings, limit=check.limit, note=note, part=check.part)
    if check.use == "question":
        _questions(task, rows.name)
    where = rows.name
    if check.part == "held_out":
        where = f"{where}, rows held out for validation (--validation FILE names others)"
    return _Looked(check=check, where=where, count=len(task.items) * entry.epochs, task=task)


def _summary(found: Sequence[_Looked], max_validation_rows: int) -> DataSummary:
    train: dict[str, int] = {}
    skipped: dict[str, int] = {}
    notes: dict[str, None] = {}
    total = Tally()
    for each in found:
        entry, task = each.check.entry, each.task
        if each.check.use == "training":
            train[entry.name] = train.get(entry.name, 0) + each.count
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
        from_hub=tuple(dict.fromkeys(e.check.entry.name for e in found if e.task is None)),
        tally=total,
        digests=row_digests.collect(
            (e.check.use, e.check.entry.name, None if e.task is None else e.task.items)
            for e in found
        ),
    )


def _open_all(
    entries: Sequence[DataEntry], settings: DataSettings, *, download: bool = True
) -> list[tuple[Rows, str]]:
    """Open every entry's rows, with a note each; all missing files are named at once."""
    folder = settings.data_dir
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; expected the data files there. Check --data-dir."
        )
    opened: list[tuple[Rows, str]] = []
    missing: list[str] = []
    wanted_from_hub = [e.name for e in entries if e.file is None] if folder is None else []
    if wanted_from_hub:
        require_hub(list(dict.fromkeys(wanted_from_hub)))
    for entry in entries:
        if entry.file is not None:
            opened.append((open_rows(entry.file), ""))
        elif folder is None:
            opened.append((HubRows(entry.name, entry.split, download=download), ""))
        elif found := find_file(folder, entry.name, entry.split):
            opened.append((open_rows(found.path), found.note))
        else:
            missing.append(f"{entry.name}.{entry.split}")
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise DataError(
            f"{folder}: there is no {names}; expected each as .jsonl or .parquet. Add the "
            "files, or leave out --data-dir to read the hub."
        )
    return opened


def _kept(num_rows: int, *limits: int | None) -> int:
    return min([num_rows, *(limit for limit in limits if limit is not None)])


def _load(
    rows: Rows,
    entry: DataEntry,
    settings: DataSettings,
    *,
    limit: int | None = None,
    note: str = "",
    part: Part = "all",
) -> TaskRows:
    """Shuffle, cut and parse one entry's rows; faults are raised in file order."""
    parsed: dict[int, tuple[Item, str]] = {}
    skipped = 0
    if settings.skip_bad_rows:
        # What is left decides the order, so every row has to be looked at first.
        faults = _parse_into(parsed, rows, range(len(rows)), entry.name)
        skipped = len(faults)
    candidates = sorted(parsed) if settings.skip_bad_rows else range(len(rows))
    if not candidates:
        raise DataError(f"{rows.name}: every one of its {len(rows)} rows is malformed.")
    order = _order(
        len(candidates), _kept(len(candidates), entry.size, limit), entry, settings, part
    )
    if not order:
        raise DataError(
            f"{rows.name}: holds one row, which cannot be trained on and validated with; expected "
            "at least two. Add rows, or name validation rows with --validation FILE."
        )
    chosen = [candidates[place] for place in order]
    if not settings.skip_bad_rows:
        faults = _parse_into(parsed, rows, sorted(chosen), entry.name)
        _raise_first(faults, advice=" Fix the line, or pass --skip-bad-rows.")
    return TaskRows(
        name=entry.name,
        items=[parsed[index][0] for index in chosen],
        hub_ids=[parsed[index][1] for index in chosen],
        skipped=skipped,
        epochs=entry.epochs,
        note=note,
    )


def _order(
    count: int, kept: int, entry: DataEntry, settings: DataSettings, part: Part
) -> Sequence[int]:
    """Places of the rows of one part, in the order they are trained on, asked or measured."""
    if not entry.shuffle:
        return _side(range(kept), part)
    if part == "all":
        return seed_order(count, settings.seed)[:kept]
    order = _side(seed_order(count, settings.exam_seed)[:kept], part)
    if part == "training" and settings.seed != settings.exam_seed:
        # The rows that are left are the same for every seed, their order is not.
        return [order[place] for place in seed_order(len(order), settings.seed)]
    return order


def _side(order: Sequence[int], part: Part) -> Sequence[int]:
    """The rows of one side: the last twentieth, at least one, is held out."""
    held = max(1, len(order) // HELD_OUT_SHARE)
    match part:
        case "training":
            return order[:-held]
        case "held_out":
            return order[-held:]
        case _:
            return order


def _parse_into(
    parsed: dict[int, tuple[Item, str]], rows: Rows, indices: Sequence[int], subject: str
) -> list[tuple[str, RowFault]]:
    """Parse rows into `parsed`; the faults with their places, in the order of `indices`."""
    rows.prefetch(indices)
    faults: list[tuple[str, RowFault]] = []
    for index in indices:
        try:
            raw = rows.read(index)
            parsed[index] = (parse_row(raw, subject=subject), row_id(raw))
        except RowFault as fault:
            faults.append((rows.where(index), fault))
    return faults


def _questions(task: TaskRows, where: str) -> list[Question]:
    questions: list[Question] = []
    for item in task.items:
        if not isinstance(item, Question):
            raise DataError(
                f"{where}: holds conversations; expected multiple-choice questions to "
                f"evaluate {task.name} on."
            )
        questions.append(item)
    return with_ids(questions)


def _from_list(name: str, made: Sequence[object]) -> TaskRows:
    """Generated rows, in the generator's order: it has shuffled them already."""
    rows = ListRows(name, made)
    parsed: dict[int, tuple[Item, str]] = {}
    _raise_first(_parse_into(parsed, rows, range(len(rows)), name), advice="")
    items, hub_ids = zip(*(parsed[index] for index in range(len(rows))), strict=True)
    return TaskRows(name=name, items=items, hub_ids=hub_ids)


def _raise_first(faults: Sequence[tuple[str, RowFault]], *, advice: str) -> None:
    if not faults:
        return
    where, fault = faults[0]
    more = f" ({len(faults) - 1} more bad rows after it.)" if len(faults) > 1 else ""
    raise DataError(f"{where}: {fault}.{advice}{more}")


def _starter(given: Starter | None) -> Starter:
    if given is not None:
        return given
    # The generators are needed by the starter recipe alone.
    from engine.starter import rows  # noqa: PLC0415

    return rows
