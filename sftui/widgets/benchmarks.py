"""The evaluations: right answers, accuracy, and differences in points to what came before.

A difference has a colour only when its verdict is `clear` among all that are shown; then
it also carries an arrow, so the colour is never alone. The start is a row like any other
and stays in sight at the bottom. Room left under the rows is for the newest comparisons in
words.
"""

from __future__ import annotations

import numpy as np

from sftui.checkpoints.answers import wrap
from sftui.drawing.canvas import Grid, Span, fit, text_width
from sftui.drawing.roles import Back, Role, style, task_role
from sftui.drawing.short_names import short_names
from sftui.logbook.event_lines import evaluating
from sftui.state.records import Topic
from sftui.state.results import Evaluations
from sftui.state.run_state import RunState
from sftui.statistics import chatcore_looks
from sftui.statistics.accuracy import wilson
from sftui.statistics.families import BASELINE, BEST, PREVIOUS, START
from sftui.statistics.paired_tests import CLEAR, Judged
from sftui.statistics.scored import accuracy_of
from sftui.statistics.scores import GOLD as GOLD_WORDS
from sftui.statistics.scores import Scores, difference_words, first_words, sentence, short_sentence
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.empty_words import nothing_yet
from sftui.widgets.panel import Panel

GOLD = "gold"
"""Column of the probability of the right letter: its change from the first evaluation."""
_STEP = 6
_MIN_ROWS = 4
"""Rows of the table that are never given up for sentences."""
_COLUMNS: dict[str, tuple[int, int]] = {
    "k": (4, 4),
    "%": (0, 6),
    "95%": (6, 12),
    START: (1, 7),
    PREVIOUS: (3, 7),
    BEST: (5, 7),
    BASELINE: (2, 7),
    GOLD: (7, 7),
}
"""Columns of a task from left to right: rank (0 stays longest) and cells."""


class Benchmarks(Panel):
    """A row an evaluation, newest first, with columns for each task."""

    TOPICS = Topic.EVALS | Topic.RUN | Topic.VIEW
    can_focus = True
    opens = "app.show_questions"

    def paint(self, grid: Grid) -> None:
        state = self.state
        scores = self.view.board.scores(state)
        corner: list[Span] = []
        if state.evaluating is not None and not state.ended:
            corner = [(evaluating(state.evaluating, state.eval_progress), style(Role.SAVED))]
        elif scores.baseline:
            corner = [(f"base: {clean(scores.baseline, 40)}", style(Role.DIM))]
        elif score := chatcore_looks.newest_score(state):
            corner = [(chatcore_looks.words(score), style(Role.DIM))]
        tasks = list(state.evals)
        known = {BASELINE} if scores.baseline else set()
        known |= {GOLD} if scores.gold else set()
        shown, columns = _fitting(len(tasks), grid.width - 4 - _STEP, known)
        notes: list[Span] = [("Δ in points, coloured when clear", style(Role.FAINT))]
        if len(tasks) > shown:
            notes = [(f"{len(tasks) - shown} more tasks", style(Role.FAINT))]
        title = [("benchmarks", style(Role.TITLE, bold=True))]
        grid.frame(title, notes if tasks else (), border=self.border, corner=corner)
        if not tasks:
            grid.text(
                1,
                2,
                fit(nothing_yet("evaluation", self.state, self.view), grid.width - 4),
                style(Role.FAINT),
            )
            return
        cells = sum(_COLUMNS[name][1] for name in columns)
        names = {task: clean(task, 40) for task in tasks}
        if any(text_width(name) > cells - 2 for name in names.values()):
            short = short_names(list(names.values()), max(3, cells - 1))
            names = {task: short[name] for task, name in names.items()}
        for i, task in enumerate(tasks[:shown]):
            head = self._head(grid, 2 + _STEP + i * cells, task, columns)
            self._title(grid, head, names[task], task, style(_role(i), bold=True))
        grid.text(2, 2, "step".rjust(_STEP - 1), style(Role.FAINT))
        steps = _newest_steps(state, grid.height)
        rows = grid.height - 4
        verdicts = 1 + len(tasks)
        if len(steps) + verdicts > rows >= _MIN_ROWS + verdicts:
            rows -= verdicts  # the sentences say what an old row cannot
        if len(steps) > rows > 1:
            # The start is what everything is compared with, and a star is looked for: neither
            # is scrolled away.
            tops = [_top(self.state, task) for task in tasks[:shown]]
            kept = set([steps[-1], *tops][: rows - 1])
            newest = [step for step in steps if step not in kept][: rows - len(kept)]
            steps = sorted({*newest, *kept}, reverse=True)
        ends = _ends(columns)
        stars = {task: _star(state, task) for task in tasks[:shown]}
        for i, step in enumerate(steps[: max(0, rows)]):
            self._row(grid, 3 + i, step, ends, stars, scores, newest=i == 0)
        self._words(grid, 3 + len(steps) + 1, tasks, scores)

    def _title(self, grid: Grid, place: tuple[int, int], name: str, task: str, number: int) -> None:
        """The name of a task over its columns, and of how many questions it is."""
        col, end = place
        total = self.state.evals[task].ordered[-1].total
        n = f" n={total}" if total else ""
        after = grid.text(1, col + 1, fit(name, end - col), number, end + 1)
        if after + len(n) <= end:
            grid.text(1, after, n, style(Role.FAINT))

    def _head(self, grid: Grid, col: int, task: str, columns: list[str]) -> tuple[int, int]:
        """Heads of the columns of a task; the first column and the end of them all."""
        results = self.state.evals[task]
        ends = _ends(columns)
        names = {START: "Δstart" if 0 in results else "Δfirst"}
        names |= {PREVIOUS: "Δprev", BEST: "Δbest", BASELINE: "Δbase", GOLD: "Δp(ok)"}
        for name, at in ends.items():
            grid.right(2, col + at - 1, [(names.get(name, name), style(Role.FAINT))], col - 1)
        return col, col + max(ends.values()) - 1

    def _row(
        self,
        grid: Grid,
        row: int,
        step: int,
        ends: dict[str, int],
        stars: dict[str, int | None],
        scores: Scores,
        *,
        newest: bool,
    ) -> None:
        if row >= grid.height - 1:
            return
        words = "start" if step == 0 else fmt.count(step)
        number = style(Role.TEXT if newest else Role.DIM, bold=newest)
        grid.text(row, 2, words.rjust(_STEP - 1), number)
        cells = max(ends.values())
        for i, (task, best) in enumerate(stars.items()):
            by_step = self.state.evals[task]
            result = by_step.get(step)
            if result is None:
                continue
            col = 2 + _STEP + i * cells
            for name, at in ends.items():
                end = col + at - 1
                if name == "%":
                    percent = fmt.percent(accuracy_of(result)).removesuffix("%")
                    star = "★" if step == best else ""
                    value = [(star, style(Role.FAINT)), (percent, style(_role(i), bold=newest))]
                    grid.right(row, end, value, col - 1)
                elif name == "k":
                    if result.correct is not None:
                        grid.right(row, end, [(str(result.correct), style(Role.DIM))], col - 1)
                elif name == "95%":
                    if result.correct is not None and result.total:
                        low, high = wilson(result.correct, result.total)
                        text = f"{100 * low:.1f}-{100 * high:.1f}"
                        grid.right(row, end, [(text, style(Role.FAINT))], col - 1)
                elif name == GOLD:
                    _difference(grid, row, end, scores.gold.get((task, step)))
                else:
                    _difference(grid, row, end, scores.of(task, step, name))
        if newest:
            grid.back(row, 1, grid.width - 1, Back.ROW)

    def _words(self, grid: Grid, row: int, tasks: list[str], scores: Scores) -> None:
        """The newest evaluation against the start and the baseline, as sentences."""
        lines: list[tuple[str, str, Span]] = []
        more: list[tuple[str, str, Span]] = []
        for i, task in enumerate(tasks):
            newest, first = self.state.evals[task].last_step, self.state.evals[task].first_step
            named = (f"{clean(task, 24)} ", style(_role(i)))
            for against, words in ((START, f"vs {first_words(first)}"), (BASELINE, "vs baseline")):
                judged = scores.of(task, newest, against)
                if judged is not None:
                    texts = (f"{words}: {sentence(judged)}", f"{words}: {short_sentence(judged)}")
                    lines.append((*texts, named))
            gold = scores.gold.get((task, newest))
            if gold is not None:
                texts = (f"{GOLD_WORDS}: {sentence(gold)}", f"{GOLD_WORDS}: {short_sentence(gold)}")
                more.append((*texts, named))
            best = scores.best.get(task)
            if best is not None and _top(self.state, task) == first:
                s = "" if best[1].among == 1 else "s"
                text = f"best: {first_words(first)}, unbeaten in {best[1].among} evaluation{s}"
                more.append((text, text, named))
            elif best is not None and best[0] != newest:
                where, among = f"best, step {best[0]:,}: ", best[1].among
                text = where + sentence(best[1].judged, among=among)
                more.append((text, where + short_sentence(best[1].judged), named))
            if task in scores.notes:
                more.append((scores.notes[task], scores.notes[task], named))
        lines += more  # of every task the verdict, before anything else of one
        room, free = grid.width - 4, grid.height - 1 - row
        whole = [wrap(named[0] + text, room) for text, _, named in lines]
        roomy = sum(map(len, whole)) <= free
        for (_, short, named), rows in zip(lines, whole, strict=True):
            if row >= grid.height - 1:
                return
            col = grid.spans(row, 2, [named], grid.width - 2)
            # The points stand in the table above: where room is short, verdict and interval do.
            first_row = rows[0][len(named[0]) :] if roomy else fit(short, grid.width - 2 - col)
            grid.text(row, col, first_row, style(Role.DIM))
            for rest in rows[1:] if roomy else ():
                row += 1
                grid.text(row, 2, rest, style(Role.DIM))
            row += 1


def _top(state: RunState, task: str) -> int:
    """Step of the highest accuracy, the first of equals; the start is a candidate."""
    return state.evals[task].top_step


def _star(state: RunState, task: str) -> int | None:
    """Step of the best result; None where none is better than another."""
    results = state.evals[task]
    return results.top_step if results and _differ(results) else None


def _differ(by_step: Evaluations) -> bool:
    """Whether any result is better than another: of equals, 0 of 24 twice, none is the best."""
    known = by_step.value.y[np.isfinite(by_step.value.y)]
    return len(known) > 1 and bool(known.min() < known.max())


def _newest_steps(state: RunState, most: int) -> list[int]:
    """Steps of the newest evaluations, at most so many of each task, of the first and the best."""
    found: set[int] = set()
    for task, by_step in state.evals.items():
        if by_step:
            found |= {int(step) for step in by_step.table.x[-max(1, most) :]}
            found |= {by_step.first_step, _top(state, task)}
    return sorted(found, reverse=True)


def _difference(grid: Grid, row: int, end: int, judged: Judged | None) -> None:
    if judged is None:
        grid.right(row, end, [(fmt.UNKNOWN, style(Role.FAINT))])
        return
    number = style(Role.DIM)
    if judged.verdict == CLEAR:
        up = judged.comparison.difference > 0
        number = style(Role.GOOD if up else Role.BAD, bold=True)
    grid.right(row, end, [(difference_words(judged), number)])


def _role(number: int) -> Role:
    return task_role(number)


def _ends(columns: list[str]) -> dict[str, int]:
    """Ends of the columns within a task, one past the last cell and a blank."""
    ends, at = {}, 0
    for name, (_, cells) in _COLUMNS.items():
        if name in columns:
            at += cells
            ends[name] = at
    return ends


def _fitting(num_tasks: int, room: int, known: set[str]) -> tuple[int, list[str]]:
    """How many tasks fit, and the columns of each: detail goes before tasks do.

    `known`: of the columns that not every run has, those that this one does.
    """
    ranked = sorted(_COLUMNS, key=lambda name: _COLUMNS[name][0])
    ranked = [name for name in ranked if name not in (BASELINE, GOLD) or name in known]
    while len(ranked) > 1 and num_tasks * sum(_COLUMNS[name][1] for name in ranked) > room:
        ranked.pop()
    return max(0, min(num_tasks, room // sum(_COLUMNS[name][1] for name in ranked))), ranked
