"""The sections of a report in their order: the name of each one's module, and its headings."""

from __future__ import annotations

HEADINGS: dict[str, tuple[str, str]] = {
    "verdict": ("Verdict", "结论"),
    "picture": ("Picture", "图"),
    "run_card": ("Run card", "运行概况"),
    "model": ("Model", "模型"),
    "settings": ("Settings", "设置"),
    "distributed": ("Distributed", "分布式"),
    "memory": ("Memory", "内存与显存"),
    "data": ("Data", "数据"),
    "validation": ("Validation", "验证"),
    "training_loss": ("Training loss", "训练损失"),
    "evaluations": ("Evaluations", "评测"),
    "completion": ("Completion", "完成情况"),
    "samples": ("Samples", "生成样例"),
    "alarms_and_controls": ("Alarms and controls", "告警与控制"),
    "baseline": ("Baseline", "基线"),
    "findings": ("Findings", "发现"),
    "limits": ("Limits", "局限"),
}
"""Module in `sections` -> English and Chinese heading."""


def number(section: str) -> int:
    """The number a reader sees before the heading, counted from 1."""
    return list(HEADINGS).index(section) + 1
