"""A growing row of numbers that takes a quarter of its room, and gives each back to the bit.

What a log prints is a whole number, or a decimal of few digits: `2.345678` is 2345678 / 10^6,
and that division is exact. So a block of them is kept as whole numbers, as offsets from the
least of the block, in as few bytes as those need; a block of evenly rising steps needs none.
Whatever does not come back exactly (a computed number, NaN) stays as wide as it came.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Number = TypeVar("Number", int, float)

BLOCK = 4096
"""Numbers packed at a time: enough that the block itself costs nothing, and few to unpack."""
_MOST_DIGITS = 9
_TASTE = 16
"""So many of a block are tried before all of it."""
_WHOLE = 2.0**53
"""Doubles below this hold every whole number."""
_WIDTHS = (np.uint8, np.uint16, np.uint32)


class Block:
    """Some numbers: (base + rise * i + offsets[i]) / 10 ** digits, or as they came."""

    __slots__ = ("base", "digits", "offsets", "rise")

    def __init__(self, offsets: NDArray[Any] | None, base: int, rise: int, digits: int) -> None:
        """`offsets` alone, wide ones, where `digits` is -1; None where all of them are 0."""
        self.offsets, self.base, self.rise, self.digits = offsets, base, rise, digits

    def unpacked(self, code: Literal["q", "d"], start: int, stop: int) -> NDArray[Any]:
        """Those from `start` to before `stop`, int64 or float64 as they came."""
        if self.digits < 0:
            assert self.offsets is not None
            return self.offsets[start:stop].astype(code)
        whole = np.arange(start, stop, dtype=np.int64) * self.rise + self.base
        if self.offsets is not None:
            whole += self.offsets[start:stop]
        return whole if code == "q" else whole / 10.0**self.digits


class Packed(Sequence[Number], Generic[Number]):
    """Like `array("q")` or `array("d")`, for `append`, `extend`, an index and a slice."""

    __slots__ = ("_blocks", "_digits", "_tail", "code")

    def __init__(self, code: Literal["q", "d"]) -> None:
        self.code = code
        self._blocks: list[Block] = []
        self._tail: array[Number] = array(code)
        self._digits = 0  # of the block before: the next is mostly of the same kind

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK + len(self._tail)

    @property
    def num_bytes(self) -> int:
        """Memory of the numbers."""
        packed = sum(b.offsets.nbytes for b in self._blocks if b.offsets is not None)
        return packed + len(self._tail) * self._tail.itemsize

    def append(self, value: Number) -> None:
        self._tail.append(value)
        if len(self._tail) >= BLOCK:
            self._pack()

    def extend(self, values: Iterable[Number] | NDArray[Any]) -> None:
        if isinstance(values, np.ndarray):
            self._tail.frombytes(values.astype(self.code, copy=False).tobytes())
        else:
            self._tail.extend(values)
        if len(self._tail) >= BLOCK:
            self._pack()

    @overload
    def __getitem__(self, index: int) -> Number: ...
    @overload
    def __getitem__(self, index: slice) -> array[Number]: ...
    def __getitem__(self, index: int | slice) -> Number | array[Number]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError("a slice of packed numbers has no step")
            return self._slice(start, stop)
        if index < 0:
            index += len(self)
        number, at = divmod(index, BLOCK)
        if number >= len(self._blocks):
            return self._tail[index - len(self._blocks) * BLOCK]
        if index < 0:
            raise IndexError(index)
        found: Number = self._blocks[number].unpacked(self.code, at, at + 1).item()
        return found

    def __iter__(self) -> Iterator[Number]:
        for start in range(0, len(self), BLOCK):
            yield from self._slice(start, min(len(self), start + BLOCK))

    def _slice(self, start: int, stop: int) -> array[Number]:
        found: array[Number] = array(self.code)
        whole = len(self._blocks) * BLOCK
        for number in range(start // BLOCK, -(-min(stop, whole) // BLOCK)):
            base = number * BLOCK
            part = self._blocks[number].unpacked(
                self.code, max(0, start - base), min(BLOCK, stop - base)
            )
            found.frombytes(part.tobytes())
        if stop > whole:
            found += self._tail[max(0, start - whole) : stop - whole]
        return found

    def _pack(self) -> None:
        """Everything but an unfinished block at the end."""
        values = np.frombuffer(self._tail, dtype=self.code)
        whole = len(values) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            block = packed(values[start : start + BLOCK], self._digits)
            self._digits = max(0, block.digits)
            self._blocks.append(block)
        rest: array[Number] = array(self.code)
        rest.frombytes(values[whole:].tobytes())
        self._tail = rest


def packed(values: NDArray[Any], likely_digits: int = 0) -> Block:
    """One block of int64 or float64, which is not empty.

    `likely_digits`: how many decimals those before them had.
    """
    if values.dtype == np.int64:
        return _offsets(values, 0) or Block(values.copy(), 0, 0, -1)
    for digits in (likely_digits, *range(_MOST_DIGITS + 1)):
        if _as_whole(values[:_TASTE], digits) is None:
            continue
        found = _as_whole(values, digits)
        if found is not None and (block := _offsets(found, digits)):
            return block
    with np.errstate(over="ignore", invalid="ignore"):
        half = values.astype(np.float32)
    if np.array_equal(half.astype(np.float64).view(np.int64), values.view(np.int64)):
        return Block(half, 0, 0, -1)
    return Block(values.copy(), 0, 0, -1)


def _as_whole(values: NDArray[Any], digits: int) -> NDArray[np.int64] | None:
    """The whole numbers that come back as `values`, to the bit, divided by 10 ** digits."""
    scale = 10.0**digits
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.rint(values * scale)
    if not (np.abs(whole) < _WHOLE).all():  # NaN is not
        return None
    found = whole.astype(np.int64)
    # The bits, because -0.0 equals 0.0 and is another number.
    return found if ((found / scale).view(np.int64) == values.view(np.int64)).all() else None


def _offsets(values: NDArray[Any], digits: int) -> Block | None:
    """None where they lie too far apart to be worth it."""
    low, high = int(values.min()), int(values.max())
    width = next((w for w in _WIDTHS if high - low <= np.iinfo(w).max), None)
    if width is None:
        return None
    rise = int(values[1]) - int(values[0]) if len(values) > 1 else 0
    if high - low == abs(rise) * (len(values) - 1) and (np.diff(values) == rise).all():
        return Block(None, int(values[0]), rise, digits)
    return Block((values - low).astype(width), low, 0, digits)
