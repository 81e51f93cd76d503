"""Baseline: side by side, and why not item by item where that is so."""

from __future__ import annotations

from dataclasses import dataclass

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import (
    evidence,
    percent,
    points,
)
from sftui.statistics.accuracy import ALPHA, k_candidates
from sftui.statistics.families import BASELINE
from sftui.statistics.paired_tests import Comparison, Evaluation, unpaired, why_not_paired

BENCHMARK_SIZES = {"mmlu": 14_042, "arceasy": 2_376, "arcchallenge": 1_172, "gsm8k": 1_319}
"""Questions of the whole test sets, which published percentages usually rest on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The last evaluation of a task beside the baseline's."""

    task: str
    ours: Evaluation
    theirs: Evaluation
    found: Comparison
    verdict: str
    reason: str
    """Why they are not compared item by item; empty when they are. English."""
    counts_at: tuple[int, list[int]] | None
    """(whole benchmark, counts of it that print as the baseline's percentage)."""
    fits_here: bool
    """Some count of this run's number of questions prints as the percentage."""


def beside(facts: Facts) -> list[Beside]:
    """Every task that the baseline has too; a bare percentage is read at the size it fits.

    Read so it has an interval, for orientation; the verdict is the screen's, which gives a
    percentage without its count none.
    """
    out: list[Beside] = []
    if facts.baseline is None:
        return out
    for task in facts.tasks:
        theirs = facts.baseline.of(task)
        last = facts.state.evals[task][facts.evaluated_steps(task)[-1]]
        ours = facts.board.evaluation(last)
        judged = facts.scores.of(task, facts.evaluated_steps(task)[-1], BASELINE)
        if theirs is None or judged is None:
            continue
        found, at, fits = judged.comparison, None, True
        if theirs.total is None and theirs.accuracy is not None and ours.total:
            percentage = 100 * theirs.accuracy
            here = k_candidates(percentage, ours.total)
            fits = bool(here)
            size = BENCHMARK_SIZES.get("".join(c for c in task.lower() if c.isalnum()))
            whole = k_candidates(percentage, size) if size else []
            if size and whole:
                at = (size, whole)
            guess = (here[0], ours.total) if here else (whole[0], size) if whole and size else None
            if guess is not None and ours.correct is not None:
                found = unpaired((ours.correct, ours.total), guess)
        out.append(
            Beside(
                task=task,
                ours=ours,
                theirs=theirs,
                found=found,
                verdict=judged.verdict,
                reason="" if found.kind == "paired" else why_not_paired(ours, theirs),
                counts_at=at,
                fits_here=fits,
            )
        )
    return out


def baseline(tr: Language, facts: Facts) -> str | None:
    """Side by side, and why not item by item where that is so."""
    found = beside(facts)
    if facts.baseline is None:
        return None
    name = md.code(facts.baseline.name, 80)
    if not found:
        return tr(
            f"The baseline {name} has none of the tasks of this run.",
            f"基线 {name} 没有本次运行的任何任务。",
        )
    rows = [
        (
            md.text(one.task, 60),
            percent(one.theirs.value),
            percent(one.ours.value),
            points(100 * one.found.difference if one.found.kind != "bare" else one.found.points)
            if one.theirs.total or one.found.kind == "bare"
            else points(100 * ((one.ours.value or 0) - (one.theirs.value or 0))),
            evidence(tr, one.found),
            tr.verdict(one.verdict),
        )
        for one in found
    ]
    head = [
        tr("task", "任务"),
        tr("baseline", "基线"),
        tr("last of this run", "本次最后"),
        tr("points", "百分点"),
        tr("evidence", "证据"),
        tr("verdict", "结论"),
    ]
    parts = [tr(f"Baseline: {name}.", f"基线：{name}。"), md.table(head, rows)]
    parts.append(
        md.bullets(reason_words(tr, one) for one in found if one.found.kind != "paired") or ""
    )
    return "\n\n".join(part for part in parts if part)


def reason_words(tr: Language, one: Beside) -> str:
    """Why two results are not comparable item by item, and what follows for the verdict."""
    text = _reason(tr, one)
    if one.theirs.total is None and one.found.p < ALPHA:
        text += tr(
            " A percentage without its count earns no verdict, whatever the p it is read as.",
            "没有题数的百分比不给出结论，无论这样读出的 p 是多少。",
        )
    return text


def _reason(tr: Language, one: Beside) -> str:
    name = md.text(one.task, 60)
    head = tr(f"{name}: not comparable item by item: ", f"{name}：不能逐题比较：")
    value = one.theirs.value
    shown = f"{100 * value:.2f}" if value is not None else "?"
    if not one.fits_here and one.ours.total:
        text = head + tr(
            f"no count of {one.ours.total:,} gives {shown} %, so other questions were asked",
            f"{one.ours.total:,} 道题中没有任何答对数能得到 {shown} %，所以问的是别的题目",
        )
        if one.counts_at is not None:
            size, counts = one.counts_at
            listed = tr(" or ", " 或 ").join(f"{k}" for k in counts[:4])
            text += tr(f"; {listed} of {size} does", f"；{size} 题中答对 {listed} 题可以")
        return text + tr(".", "。")
    if one.theirs.total is None:
        return head + tr(
            "the baseline is a percentage alone; it was read as a count of as many questions.",
            "基线只有百分比；这里按同样题数的答对数来读。",
        )
    if one.ours.item_set and one.theirs.item_set and one.ours.item_set != one.theirs.item_set:
        return head + tr(
            "other questions, or the same in other prompts.", "题目不同，或同样的题目但提示不同。"
        )
    if not one.ours.item_set or not one.theirs.item_set:
        return head + tr("the questions of one side are not known.", "有一方的题目未知。")
    return head + tr("results item by item are missing.", "缺少逐题结果。")
