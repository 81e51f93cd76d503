"""Files written piece by piece are safetensors', and other threads run meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from engine.checkpoints import tensor_file
from tests.conftest import examples

DTYPES = sorted(tensor_file._NAMES, key=str)


@examples(40)
@given(
    made=st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)),
        max_size=6,
    ),
    piece=st.integers(1, 50),
)
def test_safetensors_reads_back_what_was_written(
    made: dict[str, tuple[torch.dtype, list[int]]],
    piece: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Any names, dtypes and shapes, scalars and empty ones too, in pieces of any size."""
    path = tmp_path_factory.mktemp("file") / "x.safetensors"
    tensors = {name: torch.randint(0, 2, shape).to(dtype) for name, (dtype, shape) in made.items()}
    before, tensor_file.PIECE_BYTES = tensor_file.PIECE_BYTES, piece
    try:
        tensor_file.write(path, tensors)
    finally:
        tensor_file.PIECE_BYTES = before
    found = load_file(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    """Transposed, cut out of a larger one, sharing storage: each as a tensor of its own."""
    whole = torch.arange(24.0).view(4, 6)
    tensors = {"t": whole.T, "rows": whole[1:3], "same rows": whole[1:3], "column": whole[:, 2]}
    tensor_file.write(tmp_path / "x", tensors)
    for name, tensor in load_file(tmp_path / "x").items():
        assert torch.equal(tensor, tensors[name])
    with safe_open(tmp_path / "x", "pt") as file:  # the header alone is valid for the reader
        assert set(file.keys()) == set(tensors)


def test_what_is_written_is_the_tensors_own_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of 8 MiB and without a copy: a copy is what holds the interpreter's lock."""
    written: list[tuple[int, int]] = []
    own = tensor_file._write_all

    class Watched:
        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, piece: memoryview) -> int:
            written.append((np.frombuffer(piece, np.uint8).ctypes.data, len(piece)))
            return int(self._file.write(piece))

    monkeypatch.setattr(
        tensor_file, "_write_all", lambda file, content: own(Watched(file), content)
    )
    tensors = {"b": torch.ones(5 * 2**20), "a": torch.ones(2**20, dtype=torch.bfloat16)}
    tensor_file.write(tmp_path / "x", tensors)
    pieces = written[1:]  # the header comes first
    assert max(size for _, size in pieces) == tensor_file.PIECE_BYTES == 2**23
    start = tensors["b"].data_ptr()
    assert pieces[:3] == [(start, 2**23), (start + 2**23, 2**23), (start + 2**24, 2**22)]
    assert pieces[3:] == [(tensors["a"].data_ptr(), 2**21)]


@examples(20)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_what_a_file_held_lies_where_torch_would_put_it(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    """A view of a mapped file begins at any byte, where MKL adds in another order."""
    path = tmp_path_factory.mktemp("file") / "x.safetensors"
    written = {f"{'n' * size}{index}": torch.randn(size) for index, size in enumerate(sizes)}
    tensor_file.write(path, written)
    found = tensor_file.placed(load_file(path), torch.device("cpu"))
    for name, tensor in written.items():
        assert torch.equal(found[name], tensor)
        assert found[name].data_ptr() % 64 == 0
