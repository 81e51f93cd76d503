"""What of a tokenizer may cost without bound, and its trial on sentences.

Before a text is looked up in the vocabulary it is normalized and split, by patterns and
replacements of whoever published the model: a pattern may need tries without end, and
replacements may make gigabytes of a word. Most tokenizers do neither and need no trial. Any other
is tried in the child of `template_trial` before it is used here: without its vocabulary, which
has no part in that and takes the longest to read.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from engine.files import checked
from engine.model.hf.inner_tokenizer import is_panic, reason_of

LONGEST_PATTERN = 10_000
"""Characters; patterns in use have at most 600."""
LONGEST_TEXT = 200
"""Of what is put in the place of a match, or before a word; those in use have at most ten."""
MOST_GROWTH = 20
"""Characters that a tokenizer may make of one: Unicode's longest are 18, of an Arabic sign."""

_TRIED = ("normalizer", "pre_tokenizer", "decoder")
"""Parts with patterns and replacements."""

_SAFE = frozenset(
    {"Sequence", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "Strip", "StripAccents"}
    | {"Prepend", "Replace", "Split", "BertNormalizer", "BertPreTokenizer", "ByteLevel"}
    | {"Metaspace", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits", "UnicodeScripts"}
    | {"CharDelimiterSplit", "ByteFallback", "Fuse", "WordPiece", "BPEDecoder", "CTC"}
)
"""Kinds of parts that do nothing beyond the patterns and texts that they name."""

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"\s*[\r\n]+|\s+(?!\S)|\s+"
KNOWN_PATTERNS = frozenset(
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?{word}|{digits}| ?[^\s{signs}]+[\r\n]*|{_REST}"
    for digits in (r"\p{N}", r"\p{N}{1,3}")
    for word, signs in ((r"\p{L}+", r"\p{L}\p{N}"), (r"[\p{L}\p{M}]+", r"\p{L}\p{M}\p{N}"))
) | {r"\s+", " {2,}", r"\s{2,}|[\n\r\t]"}
"""Of Llama 3, Qwen and their kin: each takes a time that grows with the text alone."""

_SENTENCE = "The answer's 42: naïve café 123,456.78\n\n  \tif (x) {return 'ok';}  🙂 中文 ١٢ \r\n"
_RUNS = "".join(each * 120 + "!" for each in "aA0 .-_=\n\t中") + "ab" * 60 + "!"
"""What patterns that try in many ways to match are slow at."""


def outline(text: str) -> tuple[str, str]:
    """(of a tokenizer.json all but its vocabulary, as JSON, where that has to be tried: else
    empty; why it is not to be used: else empty).

    What cannot be read is left to the library, which has the words.
    """
    try:
        found = _read(text)
    except ValueError:
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    model = found.pop("model", None)
    named = {key: value for key, value in model.items() if isinstance(value, str)} if isinstance(
        model, dict) else {}  # fmt: skip
    parts = {key: found[key] for key in _TRIED if found.get(key) is not None}
    if fault := next(_too_long([parts, named]), ""):
        return "", fault
    if all(_is_safe(part) for part in parts.values()):
        return "", ""
    # Neither bounds what is encoded here: the engine takes both away.
    found.update(truncation=None, padding=None)
    found["model"] = {"type": "BPE", "vocab": {}, "merges": []}
    return json.dumps(found), ""


def _read(text: str) -> Any:
    """What a tokenizer.json holds; of one written in the usual order without the vocabulary, which
    is nearly all of it and comes last: to read it takes a third as long as to make a tokenizer.

    Raises:
        ValueError: it is no JSON.
    """
    head, name, rest = text.partition('"vocab"')
    if name and not any(mark in rest and pattern.search(rest) for mark, pattern in _BEHIND):
        with contextlib.suppress(ValueError):
            return checked.parse_json(f'{head}"vocab": {{}}}}}}')
    return checked.parse_json(text)


_BEHIND = (
    *((f'"{name}"', re.compile(rf'"{name}"\s*:\s*[{{\[]')) for name in (*_TRIED, "added_tokens")),
    *(
        (f'"{name}"', re.compile(rf'"{name}"\s*:\s*"'))
        for name in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix")
    ),
    ("\\u00", re.compile(r"\\u00[5-7]")),  # a letter of such a name
)
"""(text, pattern) of what must not stand behind the vocabulary to be seen without it."""


def _too_long(part: Any) -> Iterator[str]:
    """Texts in it that no tokenizer needs, each as a sentence's end."""
    for key, value in _texts(part):
        most = LONGEST_PATTERN if key in ("Regex", "String") else LONGEST_TEXT
        if len(value) > most and key != "precompiled_charsmap":
            yield f'its "{key[:40]}" has {len(value):,} characters, and {most:,} are read at most'


def _texts(part: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of all texts in it."""
    if isinstance(part, str):
        yield name, part
    elif isinstance(part, Mapping):
        for key, value in part.items():
            yield from _texts(value, key)
    elif isinstance(part, list):
        for each in part:
            yield from _texts(each, name)


def _is_safe(part: Any) -> bool:
    """Whether a part, by its text, takes no more time and makes no more text than others do."""
    if isinstance(part, list):
        return all(map(_is_safe, part))
    if not isinstance(part, Mapping) or part.get("type") not in _SAFE:
        return False
    pattern = part.get("pattern")
    if isinstance(pattern, Mapping):
        if any(key not in ("String", "Regex") for key in pattern):
            return False
        if "Regex" in pattern and pattern["Regex"] not in KNOWN_PATTERNS:
            return False
        # A replacement by more than it replaces, some dozen times, makes gigabytes of a letter.
        least = len(str(pattern.get("String") or " "))
        if len(str(part.get("content", ""))) > least or pattern.get("String") == "":
            return False
    elif pattern is not None:
        return False
    inner = [value for value in part.values() if isinstance(value, list)]
    return all(isinstance(each, Mapping) and _is_safe(each) for value in inner for each in value)


def faults(outlined: str) -> Iterator[str]:
    """What is wrong with what a tokenizer makes of some sentences, if it is to be tried; run in a
    child."""
    if not outlined:
        return
    try:
        yield from _faults(outlined)
    except BaseException as error:
        if not is_panic(error) and not isinstance(error, Exception):
            raise
        yield f"it fails at a sentence ({reason_of(error)})"


def _faults(outlined: str) -> Iterator[str]:
    import tokenizers  # noqa: PLC0415  of the extra

    try:
        tokenizer = tokenizers.Tokenizer.from_str(outlined)
    except Exception:  # what it refuses, it refuses with its vocabulary too, and says why
        return
    patterns = [text for key, text in _texts(checked.parse_json(outlined)) if key == "String"]
    replaced = " ".join(patterns)[:LONGEST_PATTERN] * 40
    for text in (_SENTENCE, _RUNS, replaced):
        split = _pieces(tokenizer, text)
        decode: Callable[[list[str]], str] = getattr(tokenizer.decoder, "decode", "".join)
        for made in ("".join(split), decode(split), decode(list(text))):
            if len(made) > MOST_GROWTH * len(text) + LONGEST_TEXT:
                yield f"it makes {len(made):,} characters of {len(text):,}"
        tokenizer.encode(text)


def _pieces(tokenizer: Any, text: str) -> list[str]:
    """What a text is normalized to and split into."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return [text]
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
