"""Training loss: first, last, by epoch, noise and slope; the range together with what it is of."""

from __future__ import annotations

import math

import numpy as np

from engine.alarms.windows import scatter_around_trend
from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.verdicts import (
    training_trend,
)
from sftui.statistics.block_trend import BLOCK, mean_error

NOISE_RANGE = 10.0
"""Lowest and highest of some thousand even losses are 7 standard deviations apart, or a few more."""


def training_loss(tr: Language, facts: Facts) -> str | None:
    """First, last, by epoch, noise, slope; the range only together with what it is a range of."""
    steps, values = facts.losses
    if not len(values):
        return None
    kind = {
        "loss": tr("the loss of the whole step", "整步的损失"),
        "loss_rows_mean": tr("the mean of the step's micro-batches", "该步各微批次的平均"),
        "loss_micro_last": tr("the last micro-batch of rank 0", "rank 0 的最后一个微批次"),
    }[facts.state.loss_name]
    micro = facts.settings.get("device_batch_size")
    if facts.state.loss_name == "loss_micro_last" and isinstance(micro, int):
        kind += tr(f" ({micro} rows)", f"（{micro} 行）")
    if not facts.is_ours and facts.state.loss_name == "loss":
        kind = tr("the loss as the trainer logged it", "训练程序记录的损失")
    noise = (
        scatter_around_trend(float(np.median(np.abs(np.diff(values)))), 1)
        if len(values) > 2
        else math.nan
    )
    items = [
        tr(f"what is logged: {kind}", f"记录的是：{kind}"),
        tr(
            f"{len(values):,} lines, steps {int(steps[0]):,} to {int(steps[-1]):,}; first {values[0]:.6f}, last {values[-1]:.6f}, mean {values.mean():.6f}",
            f"{len(values):,} 行，第 {int(steps[0]):,} 至 {int(steps[-1]):,} 步；首值 {values[0]:.6f}，末值 {values[-1]:.6f}，均值 {values.mean():.6f}",
        ),
    ]
    if math.isfinite(noise):
        items.append(_scatter(tr, noise, float(values.min()), float(values.max())))
    slope = training_trend(facts)
    if slope is not None:
        flat = slope[1] <= 0 <= slope[2]
        tail = (
            tr("it contains 0: no trend to speak of", "区间包含 0，看不出趋势")
            if flat
            else tr("a trend, beyond the noise of the steps", "趋势超出各步的噪声")
        )
        items.append(
            tr(
                f"slope of the last half, through means of {BLOCK} steps, per 1000 steps: {slope[0]:+.4f}, 95 % interval {slope[1]:+.4f} .. {slope[2]:+.4f}; {tail}",
                f"后半段的斜率（按每 {BLOCK} 步的平均值拟合，每 1000 步）：{slope[0]:+.4f}，95% 区间 {slope[1]:+.4f}～{slope[2]:+.4f}；{tail}",
            )
        )
    parts = [md.bullets(items)]
    rows = []
    for number, (start, end) in enumerate(facts.epochs, start=1):
        inside = values[(steps >= start) & (steps < end)]
        if not len(inside):
            continue
        smooth = _smooth(inside)
        error = mean_error(inside)
        rows.append(
            (
                str(number) if facts.whole_steps_an_epoch else tr("all", "全部"),
                f"{start:,} .. {end - 1:,}",
                f"{inside.mean():.4f}",
                f"{error:.4f}" if error is not None else "-",
                f"{smooth.min():.4f} .. {smooth.max():.4f}",
            )
        )
    if rows:
        head = [
            tr("epoch", "轮次"),
            tr("steps", "步"),
            tr("mean", "平均"),
            tr("its standard error", "其标准误"),
            tr("smoothed range", "平滑后的范围"),
        ]
        parts.append(md.table(head, rows, numbers=True))
    if facts.state.nonfinite:
        parts.append(
            tr(
                f"{facts.state.nonfinite:,} updates had no finite loss and are not counted here.",
                f"有 {facts.state.nonfinite:,} 次更新的损失不是有限数，未计入。",
            )
        )
    return "\n\n".join(parts)


def _scatter(tr: Language, noise: float, lowest: float, highest: float) -> str:
    """How far neighbours are apart, and a warning where that alone explains the whole range."""
    text = tr(
        f"single lines scatter by about {noise:.3g} from one to the next",
        f"相邻两行之间的波动约为 {noise:.3g}",
    )
    if highest - lowest > NOISE_RANGE * noise:
        return text
    return text + tr(
        f"; the lowest and highest of them, {lowest:.6f} .. {highest:.6f}, are no measure of progress",
        f"；其中最低与最高 {lowest:.6f} .. {highest:.6f} 不能衡量训练进展",
    )


def _smooth(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Running mean over a twentieth of the values, at least 5 of them."""
    window = max(5, len(values) // 20)
    if len(values) <= window:
        return np.array([values.mean()])
    sums = np.cumsum(np.concatenate(([0.0], values)))
    result: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = (
        sums[window:] - sums[:-window]
    ) / window
    return result
