"""Letter questions that somebody names in a line of a script: a file, rows, or several of them.

In the exam's order, the same for every run, so that two trainings which ask the same file ask the
same questions, whatever limit each of them has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from engine.conversations.letter_questions import Question
from engine.conversations.problems import GENERATED_TASKS, Problem
from engine.data.dataset import ListRows, Rows
from engine.data.entries import DataEntry, DataSettings
from engine.data.hub import HUB, HubRows
from engine.data.row_files import name_of, open_path
from engine.data.task_rows import load_rows
from engine.data.tasks import as_questions
from engine.errors import DataError

Named = str | Path | Sequence[object]
"""A file, a task of the hub by its name, or rows (a list, a `datasets.Dataset`)."""

QuestionSource = Named | Mapping[str, Named]

SPLIT = "test"
"""Of the hub's tasks; and what a file's name may say behind its task's."""


def letter_exam(source: QuestionSource, *, limit: int | None = None) -> dict[str, list[Question]]:
    """The questions by task: at most `limit` of each, a prefix of the exam's order.

    Raises:
        DataError: a file or row that cannot be used, or none that is asked by letter.
    """
    if limit is not None and limit < 1:
        raise DataError(f"the limit of questions is {limit}; expected 1 or more.")
    named = source if isinstance(source, Mapping) else {_name_of(source): source}
    if not named:
        raise DataError("there are no questions; expected a file, rows, or names with such.")
    return {str(task): _questions(str(task), each, limit) for task, each in named.items()}


def _questions(task: str, source: Named, limit: int | None) -> list[Question]:
    if task in GENERATED_TASKS:
        raise DataError(
            f"{task}: its answers are written out; expected questions that are answered by a "
            "letter, such as those of ARC-Easy or MMLU."
        )
    rows = _rows(task, source)
    entry = DataEntry(name=task, file=Path(task), split=SPLIT)  # the file is open already
    found = as_questions(
        load_rows(rows, entry, DataSettings(), limit=limit, part="exam"), rows.name
    )
    if found and isinstance(found[0], Problem):
        raise DataError(f"{rows.name}: holds problems; expected multiple-choice questions.")
    return cast(list[Question], found)


def _rows(task: str, source: Named) -> Rows:
    if isinstance(source, str) and source in HUB:
        return HubRows(source, SPLIT, download=True)
    if isinstance(source, str | Path):
        return open_path(Path(source), SPLIT)
    rows = ListRows(f"questions of {task}", source)
    if not len(rows):
        raise DataError(f"{rows.name}: there are none; expected at least one row.")
    return rows


def _name_of(source: Named) -> str:
    """`exam/ARC-Easy.test.jsonl` -> `ARC-Easy`."""
    if not isinstance(source, str | Path):
        return "questions"
    return name_of(Path(source)).removesuffix(f".{SPLIT}")
