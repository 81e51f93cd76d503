"""Picture: the drawn files, each as SVG that leads to its PNG."""

from __future__ import annotations

from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.verdicts import chance_of


def picture(tr: Language, facts: Facts, names: dict[str, str]) -> str | None:
    """The drawn files, each as SVG that leads to its PNG."""
    counted = any(
        result.correct is not None and result.total
        for results in facts.state.evals.values()
        for result in results.values()
    )
    known = any(chance_of(facts, task) is not None for task in facts.tasks)
    accuracy = tr("Accuracy by step", "各步准确率")
    if counted:
        accuracy += tr(" with 95 % intervals", "及 95 % 区间")
    if known:
        accuracy += tr("; dashed: chance", "；虚线：随机水平")
    words = {"loss": _loss_words(tr, facts), "accuracy": accuracy}
    parts = [
        f"[![{words[key]}]({name}.svg)]({name}.png)\n\n*{words[key]}{tr('.', '。')}*"
        for key, name in names.items()
    ]
    return "\n\n".join(parts) or None


def _loss_words(tr: Language, facts: Facts) -> str:
    """What the loss picture shows: only what this run has."""
    curves, marks = [], []
    if len(facts.losses[0]) >= 2:
        curves.append(
            tr(
                "training loss (pale: as logged; line: smoothed)",
                "训练损失（浅色：原始记录；线：平滑后）",
            )
        )
    if facts.finite_validations():
        curves.append(tr("validation loss", "验证损失"))
    if facts.counts.alarms:
        marks.append(tr("alarms", "告警"))
    if any(c.outcome == "applied" for c in facts.state.controls):
        marks.append(tr("controls", "控制"))
    if facts.state.checkpoints:
        marks.append(tr("checkpoints", "检查点"))
    words = tr.join(curves)
    words = words[:1].upper() + words[1:]
    return words + (tr(", with marks for ", "，并标出") + tr.join(marks) if marks else "")
