"""Verdict: the five lines that sum the report up."""

from __future__ import annotations

from sftui.report import headings
from sftui.report import markdown as md
from sftui.report.finding_rules import Finding
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import (
    better_line,
    keep_line,
    validation_line,
)


def verdict(tr: Language, facts: Facts, found: list[Finding]) -> str:
    """Better or not, validation, what was abnormal, which checkpoint to keep, what next."""
    return md.numbered(
        [
            better_line(tr, facts),
            validation_line(tr, facts),
            _abnormal(tr, facts),
            keep_line(tr, facts),
            _next(tr, found),
        ]
    )


_HOW = {
    "failed": "the run failed",
    "interrupted": "the run was interrupted",
    "stopped": "the run was stopped",
    "paused": "the run is paused",
}


def _abnormal(tr: Language, facts: Facts) -> str:
    head = tr("**Anything abnormal?** ", "**有无异常？** ")
    parts = []
    if facts.status == "running":
        parts.append(
            tr(
                "the run has not ended; all that follows is its state now",
                "运行尚未结束，以下只是当前状态",
            )
        )
    elif facts.status in ("failed", "interrupted", "stopped", "paused"):
        reason = f": {md.code(facts.state.reason, 200)}" if facts.state.reason else ""
        parts.append(
            tr(f"{_HOW[facts.status]}{reason}", f"运行状态为{tr.status(facts.status)}{reason}")
        )
    elif facts.status == "unknown":
        parts.append(tr("the log does not say how the run ended", "日志没有说明运行如何结束"))
    errors = sorted({alarm.raised.kind for alarm in facts.counts.alarms})
    if errors:
        names = tr.join([md.code(kind, 60) for kind in errors])
        section = headings.number("alarms_and_controls")
        over = all(alarm.cleared is not None for alarm in facts.counts.alarms)
        parts.append(
            tr(
                f"alarms{', all over by the end' if over else ''}: {names} (section {section})",
                f"告警{'（结束前均已解除）' if over else ''}：{names}（见第 {section} 节）",
            )
        )
    if len(facts.counts.attempts) > 1:
        parts.append(
            tr(f"{len(facts.counts.attempts)} attempts", f"启动了 {len(facts.counts.attempts)} 次")
        )
    if facts.counts.lost_ranks:
        parts.append(
            tr(
                f"{len(facts.counts.lost_ranks)} ranks lost",
                f"丢失了 {len(facts.counts.lost_ranks)} 个进程",
            )
        )
    if facts.state.nonfinite:
        parts.append(
            tr(
                f"{facts.state.nonfinite} updates without a finite loss",
                f"{facts.state.nonfinite} 次更新的损失不是有限数",
            )
        )
    if facts.state.dropped:
        parts.append(
            tr(
                f"{facts.state.dropped:,} events were dropped",
                f"丢弃了 {facts.state.dropped:,} 个事件",
            )
        )
    if not parts:
        return head + tr("Nothing that was recorded.", "未记录到异常。")
    text = tr("; ", "；").join(parts)
    return head + text[0].upper() + text[1:] + tr(".", "。")


def _next(tr: Language, found: list[Finding]) -> str:
    steps = [f for f in found if f.kind == "next"][:3]
    head = tr("**What next?** ", "**下一步？** ")
    if not steps:
        return head + tr("No rule has anything to propose.", "暂无建议。")
    return head + tr.sentences(
        [f.text.rstrip("。.") + tr(f" ({f.evidence}).", f"（{f.evidence}）。") for f in steps]
    )
