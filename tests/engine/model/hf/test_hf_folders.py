"""What other trainers leave: their checkpoints, and adapters of peft, are loaded and asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoints import checkpoint_target, load_target
from engine.checkpoints.checkpoint_target import Target
from engine.errors import CheckpointError
from engine.model.hf import hf_folders
from sftui.commands import fit_table
from sftui.commands.run_flags import parse_fit
from tests import hf_material

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning",
    "ignore:.*tie_word_embeddings:UserWarning",
    "ignore:.*save_embedding_layers:UserWarning",
)

IDS = torch.arange(40, 60)[None]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a trainer's output of two whole checkpoints, and adapters, as peft saves them."""
    import peft
    from transformers import AutoModelForCausalLM

    found = tmp_path_factory.mktemp("others")
    base = hf_material.folder(found / "base", tie=False)
    for step in (4, 12):
        made = found / "out" / f"checkpoint-{step}"
        shutil.copytree(base, made)
        model: Any = AutoModelForCausalLM.from_pretrained(made)
        with torch.no_grad():
            model.lm_head.weight.add_(0.01 * step)
        model.save_pretrained(made)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            # The trainer was not told of the tokenizer; a person saved it above.
            shutil.move(made / name, found / "out" / name)
    for name, targets, save in (("adapters", ["q_proj", "down_proj"], None),
                                ("headed", "all-linear", ["lm_head"])):  # fmt: skip
        inner: Any = AutoModelForCausalLM.from_pretrained(base)
        told = peft.LoraConfig(r=3, lora_alpha=7, target_modules=targets, modules_to_save=save)
        adapted: Any = peft.get_peft_model(inner, told)
        torch.manual_seed(1)
        with torch.no_grad():
            for each, parameter in adapted.named_parameters():
                if "lora_B" in each or "modules_to_save" in each:
                    parameter.copy_(torch.randn_like(parameter) * 0.1)
        adapted.save_pretrained(found / name)
    return found


def find(path: Path, **names: Any) -> Target:
    return checkpoint_target.find(str(path), runs=path / "no-runs", **names)


def ours(target: Target) -> torch.Tensor:
    model = load_target.load_model(target, torch.device("cpu"))
    model.eval()
    with torch.no_grad():
        return model.logits(model(IDS))


def theirs(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    import peft
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(IDS).logits
    return logits


def test_a_trainers_checkpoint_is_found_by_its_own_name_and_by_its_folders(place: Path) -> None:
    """Of the folder the newest by number, not by name; the tokenizer may lie above."""
    for path, step in ((place / "out", 12), (place / "out" / "checkpoint-4", 4)):
        found = find(path)
        assert (found.kind, found.step) == ("folder", step)
        assert found.label == f"out/checkpoint-{step} (transformers)"
        assert found.tokenizer == place / "out"
        assert load_target.load_tokenizer(found).vocab_size > 256
        assert torch.equal(ours(found), theirs(place / "out" / f"checkpoint-{step}"))
    assert find(place / "out", step=4).step == 4
    with pytest.raises(CheckpointError, match=r"no checkpoint-5; there are 4, 12"):
        find(place / "out", step=5)


@pytest.mark.parametrize("name", ["adapters", "headed"])
def test_adapters_answer_as_peft_says(name: str, place: Path) -> None:
    found = find(place / name)
    assert found.label == f"{name} (adapters on base)"
    assert torch.allclose(ours(found), theirs(place / "base", place / name), atol=1e-5)
    assert not torch.allclose(ours(found), theirs(place / "base"), atol=1e-3)


def test_a_base_is_found_in_the_hubs_cache(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `hf download` puts it there; without it, that is what to type."""
    adapter = tmp_path / "a"
    shutil.copytree(place / "adapters", adapter)
    told = json.loads((adapter / hf_folders.ADAPTER).read_text())
    told[hf_folders.BASE_NAME] = "some-lab/Tiny-1M"
    (adapter / hf_folders.ADAPTER).write_text(json.dumps(told))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with pytest.raises(CheckpointError, match=r"hf download some-lab/Tiny-1M"):
        find(adapter)
    cache = tmp_path / "hf" / "hub" / "models--some-lab--Tiny-1M"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc123")
    shutil.copytree(place / "base", cache / "snapshots" / "abc123")
    assert find(adapter).config == find(adapter).config
    assert hf_folders.find(adapter).model == cache / "snapshots" / "abc123"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_model_name_or_path": "/gone/model"}, r"adapters of /gone/model, .*adapter_config"),
        ({"base_model_name_or_path": "x" * 5000}, r"adapters of x+, .*not on this machine"),
        ({"base_model_name_or_path": "~nobody-here/x"}, r"adapters of ~nobody-here/x, .*not on"),
        ({"base_model_name_or_path": "lab/m", "revision": "r" * 300}, r"type: hf download lab/m"),
        ({"base_model_name_or_path": "lab/m", "revision": "../../x"}, r"type: hf download lab/m"),
        ({"base_model_name_or_path": None}, "does not name the model"),
        ("{", "cannot be read"),
        ("weights", "no adapter_model.safetensors"),
    ],
)
def test_adapters_that_cannot_be_used_are_named_with_the_reason(
    change: Any, words: str, place: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "a"
    shutil.copytree(place / "adapters", adapter)
    told = json.loads((adapter / hf_folders.ADAPTER).read_text())
    if change == "weights":
        (adapter / hf_folders.ADAPTER_WEIGHTS[0]).unlink()
    else:
        text = change if isinstance(change, str) else json.dumps(told | change)
        (adapter / hf_folders.ADAPTER).write_text(text)
    with pytest.raises(CheckpointError, match=words):
        find(adapter)


def test_adapters_of_another_base_are_refused_when_they_are_loaded(
    place: Path, tmp_path: Path
) -> None:
    """And adapters that would untie a head that the config ties."""
    import peft
    from transformers import AutoModelForCausalLM

    tied = hf_material.folder(tmp_path / "tied")
    inner: Any = AutoModelForCausalLM.from_pretrained(tied)
    told = peft.LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"])
    adapted: Any = peft.get_peft_model(inner, told)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.fill_(0.3)
    adapted.save_pretrained(tmp_path / "untying")
    with pytest.raises(CheckpointError, match="one matrix"):
        ours(find(tmp_path / "untying"))


def test_memory_of_adapters_is_worked_out_on_their_base(place: Path) -> None:
    flags, typed = parse_fit(["--model", str(place / "adapters"), "--device-type", "cpu"])
    text = "\n".join(fit_table.lines(flags, frozenset(typed)))
    assert "adapters (adapters on base)" in text
    assert "frozen" in text
