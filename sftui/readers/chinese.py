"""Chinese logs in the words that the readers know: `第 3 步，损失：2.5` is `step 3, loss: 2.5`.

Scripts of Chinese tutorials print their own words around the same numbers. The words of the
tables and scanners are English; a line or a name is put into them here, before anything else
looks at it. Numbers, and words that are not in the table, stay as they are.
"""

from __future__ import annotations

import re

_WORDS = {
    "训练集": "train",
    "训练": "train",
    "验证集": "val",
    "验证": "val",
    "评估": "eval",
    "测试集": "test",
    "测试": "test",
    "平均": "mean",
    "总": "total",
    "当前": "current",
    "全局": "global",
    "损失值": "loss",
    "损失": "loss",
    "困惑度": "perplexity",
    "准确率": "accuracy",
    "精度": "accuracy",
    "奖励": "reward",
    "学习率": "lr",
    "梯度范数": "grad_norm",
    "步数": "step",
    "总步数": "total_steps",
    "迭代次数": "iteration",
    "迭代": "iteration",
    "步": "step",
    "轮次": "epoch",
    "轮数": "epoch",
    "轮": "epoch",
    "批次": "batch",
}
_WORD = re.compile("|".join(sorted(_WORDS, key=len, reverse=True)))
_COUNTED = re.compile(
    r"第\s*+(\d[\d,]*+(?:\s*+/\s*+\d[\d,]*+)?)\s*+(?:个|次)?\s*+(步|轮次|轮|迭代|批次)"
)
"""The number stands before its unit: `第 3 步`, `第 1/5 轮`."""
_WIDE = str.maketrans("：，；。（）【】＝／％｜、０１２３４５６７８９", ":,;.()[]=/%|,0123456789")
_GAPS = re.compile(r"(?<=\S) {2,}|^ (?=\S)")
MARK = "损失"
"""The word for a loss, in whichever of its names."""


def in_english(text: str) -> str:
    """A line or a name with the words of the table in place of theirs."""
    if text.isascii() or not (_WORD.search(text) or _COUNTED.search(text)):
        return text
    text = _COUNTED.sub(_named_first, text.translate(_WIDE))
    text = _WORD.sub(lambda match: f" {_WORDS[match[0]]} ", text)
    return _GAPS.sub(" ", text)


def _named_first(match: re.Match[str]) -> str:
    return f" {match[2]} {match[1]} "
