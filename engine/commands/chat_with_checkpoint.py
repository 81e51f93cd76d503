"""Talk to one checkpoint: `python -P -m engine.commands.chat_with_checkpoint`.

One JSON message a line, both ways.

In: the job first (see `load`), then `{"prompt": TEXT, "number": N}`, `{"stop": N}` to end the
answer to prompt N early, `{"clear": true}` to begin anew. Out: `{"ready": {...}}`, pieces of an
answer as `{"piece": TEXT}`, its end as `{"done": {...}}`, and `{"error": TEXT, "usage": BOOL}`
for what a person can read. It ends with its input.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from engine.checkpoints import checkpoint_target
from engine.errors import SftuiError, UsageError
from engine.files import checked
from engine.processes import orphan

if TYPE_CHECKING:
    import torch

    from engine.model.generate import Dialogue

Tell = Callable[[dict[str, Any]], None]


def main() -> int:
    # Without it one whose starter is killed loads its model to the end before it reads.
    orphan.end_with_parent()
    # Ctrl-C is for whoever started this: it says `stop`, or closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # From here on whatever is printed, by C code too, is no message.
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    orders = Orders(sys.stdin)
    job = orders.next()
    if job is None:
        return 0
    # Nobody reads any more: the end of the input says so too.
    with contextlib.suppress(BrokenPipeError):
        try:
            dialogue, mixed, ready = load(job)
            tell({"ready": ready})
            serve(dialogue, mixed, orders, tell)
        except SftuiError as error:
            tell(_told(error))
    return 0


class Orders:
    """Messages of the input, read by a thread so that a `stop` arrives during an answer."""

    def __init__(self, lines: TextIO) -> None:
        self.stopped = 0
        """Number of the newest prompt whose answer is not wanted any more."""
        self.ended = False
        self._lines = lines
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def next(self) -> dict[str, Any] | None:
        """Wait for the next message that is not a stop; None at the end of the input."""
        return self._queue.get()

    def _read(self) -> None:
        for line in self._lines:
            order = checked.parse_json(line)
            if "stop" in order:
                self.stopped = int(order["stop"])
            else:
                self._queue.put(order)
        self.ended = True
        self._queue.put(None)


def load(job: dict[str, Any]) -> tuple[Dialogue, torch.autocast, dict[str, Any]]:
    """Load the model: the dialogue, the autocast to run it in, and the `ready` message.

    Job: `target` (arguments of `checkpoint_target.find`), `sampling` (fields of `Sampling`),
    `device_type`.

    Raises:
        UsageError: the checkpoint cannot be used, or a number is out of range.
    """
    target = checkpoint_target.find(**job["target"] | {"runs": Path(job["target"]["runs"])})

    # torch: seconds, which a missing checkpoint must not cost.
    import torch  # noqa: PLC0415

    from engine.checkpoints import load_target  # noqa: PLC0415
    from engine.model.generate import Dialogue, Sampling  # noqa: PLC0415

    sampling = Sampling(**job["sampling"]).check()
    device = torch.device(job["device_type"])
    tokenizer = load_target.load_tokenizer(target)
    on_cuda = device.type == "cuda"
    model = load_target.load_model(target, device, mixed=on_cuda)
    model.eval()
    mixed = torch.autocast(device.type, dtype=torch.bfloat16, enabled=on_cuda)
    ready = target.described() | {"device": device.type}
    return Dialogue(model, tokenizer, sampling), mixed, ready


def serve(dialogue: Dialogue, mixed: torch.autocast, orders: Orders, tell: Tell) -> None:
    """Answer until the input ends."""
    while (order := orders.next()) is not None:
        if order.get("clear"):
            dialogue.clear()
            continue
        try:
            with mixed:
                answer(dialogue, order["prompt"], order["number"], orders, tell)
        except SftuiError as error:
            tell(_told(error))


def answer(dialogue: Dialogue, prompt: str, number: int, orders: Orders, tell: Tell) -> None:
    """Generate one answer and send it piece by piece, then its `done` message.

    Raises:
        UsageError: the prompt does not fit, or the weights are broken.
    """
    from engine.model.generate import text_of, text_stream  # noqa: PLC0415  torch, loaded by now

    started = time.monotonic()
    before = len(dialogue.ids)
    reply = dialogue.reply(prompt)
    asked = len(dialogue.ids) - before
    stream = text_stream(dialogue.tokenizer)
    for token in reply:
        if piece := stream.feed(token):
            tell({"piece": piece})
        if orders.ended or orders.stopped >= number:
            reply.close()
    if piece := stream.end():
        tell({"piece": piece})
    tell(
        {
            "done": {
                "text": text_of(dialogue.tokenizer, reply.ids),
                "tokens": len(reply.ids),
                "ids": reply.ids,
                "stopped_by": reply.stopped_by,
                "prompt_tokens": asked,
                "seconds": round(time.monotonic() - started, 3),
            }
        }
    )


def _told(error: SftuiError) -> dict[str, Any]:
    return {"error": str(error), "usage": isinstance(error, UsageError)}


if __name__ == "__main__":
    sys.exit(main())
