"""Kernels, bytes and memory of a d16 step, counted on a CUDA build of torch without a card.

`make gpu-count` makes an environment for each version in `VERSIONS` (2.5 GB each, from the
package index), counts in it, and writes `benchmarks/gpu_count.json`, which
`benchmarks/counted_work.py` prints and a test compares with `fit`. Kernels that torch.compile
writes are counted and assembled too (`gpu_codegen`).
"""

# N tokens of a micro-step, T of a padded row, B rows.

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

VERSIONS = ("2.11.0", "2.13.0")
"""The one nanochat asks for, and the newest that sftui allows."""

HOME = Path(__file__).resolve().parents[1]
RESULT = HOME / "tests" / "benchmarks" / "gpu_count.json"
ENVIRONMENTS = HOME / "build" / "gpu-count"
NEEDS = ("numpy", "psutil", "safetensors", "tiktoken")

MEMORY_GRID: list[dict[str, Any]] = [
    {"layout": layout, "tokens": tokens, "checkpointing": checkpointing, "ranks": ranks}
    for layout, sizes in (("packed", (2048, 4096, 8192)), ("padded", (4096, 8192, 16384)))
    for tokens in sizes
    for checkpointing in (False, True)
    for ranks in (1, 2)
]
"""Padded: micro-batches of 2, 4 and 8 rows of 2,048 tokens, every token supervised."""
MEMORY_GRID_2026: list[dict[str, Any]] = [
    {"layout": "packed", "tokens": tokens, "checkpointing": checkpointing, "ranks": ranks}
    for tokens in (2048, 8192)
    for checkpointing in (False, True)
    for ranks in (1, 2)
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", action="store_true", help="count in this environment")
    parser.add_argument("--generate", action="store_true", help="write and assemble its kernels")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        help="an interpreter with a CUDA build of torch; instead of making environments",
    )
    flags = parser.parse_args()
    if flags.child:
        print(json.dumps(count()))
        return 0
    if flags.generate:
        from tests.gpu_codegen import generated

        print(json.dumps(generated()))
        return 0
    pythons = [Path(each) for each in flags.python] or [_environment(each) for each in VERSIONS]
    found: dict[str, Any] = {
        "schema": 1,
        "model": "d16, 335.5 M parameters; of 2026, 536.9 M",
        "torch": {},
    }
    for python in pythons:
        counted = counted_by(python)
        found["torch"][counted.pop("torch")] = counted
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {RESULT.relative_to(HOME)}")
    return 0


def _environment(version: str) -> Path:
    """Python of an environment with a CUDA build of torch; made when it is not there."""
    folder = ENVIRONMENTS / f"torch-{version}"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        # Three =: a CPU build of that version (2.13.0+cpu) would be taken first where there is one.
        subprocess.run([python, "-m", "pip", "install", f"torch==={version}", *NEEDS], check=True)
    return python


def counted_by(python: Path) -> dict[str, Any]:
    """Count in another environment, with the stand-in for the driver in front of torch."""
    build = (
        "from tests.fake_cuda import FakeDriver; import torch; "
        "assert torch.version.cuda, f'{torch.__version__} is a CPU build'; "
        "driver = FakeDriver(); driver.build(); print(driver.folder)"
    )
    folder = subprocess.run(
        [python, "-c", build], cwd=HOME, capture_output=True, text=True, check=True
    ).stdout.strip()
    from tests.fake_cuda import FakeDriver

    environment = os.environ | FakeDriver(Path(folder)).environment()

    def answer(what: str) -> dict[str, Any]:
        done = subprocess.run(
            [python, "-W", "ignore", "-m", "tests.gpu_count", what],
            cwd=HOME,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    # A process each: the second one replaces half of torch.cuda.
    return answer("--child") | {"generated": answer("--generate")}


# ---- in the environment with a CUDA build ----------------------------------------------------


def count() -> dict[str, Any]:
    """Everything the JSON holds of one version of torch."""
    import torch

    # Fake tensors on a build for CUDA that has no card: a device guard that does nothing.
    torch._C._ensureCUDADeviceGuardSet()
    torch.cuda.is_bf16_supported = lambda *_, **__: True
    # Asked while the engine counts cards: any that has the kernel.
    torch.cuda.get_device_capability = lambda *_: (9, 0)
    return {
        "torch": torch.__version__,
        "work": work("nanochat-2025"),
        "work_2026": work("nanochat"),
        "memory": [entry | memory(**entry) for entry in MEMORY_GRID],
        "memory_2026": [entry | memory(**entry, family="nanochat") for entry in MEMORY_GRID_2026],
    }


def work(family: str) -> dict[str, Any]:
    """Kernels and bytes of a micro-step of a generation's d16, ours and the plain loop's."""
    from tests import fake_cuda

    shape = fake_cuda.FAMILIES[family]
    return {"sftui": ours(shape) | update(shape), "padded loop": padded_loop(shape)}


@contextlib.contextmanager
def fake_card() -> Iterator[None]:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from engine.model.nanochat import attention

    class Flash:
        """SDPA asks the card which kernel to take; on CUDA in bf16 it is the flash kernel."""

        def scaled_dot_product_attention(self, q: Any, k: Any, v: Any, **_: Any) -> Any:
            return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, True)[0]

    def banded(q: Any, k: Any, v: Any, _window: int) -> Any:
        # A plain loop's flash kernel takes windows itself; ours of packed rows never comes here.
        return attention.padded_attention(q, k, v)

    module: Any = attention
    flash: Any = Flash()
    with (
        mock.patch.multiple(module, F=flash, _banded=banded),
        FakeTensorMode(allow_non_fake_inputs=True),
    ):
        yield


def update(shape: Any) -> dict[str, Any]:
    """Kernels of an update on one rank, which nothing may make wait for the card."""
    import torch

    from engine.config import OptimConfig
    from engine.optimizer.optim import build_optimizer
    from tests import fake_cuda

    with fake_card():
        model = fake_cuda.model(shape)
        optimizer = build_optimizer(model, OptimConfig())
        for weight in model.parameters():
            weight.grad = torch.empty_like(weight)
        optimizer.step()
        with fake_cuda.Counter() as counter:
            optimizer.step()
        assert counter.host_copies == []
        return {"update_kernels": counter.num_kernels}


def ours(shape: Any) -> dict[str, Any]:
    """A packed micro-step of ten documents; the second of a step, so gradients are added to."""
    from engine.session import LossModule
    from tests import fake_cuda

    driver = fake_cuda.FakeDriver()
    with fake_card():
        module = LossModule(fake_cuda.model(shape))
        micro = fake_cuda.micro_step()
        for _ in range(2):
            counter = fake_cuda.Counter()
            with counter, fake_cuda.autocast():
                loss, _ = module(micro)
                forward = _totals(counter)
                with driver.one_card():
                    loss.backward()
        return _work(counter, forward, micro_batches=1)


def padded_loop(shape: Any) -> dict[str, Any]:
    """The same ten rows as a plain loop has them: padded in pairs, logits of every token."""
    import torch
    import torch.nn.functional as F

    from tests import fake_cuda

    driver = fake_cuda.FakeDriver()
    pairs = list(zip(fake_cuda.LENGTHS[::2], fake_cuda.LENGTHS[1::2], strict=True))
    with fake_card():
        model = fake_cuda.model(shape)
        for _ in range(2):
            counter = fake_cuda.Counter()
            forward: dict[str, float] = {"kernels": 0, "gib": 0.0}
            with counter:
                for pair in pairs:
                    ids = torch.zeros(2, max(pair), dtype=torch.int64, device="cuda")
                    before = _totals(counter)
                    with fake_cuda.autocast():
                        logits = model.logits(model(ids))
                        loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten())
                        after = _totals(counter)
                        forward = {key: forward[key] + after[key] - before[key] for key in after}
                        with driver.one_card():
                            loss.backward()
        return _work(counter, forward, micro_batches=len(pairs))


def _totals(counter: Any) -> dict[str, float]:
    return {"kernels": counter.num_kernels, "gib": counter.num_bytes / 2**30}


def _work(counter: Any, forward: dict[str, float], *, micro_batches: int) -> dict[str, Any]:
    total = _totals(counter)
    attention = {
        name: number
        for name, number in counter.kernels.items()
        if "attn" in name or "attention" in name
    }
    return {
        "micro_batches": micro_batches,
        "kernels": int(total["kernels"]),
        "gib": round(total["gib"], 2),
        "forward_kernels": int(forward["kernels"]),
        "forward_gib": round(forward["gib"], 2),
        "attention": attention,
    }


def memory(
    *, layout: str, tokens: int, checkpointing: bool, ranks: int, family: str = "nanochat-2025"
) -> dict[str, Any]:
    """Most bytes alive in the second step: two micro-steps, then the update."""
    import torch

    from engine.config import OptimConfig
    from engine.optimizer import exchange
    from engine.optimizer.optim import build_optimizer
    from engine.session import LossModule
    from tests import fake_cuda

    class Silent:
        """Collectives of ranks that are not there: nothing is allocated for them."""

        def __getattr__(self, _name: str) -> Any:
            return lambda *_, **__: None

    module: Any = exchange
    module.dist = Silent()
    driver = fake_cuda.FakeDriver()
    with fake_card():
        counter = fake_cuda.Counter()
        with counter:
            model = fake_cuda.model(fake_cuda.FAMILIES[family])
            model.checkpoint_blocks = checkpointing
            for tensor in (model.cos, model.sin):
                counter.track(tensor)
            optimizer = build_optimizer(model, OptimConfig(), rank=0, world_size=ranks)
            module = LossModule(model)
            if layout == "packed":
                micro = fake_cuda.micro_step([tokens // 8] * 8, supervised=1.0)
            else:
                micro = _padded_micro_step(tokens)
            for _ in range(2):
                counter.reset_peak()
                for last in (False, True):
                    with fake_cuda.autocast(cache=not checkpointing):
                        loss, nll = module(micro)
                        wrapped = optimizer.last_backward() if last else contextlib.nullcontext()
                        with wrapped, driver.one_card():
                            loss.backward()
                    del loss, nll
                before_update = counter.peak
                optimizer.step()
                optimizer.zero_grad()
        del torch
        return {
            "allocated": counter.peak,
            "allocated_before_update": before_update,
            "peak_at": counter.peak_at,
        }


def _padded_micro_step(tokens: int) -> Any:
    from dataclasses import replace

    from tests import fake_cuda

    micro = fake_cuda.micro_step([tokens], supervised=1.0)
    ids = micro.ids.view(-1, fake_cuda.D16.sequence_len)
    return replace(micro, ids=ids, spans=None, positions=None, ends=None)


if __name__ == "__main__":
    sys.exit(main())
