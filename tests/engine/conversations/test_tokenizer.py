"""The tokenizer agrees with nanochat's, and a hostile tokenizer file runs nothing."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest

from engine.conversations import tokenizer as tokenizer_module
from engine.conversations.tokenizer import BOS, SPECIAL_TOKENS, Tokenizer
from engine.errors import CheckpointError
from tests.conftest import SHARED, needs_shared

NANOCHAT = SHARED / "nanochat"


PATTERN = r"\p{L}+|\p{N}{1,2}|\s+|[^\s\p{L}\p{N}]+"
MERGES = [bytes([value]) for value in range(256)] + [b"th", b"the"]


@pytest.fixture
def small() -> Tokenizer:
    return Tokenizer.from_merges(PATTERN, MERGES)


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((NANOCHAT / "ref/render_and_eval_mid.json").read_text())
    return found


@pytest.fixture(scope="module")
def nanochat() -> Tokenizer:
    return Tokenizer.load(NANOCHAT / "base/tokenizer/tokenizer.pkl")


def pickled(tmp_path: Path, state: object) -> Path:
    """A pickle like nanochat's, with any state inside."""
    body = pickle.dumps(state, protocol=4)[2:-1]
    if body[:1] == pickle.FRAME:
        body = body[9:]
    path = tmp_path / "tokenizer.pkl"
    head = b"\x80\x04ctiktoken.core\nEncoding\n)\x81"
    path.write_bytes(head + body + b"b.")
    return path


def good_state() -> dict[str, Any]:
    return {
        "name": "rustbpe",
        "pat_str": PATTERN,
        "mergeable_ranks": {piece: rank for rank, piece in enumerate(MERGES)},
        "special_tokens": {name: len(MERGES) + i for i, name in enumerate(SPECIAL_TOKENS)},
    }


@needs_shared
def test_ids_are_nanochats(nanochat: Tokenizer, reference: dict[str, Any]) -> None:
    """Every recorded text gets exactly nanochat's ids."""
    texts = [sample["text"] for sample in reference["encode"]]
    ids = [sample["ids"] for sample in reference["encode"]]
    assert [nanochat.encode_ordinary(text) for text in texts] == ids


@needs_shared
def test_special_tokens_are_nanochats(nanochat: Tokenizer, reference: dict[str, Any]) -> None:
    """The nine special tokens have nanochat's ids and the vocabulary its size."""
    assert {name: nanochat.special(name) for name in SPECIAL_TOKENS} == reference["special"]
    assert nanochat.vocab_size == reference["vocab"]


@needs_shared
def test_json_form_is_the_same_tokenizer(nanochat: Tokenizer, tmp_path: Path) -> None:
    """A tokenizer written as JSON and read again encodes the same and has the same digest."""
    nanochat.save_json(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    text = "Hello <|bos|> wörld 12345\n\n 你好"
    assert again.encode_ordinary(text) == nanochat.encode_ordinary(text)
    assert again.digest == nanochat.digest
    assert len(nanochat.digest) == 64


def test_special_text_is_plain_text(small: Tokenizer) -> None:
    """A special token typed by a person never becomes the special id."""
    ids = small.encode_ordinary(BOS)
    assert small.special(BOS) not in ids
    assert small.decode(ids) == BOS
    assert small.decode([small.special(BOS)]) == BOS


def test_a_pickle_like_nanochats_loads(tmp_path: Path) -> None:
    """The hand-made pickles of this file are read, so a refusal below has its stated cause."""
    loaded = Tokenizer.load(pickled(tmp_path, good_state()))
    assert loaded.encode_ordinary("the") == [257]


def test_the_digest_sees_the_pattern(small: Tokenizer) -> None:
    """Two tokenizers that split differently have different digests."""
    assert small.digest != Tokenizer.from_merges(PATTERN + "|x", MERGES).digest


class Exploit:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    """A pickle that would make a folder when loaded is refused and makes none."""
    marker, path = tmp_path / "ran", tmp_path / "tokenizer.pkl"
    path.write_bytes(pickle.dumps(Exploit(marker), protocol=protocol))
    with pytest.raises(CheckpointError, match="not a nanochat tokenizer"):
        Tokenizer.load(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04cos\nsystem\n.",
        b"\x80\x04ctiktoken.core\nEncoding.__init__\n.",
        b"\x80\x04ctiktoken.core\nEncoding\n)\x81.",
        b"\x80\x04ctiktoken.core\nEncoding\n.",
        b"\x80\x04N.",
        b"\x80\x04Nr" + struct.pack("<I", 0xFFFFFFFF) + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**33) + b".",
        b"\x80\x04h\x07.",
        b"\x80\x04(((((",
        b"\x80\x04\x82\x01.",
        b"hello",
        b"\x00",
        b"{",
        b'{"format": "other"}',
        b"[" * 100_000,
        b"{" + b'"a":{' * 100_000,
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """Whatever the bytes are, the answer is a CheckpointError that names the file."""
    path = tmp_path / "tokenizer.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.pkl: .*[Ee]xpected"):
        Tokenizer.load(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 7),
        ("pat_str", b"x"),
        ("pat_str", "("),
        ("mergeable_ranks", [1]),
        ("mergeable_ranks", {"a": 1}),
        ("mergeable_ranks", {b"a": True}),
        ("mergeable_ranks", {}),
        ("mergeable_ranks", {bytes([i]): i + 1 for i in range(256)}),
        ("special_tokens", {BOS: 258}),
        ("special_tokens", dict.fromkeys(SPECIAL_TOKENS, 0)),
        ("special_tokens", {1: 2}),
        ("extra", 1),
    ],
)
def test_each_field_is_checked(tmp_path: Path, field: str, value: object) -> None:
    """A field of the wrong type or with impossible ids is refused before tiktoken sees it."""
    with pytest.raises(CheckpointError):
        Tokenizer.load(pickled(tmp_path, good_state() | {field: value}))


def test_a_registered_encodings_name_is_not_enough(tmp_path: Path) -> None:
    """A pickle that only names one of tiktoken's own encodings is refused, not downloaded."""
    with pytest.raises(CheckpointError, match="does not hold exactly"):
        Tokenizer.load(pickled(tmp_path, "gpt2"))


def test_every_cut_is_refused(tmp_path: Path) -> None:
    """A file cut anywhere is a CheckpointError."""
    path = pickled(tmp_path, good_state())
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError):
            Tokenizer.load(path)


def test_a_missing_or_huge_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file and one beyond the size limit are both refused with their path."""
    with pytest.raises(CheckpointError, match=r"nowhere\.pkl: cannot be read"):
        Tokenizer.load(tmp_path / "nowhere.pkl")
    path = pickled(tmp_path, good_state())
    monkeypatch.setattr(tokenizer_module, "MAX_FILE_BYTES", 1000)
    with pytest.raises(CheckpointError, match="too large"):
        Tokenizer.load(path)
