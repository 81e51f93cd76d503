"""nanochat's tokenizer and chat format as the files that transformers reads.

tiktoken merges whatever pair of pieces forms the lowest-ranked token; the `tokenizers`
library merges listed pairs only. So every way to cut a token into two known pieces is
listed, not just the one it was learned from, and a piece that is a token as a whole
is taken as such first, as tiktoken does. No torch, and no transformers needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.conversations.tokenizer import (
    ASSISTANT_END,
    ASSISTANT_START,
    BOS,
    OUTPUT_END,
    OUTPUT_START,
    PYTHON_END,
    PYTHON_START,
    USER_END,
    USER_START,
    Tokenizer,
)

CHAT_TEMPLATE = f"""\
{{{{- bos_token -}}}}
{{%- set start = 1 if messages[0]['role'] == 'system' else 0 -%}}
{{%- for message in messages[start:] -%}}
{{%- if message['role'] == 'user' -%}}
{{{{- '{USER_START}' -}}}}
{{%- if loop.first and start -%}}{{{{- messages[0]['content'] + '\\n\\n' -}}}}{{%- endif -%}}
{{{{- message['content'] + '{USER_END}' -}}}}
{{%- elif message['role'] == 'assistant' -%}}
{{{{- '{ASSISTANT_START}' -}}}}
{{%- if message['content'] is string -%}}
{{{{- message['content'] -}}}}
{{%- else -%}}
{{%- for part in message['content'] -%}}
{{%- if part['type'] == 'python' -%}}
{{{{- '{PYTHON_START}' + part['text'] + '{PYTHON_END}' -}}}}
{{%- elif part['type'] == 'python_output' -%}}
{{{{- '{OUTPUT_START}' + part['text'] + '{OUTPUT_END}' -}}}}
{{%- else -%}}
{{{{- part['text'] -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- endif -%}}
{{{{- '{ASSISTANT_END}' -}}}}
{{%- else -%}}
{{{{- raise_exception('expected role user or assistant, not ' + message['role']) -}}}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}{{{{- '{ASSISTANT_START}' -}}}}{{%- endif -%}}
"""
"""Renders a conversation as `chat.render_conversation` does, a leading system message included.

Unlike there, a special token typed by a person is taken for one: that is how the
library encodes text, unless `split_special_tokens` is set.
"""


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """Content of `tokenizer.json`."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name, number in sorted(tokenizer.special_tokens.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": tokenizer.pattern},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": False,
                },
            ],
        },
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": False,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {_visible(piece): rank for rank, piece in enumerate(tokenizer.merges)},
            "merges": [[_visible(a), _visible(b)] for a, b in _pairs(tokenizer)],
        },
    }


def tokenizer_config(tokenizer: Tokenizer, max_tokens: int) -> dict[str, Any]:
    """Content of `tokenizer_config.json`; `max_tokens` is the model's sequence length."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": ASSISTANT_END,
        # nanochat has no padding token; whatever stands there is masked.
        "pad_token": BOS,
        "model_max_length": max_tokens,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def _pairs(tokenizer: Tokenizer) -> list[tuple[bytes, bytes]]:
    """Merges: each token split into two known tokens in every way, lowest rank first."""
    rank = {piece: number for number, piece in enumerate(tokenizer.merges)}
    found: list[tuple[bytes, bytes]] = []
    for piece in tokenizer.merges:
        cuts = [(piece[:place], piece[place:]) for place in range(1, len(piece))]
        known = [(a, b) for a, b in cuts if a in rank and b in rank]
        found += sorted(known, key=lambda cut: (rank[cut[0]], rank[cut[1]]))
    return found


def _byte_letters() -> Mapping[int, str]:
    """The library's letter for each byte: itself where it is printable, else one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [value for value in range(256) if value not in set(printable)]
    letters = {value: chr(value) for value in printable}
    return letters | {value: chr(0x100 + place) for place, value in enumerate(hidden)}


_LETTERS = _byte_letters()


def _visible(piece: bytes) -> str:
    return "".join(_LETTERS[value] for value in piece)
