"""What a person may call a checkpoint, and what is said when there is none."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from engine.checkpoints import checkpoint_dir, checkpoint_target
from engine.errors import CheckpointError
from engine.events import CheckpointKind, CheckpointSaved
from engine.journal.event_bus import EventBus
from engine.run import run_dir
from engine.run.run_dir import RunDir
from tests import tiny
from tests.engine.small import BYTES, tiny_model


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A nanochat cache with one SFT checkpoint, d1 step 7."""
    path = tiny.write_cache(tmp_path / "cache", source="sft")
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(path))
    return path


@pytest.fixture
def run(tmp_path) -> RunDir:
    """A run with checkpoints of steps 4 and 8."""
    made = run_dir.create(tmp_path / "runs", "x", datetime(2026, 1, 2, 3, 4, 5))
    made.manifest.write_text(json.dumps({"id": made.id}))
    BYTES.save_json(made.tokenizer)
    for step, eval_step in ((4, 0), (8, 8)):
        partial = made.checkpoints / "partial"
        partial.mkdir()
        state = {
            "model_config": tiny_model().config.to_dict(),
            "val_loss": 1.5,
            "eval_step": eval_step,
            "accuracies": {"MMLU": 0.5},
        }
        checkpoint_dir.write_json(partial / checkpoint_dir.STATE, state)
        record = checkpoint_dir.digest_file(partial / checkpoint_dir.STATE)
        checkpoint_dir.commit(made, partial, step, [record], 0.0)
    return made


def find(tmp_path, text, **names):
    return checkpoint_target.find(text, runs=tmp_path / "runs", **names)


def test_a_run_is_its_newest_checkpoint(tmp_path, run):
    """By id, by the beginning of one, by folder; another step by a colon or by --step."""
    for text in (run.id, "2026", str(run.path)):
        found = find(tmp_path, text)
        assert (found.kind, found.step, found.path) == ("sftui", 8, run.checkpoint(8))
    assert found.run == run
    assert found.tokenizer == run.tokenizer
    assert found.config == tiny_model().config
    assert find(tmp_path, f"{run.id}:4").step == find(tmp_path, run.id, step=4).step == 4


def write_llama(folder):
    """A folder of transformers as far as it is read before a model is made of it."""
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 4}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
    config |= {"hidden_size": 2, "intermediate_size": 2, "max_position_embeddings": 8}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    embedding = {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}
    header = json.dumps({"model.embed_tokens.weight": embedding}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(32)
    (folder / "model.safetensors").write_bytes(whole)


def test_a_run_of_another_trainer_is_what_that_has_saved(tmp_path, run):
    """Where its own run says it lies, and of what is still there; by step and typed alone too."""
    made = run_dir.create(tmp_path / "runs", "trl", datetime(2026, 1, 3))
    made.manifest.write_text(json.dumps({"id": made.id, "trainer": "foreign"}))
    bus = EventBus(made, made.id, 1, live=False)
    kinds: dict[int, CheckpointKind] = {2: "hf", 4: "hf", 6: "hf", 9: "lightning"}
    for step, kind in kinds.items():
        folder = tmp_path / "out" / f"checkpoint-{step}"
        bus.emit(CheckpointSaved(step=step, path=str(folder), kind=kind))
        if step != 6:
            write_llama(folder)
    assert bus.close()
    for text in (made.id, "trl", None):
        found = find(tmp_path, text)
        assert (found.kind, found.step) == ("folder", 4)
        assert found.path == tmp_path / "out" / "checkpoint-4"
    assert find(tmp_path, "trl:2").step == find(tmp_path, "trl", step=2).step == 2
    for step in (6, 9):
        with pytest.raises(CheckpointError, match=f"no checkpoint of step {step}; there are 2, 4"):
            find(tmp_path, f"trl:{step}")


def test_a_checkpoint_folder_is_itself(tmp_path, run):
    """The folder, or the weights file in it."""
    for text in (run.checkpoint(4), run.checkpoint(4) / "MANIFEST.json"):
        assert find(tmp_path, str(text)).label == f"{run.id} step 4"


def test_only_accuracies_of_the_same_step_count(tmp_path, run):
    """A checkpoint carries the newest evaluation, which may be older than itself."""
    assert find(tmp_path, f"{run.id}:4").accuracies is None
    assert find(tmp_path, f"{run.id}:8").accuracies == {"MMLU": 0.5}


def test_nanochats_names(tmp_path, base):
    """source:tag:step, its parts left out from the right, and the three flags."""
    for text in ("sft:d1:7", "sft:d1", "sft"):
        assert find(tmp_path, text).label == "sft d1 step 7"
    assert find(tmp_path, None, source="sft", model_tag="d1", step=7).kind == "nanochat"
    assert find(tmp_path, None, model_tag="d1").label == "sft d1 step 7"


def test_without_a_name_the_newest_run_with_a_checkpoint_is_meant(tmp_path, run):
    """A later one that has none yet is passed over; where there is none, what to name is said."""
    later = run_dir.create(tmp_path / "runs", "y", datetime(2026, 1, 3))
    later.manifest.write_text(json.dumps({"id": later.id}))
    assert find(tmp_path, None).path == run.checkpoint(8)
    assert find(tmp_path, None, step=4).path == run.checkpoint(4)
    with pytest.raises(CheckpointError, match="of step 5; there are 4, 8"):
        find(tmp_path, None, step=5)
    with pytest.raises(CheckpointError, match="no checkpoint was named, and no run here has one"):
        checkpoint_target.find(None, runs=tmp_path / "elsewhere")


def test_folders_in_nanochats_layout(tmp_path, base, monkeypatch):
    """A cache, a model folder or a weights file anywhere, with the tokenizer of its own cache."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "nowhere"))
    folder = base / "chatsft_checkpoints" / "d1"
    for path in (base, folder, folder / "model_000007.pt"):
        found = find(tmp_path, str(path))
        assert (found.step, found.tokenizer) == (7, base / "tokenizer" / "tokenizer.pkl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026:5", "no checkpoint of step 5; there are 4, 8"),
        ("2026:0", "no checkpoint of step 0; there are 4, 8"),
        ("2026:x", "'x' is no step number"),
        ("2026:²", "'²' is no step number"),
        (f"2026:{'9' * 100}", "is no step number"),
        ("sft:d1:0", "has no step 0"),
        ("nothing", "no run is called 'nothing'"),
        ("no/such/folder", "no such file or folder"),
        ("sft:d1:9", "has no step 9"),
        ("sft:d2", "no folder d2"),
    ],
)
def test_what_is_not_there_is_said(tmp_path, run, base, text, said):
    """With what there is instead."""
    with pytest.raises(CheckpointError, match=said):
        find(tmp_path, text)


def test_two_steps_for_one_checkpoint_are_a_mistake(tmp_path, run):
    """Neither is taken silently."""
    with pytest.raises(CheckpointError, match="names step 4, --step is 8; leave one out"):
        find(tmp_path, f"{run.id}:4", step=8)
    assert find(tmp_path, f"{run.id}:4", step=4).step == 4


def test_other_folders_are_refused(tmp_path, run):
    """An empty folder, another model family, an HF folder without our tokenizer, a bare copy."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint that is known"):
        find(tmp_path, str(folder))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match=r"no weights; expected model.safetensors"):
        find(tmp_path, str(folder))
    (folder / "config.json").write_text('{"model_type": "t5", "is_encoder_decoder": true}')
    with pytest.raises(CheckpointError, match="decoder alone"):
        find(tmp_path, str(folder))
    (folder / "config.json").write_text('{"model_type": "nanochat"}')
    with pytest.raises(CheckpointError, match="export --format"):
        find(tmp_path, str(folder))
    (folder / "config.json").unlink()
    (folder / "model_000007.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="nanochat's layout"):
        find(tmp_path, str(folder))


def test_a_broken_checkpoint_is_no_checkpoint(tmp_path, run):
    """Named directly, what is wrong is said; a run falls back to an older one."""
    (run.checkpoint(8) / checkpoint_dir.MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json is missing"):
        find(tmp_path, str(run.checkpoint(8)))
    assert find(tmp_path, run.id).step == 4
    (run.checkpoint(4) / checkpoint_dir.MANIFEST).unlink()
    said = r"none of the 2 .*step-8 is incomplete: .*\. Name another run or checkpoint\.$"
    with pytest.raises(CheckpointError, match=said):
        find(tmp_path, run.id)
