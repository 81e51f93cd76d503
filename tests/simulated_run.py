"""A run like the reference one, made of events, with faults planted where a test wants them.

The numbers are those of nanochat d16: 1953 iterations, a step a second, step losses that
scatter by 0.065, a validation every 50 steps, letter questions every 100, two ranks that
beat every two seconds. Noise comes from one seeded generator, so a run is repeatable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.events import (
    AttemptStarted,
    CheckpointSaved,
    CheckpointStarted,
    EvalFinished,
    EvalStarted,
    Event,
    PhaseStarted,
    RankHeartbeat,
    RunFinished,
    RunStarted,
    Stamp,
    StepFinished,
    ValidationFinished,
)

GIB = 2**30
ITERATIONS = 1953
START_T = 1_700_000_000.0
QUESTIONS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What the run is like, and what is wrong with it."""

    seed: int = 0
    iterations: int = ITERATIONS
    noise: str = "gauss"
    """gauss, t3 (heavy tails), auto (autocorrelated) or micro (nanochat's printed loss)."""
    correlation: float = 0.8
    """Of neighbouring losses, when autocorrelated."""
    noise_sd: float = 0.065
    val_wobble: float = 0.002
    paired_error: float | None = 0.0025
    time_cv: float = 0.15
    """Scatter of the step times, as a share of one second."""

    nan_at: int | None = None
    spike_at: int | None = None
    spike_size: float = 1.0
    spike_steps: int = 3
    ramp_at: int | None = None
    ramp_size: float = 0.4
    ramp_steps: int = 50
    val_rise: float = 0.0
    """Rise of the validation loss from the first to the last evaluation, in nats."""
    silence_at: int | None = None
    silence_seconds: float = 60.0
    slow_rank_seconds: float = 0.0
    """Rank 1 sleeps so long in every step before it meets the others."""
    slow_from: int | None = None
    """From this step on everything takes three times as long."""
    letter: str | None = None
    """The only letter the model answers from step 1000 on."""
    silent_rank_at: int | None = None
    """Rank 1 sends no beat from here on, although steps go on."""
    memory_share: float = 0.6
    disk_free: int = 500 * GIB


def losses(sim: Simulation, rng: np.random.Generator) -> np.ndarray:
    """Step losses [iterations]: a slight fall, noise, and what is planted."""
    n = sim.iterations
    level = 1.28 - 0.10 * (1 - np.exp(-np.arange(n) / 300))
    if sim.noise == "t3":
        noise = rng.standard_t(3, n) * sim.noise_sd / np.sqrt(3)
    elif sim.noise == "auto":
        shocks = rng.normal(0, sim.noise_sd * np.sqrt(1 - sim.correlation**2), n)
        noise = np.empty(n)
        last = rng.normal(0, sim.noise_sd)
        for i, shock in enumerate(shocks):
            last = sim.correlation * last + shock
            noise[i] = last
    elif sim.noise == "micro":
        noise = rng.normal(0, 0.236, n)
    else:
        noise = rng.normal(0, sim.noise_sd, n)
    found = level + noise
    if sim.spike_at is not None:
        found[sim.spike_at : sim.spike_at + sim.spike_steps] += sim.spike_size
    if sim.ramp_at is not None:
        ramp = np.clip((np.arange(n) - sim.ramp_at) / sim.ramp_steps, 0, 1)
        found += sim.ramp_size * ramp
    if sim.nan_at is not None:
        found[sim.nan_at] = np.nan
    return found


def run(sim: Simulation, *, steps: bool = True) -> Iterator[Event]:
    """The events of the run, stamped, in order; without `steps` only what is measured."""
    rng = np.random.default_rng(sim.seed)
    n = sim.iterations
    loss = losses(sim, rng).tolist()
    seconds = np.clip(rng.normal(1.0, sim.time_cv, n), 0.2, None).tolist()
    norms = np.abs(rng.normal(1.0, 0.2, n)).tolist()
    tokens = rng.normal(9000, 1500, n).astype(int).tolist()
    pace = rng.uniform(0.95, 1.05, (n, 2)).tolist()
    t, beat_t, seq = START_T, START_T, 0

    def now() -> Stamp:
        nonlocal seq
        seq += 1
        return Stamp(seq=seq, t=t, m=t - START_T)

    yield RunStarted(name="simulated", num_iterations=n, world_size=2, stamp=now())
    yield AttemptStarted(world_size=2, stamp=now())
    for step in range(n):
        last = step == n - 1
        measured = step % 50 == 0 or last
        if measured:
            yield PhaseStarted(phase="validate", step=step, stamp=now())
            t += 20.0
            value = 1.244 + rng.normal(0, sim.val_wobble) + sim.val_rise * step / n
            yield ValidationFinished(
                step=step, loss=value, rows=400, paired_error=sim.paired_error, stamp=now()
            )
        if step % 100 == 0 or last:
            yield EvalStarted(task="MMLU", total=QUESTIONS, step=step, stamp=now())
            t += 40.0
            answers = rng.multinomial(QUESTIONS, [0.2, 0.3, 0.3, 0.2]).tolist()
            if sim.letter and step >= 1000:
                answers = [QUESTIONS if x == sim.letter else 0 for x in "ABCD"]
            yield EvalFinished(
                task="MMLU",
                step=step,
                correct=int(rng.binomial(QUESTIONS, 0.25)),
                total=QUESTIONS,
                letters=dict(zip("ABCD", answers, strict=True)),
                stamp=now(),
            )
            yield CheckpointStarted(step=step, stamp=now())
        if last:
            break
        if not steps:
            continue
        if measured:
            yield PhaseStarted(phase="train", step=step, stamp=now())
        slower = 3 if sim.slow_from is not None and step >= sim.slow_from else 1
        own = seconds[step] * slower
        took = own + sim.slow_rank_seconds
        if step == sim.silence_at:
            t += sim.silence_seconds
            beat_t = t
        t += took
        if step % 100 == 1:
            path = f"ckpt/step-{step - 1}"
            yield CheckpointSaved(step=step - 1, path=path, size_bytes=2 * GIB, stamp=now())
        yield StepFinished(
            step=step,
            loss=loss[step],
            grad_norm=norms[step],
            tokens=tokens[step],
            seconds=took,
            tokens_per_second=9000 / took,
            stamp=now(),
        )
        if t - beat_t < 2.0:
            continue
        beat_t = t
        for rank in (0, 1):
            if rank == 1 and sim.silent_rank_at is not None and step >= sim.silent_rank_at:
                continue
            mine = own * pace[step][rank] + rank * sim.slow_rank_seconds
            yield RankHeartbeat(
                rank=rank,
                host="one",
                at_step=step,
                device="cuda",
                memory_kind="cuda",
                memory_bytes=int(0.5 * sim.memory_share * 80 * GIB),
                memory_reserved_bytes=int(sim.memory_share * 80 * GIB),
                memory_total_bytes=80 * GIB,
                disk_free_bytes=sim.disk_free,
                step_seconds=took,
                # Each rank has half of the step's tokens.
                seconds_per_token=2 * mine / tokens[step],
                stamp=now(),
            )
    yield RunFinished(status="finished", updates=n - 1, stamp=now())
