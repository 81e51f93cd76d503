"""Training losses of runs in which nothing is wrong, and of runs with a fault planted.

Each world is a function from a generator to the losses of one run. What is asked of the
alarms in it stands beside it; `None` is a world whose rate is printed and not bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]
STEPS = 1953
LEVEL = 1.2
NOISE = 0.065
"""Scatter of the step losses of the reference run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Losses of one kind of run."""

    name: str
    make: Callable[[np.random.Generator], Losses]
    fault: Literal["spike", "diverging"] | None = None
    """The alarm that must come; None: nothing is wrong."""
    limit: float | None = None
    """Percent of runs: at most, for each kind of false alarm; at least, for a fault found."""
    long: bool = False
    """50,000 steps a run: too slow for a table of a thousand."""


def falling(steps: int, start: float = 2.5, level: float = LEVEL) -> Losses:
    found: Losses = level + (start - level) * np.exp(-np.arange(steps) / 60)
    return found


def gauss(rng: np.random.Generator, steps: int, scatter: float = NOISE) -> Losses:
    return rng.normal(0, scatter, steps)


def autocorrelated(rng: np.random.Generator, steps: int, correlation: float) -> Losses:
    """Unit variance, correlation of neighbours as given."""
    shocks = rng.normal(0, np.sqrt(1 - correlation**2), steps).tolist()
    found, last = [], float(rng.normal())
    for shock in shocks:
        last = correlation * last + shock
        found.append(last)
    return np.array(found)


def ramp(steps: int, at: int, over: int, size: float) -> Losses:
    found: Losses = size * np.clip((np.arange(steps) - at) / over, 0, 1)
    return found


def pulse(steps: int, at: int, length: int, size: float) -> Losses:
    found = np.zeros(steps)
    found[at : at + length] = size
    return found


def tails(rng: np.random.Generator, steps: int, freedom: int) -> Losses:
    """Student's t, of the reference's scatter at three degrees of freedom; a loss is above 0."""
    found: Losses = np.maximum(falling(steps) + 0.0375 * rng.standard_t(freedom, steps), 0.05)
    return found


def rows_in_order(rng: np.random.Generator) -> Losses:
    """Sources one after another, each with its own level."""
    levels = np.repeat([1.2, 0.8, 1.5, 1.0], -(-STEPS // 4))[:STEPS]
    found: Losses = levels + gauss(rng, STEPS)
    return found


def _world(name: str, make: Callable[[np.random.Generator], Losses], **about: Any) -> World:
    return World(name=name, make=make, **about)


NULL_WORLDS = (
    _world("gauss", lambda r: falling(STEPS) + gauss(r, STEPS), limit=1),
    _world("AR .8", lambda r: falling(STEPS) + NOISE * autocorrelated(r, STEPS, 0.8), limit=1),
    _world("120 steps, 10 to 2", lambda r: falling(120, 10, 2.0) + gauss(r, 120), limit=1),
    _world(
        "noisier at first",
        lambda r: falling(STEPS) + gauss(r, STEPS) * (1 + 2 * np.exp(-np.arange(STEPS) / 20)),
        limit=1,
    ),
    _world(
        "a step down each epoch",
        lambda r: falling(STEPS) - 0.15 * (np.arange(STEPS) // 500) + gauss(r, STEPS),
        limit=1,
    ),
    _world("t3 tails", lambda r: tails(r, STEPS, 3), limit=1),
    _world("t2 tails", lambda r: tails(r, STEPS, 2), limit=5),
    _world("log-normal .5 at .5", lambda r: 0.5 * np.exp(r.normal(0, 0.5, STEPS)), limit=1),
    _world("log-normal 1 at .1", lambda r: 0.1 * np.exp(r.normal(0, 1, STEPS)), limit=1),
    _world("gamma 1 at .05", lambda r: r.gamma(1, 0.05, STEPS), limit=1),
    _world("gamma .5 at .1", lambda r: r.gamma(0.5, 0.2, STEPS), limit=1),
    _world(
        "printed micro-batch",
        lambda r: np.abs(falling(STEPS) + gauss(r, STEPS, 0.236)),
        limit=1,
    ),
    _world("AR .9 of 15 % at .4", lambda r: 0.4 * np.exp(0.15 * autocorrelated(r, STEPS, 0.9))),
    _world(
        "shift of the mixture, +30 %",
        lambda r: falling(STEPS) * (1 + pulse(STEPS, 1000, STEPS, 0.3)) + gauss(r, STEPS),
    ),
    _world("sources in order", rows_in_order),
    _world("t3 tails, 50k", lambda r: tails(r, 50_000, 3), limit=1, long=True),
    _world(
        "AR .99 of 10 %, 50k",
        lambda r: 1.2 * np.exp(0.1 * autocorrelated(r, 50_000, 0.99)),
        long=True,
    ),
)

FAULT_WORLDS = (
    _world(
        "120 steps, doubles at 40 to 60",
        lambda r: falling(120) + ramp(120, 40, 20, 1.5) + gauss(r, 120),
        fault="diverging",
        limit=95,
    ),
    _world(
        "120 steps, triples at 10 to 20",
        lambda r: falling(120) + ramp(120, 10, 10, 3.0) + gauss(r, 120),
        fault="diverging",
        limit=95,
    ),
    _world(
        "200 steps, doubles at 60 to 90",
        lambda r: falling(200) + ramp(200, 60, 30, 1.5) + gauss(r, 200),
        fault="diverging",
        limit=95,
    ),
    _world(
        "+.3 over 50 steps from 1000",
        lambda r: falling(STEPS) + ramp(STEPS, 1000, 50, 0.3) + gauss(r, STEPS),
        fault="diverging",
        limit=95,
    ),
    _world(
        "+.3, printed micro-batch",
        lambda r: np.abs(falling(STEPS) + ramp(STEPS, 1000, 50, 0.3) + gauss(r, STEPS, 0.236)),
        fault="diverging",
    ),
    _world(
        "three steps of +.5",
        lambda r: falling(STEPS) + pulse(STEPS, 700, 3, 0.5) + gauss(r, STEPS),
        fault="spike",
        limit=60,
    ),
)
