"""The same numbers in every row of a log, in each format that keeps many of them.

Twenty series as a supervised run logs them, validation and accuracies among them, and every row
has every one: what a reader, a page of charts and a benchmark have to bear. A file is written at
once and goes on being written where it stopped, as a run that is followed does.

    log = EveryRow(Path("folder"), "wandb", points=100_000)
    log.target                  # what `sftui replay` is given
    log.grow(10)                # ten rows more
"""

from __future__ import annotations

import functools
import json
import math
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from sftui.readers.tensorboard import masked_crc32c

FORMATS = ("wandb", "tensorboard", "csv", "jsonl", "text")
SERIES = (
    "train/loss",
    "val/loss",
    "train/grad_norm",
    "train/learning_rate",
    "train/tokens_per_second",
    "train/mfu",
    "train/seconds",
    "rewards/chosen",
    "rewards/rejected",
    "kl",
    "entropy",
    "optimizer/beta1",
    "optimizer/weight_decay",
    "memory/gpu0",
    "memory/gpu1",
    "eval/mmlu",
    "eval/arc_easy",
    "eval/arc_challenge",
    "eval/gsm8k",
    "eval/humaneval",
)
"""Names of the twenty."""
_TASKS = 5
_WANDB_BLOCK = 32 * 1024
_WANDB_HEAD = b":W&B\xbe\xe1\x00"
_FIRST_SECOND = 1.7e9


class Numbers:
    """Rows of numbers that fall and rise and are noisy, the same for the same seed."""

    def __init__(self, names: tuple[str, ...] = SERIES, seed: int = 0) -> None:
        self.names = names
        self._noise = random.Random(seed)

    def row(self, step: int, points: int) -> list[float]:
        """The numbers of one step; those of the tasks between 0 and 1."""
        falling, noise = math.exp(-6 * step / max(1, points)), self._noise.random
        losses = [0.6 + 0.05 * i + 2.4 * falling + 0.1 * noise() for i in range(len(self.names))]
        if self.names is SERIES:
            first = len(losses) - _TASKS
            losses[first:] = [0.9 - 0.6 * falling + 0.1 * noise() for _ in range(_TASKS)]
        return losses


class EveryRow:
    """A log of rows that all have all numbers; see the module."""

    def __init__(
        self, folder: Path, kind: str, points: int, names: tuple[str, ...] = SERIES
    ) -> None:
        """`kind`: one of `FORMATS`."""
        self.kind, self.points = kind, points
        self._numbers = Numbers(names)
        self._step = 0
        self.target = self.file = (
            folder
            / {
                "wandb": "run-1.wandb",
                "tensorboard": "events.out.tfevents.1700000000.host",
                "csv": "metrics.csv",
                "jsonl": "metrics.jsonl",
                "text": "run.log",
            }[kind]
        )
        head, self._line = _format(kind, names, points)
        self.file.write_bytes(head)
        self._size = len(head)
        self.grow(points)

    def grow(self, rows: int) -> None:
        """Write so many rows more."""
        with self.file.open("ab") as file:
            for data in self.more(rows):
                file.write(data)

    def more(self, rows: int) -> Iterator[bytes]:
        """The bytes of so many rows more."""
        for _ in range(rows):
            values = self._numbers.row(self._step, self.points)
            data = self._line(self._step, values)
            if self.kind == "wandb":
                data = framed(data, self._size)
            self._size += len(data)
            self._step += 1
            yield data


def _format(
    kind: str, names: tuple[str, ...], points: int
) -> tuple[bytes, Callable[[int, list[float]], bytes]]:
    """How a file begins, and what writes a row."""
    match kind:
        case "csv":
            head = ",".join(("step", *(name.replace("/", "_") for name in names)))
            return f"{head}\n".encode(), _csv
        case "jsonl":
            return b"", functools.partial(_json, names)
        case "text":
            return b"", functools.partial(_text, names, points)
        case "tensorboard":
            version = b"\x09" + struct.pack("<d", _FIRST_SECOND) + b"\x1a\x0dbrain.Event:2"
            return tf_record(version), functools.partial(_events, [n.encode() for n in names])
        case "wandb":
            noise = random.Random(1)
            return _WANDB_HEAD, functools.partial(_history, [n.encode() for n in names], noise)
    raise ValueError(kind)


def _csv(step: int, values: list[float]) -> bytes:
    return f"{step},{','.join(f'{value:.6f}' for value in values)}\n".encode()


def _json(names: tuple[str, ...], step: int, values: list[float]) -> bytes:
    return (json.dumps({"step": step, **dict(zip(names, values, strict=True))}) + "\n").encode()


def _text(names: tuple[str, ...], points: int, step: int, values: list[float]) -> bytes:
    words = " | ".join(f"{name}: {value:.6f}" for name, value in zip(names, values, strict=True))
    return f"step {step:05d}/{points:05d} | {words}\n".encode()


# ---- TensorBoard -----------------------------------------------------------------------------


def tf_record(message: bytes) -> bytes:
    """A record of an event file. Checksums of content are left zero: reading them is optional."""
    return _length_of(len(message)) + message + bytes(4)


@functools.lru_cache(maxsize=4096)
def _length_of(size: int) -> bytes:
    length = struct.pack("<Q", size)
    return length + struct.pack("<I", masked_crc32c(length))


def _events(names: list[bytes], step: int, values: list[float]) -> bytes:
    """An event a scalar, as `SummaryWriter.add_scalar` writes it."""
    head = b"\x09" + struct.pack("<d", _FIRST_SECOND + step)
    if step:
        head += b"\x10" + varint(step)
    out = []
    for name, value in zip(names, values, strict=True):
        scalar = _message(1, name) + b"\x15" + struct.pack("<f", value)
        out.append(tf_record(head + _message(5, _message(1, scalar))))
    return b"".join(out)


# ---- wandb -----------------------------------------------------------------------------------


def framed(record: bytes, offset: int) -> bytes:
    """A record in blocks of 32 KiB, for the place in its file (the header's 7 bytes included)."""
    out, first = bytearray(), True
    while record or first:
        left = _WANDB_BLOCK - (offset + len(out)) % _WANDB_BLOCK
        if left < 7:
            out += bytes(left)
            continue
        piece, record = record[: left - 7], record[left - 7 :]
        kind = (1 if not record else 2) if first else (4 if not record else 3)
        out += bytes(4) + struct.pack("<HB", len(piece), kind) + piece
        first = False
    return bytes(out)


def _history(names: list[bytes], noise: random.Random, step: int, values: list[float]) -> bytes:
    """A row and the summary after it, items in any order, as a run of wandb writes them."""
    items = [(name, repr(value)) for name, value in zip(names, values, strict=True)]
    items += [(b"_step", str(step)), (b"_timestamp", repr(_FIRST_SECOND + step))]
    noise.shuffle(items)
    body = b"".join(
        _message(1, _message(2, name) + b"\x82\x01" + varint(len(text)) + text.encode())
        for name, text in items
    )
    return b"\x08" + varint(step + 1) + _message(2, body + _message(2, b"\x08" + varint(step)))


def _message(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A whole number as protocol buffers write it."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
