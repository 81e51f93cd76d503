"""Findings: what the rules found, each with its evidence."""

from __future__ import annotations

from sftui.report import markdown as md
from sftui.report.finding_rules import Finding
from sftui.report.language import Language


def findings(tr: Language, found: list[Finding]) -> str:
    """What the rules found, each with its evidence."""
    parts = []
    for kind, title in (
        ("strength", tr("Strengths", "优点")),
        ("weakness", tr("Weaknesses", "不足")),
        ("next", tr("Next steps", "下一步")),
    ):
        own = [f for f in found if f.kind == kind]
        lines = [
            f.text + tr(f" Evidence: {f.evidence}.", f"依据：{f.evidence}。") for f in own
        ] or [tr("No rule applies.", "没有适用的规则。")]
        parts.append(f"### {title}\n\n{md.bullets(lines)}")
    return "\n\n".join(parts)
