"""What every target of the fuzz does: type a command over an input and look at what it says."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.test_strangers import Desk

Words = Sequence[str]

ACTS_ON_A_TERMINAL = "".join(map(chr, [*range(9), *range(11, 32), 127, *range(128, 160)]))
"""Controls but tab and line feed."""


OLD = (1_700_000_000, 1_700_000_000)
"""When files of a run were written: `attach` waits for a supervisor of a run of this moment."""


class Finding(Exception):
    """What should not have happened, in words."""


@dataclass(frozen=True)
class Target:
    """One kind of input."""

    seeds: Callable[[Desk], list[bytes]]
    try_one: Callable[[Desk, random.Random, bytes], None]
    """Raises whatever goes wrong; a refusal is right."""
    cut: bool = False
    """Whether a piece of an input is an input."""


def typed(words: Words) -> None:
    """Run a command in this process and look at what it says.

    Raises:
        Finding: it says what acts on a terminal, or ends with a code that is none.
        Exception: a traceback.
    """
    from sftui import cli

    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = cli.main(list(words))
    said = out.getvalue() + errors.getvalue()
    if bad := sorted(set(said) & set(ACTS_ON_A_TERMINAL)):
        raise Finding(f"{words}: {bad} on the terminal: {said[-300:]!r}")
    if code not in (0, 1, 2):
        raise Finding(f"{words}: exit code {code}")
    if "--json" in words and code == 0:
        texts = out.getvalue().splitlines() if words[0] == "data" else [out.getvalue()]
        for text in texts:
            json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(word: str) -> None:
    raise Finding(f"{word} in JSON")


@contextlib.contextmanager
def in_place(path: Path, data: bytes) -> Iterator[None]:
    """The input in a file's place while the block lasts."""
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, OLD)
    try:
        yield
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)
            os.utime(path, OLD)


def clean_report(path: Path) -> None:
    text = path.read_text("utf-8")
    path.unlink()
    if bad := sorted(set(text) & set(ACTS_ON_A_TERMINAL)):
        raise Finding(f"{bad} in a report")


def of_run(*patterns: str) -> Callable[[Desk], list[bytes]]:
    """The files of a stopped run that match, each behind its name."""

    def found(desk: Desk) -> list[bytes]:
        paths = [path for pattern in patterns for path in desk.stopped.glob(pattern)]
        assert paths, patterns
        return [path.read_bytes() for path in paths]

    return found


def looks(desk: Desk) -> list[Words]:
    """Every command that reads a run."""
    run = str(desk.stopped)
    return [
        ("runs", "--runs-dir", str(desk.stopped.parent)),
        ("show", run),
        ("show", run, "--json"),
        ("questions", run),
        ("questions", run, "--json"),
        ("report", run, "-o", str(desk.folder / "report.md")),
        ("replay", "--headless", run),
        ("attach", "--headless", run),
        ("compare", run, run),
        ("run", "--dry-run", "--headless", "--resume", run),
        ("runs", "rm", run),
    ]
