"""Data: where the rows came from, and how often they were seen."""

from __future__ import annotations

import statistics

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import (
    percent,
)


def data(tr: Language, facts: Facts) -> str | None:
    """Where the rows came from, and how often they were seen."""
    counts, parts = facts.counts, []
    if facts.mixture:
        total = sum(facts.mixture.values())
        rows = [
            (md.text(name, 60), f"{count:,}", percent(count / total) if total else "-")
            for name, count in facts.mixture.items()
        ]
        rows.append((tr("**one epoch**", "**一个轮次（epoch）**"), f"**{total:,}**", ""))
        head = [tr("source", "来源"), tr("rows", "行数"), tr("share", "占比")]
        parts.append(md.table(head, rows, numbers=True))
        if facts.mixture_is_inferred:
            parts.append(
                tr(
                    "The log does not print the rows. These are nanochat's own of October 2025; the planned iterations fit them and would not fit another number of whole steps.",
                    "日志没有打印行数。这里是 nanochat 2025 年十月自带的数据；计划的迭代次数与之相符，与别的整步数不符。",
                )
            )
    out = []
    if facts.whole_steps_an_epoch is not None:
        out.append(
            tr(
                f"{facts.whole_steps_an_epoch:,} steps an epoch",
                f"每个轮次 {facts.whole_steps_an_epoch:,} 步",
            )
        )
    if facts.epochs_seen is not None:
        asked = (
            tr(f" of {facts.epochs_asked} asked for", f"，设定为 {facts.epochs_asked}")
            if facts.epochs_asked
            else ""
        )
        out.append(
            tr(
                f"epochs really seen: {facts.epochs_seen:.3f}{asked}",
                f"实际遍历的轮次：{facts.epochs_seen:.3f}{asked}",
            )
        )
    tokens, supervised = counts.sums["tokens"], counts.sums["supervised_tokens"]
    if tokens.total:
        out.append(
            tr(
                f"{tokens.total:,.0f} tokens in {tokens.updates:,} updates",
                f"{tokens.updates:,} 次更新共 {tokens.total:,.0f} 个 token",
            )
        )
    if supervised.total:
        share = percent(supervised.total / tokens.total) if tokens.total else None
        out.append(
            tr(
                f"{supervised.total:,.0f} supervised tokens"
                + (f", {share} of all" if share else " (as the log counts them)"),
                f"{supervised.total:,.0f} 个受监督 token"
                + (f"，占全部的 {share}" if share else "（按日志的计数）"),
            )
        )
    used = sorted(set(counts.validation_rows.values()))
    if used:
        words = tr.join([f"{n:,}" for n in used[:3]])
        out.append(
            tr(
                f"validation: {words} rows each time, always the same ones",
                f"验证：每次 {words} 行，始终相同",
            )
        )
    if counts.notes:
        out.append(tr("told of rows: ", "关于样本的提示：") + md.code(counts.notes[-1], 200))
    elif facts.is_ours:
        out.append(
            tr(
                "no row was cut, and none was reported to be without a target",
                "没有样本被截断，也没有报告无目标的样本",
            )
        )
    if out:
        parts.append(md.bullets(out))
    table = _sources(tr, facts)
    if table:
        parts.append(table)
    if not parts:
        return None
    return "\n\n".join(parts)


def _sources(tr: Language, facts: Facts) -> str | None:
    rows = []
    for name, source in facts.counts.sources.items():
        known = [v for v in source.losses if v == v]
        if len(known) < 4:
            continue
        tenth = max(1, len(known) // 10)
        rows.append(
            (
                md.text(name, 60),
                f"{statistics.fmean(known[:tenth]):.4f}",
                f"{statistics.fmean(known[-tenth:]):.4f}",
                f"{len(known):,}",
            )
        )
    if not rows:
        return None
    head = [
        tr("training loss by source", "各来源的训练损失"),
        tr("first tenth", "前十分之一"),
        tr("last tenth", "后十分之一"),
        tr("steps", "步数"),
    ]
    return md.table(head, rows, numbers=True)
