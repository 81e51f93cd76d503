"""Evaluate one checkpoint alone: `python -P -m engine.commands.evaluate_checkpoint`, job on stdin.

The same questions, prompts and code as inside a run, so a checkpoint of a run gets
the counts its run reported. Everything that can go wrong without torch goes wrong
before torch is imported.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from engine.checkpoints import checkpoint_target
from engine.config import RunConfig, from_flat
from engine.data import tasks
from engine.data.mixture import SEED
from engine.errors import ConfigError
from engine.evaluation import eval_results
from engine.processes import child
from engine.run import resume_file
from engine.step import run_plan

PROGRESS_SECONDS = 0.2
"""Between two of its lines: a terminal is slower than a token."""


def main() -> int:
    return child.serve(evaluate)


def evaluate(job: dict[str, Any]) -> dict[str, Any]:
    """Answer every task's questions and write the results file; returns its content.

    Job: `target` (arguments of `checkpoint_target.find`), `config` (flat settings: data and
    evaluation), `tasks` (names, or None for those of the settings), `device_type`, `output`.

    Raises:
        UsageError: checkpoint, data or output cannot be used.
    """
    target = checkpoint_target.find(**job["target"] | {"runs": Path(job["target"]["runs"])})
    settings = from_flat(job["config"], None)
    exam = SEED
    if target.run is not None:
        # The questions its run asked, also where an earlier version chose them by the run's seed.
        exam = run_plan.exam_seed(resume_file.manifest_now(target.run))
    questions = load_questions(settings, job["tasks"], exam)

    # torch: seconds, which a missing file must not cost.
    import torch  # noqa: PLC0415

    from engine.checkpoints import load_target  # noqa: PLC0415
    from engine.evaluation import exam as exams  # noqa: PLC0415

    device = torch.device(job["device_type"])
    tokenizer = load_target.load_tokenizer(target)
    mixed = settings.runtime.mixed(device.type)
    model = load_target.load_model(target, device, mixed=mixed)
    # Longer than the model has positions for, a prompt is cut as a training row is.
    max_tokens = min(settings.data.max_tokens, model.config.max_positions)
    # All prompts before the first answer: what cannot be asked is told at once.
    prepared = {
        task: exams.prepare(
            tokenizer,
            task,
            found,
            max_tokens=max_tokens,
            vocab_size=model.config.vocab_size,
        )
        for task, found in questions.items()
    }
    sandbox = exams.sandbox_for(prepared, unsafe=settings.eval.unsafe_code)
    results = []
    for task, asked in prepared.items():
        started = time.monotonic()
        progress = Progress(task, asked.total)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
            result = exams.answer_task(model, tokenizer, asked, sandbox=sandbox, on_work=progress)
        progress.end()
        results.append((result, time.monotonic() - started))
    return eval_results.write(
        Path(job["output"]),
        results,
        checkpoint=target.described(),
        settings={
            "data_dir": settings.data.data_dir,
            "limit": settings.eval.eval_metrics_max_problems,
            "limit_generated": settings.eval.eval_max_generated,
            "seed": exam,
            "max_tokens": max_tokens,
            "device": device.type,
            "dtype": "bfloat16" if mixed else "float32",
        },
        created=time.time(),
    )


def load_questions(
    settings: RunConfig, names: list[str] | None, exam: int = SEED
) -> dict[str, tasks.Exam]:
    """The questions to ask, by task; `exam` as in `run_plan.data_settings`.

    Raises:
        UsageError: a task that the data does not have, or rows that are no questions.
    """
    data = run_plan.data_settings(settings, exam)
    found = tasks.load_questions(data, run_plan.exam_limits(settings))
    if names is None:
        return found
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(
            f"there is no task {', '.join(missing)} in this data; expected of "
            f"{', '.join(found)}. Type --tasks with some of them."
        )
    return {name: found[name] for name in names}


class Progress:
    """One line on a terminal that counts the questions answered, and the tokens written."""

    def __init__(self, task: str, total: int) -> None:
        self._task = task
        self._total = total
        self._shown = sys.stderr.isatty()
        self._next = 0.0

    def __call__(self, done: int, tokens: int = 0) -> None:
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_SECONDS
            self._write(done, tokens)

    def end(self) -> None:
        """All are answered."""
        if self._shown:
            self._write(self._total, 0)
            sys.stderr.write("\n")

    def _write(self, done: int, tokens: int) -> None:
        written = f", {tokens:,} tokens" if tokens else ""
        sys.stderr.write(f"\r\x1b[Ksftui: {self._task} {done:,}/{self._total:,}{written}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
