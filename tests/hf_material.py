"""Tokenizers and models of transformers, made small in a test: no file is fetched."""

from __future__ import annotations

import json
import random
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.conftest import SHARED

TEMPLATES = Path(__file__).parent / "engine" / "model" / "hf" / "templates"
CONTROLS = (
    *("<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>"),
    *("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|start_of_role|>"),
    *("<|end_of_role|>", "<|end_of_text|>", "<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>"),
    *("<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<think>", "</think>"),
)
_MARK = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
WORDS = (
    "the quick brown fox jumps over a lazy dog and asks which letter is right ",
    "Multiple Choice question: A B C D E Respond only with the letter of the correct answer ",
    "what is two plus two? it is four. say hello to the world, please! yes no maybe 0 1 2 3 4 ",
)


def template(name: str, *, marked: bool) -> str:
    """A chat template, with or without its `{% generation %}` marks."""
    text = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return text if marked else _MARK.sub("", text)


def names() -> list[str]:
    """Of all templates."""
    return sorted(path.stem for path in TEMPLATES.glob("*.jinja"))


@lru_cache
def _trained() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(CONTROLS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    found.train_from_iterator(WORDS * 4, trainer)
    return str(found.to_str())


def tokenizer(name: str = "chatml", *, marked: bool = False) -> Any:
    """A byte-level BPE tokenizer of about 400 tokens with that chat template."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    found = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained()),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=list(CONTROLS[3:]),
    )
    found.chat_template = template(name, marked=marked)
    return found


def content(name: str = "chatml", *, marked: bool = False, last_answer_only: bool = False) -> dict:
    """What `HfTokenizer` is made of."""
    return {
        "format": "hf",
        "tokenizer": _trained(),
        "named": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
        "template": template(name, marked=marked),
        "last_answer_only": last_answer_only,
    }


def folder(
    path: Path, *, template_name: str = "chatml", tie: bool = True, width: int = 32, layers: int = 2
) -> Path:
    """A tiny Llama with its tokenizer, as `save_pretrained` writes it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    found = tokenizer(template_name)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(found),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tie,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    found.save_pretrained(path)
    return path


def chat_rows(place: Path, given: Path | None = None, rows: int = 400) -> Path:
    """The first rows of a file: the one given, the real ones, or made up where there are none."""
    found = given or SHARED / "data" / "chat.train.jsonl"
    if not found.is_file():
        return chat_file(place, rows=rows)
    with found.open() as file:
        place.write_text("".join(line for line, _ in zip(file, range(rows), strict=False)))
    return place


def chat_file(path: Path, rows: int = 80) -> Path:
    """Conversations about small sums."""
    rng = random.Random(0)
    lines = []
    for _ in range(rows):
        a, b = rng.randrange(5), rng.randrange(5)
        asked = {"role": "user", "content": f"what is {a} plus {b}?"}
        row = {"messages": [asked, {"role": "assistant", "content": f"it is {a + b}"}]}
        lines.append(json.dumps(row) + "\n")
    path.write_text("".join(lines))
    return path
