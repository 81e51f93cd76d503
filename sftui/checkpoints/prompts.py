"""Prompts asked of checkpoints from the browser, and what they answered.

Each answer comes from a process of its own (`sftui chat --json`), one at a time, the others
waiting. Greedy, so that two checkpoints differ by their weights alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import SftuiError, UsageError
from engine.files import checked
from sftui.checkpoints.answers import Answer, Group
from sftui.checkpoints.jobs import Job

if TYPE_CHECKING:
    from engine.run.run_dir import RunDir
    from sftui.checkpoints.checkpoint_row import CheckpointRow

MOST_TOKENS = 200
MOST_SAMPLES = 50
"""Answers kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A prompt to a checkpoint, and the answer once there is one."""

    prompt: str
    name: str
    """Of the checkpoint, in words."""
    step: int
    target: str
    """As `sftui chat` takes it."""
    text: str | None = None
    """None while it is waited for."""
    stopped_by: str = ""
    failure: str = ""
    """Why there is no answer, in one line."""


class Sampler:
    """Asks checkpoints one at a time and keeps their answers."""

    def __init__(self) -> None:
        self.prompt = ""
        """The prompt that was asked last."""
        self.samples: list[Sample] = []
        """Oldest first, one a checkpoint and prompt."""
        self._waiting: deque[tuple[Sample, bool]] = deque()
        self._job: Job | None = None
        self._asked: Sample | None = None

    @property
    def busy(self) -> bool:
        return self._job is not None or bool(self._waiting)

    def ask(self, run: RunDir | None, row: CheckpointRow, prompt: str, *, alive: bool) -> str:
        """Queue a prompt; returns why not, else an empty string. `alive`: the run trains now."""
        self.prompt = prompt
        try:
            target = target_of(run, row)
        except SftuiError as error:
            return str(error)
        sample = Sample(prompt=prompt, name=row.name, step=row.step, target=target)
        self._keep(sample)
        self._waiting.append((sample, alive))
        self.poll()
        return ""

    def poll(self) -> None:
        """Take over a finished answer and start the next job."""
        job, asked = self._job, self._asked
        if job is not None and asked is not None and job.code is not None:
            self._keep(_answered(asked, job))
            job.close()
            self._job = None
        while self._job is None and self._waiting:
            sample, alive = self._waiting.popleft()
            words = ["chat", sample.target, "--json", "--temperature=0"]
            words.append(f"--max-tokens={MOST_TOKENS}")
            if alive:
                # The memory of a GPU that trains is not ours to fill.
                words.append("--device-type=cpu")
            try:
                self._job = Job("sampling", words, Path.cwd(), stdin=_bytes(sample.prompt))
            except OSError as error:
                self._keep(replace(sample, failure=f"it could not be asked: {error.strerror}."))
            self._asked = sample

    def groups(self) -> list[Group]:
        """The prompt asked last first; its answers by step, the newest weights first."""
        prompts = dict.fromkeys(sample.prompt for sample in reversed(self.samples))
        return [
            (
                prompt,
                [
                    _said(sample, working=sample == self._asked and self._job is not None)
                    for sample in sorted(self.samples, key=lambda s: -s.step)
                    if sample.prompt == prompt
                ],
            )
            for prompt in prompts
        ]

    def close(self) -> None:
        """Terminate the running job, if there is one."""
        self._waiting.clear()
        if self._job is not None:
            self._job.close()
            self._job = None

    def _keep(self, sample: Sample) -> None:
        same = (sample.target, sample.prompt)
        kept = [old for old in self.samples if (old.target, old.prompt) != same]
        self.samples = [*kept, sample][-MOST_SAMPLES:]


def target_of(run: RunDir | None, row: CheckpointRow) -> str:
    """The checkpoint of a row as `sftui chat` takes it.

    Raises:
        SftuiError: it is not here, in one line.
    """
    # Tokenizer, tiktoken and more: for a sample, not for the first frame.
    from engine.checkpoints import nanochat_paths  # noqa: PLC0415
    from engine.config import HF, STARTER  # noqa: PLC0415
    from engine.run import resume_file  # noqa: PLC0415

    if run is None:
        raise UsageError("These lie where the log was written, not here.")
    if row.info is not None:
        return str(row.info.path)
    if row.known.kind == "start":
        start = resume_file.manifest_now(run).get("start")
        if start is None:
            raise UsageError(f"{run.manifest} does not say what the run was started from.")
        if start["source"] == STARTER:
            return STARTER
        if start["source"] == HF:
            return str(start["model_config"]["folder"])
        base = Path(start["base_dir"])
        found = nanochat_paths.find_checkpoint(
            start["source"], start["tag"], start["step"], base=base
        )
        return str(found.model_path)
    path = run.path / (row.known.path or "")
    if row.known.kind == "nanochat" and path.is_file():
        return str(path)
    if row.known.kind == "hf" and path.is_dir():
        return str(path)
    raise UsageError(f"{row.name} is not on disk any more.")


def _answered(sample: Sample, job: Job) -> Sample:
    for line in reversed(job.output().split("\n")):
        if job.code == 0 and line.startswith("{"):
            found = checked.parse_json(line)
            return replace(sample, text=found["text"], stopped_by=found["stopped_by"])
    said = job.lines() or [f"exit code {job.code}"]
    errors = [line for line in said if line.startswith("sftui: error: ")] or said
    return replace(sample, failure=errors[-1].removeprefix("sftui: error: "))


def _bytes(prompt: str) -> bytes:
    return prompt.encode("utf-8", "replace")


def _said(sample: Sample, *, working: bool) -> Answer:
    if sample.failure:
        return Answer(label=sample.name, text=sample.failure, bad=True)
    if sample.text is None:
        return Answer(label=sample.name, text="answering…" if working else "waiting…", fresh=False)
    cut = {"max_tokens": f"cut at {MOST_TOKENS} tokens", "positions": "cut at the last position"}
    text = sample.text or "(nothing)"
    return Answer(label=sample.name, text=text, note=cut.get(sample.stopped_by, ""))
