"""Forms of rows that people have: recognised by their columns, read as conversations, refused."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.conversation import Conversation, RowFault
from engine.data.dataset import ListRows, Rows, parse_row
from engine.data.json_rows import parse_json
from engine.data.row_files import open_path
from engine.data.row_forms import FormedRows, RowForm, described, formed
from engine.errors import ConfigError, DataError
from sftui.text.clean import clean
from tests.conftest import examples

Said = list[tuple[str, str]]
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1,
                max_size=12).filter(str.strip)  # fmt: skip
talks = st.lists(st.tuples(texts, texts), min_size=1, max_size=3)


def said(rows: Rows, index: int = 0) -> Said:
    """Roles and words of a row."""
    found = parse_row(rows.read(index), subject="chat")
    assert isinstance(found, Conversation)
    return [(m.role, m.content) for m in found.messages if isinstance(m.content, str)]


def read(rows: Sequence[object], *mapping: str, name: str = "") -> Rows:
    return formed(ListRows("chat.jsonl", rows), RowForm.read(name, mapping))


def turns(
    talk: Sequence[tuple[str, str]], names: tuple[str, str, str, str]
) -> list[dict[str, str]]:
    """A talk as a list of turns: names of speaker, words, and the two speakers."""
    speaker, words, user, assistant = names
    return [
        {speaker: who, words: text}
        for pair in talk
        for who, text in zip((user, assistant), pair, strict=True)
    ]


def as_alpaca(talk: Sequence[tuple[str, str]]) -> dict[str, Any]:
    *before, (asked, answered) = talk
    history = {"history": [list(pair) for pair in before]} if before else {}
    return {"instruction": asked, "input": "", "output": answered, **history}


def as_pair(talk: Sequence[tuple[str, str]]) -> dict[str, Any]:
    whole = turns(talk, ("role", "content", "user", "assistant"))
    return {"prompt": whole[:-1], "completion": whole[-1:]}


WAYS: dict[str, Callable[[Said], dict[str, Any]]] = {
    "from and value": lambda talk: {
        "conversations": turns(talk, ("from", "value", "human", "gpt"))
    },
    "role and content": lambda talk: {
        "conversations": turns(talk, ("role", "content", "user", "assistant"))
    },
    "pairs": lambda talk: {"conversation": [{"human": a, "assistant": b} for a, b in talk]},
    "json in a cell": lambda talk: {
        "conversations": json.dumps(turns(talk, ("from", "value", "human", "gpt")))
    },
    "alpaca": as_alpaca,
    "prompt and completion": as_pair,
}


@pytest.mark.parametrize("way", WAYS)
@examples(30)
@given(talk=talks, system=texts)
def test_the_same_talk_is_read_from_every_form(way: str, talk: Said, system: str) -> None:
    """Nothing is stripped, added or left out; a column `system` comes first."""
    wanted = [("system", system)]
    for asked, answered in talk:
        wanted += [("user", asked), ("assistant", answered)]
    assert said(read([{**WAYS[way](talk), "system": system, "id": "x"}] * 3)) == wanted


@examples(60)
@given(
    st.sampled_from([("prompt", "completion"), ("prompt", "response"), ("query", "response"),
                     ("question", "response"), ("input", "output"), ("problem", "solution"),
                     ("question", "answer"), ("instruction", "response")]),
    texts, texts, st.dictionaries(st.sampled_from(["id", "category", "lang"]), texts),
)  # fmt: skip
def test_two_columns_are_question_and_answer(
    columns: tuple[str, str], asked: str, answered: str, others: dict[str, str]
) -> None:
    row = {columns[0]: asked, columns[1]: answered, **others}
    assert said(read([row] * 2)) == [("user", asked), ("assistant", answered)]


@examples(60)
@given(st.dictionaries(texts.filter(lambda name: "." not in name), texts, min_size=2, max_size=6),
       st.randoms())  # fmt: skip
def test_any_two_columns_can_be_mapped(row: dict[str, str], random: Any) -> None:
    """Whatever they are called; nothing of the other columns is read."""
    asked, answered = random.sample(sorted(row), 2)
    if "," in asked + answered or "=" in asked:
        return
    rows = read([row], f"prompt={asked}", f"completion={answered}")
    assert said(rows) == [("user", row[asked]), ("assistant", row[answered])]


def test_a_mapping_reaches_into_objects() -> None:
    rows = read([{"data": {"q": "two?", "a": "four"}}], "prompt=data.q", "completion=data.a")
    assert said(rows) == [("user", "two?"), ("assistant", "four")]


def test_what_was_recognised_is_said() -> None:
    alpaca = read([{"instruction": "add", "input": "1 1", "output": "2", "text": "whole"}])
    assert described(alpaca) == "alpaca (instruction, output, input)"
    assert said(alpaca) == [("user", "add\n1 1"), ("assistant", "2")]
    shared = read([{"conversations": turns([("a", "b")], ("from", "value", "human", "gpt"))}])
    assert described(shared) == "sharegpt (conversations: from, value)"
    messages = turns([("a", "b")], ("role", "content", "user", "assistant"))
    assert described(read([{"messages": messages, "prompt": "a"}])) == ""


def test_calls_and_results_of_tools_are_kept() -> None:
    """LLaMA-Factory's names for them, tools as a text of JSON."""
    row = {
        "conversations": [
            {"from": "human", "value": "rain?"},
            {"from": "function_call", "value": '{"name": "sky", "arguments": {"at": "Ulm"}}'},
            {"from": "observation", "value": "dry"},
            {"from": "gpt", "value": "no"},
        ],
        "tools": '[{"name": "sky", "parameters": {}}]',
    }
    found = parse_row(read([row]).read(0))
    assert isinstance(found, Conversation)
    assert [m.role for m in found.messages] == ["user", "assistant", "tool", "assistant"]
    (call,) = json.loads(found.messages[1].extra)["tool_calls"]
    assert call["function"] == {"name": "sky", "arguments": {"at": "Ulm"}}
    assert json.loads(found.tools) == [{"name": "sky", "parameters": {}}]


def test_answers_before_a_completion_carry_no_loss() -> None:
    found = parse_row(read([as_pair([("a", "b"), ("c", "d")])]).read(0))
    assert isinstance(found, Conversation)
    assert [m.trained for m in found.messages if m.role == "assistant"] == [False, True]


def test_a_plain_text_is_learned_whole() -> None:
    found = parse_row(read([{"text": "once upon a time", "meta": {}}]).read(0))
    assert isinstance(found, Conversation)
    assert [(m.role, m.content) for m in found.messages] == [("text", "once upon a time")]
    assert (found.answers, found.untrained) == (1, 0)


@pytest.mark.parametrize(
    ("row", "said_of_it"),
    [
        ({"foo": "a", "bar": "b"}, r"columns foo, bar.*--map prompt=COLUMN"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, r"--map prompt=prompt,completion=chosen"),
        ({"question": "a", "answer": "b", "response": "c"}, r"or as .*--data-format"),
        ({"prompt": "a", "completion": "b", "response": "c"}, r"--map prompt=prompt"),
        (
            {"prompt": "a", "completion": "b", "conversations": [{"from": "human", "value": "x"}]},
            r"--data-format",
        ),
    ],
)
def test_what_is_unknown_or_ambiguous_is_refused_with_what_to_type(
    row: dict[str, Any], said_of_it: str
) -> None:
    with pytest.raises(DataError, match=said_of_it):
        read([row] * 5)


def test_the_form_that_was_typed_decides() -> None:
    row = {"question": "a", "answer": "b", "response": "c"}
    typed = read([row], name="prompt-completion")
    assert said(typed) == [("user", "a"), ("assistant", "c")]
    with pytest.raises(DataError, match=r"alpaca expects instruction.*question, answer, response"):
        read([row], name="alpaca")
    with pytest.raises(ConfigError, match="sharegpt"):
        RowForm.read("sharegtp", ())
    with pytest.raises(ConfigError, match="NAME=COLUMN"):
        RowForm.read("", ("prompt",))
    with pytest.raises(DataError, match="there is no column reply"):
        read([row], "prompt=question", "completion=reply")


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"instruction": "a"}, "no output"),
        ({"instruction": "a", "output": 3}, "the columns instruction, output"),
        (
            {"instruction": "a", "output": "b", "history": ["x"]},
            "no list of pairs",
        ),
    ],
)
def test_a_row_that_is_unlike_the_rest_is_a_fault(odd: dict[str, Any], words: str) -> None:
    rows = read([{"instruction": "a", "output": "b"}] * 30 + [odd])
    with pytest.raises(RowFault, match=words):
        rows.read(30)


@pytest.mark.parametrize(("speaker", "role"), [("developer", "system"), ("prompter", "user")])
def test_messages_of_speakers_with_other_names_are_read(speaker: str, role: str) -> None:
    talk = [{"role": speaker, "content": "a"}, {"role": "user", "content": "b"}]
    talk = talk[: 2 if role == "system" else 1]
    found = said(read([{"messages": [*talk, {"role": "assistant", "content": "c"}]}] * 3))
    assert [each[0] for each in found][:1] == [role]


def test_a_speaker_nobody_knows_is_named() -> None:
    talk = [{"from": "human", "value": "a"}, {"from": "narrator", "value": "b"}]
    with pytest.raises(RowFault, match='turn 2 is from "narrator"'):
        read([{"conversations": talk}]).read(0)


ROWS = [{"instruction": f"say {n}", "output": f'it, "{n}"\nnew; line'} for n in range(7)]


def write(folder: Path, name: str) -> Path:
    """`ROWS` in a file of that name, in whatever format the name says."""
    import pyarrow
    import pyarrow.parquet

    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = name.removesuffix(".gz")
    if plain.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
        return path
    if plain.endswith((".csv", ".tsv")):
        made = folder / "table"
        with made.open("w", newline="", encoding="utf-8-sig") as file:
            table = csv.writer(file, delimiter="\t" if plain.endswith(".tsv") else ";")
            table.writerows([list(ROWS[0]), *(list(row.values()) for row in ROWS)])
        data = made.read_bytes()
        made.unlink()
    elif plain.endswith(".json"):
        data = json.dumps(ROWS, indent=1).encode()
    else:
        data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


NAMES = ("a.jsonl", "a.json", "a.ndjson", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz", "a.csv.gz")


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    rows = formed(open_path(write(tmp_path, name)), RowForm())
    assert len(rows) == len(ROWS)
    wanted = [[("user", row["instruction"]), ("assistant", row["output"])] for row in ROWS]
    assert [said(rows, index) for index in range(len(rows))] == wanted


def test_a_folder_is_its_files_and_its_splits_are_told_apart(tmp_path: Path) -> None:
    for name in ("train-0.jsonl", "train-1.csv", "test.parquet", ".hidden/train.jsonl"):
        write(tmp_path, name)
    (tmp_path / "README.md").write_text("x")
    training, test = open_path(tmp_path), open_path(tmp_path, "test")
    assert (len(training), len(test)) == (14, 7)
    assert said(formed(training, RowForm()), 13)[0] == ("user", "say 6")
    assert training.where(13).startswith(str(tmp_path / "train-1.csv"))
    (tmp_path / "test.parquet").unlink()
    with pytest.raises(DataError, match="--validation"):
        open_path(tmp_path, "test")


def test_a_folder_of_the_library_datasets_is_read(tmp_path: Path) -> None:
    import datasets

    one = datasets.Dataset.from_list(ROWS)
    one.save_to_disk(str(tmp_path / "one"))
    several = datasets.DatasetDict({"train": one, "validation": one.select(range(2))})
    several.save_to_disk(str(tmp_path / "several"))
    assert len(open_path(tmp_path / "one")) == 7
    assert len(open_path(tmp_path / "several", "test")) == 2
    rows = formed(open_path(tmp_path / "several"), RowForm())
    assert said(rows, 3)[0] == ("user", "say 3")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"prompt,prompt\na,b\n", "stands twice"),
        ("a.csv", b"prompt,completion\na,\xff\n", "a.csv:2: byte .* is not UTF-8"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 999, mtime=0)[:30], "cut off"),
        ("a.txt", b"a", "ending in"),
        ("a.csv", b"prompt,completion\n", "no rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    name: str, data: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=words):
        open_path(tmp_path / name)


def test_a_row_of_a_table_with_a_cell_too_many_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,completion\na,b\n"x\ny",z,w\n')
    rows = formed(open_path(tmp_path / "a.csv"), RowForm())
    assert isinstance(rows, FormedRows)
    with pytest.raises(RowFault, match="3 cells"):
        rows.read(1)
    assert rows.where(1).endswith(":3")


def test_a_packed_file_takes_the_memory_of_what_it_holds(tmp_path: Path) -> None:
    """Room for the largest that may come, 16 GiB, was asked for before the first byte was read: on
    a machine that has less, no packed file could be read at all."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "a", "completion": "b"}\n' * 50))
    tracemalloc.start()
    try:
        assert len(open_path(path)) == 50
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


@given(st.sampled_from(["image", "images", "video", "audios"]), talks)
@examples(20)
def test_a_row_with_pictures_or_sounds_is_not_learned_as_text(name: str, talk: Said) -> None:
    """Its words speak of what a model of text never sees. An empty column says nothing."""
    for form in (
        {"conversations": turns(talk, ("from", "value", "human", "gpt"))},
        {"messages": turns(talk, ("role", "content", "user", "assistant"))},
    ):
        nothing: list[object] = [None, [], ""]
        for empty in nothing:
            assert said(read([{**form, name: empty}])) == said(read([form]))
        held: dict[str, Any] = {**form, name: ["a.png"]}
        with pytest.raises(RowFault, match=f'"{name}", and only text is trained on'):
            said(read([held]))
        column = next(iter(form))
        assert said(read([held], f"messages={column}")) == said(read([form]))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "1+1", "answer": 2}, '"answer" holds a number; expected a text'),
        ({"prompt": None, "completion": "b"}, '"prompt" holds nothing'),
        ({"instruction": "a", "output": {"b": 1}}, '"output" holds an object'),
        ({"messages": "[{'role': 'user'}]"}, '"messages" holds a text that is no JSON'),
        ({"version": 1, "data": [{"a": 1}]}, 'rows lie in a list under "data"'),
    ],
)
def test_a_known_column_of_another_type_is_named(row: dict[str, Any], words: str) -> None:
    """Not that no form is known, and not that --map would help."""
    with pytest.raises(DataError, match="the rows have the columns") as caught:
        read([row] * 3)
    assert words in str(caught.value)
    assert "--map" not in str(caught.value)


@given(talks)
@examples(20)
def test_messages_in_a_cell_of_a_table_are_read(talk: Said) -> None:
    """A CSV or a Parquet column may hold them as a text of JSON."""
    whole = turns(talk, ("role", "content", "user", "assistant"))
    assert said(read([{"messages": json.dumps(whole)}])) == said(read([{"messages": whole}]))


def test_half_a_character_is_a_fault_of_its_row(tmp_path: Path) -> None:
    """JSON may escape one half of a surrogate pair alone; both halves are a character."""
    path = tmp_path / "rows.jsonl"
    ask = '{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "b"}]}'
    path.write_text("\n".join(ask % text for text in ("a", r"\ud83d\ude00", r"x \ud800 y")) + "\n")
    rows = formed(open_path(path), RowForm())
    assert said(rows, 1)[0] == ("user", "\U0001f600")
    with pytest.raises(RowFault, match=r"\\ud800 is half of a character"):
        rows.read(2)


ODD_NAMES = ["\x1b]52;c;a\x07", "\x9b", "\x90q", "\u202e", "\x1b[", "a\nb"]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("value", [3, [{"content": "x"}]])
def test_a_column_with_half_a_terminal_sequence_takes_no_word_of_ours(
    name: str, value: Any
) -> None:
    """The sentence was cleaned as a whole, and its words went with the name's sequence."""
    with pytest.raises(DataError) as refused:
        formed(ListRows("rows", [{name: value, "b": 3}]), RowForm())
    told = str(refused.value)
    assert told.isprintable()
    assert clean(told) == told
    assert f"the rows have the columns {ascii(name)[1:-1]}, b" in told


@pytest.mark.parametrize("name", ODD_NAMES)
def test_what_a_row_names_stands_in_a_sentence_as_escapes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(f'"{name}"\t"{name}"\na\tb\n', newline="")
    twice = f"{{{json.dumps(name)}: 1, {json.dumps(name)}: 2}}".encode()
    turns = [{"role": name, "content": "x"}]
    told = []
    for read in (
        lambda: open_path(path),
        lambda: parse_json(twice),
        lambda: parse_row({name: 1}),
        lambda: parse_row({"messages": turns}),
        lambda: formed(ListRows("rows", [{"chat": turns}]), RowForm()).read(0),
    ):
        with pytest.raises((DataError, RowFault)) as refused:
            read()
        told.append(str(refused.value))
    written = (ascii(name)[1:-1], json.dumps(name)[1:-1])
    assert all(each.isprintable() and any(way in each for way in written) for each in told)
