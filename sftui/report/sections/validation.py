"""Validation: every validation against the start and the one before."""

from __future__ import annotations

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import (
    best_sentence,
    loss,
    points,
    relative,
)
from sftui.report.shortening import SHOWN, cut_note, shortened
from sftui.report.sources import source_table
from sftui.report.verdicts import (
    validation_outcome,
)
from sftui.statistics.loss_statistics import wobble


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
                "Standard errors are paired: the same rows were measured every time. "
                "A change is called clear only after correction for all that are shown.",
                "标准误为配对计算：每次测的都是同样的行。只有对所有显示的变化校正后仍成立，才称为明确。",
            )
        )
    else:
        parts.append(
            tr(
                "Losses row by row are not stored, so no standard error can be given.",
                "没有逐行保存损失，因此无法给出标准误。",
            )
        )
    by_source = source_table(tr, facts)
    if by_source is not None:
        parts.append(by_source)
    scatter = wobble([value for _, value in facts.finite_validations()])
    if scatter is not None:
        parts.append(
            tr(
                f"Around their own trend the validations scatter by {scatter:.6f}.",
                f"各次验证围绕自身趋势的波动为 {scatter:.6f}。",
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
        for before in (found[0], found[i - 1] if i else None):
            if i == 0 or before is None:
                cells += ["", ""]
            else:
                change = now.loss - before.loss
                cells += [
                    points(change, 6),
                    relative(change / abs(before.loss)) if before.loss else "-",
                ]
        change_from_start = facts.loss_changes.get((now.step, "start"))
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
            marks.append(tr("clear", "明确"))
        cells.append(tr.join(marks))
        rows.append(tuple(cells))
    return rows
