"""The lines that nanochat prints, as patterns; what they mean together is `nanochat.py`'s.

Two writers share a log (stdout and stderr, and several ranks), so a line may be
glued to another or to foreign text: `pieces` finds where known lines start.

Formats: nanochat of October 2025 (chat_sft, mid_train, base_train, chat_eval), the
2026 generation, and forks that put further fields between the known ones.
"""

from __future__ import annotations

import itertools
import re
from datetime import datetime

from engine.events import Scalar

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf)"
_STEP = r"(\d{1,12})"
_COUNT = r"([\d,]{1,20})"

# Numbers are whatever stands there; `float` says if it is one. A tighter pattern costs twice.
SFT_STEP = re.compile(
    rf"Step {_STEP}/{_STEP} \| Training loss: ([^|]+)\| lrm: ([^|]+)\| num_tokens: {_COUNT}"
)
"""Groups: step, total, loss, lr multiplier, tokens."""

PRETRAIN_STEP = re.compile(
    rf"step {_STEP}(?:/{_STEP})? \(([^%]+)%\) \| loss: (\S+) \| lrm: (\S+) \| "
    rf"(?:lr\([^)]*\) \| )?dt: (\S+?)ms \| tok/sec: {_COUNT} \| (?:bf16_)?mfu: (\S+) \|"
    r"(?: epoch: (\d{1,9})[^|]*\|)? total time: [\d.]+m(?: \| eta: [\d.]+m)?"
)
"""Groups: step, total, percent, loss, lr multiplier, milliseconds, tokens/s, MFU %, epoch."""

STEP_FIELDS = re.compile(rf"step {_STEP}(?:/{_STEP})? \(({_NUMBER})%\) \| (.*)")
"""A training line of a fork: step, total, percent, and `key: value` fields between bars."""
FIELD = re.compile(rf"\s*([A-Za-z][\w ()/.-]{{0,40}}?):? +({_NUMBER})(?:ms|m|s|%)?\s*")
STEP_VALUES = re.compile(rf"Step {_STEP} \| (.*)")
"""Evaluations: a list of `name: value` separated by commas or bars."""
VALIDATION = re.compile(rf"Validation (loss|bpb): ({_NUMBER})")
NAME_VALUE = re.compile(rf"([A-Za-z][\w ./-]{{0,40}}): ({_NUMBER})")
FINAL = re.compile(r"Final: (\d{1,9})/(\d{1,9}) \([\d.]+%\)")
PROGRESS = re.compile(r"Rank \d{1,5} \| \d+/\d+ \([\d.]+%\)")
TASK_ACCURACY = re.compile(r"(?:  ([\w-]{1,40})|([\w-]{1,40}) accuracy): (\d{1,3}\.\d\d)%$")
"""One group or the other is the task: ` GSM8K: 4.17%` in 2026, `GSM8K accuracy: 4.17%`."""
CORE_TASK = re.compile(rf"Evaluating: (\w{{1,60}}) \(.*accuracy: ({_NUMBER}) \| centered")
BPB = re.compile(rf"(train|val) bpb: ({_NUMBER})$")
TRAINING_TIME = re.compile(r"Total training time: (\d{1,9}\.\d+)m")
PEAK_MEMORY = re.compile(r"Peak memory usage: (\d{1,12}\.\d+)MiB")
CORE_METRIC = re.compile(rf"CORE metric: ({_NUMBER})$")

LOGGER = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) - nanochat\.\w+ - \w+ - (.*)", re.DOTALL
)
"""Groups: time, milliseconds, message."""
SAVED_MODEL = re.compile(r"Saved model (?:file|parameters) to: (.*/model_(\d{1,9})\.pt)")
LOADING_MODEL = re.compile(r"Loading model from (\S+) with step (\d{1,12})")
_CONFIG_ITEM = re.compile(r"[\"'](\w+)[\"']: (?:[\"'](\w*)[\"']|(-?\d{1,15}(?:\.\d+)?))")
_JSON_ITEM = re.compile(r'\s+"(sequence_len|vocab_size|n_layer|n_head|n_kv_head|n_embd)": (\d+)')

_STARTS = (
    # Text to look for, characters before it, and what must stand there.
    ("Step ", 0, re.compile(r"Step \d+(?:/\d+)? \| ")),
    ("step ", 0, re.compile(r"step \d+(?:/\d+)? \(")),
    ("Final: ", 0, re.compile(r"Final: \d+/\d+ \(")),
    (
        " - nanochat.",
        23,
        re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - nanochat\."),
    ),
    ("Overriding: ", 0, re.compile(r"Overriding: \w+ = ")),
    ("Autodetected device type: ", 0, re.compile("A")),
    ("\u2705 Saved model checkpoint to", 0, re.compile("\u2705")),
)

TASKS = {
    "mmlu": "MMLU",
    "arc_easy": "ARC-Easy",
    "arc_challenge": "ARC-Challenge",
    "gsm8k": "GSM8K",
    "humaneval": "HumanEval",
    "spellingbee": "SpellingBee",
}
"""Task by the name that a metrics line gives it (`mmlu_acc`)."""


def pieces(line: str) -> list[str]:
    """The known lines that are glued together in `line`; foreign text before them is left out."""
    starts = []
    for text, before, pattern in _STARTS:
        at = line.find(text)
        while at >= 0:
            if at >= before and pattern.match(line, at - before):
                starts.append(at - before)
            at = line.find(text, at + 1)
    if not starts:
        return []
    starts.sort()
    return [line[a:b] for a, b in itertools.pairwise([*starts, len(line)])]


def count(digits: str) -> int:
    """A number with thousands commas."""
    return int(digits.replace(",", ""))


def scalar(text: str) -> Scalar:
    """A setting as nanochat understood it: a literal, else the text."""
    words: dict[str, Scalar] = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text) if len(text) < 40 else text
        except ValueError:
            continue
    return text.strip("'\"")


def model_config(text: str) -> dict[str, Scalar]:
    """The items of a printed dict or of a line of printed JSON."""
    return {key: word or scalar(number) for key, word, number in _CONFIG_ITEM.findall(text)}


def json_item(line: str) -> dict[str, Scalar]:
    """One line of the model config that 2026 prints as indented JSON."""
    match = _JSON_ITEM.match(line)
    return {match[1]: scalar(match[2])} if match else {}


def num_parameters(config: dict[str, Scalar]) -> int | None:
    """Parameters of the October model; None for other shapes (2026 has more tensors).

    2 V D + layers (2 D D + 2 KV D + 8 D D): embedding and head, attention, MLP.
    """
    names = ("vocab_size", "n_embd", "n_layer", "n_head", "n_kv_head")
    shape = [config.get(name) for name in names]
    if "window_pattern" in config or not all(isinstance(n, int) and n > 0 for n in shape):
        return None
    vocab, width, layers, heads, kv_heads = (int(n) for n in shape if n is not None)
    kv_width = kv_heads * (width // heads)
    return 2 * vocab * width + layers * (10 * width * width + 2 * kv_width * width)


def seconds_of(when: str, milliseconds: str) -> float | None:
    """Seconds since the epoch of a logger's local time; None if it is no time."""
    try:
        # The log does not name its zone. Read as this machine's, it is shown again as printed.
        moment = datetime.fromisoformat(when)
        return moment.timestamp() + int(milliseconds) / 1000
    except (ValueError, OverflowError, OSError):
        return None
