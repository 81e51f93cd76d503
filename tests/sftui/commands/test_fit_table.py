"""`sftui fit`: the table a person reads before anything is loaded."""

import pytest

from engine.processes import devices
from sftui.cli import main
from tests import tiny


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A machine without a nanochat cache and without a GPU."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr(devices, "count_gpus", lambda *_: 0)
    monkeypatch.setattr(devices, "gpu_memories", list)
    monkeypatch.chdir(tmp_path)
    return tmp_path


D16 = ("--source=mid", "--model-tag=d16", "--device-type=cuda", "--gpus=2", "--device-batch-size=2")


def fit(capsys, *words: str) -> str:
    code = main(["fit", *words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def test_a_tag_is_enough(empty, capsys):
    """Without the checkpoint the reference shape is taken from its tag: 335.5 M parameters."""
    out = fit(capsys, *D16, "--memory=24")
    assert "d16 (no checkpoint here): 336M parameters, 2 x cuda" in out
    assert "as typed, 24G: fits: 7.8 GiB of 24.0 GiB" in out
    for part in ("parameters", "gradients", "optimizer", "layers", "logits", "needed"):
        assert f"\n{part} " in out


def test_what_does_not_fit_names_the_switch(empty, capsys):
    """8 GiB are too few until layers are recomputed."""
    out = fit(capsys, *D16, "--memory=6", "--layout=padded")
    assert "does not fit: 7.8 GiB of 6.0 GiB; --activation-checkpointing needs 5.2 GiB" in out


def test_an_unknown_gpu_is_said_to_be_unknown(empty, capsys):
    """No size is made up; the flag that gives one is named."""
    assert "a GPU of unknown size: type --memory" in fit(capsys, *D16)


def test_a_config_file_may_stand_alone(empty, capsys):
    """`sftui fit my.toml`."""
    (empty / "my.toml").write_text(
        'source = "mid"\nmodel_tag = "d12"\ndevice_type = "cuda"\n[batch]\ndevice_batch_size = 3\n'
    )
    out = fit(capsys, "my.toml", "--memory=80")
    assert "d12 (no checkpoint here)" in out
    assert "micro-batches of up to 3 rows" in out


def test_a_checkpoint_says_its_own_shape(empty, capsys, monkeypatch):
    """With a cache, the model there; on the CPU packed micro-steps and this machine's memory."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tiny.write_cache(empty / "cache")))
    out = fit(capsys, "--source=mid", "--gpus=2")
    assert "mid d1 step 7: " in out
    assert "2 x cpu, packed micro-steps of up to 2048 tokens" in out
    assert "1/2 of this machine's memory" in out


def test_without_any_shape_it_is_refused(empty, capsys):
    """The usual words about a missing checkpoint."""
    assert main(["fit", "--source=mid"]) == 2
    assert "holds no checkpoint folder" in capsys.readouterr().err
