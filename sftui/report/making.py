"""Sections 4 to 6 and 8: model, settings, distribution, data."""

from __future__ import annotations

import statistics

from sftui.report import markdown as md
from sftui.report.language import Tongue
from sftui.report.meanings import CHINESE
from sftui.report.report_facts import Case
from sftui.report.sentences import percent
from sftui.text import format as fmt
from sftui.view.run_facts import meanings


def model(say: Tongue, case: Case) -> str | None:
    """The shape, and the parameters that follow from it."""
    shape, groups, run = case.shape, case.groups, case.run
    if run is None or (shape is None and run.num_parameters is None):
        return None
    rows: list[tuple[str, str]] = []
    if shape is not None:
        rows += [
            (say("layers", "层数"), f"{shape.n_layer:,}"),
            (say("width", "宽度"), f"{shape.n_embd:,}"),
            (say("heads", "注意力头"), f"{shape.n_head:,}"),
            (say("KV heads", "KV 头"), f"{shape.n_kv_head:,}"),
            (say("vocabulary", "词表"), f"{shape.vocab_size:,}"),
            (say("sequence length", "序列长度"), f"{shape.sequence_len:,}"),
        ]
    precision = _precision(say, case)
    if precision:
        rows.append((say("precision", "精度"), precision))
    if groups is not None:
        rows += [
            (
                say("**parameters**, computed from the shape", "**参数量**，由形状算出"),
                f"**{groups.total:,}**",
            ),
            (
                say("matrices of the blocks", "各层矩阵"),
                f"{groups.matrices:,} ({groups.matrices / 1e6:.1f} M)",
            ),
            (say("embedding", "词嵌入"), f"{groups.table:,} ({groups.table / 1e6:.1f} M)"),
            (
                say("head (not tied to the embedding)", "输出头（不与词嵌入共享）"),
                f"{groups.table:,} ({groups.table / 1e6:.1f} M)",
            ),
        ]
    elif run.num_parameters is not None:
        rows.append(
            (say("parameters, as the log says", "参数量（日志所述）"), f"{run.num_parameters:,}")
        )
    text = md.table([say("what", "项目"), say("value", "值")], rows)
    if groups is not None and run.num_parameters not in (None, groups.total):
        text += "\n\n" + say(
            f"The log says {run.num_parameters:,} parameters; the shape gives {groups.total:,}.",
            f"日志说参数量为 {run.num_parameters:,}；由形状算出的是 {groups.total:,}。",
        )
    return text


def _precision(say: Tongue, case: Case) -> str:
    dtype = case.settings.get("dtype")
    if case.run is not None and case.run.device == "cpu" and case.is_ours:
        return say("float32: the CPU always computes in it", "float32：CPU 总用它计算")
    if isinstance(dtype, str) and dtype:
        return md.text(dtype, 20)
    if case.is_nanochat and case.run is not None and case.run.device == "cuda":
        return say(
            "bfloat16 (nanochat's default; the log does not print it)",
            "bfloat16（nanochat 默认；日志未打印）",
        )
    return ""


def settings(say: Tongue, case: Case) -> str | None:
    """Every setting, what it came to, what it means; schedule and optimizers."""
    if not case.settings:
        return None
    english = meanings()
    rows = []
    for name, value in case.settings.items():
        used = case.setting_as_used(name)
        shown = "" if used is None else fmt.rate(used) if isinstance(used, float) else used
        meaning = say(english.get(name, ""), CHINESE.get(name, ""))
        asked = _value(say, value)
        rows.append(
            (
                f"`{md.text(name, 60)}`",
                asked,
                "" if shown == asked else shown,
                meaning.replace("*", "\\*"),
            )
        )
    head = [
        say("setting", "设置"),
        say("value", "值"),
        say("came to", "实际"),
        say("meaning", "含义"),
    ]
    parts = [md.table(head, rows)]
    if not case.is_ours:
        parts.append(
            "*"
            + say(
                "Only settings that the log prints; the others had their defaults.",
                "仅列出日志打印的设置；其余为默认值。",
            )
            + "*"
        )
    parts.append(md.bullets(_schedule(say, case)))
    return "\n\n".join(part for part in parts if part)


def _value(say: Tongue, value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return say("yes", "是") if value else say("no", "否")
    if isinstance(value, float):
        return fmt.rate(value)
    return md.code(str(value), 200)


def _schedule(say: Tongue, case: Case) -> list[str]:
    out = []
    if case.linear_to_zero:
        out.append(
            say(
                "Schedule: linear to zero, no warm-up (checked against every logged rate).",
                "学习率计划：线性降到零，没有预热（已与日志中每个学习率核对）。",
            )
        )
    elif case.linear_to_zero is False:
        out.append(
            say(
                "Schedule: not the plain line to zero; a factor was asked for, or the trainer uses another.",
                "学习率计划：不是单纯的线性降到零；可能中途要求了系数，或训练程序使用别的计划。",
            )
        )
    if case.is_ours or (case.is_nanochat and case.stage_name == "chat_sft"):
        decay = case.settings.get("weight_decay", 0.0)
        out.append(
            say(
                f"Optimizers: Muon for the matrices of the blocks (no weight decay); AdamW for embedding and head (weight decay {fmt.rate(float(decay)) if isinstance(decay, int | float) else '-'}).",
                f"优化器：各层矩阵用 Muon（无权重衰减）；词嵌入和输出头用 AdamW（权重衰减 {fmt.rate(float(decay)) if isinstance(decay, int | float) else '-'}）。",
            )
        )
        if case.width_scale is not None:
            out.append(
                say(
                    f"Width scale 1/sqrt(width/768) = {case.width_scale:.6f}, on the rates of embedding and head only.",
                    f"宽度系数 1/sqrt(宽度/768) = {case.width_scale:.6f}，只乘在词嵌入和输出头的学习率上。",
                )
            )
    return out


def distributed(say: Tongue, case: Case) -> str | None:
    """Ranks, micro-batches, and who waits for whom."""
    run = case.run
    if run is None or case.machine is None:
        return None
    world_size, device = case.machine
    micro, rows = case.settings.get("device_batch_size"), case.rows_a_step
    accumulation = case.effective.get("grad_accum_steps")
    out = [
        say(
            f"{world_size} rank{'s' if world_size > 1 else ''} on {md.text(device, 20)}"
            + (f" through {md.text(run.backend, 20)}" if run.backend else ""),
            f"{md.text(device, 20)} 上 {world_size} 个进程"
            + (f"，通信用 {md.text(run.backend, 20)}" if run.backend else ""),
        )
    ]
    if isinstance(micro, int) and isinstance(accumulation, int) and rows:
        out.append(
            say(
                f"micro-batch {micro} x ranks {world_size} x accumulation {accumulation} = {micro * world_size * accumulation} rows a step",
                f"微批次 {micro} x 进程 {world_size} x 累积 {accumulation} = 每步 {micro * world_size * accumulation} 行",
            )
        )
    seconds = case.state.steps.column("seconds")
    known = [float(v) for v in seconds.tolist() if v == v]
    if known:
        out.append(
            say(
                f"step time: median {statistics.median(known):.3f} s, longest {max(known):.3f} s",
                f"每步用时：中位数 {statistics.median(known):.3f} 秒，最长 {max(known):.3f} 秒",
            )
        )
    table = _ranks(say, case)
    parts = [md.bullets(out), table]
    if table is None:
        parts.append(
            "*"
            + say("Step times of single ranks are not in the log.", "日志中没有各进程的用时。")
            + "*"
        )
    return "\n\n".join(part for part in parts if part)


def _ranks(say: Tongue, case: Case) -> str | None:
    paces = {n: r.own_pace() for n, r in sorted(case.tally.ranks.items())}
    known = {n: pace for n, pace in paces.items() if pace is not None}
    if not known:
        return None
    slowest = max(known.values())
    rows = []
    for number, pace in known.items():
        rank = case.tally.ranks[number]
        step = f"{statistics.median(rank.step_seconds):.3f} s" if rank.step_seconds else "-"
        waiting = percent(1 - pace / slowest) if len(known) > 1 and slowest else "-"
        rows.append((str(number), step, f"{1e6 * pace:.1f} µs", waiting))
    head = [
        "rank",
        say("step, begin to begin (median)", "每步，从开始到开始（中位数）"),
        say("own time a token (median)", "自身每 token 用时（中位数）"),
        say("waits for the slowest, per token", "按 token 计等待最慢者"),
    ]
    return md.table(head, rows, numbers=True)


def data(say: Tongue, case: Case) -> str | None:
    """Where the rows came from, and how often they were seen."""
    tally, parts = case.tally, []
    if case.mixture:
        total = sum(case.mixture.values())
        rows = [
            (md.text(name, 60), f"{count:,}", percent(count / total) if total else "-")
            for name, count in case.mixture.items()
        ]
        rows.append((say("**one epoch**", "**一轮**"), f"**{total:,}**", ""))
        head = [say("source", "来源"), say("rows", "行数"), say("share", "占比")]
        parts.append(md.table(head, rows, numbers=True))
        if case.mixture_is_inferred:
            parts.append(
                say(
                    "The log does not print the rows. These are nanochat's own of October 2025; the planned iterations fit them and would not fit another number of whole steps.",
                    "日志没有打印行数。这里是 nanochat 2025 年十月自带的数据；计划的迭代次数与之相符，与别的整步数不符。",
                )
            )
    out = []
    if case.steps_an_epoch is not None:
        out.append(
            say(f"{case.steps_an_epoch:,} steps an epoch", f"每轮 {case.steps_an_epoch:,} 步")
        )
    if case.epochs_seen is not None:
        asked = (
            say(f" of {case.epochs_asked} asked for", f"，要求 {case.epochs_asked} 轮")
            if case.epochs_asked
            else ""
        )
        out.append(
            say(
                f"epochs really seen: {case.epochs_seen:.3f}{asked}",
                f"实际遍历轮数：{case.epochs_seen:.3f}{asked}",
            )
        )
    if tally.tokens:
        out.append(
            say(
                f"{tally.tokens:,} tokens in {tally.steps_with_tokens:,} updates",
                f"{tally.steps_with_tokens:,} 次更新共 {tally.tokens:,} 个 token",
            )
        )
    if tally.supervised:
        share = percent(tally.supervised / tally.tokens) if tally.tokens else None
        out.append(
            say(
                f"{tally.supervised:,} supervised tokens"
                + (f", {share} of all" if share else " (as the log counts them)"),
                f"{tally.supervised:,} 个受监督 token"
                + (f"，占全部的 {share}" if share else "（按日志的计数）"),
            )
        )
    used = sorted(set(tally.validation_rows.values()))
    if used:
        words = say.join([f"{n:,}" for n in used[:3]])
        out.append(
            say(
                f"validation: {words} rows each time, always the same ones",
                f"验证：每次 {words} 行，始终相同",
            )
        )
    if tally.notes:
        out.append(say("told of rows: ", "关于样本的提示：") + md.code(tally.notes[-1], 200))
    elif case.is_ours:
        out.append(
            say(
                "no row was cut, and none was reported to be without a target",
                "没有样本被截断，也没有报告无目标的样本",
            )
        )
    if out:
        parts.append(md.bullets(out))
    table = _sources(say, case)
    if table:
        parts.append(table)
    if not parts:
        return None
    return "\n\n".join(parts)


def _sources(say: Tongue, case: Case) -> str | None:
    rows = []
    for name, source in case.tally.sources.items():
        known = [v for v in source.losses if v == v]
        if len(known) < 4:
            continue
        tenth = max(1, len(known) // 10)
        rows.append(
            (
                md.text(name, 60),
                f"{statistics.fmean(known[:tenth]):.4f}",
                f"{statistics.fmean(known[-tenth:]):.4f}",
                f"{len(known):,}",
            )
        )
    if not rows:
        return None
    head = [
        say("training loss by source", "各来源的训练损失"),
        say("first tenth", "前十分之一"),
        say("last tenth", "后十分之一"),
        say("steps", "步数"),
    ]
    return md.table(head, rows, numbers=True)
