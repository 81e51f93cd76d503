"""Sections 16 and 17, and the appendix: findings, limits, tables, formulas, commands."""

from __future__ import annotations

import shlex

from sftui.report import markdown as md
from sftui.report.findings import Finding
from sftui.report.language import Tongue
from sftui.report.numbers import (
    SHOWN,
    evaluation_head,
    evaluation_rows,
    validation_head,
    validation_rows,
)
from sftui.report.report_facts import Case
from sftui.report.verdicts import sharpness


def findings(say: Tongue, found: list[Finding]) -> str:
    """What the rules found, each with its evidence."""
    parts = []
    for kind, title in (
        ("strength", say("Strengths", "优点")),
        ("weakness", say("Weaknesses", "不足")),
        ("next", say("Next steps", "下一步")),
    ):
        own = [f for f in found if f.kind == kind]
        lines = [
            f.text + say(f" Evidence: {f.evidence}.", f"依据：{f.evidence}。") for f in own
        ] or [say("No rule applies.", "没有适用的规则。")]
        parts.append(f"### {title}\n\n{md.bullets(lines)}")
    return "\n\n".join(parts)


def limits(say: Tongue, case: Case) -> str:
    """What this run cannot show, whatever its numbers."""
    out = [
        say(
            "One run with one seed: another order of the same rows may end elsewhere.",
            "只有一次运行、一个随机种子：同样的数据换个顺序，结果可能不同。",
        )
    ]
    for task in case.tasks:
        found = sharpness(case, task)
        if found is not None:
            name = md.text(task, 60)
            out.append(
                say(
                    f"{name}: true changes under about {found.unpaired:.1f} points (unpaired; about {found.paired:.1f} if compared item by item) usually go unnoticed with {found.total:,} questions.",
                    f"{name}：{found.total:,} 道题时，小于约 {found.unpaired:.1f} 个百分点的真实变化通常看不出来（非配对；逐题比较约为 {found.paired:.1f}）。",
                )
            )
    if case.tasks:
        out.append(
            say(
                "The questions are a sample; nothing is said of abilities that they do not ask for.",
                "题目只是样本；没有问到的能力，这里什么也说明不了。",
            )
        )
    if not case.is_ours:
        out.append(
            say(
                "The log is another program's: what it did not print is not known, and its numbers were taken as printed.",
                "日志来自别的程序：没有打印的无从得知，数字按打印的采用。",
            )
        )
    if case.state.loss_name == "loss_micro_last":
        out.append(say("The true step loss was not logged.", "真正的整步损失没有记录。"))
    if case.status in ("running", "paused"):
        out.append(
            say(
                "The run goes on; write this report again when it has ended.",
                "运行还在继续；结束后请重新生成本报告。",
            )
        )
    return md.bullets(out)


def appendix(say: Tongue, case: Case) -> str:
    """Full tables where the body cut them, the formulas, and what reproduces all this."""
    parts = []
    rows = validation_rows(say, case)
    if len(rows) > SHOWN:
        parts.append(
            "### "
            + say("All validations", "全部验证")
            + "\n\n"
            + md.table(validation_head(say, case), rows, numbers=True)
        )
    for task in case.tasks:
        own = evaluation_rows(say, case, task)
        if len(own) > SHOWN:
            parts.append(
                f"### {md.text(task, 60)}\n\n" + md.table(evaluation_head(say), own, numbers=True)
            )
    if case.state.checkpoints:
        kept = [
            (
                f"{row.step:,}",
                md.code(row.path or "", 200),
                f"{row.size_bytes:,}" if row.size_bytes is not None else "-",
                say("deleted", "已删除") if row.removed else md.text(row.reason, 20),
            )
            for row in sorted(case.state.checkpoints.values(), key=lambda row: row.step)
        ]
        head = [say("step", "步"), say("path", "路径"), say("bytes", "字节"), say("why", "原因")]
        parts.append("### " + say("Checkpoints", "检查点") + "\n\n" + md.table(head, kept[-200:]))
    parts.append("### " + say("Formulas", "公式") + "\n\n" + md.bullets(_formulas(say)))
    commands = []
    command = case.manifest.get("command")
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        commands.append(shlex.join(command))
    commands.append(case.command)
    title = say("The run and this report again", "重现运行与本报告")
    note = (
        ""
        if len(commands) > 1
        else "\n\n*"
        + say("The command of the run is not in the log.", "日志中没有运行的命令。")
        + "*"
    )
    parts.append(f"### {title}\n\n{md.block(commands)}{note}")
    return "\n\n".join(parts)


def _formulas(say: Tongue) -> list[str]:
    return [
        say(
            "interval of one accuracy: Wilson, 95 %",
            "单个准确率的区间：Wilson，95 %",
        ),
        say(
            "two accuracies on the same questions: exact McNemar test on the gained and lost ones; interval of Bonett and Price (2012)",
            "同样题目上的两个准确率：对新答对与新答错的题做精确 McNemar 检验；区间用 Bonett 与 Price（2012）",
        ),
        say(
            "two accuracies otherwise: pooled z test; Newcombe's interval (method 10); conservative when the questions were the same",
            "其他情况下的两个准确率：合并方差的 z 检验；Newcombe 区间（方法 10）；题目相同时偏保守",
        ),
        say(
            "verdict: `no evidence` for p of .05 or more; `suggestive` for p under .05 that Holm's correction over all comparisons shown does not leave; `clear` when it does, or at an e-value of 20",
            "结论：p 不小于 .05 为“没有证据”；p 小于 .05 但对所有显示的比较做 Holm 校正后不成立，为“仅有迹象”；校正后成立，或 e 值达到 20，为“明确”",
        ),
        say(
            "validation: row-wise differences d, standard error sd(d)/sqrt(rows)",
            "验证：逐行差值 d，标准误 sd(d)/sqrt(行数)",
        ),
        say(
            "scatter of a series around its own trend: 1.4826 x median of absolute second differences / sqrt(6)",
            "序列围绕自身趋势的波动：1.4826 x 二阶差分绝对值的中位数 / sqrt(6)",
        ),
        say(
            "parameters: 2 x vocabulary x width + layers x (2 x width^2 + 2 x width x KV width + 8 x width^2)",
            "参数量：2 x 词表 x 宽度 + 层数 x (2 x 宽度^2 + 2 x 宽度 x KV 宽度 + 8 x 宽度^2)",
        ),
    ]
