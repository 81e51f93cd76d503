"""`sftui chat`: talk to a checkpoint, on a terminal, in a pipe or from a script.

The model lives in a process of its own (`engine.commands.chat_with_checkpoint`): torch is never
imported here. What it says is text from outside, and cleaned as it comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

from engine.checkpoints import checkpoint_target
from engine.errors import RunFailedError, UsageError
from engine.files import checked
from engine.processes import devices
from engine.run import run_dir
from sftui import diagnostics
from sftui.commands.checkpoint_flags import ChatFlags
from sftui.diagnostics import ExitCode
from sftui.terminal import interrupts
from sftui.text.clean import CleanStream, clean

MOST_INPUT_BYTES = 2**20
"""Of a prompt from a pipe: far more than any model here has positions for."""

_HELP = "/clear begins anew, /quit or Ctrl-D ends, Ctrl-C stops an answer."


def talk(flags: ChatFlags) -> ExitCode:
    """Answer one prompt, or prompts until the user leaves; returns the exit code.

    Raises:
        UsageError: the checkpoint, a number or the prompt cannot be used.
        RunFailedError: the model's process failed.
    """
    runs = run_dir.runs_root(flags.runs_dir)
    names = {"source": flags.source, "model_tag": flags.model_tag, "step": flags.step}
    # A mistyped checkpoint is told before a prompt is asked for, and before torch.
    target = checkpoint_target.find(flags.checkpoint, **names, runs=runs)  # type: ignore[arg-type]
    prompt = _prompt(flags)
    device = devices.find(1, flags.device_type, 1)
    job = {
        "target": {"text": flags.checkpoint, **names, "runs": str(runs)},
        "sampling": {
            "temperature": flags.temperature,
            "top_k": flags.top_k,
            "max_tokens": flags.max_tokens,
            "seed": flags.seed,
        },
        "device_type": device.device_type,
    }
    if prompt is None:
        diagnostics.note(f"loading {target.label}…")
    with contextlib.closing(Partner(job)) as partner:
        if prompt is None:
            return _converse(partner, flags)
        if flags.json:
            return _as_json(partner, prompt, flags)
        return _once(partner, prompt, flags)


def _prompt(flags: ChatFlags) -> str | None:
    """The prompt of `--prompt` or stdin; None when prompts are typed on a terminal."""
    prompt = flags.prompt
    if prompt is None and not sys.stdin.isatty():
        raw = sys.stdin.buffer.read(MOST_INPUT_BYTES + 1)
        if len(raw) > MOST_INPUT_BYTES:
            raise UsageError(
                f"the prompt on stdin is longer than {MOST_INPUT_BYTES:,} bytes. Shorten it."
            )
        prompt = raw.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if prompt is None:
        if flags.json:
            raise UsageError("--json needs a prompt. Add --prompt TEXT, or write it to stdin.")
        return None
    if not prompt.strip():
        raise UsageError("the prompt is empty. Type --prompt TEXT, or write it to stdin.")
    return prompt


class Partner:
    """The process that holds the model; its stdout carries messages only."""

    def __init__(self, job: dict[str, Any]) -> None:
        environment = dict(os.environ)
        # As in `child`: threads that spin slow a busy machine down, freed memory is given back.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        environment.setdefault("MALLOC_MMAP_THRESHOLD_", "1048576")
        self.last: dict[str, Any] = {}
        """The newest answer as a whole: text, tokens, ids, stopped_by, prompt_tokens, seconds."""
        self._number = 0
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.commands.chat_with_checkpoint"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
            # Ctrl-C is for us: it stops an answer, not the model.
            start_new_session=True,
        )
        self._send(job)

    def ready(self) -> dict[str, Any]:
        """Wait until it is loaded: label, kind, path, step, run, device.

        Raises:
            UsageError, RunFailedError: why it cannot be.
        """
        found: dict[str, Any] = self._next()["ready"]
        return found

    def say(self, prompt: str) -> Iterator[str]:
        """The answer in pieces, uncleaned; `last` is the whole of it afterwards.

        Raises:
            UsageError: the prompt does not fit; it was not said.
            RunFailedError: the process is gone.
        """
        self._number += 1
        self._send({"prompt": prompt, "number": self._number})
        while "done" not in (message := self._next()):
            yield message["piece"]
        self.last = message["done"]

    def stop(self) -> None:
        """End the present answer early; the process still sends its `done`."""
        self._send({"stop": self._number})

    def clear(self) -> None:
        """Begin a new conversation."""
        self._send({"clear": True})

    def close(self) -> None:
        """Kill the process; it holds no state to save."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                _open(pipe).close()

    def _send(self, message: dict[str, Any]) -> None:
        pipe = _open(self._process.stdin)
        # A process that is gone says so when it is read from.
        with contextlib.suppress(BrokenPipeError):
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()

    def _next(self) -> dict[str, Any]:
        line = _open(self._process.stdout).readline()
        if not line:
            code = self._process.wait()
            raise RunFailedError(
                f"the model's process ended with exit code {code}; what it printed is above."
            )
        message: dict[str, Any] = checked.parse_json(line)
        if "error" in message:
            raise (UsageError if message["usage"] else RunFailedError)(message["error"])
        return message


def _open(pipe: Any) -> TextIO:
    assert pipe is not None
    found: TextIO = pipe
    return found


@contextlib.contextmanager
def _interrupts(partner: Partner) -> Iterator[list[int]]:
    """Ctrl-C ends the answer that comes; a second one ends the command. What came is listed.

    A handler rather than KeyboardInterrupt: that could leave half a message behind.
    """
    came: list[int] = []

    def interrupted(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt
        partner.stop()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _print_answer(partner: Partner, prompt: str) -> bool:
    """Print the answer as it is generated; returns whether Ctrl-C ended it."""
    stream = CleanStream()
    with _interrupts(partner) as came:
        for piece in partner.say(prompt):
            _write(stream.feed(piece))
        _write(stream.end() + "\n")
    return bool(came)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _once(partner: Partner, prompt: str, flags: ChatFlags) -> ExitCode:
    partner.ready()
    interrupted = _print_answer(partner, prompt)
    _say_limit(partner, flags)
    return ExitCode.INTERRUPTED if interrupted else ExitCode.DONE


def _as_json(partner: Partner, prompt: str, flags: ChatFlags) -> ExitCode:
    ready = partner.ready()
    with _interrupts(partner) as came:
        for _ in partner.say(prompt):
            pass
    found = {"checkpoint": ready, "prompt": prompt, **partner.last}
    found["sampling"] = {
        "temperature": flags.temperature,
        "top_k": flags.top_k,
        "max_tokens": flags.max_tokens,
        "seed": flags.seed,
    }
    # Escaped: a script gets the text as it is, a terminal no control character of it.
    _write(json.dumps(found) + "\n")
    return ExitCode.INTERRUPTED if came else ExitCode.DONE


def _converse(partner: Partner, flags: ChatFlags) -> ExitCode:
    """Read a prompt a line until /quit or the end of input."""
    with contextlib.suppress(ImportError):
        # Line editing and history; not every Python is built with it.
        import readline  # noqa: F401, PLC0415
    ready = partner.ready()
    diagnostics.note(f"{clean(ready['label'], 200)} on {ready['device']}. {_HELP}")
    while True:
        try:
            prompt = input("> ")
        except EOFError:
            _write("\n")
            return ExitCode.DONE
        except KeyboardInterrupt:
            # As in a shell: the line is thrown away.
            interrupts.forget()
            _write("\n")
            continue
        match prompt.strip():
            case "":
                continue
            case "/quit" | "/exit":
                return ExitCode.DONE
            case "/help":
                diagnostics.note(_HELP)
                continue
            case "/clear":
                partner.clear()
                diagnostics.note("a new conversation.")
                continue
        try:
            _print_answer(partner, prompt)
        except UsageError as error:
            diagnostics.report(error)
        except KeyboardInterrupt:
            _write("\n")
            raise
        else:
            _say_limit(partner, flags)


def _say_limit(partner: Partner, flags: ChatFlags) -> None:
    """Print which limit cut the answer short, if one did."""
    match partner.last.get("stopped_by"):
        case "max_tokens":
            diagnostics.note(f"cut at {flags.max_tokens:,} tokens; --max-tokens allows more.")
        case "positions":
            diagnostics.note("cut at the last position this model has; /clear begins anew.")
