"""Devices that wait for each other or are half empty."""

from __future__ import annotations

from collections.abc import Iterator

from sftui.report.finding_rules.finding import Finding, next_step
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.verdicts import slow_rank


def waited_for(tr: Language, facts: Facts) -> Iterator[Finding]:
    """One rank holds the others up."""
    slow = slow_rank(facts)
    if slow is not None:
        yield next_step(
            "slow-rank",
            tr(
                f"Look at the device of rank {slow[0]}: the others wait for it.",
                f"检查 rank {slow[0]} 的设备：其他进程在等它。",
            ),
            tr(
                f"{slow[1]:.2f} times as long per token",
                f"每个 token 用时是其他的 {slow[1]:.2f} 倍",
            ),
        )


def larger_batch(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The devices are half empty."""
    spare = _spare_memory(facts)
    if spare is not None:
        yield next_step(
            "larger-batch",
            tr(
                "A larger device\\_batch\\_size would fit and waste less time.",
                "可以调大 device\\_batch\\_size，减少时间浪费。",
            ),
            tr(f"at most {spare:.0%} of the device was used", f"显存峰值只有 {spare:.0%}"),
        )


def _spare_memory(facts: Facts) -> float | None:
    """Share of a GPU's memory that the fullest rank used, when it is under a half."""
    shares = [
        rank.peak_bytes / rank.total_bytes
        for rank in facts.counts.ranks.values()
        if rank.memory_kind == "cuda" and rank.peak_bytes and rank.total_bytes
    ]
    return max(shares) if shares and max(shares) < 0.5 else None
