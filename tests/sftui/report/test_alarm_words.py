"""Every alarm is told in both languages, without the advice that was meant for its moment."""

from __future__ import annotations

import math
import re

import pytest

from engine.alarms import alarm_texts
from engine.alarms.board import ALL_KINDS
from engine.alarms.loss_rule import Divergence
from engine.alarms.rules import MemoryUse
from engine.alarms.source_moves import SourceMoves
from engine.alarms.windows import Reading
from sftui.report.alarm_words import seen
from sftui.report.language import Language

READING = Reading(value=1.234, limit=1.0)
ALIKE = SourceMoves(rose=(), fell=(), sources=0)
OVERFIT = SourceMoves(rose=("a", "b"), fell=(), sources=2, none_fell=True)
SHIFT = SourceMoves(rose=("code",), fell=("chat, short", "maths"), sources=3)
USE = MemoryUse(host="h", used=20 * 2**30, total=24 * 2**30, on_device=True)
SHARED = MemoryUse(host="h", used=20 * 2**30, total=24 * 2**30, on_device=False)
SLOWER = alarm_texts.slower("20260101-a")
RISE = Divergence(loss=2.5, limit=1.5, base=1.25, against="best")
AGAINST_START = Divergence(loss=2.5, limit=1.5, base=1.25, against="start")

TEXTS = {
    "nonfinite": [
        alarm_texts.nonfinite(what, math.nan, 7)
        for what in ("the training loss", "the gradient norm", "the validation loss")
    ],
    "spike": [alarm_texts.spike(3.5, READING, SLOWER)],
    "diverging": [alarm_texts.diverging(RISE, SLOWER), alarm_texts.diverging(AGAINST_START, "x")],
    "overfitting": [
        alarm_texts.overfitting(READING, which, 1.1, 400, moves)
        for moves in (ALIKE, OVERFIT, SHIFT)
        for which in ("", "held out", "bpb")
    ],
    "stall": [alarm_texts.stall(READING, 2.0)],
    "rank_silent": [alarm_texts.rank_silent([1, 3], READING)],
    "straggler": [alarm_texts.straggler(1, READING)],
    "slowdown": [alarm_texts.slowdown(READING, 2000.0, "tokens/s")],
    "memory_tight": [
        alarm_texts.memory_tight(0, use, retries) for use in (USE, SHARED) for retries in (0, 3)
    ],
    "letter_collapse": [alarm_texts.letter_collapse("ARC-Easy", "C", 0.93)],
    "disk_low": [alarm_texts.disk_low(10**9, 10**10, 2)],
}

ADVICE = ("halve", "resume", "Look", "lower", "Make room", "may help", "unlikely to help")


def test_every_kind_is_here() -> None:
    """A new kind of alarm needs its Chinese words."""
    assert set(TEXTS) == ALL_KINDS


@pytest.mark.parametrize("kind", sorted(TEXTS))
def test_an_alarm_is_told_in_both_languages_without_its_advice(kind: str) -> None:
    """The English words are the beginning of the text; the Chinese have the same numbers."""
    for text in TEXTS[kind]:
        english, chinese = seen(Language("en"), text), seen(Language("zh"), text)
        assert text.startswith(english)
        assert english != text
        assert not any(word in english for word in ADVICE)
        assert re.search(r"[\u4e00-\u9fff]{2}", chinese), chinese
        assert not re.search(r"\b(is|are|the|of|above|loss|which|more)\b", chinese), chinese
        numbers = set(re.findall(r"\d+\.\d+", english))
        assert numbers <= set(re.findall(r"\d+\.\d+", chinese)), chinese


def test_how_often_an_alarm_was_held_back_is_told_too() -> None:
    """The board appends it to the text."""
    text = alarm_texts.stall(READING, 2.0) + " (x3 since step 40)"
    assert seen(Language("en"), text).endswith("(3 times since step 40)")
    assert seen(Language("zh"), text).endswith("（自第 40 步起 3 次）")


def test_the_text_of_another_program_is_given_as_it_is() -> None:
    """What is not known is not guessed."""
    assert seen(Language("zh"), "loss went up. Sorry") == "loss went up. Sorry"
