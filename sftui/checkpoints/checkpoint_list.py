"""The checkpoints of a run on disk, and the actions on one.

The state knows what was saved; the disk knows what is there. A row is both: an action
touches files only, never the state, and never the last checkpoint there is. Exporting and
evaluating need torch, so each is a process of its own.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from engine.checkpoints import checkpoint_dir
from engine.errors import SftuiError
from engine.run.run_dir import RunDir
from sftui.checkpoints.checkpoint_order import Rows
from sftui.checkpoints.checkpoint_row import CheckpointRow
from sftui.checkpoints.jobs import Job
from sftui.checkpoints.prompts import Sampler
from sftui.state.run_state import RunState
from sftui.text.clean import clean
from sftui.text.paths import typed_path


def busy_words(job: Job) -> str:
    """The message that another job has to wait for this one."""
    return f"One at a time: {job.words} is not done yet."


class CheckpointList:
    """The checkpoints of `run` and the actions on them; none for another program's log."""

    def __init__(self, run: RunDir | None) -> None:
        self.run = run
        self.job: Job | None = None
        self.sampler = Sampler()

    def rows(self, state: RunState) -> Rows:
        """Newest first, the start last."""
        disk = {} if self.run is None else {
            info.step: info for info in checkpoint_dir.list_checkpoints(self.run)
        }  # fmt: skip
        best = state.best_validation
        found = state.checkpoint_rows()
        best_step = None if best is None else best.step
        return Rows(found.listed(), disk, best_step, found.exported, found.listed_steps())

    def why_not(self, row: CheckpointRow) -> str:
        """Why no action is possible on this one; empty when one is."""
        if self.run is None:
            return "These lie where the log was written, not here."
        if row.known.kind == "start":
            return "The start is the checkpoint this run was started from; it is not its own."
        if row.known.exported:
            return (
                f"It is an export, to be loaded elsewhere: choose step {row.known.step:,} itself."
            )
        if row.known.kind in ("hf", "lightning", "foreign") and row.known.path:
            path = clean(row.known.path, 200)
            if not Path(row.known.path).exists():
                return f"{row.name} is not on disk any more: the trainer removed {path}"
            return (
                f"It is the trainer's own, in {path}: the trainer keeps and prunes it. "
                "`sftui eval` and `sftui chat` take that folder."
                if row.known.kind == "hf"
                else f"It is the trainer's own, in {path}; sftui does not load its layout. The "
                "trainer keeps and prunes it."
            )
        if row.info is None:
            return f"{row.name} is not on disk any more."
        return ""

    def toggle_mark(self, row: CheckpointRow) -> str:
        """Mark it to be kept, or take the mark away; returns what was done."""
        if problem := self.why_not(row):
            return problem
        assert row.info is not None
        try:
            if row.marked:
                checkpoint_dir.unmark(row.info.path)
                return f"{row.name} may be pruned again."
            checkpoint_dir.mark(row.info.path)
        except OSError as error:
            return f"The mark of {row.name} cannot be written: {error.strerror}."
        return f"{row.name} is marked: it is never pruned."

    def why_not_delete(self, row: CheckpointRow, *, alive: bool) -> str:
        """Why it cannot be deleted; empty when it can."""
        if problem := self.why_not(row):
            return problem
        assert self.run is not None
        found = checkpoint_dir.list_checkpoints(self.run)
        if len(found) < 2:
            return f"{row.name} is the only checkpoint there is: it stays."
        if alive and found[-1].step == row.step:
            return f"{row.name} is what this run would go on from after a crash: it stays."
        return ""

    def delete(self, row: CheckpointRow, *, alive: bool) -> str:
        """Delete it from disk; returns what was done, or why not."""
        if problem := self.why_not_delete(row, alive=alive):
            return problem
        assert row.info is not None
        path = row.info.path
        try:
            checkpoint_dir.remove(path)
            checkpoint_dir.unmark(path)
        except OSError as error:
            return f"{row.name} cannot be deleted: {error.strerror}."
        return f"{row.name} is deleted."

    def start(self, what: str, row: CheckpointRow) -> str:
        """Start `eval` or an export, `nanochat` or `hf`; returns why not, else nothing."""
        if what == "eval":
            return self.start_eval(row)
        if problem := self.why_not(row):
            return problem
        assert row.info is not None
        assert self.run is not None
        output = self.export_folder(row, what)
        words = f"exporting {row.name} for {'transformers' if what == 'hf' else 'nanochat'}"
        target = str(row.info.path)
        return self._begin(words, ["export", target, "--format", what, "-o", str(output)])

    def branch(self, row: CheckpointRow) -> tuple[str, str]:
        """Prepare a new run from this checkpoint: what is done, or why it cannot be, and the
        command that starts the run (empty where it cannot be). Nothing is trained yet."""
        from engine.config import HF, STARTER  # noqa: PLC0415  recipes, for one key

        if row.known.kind == "hf" and row.known.path and Path(row.known.path).is_dir():
            return "A new run from it:", f"sftui run --model {_typed(Path(row.known.path))}"
        if problem := self.why_not(row):
            return problem, ""
        manifest = self._manifest()
        recipe, source = manifest.get("recipe"), manifest.get("start", {}).get("source")
        kind = "hf" if source == HF else "nanochat"
        output = self.export_folder(row, kind)
        under_way = self.job is not None and self.job.code is None
        if not output.is_dir() and (problem := self.start(kind, row)):
            return problem, ""
        ready = output.is_dir() and not under_way
        words = f"A new run from it{'' if ready else ', once it is exported'}"
        if kind == "hf":
            command = f"sftui run --model {_typed(output)}"
        else:
            command = f"NANOCHAT_BASE_DIR={_typed(output)} sftui run --source sft --step {row.step}"
            command += f" --recipe {recipe}" if recipe not in (None, STARTER) else ""
        folder = manifest.get("config", {}).get("data_dir")
        if isinstance(folder, str):
            command += f" --data-dir {_typed(Path(folder))}"
        elif source == STARTER:
            words += " (the starter's rows go with its own start: name yours with --data-dir)"
        return f"{words}:", command

    def _manifest(self) -> dict[str, Any]:
        try:
            return dict(self.run.read_manifest()) if self.run is not None else {}
        except SftuiError:
            return {}

    def export_folder(self, row: CheckpointRow, kind: str) -> Path:
        """Where an export of this checkpoint goes."""
        assert self.run is not None
        return self.run.path / f"export-step-{row.step}-{kind}"

    def start_eval(self, row: CheckpointRow, tasks: str = "", questions: int | None = None) -> str:
        """Start its evaluation: of these tasks, comma-separated, with so many questions of each;
        by default as the run asked. Returns why not, else nothing."""
        if problem := self.why_not(row):
            return problem
        assert row.info is not None
        arguments = ["eval", str(row.info.path)]
        arguments += ["--tasks", tasks] if tasks else []
        if questions is not None:
            arguments += ["--max-problems", str(questions), "--max-generated", str(questions)]
        named = f" on {clean(tasks, 60)}" if tasks else ""
        return self._begin(f"evaluating {row.name}{named}", arguments)

    def _begin(self, words: str, arguments: list[str]) -> str:
        """Start a command of ours on one of them; one at a time."""
        if self.job is not None and self.job.code is None:
            return busy_words(self.job)
        self._close_job()
        try:
            self.job = Job(words, arguments, Path.cwd())
        except OSError as error:
            return f"{words} could not be started: {error.strerror}."
        return ""

    def close(self) -> None:
        """Terminate the running jobs."""
        self._close_job()
        self.sampler.close()

    def _close_job(self) -> None:
        if self.job is not None:
            self.job.close()
            self.job = None


def _typed(path: Path) -> str:
    """As it is typed in a shell, in the folder this was started from."""
    return shlex.quote(typed_path(path))
