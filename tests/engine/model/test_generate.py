"""A model answers from its cache what it would answer without one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.checkpoints.nanochat_io import load_weights
from engine.checkpoints.nanochat_paths import find_checkpoint
from engine.conversations.chat_format import (
    OwnFormat,
    render_conversation,
    render_for_completion,
)
from engine.conversations.conversation import Conversation, Message
from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError, UsageError
from engine.model.generate import Dialogue, Sampling, TextStream, choose, text_of
from engine.model.kv_cache import KeyValueCache
from engine.model.nanochat.gpt import GPT, GPTConfig
from tests.conftest import SHARED, examples, needs_shared
from tests.engine.small import BYTES, tiny_model

END, BOS = BYTES.special("<|assistant_end|>"), BYTES.special("<|bos|>")


def model_of(n_kv_head: int = 2, *, sequence_len: int = 64, seed: int = 0) -> GPT:
    """Two layers of random weights, spread so that answers differ and now and then end."""
    config = GPTConfig(
        sequence_len=sequence_len,
        vocab_size=BYTES.vocab_size,
        n_layer=2,
        n_head=4,
        n_kv_head=n_kv_head,
        n_embd=32,
    )
    model = GPT(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 2 * weight.shape[1] ** -0.5, generator=generator)
    return model


def fixed_model(token: int) -> GPT:
    """A model that says one and the same token whatever it is told."""
    model = tiny_model()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("c_proj.weight"):
                weight.zero_()
        model.transformer["wte"].weight.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[token] = 1.0
    return model


@torch.no_grad()
def without_cache(model: GPT, ids: list[int], most: int) -> list[int]:
    """The greedy continuation, every token from a full forward pass over everything before it."""
    said: list[int] = []
    while len(said) < most:
        token = int(model.logits(model(torch.tensor([ids + said])))[0, -1].argmax())
        if token in (END, BOS):
            break
        said.append(token)
    return said


def rendered(prompt: str) -> list[int]:
    asked = Conversation((Message("user", prompt), Message("assistant", "")))
    return render_for_completion(BYTES, asked)


@examples(30)
@given(
    parts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    n_kv_head=st.sampled_from([1, 2, 4]),
    batch=st.integers(1, 2),
)
def test_a_cache_in_any_pieces_gives_the_hidden_states_of_one_pass(parts, n_kv_head, batch):
    """However the tokens are cut, and with grouped heads: within rounding of the full pass."""
    model = model_of(n_kv_head)
    generator = torch.Generator().manual_seed(sum(parts))
    ids = torch.randint(0, 265, (batch, sum(parts)), generator=generator)
    cache = KeyValueCache(num_layers=2, limit=640)
    with torch.no_grad():
        whole = model(ids)
        pieces = [model(part, cache=cache) for part in ids.split(parts, dim=1)]
    assert cache.length == sum(parts)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=2e-5, rtol=1e-5)


def test_a_cache_that_grows_keeps_what_it_holds():
    """Past its first room, a token at a time, up to the last position there is."""
    model = model_of(sequence_len=30)
    ids = torch.randint(0, 265, (1, 300), generator=torch.Generator().manual_seed(1))
    cache = KeyValueCache(num_layers=2, limit=300)
    with torch.no_grad():
        whole = model.logits(model(ids))
        found = [model(ids[:, :250], cache=cache)]
        found += [model(ids[:, t : t + 1], cache=cache) for t in range(250, 300)]
        logits = model.logits(torch.cat(found, 1))
        torch.testing.assert_close(logits, whole, atol=5e-5, rtol=1e-5)
        with pytest.raises(ValueError, match="301 tokens"):
            model(ids[:, :1], cache=cache)
    assert cache.length == 300


@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
def test_greedy_answers_are_those_of_full_passes(n_kv_head):
    """Token for token, over three turns of one conversation."""
    model = model_of(n_kv_head, seed=n_kv_head)
    dialogue = Dialogue(model, BYTES, Sampling(max_tokens=40))
    ids: list[int] = [BOS]
    for prompt in ("abc", "What?", "é"):
        ids += rendered(prompt)[1:]
        expected = without_cache(model, ids, 40)
        reply = dialogue.reply(prompt)
        assert list(reply) == reply.ids == expected
        ids += [*expected, END]
        assert dialogue.ids == ids


@needs_shared
@pytest.mark.slow
def test_a_trained_checkpoint_answers_as_without_a_cache():
    """nanochat's own reference checkpoint, with its tokenizer."""
    ref = find_checkpoint("sft", base=SHARED / "nanochat" / "base")
    model = GPT.from_state(*load_weights(ref))
    tokenizer = Tokenizer.load(ref.tokenizer_path)
    dialogue = Dialogue(model, tokenizer, Sampling(max_tokens=24))
    reply = dialogue.reply("Why is the sky blue?")
    said = list(reply)
    ids = dialogue.ids[: -1 - len(said)]
    with torch.no_grad():
        logits = model.logits(model(torch.tensor([[*ids, *said]])))[0, len(ids) - 1 :]
    assert logits[: len(said)].argmax(-1).tolist() == said


def test_the_conversation_is_rendered_as_in_training():
    """What the model is shown is what it was trained on, end tokens included."""
    dialogue = Dialogue(fixed_model(ord("y")), BYTES, Sampling(max_tokens=3))
    for prompt in ("<|bos|> hi", "more"):
        list(dialogue.reply(prompt))
    messages = []
    for prompt in ("<|bos|> hi", "more"):
        messages += [Message("user", prompt), Message("assistant", "yyy")]
    assert dialogue.ids == render_conversation(BYTES, Conversation(tuple(messages))).ids


@pytest.mark.parametrize(("token", "by"), [(END, "assistant_end"), (BOS, "bos")])
def test_the_model_ends_its_answer(token, by):
    """The ending token is no part of it."""
    reply = Dialogue(fixed_model(token), BYTES, Sampling()).reply("x")
    assert list(reply) == []
    assert reply.stopped_by == by


def test_a_limit_and_a_reader_end_it_too():
    """After `max_tokens`, or when nobody wants more; the conversation goes on from there."""
    dialogue = Dialogue(fixed_model(65), BYTES, Sampling(max_tokens=5))
    reply = dialogue.reply("x")
    assert list(reply) == [65] * 5
    assert reply.stopped_by == "max_tokens"
    reply = dialogue.reply("y")
    assert next(iter(reply)) == 65
    reply.close()
    assert reply.stopped_by == "interrupt"
    assert dialogue.ids[-2:] == [65, END]
    dialogue.clear()
    assert dialogue.ids == [BOS]


def test_the_last_position_ends_it_cleanly():
    """A prompt that just fits gets one token; a longer one is refused and not said."""
    model = fixed_model(65)
    limit = model.config.max_positions
    overhead = len(rendered(""))
    dialogue = Dialogue(model, BYTES, Sampling())
    reply = dialogue.reply("x" * (limit - overhead))
    assert list(reply) == [65]
    assert reply.stopped_by == "positions"
    with pytest.raises(UsageError, match="Begin a new conversation"):
        dialogue.reply("more")
    dialogue.clear()
    with pytest.raises(UsageError, match=f"positions for {limit}"):
        dialogue.reply("x" * (limit - overhead + 1))
    reply = dialogue.reply("x" * (limit - overhead - 3))
    assert list(reply) == [65] * 4
    assert reply.stopped_by == "positions"


class Lines(OwnFormat):
    """A template of one line a message, `you:` before the answer. It forgets all but the last
    question once there are more than two."""

    vocab_size = BYTES.vocab_size
    pad_id = 0
    stop_ids = frozenset({END})

    def decode(self, ids):
        return BYTES.decode(ids)

    def prompt(self, said):
        asked = [message.content for message in said if message.role == "user"]
        told = said if len(asked) < 3 else said[-1:]
        text = "".join(f"{message.role}:{message.content}\n" for message in told)
        return BYTES.encode_ordinary(f"{text}assistant:")

    def render(self, conversation, max_tokens):
        raise NotImplementedError

    def for_completion(self, conversation, max_tokens):
        raise NotImplementedError

    def letter(self, letter):
        raise NotImplementedError


def test_a_template_of_its_own_decides_what_the_model_is_shown():
    """Earlier turns are read anew where it writes them in another way."""
    dialogue = Dialogue(fixed_model(ord("y")), Lines(), Sampling(max_tokens=2))
    assert dialogue.ids == []
    assert list(dialogue.reply("a")) == [ord("y")] * 2
    assert BYTES.decode(dialogue.ids) == "user:a\nassistant:yy"
    list(dialogue.reply("b"))
    assert BYTES.decode(dialogue.ids) == "user:a\nassistant:yy\nuser:b\nassistant:yy"
    list(dialogue.reply("c"))
    assert BYTES.decode(dialogue.ids) == "user:c\nassistant:yy"


def test_a_first_prompt_that_is_too_long_for_a_template_comes_after_nothing():
    dialogue = Dialogue(fixed_model(65), Lines(), Sampling())
    with pytest.raises(UsageError, match=r"tokens; this model has positions .* Shorten it"):
        dialogue.reply("x" * dialogue.model.config.max_positions)


def test_sampling_follows_the_probabilities():
    """Drawn as softmax(logits / temperature) says, within four standard errors."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])
    random = torch.Generator().manual_seed(1)
    sampling = Sampling(temperature=0.7)
    draws = 4000
    counts = torch.bincount(
        torch.tensor([choose(logits, sampling, random) for _ in range(draws)]), minlength=5
    )
    p = torch.softmax(logits.double() / 0.7, 0)
    error = (p * (1 - p) / draws).sqrt()
    assert ((counts / draws - p).abs() < 4 * error).all()


def test_top_k_leaves_the_likeliest():
    """No other token is ever drawn; of one, it is greedy; more than there are is all."""
    logits = torch.tensor([0.1, 0.3, 0.2, -4.0])
    random = torch.Generator().manual_seed(1)
    hot = {"temperature": 50.0}
    two = Sampling(top_k=2, **hot)
    assert {choose(logits, two, random) for _ in range(100)} == {1, 2}
    assert {choose(logits, Sampling(top_k=1, **hot), random) for _ in range(20)} == {1}
    everything = Sampling(top_k=99, **hot)
    assert {choose(logits, everything, random) for _ in range(200)} == {0, 1, 2, 3}


def test_a_seed_repeats_an_answer():
    """The same seed the same tokens, another seed others."""
    model = model_of()

    def said(seed: int) -> list[int]:
        sampling = Sampling(temperature=1.0, max_tokens=30, seed=seed)
        return list(Dialogue(model, BYTES, sampling).reply("go on"))

    assert said(1) == said(1)
    assert said(1) != said(2)


def test_generating_leaves_the_model_and_the_random_numbers_alone():
    """No global random number is drawn; mode and gradients stay as they are."""
    model = model_of()
    model.train()
    before = torch.get_rng_state()
    list(Dialogue(model, BYTES, Sampling(temperature=1.0, max_tokens=8)).reply("x"))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_broken_weights_are_named(temperature):
    """NaN ends in a sentence, not in token 0 or a traceback."""
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[7, 3] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        list(Dialogue(model, BYTES, Sampling(temperature=temperature)).reply("x"))


PYTHON_START, PYTHON_END = BYTES.special("<|python_start|>"), BYTES.special("<|python_end|>")
OUTPUT_START, OUTPUT_END = BYTES.special("<|output_start|>"), BYTES.special("<|output_end|>")


def scripted(monkeypatch, script: list[int], sampling: Sampling) -> Dialogue:
    """A dialogue whose model says these tokens one after the other."""
    dialogue = Dialogue(tiny_model(), BYTES, sampling)
    saying = iter(script)
    monkeypatch.setattr(dialogue, "_next", lambda: next(saying))
    return dialogue


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (b"12*(3+1)", "a<<12*(3+1)=48>>b"),
        (b"'strawberry'.count('r')", "a<<'strawberry'.count('r')=3>>b"),
        (b"open('x')", "a<<open('x')>>b"),
    ],
)
def test_the_calculator_answers_inside_the_answer(monkeypatch, call, shown):
    """Its result is forced in as it stood in training; what it cannot do gets none."""
    script = [97, PYTHON_START, *call, PYTHON_END, 98, END]
    dialogue = scripted(monkeypatch, script, Sampling())
    reply = dialogue.reply("x")
    said = list(reply)
    assert said == reply.ids == dialogue.ids[-1 - len(said) : -1]
    assert text_of(BYTES, said) == shown
    result = shown.partition("=")[2].removesuffix(">>b").encode()
    forced = [OUTPUT_START, *result, OUTPUT_END] if result else []
    assert said == [97, PYTHON_START, *call, PYTHON_END, *forced, 98]


def test_a_call_that_never_began_is_none(monkeypatch):
    """An end without a start, and a call that the limit cuts."""
    dialogue = scripted(monkeypatch, [PYTHON_END, 97, END], Sampling())
    assert list(dialogue.reply("x")) == [PYTHON_END, 97]
    dialogue = scripted(monkeypatch, [PYTHON_START, 49, PYTHON_END, 97], Sampling(max_tokens=3))
    reply = dialogue.reply("x")
    assert text_of(BYTES, list(reply)) == "<<1=1>>"
    assert reply.stopped_by == "max_tokens"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -3}, "top_k is -3"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_sampling_out_of_range_is_refused(wrong, said):
    """Each by its name."""
    with pytest.raises(UsageError, match=said):
        Sampling(**wrong).check()


@given(st.text(max_size=30), st.binary(max_size=6))
def test_text_comes_in_whole_characters(text, garbage):
    """Byte by byte, never half a character: joined it is what all bytes at once give."""
    ids = [*text.encode("utf-8", "replace"), *garbage, END]
    stream = TextStream(BYTES)
    pieces = [stream.feed(token) for token in ids] + [stream.end()]
    assert "".join(pieces) == text_of(BYTES, ids) == BYTES.decode(ids)
    clean = TextStream(BYTES)
    for token in text.encode("utf-8", "replace"):
        assert "\ufffd" not in clean.feed(token) or "\ufffd" in text
