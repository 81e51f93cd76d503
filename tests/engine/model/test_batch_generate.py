"""Many prompts at once are answered as one at a time, the calculator included."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.tokenizer import OUTPUT_END, OUTPUT_START, PYTHON_END, PYTHON_START
from engine.errors import CheckpointError
from engine.model.batch_generate import generate
from engine.model.calculator import calculate
from engine.model.calculator_calls import CalculatorCalls
from tests.conftest import examples
from tests.engine.model.test_generate import fixed_model, model_of, without_cache
from tests.engine.small import BYTES, tiny_model

START, END = BYTES.special(PYTHON_START), BYTES.special(PYTHON_END)
OUT, OUT_END = BYTES.special(OUTPUT_START), BYTES.special(OUTPUT_END)


@examples(12)
@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=7),
    rows=st.integers(1, 5),
    seed=st.integers(0, 50),
    most=st.integers(1, 20),
)
def test_a_batch_answers_as_full_passes_of_each_prompt_alone(lengths, rows, seed, most):
    """Whatever the lengths, and whichever answers end early: token for token."""
    model = model_of(2, seed=seed)
    chance = random.Random(seed)
    prompts = [[chance.randrange(256) for _ in range(length)] for length in lengths]
    found = generate(model, BYTES, prompts, max_tokens=most, rows=rows, calculator=False)
    assert found == [without_cache(model, prompt, most) for prompt in prompts]


def test_answers_come_in_the_order_of_their_prompts_and_progress_is_told():
    model = model_of(seed=3)
    prompts = [[1, 2, 3], [4] * 30, [5, 6]]
    told: list[tuple[int, int]] = []
    found = generate(
        model, BYTES, prompts, max_tokens=5, rows=2, on_token=lambda d, t: told.append((d, t))
    )
    assert told[-1][0] == 3
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert [tokens for _, tokens in told] == sorted(tokens for _, tokens in told)
    assert found[1] == generate(model, BYTES, prompts[1:2], max_tokens=5, rows=1)[0]


def test_what_the_caller_raises_between_two_tokens_ends_the_work():
    class Enough(Exception):
        pass

    def enough(done: int, tokens: int) -> None:
        if tokens >= 6:
            raise Enough

    with pytest.raises(Enough):
        generate(fixed_model(65), BYTES, [[1, 2], [3]], max_tokens=500, rows=2, on_token=enough)


def test_an_answer_ends_at_the_last_position_of_the_model():
    model = fixed_model(65)
    most = model.config.max_positions
    (answer,) = generate(model, BYTES, [[1] * (most - 3)], max_tokens=50, rows=1)
    # The last token needs no position of its own.
    assert answer == [65] * 4


def test_broken_weights_are_named():
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="NaN"):
        generate(model, BYTES, [[1, 2]], max_tokens=3, rows=1)


@given(st.lists(st.sampled_from([START, END, *b"12+*a "]), max_size=30))
def test_only_the_end_of_a_call_that_has_a_result_forces_tokens(ids):
    calls = CalculatorCalls(BYTES)
    call: list[int] | None = None
    for token in ids:
        forced = calls.feed(token)
        wanted: list[int] = []
        if token == START:
            call = []
        elif token == END:
            result = calculate(bytes(call).decode()) if call else None
            if result is not None:
                wanted = [OUT, *result.encode(), OUT_END]
            call = None
        elif call is not None:
            call.append(token)
        assert forced == wanted


def test_decoded_text_has_special_tokens_by_name_and_bad_bytes_replaced():
    assert BYTES.decode([72, START, 49, END, 255]) == "H<|python_start|>1<|python_end|>�"
