"""Chinese typography for a report that was put together from parts made for both languages.

Numbers are made once, in the form of the English report (`24.22 %`, `p .058`, `->`); this
gives them the form a Chinese reader expects. Code, links and escaped text from outside stay
as they are.
"""

from __future__ import annotations

import re

_KEPT = re.compile(
    r"^```.*?^```$|(?<!`)(`{1,3})(?!`)(?:(?!\1).){1,2000}?\1|\]\([^)\s]*\)",
    re.MULTILINE | re.DOTALL,
)
"""Fenced blocks, code spans and the targets of links."""

_HAN = r"[\u3400-\u9fff\uff00-\uffef\u3001-\u303f]"
_SIGN = r"[（），。；：、]"
_NUMBER = r"[-+−]?\d[\d,]*(?:\.\d+)?%?"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=\d) %"), "%"),
    (re.compile(r"(?<![\w.])p (?=\.\d)"), "p = 0"),
    (re.compile(r"(?<![\w.])p ([<>]) (?=\.\d)"), r"p \1 0"),
    (re.compile(r"(?<![\w.])p (?=1\.0)"), "p = "),
    (re.compile(r"(?<=[\s（，：；、])\.(?=\d)"), "0."),
    (re.compile(r" ?(?<![-\\])-> ?"), " → "),
    (re.compile(rf"({_NUMBER}) \.\. (?={_NUMBER})"), r"\1～"),
    (re.compile(r"(?<=[\d\u3400-\u9fff]) x (?=[\dA-Z(\u3400-\u9fff])"), " × "),
    # Brackets of Chinese words, or after them; those of formulas follow a sign or a function.
    (re.compile(rf"({_HAN}) ?(?<!\\)\(([^()\n|]*[^()\n|\\])\)"), r"\1（\2）"),
    (
        re.compile(rf"(?<![\\A-Za-z0-9\]])(?<![×+=] )\(([^()\n|]*{_HAN}[^()\n|]*)(?<!\\)\)"),
        r"（\1）",
    ),
    (re.compile(r"(?<=\d) \(([-+]?[\d.]+(?:%| [kMG]))\)"), r"（\1）"),
    # A sign stands after the bold words: before the asterisks CommonMark would not close them.
    (re.compile(r"(?<=[\u3400-\u9fff])([：？。])\*\* ?"), r"**\1"),
    # No blanks beside full-width signs, and one between Chinese words and others.
    (re.compile(rf"(?<=[^\s|-]) ({_SIGN})"), r"\1"),
    (re.compile(rf"({_SIGN}) (?=[^\s|])"), r"\1"),
    (re.compile(r"(?<=[\u3400-\u9fff])(?=[A-Za-z0-9])"), " "),
    (re.compile(r"(?<=[A-Za-z0-9%])(?=[\u3400-\u9fff])"), " "),
)


def chinese(text: str) -> str:
    """The Markdown of a Chinese report with Chinese forms of numbers, signs and brackets."""
    kept: list[str] = []

    def put_aside(found: re.Match[str]) -> str:
        kept.append(found.group())
        return f"\ue000{len(kept) - 1}\ue001"

    text = _KEPT.sub(put_aside, text)
    for pattern, form in _RULES:
        text = pattern.sub(form, text)
    return re.sub(r"\ue000(\d+)\ue001", lambda found: kept[int(found[1])], text)
