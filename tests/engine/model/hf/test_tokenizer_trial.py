"""Tokenizers hold patterns of strangers: a hostile one costs a sentence, not the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.conversations.chat_format import render_conversation
from engine.conversations.conversation import Conversation, Message, RowFault
from engine.errors import CheckpointError
from engine.model.hf import template_trial, tokenizer_trial
from engine.model.hf.hf_tokenizer import HfTokenizer
from sftui import cli
from tests import hf_material

LETTERS = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
SLOW_TEXT = "ю" * 40 + "!"


def split(pattern: str) -> dict[str, Any]:
    """The part that splits texts at what a pattern matches."""
    found = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return {"type": "Sequence", "pretokenizers": [{**found, "invert": False}, LETTERS]}


def replace(old: dict[str, str], new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": old, "content": new}


def content(**parts: Any) -> dict[str, Any]:
    """An ordinary tokenizer with some parts of its own."""
    found = hf_material.content()
    return {**found, "tokenizer": json.dumps({**json.loads(found["tokenizer"]), **parts})}


DOUBLES = {
    "type": "Sequence",
    "normalizers": [replace({"String": "a"}, "aa") for _ in range(40)],
}
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "pattern": ({"pre_tokenizer": split("(a+)+$")}, "retry-limit-in-match"),
    "choice": ({"pre_tokenizer": split("(a|aa)+c")}, "retry-limit-in-match"),
    "long": ({"normalizer": replace({"String": "a"}, "a" * 2_000_000)}, "2,000,000 characters"),
    "doubling": ({"normalizer": DOUBLES}, "a sentence took it"),
    "growth": ({"normalizer": replace({"String": "q"}, "a" * 150)}, "it makes .* characters of"),
    "answers": ({"decoder": replace({"String": "a"}, "b" * 150)}, "it makes .* characters of"),
    "prefix": ({"normalizer": {"type": "Prepend", "prepend": "a" * 10**6}}, '"prepend" has 1,000'),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_tokenizer_is_refused_before_it_is_used(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row ended in a panic, or took gigabytes without end."""
    monkeypatch.setattr(template_trial, "MOST_SECONDS", 1)
    parts, why = HOSTILE[kind]
    with pytest.raises(CheckpointError, match=rf"tokenizer\.json is not used: .*{why}") as refused:
        HfTokenizer(content(**parts), "lab/model")
    assert "\n" not in str(refused.value)


def test_a_text_that_the_library_fails_at_is_a_fault_of_its_row(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It was a panic, which is no Exception: a traceback, with forty lines of the library's own."""
    model = tmp_path / "model"
    hf_material.tokenizer().save_pretrained(model)
    hostile = content(pre_tokenizer=split("(ю+)+$"))
    (model / "tokenizer.json").write_text(hostile["tokenizer"], encoding="utf-8")
    rows = hf_material.chat_file(tmp_path / "chat.jsonl", 2)
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": SLOW_TEXT}]
    with rows.open("a") as file:
        file.write(json.dumps({"messages": said}) + "\n")
    assert cli.main(["data", str(rows), "--model", str(model)]) == 0
    told = capfd.readouterr()
    assert "1 cannot be used; the first: " in told.out
    assert "the tokenizer fails at the text: Onig: Regex search error" in told.out
    assert not told.err


@pytest.mark.parametrize("role", ["assistant", "text"])
def test_whatever_reads_a_text_gives_the_same_fault(role: str) -> None:
    tokenizer = HfTokenizer(content(pre_tokenizer=split("(ю+)+$")), "lab/model")
    said = [Message("user", "x"), Message("assistant", SLOW_TEXT)]
    row = Conversation(tuple(said) if role == "assistant" else (Message("text", SLOW_TEXT),))
    with pytest.raises(RowFault, match="fails at the text"):
        render_conversation(tokenizer, row)
    with pytest.raises(RowFault, match="fails at the text"):
        tokenizer.encode_ordinary(SLOW_TEXT)
    with pytest.raises(RowFault, match="fails at the text"):
        tokenizer.prompt([Message("user", SLOW_TEXT)])


def test_ids_that_the_library_fails_at_are_a_sentence() -> None:
    token = {"id": 500, "content": SLOW_TEXT, "single_word": False, "lstrip": False}
    tokens = json.loads(hf_material.content()["tokenizer"])["added_tokens"]
    added = [*tokens, {**token, "rstrip": False, "normalized": False, "special": False}]
    made = content(added_tokens=added, decoder=replace({"Regex": "(ю+)+$"}, "b"))
    tokenizer = HfTokenizer(made, "lab/model")
    with pytest.raises(CheckpointError, match="retry-limit-in-match"):
        tokenizer.decode([tokenizer.special(SLOW_TEXT)])


QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_2 = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace({"String": " "}, "▁")],
    },
    "pre_tokenizer": None,
    "decoder": {
        "type": "Sequence",
        "decoders": [
            replace({"String": "▁"}, " "),
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"normalizer": {"type": "NFC"}, "pre_tokenizer": split(QWEN)},
        {"pre_tokenizer": split(QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1))},
        LLAMA_2,
    ],
    ids=["bytes", "qwen", "llama 3", "llama 2"],
)
def test_ordinary_tokenizers_start_no_process(parts: dict[str, Any]) -> None:
    assert tokenizer_trial.outline(content(**parts)["tokenizer"]) == ("", "")


@pytest.mark.parametrize(
    "parts",
    [
        {"pre_tokenizer": split(r"\p{N}{1,3}|[一-龥぀-ゟ゠-ヿ]+|\p{L}+|\s+|[^\s\p{L}\p{N}]+")},
        {"normalizer": {"type": "Sequence", "normalizers": [replace({"String": "…"}, "...")]}},
    ],
)
def test_a_tokenizer_with_patterns_of_its_own_that_behaves_is_used(parts: dict[str, Any]) -> None:
    made = content(**parts)
    assert tokenizer_trial.outline(made["tokenizer"])[0]
    tokenizer = HfTokenizer(made, "lab/model")
    assert tokenizer.decode(tokenizer.encode_ordinary("what is 123 中文?")) == "what is 123 中文?"


@pytest.mark.parametrize("name", ["normalizer", "\\u006eormalizer"])
def test_what_stands_behind_the_vocabulary_is_seen_too(name: str) -> None:
    """The vocabulary is not read where nothing but it follows, as it is written by the library."""
    ordinary = hf_material.content()["tokenizer"].strip()
    assert ordinary.endswith("}")
    hostile = json.dumps(replace({"String": "a"}, "a" * 300))
    _, fault = tokenizer_trial.outline(f'{ordinary[:-1]}, "{name}": {hostile}}}')
    assert "300 characters" in fault


def test_no_vocabulary_is_sent_to_the_child() -> None:
    """It has no part in what may cost without bound, and takes the longest to read."""
    outlined, _ = tokenizer_trial.outline(content(pre_tokenizer=split("x"))["tokenizer"])
    assert '"vocab": {}' in outlined
    assert len(outlined) < 10_000
