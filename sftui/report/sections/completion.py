"""Completion: planned and done; nanochat's last iteration makes no update."""

from __future__ import annotations

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts


def completion(tr: Language, facts: Facts) -> str | None:
    """Planned and done; nanochat's last iteration makes no update."""
    run, state = facts.run, facts.state
    if run is None or not (state.done or run.num_iterations):
        return None
    items = [tr(f"status: {tr.status(facts.status)}", f"状态：{tr.status(facts.status)}")]
    if run.num_iterations and (facts.is_ours or facts.is_nanochat):
        items.append(
            tr(
                f"{run.num_iterations:,} iterations planned, {state.done:,} updates done",
                f"计划 {run.num_iterations:,} 次迭代，完成 {state.done:,} 次更新",
            )
        )
        if facts.complete and state.planned != run.num_iterations:
            counted = ("training lines", "行训练记录")
            if len(state.steps) != state.done:
                counted = ("updates", "次更新")
            items.append(
                tr(
                    f"the last iteration only evaluates and makes no update, so {state.done:,} {counted[0]} are a finished run of {run.num_iterations:,} iterations",
                    f"最后一次迭代只评测、不更新，所以 {state.done:,} {counted[1]}就是完整的 {run.num_iterations:,} 次迭代",
                )
            )
    else:
        planned = (
            tr(f" of {run.num_iterations:,} planned", f"，计划 {run.num_iterations:,} 步")
            if run.num_iterations
            else ""
        )
        items.append(
            tr(
                f"the last step in the log is {state.done:,}{planned}",
                f"日志中最后一步是第 {state.done:,} 步{planned}",
            )
        )
    if facts.epochs_seen is not None:
        items.append(
            tr(
                f"{facts.epochs_seen:.3f} epochs seen",
                f"遍历 {facts.epochs_seen:.3f} 个轮次（epoch）",
            )
        )
    logged = len(state.steps)
    if logged != state.done and logged:
        items.append(
            tr(f"{logged:,} updates have a line in the log", f"日志中有记录的更新为 {logged:,} 次")
        )
    if facts.seconds is not None:
        items.append(tr(f"in {tr.span(facts.seconds)}", f"用时 {tr.span(facts.seconds)}"))
    return md.bullets(items)
