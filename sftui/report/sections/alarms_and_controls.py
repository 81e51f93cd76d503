"""Alarms and controls: what was raised and asked, when, by whom, and what came of it."""

from __future__ import annotations

import numpy as np

from engine import events as ev
from sftui.logbook.event_lines import time_of_day
from sftui.report import markdown as md
from sftui.report.alarm_words import seen
from sftui.report.counts import AlarmSpan
from sftui.report.language import Language
from sftui.report.report_facts import Facts

LAST_STEPS = 20
"""Losses whose median is where the loss ended."""


def alarms_and_controls(tr: Language, facts: Facts) -> str | None:
    """What was raised and asked, when, by whom, and what came of it."""
    counts, parts = facts.counts, []
    if counts.alarms:
        rows = [
            (
                f"{alarm.raised.step:,}" if alarm.raised.step is not None else "-",
                time_of_day(alarm.raised.stamp.t),
                md.code(alarm.raised.kind, 60),
                tr.severity(md.text(alarm.raised.severity, 20)),
                md.text(seen(tr, alarm.raised.text), 400),
                _became(tr, facts, alarm),
            )
            for alarm in counts.alarms[:100]
        ]
        head = [
            tr("step", "步"),
            tr("time", "时间"),
            tr("alarm", "告警"),
            tr("severity", "级别"),
            tr("what was seen", "现象"),
            tr("what became of it", "后续"),
        ]
        parts.append(md.table(head, rows))
    if facts.state.controls:
        asked = [
            (
                f"{control.step:,}" if control.step is not None else "-",
                time_of_day(control.stamp.t),
                md.code(
                    control.command
                    + ("" if control.argument is None else f" {control.argument:g}"),
                    40,
                ),
                md.code(control.author, 60) or "-",
                md.text(control.outcome, 20),
                md.text(control.reason, 200) or _effect(tr, facts, control),
            )
            for control in facts.state.controls[:100]
        ]
        head = [
            tr("step", "步"),
            tr("time", "时间"),
            tr("control", "控制"),
            tr("by", "来自"),
            tr("outcome", "结果"),
            tr("effect", "效果"),
        ]
        parts.append(md.table(head, asked))
    if counts.lost_ranks:
        parts.append(
            md.bullets(
                tr(
                    f"{time_of_day(lost.stamp.t)} rank {lost.rank if lost.rank is not None else '?'} lost: {md.text(lost.reason, 200)}",
                    f"{time_of_day(lost.stamp.t)} 丢失 rank {lost.rank if lost.rank is not None else '?'}：{md.text(lost.reason, 200)}",
                )
                for lost in counts.lost_ranks[:50]
            )
        )
    if len(counts.attempts) > 1:
        parts.append(
            md.bullets(
                tr(
                    f"{time_of_day(attempt.stamp.t)} attempt {attempt.stamp.att} goes on at step {attempt.start_step:,} on {attempt.world_size} ranks",
                    f"{time_of_day(attempt.stamp.t)} 第 {attempt.stamp.att} 次启动，从第 {attempt.start_step:,} 步继续，{attempt.world_size} 个进程",
                )
                for attempt in counts.attempts[1:50]
            )
        )
    if not parts:
        if not facts.is_ours:
            return tr("No alarm was raised over this log.", "对该日志未触发告警。")
        return tr("None were raised and none were asked for.", "未触发告警，也没有控制请求。")
    return "\n\n".join(parts)


def _became(tr: Language, facts: Facts, alarm: AlarmSpan) -> str:
    """Whether it was over before the end; of a loss that rose, where the loss ended."""
    over = alarm.cleared
    if over is None:
        ended = facts.status not in ("running", "paused")
        return tr("held to the end", "持续到结束") if ended else tr("still holds", "仍未解除")
    text = tr("over", "已解除")
    if over.step is not None:
        text = tr(f"over at step {over.step:,}", f"第 {over.step:,} 步解除")
    _, losses = facts.losses
    if alarm.raised.kind in ("spike", "diverging") and len(losses) >= LAST_STEPS:
        end = f"{float(np.median(losses[-LAST_STEPS:])):.4g}"
        text += tr(f"; the loss ended at {end}", f"；损失最终为 {end}")
    return text


def _effect(tr: Language, facts: Facts, control: ev.ControlApplied) -> str:
    if control.outcome != "applied":
        return "-"
    if control.command == "checkpoint":
        paths = [
            c.path for c in facts.state.checkpoints.values() if c.step == control.step and c.path
        ]
        return md.code(paths[-1], 100) if paths else "-"
    if control.command == "pause" and facts.counts.pauses:
        return tr("training stood still", "训练停住")
    return "-"
