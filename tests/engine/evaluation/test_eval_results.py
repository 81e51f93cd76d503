"""`sftui eval`: a results file others can read, and answers that are the engine's own."""

from __future__ import annotations

import json
import math
from typing import cast

import numpy as np
import pytest

from engine.commands import evaluate_checkpoint
from engine.config import RunConfig
from engine.conversations.letter_questions import Question
from engine.data.tasks import load_questions
from engine.errors import ConfigError, DataError
from engine.evaluation import eval_items, eval_results
from engine.evaluation.eval_items import EvalResult
from engine.evaluation.evaluate import evaluate_letters, prepare_questions
from engine.step.run_plan import data_settings
from tests import tiny
from tests.engine.small import BYTES, tiny_model


def result(task: str = "ARC-Easy") -> EvalResult:
    """Three of four right."""
    return EvalResult(
        task=task,
        item_set="f00d",
        item_ids=("a", "b", "c", "d"),
        subjects=("s",) * 4,
        gold=("A", "B", "A", "B"),
        predicted=("A", "B", "A", "A"),
        letter_logprobs=np.log(np.full((4, 2), 0.5, np.float32)),
        item_letters=(("A", "B"),) * 4,
        chance=0.5,
        one_letter=0.5,
    )


def write(path):
    return eval_results.write(
        path,
        [(result(), 1.25)],
        checkpoint={"label": "sft d1 step 7", "path": "x", "step": 7},
        settings={"limit": 4},
        created=1e9,
    )


def test_readers_of_lm_eval_find_what_they_look_for(tmp_path):
    """The keys of that harness, its standard error (n - 1), and a name of our own for the task."""
    write(tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["results"] == {
        "arc_easy_letter": {
            "alias": "arc_easy_letter",
            "acc,none": 0.75,
            "acc_stderr,none": pytest.approx(math.sqrt(0.75 * 0.25 / 3)),
        }
    }
    for key in ("configs", "versions", "n-shot", "n-samples"):
        assert list(found[key]) == ["arc_easy_letter"]
    assert found["n-samples"]["arc_easy_letter"] == {"original": 4, "effective": 4}
    assert {"config", "date", "git_hash"} <= found.keys()


def test_counts_and_items_are_read_back(tmp_path):
    """Everything a paired comparison needs, by way of the file alone."""
    path = tmp_path / "sub" / "r.json"
    write(path)
    ours, [score] = eval_results.read(path)
    assert ours["checkpoint"]["step"] == 7
    assert (score.correct, score.total, score.accuracy) == (3, 4, 0.75)
    assert score.letters == {"A": 3, "B": 1}
    items = eval_items.load_items(path.parent / score.items_file)
    assert items.predicted == result().predicted


@pytest.mark.parametrize("content", ["", "[]", '{"sftui": {"schema": 9, "tasks": []}}'])
def test_other_files_are_refused(tmp_path, content):
    """Named, with what to type instead."""
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"r\.json"):
        eval_results.read(path)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job on the tiny checkpoint and data."""
    cache = tiny.write_cache(tmp_path / "cache", source="sft")
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(cache))
    settings = RunConfig().replace(
        data_dir=str(tiny.write_data(tmp_path / "data")), eval_metrics_max_problems=16
    )
    names = {"text": "sft", "source": None, "model_tag": None, "step": None}
    return {
        "target": {**names, "runs": str(tmp_path)},
        "config": settings.flat(),
        "tasks": None,
        "device_type": "cpu",
        "output": str(tmp_path / "out.json"),
    }


def test_a_checkpoint_alone_answers_as_inside_a_run(job):
    """The same questions, prompts and predictions as the evaluation of a run."""
    found = evaluate_checkpoint.evaluate(job)
    settings = RunConfig().replace(**job["config"])
    questions = cast(dict[str, list[Question]], load_questions(data_settings(settings), 16))
    for entry in found["sftui"]["tasks"]:
        prepared = prepare_questions(BYTES, entry["task"], questions[entry["task"]])
        wanted = evaluate_letters(tiny_model(), prepared)
        assert (entry["correct"], entry["total"]) == (wanted.correct, 16)
        assert entry["item_set"] == wanted.item_set
        assert entry["letters"] == wanted.letters
    assert [entry["task"] for entry in found["sftui"]["tasks"]] == ["MMLU", "ARC-Easy"]


def test_some_of_the_tasks(job):
    """`--tasks` chooses; a name the data does not have is refused before torch is imported."""
    found = evaluate_checkpoint.evaluate(job | {"tasks": ["ARC-Easy"]})
    assert list(found["results"]) == ["arc_easy_letter"]
    with pytest.raises(ConfigError, match=r"no task Spelling.*MMLU, ARC-Easy"):
        evaluate_checkpoint.evaluate(job | {"tasks": ["Spelling"]})
