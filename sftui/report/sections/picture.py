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
    words = {
        "loss": tr(
            "Training loss (pale: as logged; line: smoothed) and "
            "validation loss, with marks for alarms, controls and checkpoints",
            "训练损失（浅色：原始记录；线：平滑后）与验证损失，并标出告警、控制和检查点",
        ),
        "accuracy": accuracy,
    }
    parts = [
        f"[![{words[key]}]({name}.svg)]({name}.png)\n\n*{words[key]}{tr('.', '。')}*"
        for key, name in names.items()
    ]
    return "\n\n".join(parts) or None
