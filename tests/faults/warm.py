"""Commands typed one after another, each in a fork of one warm process.

`python -m sftui` takes a third of a second of CPU before it does anything: imports. A test file
that types fifty commands pays them once here. Every command still has a process of its own, with
its own folder, environment and descriptors, and runs `sftui.__main__`.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests import memory
from tests.processes import environment

WARM = (
    "sftui.cli",
    "sftui.commands.question_list",
    "sftui.commands.run_flags",
    "sftui.commands.runs",
    "sftui.commands.show",
    "sftui.commands.watch",
    "sftui.commands.plain",
    "sftui.commands.write_report",
    "sftui.sources.snapshot",
    "engine.processes.launch",
    "engine.processes.resume",
)
"""Imported before the first command is typed."""

Done = subprocess.CompletedProcess[str]


class Warm:
    """The process that is forked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.faults.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )

    def type(
        self,
        words: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        seconds: float,
        report: Path | None = None,
    ) -> Done:
        """As `subprocess.run([sys.executable, "-m", "sftui", *words])` with nothing to read.

        Args:
            report: the most memory that the command or a child of its held is written there, in
                bytes; what the warm process holds is part of it.

        Raises:
            TimeoutExpired: it ran longer than `seconds`, and was killed.
        """
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("stdout", "stderr")]
            line = ["sftui", *words]
            job = {
                "words": line,
                "cwd": str(cwd),
                "env": dict(env),
                "files": [str(path) for path in files],
                "report": None if report is None else str(report),
            }
            pid = self._ask(job)
            timer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
            began = time.monotonic()
            timer.start()
            try:
                code = self._answer()
            finally:
                timer.cancel()
            if code == -signal.SIGKILL and time.monotonic() - began >= seconds:
                raise subprocess.TimeoutExpired(line, seconds)
            texts = [path.read_text("utf-8", "replace") for path in files]
        return Done(line, code, *texts)

    def _ask(self, job: object) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@cache
def warm() -> Warm:
    """The one of this test process, ended with it."""
    made = Warm()
    atexit.register(made.close)
    return made


def serve() -> None:
    """Read a job a line from stdin; write the child's id, then its exit code."""
    for name in WARM:
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(job)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _become(job: dict[str, Any]) -> None:
    """Run the command in this process, and end it."""
    out, err = (os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for path in job["files"])
    for number, target in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(target, number)
        if target > 2:
            os.close(target)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    code = 0
    try:
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        sys.argv = job["words"]
        runpy.run_module("sftui", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        if job["report"]:
            children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
            Path(job["report"]).write_text(str(max(memory.peak_bytes(), children)))
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
