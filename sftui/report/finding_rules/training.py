"""What the training loss and the movement of the weights say of the learning rate."""

from __future__ import annotations

from collections.abc import Iterator

from sftui.report import markdown as md
from sftui.report.alarm_words import seen
from sftui.report.finding_rules.finding import Finding, next_step, weakness
from sftui.report.finding_rules.learning_rate import raise_rate
from sftui.report.language import Language
from sftui.report.rates import HARDLY_MOVED, divergence, loss_ends, weights_moved
from sftui.report.report_facts import Facts
from sftui.report.verdicts import validation_outcome
from sftui.state.weight_change import share
from sftui.statistics.block_trend import BLOCK


def diverged(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The training loss rose and did not come back; one that came back needs no advice."""
    if divergence(facts) != "held":
        return
    span = next(
        s for s in facts.counts.alarms if s.raised.kind == "diverging" and s.cleared is None
    )
    step = f"{span.raised.step:,}" if span.raised.step is not None else "?"
    yield weakness(
        "diverged",
        tr("The training loss rose and stayed up.", "训练损失升高后没有回落。"),
        tr(
            f"step {step}: {md.text(seen(tr, span.raised.text), 300)}",
            f"第 {step} 步：{md.text(seen(tr, span.raised.text), 300)}",
        ),
    )
    yield next_step(
        "halve-rate",
        tr(
            f"Train again at half the rate, or resume from a checkpoint before step {step}.",
            f"把学习率减半重新训练，或从第 {step} 步之前的检查点继续。",
        ),
        tr("the loss never came back", "损失一直没有回落"),
    )


def rate_too_low(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The weights hardly moved, and the losses with them."""
    moved, ends, found = weights_moved(facts), loss_ends(facts), validation_outcome(facts)
    if moved is None or moved > HARDLY_MOVED:
        return
    still = ends is None or not ends.moved
    flat = found is None or found.direction in ("flat", "unknown")
    distance = share(moved)
    text = (
        tr(
            f"Nothing was learnt: the weights moved by {distance}.",
            f"什么也没有学到：权重只移动了 {distance}。",
        )
        if still and flat
        else tr(
            f"Little was learnt: the weights moved by {distance}.",
            f"学到的很少：权重只移动了 {distance}。",
        )
    )
    losses = (
        tr(
            f"training loss {ends.first:.4f} over the first {BLOCK} updates, {ends.last:.4f} over "
            "the last",
            f"最初 {BLOCK} 次更新的训练损失为 {ends.first:.4f}，最后 {BLOCK} 次为 {ends.last:.4f}",
        )
        if ends is not None
        else tr("largest distance of a parameter group", "各参数组中移动最大的一组")
    )
    yield weakness("nothing-learnt", text, losses)
    yield next_step(
        "raise-rate",
        raise_rate(tr, facts),
        tr(f"the weights moved by {distance}", f"权重只移动了 {distance}"),
    )


def noisy_loss(tr: Language, facts: Facts) -> Iterator[Finding]:
    """The log holds the loss of one micro-batch."""
    if facts.losses[1].size and facts.state.loss_name == "loss_micro_last":
        yield weakness(
            "noisy-loss",
            tr(
                "The logged training loss is one micro-batch of one rank, far noisier than the step's.",
                "日志里的训练损失只是一个进程的一个微批次，噪声远大于整步的损失。",
            ),
            _micro_rows(tr, facts),
        )


def _micro_rows(tr: Language, facts: Facts) -> str:
    rows, step = facts.settings.get("device_batch_size"), facts.rows_a_step
    if isinstance(rows, int) and step:
        return tr(f"{rows} rows of {step}", f"{step} 行中的 {rows} 行")
    return tr("nanochat prints it so", "nanochat 就是这样打印的")
