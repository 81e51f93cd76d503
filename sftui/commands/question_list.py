"""`sftui questions`: which questions two evaluations of a run answer differently, as text.

The same comparison as the screen's (`flips`), for a pipe or a script. The verdict above the
list is the one that every other table of this run shows: a single flipped question is no
evidence.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import UsageError
from sftui import run_json
from sftui.commands.reading_flags import QuestionFlags
from sftui.sources import snapshot
from sftui.sources.snapshot import Snapshot
from sftui.state.run_state import RunState
from sftui.statistics.families import BEST, PREVIOUS, START
from sftui.statistics.flips import KINDS, FlipBook, Item, Questions, open_book
from sftui.statistics.paired_tests import (
    Judged,
    compare_evaluations,
    compare_gold,
    judge,
)
from sftui.statistics.scored import accuracy_of
from sftui.statistics.scores import GOLD, Scoreboard, sentence
from sftui.text import format as fmt
from sftui.text.clean import clean

SCHEMA = 1

QUESTIONS_SECONDS = 60.0
"""Longest wait for the words of the questions: the hub may be slow, and flips are worth
seeing without them."""

_MARKS = {"gained": "+", "lost": "-", "right": "=", "wrong": "."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One task of the list."""

    book: FlipBook
    judged: Judged | None
    """The verdict, as the tables of this run give it; None when an accuracy is unknown."""
    gold: Judged | None
    """Of the probability of the right letter; None where other questions were asked."""


def pages(flags: QuestionFlags) -> tuple[Snapshot, list[Page]]:
    """The run and the comparison of each task that the flags choose.

    Raises:
        UsageError: no such run, task or evaluation, or answers were not kept.
    """
    if flags.kind not in KINDS:
        raise UsageError(f"--kind {flags.kind} is unknown; expected one of {', '.join(KINDS)}.")
    if flags.limit < 0:
        raise UsageError(f"--limit {flags.limit} is no number of questions; 0 prints all.")
    shot = snapshot.read(flags.run, flags.runs_dir)
    evals = shot.state.evals
    if flags.task is not None and flags.task not in evals:
        known = ", ".join(evals) or "none"
        raise UsageError(f"--task {flags.task} was not evaluated; there are: {known}.")
    board = Scoreboard(shot.run.path if shot.run is not None else None)
    found, reasons = [], []
    for task in [flags.task] if flags.task is not None else list(evals):
        steps = sorted(evals[task])
        before, now = _step(flags.from_, steps, 0, task), _step(flags.to, steps, -1, task)
        if before == now:
            reasons.append(
                f"{task} was evaluated at step {now} only: nothing to compare."
                if len(steps) == 1
                else f"{task}: step {now} and itself are nothing to compare."
            )
            continue
        book = open_book(shot.run.path if shot.run else None, shot.state, task, now, before)
        if isinstance(book, str):
            reasons.append(f"{task}: {book}")
            continue
        found.append(
            Page(
                book=book,
                judged=_judged(board, shot.state, book),
                gold=_gold(board, shot.state, book),
            )
        )
    if not found:
        told = " ".join(reasons) or "Nothing was evaluated yet."
        raise UsageError(f"{shot.title}: {told} `sftui show` tells what the run holds.")
    return shot, found


def as_text(flags: QuestionFlags, width: int) -> list[str]:
    """The list as text, one line an entry, at most `width` columns."""
    shot, found = pages(flags)
    words = _words(shot)
    lines: list[str] = []
    for page in found:
        lines += [*_head(page, width), ""]
        chosen = page.book.of_kind(flags.kind)
        shown = chosen[: flags.limit] if flags.limit else chosen
        for item in shown:
            lines += [*_item(page.book.task, item, words, width), ""]
        if len(chosen) > len(shown):
            lines += [f"{len(chosen) - len(shown)} more; --limit 0 prints all.", ""]
        if not chosen:
            lines += [f"no question is {flags.kind}." if flags.kind != "all" else "none.", ""]
    if words is not None and words.problem:
        lines.append(clean(f"the words of the questions are not here: {words.problem}", 600))
    return lines[:-1] if lines and not lines[-1] else lines


def as_dict(flags: QuestionFlags) -> dict[str, Any]:
    """The same for a script; numbers that are not known are null."""
    shot, found = pages(flags)
    words = _words(shot)
    return {
        "schema": SCHEMA,
        "run": shot.title,
        "words_missing": (words.problem or None) if words is not None else "no run directory",
        "tasks": [
            {
                "task": page.book.task,
                "from": page.book.step_before,
                "to": page.book.step,
                "total": len(page.book.items),
                "comparison": _comparison(page),
                "letters": {
                    "from": dict(page.book.answered_before),
                    "to": dict(page.book.answered),
                    "gold": dict(page.book.gold),
                },
                "subjects": [
                    {"subject": subject, "gained": gained, "lost": lost}
                    for subject, gained, lost in page.book.subjects()
                ],
                "questions": [
                    _entry(page.book.task, item, words) for item in page.book.of_kind(flags.kind)
                ],
            }
            for page in found
        ],
    }


# ---- parts -----------------------------------------------------------------------------------


def _step(wanted: int | None, steps: Sequence[int], default: int, task: str) -> int:
    if wanted is None:
        return steps[default]
    if wanted not in steps:
        raise UsageError(
            f"{task} was not evaluated at step {wanted}; there are: {', '.join(map(str, steps))}."
        )
    return wanted


def _judged(board: Scoreboard, state: RunState, book: FlipBook) -> Judged | None:
    """The verdict the run's tables show for this pair, else that of this one comparison."""
    found = state.evals[book.task]
    earlier = [step for step in found if step < book.step]
    scores = board.scores(state)
    if earlier and book.step_before == min(earlier):
        return scores.of(book.task, book.step, START)
    if earlier and book.step_before == max(earlier):
        return scores.of(book.task, book.step, PREVIOUS)
    best = max(earlier, key=lambda s: (accuracy_of(found[s]) or 0.0, -s), default=None)
    if book.step_before == best:
        return scores.of(book.task, book.step, BEST)
    comparison = compare_evaluations(
        board.evaluation(found[book.step]),
        board.evaluation(found[book.step_before]),
        own=scores.scatter.get(book.task),
    )
    return None if comparison is None else judge([comparison])[0]


def _gold(board: Scoreboard, state: RunState, book: FlipBook) -> Judged | None:
    """As the tables of the run give it where the pair is one of theirs, else of this one alone."""
    found, scores = state.evals[book.task], board.scores(state)
    if book.step_before == min(found) and (known := scores.gold.get((book.task, book.step))):
        return known
    sides = (board.evaluation(found[step]) for step in (book.step, book.step_before))
    comparison = compare_gold(*sides)
    return None if comparison is None else judge([comparison])[0]


def _words(shot: Snapshot) -> Questions | None:
    if shot.run is None:
        return None
    words = Questions(shot.run)
    words.wait(QUESTIONS_SECONDS)
    return words


def _head(page: Page, width: int) -> list[str]:
    book = page.book
    since = "the start" if book.step_before == 0 else f"step {book.step_before}"
    lines = [f"{clean(book.task, 60)}: {since} -> step {book.step}, {len(book.items):,} questions"]
    if page.judged is not None:
        lines.append(sentence(page.judged))
    if page.gold is not None:
        lines.append(f"{GOLD}: {sentence(page.gold)}")
    if book.error_by_subject is not None:
        subjects = len({item.subject for item in book.items})
        error = 100 * book.error_by_subject
        lines.append(
            f"standard error {100 * book.comparison.error:.1f} points; {error:.1f} if the questions"
            f" of a subject move together ({subjects} subjects)"
        )
    total = max(1, len(book.items))
    letters = ", ".join(
        f"{clean(letter, 4)} {fmt.percent(book.answered_before.get(letter, 0) / total, 0)} -> "
        f"{fmt.percent(book.answered.get(letter, 0) / total, 0)}"
        f" (right {fmt.percent(book.gold.get(letter, 0) / total, 0)})"
        for letter in sorted({*book.answered_before, *book.answered, *book.gold})
    )
    if letters:
        lines.append(f"letters answered: {letters}")
    moved = ", ".join(f"{clean(n, 30)} +{g} -{lost}" for n, g, lost in book.subjects()[:8])
    if moved:
        lines.append(f"subjects that moved most: {moved}")
    return [part for line in lines for part in textwrap.wrap(line, width, subsequent_indent="  ")]


def _item(task: str, item: Item, words: Questions | None, width: int) -> list[str]:
    asked = None if words is None else words.get(task, item.id)
    text = clean(asked.question, 1500) if asked is not None else clean(item.id, 80)
    about = f" [{clean(item.subject, 40)}]" if item.subject else ""
    lines = textwrap.wrap(
        f"{_MARKS[item.kind]} {item.kind}{about}  {text}", width, subsequent_indent="    "
    )
    if not item.letters:
        lines.append(f"    right: {clean(item.gold, 60)}")
        lines += _written("before", item.before, item.wrote_before, width)
        lines += _written("now", item.now, item.wrote_now, width)
    for i, letter in enumerate(item.letters):
        choice = clean(asked.choices[i], 400) if asked is not None else ""
        marks = [
            name
            for name, chosen in (("before", item.before), ("now", item.now), ("right", item.gold))
            if chosen == letter
        ]
        line = f"{clean(letter, 4)} {item.p_before[i]:6.1%} -> {item.p_now[i]:6.1%}  {choice}"
        lines += textwrap.wrap(
            f"    {line}{'  <- ' + ', '.join(marks) if marks else ''}",
            width,
            subsequent_indent=" " * 24,
        )
    return lines


def _written(name: str, found: str, wrote: str, width: int) -> list[str]:
    """What an answer came to, and the answer."""
    lines = [f"    {name}: {clean(found, 100) or '(no answer)'}"]
    for line in wrote.split("\n") if wrote else ():
        lines += textwrap.wrap(
            clean(line, 400), width, initial_indent=" " * 6, subsequent_indent=" " * 6,
            drop_whitespace=False,
        )  # fmt: skip
    return lines


def _comparison(page: Page) -> dict[str, Any]:
    plain, judged = page.book.comparison, page.judged
    return {
        "gained": plain.gains,
        "lost": plain.losses,
        "points": _number(plain.points),
        "interval": [_number(100 * plain.low), _number(100 * plain.high)],
        "error": _number(100 * plain.error),
        "error_by_subject": _number(
            None if page.book.error_by_subject is None else 100 * page.book.error_by_subject
        ),
        "p": None if judged is None else _number(judged.comparison.p),
        "p_adjusted": None if judged is None else _number(judged.p_adjusted),
        "verdict": None if judged is None else judged.verdict,
        "probability": run_json.probability_dict(page.gold),
    }


def _entry(task: str, item: Item, words: Questions | None) -> dict[str, Any]:
    asked = None if words is None else words.get(task, item.id)
    return {
        "id": item.id,
        "kind": item.kind,
        "subject": item.subject or None,
        "question": None if asked is None else asked.question,
        "choices": None if asked is None else list(asked.choices),
        "letters": list(item.letters),
        "gold": item.gold,
        "from": item.before,
        "to": item.now,
        "p_from": [round(p, 4) for p in item.p_before],
        "p_to": [round(p, 4) for p in item.p_now],
        "wrote_from": item.wrote_before or None,
        "wrote_to": item.wrote_now or None,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)
