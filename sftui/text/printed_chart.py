"""The text of a chart that plotext has drawn."""

from __future__ import annotations

import contextlib
import io
from typing import Any


def built(figure: Any, *, colour: bool) -> str:
    """What `plotext.figure` holds, as lines; the figure is empty afterwards.

    Of values that are too close together for its numbers plotext prints a remark, in colours and
    above everything else: the chart shows them in one place, which says as much.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        text: str = figure.build().string(colorless=not colour)
    figure.clear()
    return text.rstrip("\n")
