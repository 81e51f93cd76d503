"""Chat templates are programs of strangers: a hostile one costs a sentence, not the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.conversation import RowFault
from engine.errors import CheckpointError
from engine.model.hf import template, template_trial
from engine.model.hf.hf_tokenizer import HfTokenizer
from sftui import cli
from tests import hf_material

OVER = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize("name", hf_material.names())
@pytest.mark.parametrize("marked", [True, False])
def test_ordinary_templates_start_no_process(name: str, marked: bool) -> None:
    assert template_trial.is_plain(hf_material.template(name, marked=marked))


@pytest.mark.parametrize(
    "text",
    [
        "{{ " + "9" * 5000 + " }}",
        "{% for m in messages %}" * 40 + "{% endfor %}" * 40,
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ messages",
        "{{ 0x" + "f" * 9000 + " }}",
    ],
)
def test_what_cannot_be_compiled_is_told_and_not_tried(text: str) -> None:
    """Jinja has errors of its own; of a number and of loops in loops Python has others."""
    assert not template_trial.try_out(text).template
    told = template.check(text)
    assert told or "0x" in text
    assert "\n" not in told


HOSTILE = {
    "time": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "memory": "{{ 'x' * 10**10 }}",
    "doubling": "{% set n = namespace(x='x' * 9) %}"
    + "{% for c in 'c' * 60 %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "output": "{% for i in range(9000) %}{{ 'x' * 900 }}{% endfor %}",
    "length": "{% set x = 'x' %}" * 40_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_template_is_refused_before_it_is_used(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ran without end, or took 10 GB, as soon as the model's tokenizer was read."""
    monkeypatch.setattr(template, "check", None)  # it is not even compiled here
    monkeypatch.setattr(template_trial, "MOST_SECONDS", 1)
    content = {**hf_material.content(), "template": OVER + HOSTILE[kind]}
    with pytest.raises(CheckpointError, match="the chat template is not used") as refused:
        HfTokenizer(content, "lab/model")
    assert "--chat-template FILE" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice(1) }}",
        "{{ 'x'|center(9) }}",
        "{{ 'x'.rjust(9) }}",
        "{{ '%9d' % 3 }}",
        "{{ 'x'.replace('x', 'y') }}",
        "{{ lipsum() }}",
        "{% for a in messages recursive %}{% endfor %}",
        "{% for a in b %}{% for c in d %}{% for e in f %}{% endfor %}{% endfor %}{% endfor %}",
        "{% set n = namespace(x='') %}{% set n.x = n.x + 'y' %}",
        "{% set n = namespace(x='') %}{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}",
        "{{ (messages|first)() }}",
    ],
)
def test_what_may_write_more_than_it_was_given_is_tried(text: str) -> None:
    """And does no harm here: nothing is refused for its means alone."""
    assert not template_trial.is_plain(text)


def test_a_template_with_bold_means_that_behaves_is_used() -> None:
    """Macros and loops over numbers, in a child, and then here."""
    text = "{% macro say(m) %}{{ m.content }};{% endmacro %}" + (
        "{% for i in range(messages|length) %}{{ say(messages[i]) }}{% endfor %}"
    )
    tokenizer = HfTokenizer({**hf_material.content(), "template": text}, "lab/model")
    assert tokenizer.template == text


@given(st.sampled_from(["x.y.z", "messages[99].a", "1 / 0", "'a' + 1", "[][0](1)", "messages.a.b"]))
def test_whatever_a_template_fails_at_is_a_fault_of_the_row(text: str) -> None:
    chat = [{"role": "user", "content": "x"}]
    with pytest.raises(RowFault, match="the chat template"):
        template.render("{{ " + text + " }}", chat, asks=True)


@pytest.mark.parametrize(
    "text",
    ["{{ ''.__class__.__mro__ }}", "{{ raise_exception('no \x1b]52;c;aGk=\x07') }}", "{{ a.b.c }}"],
)
def test_rows_that_a_template_refuses_are_counted_and_shown_cleaned(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sftui data` ended with a traceback, and wrote the template's escape sequence."""
    content = hf_material.tokenizer()
    content.save_pretrained(tmp_path / "model")
    rows = hf_material.chat_file(tmp_path / "chat.jsonl", 3)
    (tmp_path / "t.jinja").write_text(text)
    words = ["data", str(rows), "--model", str(tmp_path / "model")]
    assert cli.main([*words, "--chat-template", str(tmp_path / "t.jinja")]) == 0
    said = capsys.readouterr()
    assert "3 cannot be used; the first: " in said.out
    assert not any(mark in said.out + said.err for mark in "\x1b\x07")


@given(half=st.integers(0xD800, 0xDFFF), where=st.sampled_from(["{0}", "a{0}b", "m{0}ngle {0}"]))
def test_half_a_character_that_a_template_writes_is_refused_row_by_row(
    half: int, where: str
) -> None:
    """The tokenizer took it for no text at all and ended in a traceback."""
    written = where.format(f"\\u{half:04x}")
    with pytest.raises(RowFault, match=r"writes '.*half of a character"):
        template.render(OVER + "{{ '" + written + "' }}", [], asks=False)


@pytest.mark.parametrize(
    "value",
    [
        "'%5000000d' % 1",
        "'x' * 5000000",
        "'x'|center(5000000)",
        "'x'.ljust(5000000)",
        "'{:5000000}'.format(1)",
        "(7 ** 500000) > 1",
        "['x' * 5000000, 1]",
    ],
)
@pytest.mark.parametrize(
    "form", ["{{ VALUE }}", "{% set x = VALUE %}", "{% if VALUE %}{% endif %}"]
)
def test_nothing_is_worked_out_while_a_template_is_compiled(value: str, form: str) -> None:
    """A trial may end before it comes to such a text; compiling has no limits at all."""
    program = template.environment().compile(form.replace("VALUE", value), raw=True)
    assert len(program) < 10_000
