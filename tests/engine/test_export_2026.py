"""What a run of nanochat's newest generation exports is the model it ended with.

`tests/walks/nanochat_2026.py` shows the same in a terminal, with the processes of two ranks.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
import torch

from engine import conclusion, config, session_setup
from engine.checkpoints import nanochat_paths
from engine.distributed import Ranks
from engine.processes import launch
from tests.engine.test_resume_2026 import LAST, attempt, material, new_run


def test_an_exported_checkpoint_has_the_validation_its_run_ended_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, in a run that starts from it: the same rows in the same order."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", "")
    material(tmp_path)
    alone = Ranks(device=torch.device("cpu"))
    run = new_run(tmp_path, "packed", 1)
    trained = attempt(run, alone)
    # Taken up at its end it has nothing to train: what is left to do is the export.
    session = session_setup.build(run, alone, 2, lambda event: None)
    assert conclusion.export_result(session, LAST, finished=True)
    session.close()

    found = nanochat_paths.find_checkpoint("sft", base=tmp_path / "cache")
    assert found.step == LAST
    assert nanochat_paths.optimizer_shards(found.model_path.parent, LAST)
    settings = config.load_recipe("nanochat").replace(
        source="sft",
        data_dir=str(tmp_path / "data"),
        mixture=("SmolTalk", "GSM8K*2"),
        validation="SmolTalk,GSM8K:10",
        device_type="cpu",
        eval_tokens=512,
        eval_tasks=(),
        # The base's: an SFT checkpoint of nanochat does not tell them.
        max_seq_len=256,
        device_batch_size=1,
        total_batch_size=1024,
        num_iterations=2,
    )
    typed = frozenset({"max_seq_len", "device_batch_size", "total_batch_size", "eval_tasks"})
    prepared = launch.prepare(settings, typed)
    fresh = launch.create(
        prepared, tmp_path / "fresh", command=["sftui"], cwd=tmp_path, now=datetime(2026, 1, 2)
    )
    assert attempt(fresh, alone).validations[0] == trained.validations[LAST]
