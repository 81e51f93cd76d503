"""The GPU kernels that torch.compile writes for us, made and assembled without a GPU.

Runs in an environment of `make gpu-count`, on a CUDA build of torch: inductor writes its Triton
code from fake CUDA tensors, and Triton's own assembler translates it for each generation of
cards. What is counted is what a card would launch; that it computes the right numbers is what
`make gpu-check` shows (5 and 6), and the CPU's compiled code in `make test`.
"""

# N tokens of a micro-step, C tokens of a loss chunk, V vocabulary, D width.

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

ARCHITECTURES = (80, 86, 89, 90)
"""A100, RTX 3090, RTX 4090, H100."""

CHUNK = 1021
"""C: any number that is no size of the model."""


def generated() -> dict[str, Any]:
    """The loss's kernel and the layers' halves: what is launched, and what each kernel takes."""
    # Read when inductor is imported: assembled code is wanted, not a launcher of it.
    os.environ["TORCHINDUCTOR_USE_STATIC_CUDA_LAUNCHER"] = "0"
    os.environ["TORCHINDUCTOR_USE_STATIC_TRITON_LAUNCHER"] = "0"
    with pretended_card() as sources:
        _trace_loss()
        loss = sources[:]
        sources.clear()
        _trace_halves()
        names = ("before, forward", "before, backward", "after, forward", "after, backward")
        halves = dict(zip(names, sources, strict=True))
        return {
            "loss": _launches(loss[0]) | {"assembled": assembled(loss[0])},
            "halves": {name: _launches(code) for name, code in halves.items()},
            "halves_assembled": {name: assembled(code) for name, code in halves.items()},
        }


def _launches(code: str) -> dict[str, int]:
    """Kernels that one call of generated code launches: written ones, and matrix products."""
    body = code.rpartition("def call(")[2]
    return {
        "kernels": len(re.findall(r"\btriton_\w+\.run\(", body)),
        "products": len(re.findall(r"\bextern_kernels\.mm\(", body)),
    }


# ---- a card that is not there ----------------------------------------------------------------


@contextlib.contextmanager
def pretended_card() -> Iterator[list[str]]:
    """Inside, inductor writes code for an H100; the list takes what it wrote, graph by graph."""
    import torch
    import torch._functorch.config as functorch
    import torch._inductor.config as inductor
    import triton
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor.fx_passes import joint_graph, post_grad
    from torch._inductor.graph import GraphLowering
    from torch._inductor.runtime import triton_helpers
    from torch._subclasses import fake_tensor
    from triton.backends.compiler import GPUTarget

    card = SimpleNamespace(
        name="H100",
        major=9,
        minor=0,
        multi_processor_count=132,
        regs_per_multiprocessor=65536,
        max_threads_per_multi_processor=2048,
        max_threads_per_block=1024,
        warp_size=32,
        shared_memory_per_block_optin=232448,
        L2_cache_size=50 * 2**20,
        total_memory=80 * 2**30,
        gcnArchName="",
    )
    sources: list[str] = []

    def write(graph: Any) -> Any:
        code, _ = graph.codegen()
        sources.append(getattr(code, "value", code))
        # Stands in for the loaded module: runs the graph itself, on fake tensors.
        return SimpleNamespace(
            call=lambda inputs: list(graph.module(*inputs)), __file__="", key="", runner=None
        )

    def nothing(*_: Any, **__: Any) -> None:
        return None

    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
        get_current_device=lambda: 0,
        get_active_torch_device=lambda: torch.device("cuda:0"),
        get_device_interface=lambda: torch.cuda,
        is_active=lambda: True,
    )
    replaced: list[tuple[Any, str, Any]] = [
        (fake_tensor, "init_gpu_context", nothing),
        (torch.cuda, "get_device_properties", lambda *_: card),
        (torch.cuda, "get_device_capability", lambda *_: (9, 0)),
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "is_bf16_supported", lambda *_, **__: True),
        (torch.cuda, "current_device", lambda: 0),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "get_rng_state", lambda *_: torch.get_rng_state()),
        (torch.cuda, "set_rng_state", nothing),
        (torch.cuda, "_lazy_init", nothing),
        (torch.cuda, "_exchange_device", lambda _index: 0),
        (torch.cuda, "_maybe_exchange_device", lambda _index: 0),
        (torch.cuda, "synchronize", nothing),
        (CudaInterface, "get_device_properties", staticmethod(lambda *_: card)),
        (CudaInterface.Worker, "get_device_properties", staticmethod(lambda *_: card)),
        (CudaInterface, "get_compute_capability", staticmethod(lambda *_: 90)),
        (CudaInterface, "is_triton_capable", staticmethod(lambda *_: True)),
        (CudaInterface, "raise_if_triton_unavailable", staticmethod(nothing)),
        (CudaInterface, "is_available", staticmethod(lambda: True)),
        # Patterns of attention and padding are found with tensors on the card; we have none.
        (joint_graph, "lazy_init", nothing),
        (post_grad, "lazy_init", nothing),
        (inductor, "pattern_matcher", False),
        (inductor, "fx_graph_cache", False),
        (functorch, "enable_autograd_cache", False),
        (triton_helpers, "set_driver_to_gpu", nothing),
        (GraphLowering, "compile_to_module", write),
    ]
    torch._C._ensureCUDADeviceGuardSet()
    triton.runtime.driver.set_active(driver)
    with contextlib.ExitStack() as stack:
        for owner, name, value in replaced:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield sources


def _trace_loss() -> None:
    """A chunk of C tokens over V logits, both symbols, as the engine compiles it."""
    import torch
    from torch._dynamo.source import ConstantSource
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import (
        DimDynamic,
        ShapeEnv,
        StatelessSymbolicContext,
    )

    from engine.step import fused_loss
    from tests.fake_cuda import D16

    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)

    def symbolic(name: str, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        sizes: Any = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC] * len(shape))
        plain = torch.empty(shape, dtype=dtype, device="meta")
        fake = mode.from_tensor(plain, symbolic_context=sizes, source=ConstantSource(name))
        with mode:
            return fake.to("cuda:0")

    inputs = [
        symbolic("logits", CHUNK, D16.vocab_size, dtype=torch.bfloat16),
        symbolic("targets", CHUNK, dtype=torch.int64),
        symbolic("weights", CHUNK, dtype=torch.float32),
    ]
    with mode:
        graph = make_fx(
            lambda logits, targets, weights: fused_loss.middle(logits, targets, weights),
            decomposition_table=select_decomp_table(),
            tracing_mode="symbolic",
        )(*inputs)
        compile_fx_inner(graph, inputs)


def _trace_halves() -> None:
    """Both halves of a layer of d16 under autocast, forward and backward."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from tests import fake_cuda

    tokens, width = sum(fake_cuda.LENGTHS), fake_cuda.D16.n_embd
    with FakeTensorMode(), fake_cuda.autocast(), fake_cuda.FakeDriver().one_card():
        model = fake_cuda.model()
        model.compile_blocks()
        block = model.blocks()[0]
        assert block.halves is not None
        before, after = block.halves
        x = torch.empty(tokens, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        half = fake_cuda.D16.head_dim // 2
        cos = torch.empty(tokens, 1, half, device="cuda", dtype=torch.bfloat16)
        q, k, v = before(block, x, cos, cos.clone(), None)
        torch.autograd.backward([q, k, v], [torch.empty_like(each) for each in (q, k, v)])
        after(block, x, torch.empty_like(q, requires_grad=True)).sum().backward()


# ---- the assembler ---------------------------------------------------------------------------


def assembled(code: str) -> dict[str, dict[str, int]]:
    """For each architecture, the most registers of a thread and bytes of its memory that spill,
    over all kernels of the generated code."""
    import triton.backends.nvidia

    tool = Path(str(triton.backends.nvidia.__file__)).parent / "bin" / "cuobjdump"
    found: dict[str, dict[str, int]] = {}
    pattern = r"async_compile\.triton\('(\w+)', '''\n(.*?)''', device_str='cuda'\)"
    for name, source in re.findall(pattern, code, re.DOTALL):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.py"
            path.write_text(source, encoding="utf-8")
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            tuner = getattr(module, name)
            for architecture in ARCHITECTURES:
                card = tuner.device_props._replace(cc=architecture, major=architecture // 10)
                tuner.device_props = card
                tuner.triton_meta = dict(tuner.triton_meta, device=card)
                # The first of the ways it would try on the card.
                kernel = tuner._precompile_config(tuner.configs[0]).kernel
                cubin = Path(folder) / "kernel.cubin"
                cubin.write_bytes(kernel.asm["cubin"])
                text = subprocess.run(
                    [tool, "-res-usage", cubin], capture_output=True, text=True, check=True
                ).stdout
                usage = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", text)}
                worst = found.setdefault(f"sm_{architecture}", {"registers": 0, "spilled": 0})
                worst["registers"] = max(worst["registers"], usage["REG"])
                worst["spilled"] = max(worst["spilled"], usage["STACK"] + usage["LOCAL"])
    return found
