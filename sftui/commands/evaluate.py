"""`sftui eval`: what is asked of which checkpoint, and the table of answers.

The work is done by a process of its own (`engine.commands.evaluate_checkpoint`): torch is never
imported here. A run's checkpoint is asked what the run asked, in the same order.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from engine import config as config_module
from engine.checkpoints import checkpoint_target
from engine.checkpoints.checkpoint_target import Target
from engine.config import RunConfig
from engine.processes import child, devices
from engine.run import resume_file, run_dir
from sftui.statistics import accuracy as accuracy_module
from sftui.text import format as fmt


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalFlags:
    """Ask one checkpoint the evaluation questions, and write a results file.

    A checkpoint of a run is asked what its run asked. The file can be given to --baseline, and
    readers of lm-evaluation-harness results understand it.

    Examples:
      sftui eval runs/20260102-030405-starter/ckpt/step-200
      sftui eval sft:d16:1952 --tasks MMLU,ARC-Challenge --data-dir data/
    """

    checkpoint: tyro.conf.Positional[str | None] = None
    """A run, RUN:STEP, a ckpt/step-N folder, sft:d16:700, or an exported folder."""
    source: str | None = None
    """nanochat's checkpoint by names: base, mid, sft or rl."""
    model_tag: str | None = None
    """Model folder of --source, e.g. d16 (default: the deepest)."""
    step: int | None = None
    """Step of the checkpoint (default: the last)."""
    tasks: str | None = None
    """Tasks, comma-separated (default: those of the run, else MMLU,ARC-Easy)."""
    data_dir: str | None = None
    """Folder with TASK.test.jsonl or .parquet files (default: the run's, else the hub)."""
    max_problems: int | None = None
    """Questions of each task (default: as many as the run asked, else 1024)."""
    device_type: str = ""
    """cuda or cpu (default: found out)."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Results file (default: in the run's evals/, else evals/ here)."""
    json: bool = False
    """Print the results file instead of a table."""
    runs_dir: Path | None = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""


def evaluate(flags: EvalFlags) -> tuple[list[str], Path]:
    """Run the evaluation; the lines to print, and where the results file lies.

    Raises:
        UsageError: checkpoint, data or output cannot be used.
        RunFailedError: the evaluation itself failed.
    """
    runs = run_dir.runs_root(flags.runs_dir)
    names = {"source": flags.source, "model_tag": flags.model_tag, "step": flags.step}
    target = checkpoint_target.find(flags.checkpoint, **names, runs=runs)  # type: ignore[arg-type]
    settings = _settings(target, flags).check()
    output = (flags.output or default_output(target)).absolute()
    device = devices.choose(1, flags.device_type, devices.count_gpus(), 1)
    tasks = None if flags.tasks is None else _names(flags.tasks)
    results = child.run(
        "engine.commands.evaluate_checkpoint",
        {
            "target": {"text": flags.checkpoint, **names, "runs": str(runs)},
            "config": settings.flat(),
            "tasks": tasks,
            "device_type": device.device_type,
            "output": str(output),
        },
    )
    if flags.json:
        return [json.dumps(results, indent=1)], output
    return table(results["sftui"]), output


def _settings(target: Target, flags: EvalFlags) -> RunConfig:
    """The run's own data and evaluation settings (nanochat's defaults without a run), and what
    was typed."""
    settings = RunConfig()
    if target.run is not None:
        manifest = resume_file.manifest_now(target.run)
        settings = config_module.from_flat(manifest["config"], manifest.get("recipe"))
    elif target.kind == "starter":
        settings = settings.replace(source=checkpoint_target.STARTER)
    typed: dict[str, Any] = {}
    if flags.data_dir is not None:
        typed["data_dir"] = str(Path(flags.data_dir).expanduser().absolute())
    if flags.max_problems is not None:
        typed["eval_metrics_max_problems"] = flags.max_problems
    # The starter's tasks are its generator's: they are chosen from, not asked for by name.
    if flags.tasks is not None and (settings.start.source != "starter" or flags.data_dir):
        typed["eval_tasks"] = _names(flags.tasks)
    return settings.replace(**typed)


def default_output(target: Target) -> Path:
    """Where results go when nobody says: with the run, else in `evals/` of this folder."""
    if target.run is not None:
        return target.run.evals / f"step-{target.step}.results.json"
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", target.label).strip("-.")
    return Path("evals") / f"{slug}.json"


def table(ours: dict[str, Any]) -> list[str]:
    """One line a task: accuracy with its interval, counts, and what guessing would give."""
    lines = [str(ours["checkpoint"]["label"])]
    width = max(len(entry["task"]) for entry in ours["tasks"])
    for entry in ours["tasks"]:
        found = accuracy_module.accuracy(
            entry["correct"], entry["total"], chance=entry["chance"], one_letter=entry["one_letter"]
        )
        parts = [
            f"{entry['task']:<{width}}",
            f"{fmt.percent(found.value)} [{fmt.percent(found.low)}, {fmt.percent(found.high)}]",
            f"{found.correct}/{found.total}",
            f"chance {fmt.percent(found.chance)}",
            f"one letter {fmt.percent(found.one_letter)}",
            _letters(entry["letters"]),
        ]
        lines.append("  ".join(parts))
    return lines


def _letters(letters: dict[str, int]) -> str:
    return "answered " + " ".join(f"{letter}{count}" for letter, count in letters.items())


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
