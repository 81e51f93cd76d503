"""The baseline of a run: another run, a results file, or a few percentages.

A baseline that was measured on other questions, or whose questions are not known, is
still shown; it is then never paired, and `note` says why.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.errors import DataError, SftuiError, UsageError
from engine.evaluation import eval_items, eval_results
from engine.files import checked
from sftui.sources import snapshot
from sftui.statistics.accuracy import k_candidates
from sftui.statistics.paired_tests import Evaluation
from sftui.statistics.scores import Scoreboard

_COUNTS = re.compile(r"\s*(\d+)\s*/\s*(\d+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Accuracies by task, and where they came from."""

    name: str
    """Its name in the head of a table."""
    results: Mapping[str, Evaluation] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    """The flags of `sftui report` that name it again."""

    def of(self, task: str) -> Evaluation | None:
        """The result for this task; `arc_easy` and `ARC-Easy` are one name."""
        exact = self.results.get(task)
        if exact is not None:
            return exact
        wanted = _plain(task)
        return next((e for name, e in self.results.items() if _plain(name) == wanted), None)

    def doubt(self, task: str, total: int | None) -> str:
        """Why a bare percentage cannot have been measured on so many items; else empty."""
        found = self.of(task)
        if found is None or found.total or found.accuracy is None or not total:
            return ""
        percentage = 100 * found.accuracy
        if k_candidates(percentage, total):
            return ""
        return f"{percentage:.2f} % is no count of {total:,}: other questions"


def load(target: str, runs_dir: str | Path | None = None) -> Baseline:
    """A run or log, a results file of `sftui eval`, or a TOML or JSON of task = percentage.

    Percentages run from 0 to 100; `"249/1024"` gives counts, which say more.

    Raises:
        UsageError: nothing of these, or it holds no accuracy.
    """
    path = Path(target).expanduser()
    if path.is_file() and path.suffix.lower() in (".json", ".toml"):
        found = _file(path)
    else:
        found = _run(target, runs_dir)
    if not found.results:
        raise UsageError(
            f"--baseline {target} holds no accuracy. Name a run with evaluations, a results file "
            'of `sftui eval`, or a TOML file with lines like MMLU = 24.32 or MMLU = "249/1024".'
        )
    where = () if runs_dir is None else ("--runs-dir", str(runs_dir))
    return replace(found, flags=("--baseline", target, *where))


def _file(path: Path) -> Baseline:
    try:
        text = checked.read_typed(path).decode("utf-8")
        is_toml = path.suffix.lower() == ".toml"
        raw = checked.parse_toml(text) if is_toml else checked.parse_json(text)
    except OSError as error:
        raise UsageError(f"--baseline {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UsageError(f"--baseline {path} is no {path.suffix[1:].upper()}: {error}.") from None
    if not isinstance(raw, dict):
        raise UsageError(f"--baseline {path} is no table of task = percentage.")
    if isinstance(raw.get("sftui"), dict):
        return _results_file(path)
    if isinstance(raw.get("results"), dict):
        return _harness(path, raw["results"])
    results, bad = {}, []
    for task, value in raw.items():
        evaluation = _value(value)
        if evaluation is None:
            bad.append(f"{task} = {value!r}")
        else:
            results[task] = evaluation
    if bad:
        raise UsageError(
            f"--baseline {path}: {', '.join(bad[:5])}; expected a percentage from 0 to 100, or "
            'counts like "249/1024".'
        )
    return Baseline(name=path.name, results=results)


def _value(value: Any) -> Evaluation | None:
    """A percentage, or counts as text or as a table."""
    if isinstance(value, dict):
        correct, total = value.get("correct"), value.get("total")
        value = f"{correct}/{total}"
    if isinstance(value, str):
        counts = _COUNTS.fullmatch(value)
        if counts is None:
            return None
        correct, total = int(counts[1]), int(counts[2])
        if not 0 < total < 2**53 or correct > total:
            return None
        return Evaluation(correct=correct, total=total)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        return None
    return Evaluation(accuracy=value / 100)


def _results_file(path: Path) -> Baseline:
    try:
        ours, scores = eval_results.read(path)
    except DataError as error:
        raise UsageError(f"--baseline {error}") from None
    results = {}
    for score in scores:
        right = None
        # Without its items it is compared unpaired, and the table says so.
        with contextlib.suppress(DataError):
            right = eval_items.load_items(path.with_name(Path(score.items_file).name)).right()
        results[score.task] = Evaluation(
            correct=score.correct, total=score.total, item_set=score.item_set, right=right
        )
    label = ours.get("checkpoint", {}).get("label") if isinstance(ours, dict) else None
    return Baseline(name=str(label or path.name), results=results)


def _harness(path: Path, found: Mapping[str, Any]) -> Baseline:
    """lm-evaluation-harness: accuracies under its own task names, no items."""
    results = {}
    for name, entry in found.items():
        value = entry.get("acc,none") if isinstance(entry, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            results[str(name)] = Evaluation(accuracy=float(value))
    return Baseline(name=path.name, results=results)


def _run(target: str, runs_dir: str | Path | None) -> Baseline:
    """The last evaluation of each task of a run or log; `RUN:STEP` names another."""
    name, _, number = target.rpartition(":")
    step = checked.digits(number) if name else None
    try:
        shot = snapshot.read(target if step is None else name, runs_dir)
    except SftuiError as error:
        raise UsageError(f"--baseline: {error}") from None
    board = Scoreboard(shot.run.path if shot.run is not None else None)
    results = {}
    for stage in shot.stages if step is None and shot.run is None else (shot.stages[shot.shown],):
        for task, by_step in stage.state.evals.items():
            chosen = max(by_step) if step is None else step
            if chosen in by_step:
                results[task] = board.evaluation(by_step[chosen])
    if step is not None and not results:
        raise UsageError(f"--baseline {target}: nothing was evaluated at step {step}.")
    title = shot.title if step is None else f"{shot.title} step {step}"
    return Baseline(name=title, results=results)


def _plain(task: str) -> str:
    return re.sub(r"[^a-z0-9]", "", task.lower().removesuffix("_letter"))
