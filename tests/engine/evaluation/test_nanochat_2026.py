"""The whole evaluation against nanochat's newest commit: what it picked, wrote and scored."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

from engine.checkpoints import nanochat_io, nanochat_paths
from engine.conversations.tokenizer import Tokenizer
from engine.data.entries import DataEntry, DataSettings, ExamLimits
from engine.data.tasks import load_questions
from engine.errors import UsageError
from engine.evaluation import exam
from engine.evaluation.eval_items import EvalResult
from engine.model.batch_generate import generate
from engine.model.nanochat.gpt import GPT
from engine.step.run_plan import CHATCORE
from sftui.statistics.chatcore import chatcore
from tests.conftest import SHARED, needs_shared

NEW = SHARED / "nanochat2026"


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.load(NEW / "base" / "tokenizer" / "tokenizer.pkl")


@cache
def model_of(source: str) -> GPT:
    config, state = nanochat_io.load_weights(
        nanochat_paths.find_checkpoint(source, base=NEW / "base")
    )
    return GPT.from_state(config, state)


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((NEW / "ref" / f"{name}.json").read_text())
    return found


def answered(source: str, tasks: tuple[str, ...], limits: ExamLimits) -> list[EvalResult]:
    """The results of `sftui eval`, without its process."""
    folders = {"HumanEval": NEW / "data"}
    entries = tuple(
        DataEntry(
            name=task,
            file=folders.get(task, SHARED / "nanochat" / "data") / f"{task}.test.jsonl",
            split="test",
        )
        for task in tasks
    )
    model = model_of(source)
    prepared = {
        task: exam.prepare(
            tokenizer(), task, asked, max_tokens=2048, vocab_size=model.config.vocab_size
        )
        for task, asked in load_questions(DataSettings(questions=entries), limits).items()
    }
    try:
        sandbox = exam.sandbox_for(prepared, unsafe=False)
    except UsageError as error:
        pytest.skip(str(error))
    return [
        exam.answer_task(model, tokenizer(), each, sandbox=sandbox) for each in prepared.values()
    ]


@needs_shared
@pytest.mark.parametrize("source", ["base", "sft"])
@pytest.mark.parametrize(("calculator", "key"), [(True, "greedy_cache"), (False, "greedy_full")])
@pytest.mark.parametrize("rows", [1, 4])
def test_batches_write_what_nanochat_writes(source, calculator, key, rows):
    """After the training two of the four answers call the calculator and go on with its result."""
    wanted = recorded(f"probe_{source}")["generate"]
    found = generate(
        model_of(source),
        tokenizer(),
        [each["prompt"] for each in wanted],
        max_tokens=32,
        rows=rows,
        calculator=calculator,
    )
    assert found == [each[key] for each in wanted]


@needs_shared
@pytest.mark.parametrize("source", ["base", "sft"])
def test_letters_are_picked_as_nanochat_picks_them(source):
    wanted = recorded(f"probe_{source}")["letters"]
    limits = ExamLimits(letters=48)
    for result in answered(source, tuple(wanted), limits):
        items = wanted[result.task]["items"]
        assert list(result.predicted) == [item["pick"] for item in items]
        assert list(result.gold) == [item["gold"] for item in items]
        assert result.correct == wanted[result.task]["correct"]


@needs_shared
def test_a_run_of_nanochat_evaluates_to_the_same_answers():
    """The last ChatCORE of its run, question by question: picks, texts, right or wrong."""
    last = [each for each in recorded("sft_1rank")["evaluation"] if each["update"] == 50]
    found = answered("sft", CHATCORE, ExamLimits(letters=32, generated=2))
    assert [result.task for result in found] == [each["task"] for each in last]
    for result, each in zip(found, last, strict=True):
        (wanted,) = each["answers_by_rank"]
        told = result.answers or result.predicted
        for ours, (theirs, right), ours_right in zip(told, wanted, result.right(), strict=True):
            # Of a long answer its beginning is recorded.
            assert ours == theirs or (len(theirs) >= 80 and ours.startswith(theirs))
            assert bool(right) == bool(ours_right)
        assert result.accuracy == each["accuracy"]


@needs_shared
@pytest.mark.slow
def test_chatcore_is_the_number_of_nanochats_own_evaluation():
    log = (NEW / "logs" / "chat_eval.log").read_text(errors="replace")
    counts = [tuple(map(int, found)) for found in re.findall(r"Final: (\d+)/(\d+)", log)]
    found = answered("sft", CHATCORE, ExamLimits(letters=6, generated=6))
    assert [(result.correct, result.total) for result in found] == counts
    score = chatcore({result.task: (result.correct, result.total) for result in found})[0]
    assert f"{score.value:.4f}" == re.search(r"ChatCORE metric: (-?[\d.]+)", log)[1]
