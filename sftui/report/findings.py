"""Strengths, weaknesses and next steps: each from one rule, each with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sftui.report import markdown as md
from sftui.report.language import Tongue
from sftui.report.report_facts import Case
from sftui.report.sentences import loss, points, relative
from sftui.report.verdicts import (
    any_evidence,
    at_chance,
    letter_share,
    repeated_rows_fall,
    sharpness,
    slow_rank,
    still_falling,
    task_outcomes,
    validation_outcome,
)
from sftui.statistics.paired_tests import SUGGESTIVE

Kind = Literal["strength", "weakness", "next"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence and what it rests on."""

    code: str
    """The rule, for tests and for readers who search."""
    kind: Kind
    text: str
    evidence: str


def findings(say: Tongue, case: Case) -> list[Finding]:
    """All rules that apply, in a fixed order; next steps by weight."""
    out: list[Finding] = []
    _outcome(say, case, out)
    _validation(say, case, out)
    _evaluations(say, case, out)
    _run(say, case, out)
    return out


def _add(out: list[Finding], code: str, kind: Kind, text: str, evidence: str) -> None:
    out.append(Finding(code=code, kind=kind, text=text, evidence=evidence))


def _outcome(say: Tongue, case: Case, out: list[Finding]) -> None:
    state = case.state
    if case.complete and case.status == "finished":
        _add(
            out,
            "complete",
            "strength",
            say("The run did all it had planned.", "运行完成了全部计划。"),
            say(
                f"{state.done:,} of {state.planned:,} updates",
                f"{state.done:,} / {state.planned:,} 次更新",
            ),
        )
    elif case.status in ("failed", "interrupted"):
        _add(
            out,
            "incomplete",
            "weakness",
            say("The run did not reach its end.", "运行没有到达终点。"),
            say(
                f"status {case.status}, {state.updates:,} updates",
                f"状态：{say.status(case.status)}，{state.updates:,} 次更新",
            ),
        )
        if case.is_ours:
            _add(
                out,
                "take-up-again",
                "next",
                say(
                    f"Take it up again: {md.code(f'sftui run --resume {case.shot.title}')}.",
                    f"接着跑：{md.code(f'sftui run --resume {case.shot.title}')}。",
                ),
                say("its checkpoints are kept", "检查点仍在"),
            )
    if state.nonfinite:
        _add(
            out,
            "nonfinite",
            "weakness",
            say(
                "Some updates had a loss or gradient that is no number.",
                "有些更新的损失或梯度不是数。",
            ),
            say(f"{state.nonfinite:,} updates", f"{state.nonfinite:,} 次更新"),
        )
    if case.tally.out_of_memory:
        _add(
            out,
            "out-of-memory",
            "weakness",
            say("Memory ran out.", "内存或显存用尽。"),
            md.code(case.tally.out_of_memory[0], 200),
        )
    for outcome in task_outcomes(case):
        name = md.text(outcome.task, 60)
        if outcome.judged is None:
            continue
        diff = points(outcome.judged.comparison.points)
        if outcome.up:
            _add(
                out,
                "task-up",
                "strength",
                say(f"{name} is clearly better than at the start.", f"{name} 明确好于起点。"),
                say(
                    f"{diff} points, beyond chance after correction",
                    f"{diff} 个百分点，校正后仍超出偶然",
                ),
            )
        elif outcome.down:
            _add(
                out,
                "task-down",
                "weakness",
                say(f"{name} is clearly worse than at the start.", f"{name} 明确差于起点。"),
                say(
                    f"{diff} points, beyond chance after correction",
                    f"{diff} 个百分点，校正后仍超出偶然",
                ),
            )


def _validation(say: Tongue, case: Case, out: list[Finding]) -> None:
    found = validation_outcome(case)
    if found is None:
        _add(
            out,
            "no-validation",
            "weakness",
            say("No validation loss was measured.", "没有测量验证损失。"),
            say("no validation line in the log", "日志中没有验证行"),
        )
        if not case.tasks:
            _add(
                out,
                "measure",
                "next",
                say(
                    "Measure a validation loss, or ask letter questions: a training loss alone cannot tell whether the model got better.",
                    "测量验证损失，或做选择题评测：单凭训练损失无法判断模型是否变好。",
                ),
                say("neither is in the log", "日志中两者都没有"),
            )
        return
    epochs = case.epochs_seen
    if found.direction == "up":
        _add(
            out,
            "validation-rose",
            "weakness",
            say("Validation got worse while training went on.", "训练过程中验证损失变差。"),
            f"{loss(found.first)} -> {loss(found.last)} ({relative(found.relative)})",
        )
        repeated = repeated_rows_fall(case)
        several = case.epochs_asked is not None and case.epochs_asked > 1
        evidence = say(
            f"validation {relative(found.relative)} over {epochs:.1f} epochs"
            if epochs
            else f"validation {relative(found.relative)}",
            f"{epochs:.1f} 轮中验证损失 {relative(found.relative)}"
            if epochs
            else f"验证损失 {relative(found.relative)}",
        )
        if repeated is not None:
            evidence += say(
                f"; training loss of the repeated rows {repeated[0]:.3f} -> {repeated[1]:.3f}",
                f"；重复样本的训练损失 {repeated[0]:.3f} -> {repeated[1]:.3f}",
            )
        change = (
            say(
                "Train fewer epochs, or at a lower rate (init\\_lr\\_frac).",
                "减少训练轮数，或降低学习率（init\\_lr\\_frac）。",
            )
            if several
            else say(
                "Train at a lower rate (init\\_lr\\_frac), or on data closer to the validation set.",
                "降低学习率（init\\_lr\\_frac），或使用更接近验证集的数据。",
            )
        )
        _add(out, "lower-rate", "next", change, evidence)
    elif found.direction == "down":
        _add(
            out,
            "validation-fell",
            "strength",
            say("Validation got better.", "验证损失变好。"),
            f"{loss(found.first)} -> {loss(found.last)} ({relative(found.relative)})",
        )
        if found.best_step == found.last_step and still_falling(case):
            _add(
                out,
                "go-on",
                "next",
                say(
                    "More steps may help: validation still falls.",
                    "增加步数可能有用：验证损失仍在下降。",
                ),
                say(
                    f"the last validation, step {found.last_step}, is the best, and the last half has a falling line",
                    f"最后一次验证（第 {found.last_step} 步）最好，后半段呈下降趋势",
                ),
            )
    if found.first_step != 0:
        _add(
            out,
            "start-not-validated",
            "weakness",
            say("The starting checkpoint was not validated.", "没有验证起始检查点。"),
            say(
                f"the first validation is at step {found.first_step}",
                f"首次验证在第 {found.first_step} 步",
            ),
        )


def _evaluations(say: Tongue, case: Case, out: list[Finding]) -> None:
    outcomes = task_outcomes(case)
    late = [o for o in outcomes if o.first != 0]
    if late:
        names = say.join([md.text(o.task, 60) for o in late])
        _add(
            out,
            "start-not-evaluated",
            "weakness",
            say(
                "The starting checkpoint was not evaluated, so every difference is to a checkpoint that was already trained.",
                "没有评测起始检查点，所以所有差值都是相对于已经训练过的检查点。",
            ),
            say(
                f"{names}: the first evaluation is at step {late[0].first}",
                f"{names}：首次评测在第 {late[0].first} 步",
            ),
        )
    compared = [o for o in outcomes if o.judged is not None]
    for outcome in outcomes:
        name = md.text(outcome.task, 60)
        if at_chance(case, outcome.task):
            _add(
                out,
                "at-chance",
                "weakness",
                say(f"{name} cannot be told from guessing.", f"{name} 与随机猜测无法区分。"),
                say(
                    "one-sided exact binomial p of the last evaluation is .05 or more",
                    "最后一次评测的单侧精确二项检验 p 不小于 .05",
                ),
            )
        share = letter_share(case, outcome.task)
        if share is not None and share[1] > 0.7:
            _add(
                out,
                "letter-collapse",
                "weakness",
                say(
                    f"{name}: the model answers nearly always the same letter.",
                    f"{name}：模型几乎总是回答同一个字母。",
                ),
                f"{md.text(share[0], 4)} {share[1]:.0%}",
            )
    if compared and not any_evidence(case):
        _more_items(say, case, compared[0].task, out, all_of_them=True)
    elif any(o.word == SUGGESTIVE for o in compared):
        _more_items(
            say,
            case,
            next(o.task for o in compared if o.word == SUGGESTIVE),
            out,
            all_of_them=False,
        )
    if late:
        source = case.settings.get("source")
        checkpoint = (
            f"{source}:{case.settings.get('model_tag')}:{case.settings.get('step')}"
            if source
            else "CHECKPOINT"
        )
        typed = md.code(f"sftui eval {checkpoint}")
        _add(
            out,
            "evaluate-start",
            "next",
            say(
                f"Evaluate the starting checkpoint on the same questions ({typed}), then compare item by item.",
                f"用同样的题目评测起始检查点（{typed}），再逐题比较。",
            ),
            say("it is the only fair point of comparison", "它才是公平的比较对象"),
        )


def _more_items(
    say: Tongue, case: Case, task: str, out: list[Finding], *, all_of_them: bool
) -> None:
    found = sharpness(case, task)
    if found is None:
        return
    evidence = say(
        f"with {found.total:,} questions about {found.unpaired:.1f} points are noticed in four runs of five; two points need {found.items_for_two_points:,} questions",
        f"{found.total:,} 道题时，约 {found.unpaired:.1f} 个百分点的变化五次中能发现四次；两个百分点需要 {found.items_for_two_points:,} 道题",
    )
    text = (
        say(
            "Ask more questions, or make a bigger change; more steps of the same will not make these differences readable.",
            "增加题目数量，或做更大的改变；同样的训练再多跑几步，也不会让这些差异变得可读。",
        )
        if all_of_them
        else say(
            "Ask the hint again on more questions, item by item, before it is believed.",
            "在相信这一迹象之前，用更多题目逐题再验证一次。",
        )
    )
    _add(out, "more-items", "next", text, evidence)


def _run(say: Tongue, case: Case, out: list[Finding]) -> None:
    if len(case.tally.attempts) > 1:
        _add(
            out,
            "restarts",
            "weakness",
            say("The ranks were started more than once.", "进程启动了不止一次。"),
            say(
                f"{len(case.tally.attempts)} attempts, {case.tally.done_again:,} updates done again",
                f"{len(case.tally.attempts)} 次启动，重做了 {case.tally.done_again:,} 次更新",
            ),
        )
    slow = slow_rank(case)
    if slow is not None:
        _add(
            out,
            "slow-rank",
            "next",
            say(
                f"Look at the device of rank {slow[0]}: the others wait for it.",
                f"检查 rank {slow[0]} 的设备：其他进程在等它。",
            ),
            say(
                f"{slow[1]:.2f} times as long per token",
                f"每个 token 用时是其他的 {slow[1]:.2f} 倍",
            ),
        )
    spare = _spare_memory(case)
    if spare is not None:
        _add(
            out,
            "larger-batch",
            "next",
            say(
                "A larger device\\_batch\\_size would fit and waste less time.",
                "可以用更大的 device\\_batch\\_size，少浪费时间。",
            ),
            say(f"at most {spare:.0%} of the device was used", f"显存最多只用了 {spare:.0%}"),
        )
    if case.losses[1].size and case.state.loss_name == "loss_micro_last":
        _add(
            out,
            "noisy-loss",
            "weakness",
            say(
                "The logged training loss is one micro-batch of one rank, far noisier than the step's.",
                "日志里的训练损失只是一个进程的一个微批次，噪声远大于整步的损失。",
            ),
            _micro_rows(say, case),
        )


def _micro_rows(say: Tongue, case: Case) -> str:
    rows, step = case.settings.get("device_batch_size"), case.rows_a_step
    if isinstance(rows, int) and step:
        return say(f"{rows} rows of {step}", f"{step} 行中的 {rows} 行")
    return say("nanochat prints it so", "nanochat 就是这样打印的")


def _spare_memory(case: Case) -> float | None:
    """Share of a GPU's memory that the fullest rank used, when it is under a half."""
    shares = [
        rank.peak_bytes / rank.total_bytes
        for rank in case.tally.ranks.values()
        if rank.memory_kind == "cuda" and rank.peak_bytes and rank.total_bytes
    ]
    return max(shares) if shares and max(shares) < 0.5 else None
