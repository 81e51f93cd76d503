"""Evaluations: every task and step, with what it can and cannot show."""

from __future__ import annotations

import numpy as np

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import (
    noise_line,
    percent,
    points,
    task_sentence,
)
from sftui.report.shortening import SHOWN, cut_note, shortened
from sftui.report.verdicts import (
    chance_of,
    task_outcomes,
)
from sftui.statistics import chatcore_looks
from sftui.statistics.accuracy import wilson
from sftui.statistics.families import BEST, PREVIOUS, START
from sftui.statistics.paired_tests import CLEAR, Judged


def evaluations(tr: Language, facts: Facts) -> str | None:
    """Every task at every step it was evaluated, and the differences it could detect."""
    if not facts.tasks:
        return None
    parts = []
    noise = noise_line(tr, facts)
    if noise:
        parts.append(noise)
    for outcome in task_outcomes(facts):
        task = outcome.task
        rows = evaluation_rows(tr, facts, task)
        parts.append(f"### {md.text(task, 60)}")
        parts.append(task_sentence(tr, facts, outcome) + tr(".", "。"))
        best = _best(tr, facts, task)
        if best:
            parts.append(best)
        parts.append(md.table(evaluation_head(tr), shortened(rows), numbers=True))
        if len(rows) > SHOWN:
            parts.append(cut_note(tr, len(rows)))
        parts.append(_levels(tr, facts, task))
    core = _chatcore(tr, facts)
    if core:
        parts += ["### ChatCORE", core]
    parts.append(
        tr(
            "Differences are in points. The verdict word is that against the first evaluation: of the last row by itself, corrected for the tasks (mid-p, Holm); of the other rows corrected for all differences to the first and to the previous (Holm). Differences to the best are not judged: the best is picked.",
            "差值单位为百分点。结论一栏是相对首次评测的：最后一行单独判断，按任务数校正（mid-p，Holm）；其余各行对所有相对首次与前次的差值做校正（Holm）。与最好一次的差值不作判断，因为最好的一次是挑出来的。",
        )
    )
    return "\n\n".join(part for part in parts if part)


def _chatcore(tr: Language, facts: Facts) -> str:
    """nanochat's one number over the five tasks, its interval, and its change since the first."""
    found = chatcore_looks.looks(facts.board, facts.state)
    if not found:
        return ""
    last = found[-1]
    sentences = [
        tr(
            f"{score.name} at step {last.step}: {score.value:.4f}, 95 % [{score.low:.4f}, {score.high:.4f}].",
            f"第 {last.step} 步的 {score.name}：{score.value:.4f}，95 % [{score.low:.4f}, {score.high:.4f}]。",
        )
        for score in last.scores
    ]
    for name, judged in last.judged.items():
        change = judged.comparison
        told = (
            f"{change.difference:+.4f} [{change.low:+.4f}, {change.high:+.4f}], p = {change.p:.2g}"
        )
        sentences.append(
            tr(
                f"{name} against step {last.since}: {told}, {_verdict_cell(tr, judged)}.",
                f"{name} 相对第 {last.since} 步：{told}，{_verdict_cell(tr, judged)}。",
            )
        )
    return tr.sentences(sentences)


def evaluation_head(tr: Language) -> list[str]:
    return [
        tr("step", "步"),
        "k/n",
        tr("accuracy", "准确率"),
        tr("95 % (Wilson)", "95 %（Wilson）"),
        tr("to first", "较首次"),
        tr("to previous", "较前次"),
        tr("to best so far", "较此前最好"),
        tr("verdict", "结论"),
        tr("right letter's probability", "正确字母的概率"),
        "",
    ]


def _verdict_cell(tr: Language, judged: Judged | None) -> str:
    if judged is None:
        return ""
    if judged.held_by == "letter":
        return tr("one letter", "同一个字母")
    word = tr.verdict(judged.verdict)
    return word + tr(" (clear when newest)", "（作为最新一次时显著）") if judged.was_clear else word


def _gold_cell(facts: Facts, task: str, step: int) -> str:
    """Its mean in percent, with a star where it clearly differs from the first."""
    known = facts.board.evaluation(facts.state.evals[task][step]).gold
    if known is None:
        return ""
    judged = facts.scores.gold.get((task, step))
    mark = " *" if judged is not None and judged.verdict == CLEAR else ""
    return percent(float(np.nanmean(known))) + mark


def evaluation_rows(tr: Language, facts: Facts, task: str) -> list[tuple[str, ...]]:
    """One row for each evaluation of this task."""
    best = best_step(facts, task)
    steps = facts.evaluated_steps(task)
    rows = []
    for step in steps:
        found = facts.state.evals[task][step]
        counts = (
            f"{found.correct}/{found.total}" if found.correct is not None and found.total else "-"
        )
        between = "-"
        if found.correct is not None and found.total:
            low, high = wilson(found.correct, found.total)
            between = f"{100 * low:.1f} .. {100 * high:.1f}"
        cells = [f"{step:,}", counts, percent(facts.board.evaluation(found).value), between]
        for against in (START, PREVIOUS, BEST):
            judged = facts.scores.of(task, step, against)
            cells.append(points(judged.comparison.points) if judged is not None else "")
        judged = facts.scores.of(task, step, START)
        cells.append(_verdict_cell(tr, judged))
        cells.append(_gold_cell(facts, task, step))
        cells.append(
            tr(f"best of {len(steps)} looks", f"{len(steps)} 次评测中最好")
            if step == best and len(steps) > 1
            else ""
        )
        rows.append(tuple(cells))
    return rows


def best_step(facts: Facts, task: str) -> int | None:
    """The step of the highest accuracy; the first of equals."""
    values = {
        step: value
        for step in facts.evaluated_steps(task)
        if (value := facts.board.evaluation(facts.state.evals[task][step]).value) is not None
    }
    return min(values, key=lambda step: (-values[step], step)) if values else None


def _best(tr: Language, facts: Facts, task: str) -> str:
    step, steps = best_step(facts, task), facts.evaluated_steps(task)
    if step is None or len(steps) < 2:
        return ""
    name = md.text(task, 60)
    value = percent(facts.board.evaluation(facts.state.evals[task][step]).value)
    if step == steps[0]:
        return tr(
            f"{name} {value} at step {step}, the first look, is the best of {len(steps)} looks: none after it was higher.",
            f"{name} 第 {step} 步（首次评测）的 {value} 是 {len(steps)} 次评测中最好的：之后没有更高的。",
        )
    judged = facts.scores.of(task, step, START)
    word = tr.verdict(judged.verdict) if judged is not None else "-"
    return tr(
        f"{name} {value} at step {step} is the best of {len(steps)} looks, and the best of several is partly luck: {word} against the first.",
        f"{name} 第 {step} 步的 {value} 是 {len(steps)} 次评测中最好的，而从多次评测中挑出的最好值总带有运气成分：与首次相比，{word}。",
    )


def _levels(tr: Language, facts: Facts, task: str) -> str:
    last = facts.state.evals[task][facts.evaluated_steps(task)[-1]]
    chance = chance_of(facts, task)
    parts = []
    if chance is not None:
        told = (
            ""
            if last.chance is not None
            else tr(" (four choices; not in the log)", "（四选一；日志未记录）")
        )
        parts.append(
            tr(f"Chance: {percent(chance)}{told}.", f"随机水平：{percent(chance)}{told}。")
        )
    if last.one_letter is not None:
        parts.append(
            tr(
                f"Always the same letter: {percent(last.one_letter)}.",
                f"总答同一个字母：{percent(last.one_letter)}。",
            )
        )
    if last.letters:
        by_count = sorted(last.letters.items(), key=lambda letter: -letter[1])
        counts = ", ".join(f"{md.text(k, 4)}: {v}" for k, v in by_count)
        parts.append(tr(f"Answers of the last look: {counts}.", f"最后一次评测的回答：{counts}。"))
    return tr.sentences(parts)
