"""Appendix: full tables where the body cut them, the formulas, and what reproduces all this."""

from __future__ import annotations

import shlex

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sections.evaluations import evaluation_head, evaluation_rows
from sftui.report.sections.validation import validation_head, validation_rows
from sftui.report.shortening import SHOWN


def appendix(tr: Language, facts: Facts) -> str:
    """Full tables where the body cut them, the formulas, and what reproduces all this."""
    parts = []
    rows = validation_rows(tr, facts)
    if len(rows) > SHOWN:
        parts.append(
            "### "
            + tr("All validations", "全部验证")
            + "\n\n"
            + md.table(validation_head(tr, facts), rows, numbers=True)
        )
    for task in facts.tasks:
        own = evaluation_rows(tr, facts, task)
        if len(own) > SHOWN:
            parts.append(
                f"### {md.text(task, 60)}\n\n" + md.table(evaluation_head(tr), own, numbers=True)
            )
    if facts.state.checkpoints:
        kept = [
            (
                f"{row.step:,}",
                md.code(row.path or "", 200),
                f"{row.size_bytes:,}" if row.size_bytes is not None else "-",
                tr("deleted", "已删除") if row.removed else tr.reason(md.text(row.reason, 20)),
            )
            for row in sorted(facts.state.checkpoints.values(), key=lambda row: row.step)
        ]
        head = [tr("step", "步"), tr("path", "路径"), tr("bytes", "字节"), tr("why", "原因")]
        parts.append("### " + tr("Checkpoints", "检查点") + "\n\n" + md.table(head, kept[-200:]))
    parts.append("### " + tr("Formulas", "公式") + "\n\n" + md.bullets(_formulas(tr, facts)))
    commands = []
    command = facts.manifest.get("command")
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        commands.append(shlex.join(command))
    commands.append(facts.command)
    title = tr("The run and this report again", "复现运行与本报告")
    note = (
        ""
        if len(commands) > 1
        else "\n\n*"
        + tr("The command of the run is not in the log.", "日志中没有运行的命令。")
        + "*"
    )
    parts.append(f"### {title}\n\n{md.block(commands)}{note}")
    return "\n\n".join(parts)


def _formulas(tr: Language, facts: Facts) -> list[str]:
    return [
        tr(
            "interval of one accuracy: Wilson, 95 %",
            "单个准确率的区间：Wilson，95 %",
        ),
        tr(
            "two accuracies on the same questions: exact McNemar test on the gained and lost ones; interval of Bonett and Price (2012)",
            "同样题目上的两个准确率：对由错变对与由对变错的题做精确 McNemar 检验；区间用 Bonett 与 Price（2012）",
        ),
        tr(
            "two accuracies otherwise: pooled z test; Newcombe's interval (method 10)",
            "其他情况下的两个准确率：合并方差的 z 检验；Newcombe 区间（方法 10）",
        ),
        tr(
            "verdict: `no evidence` for p of .05 or more; `suggestive` for p under .05 that Holm's correction or the scatter of the run's checkpoints does not leave; `clear` when both do. The last evaluation against the first is corrected for the tasks alone, with ties counted half (mid-p); all other differences for all of them, which together may be wrong in 1 % of runs",
            "结论：p 不小于 0.05 为“证据不足”；p 小于 0.05 但经 Holm 校正或考虑各检查点自身的波动后不成立，为“仅有迹象”；两者都通过为“显著”。最后一次相对首次的差值只按任务数校正（mid-p），其余差值对全部比较校正，合计误判率不超过 1 %",
        ),
        tr(
            "questions of at least 10 subjects: the larger of the plain standard error and that of subjects whose questions move together (sandwich, t with subjects - 1)",
            "题目来自至少 10 个学科时：取普通标准误与按学科聚类的标准误（三明治估计，t 自由度为学科数 - 1）中较大者",
        ),
        tr(
            "probability of the right letter: mean of the differences item by item, paired t test",
            "正确字母的概率：逐题差值的均值，配对 t 检验",
        ),
        tr(
            "validation: row-wise differences d weighted as in the printed loss, standard error sd(d)/sqrt(rows) for equal weights; without rows: t x sqrt(2) x scatter",
            "验证：逐行差值 d，按打印损失的权重加权；等权时标准误为 sd(d)/sqrt(行数)；没有逐行损失时为 t x sqrt(2) x 波动",
        ),
        tr(
            "scatter of checkpoints: variance of third differences / 20, less what the questions or rows explain; t with the degrees of freedom of overlapping differences",
            "检查点的波动：三阶差分的方差 / 20，减去题目或样本行能解释的部分；t 检验的自由度按重叠差分计算",
        ),
        *([_parameters(tr)] if facts.weight_counts is not None and facts.era == "2025" else []),
    ]


def _parameters(tr: Language) -> str:
    return tr(
        "parameters: 2 x vocabulary x width + layers x (2 x width^2 + 2 x width x KV width + 8 x width^2)",
        "参数量：2 x 词表 x 宽度 + 层数 x (2 x 宽度^2 + 2 x 宽度 x KV 宽度 + 8 x 宽度^2)",
    )
