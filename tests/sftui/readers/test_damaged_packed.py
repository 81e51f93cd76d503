"""Packed logs that are damaged or cut off: what can be unpacked is read, and the rest is told."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import UsageError
from sftui.cli import main
from sftui.readers.envelopes import envelope_of, unwrapped_and_fault
from sftui.sources.open_log import open_replay, read_whole

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
KINDS = sorted(PACK)


def log(steps: int) -> bytes:
    rng = random.Random(steps)
    lines = (f"step {step}/{steps} | loss: {3 + rng.random():f}\n" for step in range(1, steps + 1))
    return "".join(lines).encode()


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + b"XXXXXXXX" + data[at + 8 :]


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_that_cannot_be_unpacked_at_all_says_so(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was "a binary file of no known kind", with a list of all formats."""
    path = tmp_path / "log"
    path.write_bytes(damaged(PACK[kind](log(3000)), 40))
    assert main(["show", str(path)]) == 2
    told = capsys.readouterr().err
    assert "cannot be unpacked behind byte 0: it is damaged there" in told
    assert f"expected a whole {kind} file" in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [4, 10, 19, 40])
def test_a_packed_file_of_some_bytes_is_cut_off(kind: str, length: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(PACK[kind](log(3000))[:length])
    with pytest.raises(UsageError, match=rf"is cut off .*; expected a whole {kind} file"):
        read_whole(str(path))


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_before_the_damage_is_read(kind: str, tmp_path: Path) -> None:
    """bzip2 in blocks of 900 kB, the last of which is damaged."""
    steps = 60_000 if kind == "bzip2" else 6000
    packed = PACK[kind](log(steps))
    path = tmp_path / "log"
    path.write_bytes(damaged(packed, len(packed) * (9 if kind == "bzip2" else 6) // 10))
    found = read_whole(str(path))
    assert "; the file cannot be unpacked behind byte " in found.why
    assert len(found.recording.stages[-1].timeline) > steps // 3
    found.source.close()


def test_a_log_that_is_cut_off_is_read_and_told(tmp_path: Path) -> None:
    packed = gzip.compress(log(3000))
    path = tmp_path / "log"
    path.write_bytes(packed[: len(packed) // 2])
    found = open_replay(str(path))
    assert f"the file is cut off behind byte {len(packed) // 2:,}" in found.source.describe()
    found.source.close()
    path.write_bytes(packed)
    assert "cut off" not in read_whole(str(path)).why


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_one_after_another_have_no_fault(kind: str) -> None:
    text = log(2000)
    packed = PACK[kind](text[:99]) + PACK[kind](text[99:])
    assert unwrapped_and_fault(packed, 2**24) == (text, "")


def test_what_a_damaged_block_gives_is_thrown_away() -> None:
    """Letters in disorder: to look for steps in a megabyte of them took ten seconds."""
    packed = bz2.compress(log(20_000))
    envelope = envelope_of(packed)
    assert envelope is not None
    assert not b"".join(envelope.open(damaged(packed, len(packed) // 2)))
    assert "damaged" in envelope.fault
