"""`sftui run -- CMD`: what may be typed before the --, and the run directory of another's command.

No torch: the screen is drawn at once, and the command starts beside it.
"""

from __future__ import annotations

import itertools
import shlex
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from engine.errors import ConfigError, RunDirError, UsageError
from engine.journal import event_files, wire
from engine.processes import logout
from engine.run import foreign, lock, resume_file, run_dir
from engine.run.resume_file import Resumption
from engine.run.run_dir import RunDir
from sftui.commands.run_flags import RunFlags

ALLOWED = frozenset(
    {"run", "max_restarts", "runs_dir", "headless", "dry_run", "on_event", "baseline", "no_attach"}
)
"""Flags that mean something for another trainer's command."""

_LAUNCHERS = frozenset({"torchrun", "accelerate", "deepspeed", "launch", "uv", "run", "srun"})


def check(flags: RunFlags, typed: frozenset[str]) -> None:
    """Refuse what cannot be meant for a command of somebody else's.

    Raises:
        ConfigError: a setting of our own trainer was typed, by name.
        UsageError: there is no such program.
    """
    wrong = sorted(typed - ALLOWED)
    if wrong:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        verb = "is a flag" if len(wrong) == 1 else "are flags"
        hint = ""
        if "gpus" in wrong:
            n = flags.settings.runtime.gpus
            hint = f" For {n} ranks: sftui run -- torchrun --nproc-per-node {n} SCRIPT"
        raise ConfigError(
            f"{names} {verb} of sftui's own trainer; after a lone -- stands another's, with its "
            f"own settings. Leave it out, or type it behind the script.{hint}"
        )
    program = flags.command[0]
    if shutil.which(program) is None:
        hint = f" Did you mean `python {program}`?" if program.endswith(".py") else ""
        raise UsageError(f"{program}: no such program, or it may not be run.{hint}")


def name_of(command: Sequence[str]) -> str:
    """A name for the run: the script's, else the module's, else the program's."""
    for word in command:
        if word.endswith((".py", ".sh", ".ipynb")):
            return Path(word).stem
    for flag, value in itertools.pairwise(command):
        if flag == "-m":
            return value.rpartition(".")[2]
    words = [word for word in command if not word.startswith("-")]
    own = [word for word in words if Path(word).name not in _LAUNCHERS and not word.isdigit()]
    return Path((own or words)[0]).stem


def create(flags: RunFlags, now: datetime) -> RunDir:
    """Make the run directory; nothing is started yet."""
    note = logout.protection().note
    return foreign.create(
        run_dir.runs_root(flags.runs_dir),
        flags.settings.runtime.run or name_of(flags.command),
        command=flags.command,
        cwd=Path.cwd(),
        now=now,
        max_restarts=flags.settings.runtime.max_restarts,
        kept=True,
        notes=[note] if note else [],
        more={"attach": not flags.no_attach},
    )


def describe(flags: RunFlags) -> list[str]:
    """The lines that `--dry-run` prints."""
    how = (
        "its output is followed; nothing is attached (--no-attach)"
        if flags.no_attach
        else "trainers of transformers, TRL and Lightning are attached as they are made; any other "
        "script attaches itself or is followed by what it prints"
    )
    return [
        f"command     {shlex.join(flags.command)}",
        f"in          {Path.cwd()}",
        f"name        {flags.settings.runtime.run or name_of(flags.command)}",
        f"attached    {how}",
        f"restarts    up to {flags.settings.runtime.max_restarts}, from the newest checkpoint",
        "nothing was started",
    ]


def resume(run: RunDir, flags: RunFlags, typed: frozenset[str], words: Sequence[str]) -> str:
    """Take a run of another's command up again; returns the id of this resumption.

    Raises:
        UsageError: it runs, it is finished, or its command is gone.
    """
    wrong = sorted(typed - ALLOWED - {"resume"})
    if wrong or "no_attach" in typed:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in wrong or ["no_attach"])
        raise ConfigError(
            f"{names}: {run.id} is another trainer's run; its command is started again as it was."
        )
    run_dir.refuse_links(run)
    alive, why = lock.evidence(run)
    if alive:
        raise RunDirError(f"{run.id} is running: {why}. Watch it with `sftui attach {run.id}`.")
    end = event_files.finished(run)
    if end is not None and end.status == "finished":
        raise RunDirError(f"{run.id} is finished; there is nothing to go on with.")
    manifest = resume_file.manifest_now(run)
    command = [str(word) for word in manifest.get("command") or []]
    if not command or shutil.which(command[0]) is None:
        program = command[0] if command else "its command"
        raise UsageError(f"{run.id} cannot be started again: {program} is not there any more.")
    if not Path(str(manifest.get("cwd", ""))).is_dir():
        raise UsageError(f"{run.id} was started in {manifest.get('cwd')}, which is gone.")
    with resume_file.alone(run):
        found = Resumption(
            created=datetime.now().timestamp(),
            attempt=event_files.next_attempt(run),
            world_size=int(manifest["world_size"]),
            device_type=str(manifest["device_type"]),
            command=("sftui", "run", *words),
            id=wire.new_id(),
        )
        resume_file.append(run, found)
    return found.id
