"""Freed arrays of a long log go back to the system where the C library can be told so."""

import ctypes
import platform
import subprocess
import sys

import pytest

from sftui.sources import heap
from tests.processes import environment

GROWS = """
import sys
from sftui.sources import heap
told = sys.argv[1] == "told" and heap.return_large_arrays()
import numpy as np
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
def column(mib):
    made = np.empty(mib * 2**20, dtype=np.uint8)
    made[:] = 1
    return made
before = resident()
column(20)  # freed at once: glibc now keeps what is as large
large, small = column(16), column(1)
del large  # the small one above it holds it
print(told, (resident() - before) / 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries are left alone")
def test_what_a_large_array_took_is_given_back_when_it_is_freed() -> None:
    """In processes of their own: the limit cannot be taken back."""
    taken = {}
    for how in ("told", "left"):
        words = [sys.executable, "-c", GROWS, how]
        told, mib = subprocess.check_output(words, env=environment(), text=True).split()
        assert told == str(how == "told")
        taken[how] = float(mib)
    assert taken["told"] < 4
    assert taken["left"] > 12, "else nobody has to be told any more"


def test_a_c_library_without_such_a_call_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not heap.return_large_arrays()
