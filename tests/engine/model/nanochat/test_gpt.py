"""The model computes nanochat's numbers, in both layouts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from engine.checkpoints.nanochat_io import load_weights
from engine.checkpoints.nanochat_paths import find_checkpoint
from engine.errors import CheckpointError
from engine.model.nanochat.gpt import GPT, GPTConfig
from tests.conftest import SHARED, examples, needs_shared

TINY = GPTConfig(sequence_len=8, vocab_size=40, n_layer=2, n_head=4, n_kv_head=2, n_embd=32)


def random_model(config: GPTConfig = TINY, seed: int = 0) -> GPT:
    """Every weight random, so that no branch is multiplied by zero."""
    model = GPT(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, weight.shape[1] ** -0.5, generator=generator)
    return model


def by_the_book(model: GPT, ids: list[int]) -> torch.Tensor:
    """Logits [T, V] of one row, position by position, written from the fact sheet in fp64."""
    config = model.config
    weights = {name: weight.detach().double() for name, weight in model.named_parameters()}

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1.1920929e-07).sqrt()

    def rotate(x: torch.Tensor, position: int) -> torch.Tensor:
        half = config.head_dim // 2
        frequency = 1.0 / 10_000 ** (torch.arange(half, dtype=torch.float32) / half)
        angle = position * frequency
        cos, sin = angle.cos().bfloat16().double(), angle.sin().bfloat16().double()
        first, second = x[..., :half], x[..., half:]
        return torch.cat((first * cos + second * sin, -first * sin + second * cos), -1)

    x = norm(weights["transformer.wte.weight"][ids])
    for layer in range(config.n_layer):
        part = {
            name: weights[f"transformer.h.{layer}.{name}.weight"]
            for name in (
                *("attn.c_q", "attn.c_k", "attn.c_v", "attn.c_proj"),
                *("mlp.c_fc", "mlp.c_proj"),
            )
        }
        y = norm(x)
        q = (y @ part["attn.c_q"].T).view(len(ids), config.n_head, -1)
        k = (y @ part["attn.c_k"].T).view(len(ids), config.n_kv_head, -1)
        v = (y @ part["attn.c_v"].T).view(len(ids), config.n_kv_head, -1)
        q = torch.stack([norm(rotate(q[t], t)) for t in range(len(ids))])
        k = torch.stack([norm(rotate(k[t], t)) for t in range(len(ids))])
        out = torch.zeros_like(q)
        for t in range(len(ids)):
            for head in range(config.n_head):
                kv = head // (config.n_head // config.n_kv_head)
                scores = k[: t + 1, kv] @ q[t, head] / config.head_dim**0.5
                out[t, head] = scores.softmax(0) @ v[: t + 1, kv]
        x = x + out.flatten(1) @ part["attn.c_proj"].T
        x = x + F.relu(norm(x) @ part["mlp.c_fc"].T).square() @ part["mlp.c_proj"].T
    logits = norm(x) @ weights["lm_head.weight"].T
    return 15 * torch.tanh(logits / 15)


@needs_shared
@pytest.mark.parametrize(("source", "name"), [("mid", "mid"), ("sft", "sft")])
def test_logits_are_nanochats(source: str, name: str) -> None:
    """The recorded logits of both reference checkpoints are met within 2e-4, every argmax too."""
    base = SHARED / "nanochat"
    model = GPT.from_state(*load_weights(find_checkpoint(source, base=base / "base")))
    reference = json.loads((base / f"ref/render_and_eval_{name}.json").read_text())
    probe: dict[str, Any] = reference["logits_probe"]
    with torch.no_grad():
        logits = model.logits(model(torch.tensor(probe["input_ids"])))
    expected = torch.tensor(probe["logits_last_pos_first_16"])
    torch.testing.assert_close(logits[:, -1, :16], expected, atol=2e-4, rtol=0.0)
    assert logits.double().norm().item() == pytest.approx(probe["logits_l2"], rel=1e-6)
    assert logits.argmax(-1).tolist() == probe["argmax"]


@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
def test_the_forward_pass_is_the_fact_sheets(n_kv_head: int) -> None:
    """Against a slow fp64 version: norms, rotation, grouped heads, relu squared, softcap."""
    config = GPTConfig(
        sequence_len=8, vocab_size=40, n_layer=2, n_head=4, n_kv_head=n_kv_head, n_embd=32
    )
    model = random_model(config)
    ids = [3, 9, 9, 0, 39, 12, 7]
    with torch.no_grad():
        logits = model.logits(model(torch.tensor([ids])))[0]
    torch.testing.assert_close(logits.double(), by_the_book(model, ids), atol=2e-5, rtol=1e-5)


@examples(25)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    seed=st.integers(0, 3),
    checkpointed=st.booleans(),
)
def test_packed_rows_equal_padded_rows(lengths: list[int], seed: int, checkpointed: bool) -> None:
    """Documents end to end give each token the hidden state and gradient it has padded alone."""
    padded_model, packed_model = random_model(seed=seed), random_model(seed=seed)
    packed_model.checkpoint_blocks = checkpointed
    generator = torch.Generator().manual_seed(seed)
    documents = [torch.randint(0, 40, (n,), generator=generator) for n in lengths]
    pull = [torch.randn(n, 32, generator=generator) for n in lengths]

    rows = torch.nn.utils.rnn.pad_sequence(documents, batch_first=True, padding_value=1)
    padded = padded_model(rows)
    parts = [padded[i, :n] for i, n in enumerate(lengths)]
    (torch.cat(parts) * torch.cat(pull)).sum().backward()

    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    spans = [(end - n, end) for end, n in zip(ends, lengths, strict=True)]
    packed = packed_model(torch.cat(documents), spans=spans)
    (packed * torch.cat(pull)).sum().backward()

    torch.testing.assert_close(packed, torch.cat(parts), atol=1e-5, rtol=1e-5)
    for (name, got), want in zip(
        packed_model.named_parameters(), padded_model.parameters(), strict=True
    ):
        if name != "lm_head.weight":
            torch.testing.assert_close(got.grad, want.grad, atol=2e-4, rtol=1e-4)


def test_given_positions_are_used() -> None:
    """Positions handed in give what the model works out itself, and are not ignored."""
    model = random_model()
    ids, spans = torch.tensor([1, 2, 3, 4, 5]), [(0, 2), (2, 5)]
    with torch.no_grad():
        own = model(ids, spans=spans)
        given_ = model(ids, spans=spans, positions=torch.tensor([0, 1, 0, 1, 2]))
        other = model(ids, spans=spans, positions=torch.tensor([0, 1, 0, 2, 4]))
    torch.testing.assert_close(own, given_, atol=0.0, rtol=0.0)
    assert not torch.allclose(own, other)


def test_too_long_a_row_is_refused() -> None:
    """A document beyond ten times sequence_len raises; a long row of short ones does not."""
    model = random_model()
    with torch.no_grad():
        assert model(torch.zeros(81, dtype=torch.long), spans=[(0, 40), (40, 81)]).shape == (81, 32)
        with pytest.raises(ValueError, match="81 tokens"):
            model(torch.zeros(1, 81, dtype=torch.long))


def test_ids_and_spans_go_together() -> None:
    """A flat row without its documents would let them see each other, so it is refused."""
    with pytest.raises(ValueError, match="spans"):
        random_model()(torch.zeros(4, dtype=torch.long))


def test_autocast_keeps_the_residual_stream_in_bf16() -> None:
    """Under bf16 autocast hidden states are bf16 and near fp32's; the logits are fp32."""
    model, ids = random_model(), torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        exact = model(ids)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model(ids)
            logits = model.logits(hidden)
    assert hidden.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    assert F.cosine_similarity(hidden.float().flatten(), exact.flatten(), dim=0) > 0.999


def test_the_cuda_path_is_called_with_fitting_shapes() -> None:
    """On fake CUDA tensors the forward pass of a packed row goes through the varlen kernel."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Calls(TorchDispatchMode):
        names: set[str] = set()  # noqa: RUF012

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.names.add(str(func))
            return func(*args, **(kwargs or {}))

    with FakeTensorMode(), Calls() as calls, torch.no_grad():
        # Autocast switches itself off without a GPU, so the weights themselves are bf16 here.
        state = {
            name: torch.empty(shape, device="cuda", dtype=torch.bfloat16)
            for name, shape in TINY.parameter_shapes().items()
        }
        model = GPT.from_state(TINY, state)
        hidden = model(torch.zeros(9, dtype=torch.long, device="cuda"), spans=[(0, 4), (4, 9)])
    assert hidden.shape == (9, 32)
    assert any("varlen_attn" in name for name in calls.names)
    assert not any("scaled_dot_product" in name for name in calls.names)


def test_initial_weights_have_nanochats_spread() -> None:
    """A new model has unit embeddings, the fact sheet's spread, and zero output projections."""
    config = GPTConfig(sequence_len=8, vocab_size=500, n_layer=1, n_head=2, n_kv_head=2, n_embd=128)
    model = GPT(config)
    model.init_weights(torch.Generator().manual_seed(1))
    state = model.state_dict()
    assert state["transformer.wte.weight"].std().item() == pytest.approx(1.0, rel=0.02)
    fc = state["transformer.h.0.mlp.c_fc.weight"]
    assert fc.std().item() == pytest.approx(128**-0.5, rel=0.02)
    assert state["transformer.h.0.attn.c_q.weight"].std().item() == pytest.approx(
        128**-0.5, rel=0.03
    )
    for name in ("lm_head", "transformer.h.0.attn.c_proj", "transformer.h.0.mlp.c_proj"):
        assert not state[f"{name}.weight"].any()


def test_shapes_are_the_models_own() -> None:
    """The torch-free shape table lists exactly the tensors of the model, in file order."""
    model = GPT(TINY)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert list(shapes.items()) == list(TINY.parameter_shapes().items())
    assert TINY.num_parameters == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    ("n_layer", "total"), [(4, 36_700_160), (16, 335_544_320), (20, 560_988_160)]
)
def test_parameter_counts_are_the_fact_sheets(n_layer: int, total: int) -> None:
    """Depth d of nanochat's shape rule has the published number of parameters."""
    heads = -(-64 * n_layer // 128)
    config = GPTConfig(
        sequence_len=2048,
        vocab_size=65536,
        n_layer=n_layer,
        n_head=heads,
        n_kv_head=heads,
        n_embd=64 * n_layer,
    )
    assert config.num_parameters == total


def test_from_state_uses_the_tensors_themselves() -> None:
    """Loading copies nothing: the parameters are the tensors that were handed in."""
    state = random_model().state_dict()
    model = GPT.from_state(TINY, state)
    assert model.lm_head.weight.data_ptr() == state["lm_head.weight"].data_ptr()
    ids = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(model(ids), random_model()(ids), atol=0.0, rtol=0.0)


def test_a_state_that_does_not_fit_is_named() -> None:
    """A missing, unknown or misshapen tensor is a CheckpointError that names it."""
    state = random_model().state_dict()
    lacking = {name: tensor for name, tensor in state.items() if name != "lm_head.weight"}
    with pytest.raises(CheckpointError, match=r"lacks the tensor lm_head\.weight"):
        GPT.from_state(TINY, lacking)
    with pytest.raises(CheckpointError, match=r"tensor extra"):
        GPT.from_state(TINY, state | {"extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"shape \(41, 32\)"):
        GPT.from_state(TINY, state | {"lm_head.weight": torch.zeros(41, 32)})


@pytest.mark.parametrize(
    "change",
    [
        {"n_layer": 0},
        {"n_layer": 2.0},
        {"n_layer": True},
        {"n_head": 3},
        {"n_kv_head": 3},
        {"n_embd": 4},
        {"surprise": 1},
    ],
)
def test_an_impossible_shape_is_refused(change: dict[str, Any]) -> None:
    """Meta files with impossible or unknown numbers are refused before anything is built."""
    with pytest.raises(CheckpointError, match="model_config"):
        GPTConfig.from_dict(TINY.to_dict() | change)


def test_the_2026_generation_is_recognised() -> None:
    """From its meta file; its tensors under an older description are refused."""
    newer = GPTConfig.from_dict(TINY.to_dict() | {"window_pattern": "SSSL"})
    assert newer.generation == "2026"
    state = random_model().state_dict() | {"smear_gate.weight": torch.zeros(1, 24)}
    with pytest.raises(CheckpointError, match="2026 generation"):
        GPT.from_state(TINY, state)
