"""Sections 13 to 15: samples, alarms and controls, the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from engine import events as ev
from sftui.logbook.event_lines import time_of_day
from sftui.report import markdown as md
from sftui.report.language import Tongue
from sftui.report.report_facts import Case
from sftui.report.sentences import evidence, percent, points
from sftui.statistics.accuracy import ALPHA, k_candidates
from sftui.statistics.paired_tests import Comparison, Evaluation, unpaired, why_not_paired
from sftui.statistics.scores import BASELINE

BENCHMARK_SIZES = {"mmlu": 14_042, "arceasy": 2_376, "arcchallenge": 1_172, "gsm8k": 1_319}
"""Questions of the whole test sets, which published percentages usually rest on."""


def samples(say: Tongue, case: Case) -> str | None:
    """The first and the last answer to each fixed prompt."""
    by_prompt: dict[str, list[ev.SampleGenerated]] = {}
    for sample in case.state.samples:
        by_prompt.setdefault(sample.prompt, []).append(sample)
    if not by_prompt:
        return None
    parts = []
    for prompt, found in list(by_prompt.items())[:10]:
        parts.append(say("Prompt:", "提示：") + "\n\n" + md.block([prompt], 600))
        shown = [found[0], found[-1]] if len(found) > 1 else [found[0]]
        for sample in shown:
            at = f"{sample.step:,}" if sample.step is not None else "?"
            parts.append(
                say(f"At step {at}:", f"第 {at} 步：")
                + "\n\n"
                + md.block(sample.text.splitlines() or [""], 600)
            )
    return "\n\n".join(parts)


def alarms_and_controls(say: Tongue, case: Case) -> str | None:
    """What was raised and asked, when, by whom, and what came of it."""
    tally, parts = case.tally, []
    if tally.alarms:
        rows = [
            (
                f"{alarm.step:,}" if alarm.step is not None else "-",
                time_of_day(alarm.stamp.t),
                md.code(alarm.kind, 60),
                md.text(alarm.severity, 20),
                md.text(alarm.text, 400),
            )
            for alarm in tally.alarms[:100]
        ]
        head = [
            say("step", "步"),
            say("time", "时间"),
            say("alarm", "警报"),
            say("severity", "级别"),
            say("what (as raised)", "内容（原文）"),
        ]
        parts.append(md.table(head, rows))
    if case.state.controls:
        asked = [
            (
                f"{control.step:,}" if control.step is not None else "-",
                time_of_day(control.stamp.t),
                md.code(
                    control.command
                    + ("" if control.argument is None else f" {control.argument:g}"),
                    40,
                ),
                md.code(control.author, 60) or "-",
                md.text(control.outcome, 20),
                md.text(control.reason, 200) or _effect(say, case, control),
            )
            for control in case.state.controls[:100]
        ]
        head = [
            say("step", "步"),
            say("time", "时间"),
            say("control", "控制"),
            say("by", "来自"),
            say("outcome", "结果"),
            say("effect", "效果"),
        ]
        parts.append(md.table(head, asked))
    if tally.losses:
        parts.append(
            md.bullets(
                say(
                    f"{time_of_day(lost.stamp.t)} rank {lost.rank if lost.rank is not None else '?'} lost: {md.text(lost.reason, 200)}",
                    f"{time_of_day(lost.stamp.t)} 丢失 rank {lost.rank if lost.rank is not None else '?'}：{md.text(lost.reason, 200)}",
                )
                for lost in tally.losses[:50]
            )
        )
    if len(tally.attempts) > 1:
        parts.append(
            md.bullets(
                say(
                    f"{time_of_day(attempt.stamp.t)} attempt {attempt.stamp.att} goes on at step {attempt.start_step:,} on {attempt.world_size} ranks",
                    f"{time_of_day(attempt.stamp.t)} 第 {attempt.stamp.att} 次启动，从第 {attempt.start_step:,} 步继续，{attempt.world_size} 个进程",
                )
                for attempt in tally.attempts[1:50]
            )
        )
    if not parts:
        if not case.is_ours:
            return None
        return say("None were raised and none were asked for.", "没有警报，也没有控制请求。")
    return "\n\n".join(parts)


def _effect(say: Tongue, case: Case, control: ev.ControlApplied) -> str:
    if control.outcome != "applied":
        return "-"
    if control.command == "checkpoint":
        paths = [
            c.path for c in case.state.checkpoints.values() if c.step == control.step and c.path
        ]
        return md.code(paths[-1], 100) if paths else "-"
    if control.command == "pause" and case.tally.pauses:
        return say("training stood still", "训练停住")
    return "-"


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


def beside(case: Case) -> list[Beside]:
    """Every task that the baseline has too; a bare percentage is read at the size it fits.

    Read so it has an interval, for orientation; the verdict is the screen's, which gives a
    percentage without its count none.
    """
    out: list[Beside] = []
    if case.baseline is None:
        return out
    for task in case.tasks:
        theirs = case.baseline.of(task)
        last = case.state.evals[task][case.looks(task)[-1]]
        ours = case.board.evaluation(last)
        judged = case.scores.of(task, case.looks(task)[-1], BASELINE)
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


def baseline(say: Tongue, case: Case) -> str | None:
    """Side by side, and why not item by item where that is so."""
    found = beside(case)
    if case.baseline is None:
        return None
    name = md.code(case.baseline.name, 80)
    if not found:
        return say(
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
            evidence(say, one.found),
            say.verdict(one.verdict),
        )
        for one in found
    ]
    head = [
        say("task", "任务"),
        say("baseline", "基线"),
        say("last of this run", "本次最后"),
        say("points", "百分点"),
        say("evidence", "证据"),
        say("verdict", "结论"),
    ]
    parts = [say(f"Baseline: {name}.", f"基线：{name}。"), md.table(head, rows)]
    parts.append(
        md.bullets(reason_words(say, one) for one in found if one.found.kind != "paired") or ""
    )
    return "\n\n".join(part for part in parts if part)


def reason_words(say: Tongue, one: Beside) -> str:
    """Why two results are not comparable item by item, and what follows for the verdict."""
    text = _reason(say, one)
    if one.theirs.total is None and one.found.p < ALPHA:
        text += say(
            " A percentage without its count earns no verdict, whatever the p it is read as.",
            "没有题数的百分比不给出结论，无论这样读出的 p 是多少。",
        )
    return text


def _reason(say: Tongue, one: Beside) -> str:
    name = md.text(one.task, 60)
    head = say(f"{name}: not comparable item by item: ", f"{name}：不能逐题比较：")
    value = one.theirs.value
    shown = f"{100 * value:.2f}" if value is not None else "?"
    if not one.fits_here and one.ours.total:
        text = head + say(
            f"no count of {one.ours.total:,} gives {shown} %, so other questions were asked",
            f"{one.ours.total:,} 道题中没有任何答对数能得到 {shown} %，所以问的是别的题目",
        )
        if one.counts_at is not None:
            size, counts = one.counts_at
            listed = say(" or ", " 或 ").join(f"{k}" for k in counts[:4])
            text += say(f"; {listed} of {size} does", f"；{size} 题中答对 {listed} 题可以")
        return text + say(".", "。")
    if one.theirs.total is None:
        return head + say(
            "the baseline is a percentage alone; it was read as a count of as many questions.",
            "基线只有百分比；这里按同样题数的答对数来读。",
        )
    if one.ours.item_set and one.theirs.item_set and one.ours.item_set != one.theirs.item_set:
        return head + say(
            "other questions, or the same in other prompts.", "题目不同，或同样的题目但提示不同。"
        )
    if not one.ours.item_set or not one.theirs.item_set:
        return head + say("the questions of one side are not known.", "有一方的题目未知。")
    return head + say("results item by item are missing.", "缺少逐题结果。")
