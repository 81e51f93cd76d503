"""What the records of nanochat's newest generation are worth: named mistakes, and who notices.

Each mistake is made on purpose, in the running program alone; the test that compares with
nanochat's records must then fail by an assertion, which the same test without it does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.model.nanochat import gpt, parameter_groups, parts
from engine.optimizer import kernels, lr_schedule
from engine.step import row_packing
from tests.conftest import needs_shared
from tests.engine import nanochat2026_reference, test_parity_2026
from tests.engine.evaluation import test_nanochat_2026
from tests.engine.model.nanochat import test_parts
from tests.engine.step import test_row_packing

pytestmark = [needs_shared, pytest.mark.torture, pytest.mark.timeout(600)]

Patch = pytest.MonkeyPatch


def zoo() -> None:
    """Logits, loss and gradients of an untrained model with short windows."""
    test_parts.test_models_of_odd_shapes_give_nanochats_logits_and_gradients(
        "d5_mqa_short", "padded"
    )


def letters() -> None:
    """126 letters picked before and after nanochat's run."""
    test_nanochat_2026.model_of.cache_clear()
    test_nanochat_2026.test_letters_are_picked_as_nanochat_picks_them("sft")


def rows() -> None:
    """Every packed row of run 1."""
    test_row_packing.test_every_recorded_row_is_drawn_in_nanochats_order("sft_1rank")


def rates() -> None:
    """Progress, multiplier, rates and momentum of every update of run 1."""
    nanochat2026_reference.plans.cache_clear()
    test_row_packing.test_progress_rates_and_momentum_are_nanochats("sft_1rank")


def updates() -> None:
    """Two updates of run 1: losses, gradients, parameters."""
    nanochat2026_reference.plans.cache_clear()
    test_parity_2026.test_either_layout_and_two_ranks_begin_as_nanochat_did("sft_1rank", "padded")


def another_gain(patch: Patch) -> None:
    """1.15, as nanochat had in early March, in place of 1.2."""
    patch.setattr(parts, "NEWEST", replace(parts.NEWEST, qk_gain=1.15))


def a_window_without_its_own_token(patch: Patch) -> None:
    """w keys in place of w + 1."""
    right = parts.windows
    patch.setattr(parts, "windows", lambda *shape: tuple(w - 1 for w in right(*shape)))


def a_third_of_the_context(patch: Patch) -> None:
    """Short windows as they were before 14 March: a third, in place of a quarter."""

    def wrong(pattern: str, n_layer: int, sequence_len: int) -> tuple[int, ...]:
        return right(pattern, n_layer, -(-sequence_len * 4 // 3))

    right = parts.windows
    patch.setattr(parts, "windows", wrong)


def a_smear_that_runs_on(patch: Patch) -> None:
    """A token takes in the smeared one before it, not the embedding alone."""
    right = gpt.GPT._smeared

    def wrong(self: gpt.GPT, x: torch.Tensor, *others: Any) -> torch.Tensor:
        return right(self, right(self, x, *others), *others)

    patch.setattr(gpt.GPT, "_smeared", wrong)


def momentum_from_the_bases_end(patch: Patch) -> None:
    """Momentum that begins at 0.90, where the base run ended, in place of 0.85."""
    patch.setattr(lr_schedule, "MOMENTUM_FROM", 0.90)


def progress_that_does_not_look_ahead(patch: Patch) -> None:
    """The multiplier by what was trained, without the micro-batch drawn ahead."""
    right = lr_schedule.ProgressSchedule.multiplier
    patch.setattr(
        lr_schedule.ProgressSchedule,
        "multiplier",
        lambda self, step: right(self, max(step - 1, 0)),
    )


def a_smaller_buffer(patch: Patch) -> None:
    """99 conversations to choose from, in place of 100."""
    patch.setattr(row_packing, "BUFFER", 99)


def the_latest_of_equals(patch: Patch) -> None:
    """Of conversations of one length the latest, in place of the earliest."""
    backwards = SimpleNamespace(count=lambda: itertools.count(0, -1))
    patch.setattr(row_packing, "itertools", backwards)


def another_gate_rate(patch: Patch) -> None:
    """0.204 for smear and backout, in place of 0.2."""
    patch.setattr(parameter_groups, "GATE_LR", 0.204)


def a_polynomial_twice(patch: Patch) -> None:
    """The Polar Express with its second round in place of its last."""
    five = kernels.POLAR_EXPRESS
    patch.setattr(kernels, "POLAR_EXPRESS", (*five[:4], five[1]))


@dataclass(frozen=True)
class Mistake:
    make: Callable[[Patch], None]
    noticed_by: Callable[[], None]


MISTAKES = {
    mistake.make.__name__: mistake
    for mistake in (
        Mistake(another_gain, zoo),
        Mistake(a_window_without_its_own_token, zoo),
        Mistake(a_third_of_the_context, updates),
        Mistake(a_smear_that_runs_on, letters),
        Mistake(momentum_from_the_bases_end, rates),
        Mistake(progress_that_does_not_look_ahead, rates),
        Mistake(a_smaller_buffer, rows),
        Mistake(the_latest_of_equals, rows),
        Mistake(another_gate_rate, updates),
        Mistake(a_polynomial_twice, updates),
    )
}


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """What a mistake computed is not taken for the truth by later tests."""
    yield
    nanochat2026_reference.plans.cache_clear()
    test_nanochat_2026.model_of.cache_clear()


@pytest.mark.parametrize("name", MISTAKES)
def test_the_records_notice_a_mistake(name: str, monkeypatch: Patch) -> None:
    mistake = MISTAKES[name]
    mistake.make(monkeypatch)
    with pytest.raises(AssertionError) as found:
        mistake.noticed_by()
    print(f"\n{name}: {mistake.noticed_by.__name__} fails: {str(found.value)[:160]!r}")


@pytest.mark.parametrize("golden", [zoo, letters, rows, rates, updates])
def test_without_a_mistake_every_record_is_met(golden: Callable[[], None]) -> None:
    golden()
