"""Exports: transformers computes what we compute, and reads chats as we render them."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from engine.checkpoints import checkpoint_target, hf_export, load_target, nanochat_paths
from engine.checkpoints.hf_tokenizer import tokenizer_json
from engine.commands import export_checkpoint
from engine.conversations.chat_format import render_conversation, render_for_completion
from engine.conversations.conversation import parse_messages
from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError
from engine.model.nanochat.gpt import GPT
from tests import tiny
from tests.conftest import SHARED, examples, needs_shared
from tests.engine.small import BYTES, tiny_model

NANOCHAT_BASE = SHARED / "nanochat" / "base"

CHATS = [
    [{"role": "user", "content": "Hi  there\n"}, {"role": "assistant", "content": " Hello.\n\n"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "7*6?"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "It is "},
                {"type": "python", "text": "7*6"},
                {"type": "python_output", "text": "42"},
                {"type": "text", "text": "42."},
            ],
        },
        {"role": "user", "content": "谢谢 \U0001f600 it's 1234 don't"},
        {"role": "assistant", "content": "ok"},
    ],
]


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def export_tiny(folder, model: GPT | None = None) -> GPT:
    model = tiny_model() if model is None else model
    hf_export.export(folder, model.config, model.state_dict(), BYTES)
    return model


def logits(model: GPT, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.logits(model(ids))


def fp32_tables(model: GPT) -> GPT:
    """The same model with rotary tables that were not rounded to bf16."""
    half = torch.arange(0, model.config.head_dim, 2, dtype=torch.float32) / model.config.head_dim
    angle = torch.outer(torch.arange(model.config.max_positions).float(), 10_000.0**-half)
    model.cos, model.sin = angle.cos(), angle.sin()
    return model


def test_transformers_computes_the_same_logits(tmp_path, transformers):
    """Every tensor is found; with equal rotary tables logits agree to rounding, grouped keys
    included."""
    model = export_tiny(tmp_path / "hf")
    theirs, loading = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "hf", output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    ids = torch.randint(0, 256, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = theirs.eval()(ids).logits
    assert torch.allclose(found, logits(fp32_tables(model), ids), atol=2e-5)


@needs_shared
def test_a_trained_model_keeps_its_predictions(tmp_path, transformers):
    """The genuine d4: logits within what the rounded tables move, the same likeliest tokens."""
    target = checkpoint_target.find(str(NANOCHAT_BASE), runs=tmp_path)
    model = load_target.load_model(target, torch.device("cpu"))
    tokenizer = load_target.load_tokenizer(target)
    hf_export.export(tmp_path / "hf", model.config, model.state_dict(), tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    ids = torch.tensor([tokenizer.encode_ordinary("The capital of France is Paris. " * 8)])
    ours = logits(model, ids)
    with torch.no_grad():
        found = theirs(ids).logits
    assert torch.allclose(found, ours, atol=0.05)
    assert torch.equal(found.argmax(-1), ours.argmax(-1))
    assert torch.allclose(found, logits(fp32_tables(model), ids), atol=2e-5)


@needs_shared
def test_chats_are_rendered_as_ours(tmp_path, transformers):
    """Chat template and tokenizer together give the very ids that training saw."""
    tokenizer = Tokenizer.load(NANOCHAT_BASE / "tokenizer" / "tokenizer.pkl")
    model = tiny_model()
    config = model.config
    folder = tmp_path / "hf"
    hf_export.export(folder, config, model.state_dict(), tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for chat in CHATS:
        conversation = parse_messages(chat)
        found = theirs.apply_chat_template(chat, tokenize=True, return_dict=False)
        assert found == render_conversation(tokenizer, conversation).ids
        asked = theirs.apply_chat_template(
            chat[:-1], tokenize=True, add_generation_prompt=True, return_dict=False
        )
        assert asked == render_for_completion(tokenizer, conversation)
    assert theirs.eos_token_id == tokenizer.special("<|assistant_end|>")


@needs_shared
def test_text_is_cut_into_the_same_tokens():
    """Any text, a special token spelled out included: the library gives tiktoken's ids."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = Tokenizer.load(NANOCHAT_BASE / "tokenizer" / "tokenizer.pkl")
    theirs = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    theirs.encode_special_tokens = True
    spelled = st.sampled_from(sorted(tokenizer.special_tokens))

    @examples(300)
    @example("<|user_end|>")
    @given(
        st.one_of(
            st.text(),
            st.text("aehilnorst '\n0123.,", max_size=60),
            st.lists(st.one_of(spelled, st.text(max_size=5)), max_size=5).map("".join),
        )
    )
    def same(text: str) -> None:
        assert theirs.encode(text, add_special_tokens=False).ids == tokenizer.encode_ordinary(text)

    same()


@needs_shared
def test_a_special_token_spelled_out_is_one_unless_it_is_to_be_split(tmp_path, transformers):
    """The library's way with text, which its chat template needs, and the way to ours."""
    tokenizer = Tokenizer.load(NANOCHAT_BASE / "tokenizer" / "tokenizer.pkl")
    model = tiny_model()
    hf_export.export(tmp_path / "hf", model.config, model.state_dict(), tokenizer)
    text = "a<|user_end|>b"
    whole = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    parted = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf", split_special_tokens=True)
    a, b = (tokenizer.encode_ordinary(letter) for letter in "ab")
    assert whole.encode(text) == [*a, tokenizer.special("<|user_end|>"), *b]
    assert parted.encode(text) == tokenizer.encode_ordinary(text)


def test_an_export_is_read_back(tmp_path):
    """Our own reader gets every bit, and the folder counts as a checkpoint."""
    model = export_tiny(tmp_path / "hf")
    target = checkpoint_target.find(str(tmp_path / "hf"), runs=tmp_path)
    assert (target.kind, target.config) == ("hf", model.config)
    state = load_target.load_state(target)
    assert {name: t.tolist() for name, t in state.items()} == {
        name: t.tolist() for name, t in model.state_dict().items()
    }
    assert load_target.load_tokenizer(target).digest == BYTES.digest


def test_nothing_is_overwritten(tmp_path):
    """A folder with anything in it is refused, and nothing half-written stays."""
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not empty"):
        export_tiny(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_weights_of_another_shape_are_refused(tmp_path):
    """A config.json that does not fit its weights."""
    export_tiny(tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    target = checkpoint_target.find(str(tmp_path / "hf"), runs=tmp_path)
    with pytest.raises(CheckpointError, match="lacks the tensor"):
        load_target.load_state(target)


def job(text: object, output: object, form: str) -> dict[str, object]:
    names = {"text": str(text), "source": None, "model_tag": None, "step": None, "runs": "runs"}
    return {"target": names, "format": form, "output": str(output), "tag": None}


def test_an_export_for_nanochat_is_a_cache_of_its_own(tmp_path):
    """From transformers' folder back to nanochat's layout, tokenizer included, no bit lost."""
    model = export_tiny(tmp_path / "hf")
    done = export_checkpoint.export(job(tmp_path / "hf", tmp_path / "cache", "nanochat"))
    ref = nanochat_paths.find_checkpoint("sft", base=tmp_path / "cache")
    assert (str(ref.model_path), ref.model_tag) == (done["path"], "d1")
    assert Tokenizer.load(ref.tokenizer_path).digest == BYTES.digest
    target = checkpoint_target.find(str(tmp_path / "cache"), runs=tmp_path)
    state = load_target.load_state(target)
    assert all(torch.equal(state[name], t) for name, t in model.state_dict().items())
    with pytest.raises(CheckpointError, match="exists; expected a place of its own"):
        export_checkpoint.export(job(tmp_path / "hf", tmp_path / "cache", "nanochat"))


def test_a_cache_holds_one_tokenizer(tmp_path):
    """Exporting into a cache with another tokenizer would make its checkpoints useless."""
    cache = tiny.write_cache(tmp_path / "cache")
    export_tiny(tmp_path / "hf")
    other = BYTES.merges[1], BYTES.merges[0], *BYTES.merges[2:]
    Tokenizer.from_merges(BYTES.pattern, other).save_pickle(cache / "tokenizer" / "tokenizer.pkl")
    with pytest.raises(CheckpointError, match="another tokenizer"):
        export_checkpoint.export(job(tmp_path / "hf", cache, "nanochat"))
