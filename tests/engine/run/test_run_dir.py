"""Which run is meant by what was typed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.run import resume_file
from engine.run.run_dir import RunDir, RunDirError, find


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


FIELDS = {"config": {"seed": 1}, "rows": 3, "start": {"label": "d4", "model_config": {}}}


@given(
    kept=st.sets(st.sampled_from(sorted(FIELDS))),
    inner=st.sets(st.sampled_from(["label", "model_config"])),
)
def test_a_field_that_a_manifest_lacks_is_named(
    tmp_path_factory: pytest.TempPathFactory, kept: set[str], inner: set[str]
) -> None:
    """`eval` and `export` of a trainer of another program's run ended with a KeyError."""
    run = RunDir(tmp_path_factory.mktemp("run"))
    fields = {name: FIELDS[name] for name in kept}
    if "start" in fields:
        fields["start"] = dict.fromkeys(inner, "x")
    run.manifest.write_text(json.dumps({"schema": 1} | fields))
    manifest = resume_file.manifest_now(run)
    assert json.loads(json.dumps(manifest)).items() >= fields.items()
    for name in FIELDS.keys() - kept:
        with pytest.raises(RunDirError, match=f"has no '{name}'"):
            manifest[name]
    for name in {"label", "model_config"} - inner if "start" in kept else ():
        with pytest.raises(RunDirError, match=f"has no '{name}'"):
            manifest["start"][name]
