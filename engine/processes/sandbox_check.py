"""Whether the programs of HumanEval can be run here, asked before anything is started."""

from __future__ import annotations

from engine.config import RunConfig
from engine.sandbox import program_sandbox
from engine.step import run_plan


def sandbox_note(config: RunConfig) -> str:
    """What a person should know of it; empty where no task needs the sandbox, or it holds.

    Raises:
        UsageError: HumanEval is asked for and the sandbox cannot be had.
    """
    generated = run_plan.data_settings(config).starter
    if generated or "HumanEval" not in run_plan.task_names(config):
        return ""
    sandbox = program_sandbox.open_sandbox(unsafe=config.eval.unsafe_code)
    return "" if sandbox.contained else program_sandbox.NOT_CONTAINED
