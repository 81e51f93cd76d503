"""Which part of the y axis serves the eye: what decides is in sight, lone outliers are not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftui.drawing.plot import percentiles

Limits = tuple[float, float]
_BOTTOM, _TOP = 1.0, 92.0
"""Percentiles that are in sight: a loss falls steeply at first, and that part is cut off."""
_HEADROOM = 0.3
"""Part of their distance added on both sides, as far as there is anything."""


def extremes(values: Iterable[NDArray[Any]]) -> Limits | None:
    """The lowest and the highest finite number of all of them; None without one."""
    known = [each[np.isfinite(each)] for each in values]
    known = [each for each in known if len(each)]
    if not known:
        return None
    return float(min(each.min() for each in known)), float(max(each.max() for each in known))


def eye_range(
    decides: NDArray[Any],
    everything: Limits | None,
    *,
    noise: NDArray[Any] | None = None,
    top: float = _TOP,
) -> Limits | None:
    """Limits that hold what decides, without lone outliers of it.

    Args:
        decides: heights in axis units, evenly spread over what is in sight; NaN for none.
        everything: the extremes of all that is drawn, beyond which there is nothing to show.
        noise: the single values, whose middle half is in sight too: where nothing but noise goes
            on, a range of the average alone would draw a drama of it.
        top: the percentile of `decides` that must be in sight.
    """
    decides = decides[np.isfinite(decides)]
    if not len(decides):
        return everything
    low, high = percentiles(decides, (_BOTTOM, top))
    if noise is not None and len(noise := noise[np.isfinite(noise)]):
        quarter, three = percentiles(noise, (25, 75))
        low, high = min(low, quarter), max(high, three)
    room = _HEADROOM * (high - low)
    if everything is None:
        return low - room, high + room
    return max(low - room, min(everything[0], low)), min(high + room, max(everything[1], high))


def around(limits: Limits | None, values: NDArray[Any]) -> Limits | None:
    """The limits, widened so that these values are inside."""
    found = extremes([values])
    if limits is None or found is None:
        return limits or found
    return min(limits[0], found[0]), max(limits[1], found[1])
