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
from engine.conversations.letter_questions import Question
from engine.data import tasks
from engine.data.mixture import SEED
from engine.errors import ConfigError
from engine.evaluation import eval_results
from engine.processes import child
from engine.run import resume_file
from engine.step import run_plan


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
    from engine.evaluation.evaluate import (  # noqa: PLC0415
        batch_tokens_for,
        evaluate_letters,
        prepare_questions,
    )

    device = torch.device(job["device_type"])
    tokenizer = load_target.load_tokenizer(target)
    mixed = settings.runtime.mixed(device.type)
    model = load_target.load_model(target, device, mixed=mixed)
    results = []
    for task, found in questions.items():
        started = time.monotonic()
        prepared = prepare_questions(
            tokenizer,
            task,
            found,
            max_tokens=settings.data.max_tokens,
            vocab_size=model.config.vocab_size,
        )
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
            result = evaluate_letters(
                model,
                prepared,
                batch_tokens=batch_tokens_for(device),
                on_batch=Progress(task, prepared.total),
            )
        results.append((result, time.monotonic() - started))
    return eval_results.write(
        Path(job["output"]),
        results,
        checkpoint=target.described(),
        settings={
            "data_dir": settings.data.data_dir,
            "limit": settings.eval.eval_metrics_max_problems,
            "seed": exam,
            "max_tokens": settings.data.max_tokens,
            "device": device.type,
            "dtype": "bfloat16" if mixed else "float32",
        },
        created=time.time(),
    )


def load_questions(
    settings: RunConfig, names: list[str] | None, exam: int = SEED
) -> dict[str, list[Question]]:
    """The questions to ask, by task; `exam` as in `run_plan.data_settings`.

    Raises:
        UsageError: a task that the data does not have, or rows that are no questions.
    """
    data = run_plan.data_settings(settings, exam)
    found = tasks.load_questions(data, settings.eval.eval_metrics_max_problems)
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
    """One line on a terminal that counts the questions answered."""

    def __init__(self, task: str, total: int) -> None:
        self._task = task
        self._total = total
        self._shown = sys.stderr.isatty()

    def __call__(self, done: int) -> None:
        if self._shown:
            end = "\n" if done >= self._total else ""
            sys.stderr.write(f"\rsftui: {self._task} {done:,}/{self._total:,}{end}")
            sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
