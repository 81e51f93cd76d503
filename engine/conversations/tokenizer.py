"""Text to token ids and back, with nanochat's nine special tokens.

Text is never trusted to hold special tokens: `<|user_end|>` typed by a person
is encoded as plain characters, and only `special(name)` gives a special id.
nanochat keeps its tokenizer as a pickle, which could run code when loaded;
here it is taken apart by an unpickler that can build nothing but plain data.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import pickle
import pickletools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import tiktoken

from engine.errors import CheckpointError
from engine.files import checked
from engine.files.lfs import pointer_fault

BOS = "<|bos|>"
USER_START = "<|user_start|>"
USER_END = "<|user_end|>"
ASSISTANT_START = "<|assistant_start|>"
ASSISTANT_END = "<|assistant_end|>"
PYTHON_START = "<|python_start|>"
PYTHON_END = "<|python_end|>"
OUTPUT_START = "<|output_start|>"
OUTPUT_END = "<|output_end|>"

SPECIAL_TOKENS = (
    BOS,
    USER_START,
    USER_END,
    ASSISTANT_START,
    ASSISTANT_END,
    PYTHON_START,
    PYTHON_END,
    OUTPUT_START,
    OUTPUT_END,
)
"""In nanochat's order, which is also the order of their ids: the last nine."""

MAX_FILE_BYTES = 64 * 2**20
"""A vocabulary of 65,536 is a file of about 1 MB; the largest public ones are under 8 MB."""

MOST_PATTERN_CHARACTERS = 10_000
"""Patterns in use have at most 400."""

TRIAL_TEXT = "The answer's 42: naïve café 123,456.78\n\n  \tif (x) {return 'ok';}  🙂 中文 ١٢ \r\n"
"""Words, numbers, signs, blanks and letters of several scripts: what a tokenizer must give back."""

TRIAL_SECONDS = 20.0
"""It takes half a second, most of it to start Python; a busy machine takes longer."""

NANOCHAT_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
"""nanochat's split pattern: GPT-4's with numbers in groups of at most two digits."""

_TRIED = {NANOCHAT_PATTERN, r"[\s\S]"}
"""Patterns that are known to take any text; others are tried out, once a process."""

_JSON_FORMAT = "sftui-tokenizer-1"


class Tokenizer:
    """A byte-pair encoding run by tiktoken. Safe to share between threads."""

    def __init__(
        self,
        *,
        pattern: str,
        merges: Sequence[bytes],
        special_tokens: Mapping[str, int],
        name: str = "rustbpe",
    ) -> None:
        """`merges[i]` is the byte string of id i; `special_tokens` come after the last of them.

        Raises:
            CheckpointError: the ids leave gaps, a byte or a special token is
                missing, or the pattern is not a regular expression.
        """
        _check_vocabulary(merges, special_tokens)
        self.name = name
        self.pattern = pattern
        self.merges = tuple(merges)
        self.special_tokens = dict(special_tokens)
        if len(pattern) > MOST_PATTERN_CHARACTERS:
            _refuse(f"its split pattern has {len(pattern):,} characters")
        try:
            self._encoding = tiktoken.Encoding(
                name,
                pat_str=pattern,
                mergeable_ranks={piece: rank for rank, piece in enumerate(self.merges)},
                special_tokens=self.special_tokens,
            )
        except Exception as error:
            raise CheckpointError(_pattern_fault(str(error))) from error
        except BaseException as error:
            # A panic in tiktoken's Rust is no Exception; Ctrl-C is none either.
            if type(error).__name__ != "PanicException":
                raise
            raise CheckpointError(_pattern_fault("tiktoken fails at it")) from None

    @classmethod
    def from_merges(cls, pattern: str, merges: Sequence[bytes]) -> Tokenizer:
        """A new tokenizer: the nine special tokens get the ids after the last merge."""
        special = {name: len(merges) + place for place, name in enumerate(SPECIAL_TOKENS)}
        return cls(pattern=pattern, merges=merges, special_tokens=special)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """nanochat's `tokenizer.pkl`, or our `.json` form, told apart by the first byte.

        Raises:
            CheckpointError: missing, too large, damaged, or not a tokenizer. A
                hostile pickle executes nothing and ends here too.
        """
        content = _read(path)
        try:
            found = cls.from_json(content) if content[:1] == b"{" else cls._from_pickle(content)
            if found.pattern not in _TRIED:
                found.try_pattern()
                _TRIED.add(found.pattern)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        return found

    @classmethod
    def load_same(cls, path: Path, digest: str) -> Tokenizer:
        """The tokenizer that a run was started with.

        Raises:
            CheckpointError: as `load`, or its digest is another one.
        """
        found = cls.load(path)
        if found.digest != digest:
            raise CheckpointError(
                f"{path} is not the tokenizer this run was started with (its checksum differs "
                "from run.json). Put the old file back; another one needs a new run."
            )
        return found

    def try_pattern(self) -> None:
        """Encode and decode a text of all kinds in a child, under a time limit.

        A pattern is a program of its own: it may match nothing, leave text out, need time without
        end, or bring tiktoken down with the process that uses it.

        Raises:
            CheckpointError: the text did not come back.
        """
        job = json.dumps({"tokenizer": self._json(), "text": TRIAL_TEXT})
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "engine.conversations.try_pattern"],
                input=job.encode(),
                capture_output=True,
                timeout=TRIAL_SECONDS,
            )
        except subprocess.TimeoutExpired:
            fault = f"a sentence took longer than {TRIAL_SECONDS:.0f} s"
            raise CheckpointError(_pattern_fault(fault)) from None
        except OSError as error:
            raise CheckpointError(
                f"The tokenizer cannot be tried out: no process can be started ({error.strerror})."
            ) from None
        if done.returncode or done.stdout.strip() != b"same":
            fault = done.stdout.decode("utf-8", "replace").strip()[:200] or "it ends the program"
            raise CheckpointError(_pattern_fault(fault))

    def save_json(self, path: Path) -> None:
        """Write the `.json` form: the same vocabulary without a pickle."""
        path.write_text(self._json(), encoding="utf-8")

    def save_pickle(self, path: Path) -> None:
        """Write the form nanochat's own loader reads: a pickled tiktoken encoding."""
        path.write_bytes(pickle.dumps(self._encoding, protocol=4))

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of plain text; special tokens in it are just characters."""
        return self._encoding.encode_ordinary(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens written out; broken UTF-8 becomes U+FFFD."""
        return self._encoding.decode(list(ids))

    def bytes_of(self, token: int) -> bytes:
        """Bytes of one id, which may end in the middle of a character; a special token's name."""
        return self._encoding.decode_single_token_bytes(token)

    def token_bytes(self) -> npt.NDArray[np.int64]:
        """[V] bytes that each token stands for; 0 of special ones.

        Worked out here, not read from nanochat's `token_bytes.pt`: a file made in October 2025
        counts 3 for every token that is no UTF-8 alone.
        """
        sizes = [len(piece) for piece in self.merges]
        return np.array([*sizes, *([0] * len(self.special_tokens))], np.int64)

    def special(self, name: str) -> int:
        """Id of a special token, e.g. `special(BOS)`."""
        return self.special_tokens[name]

    @property
    def vocab_size(self) -> int:
        return len(self.merges) + len(self.special_tokens)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the vocabulary, the same whichever file it was read from."""
        return hashlib.sha256(self._json().encode()).hexdigest()

    def _json(self) -> str:
        fields = {
            "format": _JSON_FORMAT,
            "name": self.name,
            "pattern": self.pattern,
            "special_tokens": self.special_tokens,
            "merges": [base64.b64encode(piece).decode() for piece in self.merges],
        }
        return json.dumps(fields, ensure_ascii=True, sort_keys=True)

    @classmethod
    def from_json(cls, content: bytes) -> Tokenizer:
        """From the content of a file of `save_json`.

        Raises:
            CheckpointError: damaged, or not a tokenizer.
        """
        try:
            found = checked.parse_json(content)
            if found["format"] != _JSON_FORMAT:
                _refuse(f"its format is {found['format']!r}")
            name, pattern, special = found["name"], found["pattern"], found["special_tokens"]
            merges = [base64.b64decode(piece, validate=True) for piece in found["merges"]]
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise CheckpointError(
                f"This tokenizer file is damaged ({error!r}). {_ADVICE}"
            ) from error
        ranks = {piece: rank for rank, piece in enumerate(merges)}
        if len(ranks) != len(merges):
            _refuse("two of its ids stand for the same bytes")
        return cls._from_fields(
            {
                "name": name,
                "pat_str": pattern,
                "mergeable_ranks": ranks,
                "special_tokens": special,
            }
        )

    @classmethod
    def _from_pickle(cls, content: bytes) -> Tokenizer:
        return cls._from_fields(_unpickle(content))

    @classmethod
    def _from_fields(cls, found: object) -> Tokenizer:
        """From the four fields of a pickled tiktoken encoding, each checked for its type."""
        wanted = {"name", "pat_str", "mergeable_ranks", "special_tokens"}
        if type(found) is not dict or set(found) != wanted:
            _refuse(f"it does not hold exactly {', '.join(sorted(wanted))}")
        name, pattern = found["name"], found["pat_str"]
        ranks, special = found["mergeable_ranks"], found["special_tokens"]
        if type(name) is not str or type(pattern) is not str:
            _refuse("its name or its pattern is not text")
        _check_table("mergeable_ranks", ranks, bytes)
        _check_table("special_tokens", special, str)
        merges = sorted(ranks, key=ranks.__getitem__)
        if [ranks[piece] for piece in merges] != list(range(len(merges))):
            _refuse("its ranks are not 0, 1, 2, ... without gaps")
        return cls(pattern=pattern, merges=merges, special_tokens=special, name=name)


def _pattern_fault(what: str) -> str:
    return (
        f"The tokenizer's split pattern cannot be used ({what}); expected a regular expression "
        "that takes any text. Take the tokenizer that belongs to the checkpoint."
    )


_ADVICE = (
    "Expected nanochat's tokenizer.pkl (or sftui's tokenizer.json); copy it again from where "
    "the checkpoint was trained."
)


def _refuse(what: str) -> NoReturn:
    raise CheckpointError(f"This is not a nanochat tokenizer: {what}. {_ADVICE}")


def _read(path: Path) -> bytes:
    try:
        # The size is looked at first: a file of gigabytes must not be read to be refused.
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise CheckpointError(
                f"{path}: {size:,} bytes is too large for a tokenizer (limit "
                f"{MAX_FILE_BYTES:,}). {_ADVICE}"
            )
        content = checked.read_typed(path, MAX_FILE_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). {_ADVICE}") from error
    if not content:
        raise CheckpointError(f"{path}: the file is empty. {_ADVICE}")
    if fault := pointer_fault(path, content):
        raise CheckpointError(f"{fault}.")
    return content


def _check_table(what: str, table: object, key_type: type) -> None:
    if type(table) is not dict:
        _refuse(f"its {what} are not a table")
    for key, value in table.items():
        if type(key) is not key_type or type(value) is not int:
            _refuse(f"its {what} hold {key!r}: {value!r}"[:120])


def _check_vocabulary(merges: Sequence[bytes], special_tokens: Mapping[str, int]) -> None:
    pieces = set(merges)
    # Without every single byte some text has no encoding, and tiktoken panics on it.
    if len(pieces) != len(merges) or any(bytes([value]) not in pieces for value in range(256)):
        _refuse("its vocabulary does not hold each single byte once")
    missing = [name for name in SPECIAL_TOKENS if name not in special_tokens]
    if missing:
        _refuse(f"it lacks the special token {missing[0]}")
    total = len(merges) + len(special_tokens)
    if sorted(special_tokens.values()) != list(range(len(merges), total)):
        _refuse("its special tokens do not have the ids after the last merge")


# ---- the restricted unpickler ----------------------------------------------------------------


class _EncodingStub:
    """Stands in for `tiktoken.core.Encoding`: keeps the pickled state and does nothing."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("tiktoken.core", "Encoding"):
            return _EncodingStub
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


# fmt: off
_PLAIN_OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
    "GLOBAL", "STACK_GLOBAL", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NEWOBJ",
    "BUILD", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "NONE", "BININT", "BININT1", "BININT2",
    "LONG1", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES",
    "BINBYTES8",
))
# fmt: on
"""What a pickled encoding is made of. No REDUCE: nothing here can call a function."""


def _unpickle(content: bytes) -> object:
    """State of the one encoding in `content`; every fault is a CheckpointError.

    The opcodes are read first, without executing any: the C unpickler believes
    a memo index or a length of gigabytes and allocates it.
    """
    try:
        for opcode, argument, _position in pickletools.genops(content):
            if opcode.name not in _PLAIN_OPCODES:
                raise pickle.UnpicklingError(f"it uses {opcode.name}")
            if opcode.name in ("BINPUT", "LONG_BINPUT") and int(str(argument)) > len(content):
                raise pickle.UnpicklingError("its memo is larger than the file")
        found = _RestrictedUnpickler(io.BytesIO(content)).load()
    except (
        # All that a damaged or hostile stream can raise without any code of its own.
        pickle.UnpicklingError,
        ValueError,
        TypeError,
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        ImportError,
        MemoryError,
        OverflowError,
        RecursionError,
    ) as error:
        _refuse(str(error) or type(error).__name__)
    if type(found) is not _EncodingStub:
        _refuse(f"it holds a {type(found).__name__}")
    return found.state
