"""Which checkpoint a restart goes on from: the newest whole one, whatever a kill left behind."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import tempfile
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from engine.attach import hf_checkpoints
from tests.conftest import examples

FILES = ("trainer_state.json", "model.safetensors", "optimizer.pt", "rng_state.pth")


def checkpoint(folder: Path, step: int, ranks: int = 1) -> Path:
    """A checkpoint in the trainer's layout."""
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    save_file({"w": torch.ones(5, 7), "b": torch.zeros(3)}, made / "model.safetensors")
    torch.save({"state": torch.ones(9)}, made / "optimizer.pt")
    names = ["rng_state.pth"] if ranks == 1 else [f"rng_state_{r}.pth" for r in range(ranks)]
    for name in names:
        torch.save({"cpu": torch.get_rng_state()}, made / name)
    (made / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": []}))
    return made


@settings(deadline=None)
@given(name=st.sampled_from(FILES), share=st.floats(0, 0.999))
def test_a_checkpoint_with_any_file_cut_anywhere_is_passed_over(name: str, share: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = checkpoint(Path(folder), 5)
        torn = checkpoint(Path(folder), 10)
        data = (torn / name).read_bytes()
        (torn / name).write_bytes(data[: int(len(data) * share)])
        assert hf_checkpoints.fault(torn, 10)
        assert hf_checkpoints.newest_whole(folder) == whole


def test_the_newest_is_the_one_of_the_most_updates(tmp_path: Path) -> None:
    for step in (900, 1000, 99):
        checkpoint(tmp_path, step)
    assert hf_checkpoints.newest_whole(str(tmp_path)).name == "checkpoint-1000"
    assert hf_checkpoints.newest_whole(str(tmp_path / "nowhere")) is None


def test_a_missing_random_state_of_one_rank_is_a_fault(tmp_path: Path) -> None:
    made = checkpoint(tmp_path, 5, ranks=2)
    assert not hf_checkpoints.fault(made, 5, world_size=2)
    (made / "rng_state_1.pth").unlink()
    assert "rank 1" in hf_checkpoints.fault(made, 5, world_size=2)


@pytest.mark.parametrize("missing", ["trainer_state.json", "model.safetensors"])
def test_a_folder_of_a_killed_save_is_no_checkpoint(tmp_path: Path, missing: str) -> None:
    made = checkpoint(tmp_path, 5)
    if missing == "model.safetensors":
        (made / "trainer_state.json").unlink()  # it is written last
    (made / missing).unlink(missing_ok=True)
    assert hf_checkpoints.newest_whole(str(tmp_path)) is None


def test_folders_of_other_names_are_nobodys_checkpoints(tmp_path: Path) -> None:
    checkpoint(tmp_path, 5).rename(tmp_path / "checkpoint-best")
    (tmp_path / "checkpoint-7").write_text("a file")
    assert hf_checkpoints.newest_whole(str(tmp_path)) is None


def test_what_an_old_trainer_wrote_is_loaded_as_it_asks_for_it(tmp_path: Path) -> None:
    """numpy's random state without its types named, and an optimizer onto a numbered CPU: torch
    alone refuses both, and the training that was killed would not go on."""
    state, optimizer = tmp_path / "rng_state_1.pth", tmp_path / "optimizer.pt"
    torch.save({"python": random.getstate(), "numpy": numpy.random.get_state()}, state)
    torch.save({"exp_avg": torch.arange(9.0), "step": torch.tensor(3)}, optimizer)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(state)
    for _ in range(2):
        with hf_checkpoints.loadable():
            found = torch.load(state)
            loaded = torch.load(optimizer, map_location=torch.device("cpu", 1))
    numpy.testing.assert_equal(found["numpy"], numpy.random.get_state())
    assert found["python"] == random.getstate()
    assert torch.equal(loaded["exp_avg"], torch.arange(9.0))
    assert loaded["exp_avg"].device == torch.device("cpu")
    # What is named for it is unnamed behind it, and what a script has named stays.
    with pytest.raises(pickle.UnpicklingError):
        torch.load(state)
    with torch.serialization.safe_globals([numpy.ndarray]):
        with hf_checkpoints.loadable():
            torch.load(state)
        assert numpy.ndarray in torch.serialization.get_safe_globals()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
ENTRIES = st.dictionaries(
    st.sampled_from(["w", "__metadata__", "b"]),
    JSON | st.fixed_dictionaries({"data_offsets": JSON | st.lists(JSON, max_size=3)}),
)


@examples(25)
@given(state=JSON | st.fixed_dictionaries({"global_step": JSON}), header=JSON | ENTRIES)
def test_a_checkpoint_of_anything_is_whole_or_not(state: object, header: object) -> None:
    """A number that no float holds, offsets that are none, a list for a table."""
    with tempfile.TemporaryDirectory() as folder:
        made = checkpoint(Path(folder), 10)
        text = json.dumps(header).encode()
        (made / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        if header:
            assert isinstance(hf_checkpoints.fault(made, 10), str)
        (made / "trainer_state.json").write_text(json.dumps(state))
        assert isinstance(hf_checkpoints.fault(made, 10), str)


@pytest.mark.parametrize(
    "state", ['{"global_step": 1e999}', "[" * 100_000, '{"global_step": [10]}', "9" * 5000]
)
def test_a_state_that_python_cannot_take_is_a_fault(tmp_path: Path, state: str) -> None:
    made = checkpoint(tmp_path, 10)
    (made / "trainer_state.json").write_text(state)
    assert hf_checkpoints.fault(made, 10)
    (made / "trainer_state.json").unlink()
    os.mkfifo(made / "trainer_state.json")
    assert "a pipe" in hf_checkpoints.fault(made, 10)
