"""Problems are read, asked and checked as nanochat does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.conversation import RowFault, parse_gsm8k
from engine.conversations.problems import (
    PASSED,
    code_of,
    free_code,
    free_number,
    imports_of,
    number_of,
    number_problem,
    parse_program,
)
from engine.data.dataset import parse_row
from tests.conftest import examples

ROW = {
    "task_id": "Own/1",
    "prompt": 'import math\nfrom typing import List\n\n\ndef half(x):\n    """half of x"""\n',
    "canonical_solution": "    return x / 2\n",
    "test": "def check(candidate):\n    assert candidate(4) == 2\n",
    "entry_point": "half",
}


def test_a_row_of_humaneval_is_a_problem_whose_own_answer_passes():
    problem = parse_row(dict(ROW))
    assert problem == parse_program(dict(ROW))
    assert (problem.kind, problem.gold, problem.id) == ("program", PASSED, "Own/1")
    asked, answered = problem.conversation().messages
    assert asked.content == ROW["prompt"]
    assert answered.content == ROW["prompt"] + "\n" + ROW["canonical_solution"]
    program = problem.program(f"{ROW['prompt']}{ROW['canonical_solution']}")
    exec(compile(program, "<test>", "exec"), {})
    with pytest.raises(AssertionError):
        exec(compile(problem.program("def half(x):\n    return x"), "<test>", "exec"), {})


@pytest.mark.parametrize("key", ["prompt", "canonical_solution"])
def test_a_row_of_humaneval_without_a_text_is_a_named_fault(key):
    row = dict(ROW)
    row[key] = 3  # type: ignore[assignment]
    with pytest.raises(RowFault, match=key):
        parse_row(row)
    with pytest.raises(RowFault, match="entry_point"):
        parse_row(ROW | {"entry_point": "os.system('x')"})


def test_the_gold_number_of_gsm8k_is_that_of_its_last_line():
    problem = number_problem(parse_gsm8k("How many?", "3*4=<<3*4=12>>12\n#### 1,012"))
    assert (problem.kind, problem.prompt, problem.gold) == ("number", "How many?", "1012")
    with pytest.raises(RowFault, match="####"):
        number_problem(parse_gsm8k("How many?", "twelve"))


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("so\n#### 64", "64"),
        ("#### 1,024.50 dollars #### 3", "1024.50"),
        ("#### -7", "-7"),
        ("####64", None),
        ("#### $64", None),
        ("", None),
        ("64", None),
    ],
)
def test_the_number_after_the_marks_is_taken_and_nothing_else(answer, number):
    assert number_of(answer) == number


@given(st.text(), st.text())
def test_any_answer_has_a_number_or_none_and_a_program(before, answer):
    problem = parse_program(dict(ROW))
    found = number_of(before + answer)
    assert found is None or set(found) <= set("0123456789.-")
    program = problem.program(answer)
    assert program.startswith("import math\nfrom typing import List\n\n")
    assert program.endswith("\ncheck(half)")
    assert json.dumps(program)


def test_code_is_the_first_fence_or_all_of_an_answer():
    assert code_of("see\n```python\nx = 1\n```\nand\n```\ny = 2\n```") == "x = 1"
    assert code_of("  x = 1 \n") == "x = 1"
    assert imports_of("# a\nimport os\n\ndef f(): pass\nimport re") == "import os"


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("#### 180\nThe answer is: 181", "180"),
        ("So she makes 9 * 2 = $18 every day.", "18"),
        ("That is 1,234,000.00 in all.", "1234000"),
        ("10-3 leaves **7**.", "7"),
        ("It fell to -4.5", "-4.5"),
        ("Nothing is left.", None),
    ],
)
def test_a_number_is_found_in_an_answer_of_any_form(answer: str, number: str | None) -> None:
    assert free_number(answer) == number


@examples(100)
@given(
    value=st.integers(-(10**9), 10**9),
    before=st.text("ab 0123456789.,$=\n", max_size=40),
    after=st.sampled_from(["", ".", " dollars.", "\n", "**"]),
)
def test_whatever_stands_before_it_the_last_number_counts(
    value: int, before: str, after: str
) -> None:
    assert free_number(f"{before} {value:,}{after}") == str(value)
    assert free_number(f"{before}\n#### {value}\n7 more words") == str(value)


@pytest.mark.parametrize("fence", ["```", "```python", "```Python", "```py"])
@pytest.mark.parametrize(
    "form",
    [
        "{f}\nCODE\n```\nIt adds.",
        "First:\n{f}\nx = 1\n```\nthen\n{f}\nCODE\n```",
        "Here it is:\n{f}\nCODE",
        "CODE\n```\n\nIt adds.",
        "CODE",
    ],
)
def test_the_code_of_the_function_is_found_whatever_stands_around_it(form: str, fence: str) -> None:
    code = "def add(a, b):\n    return a + b"
    answer = form.format(f=fence).replace("CODE", code)
    assert free_code(answer, "add") == code
