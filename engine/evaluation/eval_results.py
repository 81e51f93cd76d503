"""The file of an evaluation: lm-eval's shape on top, ours beside it, items in their own files.

Readers of lm-evaluation-harness results find `results.<task>` with `acc,none` and
`acc_stderr,none`. Task names end in `_letter` (or `_generated`): that harness scores the text of an
answer, we its letter, so equal names would invite comparing what differs. Counts,
item sets and the paths of per-item results, which a fair comparison needs, stand
under `sftui`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.errors import DataError
from engine.evaluation import eval_items
from engine.evaluation.eval_items import EvalResult
from engine.files import checked, written

SCHEMA = 1
PROMPT_VERSION = 1
_MOST_BYTES = 64 * 1024 * 1024
"""Of the letter prompt; raised when it changes."""


_OUTPUT_TYPE = {"letter": "multiple_choice", "generated": "generate_until"}
_SCORED = {
    "letter": "likeliest letter of the row",
    "generated": "greedy answer, checked as nanochat does",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScore:
    """One task of a results file."""

    task: str
    correct: int
    total: int
    chance: float
    one_letter: float
    item_set: str
    letters: Mapping[str, int]
    seconds: float
    items_file: str
    """Per-item results (`eval_items.load_items`), relative to the results file."""
    kind: Literal["letter", "generated"] = "letter"
    """How it is answered."""

    @property
    def accuracy(self) -> float:
        return self.correct / self.total if self.total else math.nan


def alias(task: str, kind: str = "letter") -> str:
    """`ARC-Easy` -> `arc_easy_letter`."""
    return f"{task.lower().replace('-', '_')}_{kind}"


def write(
    path: Path,
    results: Sequence[tuple[EvalResult, float]],
    *,
    checkpoint: Mapping[str, Any],
    settings: Mapping[str, Any],
    created: float,
) -> dict[str, Any]:
    """Write the results file and one item file a task beside it; the content.

    Args:
        results: each task's result and the seconds it took.
        checkpoint: label, path and step of what was evaluated.
        settings: what decided the questions (data folder, limit, seed).
        created: wall clock, seconds since the epoch.

    Raises:
        DataError: the place is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written.refuse_place(path)
        scores = []
        for result, seconds in results:
            items = path.with_name(f"{path.stem}.{result.task}.npz")
            eval_items.save_items(items, result)
            scores.append(_score(result, seconds, items.name))
        content = _content(scores, checkpoint, settings, created)
        with written.replacing(path) as fresh:
            fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror}. Choose another place with -o."
        ) from None
    return content


def read(path: Path) -> tuple[dict[str, Any], list[TaskScore]]:
    """(`sftui` block, scores) of a results file of ours.

    Raises:
        DataError: missing, damaged, or not of ours.
    """
    try:
        ours = checked.parse_json(checked.read_typed(path, _MOST_BYTES))["sftui"]
        if ours["schema"] != SCHEMA:
            raise DataError(f"{path}: schema {ours['schema']}; expected {SCHEMA}.")
        return ours, [TaskScore(**entry) for entry in ours["tasks"]]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no results file of `sftui eval` ({error!r}). Evaluate the checkpoint with "
            "`sftui eval`."
        ) from None


def _score(result: EvalResult, seconds: float, items_file: str) -> TaskScore:
    return TaskScore(
        task=result.task,
        correct=result.correct,
        total=result.total,
        chance=result.chance,
        one_letter=result.one_letter,
        item_set=result.item_set,
        letters=result.letters,
        seconds=round(seconds, 3),
        items_file=items_file,
        kind="letter" if result.by_letter else "generated",
    )


def _content(
    scores: Sequence[TaskScore],
    checkpoint: Mapping[str, Any],
    settings: Mapping[str, Any],
    created: float,
) -> dict[str, Any]:
    names = {score.task: alias(score.task, score.kind) for score in scores}
    return {
        "results": {
            names[score.task]: {
                "alias": names[score.task],
                "acc,none": score.accuracy,
                "acc_stderr,none": _stderr(score),
            }
            for score in scores
        },
        "configs": {
            names[score.task]: {
                "task": names[score.task],
                "num_fewshot": 0,
                "output_type": _OUTPUT_TYPE[score.kind],
                "metadata": {"version": PROMPT_VERSION, "scored": _SCORED[score.kind]},
            }
            for score in scores
        },
        "versions": dict.fromkeys(names.values(), PROMPT_VERSION),
        "n-shot": dict.fromkeys(names.values(), 0),
        "n-samples": {
            names[score.task]: {"original": score.total, "effective": score.total}
            for score in scores
        },
        "config": {"model": "sftui", "model_args": str(checkpoint["label"]), **settings},
        "git_hash": None,
        "date": created,
        "sftui": {
            "schema": SCHEMA,
            "checkpoint": dict(checkpoint),
            "settings": dict(settings),
            "created": created,
            "tasks": [_to_dict(score) for score in scores],
        },
    }


def _to_dict(score: TaskScore) -> dict[str, Any]:
    names = TaskScore.__dataclass_fields__
    return {name: getattr(score, name) for name in names} | {"letters": dict(score.letters)}


def _stderr(score: TaskScore) -> float | None:
    """lm-eval's form, which divides by n - 1."""
    if score.total < 2:
        return None
    return math.sqrt(score.accuracy * (1 - score.accuracy) / (score.total - 1))
