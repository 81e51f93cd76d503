"""Fuzzed: files of a Hugging Face model and of adapters, chat templates, rows in files of any kind.

The model's folder is written by hand, so that no child imports transformers.
"""

from __future__ import annotations

import gzip
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

from tests import hf_material
from tests.faults.test_strangers import Desk

MODEL, ROWS = "model", "chat.jsonl"

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
NAMED = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
ADAPTER = {
    "base_model_name_or_path": f"../{MODEL}",
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "v_proj"],
}
TEMPLATES = (
    b"{% for m in messages %}{{ m.content }}{% endfor %}",
    b"{% macro say(m) %}{{ m.content }};{% endmacro %}{% for m in messages %}{{ say(m) }}"
    b"{% endfor %}",
    b"{% set n = namespace(x='') %}{% for m in messages %}{% set n.x = n.x ~ m.content %}"
    b"{% endfor %}{{ n.x|center(80) }}{{ '%9d' % 3 }}",
    b"{% for i in range(9) %}{{ messages[i]['content'] * i }}{% endfor %}{{ strftime_now('%Y') }}",
    b"{{ raise_exception('no') }}{{ tools|tojson }}{% if add_generation_prompt %}x{% endif %}",
)
TABLES = (
    b"prompt,completion\nwhat is 1 plus 2?,it is 3\nand 2 plus 2?,it is 4\n",
    b'question\tanswer\n"a ""quoted"" one"\tyes\nplain\tno\n',
    b'[{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]',
    b'{"data": [{"instruction": "a", "input": "", "output": "b"}]}',
    b'{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}\n' * 3,
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n',
    b'{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, '
    b'{"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": '
    b'{"name": "f", "arguments": "{}"}}]}, {"role": "tool", "content": "3"}, '
    b'{"role": "assistant", "content": "b"}], "tools": "[]"}\n',
)
ENDINGS = ("jsonl", "json", "csv", "tsv", "jsonl.gz", "csv.gz", "parquet")


def place(desk: Desk) -> Path:
    """The folder of the model, beside rows and adapters; made once."""
    folder = desk.folder / MODEL
    if folder.exists():
        return folder
    folder.mkdir()
    (desk.folder / "adapter").mkdir()
    # Few: a template writes each of them, however long it makes it.
    hf_material.chat_file(desk.folder / ROWS, 12)
    (folder / "tokenizer.json").write_text(hf_material._trained())
    (folder / "chat_template.jinja").write_text(hf_material.template("chatml", marked=False))
    for path, value in (
        (folder / "config.json", CONFIG),
        (folder / "tokenizer_config.json", NAMED),
        (folder / "special_tokens_map.json", NAMED),
        (folder / "generation_config.json", {"eos_token_id": 1}),
        (desk.folder / "adapter" / "adapter_config.json", ADAPTER),
    ):
        path.write_text(json.dumps(value))
    (folder / "model.safetensors").write_bytes(
        safetensors({"model.embed_tokens.weight": (400, 32)})
    )
    (desk.folder / "adapter" / "adapter_model.safetensors").write_bytes(
        safetensors({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (4, 32)})
    )
    return folder


def safetensors(shapes: dict[str, tuple[int, ...]]) -> bytes:
    """A file of zeros."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def parquet() -> bytes:
    """Two columns of texts."""
    import io

    import pyarrow
    from pyarrow.parquet import write_table

    columns = {"prompt": ["a", "b", "c"], "completion": ["1", "2", "3"]}
    out = io.BytesIO()
    write_table(pyarrow.table(columns), out)
    return out.getvalue()


def model_files(*names: str) -> Callable[[Desk], list[bytes]]:
    return lambda desk: [(place(desk).parent / name).read_bytes() for name in names]


def look(desk: Desk, rng: random.Random, rows: Path, *more: str) -> tuple[str, ...]:
    """`sftui data` over some rows with the model."""
    words = ["data", str(rows), "--model", str(desk.folder / MODEL), *more]
    return (*words, *rng.choice([(), (), ("--json",), ("--last-answer-only",), ("--first", "2")]))


def plan(desk: Desk, rng: random.Random, rows: Path, *, model: Path | None = None) -> list[str]:
    """A run's plan over some rows."""
    model = model or desk.folder / MODEL
    words = ["run", "--dry-run", "--headless", "--model", str(model), "--data", str(rows)]
    return [*words, *rng.choice([[], ["--skip-bad-rows"], ["--lora", "4"]])]


TOKENIZER_FILES = (
    "model/tokenizer.json",
    "model/tokenizer_config.json",
    "model/special_tokens_map.json",
    "model/config.json",
    "model/generation_config.json",
)
WEIGHT_FILES = ("model/model.safetensors", "adapter/adapter_model.safetensors")
ADAPTER_FILES = ("adapter/adapter_config.json", *WEIGHT_FILES)


def tables(desk: Desk) -> list[bytes]:
    place(desk)
    packed = [gzip.compress(table, mtime=0) for table in TABLES[:3]]
    return [*TABLES, *packed, parquet()]


def templates(desk: Desk) -> list[bytes]:
    place(desk)
    texts = [hf_material.template(name, marked=marked) for name in hf_material.names()
             for marked in (True, False)]  # fmt: skip
    return [*TEMPLATES, *(text.encode() for text in texts)]
