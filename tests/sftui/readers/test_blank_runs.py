"""Megabytes of line ends in a trainer's state take no time."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from sftui.readers.trainer_state import TrainerStateReader

T = TypeVar("T")


def seconds_of(work: Callable[[], T]) -> tuple[float, T]:
    """CPU time of a call, and what it returned."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


@pytest.mark.parametrize("blank", [b"\n", b" ", b"\t", b"\r\n"])
def test_a_run_of_blanks_is_looked_at_once(blank: bytes) -> None:
    """Eight million line ends took over a minute, where a loop over them takes a tenth of a second:
    the pattern began anew at each of them."""
    head = b'{"global_step": 10, "max_steps' + blank * (8_000_000 // len(blank)) + b'": 1}'
    taken, found = seconds_of(lambda: TrainerStateReader.sniff(head))
    assert found.confidence == 0
    # A machine that others use slows both alike.
    yardstick, _ = seconds_of(lambda: sum(1 for byte in head if byte == 1))
    assert taken < 10 * yardstick
    whole = head[:-1] + b', "log_history": [{"step": 1, "loss": 2.0}]}'
    assert TrainerStateReader.sniff(whole).confidence > 0.9
