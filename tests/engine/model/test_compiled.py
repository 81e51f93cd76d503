"""`--compile`: the same numbers from two graphs, for every packing; and an error where not."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from engine.config import RunConfig
from engine.errors import ConfigError
from engine.events import StepFinished
from engine.model.compiled import try_out
from engine.model.family import Decoder
from engine.model.nanochat import parts
from engine.model.nanochat.gpt import GPT, GPTConfig
from engine.processes import compilers
from engine.session import LossModule
from engine.step.dataloader import StepLoader, TokenRows
from engine.step.packing import Layout
from engine.step.plan import Plan
from tests.engine.small import BYTES, ListSource
from tests.place import Place, ended, of
from tests.processes import Children, children, wait_for_end

SHAPE = GPTConfig(
    sequence_len=256, vocab_size=BYTES.vocab_size, n_layer=2, n_head=4, n_kv_head=2, n_embd=32
)
SHAPE_2026 = dataclasses.replace(SHAPE, n_layer=3, window_pattern="SL", parts=parts.NEWEST)
"""Layers with a value embedding and without, with a window (128) and without."""
PACKINGS = 20


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    """Graphs are kept by code, not by model: those of another test would be counted too."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    torch._dynamo.reset()


@pytest.fixture
def started() -> Iterator[Children]:
    with children() as found:
        yield found


def model(shape: GPTConfig = SHAPE) -> GPT:
    found = GPT(shape)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in found.parameters():
            weight.normal_(0.0, 0.2, generator=generator)
    return found


def loader(layout: Layout, *, rank: int = 0, world_size: int = 1) -> StepLoader:
    """Twenty steps of rows of 6 to 36 tokens: other documents and other lengths each time."""
    rng = random.Random(1)
    rows = [("a", "x" * rng.randrange(12), "y" * rng.randrange(1, 20)) for _ in range(80)]
    plan = Plan(
        num_rows=len(rows),
        world_size=world_size,
        device_batch_size=2,
        target_examples_per_step=4,
        num_epochs=1,
        requested_iterations=PACKINGS,
    )
    return StepLoader(
        TokenRows(ListSource(rows), BYTES, 256),
        plan,
        pad_id=0,
        rank=rank,
        world_size=world_size,
        layout=layout,
        max_tokens=1000,
        prefetch=False,
    )


def num_graphs(counter: CompileCounterWithBackend) -> int:
    """Graphs that hold an operation: torch's first use of AOT may pass an empty one of its own."""
    return sum(
        any(node.op == "call_function" for node in graph.graph.nodes) for graph in counter.graphs
    )


def gradients(
    loss_module: LossModule, loader: StepLoader, step: int, *, mixed: bool
) -> tuple[float, Tensor]:
    """Loss and whole gradient of a step, as the trainer has them."""
    loss_module.zero_grad(set_to_none=True)
    total = 0.0
    for micro in loader.load(step).micro_steps:
        with torch.autocast(
            "cpu",
            torch.bfloat16,
            enabled=mixed,
            cache_enabled=not loss_module.model.checkpoint_blocks,
        ):
            loss, _ = loss_module(micro)
            loss.backward()
        total += float(loss.detach())
    flat = [w.grad.flatten() for w in loss_module.parameters() if w.grad is not None]
    return total, torch.cat(flat)


@pytest.mark.parametrize(
    ("shape", "layout", "mixed", "checkpointing", "backend"),
    [
        (SHAPE, "packed", False, False, "aot_eager"),
        (SHAPE, "packed", True, True, "eager"),
        (SHAPE, "padded", False, True, "eager"),
        (SHAPE_2026, "packed", False, False, "aot_eager"),
        (SHAPE_2026, "packed", True, True, "eager"),
    ],
    ids=["october", "october-bf16", "october-padded", "2026", "2026-bf16"],
)
def test_twenty_packings_are_two_graphs_and_the_same_numbers(
    shape: GPTConfig, layout: Layout, mixed: bool, checkpointing: bool, backend: str
) -> None:
    """Compiled once each at the trial, never again; measuring in between compiles nothing.

    A model of 2026 has a third: its layers with a value embedding begin in another way.

    torch's own autograd of the graphs (aot_eager) adds in another order; running the graphs
    as they are (eager) gives the same bits.
    """
    counter = CompileCounterWithBackend(backend)
    compiled, plain = LossModule(model(shape)), LossModule(model(shape))
    graphs = 3 if shape.parts.value_embeddings else 2
    for each in (compiled, plain):
        each.model.checkpoint_blocks = checkpointing
    compiled.model.compile_blocks(counter)
    try_out(compiled.model, mixed=mixed, padded_rows=2 if layout == "padded" else None)
    assert num_graphs(counter) == graphs
    assert all(weight.grad is None for weight in compiled.parameters())
    steps = loader(layout)
    for step in range(PACKINGS):
        loss, found = gradients(compiled, steps, step, mixed=mixed)
        wanted_loss, wanted = gradients(plain, steps, step, mixed=mixed)
        if backend == "eager":
            assert loss == wanted_loss
            assert torch.equal(found, wanted)
        assert loss == pytest.approx(wanted_loss, rel=1e-6)
        assert float((found - wanted).norm() / wanted.norm()) < 1e-6
        if step == 10:
            measure(compiled.model, steps)
    assert num_graphs(counter) == graphs


def measure(model: Decoder, steps: StepLoader) -> None:
    """All that happens between steps: validation, padded questions, answers, a lone token."""
    with torch.no_grad():
        LossModule(model)(steps.load(0).micro_steps[0])
    model.eval()
    with torch.inference_mode():
        model(torch.zeros(5, 9, dtype=torch.int64))
        cache = model.new_cache()
        model(torch.zeros(1, 7, dtype=torch.int64), cache=cache)
        model(torch.zeros(1, 1, dtype=torch.int64), cache=cache)
    model.train()
    model(torch.zeros(1, dtype=torch.int64), spans=((0, 1),)).sum().backward()


def test_a_compiler_that_fails_is_an_error_with_its_reason() -> None:
    """Forward, or at the first backward pass: never a run that goes on eagerly."""

    def broken(_graph: Any, _inputs: Any) -> Callable[..., Any]:
        raise RuntimeError("no kernel for you")

    found = model()
    found.compile_blocks(broken)
    with pytest.raises(ConfigError, match=r"--compile: .*no kernel for you.*without --compile"):
        try_out(found, mixed=False)


def test_a_graph_that_breaks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch would run the rest eagerly and say so in a log of its own."""
    from engine.model.nanochat import gpt

    own = gpt._norm

    def breaking(x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return own(x)

    monkeypatch.setattr(gpt, "_norm", breaking)
    found = model()
    found.compile_blocks("eager")
    with pytest.raises(ConfigError, match=r"--compile: torch\.compile failed"):
        try_out(found, mixed=False)


@pytest.mark.parametrize(
    ("device_type", "there", "variables", "why"),
    [
        ("mps", {"g++", "gcc"}, {}, "a prototype on Apple GPUs"),
        ("cpu", {"gcc"}, {}, "needs a C++ compiler, and there is no g++ or clang++"),
        ("cpu", {"clang++"}, {}, ""),
        ("cpu", {"g++"}, {"CXX": "icpx"}, "there is no icpx on this machine"),
        ("cpu", {"icpx"}, {"CXX": "icpx"}, ""),
    ],
)
def test_what_cannot_be_compiled_is_refused_before_the_start(
    device_type: str, there: set[str], variables: dict[str, str], why: str
) -> None:
    """With what is missing; a compiler named by the environment counts alone."""
    found = compilers.obstacle(device_type, variables, lambda name: name if name in there else None)
    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("triton", "there", "why"),
    [
        (False, {"gcc"}, "pip install triton"),
        (True, set(), "needs a C compiler"),
        (True, {"cc"}, ""),
    ],
)
def test_a_gpu_needs_triton_and_a_c_compiler(
    triton: bool, there: set[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton is not a part of every build of torch."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object() if triton else None)
    found = compilers.obstacle("cuda", {}, lambda name: name if name in there else None)
    assert why in found
    assert bool(found) == bool(why)


def test_it_is_off_unless_asked_for() -> None:
    """Until a card has shown what it is worth."""
    assert RunConfig().runtime.compile is False


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
def test_a_compiled_run_has_the_losses_of_a_plain_one(tmp_path: Any, started: Children) -> None:
    """Through inductor, recomputed layers too: every loss within rounding, and not its bits."""
    place = Place(tmp_path, started)
    losses = []
    for flags in ([], ["--compile"]):
        run, process = place.start("--device-type=cpu", "--activation-checkpointing", *flags)
        # The compiler takes a minute of a quiet core.
        wait_for_end(started, process, 400)
        end = ended(run)
        assert end is not None
        assert end.status == "finished", end.reason
        losses.append([event.loss for event in of(run, StepFinished)])
    assert len(losses[0]) == 12
    assert losses[1] == pytest.approx(losses[0], rel=2e-5)
    assert losses[1] != losses[0], "the compiled kernels were not taken"


def test_graphs_are_kept_apart_by_the_width_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a tag of the user's own, and once, however often a model is tried out."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    found = model()
    found.compile_blocks("eager")
    before = torch.compiler.config.cache_key_tag
    torch.compiler.config.cache_key_tag = "mine"
    try:
        for _ in range(2):
            try_out(found, mixed=False)
            assert torch.compiler.config.cache_key_tag == "mine+AVX2"
    finally:
        torch.compiler.config.cache_key_tag = before


LOSSES_OF_BOTH = """
import torch
from engine.model.compiled import try_out
from engine.session import LossModule
from tests.engine.model.test_compiled import loader, model
torch.set_num_threads(1)
made, plain = model(), model()
made.compile_blocks()
try_out(made, mixed=False)
for step in range(3):
    (micro,) = loader("packed").load(step).micro_steps
    print(float(LossModule(plain)(micro)[0]), float(LossModule(made)(micro)[0]))
"""


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
def test_a_cache_of_a_wider_cpu_is_not_taken(tmp_path: Path) -> None:
    """Two processes of one cache, the second told to use AVX2: with the first one's graphs half of
    every result would be what the memory held before."""
    if "avx512f" not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip("this CPU has no AVX-512, and all its graphs are of one width")
    for capability in ("avx512", "avx2"):
        told = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LOSSES_OF_BOTH],
            env=os.environ
            | {"ATEN_CPU_CAPABILITY": capability, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr[-2000:]
        pairs = [[float(word) for word in line.split()] for line in told.stdout.splitlines()]
        assert len(pairs) == 3
        for plain, found in pairs:
            assert found == pytest.approx(plain, rel=1e-6), capability
