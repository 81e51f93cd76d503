"""The rows of a run: the training mixture, the validation rows, the evaluation questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.conversations.conversation import Conversation, RowFault
from engine.conversations.letter_questions import Question, with_ids
from engine.conversations.problems import GENERATED_TASKS, Problem, number_problem
from engine.data import row_digests
from engine.data.dataset import Item, ListRows
from engine.data.entries import DataEntry as DataEntry
from engine.data.entries import DataSettings as DataSettings
from engine.data.entries import ExamLimits
from engine.data.mixture import Mixture, TaskRows
from engine.data.task_rows import Part, load_rows, open_all, parse_into, planned, raise_first
from engine.errors import DataError

Exam = list[Question] | list[Problem]
"""Of one task: asked by letter, or answered at length and checked."""


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
        made = starter_rows(starter).train_rows()
        return Mixture([_from_list(name, rows) for name, rows in made.items()], seed=settings.seed)
    entries = settings.train_entries()
    sources = open_all(entries, settings)
    part: Part = "training" if settings.validation is None else "all"
    tasks = [
        load_rows(rows, entry, settings, note=note, part=part)
        for entry, (rows, note) in zip(entries, sources, strict=True)
    ]
    return Mixture(planned(tasks, entries), seed=settings.seed)


def load_validation(
    settings: DataSettings, max_rows: int | None, *, starter: Starter | None = None
) -> Mixture:
    """The first `max_rows` validation rows (None: all), in the task's shuffled order, every time
    the same."""
    if settings.starter:
        rows = starter_rows(starter).validation_rows()[:max_rows]
        return Mixture([_from_list("validation", rows)], seed=None)
    entry = settings.validation
    if entry is None:
        entries = settings.train_entries()
        tasks = [
            load_rows(rows, each, settings, note=note, part="held_out")
            for each, (rows, note) in zip(entries, open_all(entries, settings), strict=True)
        ]
        # Mixed, so that the first `max_rows` are of all files.
        return Mixture(tasks, seed=settings.exam_seed, limit=max_rows, by_row=True)
    if isinstance(entry, tuple):
        tasks = [
            load_rows(rows, each, settings, note=note, part="exam")
            for each, (rows, note) in zip(entry, open_all(entry, settings), strict=True)
        ]
        return Mixture(tasks, seed=settings.exam_seed, limit=max_rows)
    ((opened, note),) = open_all([entry], settings)
    task = load_rows(opened, entry, settings, limit=max_rows, note=note, part="exam")
    return Mixture([task], seed=None, by_row=True)


def load_questions(
    settings: DataSettings,
    limits: ExamLimits | int | None = None,
    *,
    starter: Starter | None = None,
) -> dict[str, Exam]:
    """The evaluation questions by task: the first of each (one number: of every task), in
    shuffled order."""
    if not isinstance(limits, ExamLimits):
        limits = ExamLimits(letters=limits, generated=limits)
    if settings.starter:
        made = starter_rows(starter).eval_questions()
        return {
            name: as_questions(_from_list(name, rows[: limits.letters]), name)
            for name, rows in made.items()
        }
    sources = open_all(settings.questions, settings)
    found: dict[str, Exam] = {}
    for entry, (opened, note) in zip(settings.questions, sources, strict=True):
        task = load_rows(
            opened, entry, settings, limit=limits.of(entry.name), note=note, part="exam"
        )
        found[entry.name] = as_questions(task, opened.name)
    return found


def digests_of(
    mixture: Mixture, validation: Mixture, questions: Mapping[str, Exam]
) -> dict[str, str]:
    """Digests of everything that a run reads, as `check_data` works them out."""
    return row_digests.collect(
        [
            *((row_digests.TRAIN, task.name, task.items) for task in mixture.tasks),
            *((row_digests.VALIDATION, task.name, task.items) for task in validation.tasks),
            *((row_digests.QUESTIONS, name, found) for name, found in questions.items()),
        ]
    )


def as_questions(task: TaskRows, where: str) -> Exam:
    """The rows of a task as they are asked.

    Raises:
        DataError: rows of another kind.
    """
    if task.name in GENERATED_TASKS:
        return with_ids([_as_problem(item, where) for item in task.items])
    questions: list[Question] = []
    for item in task.items:
        if not isinstance(item, Question):
            raise DataError(
                f"{where}: holds conversations; expected multiple-choice questions to "
                f"evaluate {task.name} on."
            )
        questions.append(item)
    return with_ids(questions)


def _as_problem(item: Item, where: str) -> Problem:
    if isinstance(item, Problem):
        return item
    try:
        if isinstance(item, Conversation):
            return number_problem(item)
    except RowFault as fault:
        raise DataError(f"{where}: {fault}.") from None
    raise DataError(f"{where}: holds multiple-choice questions; expected problems with answers.")


def _from_list(name: str, made: Sequence[object]) -> TaskRows:
    """Generated rows, in the generator's order: it has shuffled them already."""
    rows = ListRows(name, made)
    parsed: dict[int, tuple[Item, str]] = {}
    raise_first(parse_into(parsed, rows, range(len(rows)), name), advice="")
    items, hub_ids = zip(*(parsed[index] for index in range(len(rows))), strict=True)
    return TaskRows(name=name, items=items, hub_ids=hub_ids)


def starter_rows(given: Starter | None) -> Starter:
    if given is not None:
        return given
    # The generators are needed by the starter recipe alone.
    from engine.starter import rows  # noqa: PLC0415

    return rows
