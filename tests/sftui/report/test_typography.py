"""A Chinese report has Chinese forms of numbers, signs and brackets, and its code untouched."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.report.typography import chinese


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ("准确率 24.22 %", "准确率 24.22%"),
        ("非配对检验 p .058", "非配对检验 p = 0.058"),
        ("配对检验 p < .001", "配对检验 p < 0.001"),
        ("24.32 % -> 26.46 %", "24.32% → 26.46%"),
        ("95 % 区间 -1.6 .. +5.9", "95% 区间 -1.6～+5.9"),
        ("第 200 步 (`ckpt/step-200`)", "第 200 步（`ckpt/step-200`）"),
        ("cpu 上的 1 个进程 (gloo)", "cpu 上的 1 个进程（gloo）"),
        ("标准误 sd(d)/sqrt(行数)", "标准误 sd(d)/sqrt(行数)"),
        ("层数 x (2 x 宽度^2)", "层数 × (2 × 宽度^2)"),
        ("| 95 %（Wilson） | 值 |", "| 95%（Wilson） | 值 |"),
        ("4.83 -> 4.50 (-6.79 %)", "4.83 → 4.50（-6.79%）"),
        ("共3个task", "共 3 个 task"),
    ],
)
def test_numbers_signs_and_brackets(made: str, wanted: str) -> None:
    """Each form of the English report has its Chinese one."""
    assert chinese(made) == wanted


def test_code_and_links_are_left_alone() -> None:
    """What a person types, or a log printed, is no prose."""
    made = "输入 `a -> b 5 %`，见 [图](a(1)-5.svg)\n\n```text\np .05 -> 步(1) 5 %\n```\n\n5 %"
    found = chinese(made)
    assert "`a -> b 5 %`" in found
    assert "p .05 -> 步(1) 5 %" in found
    assert found.endswith("5%")


@given(st.text(alphabet="步(1) .%->`0a，。|\\x\n（", max_size=60))
def test_only_signs_and_blanks_change(text: str) -> None:
    """Whatever the text, its words stay in their order."""
    assert re.sub(r"[^a步]", "", chinese(text)) == re.sub(r"[^a步]", "", text)
