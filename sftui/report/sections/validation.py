"""Validation: every validation against the start and the one before."""

from __future__ import annotations

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import (
    best_sentence,
    loss,
    loss_change,
    relative,
)
from sftui.report.shortening import SHOWN, cut_note, shortened
from sftui.report.sources import source_table
from sftui.report.verdicts import validation_outcome
from sftui.statistics.families import PREVIOUS, START


def validation(tr: Language, facts: Facts) -> str | None:
    """Every validation against the start and the one before."""
    outcome = validation_outcome(facts)
    if outcome is None:
        return None
    rows = validation_rows(tr, facts)
    head = validation_head(tr, facts)
    parts = [best_sentence(tr, outcome), md.table(head, shortened(rows), numbers=True)]
    if len(rows) > SHOWN:
        parts.append(cut_note(tr, len(rows)))
    metric = facts.state.validation_list()[0].metric
    if metric == "bpb":
        parts.append(tr("The unit is bits a byte.", "单位是每字节比特数。"))
    if outcome.has_rows:
        parts.append(
            tr(
                "Changes and their standard errors are of the same rows, which were measured every "
                "time. The last one against the first is judged by itself, all others after "
                "correction for all of them; clear is what also exceeds the scatter of checkpoints.",
                "变化及其标准误来自每次都测的同样的行。最后一次相对首次的变化单独判断，其余变化经多重比较校正；"
                "显著还要求超出各检查点自身的波动。",
            )
        )
    elif not outcome.of_other_rows:
        parts.append(
            tr(
                "Losses row by row are not stored: a change is judged by how much the validations "
                "scatter around their own trend, from four of them on.",
                "没有逐行保存损失：从四次验证起，按各次验证围绕自身趋势的波动来判断变化。",
            )
        )
    by_source = source_table(tr, facts)
    if by_source is not None:
        parts.append(by_source)
    own = facts.loss_scatter
    if own is not None and own.beyond > 0:
        parts.append(
            tr(
                f"Around their own trend the validations scatter by {own.deviation:.6f}"
                + (" beyond what their rows explain." if outcome.has_rows else "."),
                f"各次验证围绕自身趋势的波动为 {own.deviation:.6f}"
                + ("（已扣除样本行本身的误差）。" if outcome.has_rows else "。"),
            )
        )
    return "\n\n".join(parts)


def validation_head(tr: Language, facts: Facts) -> list[str]:
    return [
        tr("step", "步"),
        tr("loss", "损失"),
        tr("from the start", "较起点"),
        "%",
        tr("from the one before", "较前一次"),
        "%",
        tr("paired SE", "配对标准误"),
        "",
    ]


def validation_rows(tr: Language, facts: Facts) -> list[tuple[str, ...]]:
    """One row a validation; the marks say best, last, clear."""
    found = facts.state.validation_list()
    outcome = validation_outcome(facts)
    rows = []
    for i, now in enumerate(found):
        cells = [f"{now.step:,}", loss(now.loss)]
        for against in (START, PREVIOUS):
            change = facts.loss_changes.get((now.step, against))
            before = found[0] if against == START else found[i - 1]
            if i == 0:
                cells += ["", ""]
                continue
            # Of thousands the old ones are not judged, and differ all the same.
            moved = change.change if change is not None else now.loss - before.loss
            cells += [
                loss_change(moved, before.loss),
                relative(moved / abs(before.loss)) if before.loss else "-",
            ]
        change_from_start = facts.loss_changes.get((now.step, START))
        error = change_from_start.error if change_from_start is not None else None
        cells.append(f"{error:.6f}" if error is not None else "")
        marks = []
        if i == 0 and now.step == 0:
            marks.append(tr("start", "起点"))
        if outcome is not None and now.step == outcome.best_step:
            marks.append(tr("**best**", "**最好**"))
        if now is found[-1] and len(found) > 1:
            marks.append(tr("last", "最后"))
        if change_from_start is not None and change_from_start.clear:
            marks.append(tr("clear", "显著"))
        elif change_from_start is not None and change_from_start.judged.was_clear:
            marks.append(tr("was clear when newest", "作为最新一次时显著"))
        cells.append(tr.join(marks))
        rows.append(tuple(cells))
    return rows
