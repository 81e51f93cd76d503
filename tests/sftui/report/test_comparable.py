"""What does not compare is not compared, and the report says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine import events as ev
from engine.evaluation.eval_items import EvalResult, save_items
from engine.evaluation.validation_rows import RowLosses, save_rows
from tests.sftui.report.test_report import make, markdown


def evaluated(folder: Path, step: int, right: list[bool], asked: str) -> ev.EvalFinished:
    """An evaluation with its answers, one letter a question; `asked` names the set."""
    n, name = len(right), f"evals/step-{step}.npz"
    (folder / "evals").mkdir(parents=True, exist_ok=True)
    gold = tuple("ABCD"[i % 4] for i in range(n))
    said = tuple("ABCD"[(i + (not each)) % 4] for i, each in enumerate(right))
    found = EvalResult(
        task="MMLU", item_set=asked * 64, item_ids=tuple(f"{asked}{i}" for i in range(n)),
        subjects=("s",) * n, gold=gold, predicted=said,
        letter_logprobs=np.full((n, 4), -1.4, np.float32), item_letters=(tuple("ABCD"),) * n,
        chance=0.25, one_letter=0.25,
    )  # fmt: skip
    save_items(folder / name, found)
    return ev.EvalFinished(
        step=step, task="MMLU", correct=sum(right), total=n, chance=0.25,
        item_set=asked * 64, items_file=name,
    )  # fmt: skip


def verdict(folder: Path, *events: ev.Event) -> str:
    """The first section of the report of a run of 100 steps."""
    begin = ev.RunStarted(name="r", source="mid d4", num_iterations=100, world_size=1)
    trained = [ev.StepFinished(step=step, loss=1.2) for step in (0, 50, 99)]
    run = make(folder, begin, *trained, *events, name="r")
    (folder / "evals").rename(run.path / "evals")
    return markdown(run.path).split("## 2.")[0]


def test_evaluations_of_other_questions_say_so(tmp_path: Path) -> None:
    few, many = [i < 80 for i in range(200)], [i < 140 for i in range(200)]
    text = verdict(tmp_path, evaluated(tmp_path, 0, few, "a"), evaluated(tmp_path, 100, many, "b"))
    assert "unpaired p < .001, as the questions are not the same" in text
    same = verdict(
        tmp_path / "b", evaluated(tmp_path / "b", 0, few, "a"),
        evaluated(tmp_path / "b", 100, many, "a"),
    )  # fmt: skip
    assert "not the same" not in same


@pytest.mark.parametrize(("right", "word"), [(True, "harder"), (False, "easier")])
def test_where_all_answers_are_alike_other_questions_are_asked_for(
    right: bool, word: str, tmp_path: Path
) -> None:
    """More of the same would show no gain either."""
    twice = [evaluated(tmp_path, step, [right] * 50, "a") for step in (0, 100)]
    text = verdict(tmp_path, *twice)
    assert f"Ask {word} questions" in text
    assert "Ask more questions" not in text


def test_three_questions_show_nothing(tmp_path: Path) -> None:
    """Not that a change of 161.7 points would be seen."""
    wrong, right = (
        evaluated(tmp_path, 0, [False] * 3, "a"),
        evaluated(tmp_path, 100, [True] * 3, "a"),
    )
    text = verdict(tmp_path, wrong, right)
    assert "3 questions show no change, however large" in text
    assert "**clear**" not in text


def validated(folder: Path, step: int, losses: np.ndarray, first_row: int = 0) -> ev.Event:
    name = f"evals/step-{step}.val.npz"
    (folder / "evals").mkdir(parents=True, exist_ok=True)
    numbers = first_row + np.arange(len(losses))
    save_rows(folder / name, RowLosses(losses=losses, rows=numbers))
    return ev.ValidationFinished(step=step, loss=float(losses.mean()), rows_file=name)


def test_validations_of_other_rows_are_neither_better_nor_best(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    old, new = rng.normal(0.5, 0.1, 60), rng.normal(1.2, 0.1, 60)
    text = verdict(
        tmp_path,
        validated(tmp_path, 0, old),
        validated(tmp_path, 40, old - 0.1),
        validated(tmp_path, 60, new, 100),
        validated(tmp_path, 80, new - 0.2, 100),
        validated(tmp_path, 100, new - 0.1, 100),
    )
    assert "not known whether it changed" in text
    assert "the two were measured on other rows, so they do not compare" in text
    assert "at step 80; 2 were measured on other rows" in text
    assert "step 80" in text.split("**Checkpoint to keep:**")[1].splitlines()[0]
    assert "of those on the same rows" in text
