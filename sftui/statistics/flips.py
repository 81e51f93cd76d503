"""Which questions two checkpoints of a run answer differently, and what was asked.

Answers come from the run's item files; the questions themselves are not stored there
(they are other people's data), so they are read again from where the run had them, in a
thread: the hub may be slow or gone, and the flips are worth seeing without their words.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import DataError, SftuiError
from engine.evaluation import eval_items
from engine.evaluation.eval_items import EvalResult
from engine.run import resume_file, run_dir
from engine.run.run_dir import RunDir
from sftui.state.run_state import RunState
from sftui.statistics.accuracy import mean_spread, subject_numbers
from sftui.statistics.paired_tests import Comparison, flips, paired

if TYPE_CHECKING:
    from engine.conversations.letter_questions import Question
    from engine.conversations.problems import Problem

KINDS = ("flipped", "gained", "lost", "all")
"""Which questions can be listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question before and now."""

    id: str
    subject: str
    gold: str
    letters: tuple[str, ...]
    before: str
    now: str
    p_before: tuple[float, ...]
    """Probability of each of `letters`."""
    p_now: tuple[float, ...]
    wrote_before: str = ""
    """What was written, where answers are written out; `before` is then what it came to."""
    wrote_now: str = ""

    @property
    def kind(self) -> str:
        """gained, lost, right or wrong."""
        was, right = self.before == self.gold, self.now == self.gold
        return ("right" if was else "gained") if right else ("lost" if was else "wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The words of a question."""

    question: str
    choices: tuple[str, ...] = ()
    """Empty where the answer is written out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipBook:
    """One task at two checkpoints."""

    task: str
    step: int
    step_before: int
    items: tuple[Item, ...]
    comparison: Comparison
    error_by_subject: float | None
    """Standard error of the difference when items of a subject move together; None with fewer
    than two subjects."""
    answered: Mapping[str, int]
    """How often each letter was answered now."""
    answered_before: Mapping[str, int]
    gold: Mapping[str, int]

    def of_kind(self, kind: str) -> list[Item]:
        """`flipped` is gained and lost."""
        wanted = {"flipped": ("gained", "lost"), "all": ("gained", "lost", "right", "wrong")}
        return [item for item in self.items if item.kind in wanted.get(kind, (kind,))]

    def subjects(self) -> list[tuple[str, int, int]]:
        """Subject, gained, lost; those that moved most first."""
        gained = Counter(item.subject for item in self.items if item.kind == "gained")
        lost = Counter(item.subject for item in self.items if item.kind == "lost")
        names = {*gained, *lost} - {""}
        rows = [(name, gained[name], lost[name]) for name in names]
        return sorted(rows, key=lambda row: (-abs(row[1] - row[2]), -row[1] - row[2], row[0]))


def open_book(
    folder: Path | None, state: RunState, task: str, step: int, step_before: int
) -> FlipBook | str:
    """The questions of two evaluations of a task, or the reason why they cannot be compared."""
    found = []
    for wanted in (step, step_before):
        results = state.evals.get(task)
        result = None if results is None else results.get(wanted)
        if folder is None or result is None or result.items_file is None:
            return "This log holds no answers question by question; a run of sftui's keeps them."
        path = run_dir.named_file(folder, result.items_file)
        if path is None:
            return f"{result.items_file} lies outside the run directory."
        try:
            found.append(eval_items.load_items(path))
        except DataError as error:
            return str(error)
    now, before = found
    if now.item_set != before.item_set:
        return f"Steps {step_before} and {step} were asked different questions."
    gained, lost = flips(now.right(), before.right())
    names, numbers = np.unique(np.array(now.subjects, dtype=np.str_), return_inverse=True)
    several = len(names) > 1
    moved = now.right().astype(float) - before.right().astype(float)
    clusters = subject_numbers(now.subjects)
    by_subject = None if clusters is None else mean_spread(moved, clusters)
    return FlipBook(
        task=task,
        step=step,
        step_before=step_before,
        items=tuple(_items(now, before)),
        comparison=paired(len(gained), len(lost), now.total, by_subject=by_subject),
        error_by_subject=mean_spread(moved, numbers)[0] if several else None,
        answered=now.letters,
        answered_before=before.letters,
        gold=dict(sorted(Counter(now.gold).items())) if now.by_letter else {},
    )


def _items(now: EvalResult, before: EvalResult) -> list[Item]:
    with np.errstate(under="ignore"):
        p_now, p_before = np.exp(now.letter_logprobs), np.exp(before.letter_logprobs)
    items = []
    for i, letters in enumerate(now.item_letters):
        n = len(letters)
        items.append(
            Item(
                id=now.item_ids[i],
                subject=now.subjects[i],
                gold=now.gold[i],
                letters=letters,
                before=before.predicted[i],
                now=now.predicted[i],
                p_before=tuple(_share(p) for p in p_before[i][:n].tolist()),
                p_now=tuple(_share(p) for p in p_now[i][:n].tolist()),
                wrote_before=before.answers[i] if before.answers else "",
                wrote_now=now.answers[i] if now.answers else "",
            )
        )
    return items


def _share(p: float) -> float:
    return p if math.isfinite(p) else 0.0


def _asked(each: Question | Problem) -> Asked:
    from engine.conversations.letter_questions import Question  # noqa: PLC0415

    if isinstance(each, Question):
        return Asked(question=each.question, choices=each.choices)
    return Asked(question=each.prompt)


class Questions:
    """The text of a run's questions, by task and item id, loaded in a thread."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._found: dict[str, dict[str, Question | Problem]] | None = None
        self.problem = ""
        """Why the questions could not be loaded; empty when they were."""
        self._thread = threading.Thread(target=self._load, name="questions", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        return self._found is not None or bool(self.problem)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until they are loaded, or known to be missing."""
        self._thread.join(timeout)

    def get(self, task: str, item_id: str) -> Asked | None:
        found = (self._found or {}).get(task, {}).get(item_id)
        return None if found is None else _asked(found)

    def _load(self) -> None:
        # Datasets, plans and the client of the hub: 4 MiB that a screen holds only once somebody
        # has asked for questions.
        from engine.config import from_flat  # noqa: PLC0415
        from engine.data import tasks  # noqa: PLC0415
        from engine.step import run_plan  # noqa: PLC0415

        try:
            manifest = resume_file.manifest_now(self._run)
            settings = from_flat(manifest["config"], manifest.get("recipe"))
            wanted = run_plan.data_settings(settings, run_plan.exam_seed(manifest))
            found = tasks.load_questions(wanted, run_plan.exam_limits(settings))
        except SftuiError as error:
            self.problem = str(error)
        except Exception as error:  # a data library's own: the screen must not die of it
            self.problem = f"the questions cannot be read: {error!r}"
        else:
            self._found = {name: {each.id: each for each in asked} for name, asked in found.items()}
