"""`sftui eval`: what is asked of which checkpoint, and the table of answers.

The work is done by a process of its own (`engine.commands.evaluate_checkpoint`): torch is never
imported here. A run's checkpoint is asked what the run asked, in the same order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from engine.checkpoints import checkpoint_target
from engine.checkpoints.checkpoint_target import Target
from engine.config import STARTER, RunConfig, from_flat
from engine.errors import ConfigError, DataError
from engine.files import written
from engine.processes import child, devices
from engine.processes.sandbox_check import sandbox_note
from engine.run import resume_file, run_dir
from engine.step import run_plan
from sftui import diagnostics, run_json
from sftui.commands.checkpoint_flags import EvalFlags
from sftui.statistics import chatcore_looks
from sftui.statistics.accuracy import accuracy
from sftui.statistics.chatcore import ChatCore, chatcore
from sftui.text import format as fmt


def evaluate_checkpoint(flags: EvalFlags) -> tuple[list[str], Path]:
    """Run the evaluation; the lines to print, and where the results file lies.

    Raises:
        UsageError: checkpoint, data or output cannot be used.
        RunFailedError: the evaluation itself failed.
    """
    runs = run_dir.runs_root(flags.runs_dir)
    names = {"source": flags.source, "model_tag": flags.model_tag, "step": flags.step}
    target = checkpoint_target.find(flags.checkpoint, **names, runs=runs)  # type: ignore[arg-type]
    settings = _settings(target, flags).check()
    if not settings.eval.eval_tasks and not run_plan.data_settings(settings).starter:
        raise ConfigError(
            f"{target.label} belongs to a run that asks no questions. Name some with "
            "--tasks MMLU,ARC-Easy or --tasks chatcore (from the hub, or with --data-dir and their "
            "files)."
        )
    output = (flags.output or default_output(target)).absolute()
    _refuse_place(output, target)
    device = devices.find(1, flags.device_type, 1)
    tasks = None if flags.tasks is None else run_plan.expanded(_names(flags.tasks))
    # Before torch is loaded: a missing sandbox is known at once.
    if (tasks is None or "HumanEval" in tasks) and (note := sandbox_note(settings)):
        diagnostics.note(note)
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
        scores = chatcore_of(results["sftui"])
        results["sftui"]["chatcore"] = [chatcore_looks.score_dict(score) for score in scores]
        return [run_json.strict(results)], output
    return table(results["sftui"]), output


def _refuse_place(output: Path, target: Target) -> None:
    """Refuse, before minutes of work, a place that no results can be written to.

    Raises:
        DataError: something else than a file stands there, or the run's folder of results is a
            link: a run may come from another person, and would write to a folder of one's own.
    """
    try:
        if target.run is not None and output.parent == target.run.evals:
            written.refuse_linked(output.parent)
        written.refuse_place(output)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be written: {error.strerror}. Choose another place with -o."
        ) from None


def _settings(target: Target, flags: EvalFlags) -> RunConfig:
    """The run's own data and evaluation settings (nanochat's defaults without a run), and what
    was typed."""
    settings = RunConfig()
    if target.run is not None:
        manifest = resume_file.manifest_now(target.run)
        settings = from_flat(manifest["config"], manifest.get("recipe"))
    elif target.kind == "starter":
        settings = settings.replace(source=STARTER)
    typed: dict[str, Any] = {}
    if flags.data_dir is not None:
        typed["data_dir"] = str(Path(flags.data_dir).expanduser().absolute())
    if flags.max_problems is not None:
        typed["eval_metrics_max_problems"] = flags.max_problems
    elif flags.tasks is not None and any(map(run_plan.is_chatcore, _names(flags.tasks))):
        typed["eval_metrics_max_problems"] = -1
    if flags.max_generated is not None:
        typed["eval_max_generated"] = flags.max_generated
    # Typed each time: the run, and the model whose programs would run, may be a stranger's.
    typed["unsafe_code"] = flags.unsafe_code
    # The starter's tasks are its generator's: they are chosen from, not asked for by name.
    generated = run_plan.data_settings(settings.replace(**typed)).starter
    if flags.tasks is not None and not generated:
        typed["eval_tasks"] = _names(flags.tasks)
    return settings.replace(**typed)


def default_output(target: Target) -> Path:
    """The results file without `--output`: in the run's folder, else `evals/` of this folder."""
    if target.run is not None:
        return target.run.evals / f"step-{target.step}.results.json"
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", target.label).strip("-.")
    return Path("evals") / f"{slug}.json"


def table(ours: dict[str, Any]) -> list[str]:
    """One line a task: accuracy with its interval, counts, and what guessing would give."""
    lines = [str(ours["checkpoint"]["label"])]
    width = max(len(entry["task"]) for entry in ours["tasks"])
    for entry in ours["tasks"]:
        found = accuracy(
            entry["correct"], entry["total"], chance=entry["chance"], one_letter=entry["one_letter"]
        )
        parts = [
            f"{entry['task']:<{width}}",
            f"{fmt.percent(found.value)} [{fmt.percent(found.low)}, {fmt.percent(found.high)}]",
            f"{found.correct}/{found.total}",
            f"chance {fmt.percent(found.chance)}",
        ]
        if entry["letters"]:
            parts += [f"one letter {fmt.percent(found.one_letter)}", _letters(entry["letters"])]
        lines.append("  ".join(parts))
    return lines + [chatcore_looks.words(score) for score in chatcore_of(ours)]


def chatcore_of(ours: dict[str, Any]) -> list[ChatCore]:
    """ChatCORE of a results file, as far as its tasks are there."""
    return chatcore({each["task"]: (each["correct"], each["total"]) for each in ours["tasks"]})


def _letters(letters: dict[str, int]) -> str:
    return "answered " + " ".join(f"{letter}{count}" for letter, count in letters.items())


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
