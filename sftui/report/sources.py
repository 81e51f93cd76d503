"""Validation losses by source in a report: which kinds of rows moved between two validations."""

from __future__ import annotations

from engine.alarms.source_moves import SourceMoves, source_moves
from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import relative


def moves_between(facts: Facts, before: int, now: int) -> SourceMoves:
    """Sources that rose and fell from the validation of one step to that of another."""
    found = facts.state.validations
    if before not in found or now not in found:
        return source_moves({}, {})
    return source_moves(found[before].loss_by_source, found[now].loss_by_source)


def source_table(tr: Language, facts: Facts) -> str | None:
    """Each source at the first, the best and the last validation; None with one source."""
    known = [v for v in facts.state.validation_list() if v.loss_by_source]
    if len(known) < 2:
        return None
    first, last = known[0], known[-1]
    best = min(known, key=lambda v: v.loss)
    rows = []
    for name in first.loss_by_source:
        cells = [v.loss_by_source.get(name) for v in (first, best, last)]
        if None in cells:
            continue
        start, lowest, end = (value for value in cells if value is not None)
        since = relative((end - lowest) / abs(lowest)) if lowest else "-"
        over = relative((end - start) / abs(start)) if start else "-"
        rows.append((md.text(name, 60), *(f"{v:.4f}" for v in (start, lowest, end)), over, since))
    if not rows:
        return None
    head = [
        tr("source", "来源"),
        tr(f"first (step {first.step:,})", f"首次（第 {first.step:,} 步）"),
        tr(f"best (step {best.step:,})", f"最好（第 {best.step:,} 步）"),
        tr(f"last (step {last.step:,})", f"最后（第 {last.step:,} 步）"),
        tr("first to last", "首次到最后"),
        tr("best to last", "最好到最后"),
    ]
    note = tr(
        "By source of rows, mean over its supervised tokens. A rise on every source is "
        "over-fitting; a rise on some and a fall on others is a shift of the mixture.",
        "按来源统计，为该来源受监督 token 的平均损失。全部来源都上升是过拟合；有升有降则是数据配比偏移。",
    )
    return md.table(head, rows, numbers=True) + "\n\n" + note
