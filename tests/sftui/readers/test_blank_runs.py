"""Megabytes of line ends in a trainer's state take no time."""

import time

import pytest

from sftui.readers.trainer_state import TrainerStateReader


@pytest.mark.parametrize("blank", [b"\n", b" ", b"\t", b"\r\n"])
def test_a_run_of_blanks_is_looked_at_once(blank: bytes) -> None:
    """Eight million line ends took over a minute: the pattern began anew at each of them."""
    head = b'{"global_step": 10, "max_steps' + blank * (8_000_000 // len(blank)) + b'": 1}'
    began = time.process_time()
    assert TrainerStateReader.sniff(head).confidence == 0
    assert time.process_time() - began < 2
    whole = head[:-1] + b', "log_history": [{"step": 1, "loss": 2.0}]}'
    assert TrainerStateReader.sniff(whole).confidence > 0.9
