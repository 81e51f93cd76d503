"""Picture: the drawn files, each as SVG that leads to its PNG."""

from __future__ import annotations

from sftui.report.language import Language


def picture(tr: Language, names: dict[str, str]) -> str | None:
    """The drawn files, each as SVG that leads to its PNG."""
    words = {
        "loss": tr(
            "Training loss (pale: as logged; line: smoothed) and "
            "validation loss, with marks for alarms, controls and checkpoints",
            "训练损失（浅色：原始记录；线：平滑后）与验证损失，并标出告警、控制和检查点",
        ),
        "accuracy": tr(
            "Accuracy by step with 95 % intervals; dashed: chance",
            "各步准确率及 95 % 区间；虚线：随机水平",
        ),
    }
    parts = [
        f"[![{words[key]}]({name}.svg)]({name}.png)\n\n*{words[key]}{tr('.', '。')}*"
        for key, name in names.items()
    ]
    return "\n\n".join(parts) or None
