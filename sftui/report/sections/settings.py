"""Settings: every setting, what it came to, what it means; schedule and optimizers."""

from __future__ import annotations

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.meanings import CHINESE, OTHERS
from sftui.report.report_facts import Facts
from sftui.text import format as fmt
from sftui.view.run_facts import meanings


def settings(tr: Language, facts: Facts) -> str | None:
    """Every setting, what it came to, what it means; schedule and optimizers."""
    if not facts.settings:
        return None
    english = meanings()
    rows = []
    for name, value in facts.settings.items():
        used = facts.setting_as_used(name)
        shown = ""
        if used is not None:
            shown = fmt.rate(used) if isinstance(used, float) else md.text(str(used), 60)
        if facts.is_ours or facts.is_nanochat:
            meaning = tr(english.get(name, ""), CHINESE.get(name, ""))
        else:
            meaning = tr(*OTHERS.get(name, ("", "")))
        asked = _value(tr, value)
        rows.append(
            (
                f"`{md.text(name, 60)}`",
                asked,
                "" if shown == asked else shown,
                meaning.replace("*", "\\*"),
            )
        )
    head = [
        tr("setting", "设置"),
        tr("value", "值"),
        tr("came to", "实际"),
        tr("meaning", "含义"),
    ]
    parts = [md.table(head, rows)]
    if not facts.is_ours:
        parts.append(
            "*"
            + tr(
                "Only settings that the log prints; what the others were is not known.",
                "仅列出日志打印的设置；其余设置无从得知。",
            )
            + "*"
        )
    parts.append(md.bullets(_schedule(tr, facts)))
    return "\n\n".join(part for part in parts if part)


def _value(tr: Language, value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return tr("yes", "是") if value else tr("no", "否")
    if isinstance(value, float):
        return fmt.rate(value)
    return md.code(str(value), 200)


def _schedule(tr: Language, facts: Facts) -> list[str]:
    out = []
    if facts.linear_to_zero:
        out.append(
            tr(
                "Schedule: linear to zero, no warm-up (checked against every logged rate).",
                "学习率计划：线性降到零，没有预热（已与日志中每个学习率核对）。",
            )
        )
    elif facts.linear_to_zero is False:
        out.append(
            tr(
                "Schedule: not a plain line to zero (the logged rates do not lie on one).",
                "学习率计划：不是单纯的线性降到零（日志中的学习率不在一条直线上）。",
            )
        )
    if facts.era == "2025" and (facts.is_ours or facts.stage_name == "chat_sft"):
        decay = facts.settings.get("weight_decay", 0.0)
        out.append(
            tr(
                f"Optimizers: Muon for the matrices of the blocks (no weight decay); AdamW for embedding and head (weight decay {fmt.rate(float(decay)) if isinstance(decay, int | float) else '-'}).",
                f"优化器：各层矩阵用 Muon（无权重衰减）；词嵌入和输出头用 AdamW（权重衰减 {fmt.rate(float(decay)) if isinstance(decay, int | float) else '-'}）。",
            )
        )
        if facts.width_scale is not None:
            out.append(
                tr(
                    f"Width scale 1/sqrt(width/768) = {facts.width_scale:.6f}, on the rates of embedding and head only.",
                    f"宽度系数 1/sqrt(宽度/768) = {facts.width_scale:.6f}，只乘在词嵌入和输出头的学习率上。",
                )
            )
    return out
