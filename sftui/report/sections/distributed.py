"""Distributed: ranks, micro-batches, and who waits for whom."""

from __future__ import annotations

import statistics

from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts
from sftui.report.sentences import (
    percent,
)


def distributed(tr: Language, facts: Facts) -> str | None:
    """Ranks, micro-batches, and who waits for whom."""
    run = facts.run
    if run is None or facts.machine is None:
        return None
    world_size, device = facts.machine
    micro, rows = facts.settings.get("device_batch_size"), facts.rows_a_step
    accumulation = facts.effective.get("grad_accum_steps")
    out = [
        tr(
            f"{world_size} rank{'s' if world_size > 1 else ''} on {md.text(device, 20)}"
            + (f" through {md.text(run.backend, 20)}" if run.backend else ""),
            f"{md.text(device, 20)} 上 {world_size} 个进程"
            + (f"，通信用 {md.text(run.backend, 20)}" if run.backend else ""),
        )
    ]
    length = facts.settings.get("max_seq_len") if facts.state.best_fit else None
    if isinstance(micro, int) and isinstance(accumulation, int) and isinstance(length, int):
        places = micro * length * world_size * accumulation
        out.append(
            tr(
                f"micro-batch {micro} rows of {length:,} tokens x ranks {world_size} x accumulation {accumulation} = {places:,} token places a step",
                f"微批次 {micro} 行、每行 {length:,} 个 token x 进程 {world_size} x 累积 {accumulation} = 每步 {places:,} 个 token 位置",
            )
        )
    elif isinstance(micro, int) and isinstance(accumulation, int) and rows:
        out.append(
            tr(
                f"micro-batch {micro} x ranks {world_size} x accumulation {accumulation} = {micro * world_size * accumulation} rows a step",
                f"微批次 {micro} x 进程 {world_size} x 累积 {accumulation} = 每步 {micro * world_size * accumulation} 行",
            )
        )
    seconds = facts.state.steps.column("seconds")
    known = [float(v) for v in seconds.tolist() if v == v]
    if known:
        out.append(
            tr(
                f"step time: median {statistics.median(known):.3f} s, longest {max(known):.3f} s",
                f"每步用时：中位数 {statistics.median(known):.3f} 秒，最长 {max(known):.3f} 秒",
            )
        )
    table = _ranks(tr, facts)
    parts = [md.bullets(out), table]
    if table is None:
        parts.append(
            "*"
            + tr("Step times of single ranks are not in the log.", "日志中没有各进程的用时。")
            + "*"
        )
    return "\n\n".join(part for part in parts if part)


def _ranks(tr: Language, facts: Facts) -> str | None:
    paces = {n: r.own_pace() for n, r in sorted(facts.counts.ranks.items())}
    known = {n: pace for n, pace in paces.items() if pace is not None}
    if not known:
        return None
    slowest = max(known.values())
    rows = []
    for number, pace in known.items():
        rank = facts.counts.ranks[number]
        step = f"{statistics.median(rank.step_seconds):.3f} s" if rank.step_seconds else "-"
        waiting = percent(1 - pace / slowest) if len(known) > 1 and slowest else "-"
        rows.append((str(number), step, f"{1e6 * pace:.1f} µs", waiting))
    head = [
        "rank",
        tr("step, begin to begin (median)", "相邻两步的起始间隔（中位数）"),
        tr("own time a token (median)", "自身每 token 用时（中位数）"),
        tr("waits for the slowest, per token", "等待最慢进程的时间占比"),
    ]
    return md.table(head, rows, numbers=True)
