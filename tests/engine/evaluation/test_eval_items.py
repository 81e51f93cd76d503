"""Per-item results and their file."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from engine.errors import DataError
from engine.evaluation.eval_items import EvalResult, load_items, save_items


def result(items: int = 3) -> EvalResult:
    rng = np.random.default_rng(0)
    logprobs = np.log(rng.dirichlet([1, 1, 1, 1], items)).astype(np.float32)
    logprobs[0, 3] = -np.inf
    three, four = ("1", "2", "3"), ("A", "B", "C", "D")
    letters = tuple(three if item == 0 else four for item in range(items))
    return EvalResult(
        task="MMLU",
        item_set="ab" * 32,
        item_ids=tuple(
            hashlib.sha256(bytes([i % 256, i // 256])).hexdigest()[:16] for i in range(items)
        ),
        subjects=tuple("anatomy" if item % 2 else "règles" for item in range(items)),
        gold=tuple(names[1] for names in letters),
        predicted=tuple(names[item % 3] for item, names in enumerate(letters)),
        letter_logprobs=logprobs,
        item_letters=letters,
        chance=0.25,
        one_letter=0.3,
    )


def test_counts_follow_from_the_items() -> None:
    """Right answers, their share, and how often each letter was given."""
    found = result(4)

    assert (found.correct, found.total, found.accuracy) == (1, 4, 0.25)
    assert found.letters == {"1": 1, "A": 1, "B": 1, "C": 1}


def test_a_saved_result_comes_back(tmp_path: Path) -> None:
    """Everything but the last bits of the log-probabilities survives the file."""
    path = tmp_path / "evals" / "step-0.MMLU.npz"
    save_items(path, result())
    found = load_items(path)

    for field in fields(EvalResult):
        before, after = getattr(result(), field.name), getattr(found, field.name)
        if field.name == "letter_logprobs":
            np.testing.assert_allclose(after, before, rtol=1e-3)
        else:
            assert after == before, field.name
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_a_thousand_items_take_less_than_20_kb(tmp_path: Path) -> None:
    """An evaluation of 1024 problems every 100 steps does not fill a disk."""
    save_items(tmp_path / "a.npz", result(1024))

    assert (tmp_path / "a.npz").stat().st_size < 20_000


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk never damages a result that was good."""
    path = tmp_path / "a.npz"
    save_items(path, result())
    before = path.read_bytes()

    def full_disk(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_items(path, result(5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever is in the file, it ends in one sentence that names it."""
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz"):
        load_items(path)


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    """Another npz, another version, and no file at all are told apart."""
    with pytest.raises(DataError, match="No such file"):
        load_items(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="not a file of eval results"):
        load_items(tmp_path / "other.npz")
    np.savez(tmp_path / "later.npz", format=np.array(99))
    with pytest.raises(DataError, match="format 99; expected 1"):
        load_items(tmp_path / "later.npz")


def test_nothing_is_written_through_a_link_in_the_place_of_the_folder(tmp_path: Path) -> None:
    """It can be put there while a run trains, and led the results anywhere."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "evals").symlink_to(victim)

    with pytest.raises(OSError, match="it is a link; expected a folder"):
        save_items(tmp_path / "evals" / "step-0.MMLU.npz", result())
    assert list(victim.iterdir()) == []
