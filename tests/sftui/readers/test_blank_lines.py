"""Blank lines say nothing, and millions of them cost next to nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.readers.hf_trainer import HfTrainerReader
from sftui.readers.nanochat import NanochatReader
from sftui.readers.plain_text import PlainTextReader
from sftui.readers.text import TextReader
from tests.conftest import examples
from tests.sftui.readers.reader_checks import assert_same, read

READERS = (PlainTextReader, HfTrainerReader, NanochatReader)
LINES = (
    "step 1 | loss: 2.5 | lr: 1e-3",
    "step 2 | loss: 2.25 | lr: 1e-3",
    "{'loss': 0.5, 'learning_rate': 1e-05, 'epoch': 0.1}",
    "step 00003 (12.5%) | loss: 1.5 | lrm: 1.00 | dt: 30.0ms | tok/sec: 1,000",
    "Evaluation:",
    "  loss 0.25",
    "Traceback (most recent call last):",
    "nothing in particular",
)
TEXTS = st.lists(
    st.tuples(st.sampled_from(LINES), st.sampled_from(["\n", "\r\n", "\n\n", "\n\r\n\n\n\n"])),
    max_size=20,
)


@examples(200)
@given(st.sampled_from(READERS), TEXTS)
def test_empty_lines_between_others_change_nothing(
    reader: type[TextReader], lines: list[tuple[str, str]]
) -> None:
    apart = "".join(text + end for text, end in lines).encode()
    dense = "".join(f"{text}\n" for text, _ in lines).encode()
    assert_same(read(reader, apart), read(reader, dense))


@pytest.mark.parametrize("reader", READERS[:2])
def test_a_million_empty_lines_are_counted_and_passed_over(
    reader: type[TextReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each went through the pattern of the line before and a question for blanks."""
    asked: list[str] = []
    monkeypatch.setattr(reader, "_blank", lambda self, line: asked.append(line))
    found = reader()
    found.feed(f"{LINES[0]}\n".encode() + b"\n" * 1_000_000 + b" \n")
    assert found.lines.total == 1_000_002
    assert asked == [" "]
