"""What a run takes from its base where nobody typed it, and what stands in the way."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.checkpoints.nanochat_paths import NanochatCheckpoint
from engine.config import load_recipe
from engine.errors import CheckpointError, ConfigError
from engine.model.nanochat.gpt_config import GPTConfig
from engine.processes import inherit
from engine.step import row_packing
from tests.conftest import examples

SHAPE = GPTConfig(sequence_len=512, vocab_size=64, n_layer=1, n_head=1, n_kv_head=1, n_embd=64)
META: dict[str, Any] = {
    "max_seq_len": 512,
    "device_batch_size": 4,
    "total_batch_size": 2048,
    "user_config": {"embedding_lr": 1.0, "unembedding_lr": 0.03, "matrix_lr": 0.06},
}


def base(meta: dict[str, Any]) -> NanochatCheckpoint:
    return NanochatCheckpoint(
        source="base",
        model_tag="d1",
        step=90,
        model_path=Path("model_000090.pt"),
        meta_path=Path("meta_000090.json"),
        tokenizer_path=Path("tokenizer.pkl"),
        config=SHAPE,
        meta=meta,
    )


def test_sizes_and_rates_come_from_the_base_and_what_was_typed_stays() -> None:
    """Sound: with the factor the base gave its rates (1/16 of a batch: 1/256 of the places)."""
    own = load_recipe("nanochat").replace(matrix_lr=0.5)
    found, notes = inherit.settings(own, base(META), frozenset({"matrix_lr"}))
    assert (found.batch.max_seq_len, found.batch.total_batch_size) == (512, 2048)
    assert found.optim.embedding_lr == pytest.approx(1.0 / 16)
    assert found.optim.matrix_lr == 0.5
    assert any("1 typed for the base, 0.0625 in it" in note for note in notes)
    assert not any(note.startswith("matrix_lr") for note in notes)


def test_the_residual_mix_has_the_bases_rate_and_nanochats_rule_its_constant() -> None:
    """The base gave its scalars the factor too; 0.5 at 1/256 of the batch throws the model away."""
    rates = META | {"user_config": META["user_config"] | {"scalar_lr": 0.4}}
    own = load_recipe("nanochat")
    assert inherit.settings(own, base(rates), frozenset())[0].optim.scalar_lr == 0.4 / 16
    assert inherit.settings(own, base(META), frozenset())[0].optim.scalar_lr == 0.5 / 16
    theirs = own.replace(compat="nanochat")
    assert inherit.settings(theirs, base(rates), frozenset())[0].optim.scalar_lr == 0.5


def test_compat_nanochat_takes_the_rates_as_they_were_typed() -> None:
    own = load_recipe("nanochat").replace(compat="nanochat")
    found, notes = inherit.settings(own, base(META), frozenset())
    assert found.optim.embedding_lr == 1.0
    assert any("leaves the batch factor out" in note for note in notes)


def test_a_meta_file_without_keys_gives_nanochats_defaults_and_says_so() -> None:
    found, notes = inherit.settings(load_recipe("nanochat"), base({}), frozenset())
    assert (found.batch.max_seq_len, found.batch.device_batch_size) == (2048, 32)
    assert found.optim.matrix_lr == 0.02
    assert any("says nothing of max_seq_len, device_batch_size" in note for note in notes)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"device_batch_size": "four"}, "device_batch_size is 'four'"),
        ({"total_batch_size": -1}, "total_batch_size is -1"),
        ({"max_seq_len": 1e9}, "max_seq_len"),
        ({"user_config": {"matrix_lr": "nan"}}, "matrix_lr"),
    ],
)
def test_a_meta_file_with_something_else_is_refused_by_the_key(
    change: dict[str, Any], named: str
) -> None:
    with pytest.raises(CheckpointError, match=named):
        inherit.settings(load_recipe("nanochat"), base(META | change), frozenset())


def test_other_recipes_inherit_nothing() -> None:
    own = load_recipe("nanochat-2025")
    assert inherit.settings(own, base(META), frozenset()) == (own, [])


@examples(60)
@given(
    ranks=st.integers(1, 64),
    size=st.integers(1, 64),
    total=st.integers(1, 4096).map(lambda rows: rows * 512),
)
def test_an_inherited_micro_batch_gives_way_to_the_batch_on_any_number_of_ranks(
    ranks: int, size: int, total: int
) -> None:
    """Where rows of the batch can be dealt to the ranks at all, the run is planned, with the
    largest micro-batch that is no larger than the base's."""
    sizes = {"device_batch_size": size, "total_batch_size": total}
    own = load_recipe("nanochat").replace(gpus=ranks)
    batch = inherit.settings(own, base(META | sizes), frozenset())[0].batch

    def divides(rows: int) -> bool:
        try:
            row_packing.accumulation(
                total_batch_size=total, device_batch_size=rows, max_seq_len=512, world_size=ranks
            )
        except ConfigError:
            return False
        return True

    fitting = [rows for rows in range(1, size + 1) if divides(rows)]
    assert batch.total_batch_size == total
    assert batch.device_batch_size == max(fitting, default=size)


def test_a_changed_micro_batch_is_said_and_a_typed_one_or_nanochats_rule_is_kept() -> None:
    own = load_recipe("nanochat").replace(gpus=2)
    found, notes = inherit.settings(own, base(META), frozenset())
    assert found.batch.device_batch_size == 2
    assert any("device_batch_size 2 instead of 4" in note for note in notes)
    typed = frozenset({"device_batch_size"})
    kept = inherit.settings(own.replace(device_batch_size=4), base(META), typed)[0]
    assert kept.batch.device_batch_size == 4
    theirs = inherit.settings(own.replace(compat="nanochat"), base(META), frozenset())[0]
    assert theirs.batch.device_batch_size == 4
