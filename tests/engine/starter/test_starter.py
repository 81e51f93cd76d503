"""The starter recipe: its rows, its base, and that training it gets somewhere."""

import hashlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.conversations.conversation import parse_messages
from engine.conversations.letter_questions import parse_question
from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError
from engine.model.nanochat.gpt import GPT
from engine.starter import base, rows, weights
from engine.starter.build_base import build, train_tokenizer
from engine.starter.conversations import opening
from engine.starter.corpus import Corpus
from engine.starter.facts import fact_problems
from engine.starter.lists import MAKERS
from engine.starter.logic import logic_problems
from engine.starter.problem import is_eval, normalised
from engine.starter.words import RELATIONS, sentence

Row = dict[str, Any]


def identity(row: Row) -> str:
    """A question with its choices, or what the user says first, without case and marks."""
    if "question" in row:
        return normalised(" ".join([row["question"], *row["choices"]]))
    return normalised(opening(row))


def all_questions() -> list[Row]:
    train, held_out = rows.train_rows(), rows.eval_questions()
    return [row for task in held_out for row in train[task] + held_out[task]]


def test_no_row_stands_in_two_splits() -> None:
    """No normalised question or opening is in two of training, validation and evaluation."""
    train = {identity(row) for task in rows.train_rows().values() for row in task}
    validation = {identity(row) for row in rows.validation_rows()}
    held_out = {identity(row) for task in rows.eval_questions().values() for row in task}

    assert not train & validation
    assert not train & held_out
    assert not validation & held_out


def test_no_list_of_the_evaluation_is_asked_about_in_training() -> None:
    """Nor the same words in another order: reading has to carry over to new lists."""
    train, held_out = rows.train_rows()[rows.LISTS], rows.eval_questions()[rows.LISTS]
    seen = {(row["subject"], *sorted(row["choices"])) for row in train}
    assert not seen & {(row["subject"], *sorted(row["choices"])) for row in held_out}


def test_no_fact_of_the_evaluation_is_asked_in_training() -> None:
    """A fact kept for evaluation is not asked in other words or from its other side either."""
    by_question = {normalised(p.question): p.key for p in fact_problems(random.Random(0))}
    train = {by_question[normalised(r["question"])] for r in rows.train_rows()[rows.FACTS]}
    held_out = {by_question[normalised(r["question"])] for r in rows.eval_questions()[rows.FACTS]}

    assert not train & held_out


def test_rows_of_one_split_are_all_different() -> None:
    """Nothing is asked twice within a split."""
    for split in (rows.train_rows(), rows.eval_questions()):
        for task in split.values():
            assert len({identity(row) for row in task}) == len(task)


def test_rows_are_valid() -> None:
    """Every row is what the engine's own parsers accept, with three to five different choices."""
    for row in all_questions():
        parse_question(row)
        assert 3 <= len(set(row["choices"])) == len(row["choices"]) <= 5
    train = rows.train_rows()
    for row in train[rows.SUMS] + train[rows.CHAT] + rows.validation_rows():
        parse_messages(row["messages"])


def test_rows_are_the_same_every_time() -> None:
    """The same seed gives the same rows in another process, another seed others."""
    code = (
        "import hashlib, json; from engine.starter import rows; "
        "print(hashlib.sha256(json.dumps([rows.train_rows(), rows.validation_rows(), "
        "rows.eval_questions()]).encode()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    mine = json.dumps([rows.train_rows(), rows.validation_rows(), rows.eval_questions()])

    assert done.stdout.strip() == hashlib.sha256(mine.encode()).hexdigest()
    assert rows.validation_rows(seed=2) != rows.validation_rows()


def test_sizes_are_those_promised() -> None:
    """Each task has the rows its constant says."""
    assert {task: len(made) for task, made in rows.train_rows().items()} == rows.TRAIN_SIZES
    assert {len(made) for made in rows.eval_questions().values()} == {rows.EVAL_SIZE}
    assert len(rows.validation_rows()) == rows.VALIDATION_SIZE


def test_gold_letters_are_balanced() -> None:
    """Always answering one letter stays within four points of chance, in every split."""
    train = rows.train_rows()
    for task, asked in rows.eval_questions().items():
        for made in (train[task], asked, asked[:256]):
            chance = sum(1 / len(row["letters"]) for row in made) / len(made)
            most = max(Counter(row["answer"] for row in made).values()) / len(made)
            assert most < chance + 0.04


def gold(row: Row) -> str:
    return str(row["choices"][row["letters"].index(row["answer"])])


PLACES = ["first", "second", "third", "fourth", "fifth"]
YES = {"yes", "certainly", "of course"}


def expected(row: Row) -> str:
    """The right choice worked out from the question's text and the choices alone."""
    text, choices = row["question"], row["choices"]
    named = [PLACES.index(word) for word in re.findall(r"[a-z]+", text) if word in PLACES]
    match row["subject"]:
        case "places" if "last but one" in text:
            return str(choices[-2])
        case "places" if "last" in text:
            return str(choices[-1])
        case "places":
            (place,) = named
            return str(choices[place])
        case "neighbours":
            (place,) = named
            return str(choices[place + 1])
        case "yes and no":
            (agreeing,) = [choice for choice in choices if choice in YES]
            return str(agreeing)
        case "numbers among words":
            (number,) = [choice for choice in choices if choice.isdigit()]
            return str(number)
    raise AssertionError(row["subject"])


def test_answers_about_lists_are_right() -> None:
    """Each answer is what follows from question and choices, and no other choice is."""
    train, held_out = rows.train_rows()[rows.LISTS], rows.eval_questions()[rows.LISTS]
    assert len({row["subject"] for row in train}) == len(MAKERS)
    for row in train + held_out:
        assert gold(row) == expected(row), row


def test_fact_answers_are_those_of_the_tables() -> None:
    """Each answer is a pair of its table, and no wrong choice would be a pair too."""
    pairs: dict[str, set[tuple[str, str]]] = {r.subject: set(r.pairs) for r in RELATIONS}
    asks = {
        sentence(ask.format(a=a, b=b)): (a, b, ask in r.back)
        for r in RELATIONS
        for a, b in r.pairs
        for ask in r.asks + r.back
    }
    for row in [r for r in all_questions() if r["subject"] in pairs and r["question"] in asks]:
        a, b, backwards = asks[row["question"]]
        assert gold(row) == (a if backwards else b)
        for choice in set(row["choices"]) - {gold(row)}:
            wrong = (choice, b) if backwards else (a, choice)
            assert wrong not in pairs[row["subject"]]


def test_tables_have_one_answer_a_key() -> None:
    """No key of a relation stands in it twice."""
    for relation in RELATIONS:
        keys = [a for a, _ in relation.pairs]
        assert len(set(keys)) == len(keys), relation.subject


def test_word_problems_are_solved_rightly() -> None:
    """Every calculator part gives its output, and the last output is the final number."""
    for row in rows.train_rows()[rows.SUMS]:
        parts = row["messages"][-1]["content"]
        python = [p["text"] for p in parts if p["type"] == "python"]
        output = [p["text"] for p in parts if p["type"] == "python_output"]
        assert all(re.fullmatch(r"[\d+*-]+", text) for text in python)
        assert [str(eval(text)) for text in python] == output
        assert output[-1] == row["final"]
        assert parts[-1]["text"].endswith(f"#### {row['final']}")


def test_generating_is_torch_free() -> None:
    """The launcher can count rows and look at the base without paying for torch."""
    code = (
        "import sys; from engine.starter import base, rows; rows.train_rows(); base.base_info(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_base_never_reads_a_question_kept_for_evaluation() -> None:
    """No talk of the base asks about a key of the evaluation, nor opens like validation."""
    held_out = {
        normalised(p.question)
        for p in [*fact_problems(random.Random(0)), *logic_problems(random.Random(0), 5000)]
        if is_eval(p.key)
    } | {normalised(opening(row)) for row in rows.validation_rows()}
    for document in islice(Corpus(random.Random(3)).documents(), 3000):
        for message in document.get("messages", []):
            said = normalised(message["content"].split("\n")[0].split(" Choose from ")[0])
            assert said not in held_out


def test_the_base_never_reads_a_bare_letter_as_the_answer_to_a_choice() -> None:
    """What fine-tuning teaches is new: no question with choices is answered by a letter alone."""
    for document in islice(Corpus(random.Random(4)).documents(), 3000):
        messages = document.get("messages", [])
        for asked, answered in pairwise(messages):
            if answered["content"] in "ABCDE" and asked["role"] == "user":
                assert "stands beside" in asked["content"]


def test_assets_fit_in_eight_megabytes() -> None:
    """The package stays small."""
    assert sum(path.stat().st_size for path in base.ASSETS.iterdir()) < 8_000_000


def test_the_tokenizer_is_the_one_the_script_makes() -> None:
    """The shipped vocabulary is that of `build_base`, and letters are single tokens in a list."""
    info = base.base_info()
    shipped = Tokenizer.load(info.tokenizer_path)
    assert hashlib.sha256(info.tokenizer_path.read_bytes()).hexdigest() == info.tokenizer_digest
    assert shipped.digest == train_tokenizer().digest
    assert shipped.vocab_size == info.config.vocab_size
    for letter in "ABCDE":
        (alone,) = shipped.encode_ordinary(letter)
        assert alone in shipped.encode_ordinary(f"- cold={letter}\n")


def test_the_base_loads() -> None:
    """Shape, names and type of the weights are those of a nanochat model."""
    config, state = weights.load_base()
    model = GPT.from_state(config, state)
    assert all(weight.dtype == torch.float32 for weight in state.values())
    assert model.config == base.base_info().config


def test_a_damaged_base_is_refused(tmp_path: Path) -> None:
    """One changed byte of the weights is noticed, and the message says what to do."""
    for path in base.ASSETS.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((tmp_path / base.WEIGHTS).read_bytes())
    content[-1] ^= 1
    (tmp_path / base.WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match="Install sftui again"):
        weights.load_base(tmp_path)


def test_a_missing_base_is_refused(tmp_path: Path) -> None:
    """An empty folder gives one sentence, not a traceback of ours."""
    with pytest.raises(CheckpointError, match=re.escape("base.json")):
        base.base_info(tmp_path)


@pytest.mark.slow
def test_the_script_builds_a_base_that_loads_and_is_the_same_again(tmp_path: Path) -> None:
    """Two short builds give the same files, and `load_base` accepts them."""
    first = build(tmp_path / "one", num_steps=2)
    second = build(tmp_path / "two", num_steps=2)
    assert first == second
    weights.load_base(tmp_path / "one")
