"""What a weights file holds, read without torch and without loading it.

A `torch.save` file is a zip archive: a small pickle names the tensors, and each one's numbers
are a member of their own. The pickle is taken apart by an unpickler that can build nothing
but names, shapes and dtypes. So a plan can say at once that a file is a Git LFS pointer, half
a file, or of another model, where loading it would take seconds and torch.
"""

from __future__ import annotations

import collections
import io
import math
import os
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from engine.errors import CheckpointError
from engine.files import checked
from engine.files.lfs import pointer_fault
from engine.model import family
from engine.model.family import ModelShape, Shapes

COMPILE_PREFIX = "_orig_mod."
"""In front of every name of a model that was compiled when it was saved."""

NUMBERS_READ_BYTES = 64 * 2**20
"""So much of a file is looked at for numbers that are none: all of a small one, and of a large
one blocks over all of its tensors. The ranks look at every number when they load it."""

BLOCK_BYTES = 64 * 2**10

MOST_PICKLE_BYTES = 64 * 2**20
"""A thousand tensors are described in about 200 KB."""

MOST_SAFETENSORS_HEADER = 100 * 2**20
"""The format's own limit."""


@dataclass(frozen=True, slots=True)
class Dtype:
    """How one number is stored."""

    name: str
    size: int
    """Bytes."""
    floating: bool = True


_FLOAT32, _BFLOAT16 = Dtype("float32", 4), Dtype("bfloat16", 2)

_STORAGES = {
    "FloatStorage": _FLOAT32,
    "DoubleStorage": Dtype("float64", 8),
    "HalfStorage": Dtype("float16", 2),
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": Dtype("int64", 8, floating=False),
    "IntStorage": Dtype("int32", 4, floating=False),
    "ShortStorage": Dtype("int16", 2, floating=False),
    "CharStorage": Dtype("int8", 1, floating=False),
    "ByteStorage": Dtype("uint8", 1, floating=False),
    "BoolStorage": Dtype("bool", 1, floating=False),
}
"""torch's typed storages, as its pickles name them."""

_SAFETENSORS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8,
    "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
"""Bytes of one number by safetensors' names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorHeader:
    """One tensor, not loaded."""

    shape: tuple[int, ...]
    dtype: Dtype
    storage: str
    """Member of the archive that holds its numbers."""
    offset: int
    """Of its first number in the storage, in numbers."""
    contiguous: bool

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A file that is whole and holds the tensors of the model it claims, as far as looked at."""

    tensors: int
    numbers: int
    looked_at: int
    """Numbers that were read, all of them finite."""

    @property
    def words(self) -> str:
        """`26 tensors by name and shape, all 721,000 numbers are finite`."""
        named = f"{self.tensors:,} tensors by name and shape"
        if self.looked_at == self.numbers:
            return f"{named}, all {self.numbers:,} numbers are finite"
        if not self.looked_at:
            return f"{named}; the ranks look at the numbers"
        share = 100 * self.looked_at / self.numbers
        return (
            f"{named}; {share:.2g}% of {self.numbers:,} numbers, spread over all tensors, are "
            "finite (the ranks look at every one)"
        )


def shapes(path: Path) -> Shapes | None:
    """Shapes by name of a `torch.save` file's tensors; None where it cannot be read.

    What is wrong with it then, `check` says.
    """
    try:
        with path.open("rb") as file:
            found = _tensors(path, _open(path, file))
    except (OSError, CheckpointError):
        return None
    return {name.removeprefix(COMPILE_PREFIX): each.shape for name, each in found.items()}


def content(path: Path, advice: str) -> object:
    """What a `torch.save` file of any form holds, with a `TensorHeader` for each tensor.

    Raises:
        CheckpointError: missing, a Git LFS pointer, cut off, or of another kind; then `advice`.
    """
    try:
        with path.open("rb") as file:
            _refuse_stand_in(path, file, file.read(1024))
            return _table(path, _open(path, file))[1]
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). {advice}") from None
    except CheckpointError as error:
        # Found by the same reader as a model's file, whose advice is another.
        raise CheckpointError(str(error).replace(_ADVICE, advice)) from None


def check(path: Path, config: ModelShape) -> Checked:
    """Look into a `torch.save` file of a nanochat model.

    Reads the header and at most about `NUMBERS_READ_BYTES` of numbers.

    Raises:
        CheckpointError: the file is missing, a Git LFS pointer, cut off, of another kind, or
            holds other tensors than the model's, or a number that is not finite.
    """
    try:
        with path.open("rb") as file:
            _refuse_stand_in(path, file, file.read(1024))
            archive = _open(path, file)
            found = _tensors(path, archive)
            tensors = {name.removeprefix(COMPILE_PREFIX): each for name, each in found.items()}
            try:
                family.of(config).check_shapes(config, {n: t.shape for n, t in tensors.items()})
            except CheckpointError as error:
                raise CheckpointError(f"{path}: {error}") from None
            _check_dtypes(path, tensors)
            _check_storages(path, archive, tensors)
            looked_at = _check_numbers(path, archive, file, tensors)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). {_ADVICE}") from None
    return Checked(
        tensors=len(tensors),
        numbers=sum(each.numel for each in tensors.values()),
        looked_at=looked_at,
    )


def check_safetensors(path: Path) -> None:
    """Look into a safetensors file: it is one, and it is whole.

    Raises:
        CheckpointError: missing, a Git LFS pointer, cut off, or of another kind.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1024)
            _refuse_stand_in(path, file, head)
            size = path.stat().st_size
            length = int.from_bytes(head[:8], "little")
            if size < 8 or not 2 <= length <= min(MOST_SAFETENSORS_HEADER, size - 8):
                raise CheckpointError(f"{path}: not a whole safetensors file. {_COPY}")
            file.seek(8)
            content = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). {_COPY}") from None
    try:
        header = checked.parse_json(content)
        ends = [_safetensors_end(each) for name, each in header.items() if name != "__metadata__"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its header is damaged ({error!r}). {_COPY}") from None
    wanted = 8 + length + max(ends, default=0)
    if size != wanted:
        raise CheckpointError(
            f"{path}: has {size:,} bytes, its header says {wanted:,}; expected the whole file. "
            f"{_COPY}"
        )


def _refuse_stand_in(path: Path, file: BinaryIO, head: bytes) -> None:
    """Refuse what only stands for a file: a Git LFS pointer, or a hole of the file's size."""
    fault = pointer_fault(path, head) or checked.hollow_fault(path, os.fstat(file.fileno()))
    if fault:
        raise CheckpointError(f"{fault}.")


_COPY = "Copy it again from where it was written."

_ADVICE = (
    "Expected a model_*.pt of nanochat's: copy it again, or name another with --model-tag and "
    "--step."
)


def _safetensors_end(found: Mapping[str, Any]) -> int:
    begin, end = found["data_offsets"]
    number = _SAFETENSORS.get(found["dtype"])
    # A dtype that is not known here is torch's to judge.
    if number is not None and end - begin != math.prod(found["shape"]) * number:
        raise ValueError("sizes that do not fit")
    return checked.whole(end)


def _open(path: Path, file: BinaryIO) -> zipfile.ZipFile:
    """The archive.

    Raises:
        CheckpointError: it is none, or its end (where the table of contents stands) is missing.
    """
    size = path.stat().st_size
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, EOFError, IndexError, NotImplementedError):
        file.seek(0)
        # Every zip archive begins so; this one's table of contents is not where it ends.
        half = "cut off" if file.read(4) == b"PK\3\4" else "not a torch.save archive"
        raise CheckpointError(
            f"{path}: not a whole torch.save file ({size:,} bytes, {half}). {_ADVICE}"
        ) from None
    for member in archive.infolist():
        if member.header_offset + member.compress_size > size:
            raise CheckpointError(f"{path}: damaged, {member.filename} is cut off. {_ADVICE}")
    return archive


# ---- the pickle that names the tensors --------------------------------------------------------


class _Storage:
    """Stands for a typed storage: the class in the pickle, and what a persistent id gives."""

    def __init__(self, dtype: Dtype, key: str = "", numel: int = 0) -> None:
        self.dtype, self.key, self.numel = dtype, key, numel


def _rebuild_tensor(
    storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: object
) -> TensorHeader:
    """In the place of `torch._utils._rebuild_tensor_v2`, whose arguments begin so."""
    numbers = [offset, *size, *stride]
    if any(type(each) is not int or each < 0 for each in numbers) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor whose shape is no shape")
    expected, dense = 1, True
    for length, step in zip(reversed(size), reversed(stride), strict=True):
        dense &= length == 1 or step == expected
        expected *= length
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if math.prod(size) and last >= storage.numel:
        raise pickle.UnpicklingError("a tensor that is larger than its numbers")
    return TensorHeader(
        shape=tuple(size),
        dtype=storage.dtype,
        storage=storage.key,
        offset=offset,
        contiguous=dense,
    )


def _rebuild_parameter(data: object, *_: object) -> object:
    """In the place of `torch._utils._rebuild_parameter`."""
    return data


class _HeaderUnpickler(pickle.Unpickler):
    """Builds names and `TensorHeader`s; whatever else the pickle asks for is refused."""

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _STORAGES:
            return _Storage(_STORAGES[name])
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _location, numel = pid
        if kind != "storage" or type(storage) is not _Storage or type(numel) is not int:
            raise pickle.UnpicklingError("a storage of an unknown form")
        return _Storage(storage.dtype, str(key), numel)


def _tensors(path: Path, archive: zipfile.ZipFile) -> dict[str, TensorHeader]:
    """Every tensor by its name.

    Raises:
        CheckpointError: the archive holds no such table, or more than one.
    """
    table, found = _table(path, archive)
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(each, TensorHeader) for name, each in found.items()
    ):
        keys = (
            ", ".join(str(key)[:40] for key in list(found)[:4]) if isinstance(found, dict) else ""
        )
        holds = f" (it holds {keys})" if keys else ""
        raise CheckpointError(f"{path}: is not a table of tensors{holds}. {_ADVICE}")
    prefix = table.rpartition("/")[0]
    return {
        name: TensorHeader(
            shape=each.shape,
            dtype=each.dtype,
            storage=f"{prefix}/data/{each.storage}".lstrip("/"),
            offset=each.offset,
            contiguous=each.contiguous,
        )
        for name, each in found.items()
    }


def _table(path: Path, archive: zipfile.ZipFile) -> tuple[str, object]:
    """The name of the archive's pickle, and what it holds, with a `TensorHeader` a tensor."""
    pickles = [m for m in archive.infolist() if m.filename.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError(f"{path}: a zip file, but not torch.save's. {_ADVICE}")
    if pickles[0].file_size > MOST_PICKLE_BYTES:
        raise CheckpointError(f"{path}: holds more than tensors, so it is not loaded. {_ADVICE}")
    try:
        content = archive.read(pickles[0])
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({error}). {_ADVICE}") from None
    return pickles[0].filename, _unpickle(path, content)


def _unpickle(path: Path, content: bytes) -> object:
    try:
        # Read first, without executing any: the C unpickler believes a memo index of gigabytes.
        for opcode, argument, _position in pickletools.genops(content):
            if opcode.name in ("BINPUT", "LONG_BINPUT") and int(str(argument)) > len(content):
                raise pickle.UnpicklingError("its memo is larger than the file")
        return _HeaderUnpickler(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors ({error}), so it is not loaded. {_ADVICE}"
        ) from None
    except (ValueError, TypeError, AttributeError, EOFError, IndexError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}). {_ADVICE}") from None
    except (ImportError, MemoryError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}). {_ADVICE}") from None


# ---- the numbers ------------------------------------------------------------------------------


def _check_dtypes(path: Path, tensors: Mapping[str, TensorHeader]) -> None:
    for name, each in tensors.items():
        if not each.dtype.floating:
            raise CheckpointError(
                f"{path}: tensor {name} is of {each.dtype.name}; expected floating-point weights. "
                "Name another checkpoint."
            )


def _check_storages(
    path: Path, archive: zipfile.ZipFile, tensors: Mapping[str, TensorHeader]
) -> None:
    """Every tensor's numbers are in the archive, as many as it needs."""
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    for name, each in tensors.items():
        there = sizes.get(each.storage)
        needed = (each.offset + each.numel) * each.dtype.size
        if there is None or (each.contiguous and there < needed):
            what = "are missing" if there is None else f"are {there:,} bytes of {needed:,}"
            raise CheckpointError(f"{path}: the numbers of tensor {name} {what}. {_ADVICE}")


def _check_numbers(
    path: Path, archive: zipfile.ZipFile, file: BinaryIO, tensors: Mapping[str, TensorHeader]
) -> int:
    """How many numbers were looked at; all of them are finite.

    Raises:
        CheckpointError: one is not, or a part of the file cannot be read.
    """
    members = {member.filename: member for member in archive.infolist()}
    total = sum(each.numel * each.dtype.size for each in tensors.values())
    looked_at = 0
    for name, each in tensors.items():
        member = members[each.storage]
        if not each.contiguous or member.compress_type != zipfile.ZIP_STORED:
            continue  # nanochat writes neither; the ranks look at them
        data = _data_offset(file, member)
        if data is None:
            raise CheckpointError(f"{path}: damaged before the numbers of {name}. {_ADVICE}")
        begin = data + each.offset * each.dtype.size
        for start, length in _blocks(each.numel * each.dtype.size, total):
            file.seek(begin + start)
            content = file.read(length)
            if len(content) < length:
                raise CheckpointError(f"{path}: tensor {name} is cut off. {_ADVICE}")
            if not _finite(content, each.dtype):
                raise CheckpointError(
                    f"{path}: tensor {name} holds numbers that are not finite; expected a usable "
                    "model. Start from an earlier --step."
                )
            looked_at += length // each.dtype.size
    return looked_at


def _data_offset(file: BinaryIO, member: zipfile.ZipInfo) -> int | None:
    """Where a stored member's bytes begin: after its local header of 30 bytes, name and extra.

    None where there is no such header: a download with holes in it.
    """
    file.seek(member.header_offset)
    header = file.read(30)
    if not header.startswith(b"PK\3\4"):
        return None
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return member.header_offset + 30 + name + extra


def _blocks(size: int, total: int) -> Iterator[tuple[int, int]]:
    """(start, length) in bytes of what is read of a tensor of `size` out of `total`.

    All of it where the whole file is small; else blocks at equal distances, the first and the
    last among them, in proportion to its size.
    """
    if total <= NUMBERS_READ_BYTES:
        if size:
            yield 0, size
        return
    count = max(2, int(size / total * NUMBERS_READ_BYTES) // BLOCK_BYTES)
    if count * BLOCK_BYTES >= size:
        if size:
            yield 0, size
        return
    last = (size - BLOCK_BYTES) // 8
    for number in range(count):
        yield last * number // (count - 1) * 8, BLOCK_BYTES


def _finite(content: bytes, dtype: Dtype) -> bool:
    """Whether all numbers are finite. Files are little-endian, as every machine torch runs on."""
    if dtype == _BFLOAT16:
        # numpy has none; it is the upper half of a float32, whose exponent is all ones if not
        # finite.
        halves: npt.NDArray[np.uint16] = np.frombuffer(content, "<u2")
        return not bool(((halves & 0x7F80) == 0x7F80).any())
    numbers = np.frombuffer(content, f"<f{dtype.size}")
    return bool(np.isfinite(numbers).all())
