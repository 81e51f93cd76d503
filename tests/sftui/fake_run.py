"""A recorded run that never ran: realistic shapes from a seed, for tests and pictures.

Two ranks, 400 updates, evaluations, checkpoints, a pause, an alarm and a few log
lines. Times are fixed, so two recordings are equal to the last bit.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator

from engine import events as ev

START = 1_760_000_000.0
"""Wall clock of the first event."""
STEP_SECONDS = 0.41
UPDATES = 400
GIB = 1024**3


class ListSource:
    """A source that holds a list: what a test feeds to the app."""

    def __init__(self, events: list[ev.Event], *, per_poll: int | None = None) -> None:
        self.events = list(events)
        self.per_poll = per_poll
        self.sent: list[object] = []
        self.is_alive: tuple[bool, str] = (True, "")
        self.polls = 0

    def poll(self, max_events: int = 2000, max_seconds: float = 0.05) -> list[ev.Event]:
        self.polls += 1
        take = min(max_events, self.per_poll or max_events)
        out, self.events = self.events[:take], self.events[take:]
        return out

    def send(self, request: object) -> None:
        self.sent.append(request)

    @property
    def closed(self) -> bool:
        return not self.events

    @property
    def settled(self) -> bool:
        return not self.events

    def describe(self) -> str:
        return "recorded events"

    def alive(self) -> tuple[bool, str]:
        return self.is_alive

    def close(self) -> None:
        self.events = []


class Recorder:
    """Stamps events as rank 0 would."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self.t = START
        self.attempt = 1

    def add(self, event: ev.Event, *, after: float = 0.0) -> None:
        self.t += after
        stamp = ev.Stamp(
            run="fake",
            src="r0",
            att=self.attempt,
            seq=len(self.events) + 1,
            t=round(self.t, 6),
            m=round(self.t - START + 100, 6),
            boot="boot",
        )
        self.events.append(dataclasses.replace(event, stamp=stamp))


def fake_run(
    *,
    updates: int = UPDATES,
    until: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    finish: bool = True,
) -> list[ev.Event]:
    """Events of a run of `updates` updates, cut after update `until` (then still running)."""
    rng = random.Random(seed)
    rec = Recorder()
    rec.add(
        ev.RunStarted(
            name="starter",
            recipe="starter",
            source="built-in base",
            num_iterations=updates + 1,
            world_size=2,
            device=device,
            backend="nccl" if device == "cuda" else "gloo",
            num_parameters=335_544_320 if device == "cuda" else 6_815_744,
            rows=6400,
            mixture={"Words": 3200, "Choices": 3200},
            settings={
                "eval_every": 50,
                "eval_metrics_every": 100,
                "target_examples_per_step": 32,
                "checkpoint_every": 100,
            },
        )
    )
    rec.add(ev.AttemptStarted(start_step=0, world_size=2), after=0.1)
    rec.add(ev.PhaseStarted(phase="import"), after=0.1)
    rec.add(ev.PhaseStarted(phase="group", detail="2 ranks over gloo"), after=2.4)
    rec.add(ev.PhaseStarted(phase="model", detail="mid d16 step 770"), after=0.6)
    rec.add(ev.PhaseStarted(phase="data", detail="6,400 rows"), after=1.2)
    rec.add(ev.LogLine(text="no CUDA: 2 ranks on CPU through gloo, about 3 minutes", level="warn"))
    _heartbeats(rec, rng, device, 0)
    _evaluate(rec, rng, 0, updates)
    rec.add(ev.PhaseStarted(phase="train"), after=0.2)
    rec.add(ev.StateChanged(state="running"))
    last = updates if until is None else min(until, updates)
    for step in range(last):
        if step and step % 50 == 0:
            _evaluate(rec, rng, step, updates)
        if step and step % 100 == 0:
            _checkpoint(rec, step, "schedule")
        if step == 140:
            _pause(rec, step)
        if step == 260:
            rec.add(
                ev.ControlApplied(id="lr1", command="lr", argument=0.5, author="ctl", step=step)
            )
        rec.add(_step(rng, step, updates), after=STEP_SECONDS * rng.uniform(0.93, 1.08))
        if step % 3 == 0:
            _heartbeats(rec, rng, device, step)
    if until is None and finish:
        _evaluate(rec, rng, updates, updates)
        _checkpoint(rec, updates, "final")
        rec.add(ev.PhaseStarted(phase="export"), after=0.2)
        rec.add(
            ev.CheckpointSaved(
                path="export/chatsft_checkpoints/d16",
                step=updates,
                size_bytes=int(0.03 * GIB),
                kind="nanochat",
                reason="final",
                seconds=0.4,
            ),
            after=0.5,
        )
        rec.add(
            ev.RunFinished(status="finished", updates=updates, seconds=rec.t - START), after=0.1
        )
    return rec.events


def _level(step: float, updates: int) -> float:
    """The course of the loss: a fast fall, then a slow one."""
    part = step / updates
    return 0.92 + 0.55 * math.exp(-part * 18) + 0.28 * math.exp(-part * 2.2)


def _step(rng: random.Random, step: int, updates: int) -> ev.StepFinished:
    level = _level(step, updates)
    loss = level + rng.gauss(0, 0.035) + (0.62 if step in (55, 212, 213) else 0.0)
    factor = 0.5 if step >= 260 else 1.0
    multiplier = (1 - step / (updates + 1)) * factor
    seconds = STEP_SECONDS * rng.uniform(0.93, 1.08)
    tokens = rng.randint(4800, 5300)
    return ev.StepFinished(
        step=step,
        loss=loss,
        loss_rows_mean=loss + rng.gauss(0.01, 0.01),
        loss_micro_last=level + rng.gauss(0, 0.2),
        lr_mult=multiplier,
        lrs={"matrices": 8e-4 * multiplier, "wte": 8e-3 * multiplier},
        grad_norm=0.6 + 0.5 * math.exp(-step / 60) + abs(rng.gauss(0, 0.08)),
        supervised_tokens=int(tokens * 0.56),
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / seconds,
        epoch=step * 32 / 6400,
    )


def _evaluate(rec: Recorder, rng: random.Random, step: int, updates: int) -> None:
    metrics = step % 100 == 0
    rec.add(ev.PhaseStarted(phase="validate"), after=0.05)
    best_at = 0.72 * updates
    rise = 0.018 * max(0.0, step - best_at) / (updates - best_at)
    loss = _level(step, updates) + 0.045 + rise + rng.gauss(0, 0.004)
    rec.add(
        ev.ValidationFinished(step=step, loss=loss, rows=400, seconds=1.9, metric="loss"),
        after=1.9,
    )
    if metrics:
        part = 1 - math.exp(-step / updates * 3)
        tasks = (("MMLU", 1024, 0.245, 0.045), ("ARC-Easy", 1024, 0.262, 0.17))
        for task, total, base, gain in tasks:
            rec.add(ev.EvalStarted(task=task, total=total, step=step), after=0.02)
            correct = round(total * (base + gain * part + rng.gauss(0, 0.007)))
            rec.add(
                ev.EvalFinished(
                    step=step,
                    task=task,
                    correct=correct,
                    total=total,
                    chance=0.25,
                    one_letter=0.269,
                    seconds=4.2,
                    item_set="a" * 64,
                ),
                after=4.2,
            )
    rec.add(ev.PhaseStarted(phase="train"), after=0.02)


def _checkpoint(rec: Recorder, step: int, reason: ev.CheckpointReason) -> None:
    rec.add(ev.CheckpointStarted(step=step, reason=reason), after=0.02)
    rec.add(
        ev.CheckpointSaved(
            step=step,
            path=f"ckpt/step-{step}",
            size_bytes=int(2.2 * GIB),
            seconds=3.1,
            reason=reason,
        ),
        after=0.4,
    )
    if step >= 300:
        rec.add(ev.CheckpointRemoved(path=f"ckpt/step-{step - 200}"))


def _pause(rec: Recorder, step: int) -> None:
    rec.add(ev.ControlApplied(id="p1", command="pause", author="screen", step=step), after=0.1)
    rec.add(ev.StateChanged(state="paused", step=step))
    rec.add(ev.ControlApplied(id="p2", command="resume", author="screen", step=step), after=125.0)
    rec.add(ev.StateChanged(state="running", step=step))


def _heartbeats(rec: Recorder, rng: random.Random, device: str, step: int) -> None:
    for rank in range(2):
        wave = 0.5 + 0.5 * math.sin(step / 23 + rank)
        if device == "cuda":
            rec.add(
                ev.RankHeartbeat(
                    rank=rank,
                    host="node",
                    pid=4100 + rank,
                    at_step=step,
                    device="cuda",
                    device_name="NVIDIA H100 80GB",
                    memory_kind="cuda",
                    memory_bytes=int((58 + 4 * wave) * GIB),
                    memory_reserved_bytes=int((70 + 3.4 * rank) * GIB),
                    memory_peak_bytes=int(71.2 * GIB),
                    memory_total_bytes=80 * GIB,
                    gpu_util_percent=96 + rng.random() * 3,
                    gpu_power_watts=600 + 30 * wave,
                    gpu_power_limit_watts=700,
                    gpu_temperature_celsius=54 + rank,
                    step_seconds=STEP_SECONDS,
                )
            )
        else:
            rec.add(
                ev.RankHeartbeat(
                    rank=rank,
                    host="node",
                    pid=4100 + rank,
                    at_step=step,
                    memory_kind="resident",
                    memory_bytes=int((0.72 + 0.05 * wave + 0.02 * rank) * GIB),
                    memory_peak_bytes=int(0.81 * GIB),
                    memory_total_bytes=16 * GIB,
                    cpu_percent=94 + rng.random() * 5,
                    step_seconds=STEP_SECONDS,
                )
            )


def chunked(events: list[ev.Event], sizes: list[int]) -> Iterator[list[ev.Event]]:
    """The same events in batches of the given sizes, the rest in one."""
    at = 0
    for size in sizes:
        yield events[at : at + size]
        at += size
    yield events[at:]
