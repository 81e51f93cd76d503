"""What to type instead: words that people try, for commands, flags and places that are others.

Everything here makes one sentence for an error; nothing is done in place of what was typed.
Looked at after a mistake alone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

_COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("pause", "resume-run", "checkpoint", "save", "cancel"), "sftui ctl RUN {}"),
    "stop": "sftui ctl RUN stop",
    "kill": "sftui ctl RUN stop",
    "lr": "sftui ctl RUN lr 0.5",
    "resume": "sftui run --resume RUN (a run that ended), or sftui ctl RUN resume (a paused one)",
    "continue": "sftui run --resume RUN",
    **dict.fromkeys(("train", "start", "finetune", "sft", "launch"), "sftui run"),
    **dict.fromkeys(("list", "ls", "ps", "status"), "sftui runs"),
    **dict.fromkeys(("rm", "delete", "remove"), "sftui runs rm RUN"),
    **dict.fromkeys(("tail", "watch", "follow"), "sftui replay LOG --follow, or sftui attach RUN"),
    **dict.fromkeys(("log", "logs", "open", "view", "tui", "ui", "plot"), "sftui replay LOG"),
    "diff": "sftui compare LOG LOG",
    **dict.fromkeys(("ask", "talk", "generate", "infer", "sample"), "sftui chat RUN"),
    **dict.fromkeys(("evaluate", "test", "bench"), "sftui eval RUN"),
    **dict.fromkeys(("convert", "merge"), "sftui export RUN"),
    "memory": "sftui fit",
    "recipes": "sftui run --help, which lists them",
    "keys": "sftui demo, and ? there",
}
"""What is typed for what other programs call by this word; {} is the word itself."""

_RATES = ("matrix-lr", "embedding-lr", "unembedding-lr", "init-lr-frac", "lr")
_FLAGS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("learning-rate", "learningrate", "rate", "max-lr"), _RATES),
    **dict.fromkeys(
        ("batch-size", "per-device-train-batch-size", "bs"),
        ("device-batch-size", "target-examples-per-step"),
    ),
    **dict.fromkeys(
        ("gradient-accumulation-steps", "grad-accum", "accumulation"),
        ("target-examples-per-step",),
    ),
    **dict.fromkeys(("epochs", "num-train-epochs"), ("num-epochs",)),
    **dict.fromkeys(("steps", "max-steps", "iterations", "num-steps"), ("num-iterations",)),
    **dict.fromkeys(("dataset", "train-file", "train-data", "file"), ("data",)),
    **dict.fromkeys(("model-name", "model-name-or-path", "checkpoint"), ("model", "model-tag")),
    **dict.fromkeys(("save-steps", "save-every"), ("checkpoint-every",)),
    **dict.fromkeys(("num-gpus", "nproc-per-node", "ranks", "devices", "n-gpus"), ("gpus",)),
    **dict.fromkeys(("bf16", "fp16", "precision"), ("dtype",)),
    **dict.fromkeys(("resume-from-checkpoint", "continue"), ("resume",)),
    **dict.fromkeys(("name", "run-name"), ("run",)),
    **dict.fromkeys(("to", "type", "outtype", "output-format"), ("format",)),
    **dict.fromkeys(("language", "locale"), ("lang",)),
    **dict.fromkeys(("out", "output-dir", "outdir"), ("output", "runs-dir")),
    **dict.fromkeys(("context-length", "seq-len", "max-length"), ("max-tokens", "max-seq-len")),
    **dict.fromkeys(("lora-r", "lora-rank", "rank"), ("lora",)),
}
"""Flags of other programs, and ours for the same; those that a command has are named."""


def unknown_command(word: str, commands: Sequence[str]) -> str:
    """One sentence about a word that is no command, with what to type."""
    known = _COMMANDS.get(word.lower().lstrip("-"))
    if known is not None:
        return f"there is no command {word!r}; type {known.format(word)}."
    from engine.config import nearest  # noqa: PLC0415  all settings, for a mistyped word

    close = nearest(word, list(commands))
    if re.fullmatch(r"\S+\.(log|jsonl?|csv|txt|wandb)", word):
        close = f"; to see a log, type sftui replay {shlex.quote(word)}."
    elif word.endswith(".py"):
        close = f"; to train with a script, type sftui run -- python {shlex.quote(word)}."
    return f"there is no command {word!r}{close or '.'} Commands: {', '.join(commands)}."


def unknown_flag(name: str, flags: Sequence[str]) -> str:
    """`; did you mean --x` or `; here it is --x or --y`: what follows the name of a flag."""
    others = [f"--{flag}" for flag in _FLAGS.get(name, ()) if flag in flags]
    if others:
        listed = " or ".join(filter(None, [", ".join(others[:-1]), others[-1]]))
        return f"; here it is {listed}"
    from engine.config import nearest  # noqa: PLC0415  as above

    return nearest(name, list(flags)).replace("mean ", "mean --").rstrip("?")


def no_place(prog: str, words: Sequence[str], flags: Sequence[str]) -> str:
    """What to type for words that have no place; empty where nothing comes to mind."""
    word = words[0]
    name, equals, value = word.partition("=")
    if equals and name.replace("_", "-").lstrip("-") in flags:
        return f"Type --{name.replace('_', '-').lstrip('-')}={shlex.quote(value)}"
    if prog == "sftui run":
        if word.endswith(".toml"):
            return f"Type --config {shlex.quote(word)}"
        if word.endswith((".jsonl", ".json", ".parquet")):
            return f"Type --data {shlex.quote(word)}"
        if word.endswith(".py"):
            return f"To train with a script: sftui run -- python {shlex.join(words)}"
        return f"To keep another trainer's command: sftui run -- {shlex.join(words)}"
    if prog == "sftui runs" and word in ("remove", "delete", "del"):
        return f"Type sftui runs rm {shlex.join(words[1:]) or 'RUN'}"
    return ""


def example(kind: type, prog: str) -> str:
    """The first example of a command's help, for who left out what it needs."""
    lines = (line.strip() for line in (kind.__doc__ or "").splitlines())
    return next((line for line in lines if line.startswith(f"{prog} ")), f"{prog} --help")
