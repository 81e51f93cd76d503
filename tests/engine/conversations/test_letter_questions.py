"""Multiple-choice questions."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine.conversations.conversation import RowFault
from engine.conversations.letter_questions import (
    chance,
    item_set,
    one_letter,
    parse_question,
    with_ids,
)

ARC: dict[str, Any] = {
    "id": "arc_1",
    "question": "Which is a fruit?",
    "choices": {"text": ["pear", "saw"], "label": ["1", "2"]},
    "answerKey": "1",
}
MMLU: dict[str, Any] = {
    "question": "1+1?",
    "subject": "maths",
    "choices": ["1", "2", "3", "4"],
    "answer": 1,
}
PLAIN: dict[str, Any] = {**MMLU, "letters": ["A", "B", "C", "D"], "answer": "B"}


def test_the_letter_follows_its_choice_without_a_blank() -> None:
    """The prompt is nanochat's to the character, and the answer is the bare letter."""
    question = parse_question(ARC)

    assert question.prompt() == (
        "Multiple Choice question: Which is a fruit?\n- pear=1\n- saw=2\n"
        "\nRespond only with the letter of the correct answer."
    )
    assert [m.content for m in question.conversation().messages] == [question.prompt(), "1"]


def test_the_hubs_form_and_the_plain_form_are_the_same_question() -> None:
    """An index into the choices means the letter at that place."""
    assert parse_question(MMLU) == parse_question(PLAIN)
    assert parse_question(MMLU).content_hash() == parse_question(PLAIN).content_hash()


def test_a_row_without_subject_takes_its_tasks_name() -> None:
    """ARC's hub rows name no subject."""
    assert parse_question(ARC, subject="ARC-Easy").subject == "ARC-Easy"
    assert parse_question(MMLU, subject="MMLU").subject == "maths"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"question": 3}, '"question" is missing'),
        ({"choices": "AB"}, '"choices" is missing or not a list'),
        ({"choices": [1, 2, 3, 4]}, "not a list of texts"),
        ({"choices": ["1"], "letters": ["A"], "answer": "A"}, "fewer than two"),
        ({"letters": ["A", "B"]}, "4 choices and 2 letters"),
        ({"letters": ["A", "A", "B", "C"]}, "not all different"),
        ({"answer": "E"}, "is 'E'; expected one of A, B, C, D"),
        ({"answer": 4}, "is 4; expected 0 to 3"),
        ({"answer": -1}, "is -1; expected 0 to 3"),
        ({"answer": True}, "is True; expected one of"),
        ({"answer": None}, "is None; expected one of"),
        ({"subject": 3}, '"subject" is not a text'),
    ],
)
def test_a_wrong_question_says_what_is_wrong(change: dict[str, Any], words: str) -> None:
    """A fault names the key, what was found and what was expected."""
    with pytest.raises(RowFault) as caught:
        parse_question({**PLAIN, **change})

    assert words in str(caught.value)


def test_more_choices_than_letters_are_refused() -> None:
    """There is no 27th letter to stand for a choice."""
    with pytest.raises(RowFault, match="27 entries"):
        parse_question({"question": "q", "choices": [str(i) for i in range(27)], "answer": 0})


def test_ids_are_unique_and_do_not_depend_on_later_questions() -> None:
    """The hub's id, else the content hash; a twin gets its occurrence."""
    questions = [parse_question(row) for row in (ARC, MMLU, PLAIN, ARC)]
    named = with_ids(questions)

    assert [q.id for q in named[:1] + named[3:]] == ["arc_1", "arc_1#2"]
    assert named[2].id == f"{named[1].id}#2"
    assert [q.id for q in with_ids(questions[:3])] == [q.id for q in named[:3]]


def test_baselines_count_choices_and_gold_letters() -> None:
    """Chance is the mean of 1/choices; one letter is the most frequent gold letter's share."""
    questions = [parse_question(row) for row in (ARC, MMLU, PLAIN)]

    assert chance(questions) == pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3)
    assert one_letter(questions) == pytest.approx(2 / 3)
    assert math.isnan(chance([]))
    assert math.isnan(one_letter([]))


def test_an_item_set_is_its_ids_in_order() -> None:
    """Fewer, other or reordered items are another set."""
    first, second = with_ids([parse_question(ARC), parse_question(MMLU)])

    assert item_set([first, second]) == item_set([first, second])
    assert len({item_set(items) for items in ([first, second], [second, first], [first])}) == 3
