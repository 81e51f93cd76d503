"""`questions=`: letters by the model's own forward, as transformers itself would answer them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import sftui
from engine.control import Command
from engine.data.letter_exam import letter_exam
from engine.errors import DataError
from engine.evaluation.eval_items import EvalResult, load_items
from engine.events import EvalFinished, RunFinished, RunStarted, ValidationFinished
from tests.engine.attach import small_trainer
from tests.engine.attach.small_trainer import LossOfEveryStep, as_logged, sft_trainer
from tests.engine.attach.steered import AtSteps, answers, ask, events, losses
from tests.engine.attach.test_update_sums import on_two_ranks

STEPS = 6


def question_rows(count: int) -> list[dict[str, Any]]:
    """Sums with four answers; the right one's letter goes round."""
    made = []
    for i in range(count):
        right = i % 4
        choices = [str(i + 40 * (place != right) + place) for place in range(4)]
        made.append({"question": f"What is {i} plus {right}?", "choices": choices, "answer": right})
    return made


def question_file(folder: Path, count: int = 30) -> Path:
    path = folder / "Sums.test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in question_rows(count)))
    return path


def letters_of_transformers(model: Any, words: Any, asked: EvalResult, file: Path) -> list[str]:
    """Each question's likeliest letter, by transformers' own template, one prompt at a time."""
    questions = {question.id: question for question in letter_exam(file)["Sums"]}
    model.eval()
    found = []
    for item in asked.item_ids:
        question = questions[item]
        prompt = words.apply_chat_template(
            [{"role": "user", "content": question.prompt()}],
            add_generation_prompt=True,
            tokenize=False,
        )
        ids = words(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, -1]
        letters = [words.convert_tokens_to_ids(letter) for letter in question.letters]
        found.append(question.letters[int(logits[letters].argmax())])
    return found


@pytest.fixture(scope="module")
def asked_and_plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any, Path]:
    """A training that is asked, also in between; its trainer, and the losses of a plain one."""
    folder = tmp_path_factory.mktemp("questions")
    torch.set_num_threads(1)
    plain = LossOfEveryStep()
    beside = sft_trainer(folder / "plain", steps=STEPS, eval_steps=3, callbacks=(plain,))
    beside.train()
    state = torch.get_rng_state()
    attached: Any = None
    plan = {2: lambda run: ask(run, "eval", Command.EVALUATE)}
    act = AtSteps(lambda: attached, plan)
    trainer = sft_trainer(folder / "asked", steps=STEPS, eval_steps=3, callbacks=(act,))
    file = question_file(folder)
    attached = sftui.attach(trainer, questions=file, runs_dir=folder / "runs")
    trainer.train()
    modes = [[m.training for m in each.model.modules()] for each in (beside, trainer)]
    assert modes[0] == modes[1]
    assert torch.equal(torch.get_rng_state(), state)
    return attached, trainer, plain, file


@pytest.mark.slow
def test_asking_changes_nothing_and_measures_the_start_first(asked_and_plain: Any) -> None:
    attached, _, plain, _ = asked_and_plain
    assert as_logged(losses(attached.run)) == plain.losses
    told = events(attached.run, EvalFinished)
    assert [(e.task, e.step, e.total) for e in told] == [
        ("Sums", step, 30) for step in (0, 2, 3, STEPS)
    ]
    assert [e.step for e in events(attached.run, ValidationFinished)] == [0, 2, 3, STEPS]
    assert answers(attached.run)["eval"].outcome == "applied"
    (start,) = events(attached.run, RunStarted)
    assert start.effective["questions"] == "Sums (30)"
    assert events(attached.run, RunFinished)[0].status == "finished"


@pytest.mark.slow
def test_answers_are_those_of_transformers_and_pair_with_each_other(asked_and_plain: Any) -> None:
    attached, trainer, _, file = asked_and_plain
    told = events(attached.run, EvalFinished)
    results = [load_items(attached.run / str(e.items_file)) for e in told]
    last = results[-1]
    words = trainer.processing_class
    assert list(last.predicted) == letters_of_transformers(trainer.model, words, last, file)
    for event, result in zip(told, results, strict=True):
        assert (event.correct, event.total) == (result.correct, result.total)
        assert event.item_set == result.item_set == last.item_set
        assert event.letters == result.letters
        assert (event.chance, event.one_letter) == (0.25, pytest.approx(8 / 30))
    # Items of the start and of the end meet one by one.
    assert results[0].item_ids == last.item_ids
    shown = subprocess.run(
        [sys.executable, "-m", "sftui", "show", "--json", str(attached.run)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    first, *later = json.loads(shown)["stages"][0]["evals"]
    assert (first["task"], first["step"], first["against"]) == ("Sums", 0, {})
    assert {e["against"][to]["kind"] for e in later for to in ("start", "prev")} == {"paired"}
    assert all(e["probability"] is not None for e in later)


@pytest.mark.slow
def test_a_trainer_without_an_evaluation_set_is_asked_all_the_same(tmp_path: Path) -> None:
    attached: Any = None
    act = AtSteps(lambda: attached, {1: lambda run: ask(run, "eval", Command.EVALUATE)})
    trainer = sft_trainer(tmp_path / "out", steps=2, eval_rows=None, callbacks=(act,))
    rows = {"One": question_rows(5), "Two": question_rows(9)}
    attached = sftui.attach(trainer, questions=rows, question_limit=7)
    trainer.train()
    assert answers(attached.run)["eval"].outcome == "applied"
    told = {(e.task, e.step, e.total) for e in events(attached.run, EvalFinished)}
    assert told == {(t, s, n) for t, n in (("One", 5), ("Two", 7)) for s in (0, 1, 2)}


def test_what_cannot_be_asked_is_one_warning_and_a_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    attached: Any = None
    act = AtSteps(lambda: attached, {1: lambda run: ask(run, "eval", Command.EVALUATE)})
    trainer = sft_trainer(tmp_path / "out", steps=2, eval_rows=None, callbacks=(act,))
    attached = sftui.attach(trainer, questions=tmp_path / "none.jsonl")
    trainer.train()
    found = answers(attached.run)["eval"]
    assert found.outcome == "rejected"
    assert "none.jsonl" in found.reason
    assert "does not exist" in found.reason
    assert capfd.readouterr().err.count("no questions are asked") == 1
    assert events(attached.run, RunFinished)[0].status == "finished"


def loop_of_two_ranks(number: int, folder: Path) -> Any:
    """Ranks share the questions of a loop; each half is asked once."""
    words = small_trainer.tokenizer()
    model = small_trainer.model(words)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    calls = 0

    def forward(ids: Any) -> Any:
        nonlocal calls
        calls += len(ids)
        assert not model.training
        return model(input_ids=ids)

    state = torch.get_rng_state()
    run = sftui.attach_loop(
        optimizer,
        updates=2,
        model=model,
        questions=question_file(folder) if number == 0 else folder / "Sums.test.jsonl",
        tokenizer=words,
        forward=forward,
        runs_dir=folder / "runs",
    )
    for _ in range(2):
        optimizer.step()
        run.step(1.0)
    run.finish()
    return [calls, model.training, torch.equal(state, torch.get_rng_state()), str(run.run)]


def test_ranks_of_a_loop_share_the_questions(tmp_path: Path) -> None:
    question_file(tmp_path)
    told = on_two_ranks(tmp_path, loop_of_two_ranks)
    # Thirty questions before the first update and behind the last, half of them on each rank.
    assert [each[:3] for each in told] == [[30, True, True]] * 2
    found = events(Path(told[0][3]), EvalFinished)
    assert [(e.step, e.total) for e in found] == [(0, 30), (2, 30)]
    alone = small_trainer.tokenizer()
    (first, _) = (load_items(Path(told[0][3]) / str(e.items_file)) for e in found)
    model = small_trainer.model(alone)
    wanted = letters_of_transformers(model, alone, first, tmp_path / "Sums.test.jsonl")
    assert list(first.predicted) == wanted


def test_a_limit_is_a_prefix_of_the_exam_whoever_asks(tmp_path: Path) -> None:
    file = question_file(tmp_path, 40)
    whole = [question.id for question in letter_exam(file)["Sums"]]
    for limit in (1, 7, 40, 100):
        assert [q.id for q in letter_exam(file, limit=limit)["Sums"]] == whole[:limit]
    assert [q.id for q in letter_exam({"Sums": question_rows(40)})["Sums"]] == whole


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([{"messages": [{"role": "user", "content": "Hi"}]}], "holds conversations"),
        ([], "there are none"),
        ({}, "there are no questions"),
        ({"GSM8K": [{"question": "1+1?", "answer": "#### 2"}]}, "written out"),
        ("nowhere.csv", "does not exist"),
    ],
)
def test_what_is_no_letter_question_is_said(source: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        letter_exam(source)
