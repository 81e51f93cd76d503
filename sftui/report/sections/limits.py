"""Limits: what this run cannot show, whatever its numbers."""

from __future__ import annotations

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.verdicts import sharpness, task_outcomes


def limits(tr: Language, facts: Facts) -> str:
    """What this run cannot show, whatever its numbers."""
    out = [
        tr(
            "One run with one seed: another order of the same rows may end elsewhere, so nothing here compares recipes (sftui compare A1,A2,A3 B1,B2,B3 does).",
            "只有一次运行、一个随机种子：同样的数据换个顺序，结果可能不同，因此这里不能比较不同的配方（sftui compare A1,A2,A3 B1,B2,B3 可以）。",
        )
    ]
    for outcome in task_outcomes(facts):
        found = sharpness(facts, outcome)
        if found is not None:
            name = md.text(outcome.task, 60)
            how = (
                tr("compared as separate samples", "按独立样本比较")
                if found.flipped is None
                else tr(f"{found.flipped:,} answers flipped", f"{found.flipped:,} 题的对错发生变化")
            )
            out.append(
                tr(
                    f"{name}: true changes under about {found.seen:.1f} points ({how}) usually go unnoticed with {found.total:,} questions.",
                    f"{name}：{found.total:,} 道题时，小于约 {found.seen:.1f} 个百分点的真实变化（{how}）通常看不出来。",
                )
            )
        if outcome.judged is not None and facts.scores.scatter.get(outcome.task) is None:
            few = len(facts.evaluated_steps(outcome.task))
            out.append(
                tr(
                    f"{md.text(outcome.task, 60)}: with {few} evaluations it is not known how much checkpoints of this run scatter; a clear difference is one of these two checkpoints.",
                    f"{md.text(outcome.task, 60)}：只有 {few} 次评测，无法得知本次运行各检查点之间的波动；显著的差值只说明这两个检查点不同。",
                )
            )
    if facts.tasks:
        out.append(
            tr(
                "The questions are a sample; nothing is said of abilities that they do not ask for.",
                "题目只是样本；题目没有涉及的能力，这里无从判断。",
            )
        )
    if not facts.is_ours:
        out.append(
            tr(
                "The log is another program's: what it did not print is not known, and its numbers were taken as printed.",
                "日志来自别的程序：没有打印的内容无从得知，数字按打印值采用。",
            )
        )
    if facts.state.loss_name == "loss_micro_last":
        out.append(tr("The true step loss was not logged.", "真正的整步损失没有记录。"))
    if facts.status in ("running", "paused"):
        out.append(
            tr(
                "The run goes on; write this report again when it has ended.",
                "运行还在继续；结束后请重新生成本报告。",
            )
        )
    return md.bullets(out)
