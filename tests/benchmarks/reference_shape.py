"""The reference run's own shape on two CPU ranks: does it fit, save, resume and export?

    python tests/benchmarks/reference_shape.py --run [--layers 16] [--width 1024]

16 layers, width 1024, 8 heads, vocabulary 65536: 335.5 M parameters. Random weights are
written in nanochat's layout, a few short rows make a step. Two updates with a checkpoint
between them, a stop with another, `--resume` for the third, the export; then the measured memory of
each rank stands beside what `sftui fit` said. Takes 16 GiB of memory, 12 GiB of disk
and about ten minutes on two cores, so it does nothing without --run.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine import config, fit
from engine.checkpoints import nanochat_io, nanochat_paths
from engine.control import Command
from engine.conversations.tokenizer import SPECIAL_TOKENS, Tokenizer
from engine.events import (
    CheckpointSaved,
    ControlApplied,
    PhaseStarted,
    RankHeartbeat,
    RunFinished,
    StateChanged,
    StepFinished,
)
from engine.files.sizes import GIB
from engine.model.nanochat.gpt_config import GPTConfig
from engine.run import resume_file
from engine.run.run_dir import RunDir
from engine.step import run_plan
from tests import material
from tests.place import Place, of, post
from tests.processes import children, wait_for

RANKS = 2
VOCABULARY = 65_536
PATIENCE = 1800.0

FLAGS = (
    f"--gpus={RANKS}",
    "--device-batch-size=1",
    "--target-examples-per-step=4",
    "--num-iterations=4",
    "--eval-steps=1",
    "--eval-metrics-max-problems=2",
    "--checkpoint-every=0",
    "--eval-every=2",
    "--eval-metrics-every=2",
)


def big_tokenizer() -> Tokenizer:
    """Every byte, and pairs of bytes up to the vocabulary."""
    singles = [bytes([value]) for value in range(256)]
    wanted = VOCABULARY - len(singles) - len(SPECIAL_TOKENS)
    pairs = itertools.product(range(256), repeat=2)
    return Tokenizer.from_merges(
        r"[\s\S]", singles + [bytes(pair) for pair in itertools.islice(pairs, wanted)]
    )


def write_model(base: Path, layers: int, width: int) -> GPTConfig:
    """Random weights and a tokenizer as a nanochat cache."""
    model = material.model(width=width, vocab=VOCABULARY, layers=layers, sequence=2048)
    folder = base / nanochat_paths.SOURCE_FOLDERS["mid"] / f"d{layers}"
    nanochat_io.export(folder, 770, model.config, model.state_dict(), {})
    big_tokenizer().save_pickle(base / "tokenizer" / "tokenizer.pkl")
    return model.config


def stop_after_two_updates(place: Place) -> RunDir:
    """An update, a checkpoint, an update beside that checkpoint's copies, a stop with another."""
    run, process = place.start(*FLAGS)
    post(run, Command.PAUSE)
    wait_for(lambda: of(run, ControlApplied), PATIENCE)
    for step in (1, 2):
        place.ctl(run, "resume", "1")
        wait_for(lambda: of(run, StateChanged)[-1].step == step, PATIENCE)  # noqa: B023  at once
        if step == 1:
            post(run, Command.CHECKPOINT)
            wait_for(lambda: any(e.command == "checkpoint" for e in of(run, ControlApplied)))
    place.ctl(run, "stop")
    process.wait(PATIENCE)
    return run


def report(run: RunDir, shape: GPTConfig) -> None:
    """Times, sizes, and the memory of every rank beside the estimate."""
    for event in of(run, StepFinished):
        print(f"update {event.step}: {event.seconds:.0f} s, {event.tokens} tokens")
    for event in of(run, CheckpointSaved):
        size = (event.size_bytes or 0) / GIB
        print(
            f"{event.kind} checkpoint of step {event.step}: {size:.2f} GiB, {event.seconds:.1f} s"
        )
    end = of(run, RunFinished)[-1]
    print(f"end: {end.status} after {end.updates} updates")
    manifest = resume_file.manifest_now(run)
    settings = config.from_flat(manifest["config"], None)
    plan = run_plan.memory_plan(settings, shape, "cpu")
    longest = max(event.tokens or 0 for event in of(run, StepFinished)) // RANKS
    # Rows here are far shorter than max_tokens allows, and one micro-step takes them all.
    used = dataclasses.replace(plan, tokens=longest, gradients_alive=False)
    estimate = fit.estimate(used)
    print(f"fit, {longest} tokens a micro-step:")
    for part, size, what in fit.table(used):
        print(f"  {part:<18} {size / GIB:6.2f} GiB  {what}")
    measured = next(e.stamp.t for e in of(run, PhaseStarted) if e.phase == "validate")
    for rank in range(RANKS):
        beats = [e for e in of(run, RankHeartbeat) if e.rank == rank and e.memory_bytes]
        # The last look before the first evaluation: the model is loaded, nothing else is done.
        before = [e.memory_bytes for e in beats if e.stamp.t < measured][-1]
        peak = max(max(e.memory_bytes, e.memory_peak_bytes or 0) for e in beats)
        growth = peak - before
        # The estimate is rank 0's: the others keep no copy of the model for the checkpoint.
        less = estimate.parameters if rank else 0
        wanted = estimate.peak - estimate.parameters - less
        print(
            f"rank {rank}: resident {before / GIB:.2f} GiB with the model loaded, at most "
            f"{peak / GIB:.2f} GiB; growth {growth / GIB:.2f} GiB, fit says "
            f"{wanted / GIB:.2f} GiB, ratio {growth / wanted:.2f}; in all "
            f"{peak / (fit.needed(used) - less):.2f} of the estimate"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=1024)
    options = parser.parse_args()
    if not options.run:
        print("16 GiB of memory and ten minutes: type --run if that is meant")
        return
    with tempfile.TemporaryDirectory() as folder, children() as started:
        place = Place(Path(folder), started)
        begin = time.monotonic()
        for path in (place.cache / "mid_checkpoints").rglob("*.*"):
            path.unlink()
        (place.cache / "mid_checkpoints" / "d1").rmdir()
        shape = write_model(place.cache, options.layers, options.width)
        print(f"{shape.num_parameters / 1e6:.1f} M parameters written")
        run = stop_after_two_updates(place)
        place.resume(run).wait(PATIENCE)
        report(run, shape)
        exported = nanochat_paths.find_checkpoint("sft", base=place.cache)
        nanochat_io.load_weights(exported)
        print(f"exported and loaded again: {exported.label}")
        print(f"{time.monotonic() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
