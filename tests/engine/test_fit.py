"""Memory before the run: against torch's memory tracker and real CPU memory, as published."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from engine.config import RunConfig, load_recipe
from engine.files.sizes import GIB, MIB
from engine.fit import (
    MemoryPlan,
    advice,
    checkpoint_bytes,
    estimate,
    largest_batch,
    largest_tokens,
    loss_chunk,
    needed,
    options,
    plan_for,
    table,
)
from engine.model.nanochat.gpt_config import GPTConfig
from engine.step import run_plan
from tests.fake_cuda import D16_2026

T = 2048


def nanochat(depth: int) -> GPTConfig:
    """The shape nanochat gives a depth."""
    width, heads = 64 * depth, max(1, (64 * depth + 127) // 128)
    return GPTConfig(
        sequence_len=T,
        vocab_size=65536,
        n_layer=depth,
        n_head=heads,
        n_kv_head=heads,
        n_embd=width,
    )


def plan(depth: int = 16, batch: int = 2, **changes: object) -> MemoryPlan:
    """nanochat's own program on two ranks, as in the reference run."""
    made = MemoryPlan(shape=nanochat(depth), tokens=batch * T, world_size=2, program="nanochat")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def mib(size: float) -> int:
    assert size % MIB == 0
    return round(size / MIB)


@pytest.mark.parametrize(
    ("depth", "batch", "expected"),
    [(4, 2, 4128), (8, 2, 5240), (12, 2, 7136), (16, 2, 10032), (20, 2, 14144), (16, 4, 16480)],
)
def test_peak_by_depth(depth: int, batch: int, expected: int) -> None:
    """Every nanochat depth needs the published number of MiB."""
    assert mib(estimate(plan(depth, batch)).peak) == expected


def test_parts_of_d16() -> None:
    """The reference shape splits into the published parts."""
    found = estimate(plan())
    assert [mib(getattr(found, part)) for part in ("parameters", "gradients", "optimizer")] == [
        1152,
        1152,
        768,
    ]
    assert [mib(getattr(found, part)) for part in ("copies", "layers", "logits", "small")] == [
        512,
        2816,
        3584,
        48,
    ]
    assert mib(estimate(plan(world_size=1)).optimizer) == 1536
    assert mib(estimate(plan(fused_norm=True)).peak) == 9520


@pytest.mark.parametrize(
    ("batch", "chunk", "checkpoint", "expected"),
    [
        (2, 1024, False, 7472),
        (2, None, True, 6960),
        (2, 1024, True, 4400),
        (8, 1024, True, 4928),
    ],
)
def test_switches_of_d16(batch: int, chunk: int | None, checkpoint: bool, expected: int) -> None:
    """Chunked loss and recomputed layers let eight rows run in half of what two need now."""
    found = estimate(plan(batch=batch, chunk=chunk, checkpoint_layers=checkpoint))
    assert mib(found.peak) == expected


@pytest.mark.parametrize(
    ("batch", "chunk", "checkpoint", "formula", "tracker"),
    [
        (2, None, False, 9648, 9647.1),
        (4, None, False, 16096, 16093.7),
        (2, 1024, False, 7088, 7095.1),
        (2, None, True, 6576, 6568.6),
        (2, 1024, True, 4352, 4480.6),
    ],
)
def test_against_the_memory_tracker(
    batch: int, chunk: int | None, checkpoint: bool, formula: int, tracker: float
) -> None:
    """One rank and one micro-batch, as torch's tracker saw them without allocating anything."""
    one = plan(
        batch=batch,
        chunk=chunk,
        checkpoint_layers=checkpoint,
        world_size=1,
        gradients_alive=False,
    )
    found = estimate(one).peak / MIB
    assert found == pytest.approx(tracker, rel=0.03 if chunk and checkpoint else 0.002)
    assert round(found) == formula


@pytest.mark.parametrize(
    ("chunk", "checkpoint", "measured", "tracked"),
    [(None, False, 437, 407), (256, False, 261, 232), (256, True, 196, 168)],
)
def test_against_real_cpu_memory(
    chunk: int | None, checkpoint: bool, measured: int, tracked: int
) -> None:
    """On a CPU the growth over the loaded model is what the tracker and a real process showed.

    Width 256, 4 layers, vocabulary 16384, 2 rows of 512 tokens in fp32; a constant 29 MiB
    on top is the libraries'.
    """
    made = MemoryPlan(
        shape=SMALL,
        tokens=1024,
        program="nanochat",
        mixed=False,
        chunk=chunk,
        checkpoint_layers=checkpoint,
        gradients_alive=False,
    )
    found = estimate(made)
    growth = (found.peak - found.parameters) / MIB
    assert growth == pytest.approx(tracked, rel=0.04)
    assert growth + 29 == pytest.approx(measured, rel=0.04)


SMALL = GPTConfig(sequence_len=512, vocab_size=16384, n_layer=4, n_head=2, n_kv_head=2, n_embd=256)


def tracked_growth(shape: GPTConfig, tokens: int, chunk: int, *, mixed: bool) -> float:
    """Peak over the weights, in MiB, of one micro-step and update of our engine.

    torch's tracker counts under fake tensors: nothing is allocated, and the autocast of
    the CPU stands in for CUDA's.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    from engine.model.nanochat.gpt import GPT
    from engine.step.loss import weighted_loss

    with FakeTensorMode(allow_non_fake_inputs=True):
        model = GPT(shape)
        if mixed:
            embedding = torch.empty(shape.vocab_size, shape.n_embd, dtype=torch.bfloat16)
            model.transformer["wte"].weight = torch.nn.Parameter(embedding)
        rows = torch.zeros(tokens // shape.sequence_len, shape.sequence_len, dtype=torch.int64)
        tracker = MemTracker()
        tracker.track_external(model)
        with tracker, torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            hidden = model(rows).flatten(0, -2)
            weights = torch.ones(tokens)
            loss, _ = weighted_loss(hidden, model.lm_head.weight, rows.flatten(), weights, chunk)
            loss.backward()
        peak = next(iter(tracker.get_tracker_snapshot("peak").values()))
    sizes = {str(kind).rpartition(".")[2]: size for kind, size in peak.items()}
    return (sizes["Total"] - sizes["PARAM"] - sizes["BUFFER"]) / MIB


@pytest.mark.slow
@pytest.mark.parametrize(("chunk", "mixed"), [(256, False), (256, True)])
def test_our_engine_against_the_memory_tracker(chunk: int, mixed: bool) -> None:
    """What our own model and loss take is what the estimate says, within 4 %."""
    made = MemoryPlan(
        shape=SMALL,
        tokens=1024,
        mixed=mixed,
        fused_loss=False,
        chunk=chunk,
        gradients_alive=False,
    )
    found = estimate(made)
    expected = (found.at_loss - found.parameters - found.optimizer) / MIB
    assert tracked_growth(SMALL, 1024, chunk, mixed=mixed) == pytest.approx(expected, rel=0.04)


def test_the_optimizer_decides_when_everything_else_is_small() -> None:
    """With few tokens and recomputed layers the update is the peak, and the stacks count."""
    tiny = plan(program="sftui", world_size=1, tokens=64, chunk=64, checkpoint_layers=True)
    found = estimate(tiny)
    assert found.peak == found.at_step > found.at_loss
    assert mib(found.step_temporary) == 640
    assert "update" in [name for name, _, _ in table(tiny)]


def test_largest_batch_is_the_last_that_fits() -> None:
    """One token more than the largest micro-batch does not fit, and rows are whole."""
    for device in (6 * GIB, 24 * GIB, 80 * GIB):
        most = largest_tokens(plan(), device)
        assert needed(plan(tokens=most)) <= device < needed(plan(tokens=most + 1))
        assert largest_batch(plan(), device, row_tokens=T) == most // T
    assert largest_tokens(plan(), GIB) == 0
    assert largest_batch(plan(), 12 * GIB, row_tokens=T) == 2


def test_advice_names_the_switch_that_makes_it_fit() -> None:
    """A person who does not fit reads what to type; one who fits reads how far it goes."""
    eight = plan(batch=8, program="sftui", chunk=1024)
    assert "fits: 15.0 GiB of 80.0 GiB; up to 61 rows" in advice(eight, 80 * GIB, row_tokens=T)
    assert "--device-batch-size 5 needs" in advice(eight, 12 * GIB, row_tokens=T)
    packed = dataclasses.replace(eight, packed=True)
    assert "micro-steps of 10240 tokens needs" in advice(packed, 12 * GIB, row_tokens=T)
    assert "--activation-checkpointing needs" in advice(eight, 6 * GIB, row_tokens=T)
    wide = plan(batch=64, program="sftui", chunk=1024)
    assert "--activation-checkpointing with --device-batch-size" in advice(
        wide, 6 * GIB, row_tokens=T
    )
    none = advice(eight, 2 * GIB, row_tokens=T)
    assert "no switch makes it fit" in none
    assert "more ranks" in none


def test_options_go_down_from_the_plan() -> None:
    """Every option needs less than the plan as set, and says whether it fits."""
    found = options(plan(batch=4), 12 * GIB, row_tokens=T)
    assert [option.name for option in found] == [
        "as set",
        "--device-batch-size 2",
        "loss in chunks",
        "--activation-checkpointing",
        "loss in chunks and --activation-checkpointing",
    ]
    assert all(option.needed < found[0].needed for option in found[1:])
    assert [option.fits for option in found] == [False, True, True, False, True]
    unknown = options(plan(batch=4), None, row_tokens=T)
    assert [(o.fits, o.largest_batch) for o in unknown] == [(None, None)] * len(unknown)


def test_table_adds_up() -> None:
    """The printed parts add up to what a rank needs."""
    for made in (plan(), plan(program="sftui", chunk=1024, gradient_buckets=True)):
        *parts, (name, total, _) = table(made)
        assert name == "needed"
        assert total == sum(size for _, size, _ in parts)
        assert total == pytest.approx(needed(made), abs=2)
    assert "gradient buckets" in [name for name, _, _ in parts]


def test_plan_of_the_settings() -> None:
    """Packed micro-steps are as large as their token limit; padded ones follow the batch size."""
    config = RunConfig().replace(gpus=2, device_batch_size=2, layout="padded")
    padded = plan_for(config, nanochat(16), device_type="cuda", packed_tokens=16_384)
    assert (padded.tokens, padded.mixed, padded.world_size) == (4096, True, 2)
    packed = plan_for(
        config.replace(layout="packed"), nanochat(16), device_type="cuda", packed_tokens=16_384
    )
    assert packed.tokens == 16_384
    assert not plan_for(config, nanochat(16), device_type="cpu").mixed
    assert not plan_for(config.replace(dtype="float32"), nanochat(16), device_type="cuda").mixed


def test_adamw_alone_needs_no_stacks_of_matrices() -> None:
    """A Hugging Face model's optimizer works in place; a copy tells how far the weights went."""
    by_adamw = RunConfig().replace(model="somewhere", device_batch_size=2)
    by_muon = by_adamw.replace(optimizer="muon")
    found = [
        estimate(plan_for(each, nanochat(16), device_type="cpu")) for each in (by_adamw, by_muon)
    ]
    assert found[0].step_temporary == found[0].parameters
    assert mib(found[1].step_temporary) == 640


def test_checkpoint_size() -> None:
    """A d16 checkpoint holds the weights and the whole optimizer state."""
    assert mib(checkpoint_bytes(nanochat(16), mixed=True)) == 1152 + 1536


def test_the_chunk_is_the_loss_functions_own() -> None:
    """What is estimated is what is run, on every device and vocabulary."""
    import torch

    from engine.step.loss import default_chunk

    for vocab in (265, 4096, 65536, 262_144):
        for kind in ("cpu", "cuda"):
            assert loss_chunk(vocab, kind) == default_chunk(vocab, torch.device(kind))


def test_the_plan_of_a_run_is_what_its_loader_does() -> None:
    """A CPU packs about a thousand tokens whatever the batch; CUDA follows the batch size."""
    config = RunConfig().replace(device_batch_size=2, max_tokens=512)
    on_cpu = run_plan.memory_plan(config, nanochat(4), "cpu")
    assert (on_cpu.tokens, on_cpu.packed, on_cpu.chunk) == (1000, True, 128)
    on_cuda = run_plan.memory_plan(config, nanochat(4), "cuda")
    assert (on_cuda.tokens, on_cuda.packed, on_cuda.chunk) == (1024, False, 1024)
    assert run_plan.packed_tokens(config, "cuda") == on_cuda.tokens
    assert (on_cpu.checkpoint_copies, on_cuda.checkpoint_copies) == (True, False)
    found = estimate(on_cpu)
    assert found.checkpoint == found.parameters + found.optimizer
    assert found.start == found.parameters


# ---- what a GPU would allocate ---------------------------------------------------------------

COUNTED = json.loads((Path(__file__).parents[1] / "benchmarks" / "gpu_count.json").read_text())
"""Written by `make gpu-count`: bytes alive in a d16 step on CUDA builds of torch."""


@pytest.mark.parametrize("version", COUNTED["torch"])
def test_the_d16_step_takes_what_the_estimate_says(version: str) -> None:
    """Counted on the card's own path: within 3 %, for every batch, layout and number of ranks."""
    entries = COUNTED["torch"][version]["memory"]
    assert {entry["tokens"] for entry in entries} >= {2048, 4096, 8192, 16384}
    for entry in entries:
        made = MemoryPlan(
            shape=nanochat(16),
            tokens=entry["tokens"],
            world_size=entry["ranks"],
            chunk=loss_chunk(65536, "cuda"),
            checkpoint_layers=entry["checkpointing"],
        )
        assert estimate(made).peak == pytest.approx(entry["allocated"], rel=0.03), entry


@pytest.mark.parametrize("version", COUNTED["torch"])
def test_the_d16_step_of_2026_takes_what_the_estimate_says(version: str) -> None:
    """Its value embeddings, mix, smear and backout counted, recomputed or not: within 3 %."""
    for entry in COUNTED["torch"][version]["memory_2026"]:
        made = MemoryPlan(
            shape=D16_2026,
            tokens=entry["tokens"],
            world_size=entry["ranks"],
            chunk=loss_chunk(D16_2026.vocab_size, "cuda"),
            checkpoint_layers=entry["checkpointing"],
        )
        assert estimate(made).peak == pytest.approx(entry["allocated"], rel=0.03), entry


def test_the_low_memory_recipe_needs_what_a_small_card_has() -> None:
    """All allowances in: 8.7 GiB a rank as set, 6.7 GiB with recomputed blocks."""
    config = load_recipe("d16-low-memory")
    made = run_plan.memory_plan(config, nanochat(16), "cuda")
    assert (made.tokens, made.world_size, made.mixed) == (4096, 2, True)
    assert needed(made) <= 8.7 * GIB
    assert needed(dataclasses.replace(made, checkpoint_layers=True)) <= 6.7 * GIB
