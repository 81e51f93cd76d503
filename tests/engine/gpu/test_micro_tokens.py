"""The launcher uses the card: large micro-steps where there is room, recomputing where needed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import fit
from engine.config import RunConfig, load_recipe
from engine.errors import ConfigError
from engine.files.sizes import GIB
from engine.step import run_plan
from tests.fake_cuda import D16

LOW = load_recipe("d16-low-memory")


@given(gib=st.floats(4, 200))
def test_auto_takes_what_the_card_has_and_no_more(gib: float) -> None:
    """The chosen size fits, unless it is the longest row; one more would not, or helps nothing."""
    most = run_plan.packed_tokens(LOW, "cuda", D16, gib * GIB)
    plan = run_plan.memory_plan(LOW, D16, "cuda", gib * GIB)
    assert plan.tokens == most
    assert LOW.data.max_tokens <= most <= 16 * LOW.data.max_tokens
    if most > LOW.data.max_tokens:
        assert fit.needed(plan) <= gib * GIB
    if most < 16 * LOW.data.max_tokens:
        more = dataclasses.replace(plan, tokens=most + 1)
        assert fit.needed(more) > gib * GIB


def test_a_typed_size_is_taken_everywhere() -> None:
    """On a CPU too; and the estimate follows it."""
    config = LOW.replace(micro_tokens=6000)
    for kind in ("cuda", "cpu"):
        assert run_plan.packed_tokens(config, kind, D16, 80 * GIB) == 6000
        assert run_plan.memory_plan(config, D16, kind, 80 * GIB).tokens == 6000
    assert run_plan.packed_tokens(LOW, "cpu") == 1000
    assert run_plan.packed_tokens(LOW, "cuda") == 4096
    with pytest.raises(ConfigError, match="micro_tokens is -1"):
        RunConfig().replace(micro_tokens=-1).check()


@pytest.mark.parametrize(
    ("gib", "layout", "typed", "switched"),
    [
        (24, "packed", (), False),
        (7, "packed", (), False),  # micro-steps of one row fit: cheaper than recomputing
        (6, "packed", (), True),
        (7, "padded", (), True),  # rows of a padded micro-batch are the person's wish
        (6, "packed", ("activation_checkpointing",), False),
        (4, "packed", (), False),  # nothing makes it fit: `fit` says what would
    ],
)
def test_checkpointing_is_switched_on_where_only_that_makes_it_fit(
    gib: float, layout: str, typed: tuple[str, ...], switched: bool
) -> None:
    """And it is said, with both numbers; what was typed is never replaced."""
    config, note = run_plan.with_checkpointing_if_needed(
        LOW.replace(layout=layout), D16, "cuda", gib * GIB, frozenset(typed)
    )
    assert config.runtime.activation_checkpointing == switched == bool(note)
    if switched:
        assert f"the card has {gib:.1f}" in note
        assert fit.needed(run_plan.memory_plan(config, D16, "cuda", gib * GIB)) <= gib * GIB
    assert (
        run_plan.with_checkpointing_if_needed(config, D16, "cpu", gib * GIB, frozenset())[1] == ""
    )


def test_the_size_of_micro_steps_does_not_change_the_gradient() -> None:
    """A step's rows in many small micro-steps or in one: equal up to rounding."""
    from engine.session import LossModule
    from engine.step.dataloader import StepLoader, TokenRows
    from engine.step.plan import Plan
    from tests.engine.small import BYTES, ListSource, tiny_model

    rows = [("a", "x" * (i % 7), "answer " * (i % 5 + 1)) for i in range(16)]
    plan = Plan(
        num_rows=16,
        world_size=1,
        device_batch_size=2,
        target_examples_per_step=16,
        num_epochs=1,
        requested_iterations=2,
    )
    gradients = []
    for most in (64, 150, 10_000):
        loader = StepLoader(
            TokenRows(ListSource(rows), BYTES, 64), plan, pad_id=0, max_tokens=most, prefetch=False
        )
        model = tiny_model()
        for micro in loader.load(0).micro_steps:
            LossModule(model)(micro)[0].backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[2], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(gradients[1], gradients[2], atol=1e-6, rtol=1e-4)
