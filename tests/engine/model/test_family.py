"""What the engine asks of a model: nobody outside a family knows a parameter name."""

import ast
import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.config import OptimConfig
from engine.errors import CheckpointError
from engine.model import family
from engine.model.family import Decoder
from engine.model.nanochat.gpt import GPT
from engine.model.nanochat.gpt_config import GPTConfig
from tests.engine.small import tiny_model

PARAMETER_NAME = re.compile(
    r"lm_head\.weight|transformer\.|\bc_(q|k|v|proj|fc)\b|ve_gate|smear_|value_embeds|backout_|"
    r"resid_lambdas|x0_lambdas|(q|k|v|o)_proj|embed_tokens"
)


def named_outside() -> list[str]:
    """`file: text` of strings and attributes that are parameter names, outside the families."""
    root = Path(engine.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        # A family's own folder; and the settings, whose texts give a person examples to type.
        folders = path.relative_to(root).parts[:-1]
        if (folders[:1] == ("model",) and len(folders) > 1) or path == root / "config.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ""
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.Attribute):
                text = f"{node.attr}.weight" if node.attr == "lm_head" else node.attr
            if PARAMETER_NAME.search(text):
                found.append(f"{path.relative_to(root)}: {text[:60]}")
    return found


def test_no_file_outside_a_family_knows_a_parameter_name() -> None:
    assert named_outside() == []


def test_a_model_of_no_family_is_refused_with_what_was_expected() -> None:
    with pytest.raises(CheckpointError, match="expected"):
        family.shape_from({"hidden_size": 64})
    with pytest.raises(CheckpointError, match="expected one of nanochat"):
        family.named("llama")


def test_every_parameter_is_in_exactly_one_group() -> None:
    model: Decoder = tiny_model()
    found = [name for group in model.optimizer_groups(OptimConfig()) for name in group.parameters]
    assert sorted(found) == sorted(name for name, _ in model.named_parameters())


def test_rows_of_unequal_lengths_go_on_in_one_cache_as_each_would_alone() -> None:
    """Prompts padded on the right, three more tokens each, one row dropped on the way."""
    model: Decoder = tiny_model()
    random = torch.Generator().manual_seed(1)
    lengths = [7, 3, 5]
    rows = [torch.randint(0, 256, (1, n + 3), generator=random) for n in lengths]
    padded = torch.zeros(3, 7, dtype=torch.int64)
    for number, n in enumerate(lengths):
        padded[number, :n] = rows[number][0, :n]
    with torch.no_grad():
        cache = model.new_cache()
        model(padded, cache=cache)
        cache.trim(lengths)
        kept = [0, 1, 2]
        for step in range(3):
            if step == 2:
                cache.select(torch.tensor([2, 0]))
                kept = [2, 0]
            new = torch.cat([rows[place][:, lengths[place] + step] for place in kept])
            hidden = model(new[:, None], cache=cache)
            for place, row in enumerate(kept):
                alone = model(rows[row][:, : lengths[row] + step + 1])[:, -1]
                torch.testing.assert_close(hidden[place, -1:], alone, atol=2e-5, rtol=1e-5)


def test_a_row_cannot_be_cut_before_what_was_read_last() -> None:
    model = tiny_model()
    with torch.no_grad():
        cache = model.new_cache()
        model(torch.zeros(1, 4, dtype=torch.int64), cache=cache)
        model(torch.zeros(1, 2, dtype=torch.int64), cache=cache)
    with pytest.raises(ValueError, match="5 to 6"):
        cache.trim([3])


def test_a_shape_comes_back_from_what_a_run_keeps_of_it() -> None:
    config: GPTConfig = tiny_model().config
    assert family.shape_from(config.to_dict()) == config
    assert isinstance(family.of(config).build(config, tiny_model().state_dict()), GPT)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
NANOCHAT = tiny_model().config.to_dict()
DESCRIBED: dict[str, Any] = {
    "transformers": {"model_type": "llama"},
    "folder": "/x",
    "shapes": {"a": [1]},
}
DESCRIBED |= {"fingerprint": "0", "lora": None, "remote_code": True}


@settings(max_examples=60)
@given(
    whole=st.just(NANOCHAT) | st.just(DESCRIBED) | ANYTHING,
    changed=st.dictionaries(st.sampled_from([*NANOCHAT, *DESCRIBED]), ANYTHING, max_size=2),
)
def test_a_description_of_anything_is_a_shape_or_a_sentence(
    whole: Any, changed: dict[str, Any]
) -> None:
    """`model_config` of a stranger's manifest was a list: `data RUN --step N` broke off."""
    described = whole | changed if isinstance(whole, dict) else whole
    with contextlib.suppress(CheckpointError):
        assert family.shape_from(described).to_dict()
