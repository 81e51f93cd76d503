"""The order of rows."""

from __future__ import annotations

import hashlib
import json

import pytest

from engine.conversations.conversation import Conversation, Message
from engine.conversations.letter_questions import Question
from engine.data.mixture import Mixture, TaskRows, seed_order
from tests.conftest import needs_shared


def task(name: str, size: int, **more: int) -> TaskRows:
    """Rows whose text names them."""
    items = [Conversation((Message("user", f"{name} {i}"),)) for i in range(size)]
    return TaskRows(name=name, items=items, **more)


def first_text(mixture: Mixture, index: int) -> object:
    return mixture.row(index).conversation.messages[0].content


def map_digest(mixture: Mixture) -> str:
    return hashlib.sha256(json.dumps(mixture.places).encode()).hexdigest()


def test_the_reference_runs_20843_rows_stand_in_nanochats_order() -> None:
    """Four tasks of the real sizes are mixed to the row as nanochat mixes them."""
    sizes = (2251, 1119, 7473, 10_000)
    mixture = Mixture([task(f"t{number}", size) for number, size in enumerate(sizes)])

    assert len(mixture) == 20_843
    assert mixture.places[:3] == [(3, 1911), (2, 6890), (3, 9027)]
    assert map_digest(mixture) == (
        "9e61c354c551e89f2c88eb450109e6d8b7be934d023efc9f45157413c00f9453"
    )


@needs_shared
def test_the_small_mixture_is_nanochats() -> None:
    """Order, rows and token counts of the small reference mixture are exact."""
    from engine.data.tasks import build_mixture
    from engine.step.plan import Plan
    from tests.engine.nanochat_reference import data_settings, reference, token_rows

    ref = reference("render_and_eval_mid.json")
    mixture = build_mixture(data_settings())
    rows, number = token_rows()

    assert list(mixture.counts().values()) == ref["mixture"]["lengths"]
    assert [list(pair) for pair in mixture.places[:100]] == (ref["mixture"]["first_100_task_local"])
    assert map_digest(mixture) == ref["mixture"]["sha256_of_json_index_map"]
    lengths = [rows[index].num_tokens + 1 for index in range(number)]
    supervised = [rows[index].num_supervised for index in range(number)]
    assert lengths[:64] == ref["mixture"]["lengths_tokens_first_64"]
    assert supervised[:64] == ref["mixture"]["supervised_first_64"]
    assert sum(lengths) - number == ref["mixture"]["total_tokens_minus1"]
    assert sum(supervised) == ref["mixture"]["total_supervised"]
    for size, expected in ref["padding"].items():
        batch = int(size)
        plan = Plan(
            num_rows=number,
            world_size=1,
            device_batch_size=batch,
            target_examples_per_step=batch,
        )
        micro_batches = [plan.micro_batches(step)[0].rows for step in range(plan.num_iterations)]
        padded = sum(
            len(micro) * (max(lengths[row] for row in micro) - 1) for micro in micro_batches
        )
        assert padded == expected["padded_tokens"]


def test_a_seeded_order_is_the_datasets_librarys() -> None:
    """Place i of the shuffled set holds the same row as after `Dataset.shuffle(seed=42)`."""
    import datasets

    shuffled = datasets.Dataset.from_dict({"row": list(range(100))}).shuffle(seed=42)

    assert seed_order(100) == shuffled["row"][:]


def test_rows_keep_their_task_and_text() -> None:
    """Every row of every task stands in the mixture once, under its task's name."""
    mixture = Mixture([task("a", 3), task("b", 2)])
    found = sorted((mixture.row(i).source, str(first_text(mixture, i))) for i in range(5))

    assert found == [("a", "a 0"), ("a", "a 1"), ("a", "a 2"), ("b", "b 0"), ("b", "b 1")]
    assert [mixture.source_of(i) for i in range(5)] == [mixture.row(i).source for i in range(5)]


def test_epochs_of_a_task_are_that_task_listed_again() -> None:
    """A task with two epochs has each row twice in one epoch of the mixture."""
    mixture = Mixture([task("a", 2, per_epoch=4), task("b", 1)], seed=None)

    assert [first_text(mixture, i) for i in range(5)] == ["a 0", "a 1", "a 0", "a 1", "b 0"]
    assert mixture.counts() == {"a": 4, "b": 1}


def test_ids_name_twins_apart() -> None:
    """The hub's id where there is one, else the hash; equal rows get their occurrence."""
    twin = Conversation((Message("user", "same"),))
    asked = Question(question="q", choices=("a", "b"), letters=("A", "B"), gold="A")
    rows = TaskRows(name="t", items=[twin, twin, twin, asked], hub_ids=["", "", "x", ""])

    assert rows.ids == [
        twin.content_hash(),
        f"{twin.content_hash()}#2",
        "x",
        asked.content_hash(),
    ]


def test_a_question_trains_as_prompt_and_letter() -> None:
    """A question in a mixture becomes the conversation that asks and answers it."""
    asked = Question(question="q", choices=("a", "b"), letters=("A", "B"), gold="B")

    row = Mixture([TaskRows(name="t", items=[asked])]).row(0)

    assert row.conversation == asked.conversation()


def test_skipped_rows_and_notes_are_kept() -> None:
    """What was left out or replaced can be told."""
    skipping = TaskRows(name="a", items=[], skipped=2, note="b is used for a")

    mixture = Mixture([skipping, task("c", 1)])

    assert (mixture.skipped(), mixture.notes()) == ({"a": 2}, ("b is used for a",))


@pytest.mark.parametrize("seed", [1, 43])
def test_another_seed_is_another_order(seed: int) -> None:
    """The seed decides the order of the mixture and of a task."""
    tasks = [task("a", 50)]
    assert Mixture(tasks, seed=seed).places != Mixture(tasks).places
    assert seed_order(50, seed) != seed_order(50)


def test_rows_that_name_their_source_are_told_apart_where_asked() -> None:
    """Validation losses by source; the task's name for rows that name none, and for rare ones."""
    rows = [
        Conversation((Message("user", f"{number}"),), source=source)
        for number, source in enumerate(["code", "chat", "", "rare"] + 29 * ["code", "chat"])
    ]
    tasks = [TaskRows(name="t", items=rows)]
    by_row = Mixture(tasks, seed=None, by_row=True)

    assert [by_row.source_of(i) for i in range(4)] == ["code", "chat", "t", "t"]
    assert by_row.row(0).source == "code"
    assert {Mixture(tasks, seed=None).source_of(i) for i in range(4)} == {"t"}


def test_a_source_a_row_does_not_become_a_loss_a_row() -> None:
    """A field that names every row differently gives a bounded number of losses."""
    rows = [Conversation((Message("user", "x"),), source=f"url {i}") for i in range(5000)]
    rows += [Conversation((Message("user", "x"),), source="common")] * 30
    mixture = Mixture([TaskRows(name="t", items=rows)], seed=None, by_row=True)

    names = {mixture.source_of(i) for i in range(len(mixture))}
    assert len(names) <= 33
    assert {"t", "common"} <= names


def test_where_a_row_is_from_is_no_part_of_what_it_says() -> None:
    """Ids and equality stay those of the text."""
    plain, named = Conversation((Message("user", "x"),)), Conversation((Message("user", "x"),), "a")
    assert plain == named
    assert plain.content_hash() == named.content_hash()
