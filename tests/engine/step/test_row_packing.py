"""Best-fit rows: nanochat's to the row, and what a sound plan promises."""

import hashlib
import itertools
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import RunConfig
from engine.errors import ConfigError, RunDirError
from engine.step import row_packing, run_plan
from engine.step.row_packing import plan_rows, plan_validation
from tests import memory
from tests.conftest import examples, needs_shared
from tests.engine import nanochat2026_reference as reference_runs
from tests.engine.small import tiny_model


def digest(packs: row_packing.Packs, rows: Any, width: int, bos: int) -> str:
    """As the records name a micro-batch: of inputs and targets as int32, padding included."""
    inputs = np.full((len(packs), width), bos, np.int32)
    targets = np.full((len(packs), width), -1, np.int32)
    for line, pack in enumerate(packs):
        ids = np.concatenate([rows[row].ids for row in pack])
        mask = np.concatenate([rows[row].mask for row in pack])
        inputs[line, : min(len(ids), width)] = ids[:width]
        targets[line, : len(ids) - 1] = np.where(mask[1:], ids[1:], -1)
    return hashlib.sha256(inputs.tobytes() + targets.tobytes()).hexdigest()[:16]


@needs_shared
@pytest.mark.parametrize("name", ["sft_1rank", "sft_2rank", "sft_2rank_epoch_mode"])
def test_every_recorded_row_is_drawn_in_nanochats_order(name: str) -> None:
    """Rows, places used, supervised counts, shas, consumed and epoch of every micro-batch."""
    record = reference_runs.reference(f"{name}_packing")
    (lengths, held_out), both = reference_runs.lengths(), reference_runs.token_rows()
    assert sum(length > 513 for length in lengths) == record["never_fit"]
    bos = reference_runs.tokenizer().special("<|bos|>")
    for rank in record["ranks"]:
        for part, sizes, rows in zip(
            ("train", "validation"), (lengths, held_out), both, strict=True
        ):
            loader = row_packing.draws(
                sizes, rank=rank["rank"], world_size=record["world_size"], rows=2, places=513
            )
            for wanted, found in zip(rank[part], loader, strict=False):
                assert [list(pack) for pack in found.packs] == wanted["rows"]
                assert digest(found.packs, rows, 512, bos) == wanted["sha"]
                supervised = sum(rows[row].num_supervised for pack in found.packs for row in pack)
                assert supervised == wanted["supervised"]
                if part == "train":
                    assert list(found.used) == wanted["used"]
                    assert found.consumed == wanted["consumed_after"]
                    assert found.epoch == wanted["epoch_after"]


@needs_shared
@pytest.mark.parametrize("name", ["sft_1rank", "sft_2rank", "sft_1rank_fresh"])
def test_progress_rates_and_momentum_are_nanochats(name: str) -> None:
    record = reference_runs.reference(name)
    plan, _ = reference_runs.plans(name)
    schedule = plan.schedule(
        warmup_ratio=float(record["flags"].get("warmup-ratio", 0)),
        warmdown_ratio=0.5,
        final_lr_frac=0.0,
    )
    assert plan.num_updates == len(record["updates"])
    for step, wanted in enumerate(record["updates"]):
        assert plan.progress[step].tolist() == wanted["progress"]
        assert [schedule.multiplier(step)] * plan.world_size == wanted["multiplier"]
        assert schedule.momentum(step) == pytest.approx(wanted["muon_momentum"], rel=1e-12)
    assert not plan.ranks_differ


@needs_shared
def test_nanochats_own_rates_by_rank_are_recognised() -> None:
    """Run 3: its ranks count alone; the plan says so, and all ranks get the mean."""
    record = reference_runs.reference("sft_2rank_epoch_mode")
    plan, _ = reference_runs.plans("sft_2rank_epoch_mode")
    assert plan.ranks_differ
    for step, wanted in enumerate(record["updates"]):
        assert plan.progress[step].tolist() == wanted["progress"]
    schedule = plan.schedule(warmup_ratio=0.05, warmdown_ratio=0.5, final_lr_frac=0.0)
    assert record["updates"][-1]["multiplier"][0] != schedule.multiplier(plan.num_updates - 1)


@needs_shared
def test_the_records_notice_another_buffer_or_another_warm_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = reference_runs.reference("sft_1rank_packing")["ranks"][0]["train"]
    lengths, _ = reference_runs.lengths()
    monkeypatch.setattr(row_packing, "BUFFER", 99)
    loader = row_packing.draws(lengths, rank=0, world_size=1, rows=2, places=513)
    found = [[list(pack) for pack in draw.packs] for draw in itertools.islice(loader, 50)]
    assert found != [wanted["rows"] for wanted in record[:50]]
    plan, _ = reference_runs.plans("sft_1rank")
    updates = reference_runs.reference("sft_1rank")["updates"]
    for changed in ({"warmdown_ratio": 0.49}, {"warmup_ratio": 0.06}, {"final_lr_frac": 0.01}):
        options = {"warmup_ratio": 0.05, "warmdown_ratio": 0.5, "final_lr_frac": 0.0} | changed
        schedule = plan.schedule(**options)
        assert any(
            schedule.multiplier(step) != wanted["multiplier"][0]
            for step, wanted in enumerate(updates)
        )


SIZES = st.lists(st.integers(2, 90), min_size=4, max_size=300)


@examples(60)
@given(
    lengths=SIZES, world_size=st.integers(1, 4), rows=st.integers(1, 3), per_step=st.integers(1, 3)
)
def test_a_sound_plan_trains_on_every_conversation_and_overfills_no_row(
    lengths: list[int], world_size: int, rows: int, per_step: int
) -> None:
    """Whatever the lengths, longer than a row too: never stuck, rates fall to above zero."""
    plan = plan_rows(
        lengths,
        world_size=world_size,
        device_batch_size=rows,
        max_seq_len=40,
        total_batch_size=40 * rows * world_size * per_step,
    )
    seen: set[int] = set()
    for step in range(plan.num_updates):
        micro_batches = plan.micro_batches(step)
        assert [(each.index, each.rank) for each in micro_batches] == [
            (index, rank) for index in range(per_step) for rank in range(world_size)
        ]
        for each in micro_batches:
            assert each.packs is not None
            assert all(sum(min(lengths[row], 41) for row in pack) <= 41 for pack in each.packs)
            assert all(row % world_size == each.rank for row in each.rows if world_size == 1)
            seen.update(each.rows)
    assert plan.too_long == sum(length > 41 for length in lengths)
    # All but what was left of the last, unfinished update.
    assert len(seen) >= 1
    schedule = plan.schedule(warmup_ratio=0.1, warmdown_ratio=0.5, final_lr_frac=0.0)
    multipliers = [schedule.multiplier(step) for step in range(plan.num_updates)]
    assert all(0 < each <= 1 for each in multipliers)


def test_a_run_tells_how_many_conversations_a_step_takes() -> None:
    """`target_examples_per_step` says nothing of it."""
    plan = plan_rows(
        [7, 12, 30] * 40, world_size=2, device_batch_size=2, max_seq_len=40, total_batch_size=320
    )
    config = RunConfig().replace(packing="best-fit", dtype="bfloat16")
    told = run_plan.effective_settings(config, tiny_model().config, plan, {}, device_type="cpu")
    drawn = [each.rows for step in range(plan.num_updates) for each in plan.micro_batches(step)]
    found = sum(map(len, drawn)) / plan.num_updates
    assert told["conversations_per_update"] == pytest.approx(found)
    assert told["precision"] == "bfloat16"


@examples(40)
@given(lengths=SIZES, world_size=st.integers(1, 3))
def test_a_validation_counts_no_row_twice(lengths: list[int], world_size: int) -> None:
    packed = plan_validation(
        lengths, world_size=world_size, device_batch_size=2, max_seq_len=40, eval_tokens=10**9
    )
    rows = [row for each in packed.micro_batches() for row in each.rows]
    assert sorted(rows) == list(range(len(lengths)))


COMMON: dict[str, Any] = {"world_size": 2, "device_batch_size": 2, "max_seq_len": 40}


def test_a_plan_comes_back_from_its_file_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    plan = plan_rows([7, 12, 30] * 40, total_batch_size=320, **COMMON)
    validation = plan_validation([5, 6] * 9, eval_tokens=320, **COMMON)
    path = tmp_path / "packing.npz"
    row_packing.save(path, plan, validation)
    again, held_out = row_packing.load(path)
    assert [again.micro_batches(s) for s in range(plan.num_updates)] == [
        plan.micro_batches(s) for s in range(plan.num_updates)
    ]
    assert held_out.micro_batches() == validation.micro_batches()
    assert again.num_iterations == plan.num_iterations
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunDirError, match="packed rows"):
        row_packing.load(path)


ODD_ARRAYS = st.sampled_from(
    [
        np.array(0),
        np.array([], np.int64),
        np.array([-1, 2]),
        np.array([[1, 2], [3, 4]]),
        np.array([2**62] * 7),
        np.array([np.nan, np.inf]),
        np.array(["a", "b"]),
        np.array([1] * 7),
        np.array([0, 2**31 - 1]),
        np.array([True]),
        np.array([[0.5, np.inf]]),
        np.arange(7)[::-1],
    ]
)


@examples(60)
@given(st.data())
def test_a_plan_with_one_array_of_anything_is_refused_or_whole(data: st.DataObject) -> None:
    """A run that is taken up may be a stranger's: its plan leads to no row that is not there."""
    plan = plan_rows([7, 12, 30] * 40, total_batch_size=320, **COMMON)
    validation = plan_validation([5, 6] * 9, eval_tokens=320, **COMMON)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "packing.npz"
        row_packing.save(path, plan, validation)
        with np.load(path) as found:
            arrays = dict(found)
        arrays[data.draw(st.sampled_from(sorted(arrays)))] = data.draw(ODD_ARRAYS)
        np.savez_compressed(path, allow_pickle=False, **arrays)
        try:
            again, held_out = row_packing.load(path)
        except RunDirError:
            return
    for step in range(again.num_updates):
        for each in again.micro_batches(step):
            assert all(0 <= row < again.num_rows for row in each.rows)
    assert held_out.micro_batches() is not None


def test_a_plan_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "packing.npz"
    head = b"{'descr': '<i8', 'fortran_order': False, 'shape': (37748736,), }"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("numbers.npy", "w", force_zip64=True) as file,
    ):
        file.write(b"\x93NUMPY\x01\x00\x76\x00" + head.ljust(117) + b"\n")
        for _ in range(18):
            file.write(bytes(1 << 24))
    before = memory.peak_bytes()
    with pytest.raises(RunDirError, match="packed rows"):
        row_packing.load(path)
    assert memory.peak_bytes() - before < 200 * 2**20


def test_rows_that_fit_nowhere_end_nanochats_plan_with_words() -> None:
    """nanochat goes on for ever on empty rows, with a loss of nan."""
    with pytest.raises(ConfigError, match=r"150 of 151.*--compat sound"):
        plan_rows(
            [500] * 150 + [10],
            world_size=1,
            device_batch_size=2,
            max_seq_len=64,
            total_batch_size=128,
            compat="nanochat",
        )


def test_iterations_are_updates_in_a_sound_plan_and_micro_batches_in_nanochats() -> None:
    options: dict[str, Any] = {
        "world_size": 2,
        "device_batch_size": 2,
        "max_seq_len": 40,
        "total_batch_size": 640,
        "num_iterations": 8,
    }
    assert plan_rows([9] * 5000, **options).num_updates == 7
    assert plan_rows([9] * 5000, compat="nanochat", **options).num_updates == 2


def test_a_batch_that_does_not_divide_is_refused_with_ones_that_do() -> None:
    with pytest.raises(ConfigError, match="--total-batch-size 320 or 480"):
        plan_rows(
            [9] * 500, world_size=2, device_batch_size=2, max_seq_len=40, total_batch_size=400
        )


def test_a_hundred_thousand_conversations_are_planned_in_seconds() -> None:
    lengths = np.random.default_rng(0).integers(20, 2100, 100_000).tolist()
    started = time.process_time()
    plan = plan_rows(
        lengths, world_size=8, device_batch_size=16, max_seq_len=2048, total_batch_size=524288
    )
    assert time.process_time() - started < 20
    assert plan.conversations > 99_000
