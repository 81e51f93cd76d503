"""Weights are looked into before a run is planned: whole, of this model, and finite."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from engine.checkpoints import checkpoint_dir, checkpoint_target, weights_header
from engine.checkpoints.nanochat_io import load_weights
from engine.checkpoints.nanochat_paths import find_checkpoint
from engine.config import RunConfig
from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError
from engine.model.hf.hf_config import read_folder
from engine.model.nanochat.gpt_config import GPTConfig
from engine.processes import launch
from tests import tiny
from tests.conftest import SHARED, examples, needs_shared
from tests.engine.data.test_json_rows import POINTER
from tests.engine.small import tiny_model

STATE = {name: tensor.clone() for name, tensor in tiny_model().state_dict().items()}
CONFIG: GPTConfig = tiny_model().config


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(cache))


def plan() -> launch.Start:
    """What the launcher finds to start from, before anything runs."""
    return launch.find_start(RunConfig())[0]


def put(cache: Path, content: object) -> Path:
    """A checkpoint file in the place of the cache's."""
    path = cache / "mid_checkpoints" / "d1" / "model_000007.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


def agree(cache: Path) -> bool:
    """Whether plan and loader judge the checkpoint alike; the plan's verdict."""
    ref = find_checkpoint("mid", base=cache)
    try:
        load_weights(ref)
        loads = True
    except CheckpointError:
        loads = False
    try:
        plan()
        planned = True
    except CheckpointError as error:
        planned = "model_000007.pt" not in str(error)
    assert planned == loads
    return planned


def test_a_whole_checkpoint_is_said_to_be_one(cache: Path) -> None:
    put(cache, STATE)
    found = plan()
    assert found.checked == (
        f"{len(STATE)} tensors by name and shape, all {CONFIG.num_parameters:,} numbers are finite"
    )


WHOLE: dict[str, Any] = {
    "compiled": {f"_orig_mod.{name}": tensor for name, tensor in STATE.items()},
    "bf16": {name: tensor.bfloat16() for name, tensor in STATE.items()},
    "fp16": {name: tensor.half() for name, tensor in STATE.items()},
    "fp64": {name: tensor.double() for name, tensor in STATE.items()},
    "ordered": collections.OrderedDict(STATE),
    "module's own": tiny_model().state_dict(),
    "parameters": {name: torch.nn.Parameter(tensor) for name, tensor in STATE.items()},
    "transposed": {name: tensor.t().contiguous().t() for name, tensor in STATE.items()},
    "views of one storage": dict(
        zip(STATE, [part.view(t.shape) for part, t in zip(
            torch.cat([t.flatten() for t in STATE.values()]).split(
                [t.numel() for t in STATE.values()]), STATE.values(), strict=True)], strict=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_what_loads_is_planned_with(cache: Path, kind: str) -> None:
    """Every way to save the same weights that the loader takes."""
    put(cache, WHOLE[kind])
    assert agree(cache)


NAMES = sorted(STATE)


@examples(40)
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_where_the_loader_would(
    cache: Path, data: st.DataObject
) -> None:
    """Missing and foreign tensors, other shapes and kinds of number, numbers that are none."""
    name = data.draw(st.sampled_from(NAMES))
    state: dict[str, Any] = dict(STATE)
    tensor = state[name].clone()
    value = data.draw(st.sampled_from([float("nan"), float("inf"), -float("inf")]))
    place = data.draw(st.integers(0, tensor.numel() - 1))
    wide = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]))
    match data.draw(st.sampled_from(["lacks", "foreign", "shape", "turned", "whole", "number"])):
        case "lacks":
            del state[name]
        case "foreign":
            state[f"{name}.lora"] = tensor
        case "shape":
            state[name] = tensor[:-1]
        case "turned":
            state[name] = tensor.reshape(-1)
        case "whole":
            state[name] = tensor.long()
        case "number":
            tensor.view(-1)[place] = value
            state[name] = tensor.to(wide)
    put(cache, state)
    assert not agree(cache)


@examples(60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_half_a_file_is_refused_wherever_it_ends(cache: Path, share: float) -> None:
    path = put(cache, STATE)
    whole = path.read_bytes()
    put(cache, whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"model_000007\.pt: (not a whole|damaged)"):
        plan()
    assert not agree(cache)


def test_a_download_with_a_hole_is_refused(cache: Path) -> None:
    """Its length and its table of contents are right; a part never came."""
    path = put(cache, STATE)
    data = bytearray(path.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model_000007\.pt"):
        plan()


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


def test_nothing_in_a_checkpoint_is_run(cache: Path, tmp_path: Path) -> None:
    """Code in the pickle, a class of somebody's, a nest of tables: refused, and nothing made."""
    mark = tmp_path / "ran"
    for content in (
        STATE | {"lm_head.weight": Payload(mark)},
        tiny_model(),
        {"model": STATE, "step": 3},
        [torch.zeros(2)],
        {},
        pickle.dumps(Payload(mark)),
        b"",
    ):
        put(cache, content)
        assert not agree(cache)
    assert not mark.exists()


def test_a_zip_that_is_none_of_torchs_is_refused(cache: Path) -> None:
    path = put(cache, b"")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights")
    with pytest.raises(CheckpointError, match=r"not torch\.save's"):
        plan()


@pytest.mark.parametrize("where", ["model", "meta", "tokenizer"])
def test_a_pointer_in_any_file_of_a_checkpoint_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    base = tiny.write_cache(tmp_path)
    folder = base / "mid_checkpoints" / "d1"
    path = {
        "model": folder / "model_000007.pt",
        "meta": folder / "meta_000007.json",
        "tokenizer": base / "tokenizer" / "tokenizer.pkl",
    }[where]
    path.write_bytes(POINTER)
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(base))
    with pytest.raises(CheckpointError, match=rf"{path.name}: a Git LFS pointer.*git lfs pull"):
        plan()
    if where == "model":
        with pytest.raises(CheckpointError, match="Git LFS pointer"):
            load_weights(find_checkpoint("mid", base=base))
    if where == "tokenizer":
        with pytest.raises(CheckpointError, match="Git LFS pointer"):
            Tokenizer.load(path)


def big_state(config: GPTConfig) -> dict[str, Tensor]:
    return {name: torch.full(shape, 0.5) for name, shape in config.parameter_shapes().items()}


def test_of_a_large_file_a_share_is_read_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks over all tensors: what went wrong in training is everywhere. The ranks read all."""
    config = GPTConfig(
        sequence_len=64, vocab_size=4096, n_layer=2, n_head=2, n_kv_head=2, n_embd=256
    )
    monkeypatch.setattr(weights_header, "NUMBERS_READ_BYTES", 2**21)
    path = tmp_path / "model.pt"
    state = big_state(config)
    torch.save(state, path)
    checked = weights_header.check(path, config)
    assert checked.numbers == config.num_parameters
    assert 0.05 < checked.looked_at / checked.numbers < 0.5
    assert "the ranks look at every one" in checked.words
    for name in state:
        for place in (0, -1):
            broken = state[name].clone()
            broken.view(-1)[place] = float("nan")
            torch.save(state | {name: broken}, path)
            with pytest.raises(CheckpointError, match=f"tensor {name} holds numbers"):
                weights_header.check(path, config)


def test_looking_into_weights_needs_no_torch(cache: Path) -> None:
    """The launcher must stay fast: torch alone costs seconds."""
    path = put(cache, STATE)
    code = (
        "import sys, json, pathlib; from engine.checkpoints import weights_header; "
        "from engine.model.nanochat.gpt_config import GPTConfig; "
        f"weights_header.check(pathlib.Path({str(path)!r}), "
        f"GPTConfig.from_dict(json.loads({json.dumps(CONFIG.to_dict())!r}))); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@examples(30)
@given(share=st.floats(0, 1, exclude_max=True))
def test_half_a_safetensors_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    folder = tmp_path_factory.mktemp("hf")
    path = folder / "model.safetensors"
    save_file(STATE, path)
    weights_header.check_safetensors(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        weights_header.check_safetensors(path)


@pytest.mark.parametrize("content", [POINTER, b"", b"\0" * 64, b"\xff" * 64])
def test_an_exported_folder_without_its_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    """A pointer, or anything else, in the place of the weights of a transformers folder."""
    config = {
        "model_type": "nanochat", "max_position_embeddings": 64, "vocab_size": 265,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_size": 16,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / checkpoint_target.HF_TOKENIZER).write_text("{}")
    path = tmp_path / checkpoint_target.HF_WEIGHTS
    save_file(STATE, path)
    assert checkpoint_target.find(str(tmp_path), runs=tmp_path).kind == "hf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoint_target.find(str(tmp_path), runs=tmp_path)


@needs_shared
def test_nanochats_own_files_are_whole() -> None:
    """Every number of the two reference checkpoints is looked at."""
    for source in ("mid", "sft"):
        ref = find_checkpoint(source, base=SHARED / "nanochat/base")
        checked = weights_header.check(ref.model_path, ref.config)
        assert checked.looked_at == checked.numbers == ref.config.num_parameters


TERABYTE = 2**40


def write_hollow_safetensors(path: Path) -> None:
    """One tensor of a terabyte that nobody wrote; the header agrees with the file's size."""
    header = b""
    for _ in range(2):
        numbers = TERABYTE - 8 - len(header)
        tensor = {"dtype": "U8", "shape": [numbers], "data_offsets": [0, numbers]}
        header = json.dumps({"lm_head.weight": tensor}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, TERABYTE)


def test_weights_that_are_a_hole_are_refused_at_once(tmp_path: Path, cache: Path) -> None:
    """Also where header and manifest agree: to take a checksum of them takes half an hour."""
    weights = tmp_path / "model.safetensors"
    write_hollow_safetensors(weights)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / checkpoint_dir.STATE).write_text("{}")
    files = {weights.name: {"size": TERABYTE, "sha256": "0" * 64}}
    manifest = {"step": 1, "created": 1.0, "files": files}
    (tmp_path / checkpoint_dir.MANIFEST).write_text(json.dumps(manifest))
    torch_file = put(cache, STATE)
    os.truncate(torch_file, TERABYTE)
    readers: list[Callable[[], object]] = [
        lambda: checkpoint_dir.read(tmp_path),
        lambda: weights_header.check_safetensors(weights),
        lambda: weights_header.check(torch_file, CONFIG),
        lambda: read_folder(tmp_path),
    ]
    began = time.monotonic()
    for read in readers:
        with pytest.raises(CheckpointError, match=r"of which [\d,]+ are written"):
            read()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("header", [b"[" * 100_000, b'{"a":' * 100_000])
def test_a_header_nested_too_deeply_is_damaged(tmp_path: Path, header: bytes) -> None:
    """It was a traceback for a model's folder."""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for read in (lambda: weights_header.check_safetensors(weights), lambda: read_folder(tmp_path)):
        with pytest.raises(CheckpointError, match="nested too deeply"):
            read()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@examples(150)
@given(
    st.dictionaries(
        st.text(max_size=3),
        ANYTHING
        | st.fixed_dictionaries(
            {"dtype": st.sampled_from(["F32", "X"]) | ANYTHING, "data_offsets": ANYTHING},
            optional={"shape": ANYTHING},
        ),
        max_size=3,
    )
    | ANYTHING
)
def test_a_header_of_anything_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, header: object
) -> None:
    """Lists of nothing, texts, numbers without end: never another error."""
    folder = tmp_path_factory.mktemp("hf")
    content = json.dumps(header).encode()
    weights = folder / "model.safetensors"
    weights.write_bytes(len(content).to_bytes(8, "little") + content)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    for read in (lambda: weights_header.check_safetensors(weights), lambda: read_folder(folder)):
        with contextlib.suppress(CheckpointError):
            read()
