"""What is wrong with a typed line here and now: said before the line closes, and again where the
verb acts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.control import Command
from engine.errors import SftuiError, UsageError
from engine.files.checked import digits
from sftui.actions.cockpit_app import ActionsOfApp

if TYPE_CHECKING:
    from sftui.checkpoints.checkpoint_row import CheckpointRow
    from sftui.verbs.typed import Typed

_COMMANDS = {
    "pause": Command.PAUSE,
    "resume": Command.RESUME,
    "eval": Command.EVALUATE,
    "lr": Command.LR_FACTOR,
    "checkpoint": Command.CHECKPOINT,
    "cancel": Command.CANCEL,
    "stop": Command.STOP,
}
"""What each verb of the run asks of it."""


def _is_there(target: str, *, file: bool = False) -> bool:
    """Whether a path of this name exists; `file`: and is a file. Any text may have been typed."""
    try:
        path = Path(target).expanduser()
        return path.is_file() if file else path.exists()
    except (OSError, ValueError, RuntimeError):
        return False  # too long, a byte of zero, or nobody's home


class VerbChecks(ActionsOfApp):
    """Whether the runs, files, themes and checkpoints that verbs name are there."""

    def check(self, typed: Typed) -> None:
        """Look whether this can be done here, before its line closes.

        Raises:
            SftuiError: it cannot; with what to type instead.
        """
        if typed.verb.group == "run" and not (typed.verb.name == "eval" and typed.text):
            self._check_request(typed)
            return
        if not typed.text:
            return
        match typed.verb.name:
            case "eval":
                self._asked_checkpoint()
            case "compare":
                self._other_run(typed.text)
            case "open":
                self._words_of(typed.text)
            case "past" | "baseline" if not _is_there(typed.text):
                name, _, step = typed.text.rpartition(":")  # `baseline RUN:STEP`
                self._words_of(name if name and digits(step) is not None else typed.text)
            case "theme":
                self._check_theme(typed.text)

    def _check_request(self, typed: Typed) -> None:
        if not self._cockpit.mode.takes_requests:
            raise UsageError(
                f"`{typed.verb.name}` alone needs a run that is alive; this is a replay. "
                f"`{typed.verb.examples[0]}` asks a checkpoint."
            )
        if problem := self._cockpit.why_not(_COMMANDS[typed.verb.name]):
            raise UsageError(problem)

    def _asked_checkpoint(self) -> CheckpointRow:
        """The newest checkpoint that lies on this disk.

        Raises:
            UsageError: none does.
        """
        rows = self._cockpit.checkpoints.rows(self._cockpit.state)
        found = next((row for row in rows if row.info is not None), None)
        if found is not None:
            return found
        if self._cockpit.takes_requests:
            raise UsageError(
                "there is no checkpoint here to ask; `checkpoint` saves one, and `eval` alone "
                "evaluates the run itself."
            )
        raise UsageError(
            "no checkpoint of this run lies on this disk, so there is none to ask; `open` shows "
            "another run."
        )

    def _other_run(self, target: str) -> str:
        """The path of the run or log to compare with; `last`: the run before.

        Raises:
            UsageError: there is none.
        """
        if target != "last":
            return self._words_of(target)[1]
        before = self._cockpit.run_before()
        if before is None:
            raise UsageError("there is no run before this one; `compare RUN` takes any run or log.")
        return str(before.path)

    def _words_of(self, target: str) -> tuple[str, str]:
        """The command that shows this run or log, and its path.

        Raises:
            UsageError: it is neither.
        """
        from engine.run import run_dir  # noqa: PLC0415  not before the first frame

        if _is_there(target, file=True):
            return "replay", str(Path(target).expanduser().absolute())
        try:
            return "attach", str(run_dir.find(target, self._cockpit.runs_root).path)
        except SftuiError as error:
            if "no run is called" not in str(error):
                raise  # several are, or it is another's
            raise UsageError(
                f"{target[:80]} is no run and no file here; `open` alone lists both."
            ) from None

    def _check_theme(self, name: str) -> None:
        if name not in self.available_themes:
            from engine.config import nearest  # noqa: PLC0415  for a mistyped word

            close = nearest(name, list(self.available_themes)) or "."
            raise UsageError(f"there is no theme {name!r}{close} `theme` alone lists them.")
