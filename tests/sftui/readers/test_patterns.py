"""What a pattern finds in a line takes time in proportion to its length, whatever the line is."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from engine.conversations.conversation import parse_gsm8k
from sftui.readers import mlx, wandb_offline
from sftui.readers.chinese import in_english
from sftui.report.typography import chinese

LONG: dict[str, tuple[Callable[[str], object], str, str, str]] = {
    "blanks behind a Chinese count": (in_english, "第1", " ", "x"),
    "blanks behind its slash": (in_english, "第1/", " ", "x"),
    "a path that is no checkpoint": (
        mlx._SAVED.match, "Saved adapter weights to ", "_", "",
    ),
    "an item that does not end": (
        lambda text: wandb_offline._ITEM.findall(text.encode()), "", "\n", "",
    ),
    "a code span that does not end": (chinese, "", "`", "x"),
    "calls of a calculator that do not end": (
        lambda text: parse_gsm8k("?", text), "", "<<", ">1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("find", "begin", "piece", "end"), LONG.values(), ids=LONG)
def test_a_piece_over_and_over_takes_no_time(
    find: Callable[[str], object], begin: str, piece: str, end: str
) -> None:
    """Each of these was tried anew from every place: seconds for 60,000 characters, or hours."""
    text = begin + piece * (60_000 // len(piece)) + end
    began = time.process_time()
    find(text)
    assert time.process_time() - began < 1
