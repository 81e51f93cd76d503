"""Which run is meant by what was typed."""

from __future__ import annotations

import pytest

from engine.run.run_dir import RunDirError, find


@pytest.fixture
def runs(tmp_path):
    for name in ("20260102-030405-tiny", "20260103-030405-small", "20260104-030405-small"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (None, "20260104-030405-small"),
        ("20260102-030405-tiny", "20260102-030405-tiny"),
        ("20260103", "20260103-030405-small"),
        ("tiny", "20260102-030405-tiny"),
    ],
)
def test_an_id_its_beginning_or_its_name(runs, typed, meant):
    """Nothing typed is the newest."""
    assert find(typed, runs).id == meant


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("small", "several runs are called 'small' .*: 20260104-030405-small, 20260103"),
        ("2026", "several runs start with '2026' .*: 20260104"),
        ("mall", "no run is called 'mall' .*: 20260104"),
    ],
)
def test_no_guess_between_several(runs, typed, said):
    """What there is, is named."""
    with pytest.raises(RunDirError, match=said):
        find(typed, runs)
