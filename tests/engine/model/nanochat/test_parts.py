"""The parts of nanochat's 2026 model: against recorded values, and each one alone."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.checkpoints import nanochat_io, nanochat_paths
from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError
from engine.model.generate import Dialogue, Reply, Sampling
from engine.model.nanochat import attention, parts
from engine.model.nanochat.attention import padded_attention
from engine.model.nanochat.gpt import GPT
from engine.model.nanochat.gpt_config import GPTConfig
from engine.step.loss import weighted_loss
from tests.conftest import SHARED, examples, needs_shared

NEW = SHARED / "nanochat2026"
SHAPE = {
    "sequence_len": 512,
    "vocab_size": 100,
    "n_layer": 3,
    "n_head": 2,
    "n_kv_head": 1,
    "n_embd": 32,
}


def random_model(has: parts.Parts = parts.NEWEST, **changed: Any) -> GPT:
    """No parameter neutral."""
    pattern = "SL" if has.windows else ""
    model = GPT(GPTConfig(**SHAPE | changed, window_pattern=pattern, parts=has))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.3, generator=generator)
    return model


def checksum(x: Tensor) -> tuple[float, float]:
    """l2 and projection of nanochat2026's README."""
    flat = x.detach().double().flatten()
    places = torch.arange(len(flat), dtype=torch.float64)
    return float(flat.norm()), float((flat * torch.sin(0.37 * places + 1)).sum())


def zoo(name: str) -> tuple[dict[str, Any], GPT]:
    record = json.loads((NEW / "zoo" / "zoo.json").read_text())[name]
    state = torch.load(NEW / "zoo" / f"{name}.pt", weights_only=True)
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    config = GPTConfig.from_dict(record["model_config"], shapes)
    assert list(config.parameter_shapes()) == list(state)
    return record, GPT.from_state(config, state)


def zoo_faults(name: str, layout: str = "padded") -> list[str]:
    """What differs from the record by more than the README's tolerances."""
    record, model = zoo(name)
    ids, targets = torch.tensor(record["inputs"]), torch.tensor(record["targets"]).flatten()
    rows, width = ids.shape
    if layout == "padded":
        hidden = model(ids).flatten(0, 1)
    else:
        spans = [(row * width, (row + 1) * width) for row in range(rows)]
        hidden = model(ids.flatten(), spans=spans)
    logits = model.logits(hidden).view(rows, width, -1)
    found = []
    for place, values in record["logits_row0"].items():
        if (logits[0, int(place), : len(values)] - torch.tensor(values)).abs().max() > 5e-5:
            found.append(f"logits at {place}")
    wanted = (targets >= 0).nonzero().squeeze(1)
    weights = torch.full((len(wanted),), 1 / len(wanted))
    loss, _ = weighted_loss(
        hidden[wanted], model.head_weight, targets[wanted], weights, softcap=model.softcap
    )
    if abs(loss.item() - record["loss"]) > 2e-5:
        found.append(f"loss {loss.item()}")
    loss.backward()
    for key, weight in model.named_parameters():
        l2 = record["grad_check"][key]["l2"]
        assert weight.grad is not None
        if l2 > 1e-6 and abs(checksum(weight.grad)[0] / l2 - 1) > 1e-4:
            found.append(f"gradient of {key}")
    return found


@needs_shared
@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("name", ["d1", "d2_sl", "d3_gqa_padded", "d5_mqa_short"])
def test_models_of_odd_shapes_give_nanochats_logits_and_gradients(name: str, layout: str) -> None:
    assert zoo_faults(name, layout) == []


@needs_shared
@pytest.mark.parametrize(
    "change",
    [
        {"qk_gain": 1.15},
        {"rotary_base": 10_000.0},
        {"rotary_dtype": "bfloat16"},
        {"softcap": 20.0},
        {"smear": False},
        {"backout": False},
        {"residual_mix": False},
        {"value_embeddings": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_records_notice_a_part_that_is_another(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, model = zoo("d5_mqa_short")
    has = replace(model.config.parts, **change)
    config = replace(model.config, parts=has)
    state = {key: w for key, w in model.state_dict().items() if key in config.parameter_shapes()}
    hidden = GPT.from_state(config, state)(torch.tensor(record["inputs"]))
    with torch.no_grad():
        logits = GPT.from_state(config, state).logits(hidden)
    first = {int(place): values for place, values in record["logits_row0"].items()}
    assert any(
        (logits[0, place, : len(values)] - torch.tensor(values)).abs().max() > 5e-5
        for place, values in first.items()
    )


@needs_shared
@pytest.mark.parametrize("off", [-1, 1])
def test_the_records_notice_a_window_that_is_one_off(
    off: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = padded_attention
    monkeypatch.setattr(
        "engine.model.nanochat.gpt.padded_attention",
        lambda q, k, v, window: true(q, k, v, window + off),
    )
    assert zoo_faults("d5_mqa_short") != []


def trained(source: str) -> tuple[GPT, Tokenizer]:
    ref = nanochat_paths.find_checkpoint(source, base=NEW / "base")
    config, state = nanochat_io.load_weights(ref)
    return GPT.from_state(config, state), Tokenizer.load(ref.tokenizer_path)


@needs_shared
@pytest.mark.parametrize("source", ["base", "sft"])
def test_trained_models_read_nanochats_rows_as_it_did(source: str) -> None:
    model, _ = trained(source)
    probe = json.loads((NEW / "ref" / f"probe_{source}.json").read_text())
    with torch.no_grad():
        for name, row in probe["rows"].items():
            ids = torch.tensor(row["ids"])
            logits = model.logits(model(ids[None, :-1]))[0]
            for place, values in row["logits"].items():
                wanted = torch.tensor(values)
                torch.testing.assert_close(
                    logits[int(place)][:: len(logits[0]) // 64], wanted, atol=5e-5, rtol=0, msg=name
                )
            assert logits.argmax(-1).tolist()[: len(row["argmax"])] == row["argmax"][: len(logits)]
            mask = torch.tensor(row["mask"][1:]).bool()
            nll = F.cross_entropy(logits, ids[1:], reduction="none")[mask]
            assert nll.sum().item() == pytest.approx(row["loss_sum"], abs=2e-5 * len(nll))


@needs_shared
@pytest.mark.parametrize("source", ["base", "sft"])
def test_greedy_answers_are_nanochats_with_the_calculator(source: str) -> None:
    model, tokenizer = trained(source)
    probe = json.loads((NEW / "ref" / f"probe_{source}.json").read_text())
    for record in probe["generate"]:
        dialogue = Dialogue(model, tokenizer, Sampling(max_tokens=32))
        dialogue.ids = list(record["prompt"])
        assert list(Reply(dialogue))[:32] == record["greedy_cache"]


@examples(25)
@given(
    cuts=st.lists(st.integers(1, 90), min_size=2, max_size=5),
    lengths=st.lists(st.integers(1, 12), min_size=2, max_size=3),
)
def test_the_cache_gives_one_passs_hidden_states_however_it_is_cut(
    cuts: list[int], lengths: list[int]
) -> None:
    """Windows, smear across the cut, and rows of unequal lengths."""
    model = random_model()
    random = torch.Generator().manual_seed(sum(cuts))
    ids = torch.randint(0, 100, (2, sum(cuts) + 100), generator=random)
    with torch.no_grad():
        whole = model(ids)
        cache = model.new_cache()
        pieces = [model(part, cache=cache) for part in ids.split([*cuts, 100], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=5e-5, rtol=1e-4)
        cache = model.new_cache()
        rows = ids[:1, : max(lengths)].repeat(len(lengths), 1)
        model(rows, cache=cache)
        cache.trim(lengths)
        for step in range(3):
            new = torch.stack([ids[0, n + step] for n in lengths])[:, None]
            hidden = model(new, cache=cache)[:, 0]
            for row, n in enumerate(lengths):
                torch.testing.assert_close(hidden[row], whole[0, n + step], atol=5e-5, rtol=1e-4)


def test_nothing_crosses_from_one_packed_row_to_the_next() -> None:
    """Not even the smear, whose shift is by one token."""
    model = random_model()
    ids = torch.randint(0, 100, (330,), generator=torch.Generator().manual_seed(5))
    spans = [(0, 150), (150, 151), (151, 330)]
    with torch.no_grad():
        packed = model(ids, spans=spans)
        alone = torch.cat([model(ids[None, start:end])[0] for start, end in spans])
    torch.testing.assert_close(packed, alone, atol=2e-5, rtol=1e-5)


@examples(60)
@given(
    tokens=st.integers(1, 70),
    window=st.integers(0, 80),
    heads=st.sampled_from([(2, 2), (4, 2), (3, 1)]),
)
def test_attention_in_blocks_is_masked_attention(
    tokens: int, window: int, heads: tuple[int, int]
) -> None:
    random = torch.Generator().manual_seed(tokens * 100 + window)
    q = torch.randn(2, tokens, heads[0], 8, generator=random)
    k, v = (torch.randn(2, tokens, heads[1], 8, generator=random) for _ in range(2))
    back = torch.arange(tokens)[:, None] - torch.arange(tokens)
    wanted = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=(back >= 0) & (back <= window),
        enable_gqa=True,
    ).transpose(1, 2)
    found = padded_attention(q, k, v, window)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_recomputed_blocks_give_the_same_gradient() -> None:
    ids = torch.randint(0, 100, (1, 160), generator=torch.Generator().manual_seed(5))
    gradients = []
    for recompute in (False, True):
        model = random_model()
        model.checkpoint_blocks = recompute
        model(ids).square().sum().backward()
        gradients.append([weight.grad for weight in model.parameters() if weight.dim() > 1])
    for a, b in zip(*gradients, strict=True):
        if a is not None or b is not None:
            torch.testing.assert_close(a, b)


def tensors(has: parts.Parts = parts.NEWEST) -> dict[str, tuple[int, ...]]:
    return random_model(has).config.parameter_shapes()


def without(name: str) -> dict[str, tuple[int, ...]]:
    return {key: shape for key, shape in tensors().items() if not key.startswith(name)}


@pytest.mark.parametrize(
    ("found", "era"),
    [
        ({"transformer.wte.weight": (128, 32), "lm_head.weight": (128, 32)}, "9 December 2025"),
        (tensors(parts.OCTOBER) | {"resid_lambdas": (3,), "x0_lambdas": (3,)}, "11 to 15 January"),
        (
            {
                key: (1, 32) if "ve_gate" in key else shape
                for key, shape in without("smear").items()
                if key != "backout_lambda"
            },
            "16 January to 8 March",
        ),
        (
            {key: shape for key, shape in without("smear").items() if key != "backout_lambda"},
            "9 to 13 March 2026",
        ),
    ],
)
def test_eras_between_the_generations_are_refused_by_their_dates(
    found: dict[str, tuple[int, ...]], era: str
) -> None:
    with pytest.raises(CheckpointError, match=era):
        GPTConfig.from_dict(SHAPE, found)


@pytest.mark.parametrize(
    ("gone", "part"),
    [
        ("smear", "smear"),
        ("backout", "backout"),
        (("resid_lambdas", "x0_lambdas"), "residual_mix"),
        ("value_embeds", "value_embeddings"),
    ],
)
def test_a_part_that_a_later_nanochat_leaves_out_is_left_out_here(gone: Any, part: str) -> None:
    names = gone if isinstance(gone, tuple) else (gone,)
    gates = part == "value_embeddings"

    def drops(key: str) -> bool:
        return key.startswith(names) or (gates and "ve_gate" in key)

    found = {key: shape for key, shape in tensors().items() if not drops(key)}
    config = GPTConfig.from_dict(SHAPE | {"window_pattern": "SSSL"}, found)
    changed: dict[str, Any] = {part: False}
    assert config.parts == replace(parts.NEWEST, **changed)
    assert config.parameter_shapes() == found
    assert GPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    ids = torch.zeros(1, 140, dtype=torch.int64)
    assert torch.isfinite(random_model(config.parts)(ids)).all()


def test_unknown_tensors_are_refused_by_name() -> None:
    found = tensors() | {"router.weight": (4, 32)}
    config = GPTConfig.from_dict(SHAPE | {"window_pattern": "L"}, found)
    state = random_model().state_dict() | {"router.weight": torch.zeros(4, 32)}
    with pytest.raises(CheckpointError, match=r"router\.weight"):
        GPT.from_state(config, state)


def test_a_meta_file_without_a_pattern_means_full_attention() -> None:
    config = GPTConfig.from_dict(SHAPE, tensors())
    assert config.windows == (512, 512, 512)
    pattern = GPTConfig.from_dict(SHAPE | {"window_pattern": "sl", "n_layer": 5})
    assert pattern.windows == (128, 512, 128, 512, 512)
    with pytest.raises(CheckpointError, match="window_pattern"):
        GPTConfig.from_dict(SHAPE | {"window_pattern": "SXL"})


def test_windows_are_taken_by_the_kernel_for_packed_rows() -> None:
    """torch's kernel has them since 2.11: no loop over documents on CUDA."""
    ends = attention.document_ends([200, 300])
    assert attention._varlen_attention(ends, 300, 128) is not None
