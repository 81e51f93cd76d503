"""Run a job in a child process: JSON on stdin, one JSON answer on stdout.

The commands that need torch (`eval`, `export`) run this way, so that the command line
never imports it. What libraries print goes to stderr: stdout carries the answer
alone. A user's mistake comes back as a message, not as a traceback.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import RunFailedError, SftuiError, UsageError
from engine.files import checked
from engine.processes import orphan


def serve(work: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """The child's side: do the job on stdin and write its answer; returns the exit code.

    It ends with the process that started it: nobody would read the answer.
    """
    orphan.end_with_parent()
    answer_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # From here on whatever is printed, by C code too, is no part of the answer.
    os.dup2(2, 1)
    with answer_to:
        answer: dict[str, Any]
        try:
            answer = {"answer": work(checked.parse_json(sys.stdin.read()))}
        except SftuiError as error:
            answer = {"error": str(error), "usage": isinstance(error, UsageError)}
        json.dump(answer, answer_to)
    return 0


def run(module: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """The parent's side: start `python -P -m module`, hand it the job, return its answer.

    Raises:
        UsageError: the child reports a mistake of the user's.
        RunFailedError: it failed otherwise; what it printed is on stderr.
    """
    environment = dict(os.environ)
    # As for ranks: threads that spin slow a busy machine down, freed logits are given back.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", "1048576")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        out, _ = process.communicate(json.dumps(job).encode())
    finally:
        if process.poll() is None:
            # Ctrl-C: it has no work worth saving.
            process.kill()
            process.wait()
    try:
        found = checked.parse_json(out)
    except ValueError:
        raise RunFailedError(
            f"{module} ended with exit code {process.returncode} and no answer; what it printed "
            "is above."
        ) from None
    if "error" in found:
        raise (UsageError if found["usage"] else RunFailedError)(found["error"])
    answer: dict[str, Any] = found["answer"]
    return answer
