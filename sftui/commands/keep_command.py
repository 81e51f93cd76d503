"""`sftui run -- CMD`: what may be typed before the --, and the run directory of another's command.

No torch: the screen is drawn at once, and the command starts beside it.
"""

from __future__ import annotations

import itertools
import shlex
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, RunDirError, UsageError
from engine.files import checked
from engine.journal import event_files, wire
from engine.processes import logout
from engine.run import foreign, lock, resume_file, run_dir, seal
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


def check_resume(run: RunDir, flags: RunFlags, typed: frozenset[str]) -> dict[str, Any]:
    """Check that a run of another's command can be taken up again; its manifest.

    Raises:
        UsageError: it runs, it is finished, its command is gone, or it was made by somebody else
            and the command was not typed.
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
    command, cwd = _stored(run, manifest)
    if not command or shutil.which(command[0]) is None:
        program = command[0] if command else "its command"
        raise UsageError(f"{run.id} cannot be started again: {program} is not there any more.")
    if not cwd.is_dir():
        raise UsageError(f"{run.id} was started in {cwd}, which is gone.")
    _refuse_others(run, command, cwd, flags.command)
    return manifest


def _stored(run: RunDir, manifest: Mapping[str, Any]) -> tuple[list[str], Path]:
    """The command of a run and the folder it was typed in.

    Raises:
        RunDirError: the manifest says something else there.
    """
    try:
        found = manifest.get("command") or []
        if not isinstance(found, list):
            raise ValueError(f"{checked.short(found)}; expected a list of words")
        words = [checked.text(word) for word in found]
        cwd = checked.text(manifest.get("cwd", ""))
        if any("\0" in word for word in [*words, cwd]):
            raise ValueError("a word with a byte of zero in it")
    except ValueError as error:
        raise RunDirError(f"{run.manifest}: the command or its folder is {error}.") from None
    return words, Path(cwd)


def _refuse_others(run: RunDir, command: Sequence[str], cwd: Path, typed: Sequence[str]) -> None:
    """Refuse a command that this user never typed: a run directory may be a stranger's.

    Raises:
        UsageError: saying what it is, and what to type where it is meant.
    """
    if typed and list(typed) != list(command):
        raise UsageError(f"the command of {run.id} is {shlex.join(command)}; expected the same.")
    if seal.is_ours(run.read_manifest()) or (typed and Path.cwd().resolve() == cwd.resolve()):
        return
    raise UsageError(
        f"{run.id} was not made by you, or its command was changed since. It would run "
        f"{shlex.join(command)} in {cwd}. If you mean that, type there: "
        f"sftui run --resume {shlex.quote(str(run.path))} -- {shlex.join(command)}"
    )


def describe_resume(run: RunDir, manifest: Mapping[str, Any]) -> list[str]:
    """The lines that `--dry-run` prints of a run that would be taken up again."""
    command, cwd = _stored(run, manifest)
    return [
        f"run         {run.id} in {run.path}",
        f"command     {shlex.join(command)}",
        f"in          {cwd}",
        f"attempt     {event_files.next_attempt(run)}",
        "nothing was started",
    ]


def resume(run: RunDir, manifest: Mapping[str, Any], words: Sequence[str]) -> str:
    """Write down that a run that was checked is taken up again; the id of this resumption."""
    with resume_file.alone(run):
        found = Resumption(
            created=datetime.now().timestamp(),
            attempt=event_files.next_attempt(run),
            world_size=int(manifest.get("world_size") or 1),
            device_type=str(manifest.get("device_type") or "cpu"),
            command=("sftui", "run", *words),
            id=wire.new_id(),
        )
        resume_file.append(run, found)
    return found.id
