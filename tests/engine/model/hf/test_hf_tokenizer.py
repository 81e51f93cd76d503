"""Chat templates of well-known families: rendered, masked, and compared with transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.conversation import Conversation, Message, RowFault
from engine.conversations.tool_words import REASONING
from engine.errors import CheckpointError
from engine.model.hf import template
from engine.model.hf.hf_tokenizer import HfTokenizer, same_as_transformers
from tests import hf_material
from tests.conftest import examples

GROWING = [name for name in hf_material.names() if name != "qwen3"]
MOST = 10_000

words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=20
).map(lambda text: "x" if text.strip() in ("", *hf_material.CONTROLS) else text.strip())
turns = st.lists(st.tuples(words, words), min_size=1, max_size=4)


def conversation(pairs: list[tuple[str, str]], system: str = "") -> Conversation:
    """User and assistant in turn."""
    messages = [Message("system", system)] if system else []
    for asked, answered in pairs:
        messages += [Message("user", asked), Message("assistant", answered)]
    return Conversation(tuple(messages))


def ours(name: str, *, marked: bool, **options: bool) -> HfTokenizer:
    return HfTokenizer(hf_material.content(name, marked=marked, **options), name)


def spoken(tokenizer: HfTokenizer, talk: Conversation) -> list[str]:
    """The supervised texts of a conversation, one a stretch."""
    rendered = tokenizer.render(talk, MOST)
    found: list[list[int]] = []
    before = 0
    for token, supervised in zip(rendered.ids, rendered.mask, strict=True):
        if supervised:
            if not before:
                found.append([])
            found[-1].append(token)
        before = supervised
    return [tokenizer.decode(ids) for ids in found]


@pytest.mark.parametrize("name", GROWING)
@examples(25)
@given(pairs=turns)
def test_an_unmarked_template_gives_the_mask_of_the_marked_one(
    name: str, pairs: list[tuple[str, str]]
) -> None:
    """Which is transformers' own, from `{% generation %}`; the ids are transformers' own too."""
    talk = conversation(pairs)
    inner = hf_material.tokenizer(name, marked=True)
    chat = [{"role": m.role, "content": m.content} for m in talk.messages]
    wanted = inner.apply_chat_template(
        chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    for marked in (True, False):
        found = ours(name, marked=marked).render(talk, MOST)
        assert found.ids == list(wanted["input_ids"])
        assert found.mask == list(wanted["assistant_masks"])


@pytest.mark.parametrize("name", GROWING)
def test_answers_and_the_token_that_ends_them_carry_loss(name: str) -> None:
    """And nothing else: no header, no question, no blank line behind."""
    tokenizer = ours(name, marked=False)
    found = spoken(tokenizer, conversation([("what is two?", "it is four"), ("yes?", "no")]))
    assert [text.strip().partition("<")[0].strip() for text in found] == ["it is four", "no"]
    ends = {tokenizer.inner.id_to_token(i) for i in tokenizer.stop_ids}
    assert all(any(text.endswith(end) for end in ends) for text in found)


@pytest.mark.parametrize("name", GROWING)
def test_an_answer_that_carries_no_loss_is_left_out(name: str) -> None:
    """By both ways of finding answers."""
    messages = conversation([("one?", "the fox"), ("two?", "the dog")]).messages
    untrained = Message("assistant", "the fox", trained=False)
    talk = Conversation((messages[0], untrained, *messages[2:]))
    for marked in (True, False):
        found = spoken(ours(name, marked=marked), talk)
        assert len(found) == 1
        assert "dog" in found[0]


@pytest.mark.parametrize("name", hf_material.names())
def test_a_prompt_is_where_the_whole_goes_on_with_the_answer(name: str) -> None:
    """So that training and asking see the same tokens."""
    tokenizer = ours(name, marked=False)
    talk = conversation([("what is two?", "four")])
    prompt = tokenizer.for_completion(talk, MOST)
    whole = tokenizer.render(talk, MOST).ids
    assert whole[: len(prompt)] == prompt
    assert tokenizer.decode(whole[len(prompt) :]).strip().startswith("four")


@pytest.mark.parametrize("name", hf_material.names())
def test_letters_are_single_tokens_that_follow_the_prompt(name: str) -> None:
    """With or without a blank before them, as the template writes answers."""
    tokenizer = ours(name, marked=False)
    letters = {letter: tokenizer.letter(letter) for letter in "ABCDE"}
    assert len(set(letters.values())) == len(letters)
    for letter, token in letters.items():
        talk = conversation([("Which letter is right?", letter)])
        prompt = tokenizer.for_completion(talk, MOST)
        assert tokenizer.render(talk, MOST).ids[len(prompt)] == token


def test_a_template_that_rewrites_earlier_answers_is_refused_by_the_row() -> None:
    """Qwen3 puts an empty thought before the last answer alone."""
    tokenizer = ours("qwen3", marked=False)
    tokenizer.render(conversation([("one?", "yes")]), MOST)
    with pytest.raises(RowFault, match=r"up to message 2 .*--last-answer-only"):
        tokenizer.render(conversation([("one?", "yes"), ("two?", "no")]), MOST)


def test_the_last_answer_alone_can_be_trained_with_such_a_template() -> None:
    tokenizer = ours("qwen3", marked=False, last_answer_only=True)
    found = spoken(tokenizer, conversation([("one?", "yes"), ("two?", "no")]))
    assert found == ["<think>\n\n</think>\n\nno<|im_end|>"]


@pytest.mark.parametrize("name", ["gemma", "mistral"])
def test_a_system_message_goes_before_the_first_question_where_the_template_takes_none(
    name: str,
) -> None:
    tokenizer = ours(name, marked=False)
    assert not tokenizer.takes_system
    found = tokenizer.render(conversation([("yes?", "no")], "be right"), MOST)
    same = tokenizer.render(conversation([("be right\n\nyes?", "no")]), MOST)
    assert found == same


@given(st.sampled_from(hf_material.CONTROLS), words, st.booleans())
def test_a_control_token_in_a_text_is_refused(token: str, text: str, answered: bool) -> None:
    """A user who types <|im_end|> ends no turn of the training data."""
    pair = ("yes?", text + token) if answered else (text + token, "no")
    with pytest.raises(RowFault, match="control token"):
        ours("chatml", marked=False).render(conversation([pair]), MOST)


def test_what_a_template_refuses_is_a_fault_of_the_row() -> None:
    odd = hf_material.content() | {"template": "{{ raise_exception('turns must alternate') }}"}
    tokenizer = HfTokenizer(odd, "odd")
    with pytest.raises(RowFault, match="turns must alternate"):
        tokenizer.render(conversation([("yes?", "no")]), MOST)


def test_a_template_that_is_no_template_is_refused() -> None:
    odd = hf_material.content() | {"template": "{% for m in %}"}
    with pytest.raises(CheckpointError, match="no Jinja template"):
        HfTokenizer(odd, "odd")


@pytest.mark.parametrize("name", hf_material.names())
def test_a_folder_written_by_transformers_is_read_as_transformers_reads_it(
    name: str, tmp_path: Path
) -> None:
    inner = hf_material.tokenizer(name)
    inner.save_pretrained(tmp_path)
    assert same_as_transformers(HfTokenizer.load(tmp_path), inner) == ""


def test_another_template_is_noticed() -> None:
    """The check must be able to fail."""
    inner = hf_material.tokenizer("llama3")
    inner.add_tokens(["Hello"])
    assert "here and" in same_as_transformers(ours("llama3", marked=False), inner)


def test_a_tokenizer_without_a_template_is_refused_with_what_to_type(tmp_path: Path) -> None:
    inner = hf_material.tokenizer("chatml")
    inner.chat_template = None
    inner.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"no chat template.*--chat-template"):
        HfTokenizer.load(tmp_path)


def test_a_run_keeps_all_of_it_in_one_file(tmp_path: Path) -> None:
    kept, path = ours("gemma", marked=False), tmp_path / "tokenizer.json"
    kept.save_json(path)
    found = HfTokenizer.from_json(path.read_bytes(), "run")
    assert found.digest == kept.digest
    talk = conversation([("what is two?", "four")])
    assert found.render(talk, MOST) == kept.render(talk, MOST)


@given(words, st.sampled_from(hf_material.CONTROLS), words)
def test_ordinary_text_never_becomes_a_control_token(before: str, token: str, after: str) -> None:
    tokenizer = ours("chatml", marked=False)
    ids = tokenizer.encode_ordinary(before + token + after)
    assert not {tokenizer.special(each) for each in hf_material.CONTROLS} & set(ids)
    assert tokenizer.decode(ids) == before + token + after


def test_a_cut_row_says_how_much_is_missing() -> None:
    tokenizer = ours("llama3", marked=False)
    talk = conversation([("what is two?", "it is four")])
    whole = tokenizer.render(talk, MOST)
    cut = tokenizer.render(talk, 7)
    assert (cut.ids, cut.mask) == (whole.ids[:7], whole.mask[:7])
    assert cut.num_dropped == len(whole.ids) - 7


TOOLS = json.dumps([{"name": "sky", "parameters": {}}])
WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def calling() -> Conversation:
    """A call of a tool, its result and an answer."""
    calls = {"tool_calls": [{"function": {"name": "sky", "arguments": {"at": "Ulm"}}}]}
    return Conversation(
        (
            Message("user", "rain?"),
            Message("assistant", "", extra=json.dumps(calls)),
            Message("tool", "dry"),
            Message("assistant", "no"),
        ),
        tools=TOOLS,
    )


def test_tools_calls_and_results_are_written_and_only_what_the_model_says_is_learned() -> None:
    """As transformers writes them."""
    content = hf_material.content() | {"template": WITH_TOOLS}
    tokenizer = HfTokenizer(content, "tools")
    found = tokenizer.render(calling(), MOST)
    inner = hf_material.tokenizer()
    chat = [
        {"role": m.role, "content": m.content} | (json.loads(m.extra) if m.extra else {})
        for m in calling().messages
    ]
    whole = inner.apply_chat_template(
        chat, tools=json.loads(TOOLS), chat_template=WITH_TOOLS, tokenize=False
    )
    assert tokenizer.decode(found.ids) == whole
    assert '"parameters": {}' in whole
    said = spoken(tokenizer, calling())
    assert said == ['{"name": "sky", "arguments": {"at": "Ulm"}}<|im_end|>', "no<|im_end|>"]


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ("{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}", "tools"),
        ("{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}", "calls a tool"),
    ],
)
def test_a_template_that_leaves_tools_out_is_refused(cut: str, words: str) -> None:
    assert cut in WITH_TOOLS
    tokenizer = HfTokenizer(hf_material.content() | {"template": WITH_TOOLS.replace(cut, "")}, "x")
    with pytest.raises(RowFault, match=rf"{words}.* does not write it"):
        tokenizer.render(calling(), MOST)


def thinking(key: str, earlier: str, last: str) -> Conversation:
    """Two answers with what each was thought out with."""
    return Conversation(
        (
            Message("user", "two?"),
            Message("assistant", "2", extra=json.dumps({key: earlier})),
            Message("user", "three?"),
            Message("assistant", "3", extra=json.dumps({key: last})),
        )
    )


@pytest.mark.parametrize("key", REASONING)
def test_the_last_answers_reasoning_is_written_or_the_row_is_refused(key: str) -> None:
    """A model must not learn to answer at once from rows that were thought about first."""
    writes = "{% if loop.last and m." + key + " %}<think>{{ m." + key + " }}</think>{% endif %}"
    template = WITH_TOOLS.replace("{{ m.content }}", writes + "{{ m.content }}")
    content = hf_material.content()
    written = HfTokenizer(content | {"template": template}, "x")
    found = written.render(thinking(key, "", "one and two"), MOST)
    assert "<think>one and two</think>3" in written.decode(found.ids)
    silent = HfTokenizer(content | {"template": WITH_TOOLS}, "x")
    with pytest.raises(RowFault, match=rf"message 4 holds {key}.* does not write it"):
        silent.render(thinking(key, "one and one", "one and two"), MOST)
    # Of earlier answers many templates leave it out on purpose.
    assert silent.render(thinking(key, "one and one", " "), MOST).ids


def test_a_plain_text_is_written_without_a_template() -> None:
    """Every token of it is learned, and so is the one that ends it."""
    tokenizer = ours("chatml", marked=False)
    found = tokenizer.render(Conversation((Message("text", "the quick fox"),)), MOST)
    assert tokenizer.decode(found.ids) == "the quick fox</s>"
    assert all(found.mask)


@examples(200)
@given(
    borders=st.sets(st.integers(0, 40), max_size=10),
    tokens=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=40),
)
def test_a_token_is_supervised_where_one_of_its_characters_is_of_an_answer(
    borders: set[int], tokens: list[tuple[int, int]]
) -> None:
    """Whatever characters its offsets name: a tokenizer may give several to one of them."""
    ends = sorted(borders)
    places = list(zip(ends[::2], ends[1::2], strict=False))
    spans = [(begin, begin + width) for begin, width in tokens]
    answered = {n for begin, end in places for n in range(begin, end)}
    wanted = [int(any(n in answered for n in range(*span))) for span in spans]
    assert template.touched(places, spans) == wanted


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (conversation([("a", "b")] * 501), "1,002 messages; expected at most 1,000"),
        (conversation([("a" * 2_000_000, "b")]), "2,000,001 characters; expected at most"),
        (Conversation((Message("text", "a" * 2_000_001),)), "2,000,001 characters; expected"),
    ],
    ids=["messages", "characters", "text"],
)
def test_a_row_that_would_take_minutes_or_gigabytes_is_a_fault(
    talk: Conversation, said: str
) -> None:
    """A text of 4 MB took 1.7 GB, and 8,000 messages took minutes, for 2,048 tokens of a row."""
    with pytest.raises(RowFault, match=said):
        ours("chatml", marked=False).render(talk, 2048)
