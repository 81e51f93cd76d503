"""Sections 9 to 12: validation, training loss, evaluations, completion."""

from __future__ import annotations

import math

import numpy as np

from sftui.report import markdown as md
from sftui.report.language import Tongue
from sftui.report.report_facts import Case
from sftui.report.sentences import (
    best_sentence,
    evidence,
    loss,
    noise_line,
    percent,
    points,
    relative,
    task_sentence,
)
from sftui.report.verdicts import chance_of, task_outcomes, training_trend, validation_outcome
from sftui.statistics.accuracy import wilson
from sftui.statistics.loss_statistics import wobble
from sftui.statistics.scores import BASELINE, BEST, PREVIOUS, START

SHOWN = 60
"""Rows of a table in the body; the appendix holds all."""


def validation(say: Tongue, case: Case) -> str | None:
    """Every validation against the start and the one before."""
    outcome = validation_outcome(case)
    if outcome is None:
        return None
    rows = validation_rows(say, case)
    head = validation_head(say, case)
    parts = [best_sentence(say, outcome), md.table(head, shortened(rows), numbers=True)]
    if len(rows) > SHOWN:
        parts.append(_cut(say, len(rows)))
    metric = case.state.validation_list()[0].metric
    if metric == "bpb":
        parts.append(say("The unit is bits a byte.", "单位是每字节比特数。"))
    if outcome.has_rows:
        parts.append(
            say(
                "Standard errors are paired: the same rows were measured every time. "
                "A change is called clear only after correction for all that are shown.",
                "标准误为配对计算：每次测的都是同样的行。只有对所有显示的变化校正后仍成立，才称为明确。",
            )
        )
    else:
        parts.append(
            say(
                "Losses row by row are not stored, so no standard error can be given.",
                "没有逐行保存损失，因此无法给出标准误。",
            )
        )
    scatter = wobble([value for _, value in case.finite_validations()])
    if scatter is not None:
        parts.append(
            say(
                f"Around their own trend the validations scatter by {scatter:.6f}.",
                f"各次验证围绕自身趋势的波动为 {scatter:.6f}。",
            )
        )
    return "\n\n".join(parts)


def validation_head(say: Tongue, case: Case) -> list[str]:
    return [
        say("step", "步"),
        say("loss", "损失"),
        say("from the start", "较起点"),
        "%",
        say("from the one before", "较前一次"),
        "%",
        say("paired SE", "配对标准误"),
        "",
    ]


def validation_rows(say: Tongue, case: Case) -> list[tuple[str, ...]]:
    """One row a validation; the marks say best, last, clear."""
    found = case.state.validation_list()
    outcome = validation_outcome(case)
    rows = []
    for i, now in enumerate(found):
        cells = [f"{now.step:,}", loss(now.loss)]
        for before in (found[0], found[i - 1] if i else None):
            if i == 0 or before is None:
                cells += ["", ""]
            else:
                change = now.loss - before.loss
                cells += [
                    points(change, 6),
                    relative(change / abs(before.loss)) if before.loss else "-",
                ]
        change_from_start = case.loss_changes.get((now.step, "start"))
        error = change_from_start.error if change_from_start is not None else None
        cells.append(f"{error:.6f}" if error is not None else "")
        marks = []
        if i == 0 and now.step == 0:
            marks.append(say("start", "起点"))
        if outcome is not None and now.step == outcome.best_step:
            marks.append(say("**best**", "**最好**"))
        if now is found[-1] and len(found) > 1:
            marks.append(say("last", "最后"))
        if change_from_start is not None and change_from_start.clear:
            marks.append(say("clear", "明确"))
        cells.append(say.join(marks))
        rows.append(tuple(cells))
    return rows


def shortened(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The first and last rows, a gap between them."""
    if len(rows) <= SHOWN:
        return rows
    half = SHOWN // 2
    return [*rows[:half], tuple("…" for _ in rows[0]), *rows[-half:]]


def _cut(say: Tongue, total: int) -> str:
    return say(
        f"{total:,} rows in all; the appendix has every one.", f"共 {total:,} 行；附录中有全部。"
    )


def training_loss(say: Tongue, case: Case) -> str | None:
    """First, last, by epoch, noise, slope; the range only together with what it is a range of."""
    steps, values = case.losses
    if not len(values):
        return None
    kind = {
        "loss": say("the loss of the whole step", "整步的损失"),
        "loss_rows_mean": say("the mean of the step's micro-batches", "该步各微批次的平均"),
        "loss_micro_last": say("the last micro-batch of rank 0", "rank 0 的最后一个微批次"),
    }[case.state.loss_name]
    micro = case.settings.get("device_batch_size")
    if case.state.loss_name == "loss_micro_last" and isinstance(micro, int):
        kind += say(f" ({micro} rows)", f"（{micro} 行）")
    if not case.is_ours and case.state.loss_name == "loss":
        kind = say("the loss as the trainer logged it", "训练程序记录的损失")
    noise = (
        float(np.median(np.abs(np.diff(values)))) * 1.4826 / math.sqrt(2)
        if len(values) > 2
        else math.nan
    )
    items = [
        say(f"what is logged: {kind}", f"记录的是：{kind}"),
        say(
            f"{len(values):,} lines, steps {int(steps[0]):,} to {int(steps[-1]):,}; first {values[0]:.6f}, last {values[-1]:.6f}, mean {values.mean():.6f}",
            f"{len(values):,} 行，第 {int(steps[0]):,} 至 {int(steps[-1]):,} 步；首个 {values[0]:.6f}，末个 {values[-1]:.6f}，平均 {values.mean():.6f}",
        ),
    ]
    if math.isfinite(noise):
        items.append(
            say(
                f"single lines scatter by about {noise:.3f} from one to the next; the lowest and highest of them, {values.min():.6f} .. {values.max():.6f}, are no measure of progress",
                f"相邻各行之间的波动约为 {noise:.3f}；其中最低与最高 {values.min():.6f} .. {values.max():.6f} 不能用来衡量进步",
            )
        )
    slope = training_trend(case)
    if slope is not None:
        flat = slope[1] <= 0 <= slope[2]
        tail = (
            say("it contains 0: no trend to speak of", "包含 0：谈不上趋势")
            if flat
            else say("a trend, beyond the noise of the steps", "超出各步噪声的趋势")
        )
        items.append(
            say(
                f"slope of the last half, per 1000 steps: {slope[0]:+.4f}, 95 % interval {slope[1]:+.4f} .. {slope[2]:+.4f}; {tail}",
                f"后半段每 1000 步的斜率：{slope[0]:+.4f}，95 % 区间 {slope[1]:+.4f} .. {slope[2]:+.4f}；{tail}",
            )
        )
    parts = [md.bullets(items)]
    rows = []
    for number, (start, end) in enumerate(case.epochs, start=1):
        inside = values[(steps >= start) & (steps < end)]
        if not len(inside):
            continue
        smooth = _smooth(inside)
        error = float(inside.std(ddof=1)) / math.sqrt(len(inside)) if len(inside) > 1 else math.nan
        rows.append(
            (
                str(number) if case.steps_an_epoch else say("all", "全部"),
                f"{start:,} .. {end - 1:,}",
                f"{inside.mean():.4f}",
                f"{error:.4f}" if math.isfinite(error) else "-",
                f"{smooth.min():.4f} .. {smooth.max():.4f}",
            )
        )
    if rows:
        head = [
            say("epoch", "轮"),
            say("steps", "步"),
            say("mean", "平均"),
            say("its standard error", "其标准误"),
            say("smoothed range", "平滑后的范围"),
        ]
        parts.append(md.table(head, rows, numbers=True))
    if case.state.nonfinite:
        parts.append(
            say(
                f"{case.state.nonfinite:,} updates had no finite loss and are not counted here.",
                f"有 {case.state.nonfinite:,} 次更新的损失不是有限数，未计入。",
            )
        )
    return "\n\n".join(parts)


def _smooth(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Running mean over a twentieth of the values, at least 5 of them."""
    window = max(5, len(values) // 20)
    if len(values) <= window:
        return np.array([values.mean()])
    sums = np.cumsum(np.concatenate(([0.0], values)))
    result: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = (
        sums[window:] - sums[:-window]
    ) / window
    return result


def evaluations(say: Tongue, case: Case) -> str | None:
    """Every task, every look, with what it can and cannot show."""
    if not case.tasks:
        return None
    parts = []
    noise = noise_line(say, case)
    if noise:
        parts.append(noise)
    for outcome in task_outcomes(case):
        task = outcome.task
        rows = evaluation_rows(say, case, task)
        parts.append(f"### {md.text(task, 60)}")
        parts.append(task_sentence(say, case, outcome) + say(".", "。"))
        best = _best(say, case, task)
        if best:
            parts.append(best)
        parts.append(md.table(evaluation_head(say), shortened(rows), numbers=True))
        if len(rows) > SHOWN:
            parts.append(_cut(say, len(rows)))
        parts.append(_levels(say, case, task))
    parts.append(
        say(
            "Differences are in points. The verdict word is that against the first evaluation, corrected (Holm) for all comparisons in these tables.",
            "差值单位为百分点。结论一栏是相对首次评测的，已对这些表中的所有比较做校正（Holm）。",
        )
    )
    return "\n\n".join(part for part in parts if part)


def evaluation_head(say: Tongue) -> list[str]:
    return [
        say("step", "步"),
        "k/n",
        say("accuracy", "准确率"),
        say("95 % (Wilson)", "95 %（Wilson）"),
        say("to first", "较首次"),
        say("to previous", "较前次"),
        say("to best so far", "较此前最好"),
        say("verdict", "结论"),
        "",
    ]


def evaluation_rows(say: Tongue, case: Case, task: str) -> list[tuple[str, ...]]:
    """One row a look at this task."""
    best = best_step(case, task)
    looks = case.looks(task)
    rows = []
    for step in looks:
        found = case.state.evals[task][step]
        counts = (
            f"{found.correct}/{found.total}" if found.correct is not None and found.total else "-"
        )
        between = "-"
        if found.correct is not None and found.total:
            low, high = wilson(found.correct, found.total)
            between = f"{100 * low:.1f} .. {100 * high:.1f}"
        cells = [f"{step:,}", counts, percent(case.board.evaluation(found).value), between]
        for against in (START, PREVIOUS, BEST):
            judged = case.scores.of(task, step, against)
            cells.append(points(judged.comparison.points) if judged is not None else "")
        judged = case.scores.of(task, step, START)
        cells.append(say.verdict(judged.verdict) if judged is not None else "")
        cells.append(
            say(f"best of {len(looks)} looks", f"{len(looks)} 次查看中最好")
            if step == best and len(looks) > 1
            else ""
        )
        rows.append(tuple(cells))
    return rows


def best_step(case: Case, task: str) -> int | None:
    """The step of the highest accuracy; the first of equals."""
    values = {
        step: value
        for step in case.looks(task)
        if (value := case.board.evaluation(case.state.evals[task][step]).value) is not None
    }
    return min(values, key=lambda step: (-values[step], step)) if values else None


def _best(say: Tongue, case: Case, task: str) -> str:
    step, looks = best_step(case, task), case.looks(task)
    if step is None or len(looks) < 2:
        return ""
    name = md.text(task, 60)
    value = percent(case.board.evaluation(case.state.evals[task][step]).value)
    if step == looks[0]:
        return say(
            f"{name} {value} at step {step}, the first look, is the best of {len(looks)} looks: none after it was higher.",
            f"{name} 第 {step} 步（首次查看）的 {value} 是 {len(looks)} 次查看中最好的：之后没有更高的。",
        )
    top = case.scores.best.get(task)
    judged = (
        top[1].judged if top is not None and top[0] == step else case.scores.of(task, step, START)
    )
    word = say.verdict(judged.verdict) if judged is not None else "-"
    return say(
        f"{name} {value} at step {step} is the best of {len(looks)} looks, and the best of several is partly luck: {word} against the first.",
        f"{name} 第 {step} 步的 {value} 是 {len(looks)} 次查看中最好的，而多次中的最好带有运气成分：较首次{word}。",
    )


def _levels(say: Tongue, case: Case, task: str) -> str:
    last = case.state.evals[task][case.looks(task)[-1]]
    chance = chance_of(case, task)
    parts = []
    if chance is not None:
        told = (
            ""
            if last.chance is not None
            else say(" (four choices; not in the log)", "（四选一；日志未记录）")
        )
        parts.append(
            say(f"Chance: {percent(chance)}{told}.", f"随机水平：{percent(chance)}{told}。")
        )
    if last.one_letter is not None:
        parts.append(
            say(
                f"Always the same letter: {percent(last.one_letter)}.",
                f"总答同一个字母：{percent(last.one_letter)}。",
            )
        )
    if last.letters:
        by_count = sorted(last.letters.items(), key=lambda letter: -letter[1])
        counts = ", ".join(f"{md.text(k, 4)}: {v}" for k, v in by_count)
        parts.append(say(f"Answers of the last look: {counts}.", f"最后一次的回答：{counts}。"))
    return say.sentences(parts)


def completion(say: Tongue, case: Case) -> str | None:
    """Planned and done; nanochat's last iteration makes no update."""
    run, state = case.run, case.state
    if run is None or not (state.updates or run.num_iterations):
        return None
    items = [say(f"status: {say.status(case.status)}", f"状态：{say.status(case.status)}")]
    if run.num_iterations and (case.is_ours or case.is_nanochat):
        items.append(
            say(
                f"{run.num_iterations:,} iterations planned, {state.updates:,} updates done",
                f"计划 {run.num_iterations:,} 次迭代，完成 {state.updates:,} 次更新",
            )
        )
        if case.complete:
            items.append(
                say(
                    f"the last iteration only evaluates and makes no update, so {state.updates:,} training lines are a finished run of {run.num_iterations:,} iterations",
                    f"最后一次迭代只评测、不更新，所以 {state.updates:,} 行训练记录就是完整的 {run.num_iterations:,} 次迭代",
                )
            )
    else:
        planned = (
            say(f" of {run.num_iterations:,} planned", f"，计划 {run.num_iterations:,} 步")
            if run.num_iterations
            else ""
        )
        items.append(
            say(
                f"{state.updates:,} updates done{planned}",
                f"完成 {state.updates:,} 次更新{planned}",
            )
        )
    if case.epochs_seen is not None:
        items.append(say(f"{case.epochs_seen:.3f} epochs seen", f"遍历 {case.epochs_seen:.3f} 轮"))
    logged = len(state.steps)
    if logged != state.updates:
        items.append(
            say(f"{logged:,} updates have a line in the log", f"日志中有记录的更新为 {logged:,} 次")
        )
    if case.seconds is not None:
        items.append(say(f"in {say.span(case.seconds)}", f"用时 {say.span(case.seconds)}"))
    return md.bullets(items)


def baseline_words(say: Tongue, case: Case, task: str) -> str:
    """Evidence of the last evaluation against the baseline."""
    judged = case.scores.of(task, case.looks(task)[-1], BASELINE)
    return evidence(say, judged.comparison) if judged is not None else ""
