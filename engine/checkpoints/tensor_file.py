"""Write a safetensors file tensor by tensor, so that other threads go on meanwhile.

`safetensors.torch.save_file` copies every tensor while it holds the interpreter's lock: 805 MB
made 100 stalls of the thread that trains, 57 ms at most. Writing a view of the tensor's own
memory holds it for microseconds. Files are read with safetensors' own loader.

Layout: 8 bytes, little-endian, length of the header; the header in JSON, filled up with
blanks; the tensors end to end. Source: huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

PIECE_BYTES = 2**23
"""Written at a time: long enough for the disk, short enough to be stopped in between."""


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write CPU tensors to `path`, which is replaced; the file is not synced.

    Raises:
        OSError: the disk is full or not writable.
    """
    # Widest elements first: with a header of whole 8 bytes each tensor then lies aligned.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {}
    end = 0
    for name, tensor in ordered:
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + tensor.nbytes],
        }
        end += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    # Unbuffered: a buffer would copy what is in memory already.
    with path.open("wb", buffering=0) as file:
        _write_all(file, memoryview(len(text).to_bytes(8, "little") + text))
        for _, tensor in ordered:
            flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            _write_all(file, flat.numpy().data)


ALIGNMENT = 64
"""Bytes. Where torch itself puts tensors, and what matrix kernels want."""


def placed(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The tensors on `device`, each where a kernel gives the bits it always gives.

    safetensors' loader hands out views of a mapped file, which begin at any byte: MKL then adds
    in another order than in torch's own memory, and a run that goes on from a checkpoint would
    leave the bits of the unbroken one.
    """
    moved = {name: tensor.to(device) for name, tensor in tensors.items()}
    return {
        name: tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor
        for name, tensor in moved.items()
    }


def _write_all(file: object, content: memoryview) -> None:
    for start in range(0, len(content), PIECE_BYTES):
        piece = content[start : start + PIECE_BYTES]
        while piece:
            # A raw write may take a part only: what is left is tried again.
            piece = piece[file.write(piece) :]  # type: ignore[attr-defined]
