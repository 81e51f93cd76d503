"""Memory: predicted, measured, and what kept it low."""

from __future__ import annotations

from engine import config, fit
from engine.errors import SftuiError
from engine.files.sizes import GIB
from engine.step import run_plan
from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts


def memory(tr: Language, facts: Facts) -> str | None:
    """Predicted, measured, and what kept it low."""
    plan = _plan(facts)
    parts = []
    if plan is not None:
        rows = [
            (tr(part, PARTS.get(part, part)), f"{size / GIB:.3f}")
            for part, size, _ in fit.table(plan)
        ]
        parts.append(
            tr("Predicted for each rank (GiB):", "每个进程的预测值（GiB）：")
            + "\n\n"
            + md.table([tr("part", "部分"), "GiB"], rows, numbers=True)
        )
    measured = [
        (
            str(number),
            f"{rank.peak_bytes / GIB:.3f}",
            f"{rank.total_bytes / GIB:.1f}" if rank.total_bytes else "-",
            tr("torch's allocator", "torch 分配器")
            if rank.memory_kind == "cuda"
            else tr("resident memory of the process", "进程常驻内存"),
        )
        for number, rank in sorted(facts.counts.ranks.items())
        if rank.peak_bytes
    ]
    if measured:
        head = [
            "rank",
            tr("peak, GiB", "峰值，GiB"),
            tr("of", "总量"),
            tr("measured as", "测量方式"),
        ]
        parts.append(tr("Measured peak:", "实测峰值：") + "\n\n" + md.table(head, measured))
    else:
        parts.append("*" + tr("The measured peak is not in the log.", "日志中没有实测峰值。") + "*")
    low = _what_kept_it_low(tr, facts, plan)
    if low:
        parts.append(tr("What kept it low: ", "节省内存的措施：") + tr.join(low) + tr(".", "。"))
    if facts.counts.out_of_memory:
        lines = md.block(facts.counts.out_of_memory)
        parts.append(tr("Out of memory:", "内存不足：") + "\n\n" + lines)
    else:
        parts.append(tr("No out-of-memory line was recorded.", "没有内存不足的记录。"))
    if plan is None and not measured:
        return None
    return "\n\n".join(parts)


PARTS = {
    "parameters": "参数",
    "gradients": "梯度",
    "optimizer": "优化器状态",
    "gradient buckets": "梯度桶",
    "checkpoint": "检查点副本",
    "start": "起始权重",
    "bf16 copies": "bf16 副本",
    "layers": "各层激活",
    "logits": "logits",
    "small": "其他小项",
    "update": "更新时的临时量",
    "fragmentation": "显存碎片",
    "outside torch": "torch 以外",
    "needed": "合计",
}


def _plan(facts: Facts) -> fit.MemoryPlan | None:
    """What `fit` says of a run of ours, or of nanochat's own program."""
    if facts.shape is None or facts.machine is None:
        return None
    world_size, device = facts.machine
    if facts.is_ours:
        flat = facts.manifest.get("config")
        if not isinstance(flat, dict):
            return None
        try:
            found = config.from_flat(flat, None)
            return run_plan.memory_plan(found, facts.shape, device)
        except SftuiError:
            return None
    rows = facts.settings.get("device_batch_size")
    october = facts.era == "2025" and facts.stage_name == "chat_sft"
    if october and isinstance(rows, int) and rows > 0:
        return fit.MemoryPlan(
            shape=facts.shape,
            # nanochat pads to the longest row, which may be as long as the context.
            tokens=rows * facts.shape.sequence_len,
            world_size=world_size,
            program="nanochat",
            mixed=device == "cuda",
        )
    return None


def _what_kept_it_low(tr: Language, facts: Facts, plan: fit.MemoryPlan | None) -> list[str]:
    out = []
    micro, accumulation = (
        facts.settings.get("device_batch_size"),
        facts.effective.get("grad_accum_steps"),
    )
    if isinstance(micro, int) and isinstance(accumulation, int) and accumulation > 1:
        out.append(
            tr(
                f"micro-batches of {micro} rows with {accumulation} accumulation steps",
                f"每个微批次 {micro} 行并累积 {accumulation} 次",
            )
        )
    world_size = facts.run.world_size if facts.run is not None else None
    if world_size is not None and world_size > 1 and (facts.is_ours or facts.is_nanochat):
        out.append(
            tr(
                f"optimizer state shared by {world_size} ranks",
                f"优化器状态分摊到 {world_size} 个进程",
            )
        )
    if plan is not None and plan.chunk is not None:
        out.append(
            tr(
                f"loss in chunks of {plan.chunk:,} tokens",
                f"损失按每块 {plan.chunk:,} 个 token 计算",
            )
        )
    if plan is not None and plan.checkpoint_layers:
        out.append(tr("activations recomputed", "激活重算"))
    return out
