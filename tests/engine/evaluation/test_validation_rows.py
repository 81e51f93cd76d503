"""The rows of a validation, on disk and in pairs."""

import numpy as np
import pytest

from engine.errors import DataError
from engine.evaluation.validation_rows import RowLosses, load_rows, paired_error, save_rows

BASE = np.array([1.10, 1.30, 1.20, 1.40, 1.00, 1.25, 1.15, 1.35])
CHANGE = np.array([0.02, 0.03, 0.01, 0.04, 0.02, 0.0, 0.03, 0.01])


def rows(losses, ids=None):
    losses = np.asarray(losses, float)
    return RowLosses(losses=losses, rows=np.arange(len(losses)) if ids is None else np.array(ids))


def test_the_paired_error_is_that_of_the_row_wise_differences():
    """The example of the fact sheet: 0.004629 nats."""
    assert paired_error(rows(BASE + CHANGE), rows(BASE)) == pytest.approx(0.004629, abs=5e-7)


def test_rows_without_a_loss_do_not_count():
    """A row without a supervised token has none on either side."""
    now, before = np.append(BASE + CHANGE, np.nan), np.append(BASE, 1.0)
    assert paired_error(rows(now), rows(before)) == pytest.approx(0.004629, abs=5e-7)


@pytest.mark.parametrize(
    ("now", "before"),
    [
        (rows([1.0, 2.0], [0, 1]), rows([1.0, 2.0], [0, 2])),
        (rows([1.0, 2.0]), rows([1.0])),
        (rows([1.0]), rows([2.0])),
        (rows([1.0, np.nan]), rows([2.0, 1.0])),
        (rows([]), rows([])),
    ],
)
def test_what_cannot_be_paired_has_no_error(now, before):
    """Other rows, or fewer than two with a loss."""
    assert paired_error(now, before) is None


def test_rows_come_back_from_disk(tmp_path):
    """Bit by bit, NaN included; nothing is left aside."""
    path = tmp_path / "evals" / "step-3.val.npz"
    save_rows(path, rows(np.append(BASE, np.nan), [*range(8), 99]))
    found = load_rows(path)
    assert np.array_equal(found.losses, np.append(BASE, np.nan), equal_nan=True)
    assert found.rows.tolist() == [*range(8), 99]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [None, b"", b"PK no zip", b"\x93NUMPY"])
def test_a_broken_file_is_said_to_be_one(tmp_path, content):
    """Missing, empty or damaged: a DataError that names the file."""
    path = tmp_path / "rows.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.npz"):
        load_rows(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    """Results of questions are no losses; losses without rows are not known to be paired."""
    path = tmp_path / "rows.npz"
    np.savez_compressed(path, losses=BASE)
    with pytest.raises(DataError, match="rows"):
        load_rows(path)


def test_nothing_is_written_through_a_link_in_the_place_of_the_folder(tmp_path):
    """It can be put there while a run trains, and led the results anywhere."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "evals").symlink_to(victim)
    with pytest.raises(OSError, match="it is a link; expected a folder"):
        save_rows(tmp_path / "evals" / "step-0.val.npz", rows(BASE))
    assert list(victim.iterdir()) == []
