"""Whether the run did what it had planned, and what went wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator

from sftui.report import markdown as md
from sftui.report.finding_rules.finding import Finding, next_step, strength, weakness
from sftui.report.language import Language
from sftui.report.report_facts import Facts


def end_of_the_run(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Whether it did what it had planned."""
    state = facts.state
    if facts.complete and facts.status == "finished":
        yield strength(
            "complete",
            tr("The run did all it had planned.", "运行按计划全部完成。"),
            tr(
                f"{state.done:,} of {state.planned:,} updates",
                f"{state.done:,} / {state.planned:,} 次更新",
            )
            if state.done == state.planned
            else tr(
                f"it says that it finished; its last line is of step {state.done:,} of {state.planned:,}",
                f"日志写明已完成；最后一行是第 {state.done:,} 步，计划 {state.planned:,} 步",
            ),
        )
    elif facts.status in ("failed", "interrupted"):
        yield weakness(
            "incomplete",
            tr("The run did not reach its end.", "运行没有跑完。"),
            tr(
                f"status {facts.status}, {state.done:,} updates",
                f"状态：{tr.status(facts.status)}，{state.done:,} 次更新",
            ),
        )
        if facts.status == "failed" and facts.state.reason:
            yield next_step(
                "mend-the-failure",
                tr("First mend what ended it.", "先解决导致失败的原因。"),
                md.code(facts.state.reason, 200),
            )
        if facts.is_ours:
            yield next_step(
                "take-up-again",
                tr(
                    f"Take it up again: {md.code(f'sftui run --resume {facts.shot.title}')}.",
                    f"继续运行：{md.code(f'sftui run --resume {facts.shot.title}')}。",
                ),
                tr("its checkpoints are kept", "检查点仍在"),
            )


def nonfinite(tr: Language, facts: Facts) -> Iterator[Finding]:
    """Updates without a loss or gradient that is a number."""
    state = facts.state
    if state.nonfinite:
        yield weakness(
            "nonfinite",
            tr(
                "Some updates had a loss or gradient that is no number.",
                "有些更新的损失或梯度不是有限数（NaN 或 inf）。",
            ),
            tr(f"{state.nonfinite:,} updates", f"{state.nonfinite:,} 次更新"),
        )
    spans = [span for span in facts.counts.alarms if span.raised.kind == "nonfinite"]
    if spans and spans[-1].cleared is None:
        step = spans[-1].raised.step
        yield next_step(
            "after-nonfinite",
            tr(
                f"Start again from weights before step {step}, at a lower rate or in a wider number "
                "format; look at the rows of that step first.",
                f"先检查第 {step} 步的样本，再从该步之前的权重重新开始，并降低学习率或改用精度更高的数值格式。",
            ),
            tr("no finite loss came after it", "此后损失不再是有限数"),
        )


def out_of_memory(tr: Language, facts: Facts) -> Iterator[Finding]:
    """What a rank printed when memory ran out."""
    if facts.counts.out_of_memory:
        yield weakness(
            "out-of-memory",
            tr("Memory ran out.", "内存或显存用尽。"),
            md.code(facts.counts.out_of_memory[0], 200),
        )


def restarts(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The ranks were started again."""
    if len(facts.counts.attempts) > 1:
        yield weakness(
            "restarts",
            tr("The ranks were started more than once.", "进程启动了不止一次。"),
            tr(
                f"{len(facts.counts.attempts)} attempts, {facts.counts.done_again:,} updates done again",
                f"{len(facts.counts.attempts)} 次启动，重做了 {facts.counts.done_again:,} 次更新",
            ),
        )
