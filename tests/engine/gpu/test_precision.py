"""Which precision a run has, and that every source of weights is brought to it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import worker
from engine.config import RunConfig, from_flat
from engine.errors import slow_path
from engine.events import LogLine
from engine.model.generate import Sampling, choose
from engine.model.nanochat.gpt import EMBEDDING, as_trained
from engine.run import resume_file
from engine.run.run_dir import RunDir
from tests.engine.small import tiny_model


@pytest.mark.parametrize(
    ("dtype", "on_cuda", "on_cpu"),
    [("auto", True, False), ("bfloat16", True, True), ("float32", False, False)],
)
def test_auto_is_bf16_on_cuda_alone(dtype: str, on_cuda: bool, on_cpu: bool) -> None:
    """A CPU run computes in fp32 unless bfloat16 is typed."""
    runtime = RunConfig().replace(dtype=dtype).check().runtime
    assert (runtime.mixed("cuda"), runtime.mixed("cpu"), runtime.mixed("mps")) == (
        on_cuda,
        on_cpu,
        on_cpu,
    )
    assert RunConfig().runtime.dtype == "auto"


@pytest.mark.parametrize("held", [torch.bfloat16, torch.float32])
def test_weights_of_another_device_are_brought_to_this_ones_precision(held: torch.dtype) -> None:
    """A CUDA run's checkpoint (bf16 embedding) goes on under fp32, and the other way round."""
    model = tiny_model()
    state = model.state_dict() | {EMBEDDING: model.state_dict()[EMBEDDING].to(held)}
    for mixed, wanted in ((False, torch.float32), (True, torch.bfloat16)):
        found = as_trained(state, mixed=mixed)
        assert found[EMBEDDING].dtype == wanted
        assert {t.dtype for name, t in found.items() if name != EMBEDDING} == {torch.float32}
        model = type(model).from_state(model.config, found)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            assert torch.isfinite(model.logits(model(torch.tensor([[1, 2]])))).all()


def test_a_run_from_before_auto_means_what_it_meant(tmp_path: Path) -> None:
    """Its recorded default `bfloat16` was of CUDA alone; on a CPU it goes on in fp32."""
    run = RunDir(tmp_path)
    flat = RunConfig().flat()
    old = {name: value for name, value in flat.items() if name != "micro_tokens"}
    for settings, mixed in ((old, False), (flat, True)):
        config = settings | {"dtype": "bfloat16"}
        run.manifest.write_text(json.dumps({"schema": 1, "config": config}))
        now = from_flat(resume_file.manifest_now(run)["config"], None)
        assert now.runtime.mixed("cuda")
        assert now.runtime.mixed("cpu") == mixed


def test_a_slow_path_is_a_line_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, as a warning with its reason; other warnings make no event."""
    events: list[LogLine] = []
    with warnings.catch_warnings():
        warnings.resetwarnings()
        monkeypatch.setattr(warnings, "showwarning", lambda *_, **__: None)
        worker._tell_slow_paths(events.append)  # type: ignore[arg-type]
        slow_path("the loop is taken: no kernel here")
        slow_path("the loop is taken: no kernel here")
        warnings.warn("of no concern", UserWarning, stacklevel=1)
    assert [(event.text, event.level) for event in events] == [
        ("the loop is taken: no kernel here", "warn")
    ]


def test_a_token_is_read_from_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy choice and the check for broken weights come in one copy."""
    reads: list[str] = []

    def watched(name: str, own: Any) -> Any:
        def read(self: Any) -> Any:
            reads.append(name)
            return own(self)

        return read

    for name in ("tolist", "item", "__bool__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, watched(name, getattr(torch.Tensor, name)))
    assert choose(torch.tensor([0.0, 3.0, 3.0]), Sampling(), torch.Generator()) == 1
    assert reads == ["tolist"]
