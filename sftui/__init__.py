"""The screen and its commands, and what a training script attaches itself with.

`import sftui` loads neither torch nor Textual: each name below is looked up when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.attach.callback import SftuiCallback as SftuiCallback
    from engine.attach.hf_trainer import Attached as Attached
    from engine.attach.hf_trainer import attach as attach
    from engine.attach.lightning import LightningCallback as LightningCallback
    from engine.attach.loop import LoopRun as LoopRun
    from engine.attach.loop import RunStopped as RunStopped
    from engine.attach.loop import attach_loop as attach_loop

_HOMES = {
    "attach": "engine.attach.hf_trainer",
    "Attached": "engine.attach.hf_trainer",
    "SftuiCallback": "engine.attach.callback",
    "LightningCallback": "engine.attach.lightning",
    "LoopRun": "engine.attach.loop",
    "RunStopped": "engine.attach.loop",
    "attach_loop": "engine.attach.loop",
}
"""Module of each public name. Not imported: the screen must not load what a trainer needs."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sftui' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
