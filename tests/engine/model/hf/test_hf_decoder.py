"""Every architecture gives transformers' own numbers: losses, gradients, rows with a cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from engine import fit
from engine.config import OptimConfig
from engine.errors import CheckpointError
from engine.model.hf import document_attention, hf_config, hf_save, hf_start, hf_weights
from engine.model.hf.hf_config import HfConfig, Lora
from engine.model.hf.hf_tokenizer import HfTokenizer
from engine.model.hf.hf_weights import TrainedDecoder
from engine.step.loss import weighted_loss
from tests import hf_material
from tests.engine.model.hf import architectures
from tests.engine.model.hf.architectures import CONFIGS, VOCAB

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]

LENGTHS = (17, 5, 11)
LOSS_ABS, GRADIENT_REL, LOGIT_ABS = 2e-6, 5e-6, 5e-6


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCAB, (n,), generator=random) for n in LENGTHS]


def padded(found: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros(len(found), max(LENGTHS), dtype=torch.long)
    seen = torch.zeros_like(ids)
    for index, row in enumerate(found):
        ids[index, : len(row)], seen[index, : len(row)] = row, 1
    return ids, seen


def reference_loss(model: Any) -> torch.Tensor:
    """transformers' logits of a padded batch, the token mean of the next tokens' losses."""
    ids, seen = padded(rows())
    labels = ids.masked_fill(seen == 0, -100)
    logits = model(input_ids=ids, attention_mask=seen).logits
    return F.cross_entropy(
        logits[:, :-1].reshape(-1, VOCAB), labels[:, 1:].reshape(-1), ignore_index=-100
    )


def packed_loss(model: TrainedDecoder) -> torch.Tensor:
    """Our packed rows and our chunked loss."""
    found, spans, start = rows(), [], 0
    for row in found:
        spans.append((start, start + len(row)))
        start += len(row)
    ids = torch.cat(found)
    places = torch.cat([torch.arange(a, b - 1) for a, b in spans])
    return chunked_loss(model, model(ids, spans=spans), ids, places)


def padded_loss(model: TrainedDecoder) -> torch.Tensor:
    """Rows of a rectangle, as `--layout padded` gives them, and our chunked loss."""
    ids, seen = padded(rows())
    # The last token of a row is followed by nothing, or by padding.
    followed = F.pad(seen[:, 1:], (0, 1)).flatten()
    hidden = model(ids).flatten(0, 1)
    return chunked_loss(model, hidden, ids.flatten(), followed.nonzero()[:, 0])


def chunked_loss(
    model: TrainedDecoder, hidden: torch.Tensor, ids: torch.Tensor, places: torch.Tensor
) -> torch.Tensor:
    """The mean over the tokens behind these places; `hidden` [N, D], `ids` [N]."""
    loss, _ = weighted_loss(
        hidden.index_select(0, places),
        model.head_weight,
        ids[places + 1],
        torch.full((len(places),), 1 / len(places)),
        chunk=7,
        softcap=model.softcap,
    )
    return loss


LAYOUTS = {"packed": packed_loss, "padded": padded_loss}


def folder_of(model: Any, path: Path) -> Path:
    model.save_pretrained(path)
    return path


def decoder_of(path: Path, lora: Lora | None = None) -> TrainedDecoder:
    shape = hf_config.read_folder(path, lora=lora)
    return hf_weights.build(shape, hf_weights.start_state(shape))


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_and_padded_rows_have_transformers_loss_and_gradients(
    name: str, tmp_path: Path
) -> None:
    model = architectures.reference(name)
    ours = decoder_of(folder_of(model, tmp_path / "model"))
    model.train(), ours.train()
    wanted = reference_loss(model)
    wanted.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    trained = dict(ours.named_parameters())
    assert set(gradients) <= set(trained)
    whole = torch.stack([g.norm() for g in gradients.values()]).norm()
    for layout, loss_of in LAYOUTS.items():
        ours.zero_grad()
        found = loss_of(ours)
        found.backward()
        assert found.item() == pytest.approx(wanted.item(), abs=LOSS_ABS), layout
        for each, gradient in gradients.items():
            got = trained[each].grad
            assert got is not None, (layout, each)
            assert float((got - gradient).norm()) <= GRADIENT_REL * float(whole), (layout, each)


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_of_unequal_lengths_go_on_from_a_cache(name: str, tmp_path: Path) -> None:
    """Padded on the right, read at once, cut to their lengths, continued together."""
    model = architectures.reference(name)
    ours = decoder_of(folder_of(model, tmp_path / "model"))
    model.eval(), ours.eval()
    ids, _ = padded(rows())
    following = torch.randint(3, VOCAB, (3, 4), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        cache = ours.new_cache()
        ours(ids, cache=cache)
        cache.trim(LENGTHS)
        steps = [ours.logits(ours(following[:, i : i + 1], cache=cache)) for i in range(4)]
        found = torch.cat(steps, dim=1)
        for index, row in enumerate(rows()):
            whole = torch.cat([row, following[index]])[None]
            wanted = model(input_ids=whole).logits[0, len(row) :]
            assert float((found[index] - wanted).abs().max()) <= LOGIT_ABS


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
def test_a_short_row_goes_on_to_the_last_position_when_longer_ones_have_ended(
    name: str, tmp_path: Path
) -> None:
    """The places of rows that are gone are no places any more; an answer at the end of the
    positions broke the whole evaluation."""
    model = architectures.reference(name)
    ours = decoder_of(folder_of(model, tmp_path / "model"))
    model.eval(), ours.eval()
    most = ours.config.max_positions
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(3, VOCAB, (3, most), generator=draw)
    lengths = [most - 9, most - 2, most - 5]
    with torch.no_grad():
        cache = ours.new_cache()
        ours(ids[:, : max(lengths)], cache=cache)
        cache.trim(lengths)
        for kept, until in (([0, 2], most - 4), ([0], most)):
            cache.select(torch.tensor([[0, 2].index(row) if until == most else row
                                       for row in kept]))  # fmt: skip
            assert cache.length == max(lengths[row] for row in kept)
            while lengths[0] < until:
                newest = torch.stack([ids[row, lengths[row]] for row in kept])[:, None]
                found = ours.logits(ours(newest, cache=cache))[:, 0]
                for place, row in enumerate(kept):
                    lengths[row] += 1
                    whole = ids[row : row + 1, : lengths[row]]
                    wanted = model(input_ids=whole).logits[0, -1]
                    assert float((found[place] - wanted).abs().max()) <= LOGIT_ABS
                if max(lengths[row] for row in kept) == most:
                    break
    assert lengths[0] == most


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss"])
def test_kept_inputs_instead_of_activations_change_no_gradient(name: str, tmp_path: Path) -> None:
    path = folder_of(architectures.reference(name), tmp_path / "model")
    plain, kept = decoder_of(path), decoder_of(path)
    kept.checkpoint_blocks = True
    for model in (plain, kept):
        model.train()
        packed_loss(model).backward()
    for (each, a), (_, b) in zip(plain.named_parameters(), kept.named_parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), each


@pytest.mark.parametrize("name", CONFIGS)
def test_adapters_have_pefts_loss_and_gradients(name: str, tmp_path: Path) -> None:
    """The same adapters around transformers' own eager model."""
    import peft

    lora = Lora(rank=4, alpha=8.0)
    ours = decoder_of(folder_of(architectures.reference(name), tmp_path / "model"), lora)
    model = architectures.reference(name)
    settings = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    theirs: Any = peft.get_peft_model(model, settings)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in ours.parameters():
            # B is zero at the start, and so would be the gradient of A.
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.1)
        adapters = dict(theirs.named_parameters())
        for each, parameter in ours.named_parameters():
            adapters[each].copy_(parameter)
    theirs.train(), ours.train()
    wanted = reference_loss(theirs)
    wanted.backward()
    assert ours.config.num_trained == sum(p.numel() for p in ours.parameters())
    for layout, loss_of in LAYOUTS.items():
        ours.zero_grad()
        found = loss_of(ours)
        found.backward()
        assert found.item() == pytest.approx(wanted.item(), abs=LOSS_ABS), layout
        for each, parameter in ours.named_parameters():
            assert ".lora_" in each
            same = torch.allclose(parameter.grad, adapters[each].grad, rtol=1e-4, atol=1e-6)
            assert same, (layout, each)


OPTIONS: dict[str, tuple[Lora, dict[str, Any]]] = {
    "alpha": (Lora(rank=4, alpha=3.0), {"lora_alpha": 3}),
    "rank-stabilized": (
        Lora(rank=4, alpha=3.0, rslora=True),
        {"lora_alpha": 3, "use_rslora": True},
    ),
    "targets": (
        Lora(rank=4, alpha=4.0, targets=("q_proj", "down_proj")),
        {"lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]},
    ),
    "a head trained whole": (
        Lora(rank=4, alpha=4.0, save=("lm_head",)),
        {"lora_alpha": 4, "modules_to_save": ["lm_head"]},
    ),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_adapters_means_what_it_means_to_peft(option: str, tmp_path: Path) -> None:
    """Before and after merging, against a `LoraConfig` written by hand and transformers' forward:
    loss, gradients, and the logits of peft's own merge."""
    import peft

    lora, written = OPTIONS[option]
    path = folder_of(architectures.reference("llama"), tmp_path / "model")
    ours = decoder_of(path, lora)
    settings: dict[str, Any] = {"r": 4, "target_modules": "all-linear"} | written
    theirs: Any = peft.get_peft_model(
        architectures.reference("llama"), peft.LoraConfig(task_type="CAUSAL_LM", **settings)
    )
    trained = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
    assert set(trained) == {name for name, _ in ours.named_parameters()}
    assert ours.config.num_trained == sum(p.numel() for p in trained.values())
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.1)
            trained[name].copy_(parameter)
    theirs.train(), ours.train()
    wanted, found = reference_loss(theirs), packed_loss(ours)
    wanted.backward(), found.backward()
    assert found.item() == pytest.approx(wanted.item(), abs=LOSS_ABS)
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter.grad, trained[name].grad, rtol=1e-4, atol=1e-6), name
    hf_save.save(tmp_path / "merged", ours.config, ours.state_dict(), tokenizer_beside(path))
    from transformers import AutoModelForCausalLM

    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    ids, _ = padded(rows())
    with torch.no_grad():
        wanted_logits = theirs.merge_and_unload().eval()(ids).logits
        assert float((merged.eval()(ids).logits - wanted_logits).abs().max()) <= 1e-5


def tokenizer_beside(path: Path) -> HfTokenizer:
    return HfTokenizer(hf_material.content(), str(path))


def test_dropout_leaves_inputs_of_adapters_out_and_measures_without(tmp_path: Path) -> None:
    """peft's own module: the same numbers from the same generator, none left out in `eval`."""
    import peft

    path = folder_of(architectures.reference("llama"), tmp_path / "model")
    ours = decoder_of(path, Lora(rank=4, alpha=8.0, dropout=0.5))
    theirs: Any = peft.get_peft_model(
        architectures.reference("llama"),
        peft.LoraConfig(
            r=4,
            lora_alpha=8,
            lora_dropout=0.5,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    random = torch.Generator().manual_seed(3)
    adapters = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.1)
            adapters[name].copy_(parameter)
    row = rows()[0]
    found = {}
    for training in (True, False):
        theirs.train(training), ours.train(training)
        torch.manual_seed(7)
        wanted = theirs(row[None]).logits[0]
        torch.manual_seed(7)
        found[training] = ours.logits(ours(row, spans=[(0, len(row))])).detach()
        assert float((found[training] - wanted.detach()).abs().max()) <= LOGIT_ABS
    assert float((found[True] - found[False]).abs().max()) > 1e-3


def test_adapters_begin_alike_on_every_rank_and_change_nothing_at_the_start(
    tmp_path: Path,
) -> None:
    path = folder_of(architectures.reference("llama"), tmp_path / "model")
    whole, lora = decoder_of(path), Lora(rank=4, alpha=8.0)
    torch.manual_seed(1)
    one = decoder_of(path, lora)
    torch.manual_seed(2)
    other = decoder_of(path, lora)
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert packed_loss(one).item() == pytest.approx(packed_loss(whole).item(), abs=1e-6)


def test_the_optimizer_gets_every_trained_parameter_once(tmp_path: Path) -> None:
    ours = decoder_of(folder_of(architectures.reference("llama tied"), tmp_path / "model"))
    groups = ours.optimizer_groups(OptimConfig(weight_decay=0.1))
    named = [name for group in groups for name in group.parameters]
    assert sorted(named) == sorted(name for name, _ in ours.named_parameters())
    decays = {group.name: group.weight_decay for group in groups}
    assert decays == {"tables": 0.1, "decay": 0.1, "no_decay": 0.0}


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4.0)])
def test_a_description_is_read_back(lora: Lora | None, tmp_path: Path) -> None:
    shape = hf_config.read_folder(
        folder_of(architectures.reference("qwen3"), tmp_path / "model"), lora=lora
    )
    assert HfConfig.from_dict(shape.to_dict()) == shape


def _changed(path: Path, **settings: object) -> Path:
    found = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(found | settings))
    return path


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"is_encoder_decoder": True}, "decoder alone"),
        ({"vision_config": {"hidden_size": 3}}, "more than text"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "--trust-remote-code"),
        ({"quantization_config": {"bits": 4}}, "unquantized"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ({"model_type": None}, "no model_type"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
    ],
)
def test_what_cannot_be_trained_exactly_is_refused_by_name(
    settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    path = folder_of(architectures.reference("llama"), tmp_path / "model")
    with pytest.raises(CheckpointError, match=words):
        hf_config.read_folder(_changed(path, **settings))


@pytest.mark.parametrize("cut", [4, 100, 2000])
def test_half_a_file_of_weights_is_refused(cut: int, tmp_path: Path) -> None:
    path = folder_of(architectures.reference("llama"), tmp_path / "model")
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="Download it again"):
        hf_config.read_folder(path)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_mixture_of_experts_says_which_loss_it_is_trained_without(
    name: str, tmp_path: Path
) -> None:
    """And no other model does."""
    path = tmp_path / "config.json"
    architectures.config(name).to_json_file(path, use_diff=False)
    described = json.loads(path.read_text())
    shape = HfConfig(config=described, folder=tmp_path, shapes={}, fingerprint="")
    said = hf_start.experts_note(shape)
    assert bool(said) is (name in {"gpt_oss", "qwen3_moe", "olmoe"})
    assert not said or "balances" in said


def test_a_base_that_changed_since_is_refused(tmp_path: Path) -> None:
    path = folder_of(architectures.reference("llama"), tmp_path / "model")
    shape = hf_config.read_folder(path)
    folder_of(architectures.reference("qwen2"), path)
    with pytest.raises(CheckpointError, match="other weights than the run began with"):
        hf_weights.start_state(shape)


def test_a_head_with_a_bias_is_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "phi", **(architectures.COMMON | {"num_key_value_heads": 4, "partial_rotary_factor": 0.5})
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match="a bias"):
        decoder_of(tmp_path / "model")


def test_a_tokenizer_that_transformers_reads_in_another_way_is_refused(tmp_path: Path) -> None:
    path = hf_material.folder(tmp_path / "model")
    shape, tokenizer = hf_config.read_folder(path), HfTokenizer.load(path)
    hf_weights.check_tokenizer(shape, tokenizer)
    other = hf_material.tokenizer("llama3")
    other.add_tokens(["Hello"])
    other.save_pretrained(path)
    with pytest.raises(CheckpointError, match="not read here as transformers reads it"):
        hf_weights.check_tokenizer(shape, tokenizer)


def test_what_attention_cannot_do_exactly_is_refused(tmp_path: Path) -> None:
    """A score that would be left out in silence (a bias by position, say)."""
    ours = decoder_of(folder_of(architectures.reference("llama"), tmp_path / "model"))
    inner: Any = ours.model
    layer = inner.model.layers[0].self_attn
    q, k, v = (torch.zeros(1, heads, 3, 8) for heads in (4, 2, 2))
    document_attention.attend(layer, q, k, v, None, position_ids=torch.arange(3))
    with pytest.raises(CheckpointError, match="asks for position_bias"):
        document_attention.attend(layer, q, k, v, None, position_bias=torch.zeros(1))


def test_a_frozen_head_gets_no_gradient_and_the_hidden_states_the_same() -> None:
    hidden, head = torch.randn(9, 8), torch.randn(VOCAB, 8)
    targets, weights = torch.arange(9), torch.full((9,), 1 / 9)
    found = []
    for trained in (True, False):
        states = hidden.clone().requires_grad_()
        weight = head.clone().requires_grad_(trained)
        weighted_loss(states, weight, targets, weights, chunk=4, softcap=None)[0].backward()
        assert (weight.grad is not None) is trained
        found.append(states.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("mixed", [True, False])
def test_memory_counts_the_frozen_base(mixed: bool, tmp_path: Path) -> None:
    """Adapters are small; what they stand beside is not."""
    path = folder_of(architectures.reference("llama"), tmp_path / "model")
    whole, adapted = (
        hf_config.read_folder(path, lora=each) for each in (None, Lora(rank=2, alpha=4))
    )
    found = [
        fit.estimate(fit.MemoryPlan(shape=s, tokens=64, mixed=mixed)) for s in (whole, adapted)
    ]
    model, decoder = whole.num_parameters, decoder_of(path, Lora(rank=2, alpha=4))
    assert (found[0].parameters, found[0].frozen) == (4 * model, 0)
    assert found[1].frozen == (2 if mixed else 4) * model
    trained = sum(p.numel() for p in decoder.parameters())
    assert found[1].parameters == 4 * trained
    assert found[1].optimizer == 8 * trained
    assert found[1].peak > found[1].frozen
