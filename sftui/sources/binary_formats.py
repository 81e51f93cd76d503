"""The binary formats, each told by its signature: no other reader need be imported or asked."""

from __future__ import annotations

from collections.abc import Sequence

from sftui.readers import Reader
from sftui.readers.swanlab import SwanLabReader
from sftui.readers.tensorboard import TensorBoardReader
from sftui.readers.trackio import TrackioReader
from sftui.readers.wandb_offline import WandbReader

SIGNED: Sequence[type[Reader]] = (TensorBoardReader, WandbReader, SwanLabReader, TrackioReader)
