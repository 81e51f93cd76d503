"""Logs of which every line costs work: each a kind that a reader was or could be slow with.

`dense(kind, size)` gives so many bytes of it. The numbers and words differ from line to line, so
nothing is read fast for having been read before.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

_SYLLABLES = "ba co de fi gu la me no pi ru sa te vi wo xa ye zu kra sto pli"
_FIRST_STEPS = "step 1 | loss 3.5\nstep 2 | loss 3.4\nstep 3 | loss 3.3\n"
_FOUR = range(4)

KINDS: Mapping[str, tuple[str, str]] = {
    "text without numbers": (_FIRST_STEPS, "{text} {text}.\n"),
    "text with sums": (
        "",
        "{clock} - train - INFO - Step {at} loss: {x:.8f}\n"
        "{clock} - train - INFO - model output: {text} {at}\n"
        + "{text} ${at} + {small} = {x:.2f}$ \\frac{{{at}}}{{{small}}} {text}\n"
        * 18,
    ),
    "text that names losses": (_FIRST_STEPS, "{text} loss of {word} {x:.4f} {text}\n"),
    "rows of forty numbers": (_FIRST_STEPS, "{x:.5f} " * 40 + "\n"),
    "tensors, units, times": (
        "",
        "[{clock}] [rank0] train.py:{small}: step {at} loss tensor({x:.4f}, device='cuda:0') "
        "lr 1e-4 ({at} tok/s) 0:{minute}:11\n",
    ),
    "two ranks": (
        "",
        "[rank0]: step {at} loss {x:.4f} lr 1e-4\n[rank1]: step {at} loss {x:.4f} lr 1e-4\n"
        "[rank1]: {text} {at}\n",
    ),
    "training and validation": (
        "",
        "step {at} | loss {x:.4f} | lr 1e-4 | grad_norm {x:.3f}\n"
        "step {at} | val_loss {x:.4f} | val_acc {x:.4f}\n",
    ),
    "results in every line": (
        "",
        "step {at} train_loss {x:.4f} val_loss {x:.4f} arc_easy_acc {x:.3f}\n"
        "step {at} eval_loss {x:.4f} eval_accuracy {x:.4f}\n",
    ),
    "headed evaluations": (
        "",
        "=== Evaluation at step {at} ===\n  train loss: {x:.4f}\n  val loss: {x:.4f}\n",
    ),
    "checkpoints": (
        "",
        "step {at} | loss {x:.4f}\nSaving model checkpoint to out/{word}/checkpoint-{at}\n",
    ),
    "tracebacks": (
        "",
        "step {at} | loss {x:.4f}\nTraceback (most recent call last):\n"
        '  File "/work/{word}.py", line {at}, in {word}\n    {word}({word}={at})\n'
        "ValueError: {text} {at}\n",
    ),
    "objects over lines": ("", "{{\n  'step': {at},\n  'loss': {x:.4f},\n  'lr': 1e-4\n}}\n"),
    "Chinese": (
        "",
        "第 {at} 步，训练损失：{x:.4f}，学习率：1e-4，耗时 {minute} 秒\n"
        "样本 {at}：今天的天气很好，我们一起去公园散步，然后回家吃饭。\n",
    ),
    "restarts": ("", "".join(f"step {n} | loss {{x:.4f}} | lr 1e-4\n" for n in _FOUR)),
    "restarts of llm.c": (
        "",
        "".join(f"s:{n} trl:{{x:.4f}} lr:0.000100 norm:{{x:.4f}}\n" for n in _FOUR)
        + "s:4 tel:{x:.4f}\n",
    ),
    "restarts of nanochat": (
        "",
        "".join(
            f"Step {n:05d}/00004 | Training loss: {{x:.6f}}| lrm: 1.000000| num_tokens: 999\n"
            for n in _FOUR
        ),
    ),
    "restarts of JSON lines": (
        "",
        "".join(f'{{{{"step": {n}, "loss": {{x:.4f}}}}}}\n' for n in _FOUR),
    ),
    "restarts of a CSV": ("step,loss\n", "".join(f"{n},{{x:.4f}}\n" for n in _FOUR)),
    "nanochat": (
        "",
        "step {at:05d}/999999 (1.00%) | loss: {x:.6f} | lrm: 1.00 | dt: 21.7ms | "
        "tok/sec: 242,983 | mfu: 20.10 | total time: 0.00m\nStep {at:05d} | "
        "Validation bpb: {x:.4f}\n",
    ),
    "nanochat's evaluations": (
        "",
        "Step {at:05d} | Validation loss: {x:.6f}\nFinal: {small}/1024 (1.00%)\n"
        "Step {at:05d} | mmlu_acc: {x:.6f}, arc_easy_acc: {x:.6f}\nStep {at:05d}/999999 | "
        "Training loss: {x:.6f}| lrm: 1.000000| num_tokens: 1,{small:03d}\n",
    ),
    "Trainer's dicts": (
        "",
        "{{'loss': {x:.4f}, 'grad_norm': {x:.5f}, 'learning_rate': 2e-05, 'epoch': {part:.4f}}}\n",
    ),
    "Trainer's dicts and bar": (
        "",
        "  1%|#         | {at}/999999 [00:{minute}<1:02:03,  1.{minute}it/s]\r"
        + " " * 60
        + "\r{{'loss': {x:.4f}, 'grad_norm': {x:.5f}, 'epoch': {part:.4f}}}\n",
    ),
    "bars with a loss": (
        "",
        "Epoch 1:  1%|█▍        | {at}/999999 [00:{minute}<01:02,  1.{minute}it/s, loss={x:.3f}]\r",
    ),
    "a table": (
        "epoch     train_loss  valid_loss  accuracy  time\n",
        "{at}         {x:.6f}    {x:.6f}    {x:.6f}  00:{minute}\n",
    ),
    "MLX": (
        "",
        "Iter {at}: Train loss {x:.3f}, Learning Rate 1.000e-05, It/sec 0.5, Tokens/sec 200.1, "
        "Trained Tokens {at}, Peak mem 9.1 GB\nIter {at}: Val loss {x:.3f}, Val took 8.1s\n",
    ),
    "torchtitan": (
        "",
        "[rank0]:[titan] {clock} - root - INFO - step: {at:2d}  loss: {x:7.4f}  grad_norm: 1.2  "
        "memory: 40.1GiB(50.12%)  tps: 7,200  tflops: 41.2  mfu: 13.25%\n",
    ),
    "modded-nanogpt": (
        "",
        "step:{at}/999999 train_loss:{x:.4f} train_time:{at}00ms step_avg:90.1ms\n",
    ),
    "MiniMind": (
        "",
        "Epoch:[1/9]({at}/999999), loss: {x:.6f}, lr: 0.000500000000, epoch_time: 9.0min:\n",
    ),
    "JSON lines": ("", '{{"step": {at}, "loss": {x}, "eval/loss": {x}, "text": "{text}"}}\n'),
    "CSV": ("epoch,step,train_loss,val_loss,note\n", "{small},{at},{x:.5f},{x:.5f},{word}\n"),
}
"""How a log of the kind begins, and what comes again and again; see `_Values`."""


class _Values:
    """What the names in the lines of `KINDS` stand for, new for each place."""

    def __init__(self, seed: str) -> None:
        self.at = 0
        self._noise = random.Random(seed)
        self._syllables = _SYLLABLES.split()

    def __getitem__(self, name: str) -> Any:
        match name:
            case "at":
                return self.at
            case "x":
                return self._noise.random()
            case "small":
                return self.at % 1000
            case "minute":
                return f"{self.at % 60:02d}"
            case "part":
                return self.at / 1000
            case "clock":
                hour, rest = divmod(self.at // 3 % 86400, 3600)
                return f"2025-09-16 {hour:02d}:{rest // 60:02d}:{rest % 60:02d},{self.at % 997:03d}"
            case "word":
                return "".join(self._noise.choices(self._syllables, k=self._noise.randint(1, 4)))
            case "text":
                return " ".join(self["word"] for _ in range(6))
        raise KeyError(name)


def _rounds(kind: str) -> Iterator[str]:
    """The log, piece by piece, without an end."""
    begin, again = KINDS[kind]
    yield begin
    values = _Values(kind)
    while True:
        values.at += 1
        yield again.format_map(values)


def dense(kind: str, size: int) -> bytes:
    """At most so many bytes of a kind, in whole lines."""
    found: list[bytes] = []
    length = 0
    for piece in _rounds(kind):
        data = piece.encode()
        length += len(data)
        if length > size:
            break
        found.append(data)
    return b"".join(found)
