"""A file that says it is huge is asked first: memory and time before use are bounded."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.checkpoints import nanochat_io, nanochat_paths
from engine.conversations.tokenizer import NANOCHAT_PATTERN, Tokenizer
from engine.errors import CheckpointError, DataError
from engine.evaluation import eval_items, validation_rows
from engine.evaluation.eval_items import EvalResult
from engine.model.nanochat.gpt_config import LARGEST, GPTConfig
from tests import tiny

SHAPE = {"sequence_len": 8, "vocab_size": 265, "n_layer": 1, "n_head": 1, "n_kv_head": 1}
SHAPE |= {"n_embd": 2}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("name", sorted(SHAPE))
@pytest.mark.parametrize("value", [10**9, 10**15, 10**400, -1, 1.5, "4", None, True])
def test_a_meta_file_with_an_absurd_shape_is_no_model(name: str, value: object) -> None:
    """A billion layers took 5 GB in 30 s before a tensor was read."""
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=f"model_config.{name}") as caught:
        GPTConfig.from_dict(SHAPE | {name: value})
    assert len(str(caught.value)) < 300
    assert time.monotonic() - started < 1


@given(st.dictionaries(st.sampled_from(sorted(SHAPE)), st.integers(1, 2**70)))
def test_any_shape_that_is_believed_is_bounded(changed: dict[str, int]) -> None:
    """What passes can be counted at once."""
    try:
        shape = GPTConfig.from_dict(SHAPE | changed)
    except CheckpointError:
        return
    assert all(getattr(shape, name) <= most for name, most in LARGEST.items())


def bomb(path: Path, name: str, count: int) -> None:
    """A results file whose array `name` unpacks to `count` MiB of zeros, of however many GB.

    A packed MiB stands in it again and again, as a packer would write it, but at once.
    """
    shape = f"({count * 2**20 // 8}, 4)"
    head = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + head.ljust(117) + b"\n"
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    kept = {}
    if path.exists():
        with zipfile.ZipFile(path) as old:
            kept = {each: old.read(each) for each in old.namelist() if each != name}
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in kept.items():
            archive.writestr(each, data)
        archive.writestr(name, first + block * count + packer.flush())
        info = archive.getinfo(name)
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, len(head) + count * 2**20


def test_the_bombs_of_these_tests_are_bombs(tmp_path: Path) -> None:
    """numpy unpacks one."""
    path = tmp_path / "items.npz"
    bomb(path, "zeros.npy", 3)
    with zipfile.ZipFile(path) as archive, archive.open("zeros.npy") as opened:
        member: Any = opened
        member._expected_crc = None  # the checksum is that of the packed bytes
        assert np.lib.format.read_array(member).shape == (3 * 2**17, 4)


def result() -> EvalResult:
    return EvalResult(
        task="A",
        item_set="s",
        item_ids=("1", "2"),
        subjects=("", ""),
        gold=("A", "B"),
        predicted=("A", "A"),
        letter_logprobs=np.zeros((2, 2), np.float32),
        item_letters=(("A", "B"), ("A", "B")),
        chance=0.5,
        one_letter=0.5,
    )


@pytest.mark.parametrize("load", [eval_items.load_items, validation_rows.load_rows])
def test_results_that_unpack_to_gigabytes_are_refused(
    tmp_path: Path, load: Callable[[Path], object]
) -> None:
    """8 MB became 8 GB in `show`, `questions`, `report` and on the screen."""
    path = tmp_path / "items.npz"
    bomb(path, "losses.npy", 8000)
    assert path.stat().st_size < 2**24
    before, started = peak_mib(), time.monotonic()
    with pytest.raises(DataError, match="entries are too large"):
        load(path)
    assert peak_mib() - before < 50
    assert time.monotonic() - started < 2


def test_an_array_that_says_it_is_longer_than_its_member_is_refused(tmp_path: Path) -> None:
    """The header's length is not believed either."""
    path = tmp_path / "items.npz"
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 9999), }"
    head = head.ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("losses.npy", data)
        archive.writestr("rows.npy", data)
    before = peak_mib()
    with pytest.raises(DataError):
        validation_rows.load_rows(path)
    assert peak_mib() - before < 100


@given(st.integers(0, 4000), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_damaged_results_file_is_one_sentence(place: int, junk: bytes, cut: bool) -> None:
    """Any byte changed, any length: numpy's and zip's errors are all expected."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.npz"
        eval_items.save_items(path, result())
        data = bytearray(path.read_bytes())
        at = place % len(data)
        data[at : at + len(junk)] = junk
        path.write_bytes(data[:at] if cut else data)
        with contextlib.suppress(DataError):
            eval_items.load_items(path)


def test_weights_that_unpack_to_more_than_their_file_are_not_loaded(tmp_path: Path) -> None:
    """torch.save packs nothing; a packed member took 4.3 GB before it was refused."""
    cache = tiny.write_cache(tmp_path / "cache")
    [path] = cache.glob("mid_checkpoints/*/model_*.pt")
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            data = old.read(member)
            more = bytes(300 * 2**20) if "data/0" in member.filename else b""
            new.writestr(member.filename, data + more)
    path.write_bytes(packed.getvalue())
    before = peak_mib()
    ref = nanochat_paths.find_checkpoint("mid", None, None, base=cache)
    with pytest.raises(CheckpointError, match="unpack to"):
        nanochat_io.load_weights(ref)
    assert peak_mib() - before < 100


def tokenizer_file(path: Path, pattern: str) -> Path:
    usual = Tokenizer.from_merges(NANOCHAT_PATTERN, [bytes([value]) for value in range(256)])
    fields = json.loads(usual._json())
    path.write_text(json.dumps(fields | {"pattern": pattern}))
    return path


HOSTILE = ["", "x", "zzz", r"(a|aa)+\1$", "(", r"\p{L}+", r"(?=.)", "a" * 20_000]
HOSTILE += [r"(?:(?:\w+\s?)+)+!"]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_pattern_that_does_not_take_any_text_is_refused(tmp_path: Path, pattern: str) -> None:
    """An empty one was a panic of Rust's; `x` encoded all other text to nothing."""
    path = tokenizer_file(tmp_path / "tokenizer.json", pattern)
    with pytest.raises(CheckpointError, match="pattern") as caught:
        Tokenizer.load(path)
    assert len(str(caught.value)) < 700


def test_the_child_that_tries_a_pattern_may_not_take_the_machines_memory() -> None:
    program = (
        "from engine.conversations import try_pattern as t\n"
        "t.limit_memory()\n"
        "bytes(t.MOST_BYTES // 2)\n"
        "try: bytes(t.MOST_BYTES * 3 // 2)\n"
        "except MemoryError: print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "refused\n"


def test_a_pattern_of_ones_own_is_taken(tmp_path: Path) -> None:
    """It gives a sentence back, so it is a tokenizer's."""
    path = tokenizer_file(tmp_path / "tokenizer.json", r"\w+|[^\w]")
    text = "hello, wörld 12"
    found = Tokenizer.load(path)
    assert found.decode(found.encode_ordinary(text)) == text
