"""Which rows a run sees, and what is refused before it starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from engine.conversations.letter_questions import Question
from engine.data.data_check import check_data
from engine.data.mixture import seed_order
from engine.data.tasks import (
    DataEntry,
    DataSettings,
    build_mixture,
    load_questions,
    load_validation,
)
from engine.errors import ConfigError, DataError
from tests.conftest import SHARED, needs_shared


def talk(text: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": text},
            {"role": "assistant", "content": "yes"},
        ]
    }


def asked(text: str) -> dict[str, Any]:
    return {"question": text, "choices": ["a", "b"], "answer": 0, "subject": "s"}


def write(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def user_text(row: Any) -> object:
    return row.conversation.messages[0].content


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder with a little of every file a default run wants."""
    for task in ("ARC-Easy", "ARC-Challenge"):
        write(tmp_path / f"{task}.train.jsonl", [asked(f"{task} {i}") for i in range(4)])
    write(tmp_path / "GSM8K.train.jsonl", [{"question": "g", "answer": "1 <<1=1>>1"}] * 3)
    write(tmp_path / "SmolTalk.train.jsonl", [talk(f"s{i}") for i in range(20)])
    write(tmp_path / "SmolTalk.test.jsonl", [talk(f"v{i}") for i in range(10)])
    write(tmp_path / "MMLU.test.jsonl", [asked(f"m{i}") for i in range(7)])
    write(tmp_path / "ARC-Easy.test.jsonl", [asked(f"e{i}") for i in range(6)])
    return tmp_path


def test_the_default_mixture_is_the_reference_runs_four_tasks(data_dir: Path) -> None:
    """ARC-Easy, ARC-Challenge, GSM8K and the first SmolTalk rows after the shuffle."""
    mixture = build_mixture(DataSettings(data_dir=data_dir, max_smoltalk_rows=5))

    assert mixture.counts() == {"ARC-Easy": 4, "ARC-Challenge": 4, "GSM8K": 3, "SmolTalk": 5}
    order = seed_order(20)[:5]
    smoltalk = mixture.tasks[3]
    assert [smoltalk.conversation(i).messages[0].content for i in range(5)] == [
        f"s{place}" for place in order
    ]


def test_fewer_validation_rows_are_a_prefix_of_more(data_dir: Path) -> None:
    """Validation rows come in the shuffled order, the same every time."""
    settings = DataSettings(data_dir=data_dir)
    few, more = load_validation(settings, 4), load_validation(settings, 400)

    assert (len(few), len(more)) == (4, 10)
    assert [user_text(more.row(i)) for i in range(10)] == [f"v{i}" for i in seed_order(10)]
    assert [few.row(i) for i in range(4)] == [more.row(i) for i in range(4)]


def test_fewer_questions_are_a_prefix_of_more(data_dir: Path) -> None:
    """So the item ids of a short evaluation are the first ids of a long one."""
    settings = DataSettings(data_dir=data_dir)
    few, more = load_questions(settings, 3), load_questions(settings)

    assert {task: len(found) for task, found in more.items()} == {"MMLU": 7, "ARC-Easy": 6}
    assert few["MMLU"] == more["MMLU"][:3]
    assert len({question.id for question in more["MMLU"]}) == 7


def test_a_check_counts_what_a_run_would_use(data_dir: Path) -> None:
    """Rows by task, validation rows and questions, after every cut."""
    found = check_data(
        DataSettings(data_dir=data_dir, max_smoltalk_rows=5),
        max_validation_rows=8,
        limits=6,
    )

    assert found.train == {"ARC-Easy": 4, "ARC-Challenge": 4, "GSM8K": 3, "SmolTalk": 5}
    assert (found.num_rows, found.validation_rows) == (16, 8)
    assert found.questions == {"MMLU": 6, "ARC-Easy": 6}
    assert (found.skipped, found.notes, found.from_hub) == ({}, (), ())


def test_a_fault_names_file_line_and_way_out(data_dir: Path) -> None:
    """The first bad line is named, the others are counted, and nothing starts."""
    path = data_dir / "SmolTalk.train.jsonl"
    lines = path.read_text().split("\n")
    lines[16] = json.dumps({"messages": [{"role": "user", "content": "a"}] * 2})
    lines[18] = "{"
    path.write_text("\n".join(lines))

    with pytest.raises(DataError) as caught:
        check_data(DataSettings(data_dir=data_dir))

    assert str(caught.value) == (
        f'{path}:17: message 2 has role "user"; expected "assistant". Fix the line, or pass '
        "--skip-bad-rows. (1 more bad rows after it.)"
    )


def test_bad_rows_are_skipped_and_counted_on_request(data_dir: Path) -> None:
    """The good rows are trained on in the order they would have without the bad ones."""
    path = data_dir / "SmolTalk.train.jsonl"
    path.write_text("{\n" + path.read_text() + "3\n")
    settings = DataSettings(data_dir=data_dir, skip_bad_rows=True)

    assert check_data(settings).skipped == {"SmolTalk.train": 2}
    mixture = build_mixture(settings)
    assert mixture.skipped() == {"SmolTalk": 2}
    found = [mixture.tasks[3].conversation(i).messages[0].content for i in range(20)]
    assert found == [f"s{place}" for place in seed_order(20)]


def test_a_file_of_bad_rows_only_is_refused_even_then(data_dir: Path) -> None:
    """Skipping everything is not a data set."""
    (data_dir / "SmolTalk.train.jsonl").write_text("{\n{\n")

    with pytest.raises(DataError, match="every one of its 2 rows is malformed"):
        check_data(DataSettings(data_dir=data_dir, skip_bad_rows=True))


def test_all_missing_files_are_named_at_once(data_dir: Path) -> None:
    """A person fixes the folder once."""
    for name in ("GSM8K.train.jsonl", "MMLU.test.jsonl"):
        (data_dir / name).unlink()

    with pytest.raises(DataError, match=r"there is no GSM8K\.train, MMLU\.test; expected"):
        check_data(DataSettings(data_dir=data_dir))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """A mistyped `--data-dir` is said before anything starts."""
    with pytest.raises(DataError, match="no such folder"):
        check_data(DataSettings(data_dir=tmp_path / "nothing"))


def test_a_mixture_takes_any_files_sizes_and_epochs(data_dir: Path) -> None:
    """Files under names of their own, cut after the shuffle, repeated, or in file order."""
    own = write(data_dir / "mine.jsonl", [talk(f"x{i}")["messages"] for i in range(10)])
    settings = DataSettings(
        data_dir=data_dir,
        mixture=(
            DataEntry(name="mine", file=own, size=3, epochs=2),
            DataEntry(name="identity", file=own, size=2, shuffle=False),
            DataEntry(name="GSM8K"),
        ),
    )
    mixture = build_mixture(settings)

    assert mixture.counts() == {"mine": 6, "identity": 2, "GSM8K": 3}
    identity = mixture.tasks[1]
    assert [identity.conversation(i).messages[0].content for i in range(2)] == ["x0", "x1"]
    assert check_data(settings).train == mixture.counts()


def test_conversations_cannot_be_asked_as_questions(data_dir: Path) -> None:
    """An evaluation task needs questions with letters."""
    write(data_dir / "MMLU.test.jsonl", [talk("a")])

    with pytest.raises(DataError, match="holds conversations; expected multiple-choice"):
        check_data(DataSettings(data_dir=data_dir))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "GSM8k"}, "Did you mean GSM8K?"),
        ({"name": "nothing like it"}, "expected one of ARC-Easy"),
        ({"name": "GSM8K", "size": 0}, "size is 0"),
        ({"name": "GSM8K", "epochs": 0}, "epochs is 0"),
    ],
)
def test_an_entry_that_means_nothing_is_refused(entry: dict[str, Any], words: str) -> None:
    """Unknown tasks and empty sizes are configuration errors."""
    with pytest.raises(ConfigError) as caught:
        DataEntry(**entry)

    assert words in str(caught.value)


class LittleStarter:
    """A generator of three tasks with a handful of rows."""

    def train_rows(self) -> dict[str, list[object]]:
        return {"facts": [asked("f0"), asked("f1")], "chat": [talk("c0")]}

    def validation_rows(self) -> list[object]:
        return [talk("v0"), talk("v1"), talk("v2")]

    def eval_questions(self) -> dict[str, list[object]]:
        return {"facts": [asked("q0"), asked("q1")]}


def test_the_starter_recipe_needs_no_files() -> None:
    """Generated rows are mixed, validated on and asked like any others, in their own order."""
    settings = DataSettings(starter=True)
    starter = LittleStarter()

    assert build_mixture(settings, starter=starter).counts() == {"facts": 2, "chat": 1}
    validation = load_validation(settings, 2, starter=starter)
    assert [user_text(validation.row(i)) for i in range(len(validation))] == ["v0", "v1"]
    questions = load_questions(settings, 1, starter=starter)
    facts = cast(list[Question], questions["facts"])
    assert [question.question for question in facts] == ["q0"]
    assert check_data(settings, starter=starter).num_rows == 3


def test_a_wrong_generated_row_is_our_fault_and_named() -> None:
    """A generator's bad row is reported like a file's, without advice about lines."""

    class Broken(LittleStarter):
        def validation_rows(self) -> list[object]:
            return [talk("v0"), {"nothing": 1}]

    with pytest.raises(DataError, match="validation, row 2: the row has the keys nothing"):
        load_validation(DataSettings(starter=True), 10, starter=Broken())


def test_the_built_in_starter_passes_its_own_check() -> None:
    """What ships trains on a few thousand rows and asks two tasks of questions."""
    found = check_data(DataSettings(starter=True))

    assert found.num_rows > 1000
    assert found.validation_rows > 50
    assert min(found.questions.values()) >= 100


@needs_shared
def test_the_real_folder_is_checked_with_chat_in_smoltalks_place() -> None:
    """Real ARC, GSM8K, MMLU and chat files are found, counted and noted."""
    found = check_data(DataSettings(data_dir=SHARED / "data"))

    assert found.train == {
        "ARC-Easy": 2251,
        "ARC-Challenge": 1119,
        "GSM8K": 7473,
        "SmolTalk": 5370,
    }
    assert found.questions == {"MMLU": 1024, "ARC-Easy": 1024}
    assert found.notes == (
        "chat.train.jsonl is used in place of SmolTalk.train",
        "chat.test.jsonl is used in place of SmolTalk.test",
    )


@needs_shared
def test_the_real_mmlu_twins_get_different_ids() -> None:
    """Exact duplicates in MMLU test do not share an item id."""
    questions = load_questions(DataSettings(data_dir=SHARED / "data"))["MMLU"]

    assert len({question.id for question in questions}) == len(questions) == 9362
    assert sum("#" in question.id for question in questions) > 0
