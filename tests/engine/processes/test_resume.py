"""Taking a run up again: what is refused, what is laid over, and what the plan keeps."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from engine import config
from engine.checkpoints import checkpoint_dir
from engine.config import RunConfig
from engine.errors import CheckpointError, ConfigError, RunDirError
from engine.events import AttemptStarted, EndStatus, RunFinished
from engine.journal.event_files import JournalWriter
from engine.processes import devices, launch, resume
from engine.run import resume_file, run_dir
from engine.run.lock import RunLock
from engine.run.resume_file import Resumption
from engine.run.run_dir import RunDir
from engine.step import run_plan
from tests import tiny
from tests.engine.small import tiny_model

NOW = datetime(2026, 1, 2, 3, 4, 5)


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunDir:
    """A run of two ranks that was stopped after 8 updates."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tiny.write_cache(tmp_path / "cache")))
    monkeypatch.setattr(devices, "count_gpus", lambda *_: 0)
    data = tiny.write_data(tmp_path / "data")
    settings = config.load_recipe("nanochat-sft").replace(
        data_dir=str(data),
        gpus=2,
        device_batch_size=2,
        target_examples_per_step=8,
        num_iterations=13,
    )
    prepared = launch.prepare(settings)
    made = launch.create(prepared, tmp_path / "runs", command=["sftui"], cwd=tmp_path, now=NOW)
    write_checkpoint(made, 8)
    end(made, "stopped")
    return made


def write_checkpoint(run: RunDir, step: int, **other: int) -> None:
    """A whole checkpoint as far as its manifest and state tell."""
    partial = run.checkpoints / "partial"
    partial.mkdir()
    shape = tiny_model().config.to_dict() | other
    checkpoint_dir.write_json(partial / checkpoint_dir.STATE, {"model_config": shape})
    record = checkpoint_dir.digest_file(partial / checkpoint_dir.STATE)
    checkpoint_dir.commit(run, partial, step, [record], 0.0)


def end(run: RunDir, status: EndStatus) -> None:
    JournalWriter(run.events, run.id, "r0").write(AttemptStarted())
    JournalWriter(run.events, run.id, "r0").write(RunFinished(status=status, updates=8))


def prepare(run: RunDir, *, allow: bool = False, **typed: object) -> resume.Prepared:
    wanted = RunConfig().replace(**typed)
    return resume.prepare(run, wanted, frozenset(typed), allow_changes=allow)


def test_the_runs_own_settings_hold(run):
    """Nothing typed, nothing changed; settings of the new command line that were not typed
    do not count."""
    found = prepare(run)
    assert found.changed == {}
    assert found.config.flat() == config.from_flat(run.read_manifest()["config"], None).flat()
    assert (found.start_step, found.world_size, found.plan.world_size) == (8, 2, 2)


def test_the_first_command_typed_again_changes_nothing(run, tmp_path):
    """Whoever adds --resume to what they typed before gets the same run, paths included."""
    found = prepare(
        run, data_dir=str(tmp_path / "data"), gpus=2, device_batch_size=2, num_iterations=13
    )
    assert found.changed == {}


def test_another_number_of_ranks_executes_the_same_plan(run):
    """2 -> 1: the plan's ranks are the manifest's, the running ones are what was typed."""
    found = prepare(run, gpus=1)
    resume.record(found, command=["sftui"], now=NOW)
    manifest = resume_file.manifest_now(run)
    assert manifest["world_size"] == 1
    assert manifest["config"]["gpus"] == 2
    settings = config.from_flat(manifest["config"], None)
    assert run_plan.make_plan(settings, manifest["rows"]) == found.plan
    assert found.plan.world_size == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("matrix_lr", 0.5), ("device_batch_size", 4), ("num_epochs", 2), ("seed", 7)],
)
def test_a_change_of_the_training_must_be_meant(run, name, value):
    """Refused with both values and the flag that allows it; allowed, it is laid over."""
    with pytest.raises(ConfigError, match=rf"{name} is {value} now, was .*--resume-changed"):
        prepare(run, **{name: value})
    found = prepare(run, allow=True, **{name: value})
    assert found.changed == {name: value}
    before = run.manifest.read_bytes()
    resume.record(found, command=["sftui"], now=NOW)
    assert run.manifest.read_bytes() == before
    now = resume_file.manifest_now(run)
    assert now["config"] == run.read_manifest()["config"] | {name: value}
    assert now["config_sha256"] != run.read_manifest()["config_sha256"]


def test_resumptions_add_up(run):
    """A second resumption keeps what the first one changed, and only a new attempt tells it."""
    resume.record(prepare(run, allow=True, matrix_lr=0.5), command=["a"], now=NOW)
    resume.record(prepare(run, keep=9, gpus=1), command=["b"], now=NOW)
    first, second = resume_file.read(run)
    assert (first.changed, second.changed) == ({"matrix_lr": 0.5}, {"keep": 9})
    assert second.command == ("b",)
    now = resume_file.manifest_now(run)
    assert (now["config"]["matrix_lr"], now["config"]["keep"], now["world_size"]) == (0.5, 9, 1)
    assert resume_file.newest(run, second.attempt) == second
    assert resume_file.newest(run, second.attempt + 1) is None


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_of_several_resumptions_of_one_moment_the_one_that_runs_counts(run, winner):
    """Three were kept: from the next restart on the settings of the last held, which lost."""
    earlier = resume.record(prepare(run, allow=True, matrix_lr=0.5), command=["x"], now=NOW)
    resume_file.settle(run, earlier)
    JournalWriter(run.events, run.id, "r0").write(AttemptStarted(), 7)
    all_prepared = [prepare(run, keep=keep) for keep in (7, 8, 9)]
    ids = [resume.record(one, command=["x"], now=NOW) for one in all_prepared]
    lost = resume_file.settle(run, ids[winner])
    assert sorted(entry.id for entry in lost) == sorted(set(ids) - {ids[winner]})
    before, own = resume_file.read(run)
    assert (before.changed, own.id) == ({"matrix_lr": 0.5}, ids[winner])
    config = resume_file.manifest_now(run)["config"]
    assert (config["matrix_lr"], config["keep"]) == (0.5, 7 + winner)
    assert resume_file.settle(run, ids[winner]) == []
    assert resume_file.settle(run, "") == []


def test_a_resumption_that_was_killed_before_its_attempt_began_keeps_its_settings(run):
    """The next one has the same attempt, and is no rival of that moment."""
    first = resume.record(prepare(run, allow=True, matrix_lr=0.5), command=["a"], now=NOW)
    assert resume_file.settle(run, first) == []
    second = resume.record(prepare(run, keep=9), command=["b"], now=NOW)
    assert resume_file.settle(run, second) == []
    assert [entry.id for entry in resume_file.read(run)] == [first, second]
    config = resume_file.manifest_now(run)["config"]
    assert (config["matrix_lr"], config["keep"]) == (0.5, 9)


def test_a_resumption_that_comes_when_another_runs_is_not_written_down(run):
    """It was checked before the other one's supervisor held the lock."""
    found = prepare(run, keep=9)
    with RunLock.acquire(run), pytest.raises(RunDirError, match="is running"):
        resume.record(found, command=["x"], now=NOW)
    assert resume_file.read(run) == []


def test_where_a_run_began_cannot_change(run):
    """A step, a source or a recipe typed beside --resume would be another run."""
    with pytest.raises(ConfigError, match=r"step is 99 now, was not set.*began cannot change"):
        prepare(run, allow=True, step=99)
    with pytest.raises(ConfigError, match=r"d16-low-memory.*nanochat-sft"):
        resume.prepare(run, config.load_recipe("d16-low-memory"), frozenset({"recipe"}))


def test_a_running_run_is_refused(run):
    """Whoever holds it is named, and how to watch or stop it."""
    with RunLock.acquire(run), pytest.raises(RunDirError, match=r"is running.*attach.*ctl"):
        prepare(run)


def test_a_finished_run_is_refused(run):
    """There is nothing left to do, and the sentence says what to type instead."""
    end(run, "finished")
    with pytest.raises(RunDirError, match=r"finished after 8 updates.*--source sft"):
        prepare(run)


def test_another_tokenizer_is_refused(run):
    """The file in the run directory must be the one the manifest names by checksum."""
    raw = json.loads(run.tokenizer.read_text())
    raw["merges"][0], raw["merges"][1] = raw["merges"][1], raw["merges"][0]
    run.tokenizer.write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match="not the tokenizer"):
        prepare(run)


def test_a_model_of_another_shape_is_refused(run):
    """A checkpoint directory copied from another run is recognised."""
    write_checkpoint(run, 9, n_layer=2)
    with pytest.raises(CheckpointError, match="another shape"):
        prepare(run)


def test_a_damaged_byte_in_the_newest_state_is_no_other_model(run):
    """It was refused as the checkpoint of another run, with an older one whole beside it."""
    write_checkpoint(run, 10)
    state = run.checkpoint(10) / checkpoint_dir.STATE
    state.write_text(state.read_text().replace('"n_kv_head"', '"n_kv_he`d"'))
    prepared = prepare(run)
    assert (prepared.start_step, prepared.checkpoint) == (8, run.checkpoint(8))
    checkpoint_dir.remove(run.checkpoint(8))
    with pytest.raises(CheckpointError, match=r"none of the 1 checkpoints .* its checksum"):
        prepare(run)


@pytest.mark.parametrize("name", [checkpoint_dir.STATE, checkpoint_dir.MANIFEST])
def test_any_flipped_byte_of_the_newest_leaves_the_one_before(run, name):
    """Whichever it is, a run goes on: from the newest as it was, or from the one before."""
    write_checkpoint(run, 10)
    path = run.checkpoint(10) / name
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = resume._newest_checkpoint(run, json.loads(run.manifest.read_text()))
        assert found is not None
        assert (found.step, found.path) in [(s, run.checkpoint(s)) for s in (8, 10)]
        found, _ = checkpoint_dir.newest_valid(run)
        assert found is not None
        assert (found.step, found.path) in [(s, run.checkpoint(s)) for s in (8, 10)]


def test_changed_data_is_noticed(run, tmp_path):
    """Fewer rows than planned for would silently change every step's rows."""
    path = tmp_path / "data" / "GSM8K.train.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ConfigError, match=r"95 training rows now.*planned for 96"):
        prepare(run)
    assert prepare(run, allow=True).plan.num_rows == 95


def test_a_plan_shorter_than_what_is_done_is_refused(run):
    """8 updates cannot be taken back by planning 4."""
    with pytest.raises(ConfigError, match="has done 8 updates already; the settings plan 4"):
        prepare(run, allow=True, num_iterations=5)


def test_broken_checkpoints_are_no_beginning(run):
    """With directories but no whole checkpoint, starting from zero would throw work away."""
    (run.checkpoint(8) / checkpoint_dir.MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        prepare(run)


def test_without_a_checkpoint_it_begins_again(run):
    """A run killed before its first checkpoint starts at step 0, if its start is still there."""
    checkpoint_dir.remove(run.checkpoint(8))
    found = prepare(run)
    assert (found.start_step, found.checkpoint) == (0, None)
    assert "its beginning" in resume.describe(found)[0]


def test_a_damaged_resume_file_is_named(run):
    """With what to do about it."""
    run.resume.write_text("{")
    with pytest.raises(RunDirError, match=r"resume\.json cannot be read.*Move it away"):
        prepare(run)


def test_a_resumption_survives_its_file(tmp_path):
    """What is written is what is read."""
    made = run_dir.create(tmp_path, "x", NOW)
    entry = Resumption(
        created=1.5,
        attempt=3,
        world_size=1,
        device_type="cpu",
        changed={"matrix_lr": 0.5, "eval_tasks": ["MMLU"]},
        command=("sftui", "run"),
    )
    resume_file.append(made, entry)
    assert resume_file.read(made) == [entry]
