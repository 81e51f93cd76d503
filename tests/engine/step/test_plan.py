"""Which rows a step takes, and what a token of it weighs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.step.plan import MicroBatch, Plan, ValidationPlan, token_weights, validation_rows


def make(
    num_rows: int, world_size: int, batch: int, accumulation: int, *, iterations: int = 1000
) -> Plan:
    return Plan(
        num_rows=num_rows,
        world_size=world_size,
        device_batch_size=batch,
        target_examples_per_step=batch * world_size * accumulation,
        requested_iterations=iterations,
    )


def nanochats_loader(num_rows: int, rank: int, world_size: int, batch: int) -> Iterator[list[int]]:
    """What the plan must equal, written as the endless loop it stands for."""
    micro: list[int] = []
    while True:
        for row in range(rank, num_rows, world_size):
            micro.append(row)
            if len(micro) == batch:
                yield micro
                micro = []


def test_two_ranks_pair_other_rows_than_one() -> None:
    """Rank r visits every W-th row, so micro-batches depend on the number of ranks."""
    assert make(100, 1, 2, 2).micro_batches(0) == [
        MicroBatch(0, 0, (0, 1)),
        MicroBatch(0, 1, (2, 3)),
    ]
    assert make(100, 2, 2, 2).micro_batches(0) == [
        MicroBatch(0, 0, (0, 2)),
        MicroBatch(1, 0, (1, 3)),
        MicroBatch(0, 1, (4, 6)),
        MicroBatch(1, 1, (5, 7)),
    ]


@given(
    world_size=st.integers(1, 5),
    batch=st.integers(1, 5),
    accumulation=st.integers(1, 4),
    extra_rows=st.integers(0, 40),
)
def test_every_step_is_nanochats_loader_at_that_place(
    world_size: int, batch: int, accumulation: int, extra_rows: int
) -> None:
    """Without any state: partial batches carried over epochs, rows no multiple of the ranks."""
    num_rows = world_size + extra_rows
    plan = make(num_rows, world_size, batch, accumulation)
    loaders = [nanochats_loader(num_rows, rank, world_size, batch) for rank in range(world_size)]
    for step in range(12):
        expected = {
            (rank, index): tuple(next(loaders[rank]))
            for index, rank in itertools.product(range(accumulation), range(world_size))
        }
        found = {(m.rank, m.index): m.rows for m in plan.micro_batches(step)}
        assert found == expected


def test_iterations_are_whole_steps_of_an_epoch_times_epochs() -> None:
    """The remainder of an epoch is not counted, and the last iteration makes no update."""
    plan = Plan(
        num_rows=1207, world_size=1, device_batch_size=2, target_examples_per_step=16, num_epochs=3
    )
    assert (plan.num_iterations, plan.num_updates, plan.grad_accum_steps) == (225, 224, 8)
    assert plan.epoch_at(0) == 0.0
    assert plan.epoch_at(151) == pytest.approx(151 * 16 / 1207)
    assert make(1207, 1, 2, 8, iterations=7).num_iterations == 7


@pytest.mark.parametrize(
    ("target", "batch", "ranks", "words"),
    [
        (32, 3, 2, "--target-examples-per-step 30 or 36, or --device-batch-size 2"),
        (2, 4, 1, "--target-examples-per-step 4, or --device-batch-size 2"),
        (9, 2, 2, "--target-examples-per-step 8 or 12."),
        (32, 5, 1, "--target-examples-per-step 30 or 35, or --device-batch-size 4"),
    ],
)
def test_a_batch_that_does_not_divide_names_the_nearest_that_do(
    target: int, batch: int, ranks: int, words: str
) -> None:
    """The message can be typed back, and what it names works."""
    with pytest.raises(ConfigError) as caught:
        Plan(
            num_rows=100,
            world_size=ranks,
            device_batch_size=batch,
            target_examples_per_step=target,
        )
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_rows": 0}, "num_rows is 0"),
        ({"device_batch_size": 0}, "device_batch_size is 0"),
        ({"world_size": 0}, "world_size is 0"),
        ({"target_examples_per_step": 0}, "target_examples_per_step is 0"),
        ({"num_rows": 1}, "1 training rows for 2 ranks"),
        ({"num_epochs": 0}, "num_epochs is 0"),
        ({"requested_iterations": 0}, "num_iterations is 0"),
        ({"requested_iterations": -2}, "num_iterations is -2"),
        ({"num_rows": 3}, "3 rows, fewer than one step's 4"),
    ],
)
def test_numbers_that_cannot_work_are_refused(change: dict[str, int], words: str) -> None:
    """Every fault is found when the plan is made, not at the step that meets it."""
    numbers = {
        "num_rows": 100,
        "world_size": 2,
        "device_batch_size": 2,
        "target_examples_per_step": 4,
    }
    with pytest.raises(ConfigError) as caught:
        Plan(**{**numbers, **change})
    assert words in str(caught.value)


@given(
    world_size=st.integers(1, 4),
    batch=st.integers(1, 4),
    eval_steps=st.integers(1, 6),
    num_rows=st.integers(1, 120),
)
def test_validation_takes_nanochats_first_micro_batches_and_no_row_twice(
    world_size: int, batch: int, eval_steps: int, num_rows: int
) -> None:
    """With enough rows it is nanochat's validation; with fewer it ends instead of repeating."""
    plan = ValidationPlan(
        num_rows=num_rows,
        world_size=world_size,
        device_batch_size=batch,
        eval_steps=eval_steps,
    )
    found = plan.micro_batches()
    rows = [row for micro in found for row in micro.rows]
    assert sorted(rows) == list(range(min(num_rows, validation_rows(plan))))
    assert all(micro.rows for micro in found)
    if num_rows >= validation_rows(plan):
        for rank in range(world_size):
            loader = nanochats_loader(num_rows, rank, world_size, batch)
            mine = [list(micro.rows) for micro in found if micro.rank == rank]
            assert mine == list(itertools.islice(loader, eval_steps))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=32))
def test_weights_add_up_to_one_loss(supervised: list[int]) -> None:
    """Micro-batches weigh the same, or tokens do; an empty micro-batch weighs nothing."""
    by_batch = token_weights("microbatch", supervised)
    by_token = token_weights("tokens", supervised)
    filled = sum(count > 0 for count in supervised)

    shares = [weight * count for weight, count in zip(by_batch, supervised, strict=True)]
    assert sum(shares) == pytest.approx(filled / len(supervised))
    if filled:
        used = [w for w, count in zip(by_token, supervised, strict=True) if count]
        assert set(used) == {1 / sum(supervised)}
    assert all(
        weight == 0
        for weights in (by_batch, by_token)
        for weight, count in zip(weights, supervised, strict=True)
        if not count
    )
