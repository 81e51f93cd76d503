"""Model: the shape, and the parameters that follow from it."""

from __future__ import annotations

from engine.model.family import WeightCounts
from sftui.report import markdown as md
from sftui.report.language import Language
from sftui.report.report_facts import Facts


def model(tr: Language, facts: Facts) -> str | None:
    """The shape, and the parameters that follow from it."""
    shape, counts, run = facts.shape, facts.weight_counts, facts.run
    if run is None or (shape is None and run.num_parameters is None):
        return None
    rows: list[tuple[str, str]] = []
    if shape is not None:
        rows += [
            (tr("layers", "层数"), f"{shape.n_layer:,}"),
            (tr("width", "宽度"), f"{shape.n_embd:,}"),
            (tr("heads", "注意力头"), f"{shape.n_head:,}"),
            (tr("KV heads", "KV 头"), f"{shape.n_kv_head:,}"),
            (tr("vocabulary", "词表"), f"{shape.vocab_size:,}"),
            (tr("sequence length", "序列长度"), f"{shape.sequence_len:,}"),
        ]
    precision = _precision(tr, facts)
    if precision:
        rows.append((tr("precision", "精度"), precision))
    if counts is not None:
        rows.append(
            (
                tr("**parameters**, computed from the shape", "**参数量**，由形状算出"),
                f"**{counts.total:,}**",
            )
        )
        rows += [
            (words, f"{count:,} ({count / 1e6:.1f} M)")
            for words, count in _groups(tr, counts)
            if count
        ]
    elif run.num_parameters is not None:
        rows.append(
            (tr("parameters, as the log says", "参数量（日志所述）"), f"{run.num_parameters:,}")
        )
    return md.table([tr("what", "项目"), tr("value", "值")], rows)


def _groups(tr: Language, counts: WeightCounts) -> list[tuple[str, int]]:
    return [
        (tr("matrices of the blocks", "各层矩阵"), counts.matrices),
        (tr("embeddings", "词嵌入"), counts.tables),
        (tr("head", "输出头"), counts.head),
        (tr("other trained parameters", "其他可训练参数"), counts.others),
        (tr("frozen parameters", "冻结的参数"), counts.frozen),
    ]


def _precision(tr: Language, facts: Facts) -> str:
    if facts.state.precision:
        return md.text(facts.state.precision, 20)
    if facts.is_nanochat and facts.run is not None and facts.run.device == "cuda":
        return tr(
            "bfloat16 (nanochat's default; the log does not print it)",
            "bfloat16（nanochat 默认；日志未打印）",
        )
    return ""
