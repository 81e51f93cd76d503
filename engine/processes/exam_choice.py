"""Leave out tasks that a recipe asks and this machine cannot, where nobody typed them."""

from __future__ import annotations

from pathlib import Path

from engine.config import RunConfig
from engine.data.dataset import find_file
from engine.errors import UsageError
from engine.processes.sandbox_check import sandbox_note
from engine.step import run_plan


def available(config: RunConfig, typed: frozenset[str]) -> tuple[RunConfig, list[str]]:
    """The config with the tasks of the recipe `nanochat` that can be asked here, and notes.

    Tasks that were typed stay: what is missing for them is then refused with its words.
    """
    if config.recipe != "nanochat" or "eval_tasks" in typed:
        return config, []
    notes: list[str] = []
    tasks = run_plan.task_names(config)
    if config.data.data_dir is not None:
        folder = Path(config.data.data_dir).expanduser()
        missing = [task for task in tasks if find_file(folder, task, "test") is None]
        tasks = tuple(task for task in tasks if task not in missing)
        if missing:
            names = ", ".join(missing)
            notes.append(f"{names} not asked: {folder} has no such TASK.test file")
    if "HumanEval" in tasks:
        try:
            sandbox_note(config.replace(eval_tasks=tasks))
        except UsageError as error:
            tasks = tuple(task for task in tasks if task != "HumanEval")
            notes.append(f"HumanEval is not asked: {error}")
    return (config.replace(eval_tasks=tasks), notes) if notes else (config, [])
