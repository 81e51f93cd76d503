"""A file that says it has a terabyte and holds a few bytes is read at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.files import checked
from tests.conftest import examples

BLOCK = 64 * 1024
TERABYTE = 2**40


def holed(path: Path, pieces: list[tuple[int, bytes]]) -> None:
    """Write pieces, each so many bytes behind the one before."""
    with path.open("wb") as file:
        for gap, data in pieces:
            file.seek(gap, os.SEEK_CUR)
            file.write(data)
        file.truncate()


def through(path: Path, block: int) -> tuple[bytes, int]:
    """What was written, and the bytes that were read or passed over."""
    found, total = b"", 0
    with path.open("rb") as file:
        while data := file.read(block):
            total += len(data)
            total += checked.skip_hole(file, data)
            found += data
            assert file.tell() == total
    return found, total


@examples(20)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((0, 1, 4095, 4096, 3 * BLOCK + 7, 2**34)),
            st.binary(min_size=1, max_size=9) | st.just(b"x" * 5000),
        ),
        max_size=4,
    ),
    st.sampled_from((1000, 4096, BLOCK)),
)
def test_no_written_byte_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]], block: int
) -> None:
    path = tmp_path_factory.mktemp("holed") / "file"
    holed(path, pieces)
    found, total = through(path, block)
    assert found.replace(b"\0", b"") == b"".join(data for _, data in pieces).replace(b"\0", b"")
    assert total == path.stat().st_size


def test_a_terabyte_of_nothing_is_read_in_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "file"
    holed(path, [(0, b"begin"), (TERABYTE, b"end")])
    os.truncate(path, 3 * TERABYTE)
    began = time.process_time()
    found, total = through(path, BLOCK)
    assert time.process_time() - began < 1.0
    assert found.replace(b"\0", b"") == b"beginend"
    assert total == 3 * TERABYTE
    assert checked.written_size(path) >= TERABYTE
    os.truncate(path, 5)
    os.truncate(path, TERABYTE)
    assert checked.written_size(path) <= BLOCK


def test_zeros_that_were_written_are_no_hole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * BLOCK) + b"end")
    assert through(path, BLOCK) == (bytes(3 * BLOCK) + b"end", 3 * BLOCK + 3)
    assert checked.written_size(path) == 3 * BLOCK + 3
