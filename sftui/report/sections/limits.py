"""Limits: what this run cannot show, whatever its numbers."""

from __future__ import annotations

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.verdicts import (
    sharpness,
)


def limits(tr: Language, facts: Facts) -> str:
    """What this run cannot show, whatever its numbers."""
    out = [
        tr(
            "One run with one seed: another order of the same rows may end elsewhere.",
            "只有一次运行、一个随机种子：同样的数据换个顺序，结果可能不同。",
        )
    ]
    for task in facts.tasks:
        found = sharpness(facts, task)
        if found is not None:
            name = md.text(task, 60)
            out.append(
                tr(
                    f"{name}: true changes under about {found.unpaired:.1f} points (unpaired; about {found.paired:.1f} if compared item by item) usually go unnoticed with {found.total:,} questions.",
                    f"{name}：{found.total:,} 道题时，小于约 {found.unpaired:.1f} 个百分点的真实变化通常看不出来（非配对；逐题比较约为 {found.paired:.1f}）。",
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
