"""Written answers: the same on any number of ranks, kept beside their verdicts, in any language."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.problems import Problem, parse_program
from engine.errors import UsageError
from engine.evaluation import eval_items, generated
from engine.evaluation.generated import evaluate_generated, prepare_problems
from engine.sandbox import program_sandbox
from tests.conftest import examples
from tests.engine.conversations.test_problems import ROW
from tests.engine.small import BYTES, tiny_model


def numbers(count: int) -> list[Problem]:
    return [
        Problem(kind="number", prompt=f"What is {i} and {i}?", gold=str(2 * i), id=str(i))
        for i in range(count)
    ]


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(generated, "MAX_NEW_TOKENS", 6)


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_any_number_of_ranks_gives_the_same_result(short, world_size):
    model = tiny_model()
    prepared = prepare_problems(BYTES, "GSM8K", numbers(5))
    whole = evaluate_generated(model, BYTES, prepared)
    tables: list[torch.Tensor] = []

    def keep(table: torch.Tensor) -> torch.Tensor:
        tables.append(table.clone())
        # Of one rank alone some rows are empty: any result will do here.
        return torch.from_numpy(np.frombuffer(b'["",""]', np.uint8).copy()).repeat(5, 1)

    for rank in range(world_size):
        evaluate_generated(
            model, BYTES, prepared, rank=rank, world_size=world_size, all_reduce_sum=keep
        )
    found = evaluate_generated(
        model,
        BYTES,
        prepared,
        rank=world_size,  # of its own it has nothing
        world_size=world_size + 5,
        all_reduce_sum=lambda _: torch.stack(tables).sum(0).to(torch.uint8),
    )
    assert found.answers == whole.answers
    assert found.predicted == whole.predicted
    assert found.item_set == whole.item_set


def test_a_result_is_kept_with_its_answers_and_read_back(short, tmp_path):
    prepared = prepare_problems(BYTES, "GSM8K", numbers(3))
    result = evaluate_generated(tiny_model(), BYTES, prepared)
    assert (result.chance, result.letters, result.by_letter) == (0.0, {}, False)
    assert np.isnan(result.gold_probabilities()).all()
    eval_items.save_items(tmp_path / "x.npz", result)
    back = eval_items.load_items(tmp_path / "x.npz")
    assert back.answers == result.answers
    assert back.item_letters == result.item_letters
    assert not back.by_letter
    assert back.predicted == result.predicted
    assert (back.right() == result.right()).all()


@examples(60)
@given(st.text(max_size=3000), st.text(max_size=300))
def test_any_answer_fits_its_place_and_keeps_its_beginning(answer, predicted):
    import json

    packed = generated._packed(predicted, answer)
    assert len(packed) <= generated._ANSWER_BYTES
    found, kept = json.loads(packed.decode())
    clean = answer.encode("utf-8", "replace").decode()
    assert clean.startswith(kept)
    assert len(kept) >= min(len(answer), 300)
    assert predicted.encode("utf-8", "replace").decode().startswith(found)


def test_programs_are_run_in_the_sandbox_and_their_end_is_what_they_come_to(monkeypatch):
    try:
        sandbox = program_sandbox.open_sandbox()
    except UsageError as error:
        pytest.skip(str(error))
    answers = [
        "def half(x):\n    return x / 2",
        "def half(x):\n    return x",
        "import sys; sys.exit()",
        "",
    ]
    problems = [parse_program({**ROW, "task_id": str(i)}) for i in range(len(answers))]
    monkeypatch.setattr(
        generated, "generate", lambda *a, **k: [list(text.encode()) for text in answers]
    )
    prepared = prepare_problems(BYTES, "HumanEval", problems)
    found = evaluate_generated(tiny_model(), BYTES, prepared, sandbox=sandbox)
    assert found.right().tolist() == [True, False, False, False]
    assert found.predicted[0] == "passed"
    assert found.predicted[1].startswith("AssertionError")
    assert found.predicted[2].startswith("SystemExit")
    assert found.predicted[3].startswith("NameError")
    assert found.answers == tuple(answers)
