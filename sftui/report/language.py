"""One report, two languages: every sentence is written twice, side by side.

English and Chinese stand in the same call, so that neither can say what the other does
not; numbers are made once and put into both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from engine.errors import UsageError
from sftui.statistics.paired_tests import CLEAR, NO_EVIDENCE, NOT_JUDGED, SUGGESTIVE

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = get_args(Lang)

_VERDICTS = {
    CLEAR: "显著",
    SUGGESTIVE: "仅有迹象",
    NO_EVIDENCE: "证据不足",
    NOT_JUDGED: "不作判断",
}
_REASONS = {
    "schedule": "按计划",
    "request": "手动请求",
    "stop": "停止时",
    "final": "结束时",
    "nonfinite": "损失非有限数之前",
    "export": "导出",
    "start": "起始",
}
_SEVERITY = {"info": "提示", "warn": "警告", "error": "错误"}
_STATUS = {
    "running": "运行中",
    "paused": "已暂停",
    "finished": "已完成",
    "stopped": "已按要求停止",
    "failed": "失败",
    "interrupted": "中断",
    "unknown": "未知",
}


@dataclass(frozen=True, slots=True)
class Language:
    """`tr(english, chinese)` gives the one that was asked for."""

    lang: Lang = "en"

    def __call__(self, english: str, chinese: str) -> str:
        return english if self.lang == "en" else chinese

    def verdict(self, word: str) -> str:
        """`clear`, `suggestive` or `no evidence`."""
        return self(word, _VERDICTS.get(word, word))

    def status(self, word: str) -> str:
        return self(word, _STATUS.get(word, word))

    def reason(self, word: str) -> str:
        """Why a checkpoint was saved."""
        return self(word, _REASONS.get(word, word))

    def severity(self, word: str) -> str:
        return self(word, _SEVERITY.get(word, word))

    def join(self, parts: list[str]) -> str:
        """A list inside a sentence."""
        return self(", ", "、").join(parts)

    def sentences(self, parts: list[str]) -> str:
        """Whole sentences after each other."""
        return self(" ", "").join(part for part in parts if part)

    def span(self, seconds: float | None) -> str:
        """A duration to the second: `33 min 58 s`."""
        if seconds is None:
            return self("unknown", "未知")
        if seconds < 59.5:
            return self(f"{seconds:.1f} s", f"{seconds:.1f} 秒")
        whole = round(seconds)
        hours, rest = divmod(whole, 3600)
        minutes, left = divmod(rest, 60)
        if hours:
            return self(f"{hours} h {minutes} min {left} s", f"{hours} 小时 {minutes} 分 {left} 秒")
        return self(f"{minutes} min {left} s", f"{minutes} 分 {left} 秒")


Say = Callable[[str, str], str]


def lang(word: str) -> Lang:
    """The language of `--lang`.

    Raises:
        UsageError: there is no such report.
    """
    for known in LANGS:
        if word.lower().replace("_", "-").split("-")[0] == known:
            return known
    raise UsageError(f"--lang {word!r} is not known; a report is written in en or zh.")
