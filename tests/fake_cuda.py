"""The engine on fake CUDA tensors: no GPU, exact shapes, dtypes, kernels, bytes, live memory.

A fake tensor has a shape, a dtype and the device "cuda", and no numbers. What the engine
would launch is seen by a dispatch mode: one operation that is no view counts as one kernel,
and moves the bytes of its inputs and outputs once. No time is known here.

Forward passes work on every build of torch. Backward passes need a CUDA build
(`can_go_backward`); `make gpu-count` makes environments with one.
"""

# N tokens of a micro-step, K of them supervised.

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from engine.model.nanochat import parts
from engine.model.nanochat.gpt import GPT
from engine.model.nanochat.gpt_config import GPTConfig
from engine.model.nanochat.names import is_embedding
from engine.step.dataloader import MicroStep

D16 = GPTConfig(sequence_len=2048, vocab_size=65536, n_layer=16, n_head=8, n_kv_head=8, n_embd=1024)
"""The reference run's model, 335.5 M parameters."""
D16_2026 = dataclasses.replace(D16, vocab_size=32768, window_pattern="SSSL", parts=parts.NEWEST)
"""nanochat's d16 of 2026, 536.9 M parameters: half of them value embeddings."""
FAMILIES = {"nanochat-2025": D16, "nanochat": D16_2026}
"""By the names that benchmarks call the generations by."""

LENGTHS = (900, 700, 650, 500, 400, 300, 220, 180, 120, 100)
"""Ten documents, 4,070 tokens: a micro-step as GPU.md's roofline has it."""
SUPERVISED = 0.56
"""Share of the tokens whose loss is wanted, in the reference mixture."""

VIEWS = frozenset(
    {
        "alias",
        "as_strided",
        "chunk",
        "detach",
        "expand",
        "lift_fresh",
        "narrow",
        "permute",
        "reshape",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "t",
        "transpose",
        "unbind",
        "unflatten",
        "unsafe_view",
        "unsqueeze",
        "view",
        "_reshape_alias",
        "_unsafe_view",
    }
)
"""Operations that launch nothing; `_unsafe_view` follows every matrix product."""
SPARSE = frozenset({"copy_", "embedding", "gather", "index", "index_select", "scatter_add_"})
"""Operations that touch only what they pick: three times the smallest of their tensors."""
READS = {"loss_middle": 2}
"""Times an operation reads its largest input, where that is not once: see `fused_loss`."""

BLOCK = 512
"""Bytes to which CUDA's allocator rounds."""


class Counter(TorchDispatchMode):
    """Kernels, bytes, live memory and copies from the host, of all that runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: collections.Counter[str] = collections.Counter()
        self.moved: collections.Counter[str] = collections.Counter()
        """Bytes, by operation."""
        self.dtypes: dict[str, set[tuple[torch.dtype, ...]]] = collections.defaultdict(set)
        """Dtypes of the tensors each operation was given."""
        self.host_copies: list[str] = []
        self.live = 0
        self.peak = 0
        self.peak_at = ""
        self._storages: set[int] = set()

    def track(self, tensor: Tensor) -> None:
        """Count a tensor's memory until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._storages:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._storages.add(key)
        self.live += size

        def gone() -> None:
            self._storages.discard(key)
            self.live -= size

        weakref.finalize(storage, gone)

    def clear(self) -> None:
        """Forget what was counted; what is alive stays."""
        self.kernels.clear()
        self.moved.clear()
        self.dtypes.clear()
        self.host_copies.clear()
        self.peak = self.live

    def reset_peak(self) -> None:
        self.peak = self.live

    @property
    def num_kernels(self) -> int:
        return sum(self.kernels.values())

    @property
    def num_bytes(self) -> int:
        return sum(self.moved.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = str(func)
        if name.startswith("prim."):
            return out
        base = name.split(".")[1]
        inputs = _tensors((args, kwargs))
        outputs = _tensors(out)
        if any(each.device.type == "cuda" for each in outputs):
            for each in outputs:
                if each.device.type == "cuda":
                    self.track(each)
            if any(each.device.type == "cpu" and each.dim() for each in inputs):
                self.host_copies.append(name)
        if self.live > self.peak:
            self.peak, self.peak_at = self.live, name
        if base in VIEWS or base.startswith(("is_", "sym_")):
            return out
        self.dtypes[base].add(tuple(each.dtype for each in inputs))
        sizes = [each.nbytes for each in {id(each): each for each in inputs}.values()]
        sizes += [each.nbytes for each in outputs]
        size = sum(sizes)
        if base.startswith(("empty", "new_empty")):
            return out
        if base in SPARSE:
            size = 3 * min(sizes, default=0)
        if base in READS:
            size += (READS[base] - 1) * max(sizes)
        self.kernels[name] += 1
        self.moved[name] += size
        return out


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in _pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def model(config: GPTConfig = D16) -> GPT:
    """The engine's model with fake CUDA weights; call it under `FakeTensorMode`."""
    state = {
        name: torch.empty(
            shape,
            device="cuda",
            dtype=torch.bfloat16 if is_embedding(name) else torch.float32,
        )
        for name, shape in config.parameter_shapes().items()
    }
    return GPT.from_state(config, state)


def micro_step(lengths: Sequence[int] = LENGTHS, supervised: float = SUPERVISED) -> MicroStep:
    """A packed micro-step on the fake card, as `StepLoader` hands it to a rank."""
    num_tokens = sum(lengths)
    spans, start = [], 0
    for length in lengths:
        spans.append((start, start + length))
        start += length
    ids = torch.zeros(num_tokens, dtype=torch.int64, device="cuda")
    places = torch.zeros(int(num_tokens * supervised), dtype=torch.int64, device="cuda")
    return MicroStep(
        ids=ids,
        spans=tuple(spans),
        positions=torch.zeros_like(ids),
        ends=torch.zeros(len(lengths) + 1, dtype=torch.int32, device="cuda"),
        supervised=places,
        targets=torch.zeros_like(places),
        weights=torch.ones(len(places), device="cuda"),
        documents=torch.zeros_like(places),
        num_tokens=num_tokens,
    )


@contextlib.contextmanager
def autocast(*, cache: bool = True) -> Iterator[None]:
    """CUDA's bf16 autocast, which `torch.autocast` itself switches off where there is no GPU."""
    was = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_cache_enabled(cache)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_cache_enabled(True)
        torch.set_autocast_enabled("cuda", was)


# ---- a CUDA build without a card -------------------------------------------------------------


def is_cuda_build() -> bool:
    return torch.version.cuda is not None


class FakeDriver:
    """Lets a CUDA build of torch run fake backward passes without driver and card.

    Autograd's engine starts a thread for each card it counts and asks where streams are, so
    a library put in front of torch's answers the count: none, except while the engine runs.
    Start Python with `environment()` of it, and use `one_card` around every backward pass.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.gettempdir()) / "sftui-fake-driver"

    @property
    def shim(self) -> Path:
        return self.folder / "shim.so"

    def build(self) -> None:
        """Compile the two libraries. Raises when there is no C compiler."""
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise RuntimeError("no C compiler; expected gcc or cc")
        self.folder.mkdir(parents=True, exist_ok=True)
        sources = {
            # c10::cuda::device_count(), by its mangled name.
            "shim.so": "static signed char cards = 0;\n"
            "void set_cards(int number) { cards = (signed char)number; }\n"
            "signed char _ZN3c104cuda12device_countEv(void) { return cards; }\n",
            "libcuda.so.1": _driver_source(),
        }
        for name, source in sources.items():
            path = self.folder / f"{name}.c"
            path.write_text(source, encoding="ascii")
            subprocess.run(
                [compiler, "-shared", "-fPIC", "-o", str(self.folder / name), str(path)],
                check=True,
            )

    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.shim), "LD_LIBRARY_PATH": str(self.folder)}

    @contextlib.contextmanager
    def one_card(self) -> Iterator[None]:
        shim = ctypes.CDLL(str(self.shim))
        shim.set_cards(100)  # the engine asks of one past its last
        try:
            yield
        finally:
            shim.set_cards(0)


def _driver_source() -> str:
    """A driver of which every function answers 0, and one a context that is not active."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cuda.so"
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", str(library)], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[-1].partition("@")[0] for line in listed.splitlines()}
    special = "cuDevicePrimaryCtxGetState"
    functions = sorted(
        name for name in names if name[:2] == "cu" and name[2:3].isupper() and name != special
    )
    lines = [f"int {name}() {{ return 0; }}" for name in functions]
    lines.append(
        f"int {special}(int d, unsigned *flags, int *on) {{ *flags = 0; *on = 0; return 0; }}"
    )
    return "\n".join(lines) + "\n"
