"""Read what Hugging Face's Trainer prints, and all that is built on it: TRL, axolotl,
LLaMA-Factory, ms-swift, unsloth, sentence-transformers.

One dict a logged step, which mostly holds no step; the progress bar does (`counters`).
Without a bar, entries are counted and `format` says so.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from sftui.readers.printed import PrintedReader


class HfTrainerReader(PrintedReader):
    """See the module; one instance reads one file from its start."""

    name: ClassVar[str] = "hf-trainer"
    words: ClassVar[str] = "Hugging Face Trainer output"
    marks: ClassVar[re.Pattern[bytes]] = re.compile(
        rb"\{'(?:loss|eval_[\w/. -]{0,80}loss|train_loss|train_runtime)': '?[-\d.a-z]+'?, "
        rb"'[^\n]{0,4000}'epoch': "
    )

    def _other_row(self, *_: Any, **__: Any) -> bool:
        """DeepSpeed's `step=0, lr=[0.0]` and the like count on an axis of their own."""
        return False
