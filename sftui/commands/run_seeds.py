"""`sftui run --seeds N`: one recipe, a run a seed, and what its seeds say together."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from engine.run.run_dir import RunDir
from sftui import diagnostics
from sftui.commands.run_flags import RunFlags
from sftui.diagnostics import ExitCode

Start = Callable[[RunFlags, set[str], list[str]], tuple[ExitCode, RunDir | None]]
"""Start one run and watch it to its end; no run directory where it was a dry run."""


def run_all(flags: RunFlags, typed: set[str], words: list[str], start: Start) -> ExitCode:
    """One run after the other, plain, as nobody waits for all of them before a screen.

    The first that fails, or that somebody stops, ends the series; what was not started is said.
    """
    name = flags.settings.runtime.run
    seeds = range(flags.settings.data.seed, flags.settings.data.seed + flags.seeds)
    kept = without(words, ("--seeds", "--seed", "--run"))
    made: list[RunDir] = []
    for number, seed in enumerate(seeds, start=1):
        called = f"{name}-seed-{seed}" if name else f"seed-{seed}"
        settings = flags.settings.replace(seed=seed, run=called)
        diagnostics.note(f"seed {seed} ({number} of {len(seeds)})")
        code, run = start(
            replace(flags, settings=settings, headless=True),
            typed | {"seed", "run"},
            [*kept, "--seed", str(seed), "--run", called],
        )
        if run is None:
            diagnostics.note(f"and the same with seed {_listed(seeds[1:])}")
            return code
        made.append(run)
        stopped = code == ExitCode.DONE and _was_stopped(run)
        if code != ExitCode.DONE or stopped:
            if left := seeds[number:]:
                again = typed_for(left, kept, name)
                diagnostics.note(f"seed {_listed(left)}: not started; to do it: {again}")
            return ExitCode.INTERRUPTED if stopped else code
    _say_together(made, flags)
    return ExitCode.DONE


def without(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """The words without these flags and their values."""
    out: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in names:
            skip = True
        elif word.partition("=")[0] not in names:
            out.append(word)
    return out


def _was_stopped(run: RunDir) -> bool:
    """Whether somebody ended it before its time, which is no failure."""
    from sftui.sources import snapshot  # noqa: PLC0415  numpy

    return snapshot.read_run(run).state.badge == "stopped"


def typed_for(seeds: Sequence[int], words: Sequence[str], name: str) -> str:
    """What starts runs of these seeds, which follow each other."""
    named = ["--run", name] if name else []
    typed = ["sftui", "run", *words, *named, "--seed", str(seeds[0])]
    return shlex.join([*typed, *(["--seeds", str(len(seeds))] if len(seeds) > 1 else [])])


def _say_together(made: Sequence[RunDir], flags: RunFlags) -> None:
    """Mean and scatter of the seeds, and what compares them with another recipe."""
    from sftui.compare import recipes  # noqa: PLC0415  numpy

    names = ",".join(run.id for run in made)
    [recipe] = recipes.read([",".join(str(run.path) for run in made)])
    for line in recipes.summary(recipe):
        diagnostics.note(line)
    where = f" --runs-dir {shlex.quote(str(flags.runs_dir))}" if flags.runs_dir else ""
    diagnostics.note(f"against the runs of another recipe: sftui compare {names} B1,B2,...{where}")


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
