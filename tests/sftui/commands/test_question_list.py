"""`sftui questions`: the flips of a run on paper and as JSON."""

import json

import pytest

from sftui import cli
from sftui.commands.question_list import as_dict, as_text
from sftui.commands.reading_flags import QuestionFlags
from tests.faults.place import Place, work


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run with three evaluations of two tasks."""
    made = Place(tmp_path_factory.mktemp("questions")).make("--eval-metrics-every=6")
    assert work(made) == 0
    return made


def flags(run, **wanted):
    return QuestionFlags(run=str(run.path), **wanted)


def test_all_flips_add_up_to_the_change_of_the_counts(run):
    """Gains minus losses is what the accuracy moved by, in every task, and nothing is left out."""
    for entry in as_dict(flags(run, kind="all"))["tasks"]:
        found = entry["comparison"]
        assert len(entry["questions"]) == entry["total"] == 16
        kinds = [question["kind"] for question in entry["questions"]]
        assert (kinds.count("gained"), kinds.count("lost")) == (found["gained"], found["lost"])
        right = [
            sum(question[side] == question["gold"] for question in entry["questions"])
            for side in ("from", "to")
        ]
        assert right[1] - right[0] == found["gained"] - found["lost"]
        assert found["points"] == pytest.approx(100 * (right[1] - right[0]) / 16)
        for side in ("from", "to", "gold"):
            assert sum(entry["letters"][side].values()) == 16


def test_each_question_has_its_words_answers_and_probabilities(run):
    """The likeliest letter is the answer; the probabilities of its letters sum to one."""
    [entry] = as_dict(flags(run, task="MMLU", kind="all"))["tasks"]
    for question in entry["questions"]:
        assert question["question"]
        assert len(question["choices"]) == len(question["letters"]) == len(question["p_to"])
        for answer, p in (("from", "p_from"), ("to", "p_to")):
            assert sum(question[p]) == pytest.approx(1, abs=0.01)
            assert question[p][question["letters"].index(question[answer])] == max(question[p])


def test_a_person_reads_the_verdict_before_the_list(run):
    """Task, steps and verdict first; then as many questions as asked for, and how many are left."""
    found = as_text(flags(run, task="MMLU", kind="all", limit=3), 100)
    assert found[0].startswith("MMLU: the start -> step 12, 16 questions")
    assert "no evidence" in found[1]
    assert found[-1] == "13 more; --limit 0 prints all."
    assert all(len(line) <= 100 for line in found)
    assert sum("<- " in line and "right" in line for line in found) == 3


def test_other_steps_can_be_named(run):
    """Backwards too: what was gained is then what was lost."""
    [there] = as_dict(flags(run, task="MMLU", from_=0, to=6))["tasks"]
    [back] = as_dict(flags(run, task="MMLU", from_=6, to=0))["tasks"]
    assert (there["from"], there["to"]) == (0, 6)
    gained, lost = (there["comparison"][name] for name in ("gained", "lost"))
    assert (back["comparison"]["lost"], back["comparison"]["gained"]) == (gained, lost)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("--task", "MMMU"), "there are: MMLU"),
        (("--to", "5"), "there are: 0, 6, 12"),
        (("--kind", "new"), "gained"),
        (("--from", "6", "--to", "6"), "nothing to compare"),
        (("--limit", "-1"), "0 prints all"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(run, capsys, wrong, told):
    """Exit code 2 and one line."""
    assert cli.main(["questions", str(run.path), *wrong]) == 2
    assert told in capsys.readouterr().err


def test_a_log_has_no_answers_question_by_question(tmp_path, run, capsys):
    """nanochat's log tells counts alone; the reason is given."""
    log = tmp_path / "run.log"
    log.write_bytes(run.run_log.read_bytes())
    assert cli.main(["questions", str(log)]) == 2
    assert "question by question" in capsys.readouterr().err


def test_the_command_prints_json(run, capsys):
    """For scripts, with the schema's number."""
    assert cli.main(["questions", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1
