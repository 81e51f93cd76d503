"""The texts of the alarms: what was measured, against what, and what to do next.

One function a kind; the words after the full stop are the advice.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.alarms.loss_rule import Divergence
from engine.alarms.rules import MemoryUse
from engine.alarms.source_moves import SourceMoves, listed
from engine.alarms.windows import RECENT, Reading
from engine.files.sizes import GIB, in_words


def nonfinite(what: str, value: float, step: int | None) -> str:
    return (
        f"{what} is {value} at step {step}. Look at the rows of that step; if it comes back, "
        "resume from a checkpoint with a lower init_lr_frac"
    )


def slower(run_id: str) -> str:
    """Advice to lower the learning rate; with the command, where the run has an id."""
    return "halve the rate" + (f" with sftui ctl {run_id} lr 0.5" if run_id else "")


def spike(loss: float, mark: Reading, remedy: str) -> str:
    return (
        f"loss {loss:.4g} is {mark.value:.0f} sigma above the 100 steps before, and not alone. "
        f"One odd batch is harmless; if it comes back, {remedy}"
    )


def diverging(found: Divergence, remedy: str) -> str:
    base = "its best stretch" if found.against == "best" else "where the run began"
    return (
        f"loss {found.loss:.4g} (median of {RECENT} steps) is {_rise(found.loss, found.base)} "
        f"above {base} ({found.base:.4g}). If it does not fall again, {remedy}, or stop and "
        "resume from an earlier checkpoint"
    )


def overfitting(
    found: Reading, which: str, best: float, best_step: int | None, moves: SourceMoves
) -> str:
    name = f"validation of {which}" if which else "validation"
    return (
        f"{name} {found.value:.4f} is {_rise(found.value, best)} above its best, {best:.4f} "
        f"at step {best_step}, for the second time{_sources(moves)}. {_instead(moves)}; "
        f"the weights of step {best_step} are the better ones"
    )


def _sources(moves: SourceMoves) -> str:
    """Where the rise is, when the sources of the rows tell."""
    if moves.meaning == "over-fitting":
        return f", on every source ({moves.sources}): over-fitting"
    if moves.meaning == "shift":
        return (
            f"; it rose on {listed(moves.rose)} and fell on {listed(moves.fell)}: a shift of the "
            "mixture"
        )
    return ""


def _instead(moves: SourceMoves) -> str:
    if moves.meaning == "shift":
        return "More rows of what got worse may help more than fewer steps"
    return "More steps are unlikely to help"


def slowdown(found: Reading, normal: float, unit: str) -> str:
    return (
        f"{_speed(found.value)} {unit} against {_speed(normal)} at the start. Look for other "
        "programs on the machine, heat, or a slow disk"
    )


def letter_collapse(task: str, letter: str, share: float) -> str:
    return (
        f"{task}: {share:.0%} of the answers are {letter}, so the accuracy is only {letter}'s "
        "share of the right answers. Compare with the start; a lower learning rate or more letter "
        "questions in the mixture may help"
    )


def straggler(rank: int, found: Reading) -> str:
    return (
        f"rank {rank} needs {found.value:.2f} times as long as the others, who wait for it. Look "
        "at its device: heat, power limit, other programs"
    )


def memory_tight(rank: int, use: MemoryUse, retries: int) -> str:
    who = f"rank {rank} uses" if use.on_device else "the ranks of one machine use"
    again = f", and allocations were tried again {retries} times" if retries else ""
    return (
        f"{who} {use.used / GIB:.1f} of {use.total / GIB:.1f} GiB{again}. A longer row may fail: "
        "lower device_batch_size, or set activation_checkpointing"
    )


def disk_low(free: int, needed: int, checkpoints: int) -> str:
    return (
        f"{in_words(free)} are free where the run is saved; {checkpoints} checkpoints need "
        f"{in_words(needed)}. Make room, or remove old runs"
    )


def stall(found: Reading, usual_seconds: float) -> str:
    return (
        f"no step for {found.value:.0f} s; one takes {usual_seconds:.3g} s. A rank may hang: look "
        "at the rank table and at logs/ in the run directory"
    )


def rank_silent(ranks: Sequence[int], found: Reading) -> str:
    names = ", ".join(f"rank {rank}" for rank in ranks)
    return (
        f"no heartbeat of {names} for {found.value:.0f} s: stopped, swapped out or gone. The "
        "others wait for it until the collective times out"
    )


def _rise(value: float, base: float) -> str:
    return f"{(value - base) / abs(base):.1%}" if base else f"{value - base:.4g}"


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
