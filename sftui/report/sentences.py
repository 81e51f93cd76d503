"""The sentences that several sections share: a comparison, a verdict, a checkpoint."""

from __future__ import annotations

import math

from sftui.readers.tasks import looks_like_a_result
from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.verdicts import (
    Keep,
    TaskOutcome,
    ValidationOutcome,
    keep,
    sharpness,
    task_outcomes,
    validation_outcome,
)
from sftui.statistics.accuracy import ALPHA, wilson
from sftui.statistics.paired_tests import SUGGESTIVE, Comparison


def points(value: float, digits: int = 2) -> str:
    """`+2.15`: always with its sign, and never `-0.00`."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def p_value(p: float) -> str:
    """`.26`, `.045`, `< .001`: two digits, three where it matters."""
    if not math.isfinite(p):
        return "-"
    if p < 0.001:
        return "< .001"
    digits = 3 if p < 0.095 else 2
    text = f"{p:.{digits}f}"
    return text[1:] if text.startswith("0") else text


def percent(fraction: float | None) -> str:
    return "-" if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f} %"


def loss(value: float) -> str:
    return f"{value:.6f}" if math.isfinite(value) else "NaN" if math.isnan(value) else "inf"


def relative(value: float, digits: int = 2) -> str:
    """A relative change in percent: `+0.14 %`."""
    return f"{points(100 * value, digits)} %" if math.isfinite(value) else "-"


def interval(found: Comparison) -> str:
    return f"{points(100 * found.low, 1)} .. {points(100 * found.high, 1)}"


def evidence(tr: Language, found: Comparison) -> str:
    """Interval, p and how they were found."""
    if found.kind == "bare":
        return tr("no counts, hence no error and no evidence", "没有题数，因此没有误差，也没有证据")
    p = p_value(found.p)
    p = f"p {p}"
    if found.kind == "paired":
        flips = tr(
            f"{found.gains} questions gained, {found.losses} lost",
            f"新答对 {found.gains} 题，新答错 {found.losses} 题",
        )
        return tr(
            f"95 % interval {interval(found)}, paired {p}, {flips}",
            f"95 % 区间 {interval(found)}，配对检验 {p}，{flips}",
        )
    return tr(
        f"95 % interval {interval(found)}, unpaired {p}",
        f"95 % 区间 {interval(found)}，非配对检验 {p}",
    )


def task_sentence(tr: Language, facts: Facts, outcome: TaskOutcome, *, brief: bool = False) -> str:
    """One task from its first to its last evaluation: points, interval, verdict word.

    `brief`: without what the run's own scatter says of a difference that is not clear anyway.
    """
    name = md.text(outcome.task, 60)
    results = facts.state.evals[outcome.task]
    last = results[outcome.last]
    if outcome.judged is None:
        value = percent(facts.board.evaluation(last).value)
        return tr(
            f"{name}: evaluated once, {value} at step {outcome.last}; nothing to compare with",
            f"{name}：只评测过一次，第 {outcome.last} 步为 {value}；没有可比较的对象",
        )
    found = outcome.judged.comparison
    start = facts.board.evaluation(results[outcome.first]).value
    end = facts.board.evaluation(last).value
    since = (
        tr("the start", "起点")
        if outcome.first == 0
        else tr(f"step {outcome.first}, the first evaluation", f"首次评测（第 {outcome.first} 步）")
    )
    word = tr.verdict(outcome.word)
    text = tr(
        f"{name} {percent(start)} -> {percent(end)}, {points(found.points)} points from {since} "
        f"to step {outcome.last} ({evidence(tr, found)}): **{word}**",
        f"{name} {percent(start)} -> {percent(end)}，从{since}到第 {outcome.last} 步相差 "
        f"{points(found.points)} 个百分点（{evidence(tr, found)}）：**{word}**",
    )
    scatter = f"p {p_value(found.p_scatter)}"
    if outcome.judged.held_by == "number":
        text += tr(
            f" (not clear after correction for the {outcome.evaluations} looks)",
            f"（按 {outcome.evaluations} 次查看校正后并不明确）",
        )
    elif outcome.judged.held_by == "scatter":
        text += tr(
            f" (not clear: this run's own evaluations scatter as much, {scatter})",
            f"（并不明确：本次运行各次评测自身的波动也有这么大，{scatter}）",
        )
    if not brief and outcome.judged.held_by == "number" and found.p_scatter >= ALPHA:
        text += tr(
            f"; this run's own evaluations scatter as much, {scatter}",
            f"；本次运行各次评测自身的波动也有这么大，{scatter}",
        )
    return text


def better_line(tr: Language, facts: Facts) -> str:
    """First line of the verdict: whether the tasks are better than at the start."""
    outcomes = task_outcomes(facts)
    if not outcomes:
        return _nothing_evaluated(tr, facts)
    up = [o for o in outcomes if o.up]
    down = [o for o in outcomes if o.down]
    some = [o for o in outcomes if o.word == SUGGESTIVE]
    if all(o.judged is None for o in outcomes):
        answer = tr(
            "Not known: every task was evaluated only once.", "未知：每个任务只评测过一次。"
        )
    elif up and down:
        answer = tr("Mixed: clear in both directions.", "有好有坏：两个方向都有明确的变化。")
    elif up:
        names = tr.join([md.text(o.task, 60) for o in up])
        answer = tr(f"Yes, on {names}.", f"是，体现在 {names} 上。")
    elif down:
        names = tr.join([md.text(o.task, 60) for o in down])
        answer = tr(f"No, clearly worse on {names}.", f"否，在 {names} 上明确变差。")
    elif some:
        names = tr.join([md.text(o.task, 60) for o in some])
        answer = tr(f"Not shown; a hint on {names}.", f"未能证明；{names} 上仅有迹象。")
    else:
        answer = tr("Not shown.", "未能证明。")
    details = tr("; ", "；").join(task_sentence(tr, facts, o, brief=True) for o in outcomes)
    why = noise_line(tr, facts) if not up and not down else ""
    parts = [f"{tr('**Better than the start?**', '**比起点好吗？**')} {answer}", details, why]
    stop = tr(". ", "。")
    return parts[0] + tr(" ", "") + parts[1] + (stop + why if why else tr(".", "。"))


_MOST_UNUSED = 12


def _nothing_evaluated(tr: Language, facts: Facts) -> str:
    """That no task was evaluated is said only of a log that holds no other numbers."""
    unused = sorted(facts.state.metrics, key=lambda name: not looks_like_a_result(name))
    if not unused:
        return tr(
            "**Better than the start?** Not known: no task was evaluated.",
            "**比起点好吗？** 未知：没有评测任何任务。",
        )
    names = tr.join([md.text(name, 60) for name in unused[:_MOST_UNUSED]])
    more = len(unused) - _MOST_UNUSED
    if more > 0:
        names += tr(f" and {more} more", f" 等，另有 {more} 个")
    return tr(
        "**Better than the start?** Not known: none of the log's numbers is known as the accuracy "
        f"of a task. These were in the log and are not used: {names}.",
        "**比起点好吗？** 未知：日志中没有一个数字被认作某项任务的准确率。"
        f"以下数字在日志中，但未被使用：{names}。",
    )


def noise_line(tr: Language, facts: Facts) -> str:
    """In one line: why moves of a point or two mean little on so many questions."""
    for task in facts.tasks:
        found = sharpness(facts, task)
        if found is None:
            continue
        first = facts.state.evals[task][facts.evaluated_steps(task)[0]]
        low, high = wilson(first.correct or 0, found.total) if first.correct is not None else (0, 0)
        half = f"{50 * (high - low):.1f}" if high else f"{98 / math.sqrt(found.total):.1f}"
        return tr(
            f"Two-point moves mean little here: with {found.total:,} questions one accuracy is "
            f"only known to ±{half} points, and two separate ones must differ by about "
            f"{found.unpaired:.1f} points before a test would usually notice.",
            f"在这里两个百分点的变化说明不了什么：{found.total:,} 道题时，一个准确率只能精确到 "
            f"±{half} 个百分点；两次独立的评测要相差约 {found.unpaired:.1f} 个百分点，检验才通常看得出来。",
        )
    return ""


def validation_line(tr: Language, facts: Facts) -> str:
    """Second line of the verdict: the validation loss, start to end."""
    head = tr("**Validation:**", "**验证集：**")
    found = validation_outcome(facts)
    if found is None:
        return tr(f"{head} not measured.", f"{head}没有测量。")
    if found.last_step == found.first_step:
        return tr(
            f"{head} measured once, {loss(found.first)} at step {found.first_step}.",
            f"{head}只测过一次，第 {found.first_step} 步为 {loss(found.first)}。",
        )
    word = {
        "up": tr("worse", "变差"),
        "down": tr("better", "变好"),
        "flat": tr("no clear change", "没有明确变化"),
        "unknown": "",
    }[found.direction]
    text = tr(
        f"{head} {word}: {loss(found.first)} at step {found.first_step} -> {loss(found.last)} at "
        f"step {found.last_step}, {points(found.change, 6)} ({relative(found.relative)}). ",
        f"{head}{word}：第 {found.first_step} 步 {loss(found.first)} -> 第 {found.last_step} 步 "
        f"{loss(found.last)}，{points(found.change, 6)}（{relative(found.relative)}）。",
    )
    return text + best_sentence(tr, found)


def best_sentence(tr: Language, found: ValidationOutcome) -> str:
    """Which validation was the best; the start counts."""
    if found.start_is_best and found.first_step == 0:
        return tr(
            "The best is step 0: no later checkpoint beat the starting one.",
            "最好的是第 0 步：之后没有任何检查点胜过起始检查点。",
        )
    return tr(
        f"The best is {loss(found.best)} at step {found.best_step}.",
        f"最好的是第 {found.best_step} 步的 {loss(found.best)}。",
    )


def keep_line(tr: Language, facts: Facts) -> str:
    """Fourth line of the verdict: which checkpoint to keep."""
    head = tr("**Checkpoint to keep:**", "**应保留的检查点：**")
    return head + tr(" ", "") + keep_sentence(tr, facts, keep(facts))


def keep_sentence(tr: Language, facts: Facts, found: Keep) -> str:
    """Which weights, and why."""
    where = f" ({md.code(found.path)})" if found.path else ""
    step = found.step
    match found.reason:
        case "start":
            source = facts.run.source if facts.run is not None else None
            what = f" ({md.text(source, 80)})" if source else ""
            hint = any(o.word == SUGGESTIVE for o in task_outcomes(facts))
            return tr(
                f"the starting one{what}: its validation loss was never beaten and no task is "
                "clearly better"
                + (
                    "; keep the last one beside it only if the hint above is followed up."
                    if hint
                    else "."
                ),
                f"起始检查点{what}：它的验证损失从未被超过，也没有任务明确变好"
                + ("；只有打算继续核实上面的迹象时，才同时保留最后一个。" if hint else "。"),
            )
        case "last-gain":
            names = tr.join([md.text(o.task, 60) for o in task_outcomes(facts) if o.up])
            return tr(
                f"step {step}{where}: clearly better than the start on {names}.",
                f"第 {step} 步{where}：在 {names} 上明确好于起点。",
            )
        case "last-best":
            return tr(
                f"step {step}{where}, the last: its validation loss is the lowest.",
                f"第 {step} 步{where}，即最后一步：验证损失最低。",
            )
        case "best-val":
            return tr(
                f"step {step}{where}: its validation loss is the lowest, and no task speaks "
                "clearly for another.",
                f"第 {step} 步{where}：验证损失最低，也没有任务明确支持别的检查点。",
            )
        case "best-val-gone":
            return tr(
                f"step {step} had the lowest validation loss, but no checkpoint of it is known; "
                "the nearest one that is kept comes next.",
                f"第 {step} 步验证损失最低，但没有它的检查点；退而取最近的一个。",
            )
        case _:
            return tr(
                "not known: nothing was measured that could tell.",
                "未知：没有任何测量能够判断。",
            )
