"""A run that evaluates written answers: told while it works, heard while it works, kept."""

from __future__ import annotations

import json
import time

import pytest

from engine import measure
from engine.control import Command, Request
from engine.evaluation import eval_items, eval_meetings
from engine.events import (
    ControlApplied,
    EvalFinished,
    EvalProgress,
    LogLine,
    RunFinished,
    StepFinished,
)
from engine.journal import wire
from engine.model import batch_generate
from engine.sandbox import bubblewrap
from engine.steering import inbox
from sftui import run_json
from sftui.commands.question_list import as_dict, as_text
from sftui.commands.reading_flags import QuestionFlags
from sftui.sources import snapshot
from tests.faults.place import Place, told, work
from tests.processes import children

TASKS = "--eval-tasks=MMLU,GSM8K"
needs_bwrap = pytest.mark.skipif(
    bubblewrap.find() is None, reason="bubblewrap is not installed: apt-get install bubblewrap"
)


def write_problems(place: Place, count: int = 6) -> None:
    """GSM8K and HumanEval beside the data of a place."""
    sums = [
        {"question": f"What is {i}+{i}?", "answer": f"It is\n#### {2 * i}"} for i in range(count)
    ]
    (place.data / "GSM8K.test.jsonl").write_text("\n".join(map(json.dumps, sums)) + "\n")
    programs = [
        {
            "task_id": f"Own/{i}",
            "prompt": f"def f{i}(x):\n",
            "canonical_solution": "    return x\n",
            "test": "def check(candidate):\n    assert candidate(1) == 1\n",
            "entry_point": f"f{i}",
        }
        for i in range(count)
    ]
    (place.data / "HumanEval.test.jsonl").write_text("\n".join(map(json.dumps, programs)) + "\n")


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    write_problems(found)
    return found


@needs_bwrap
def test_a_run_evaluates_all_five_tasks_of_chatcore_and_keeps_their_answers(place, monkeypatch):
    monkeypatch.setattr("engine.evaluation.generated.MAX_NEW_TOKENS", 8)
    run = place.make("--eval-tasks=chatcore", "--chatcore-max-sample=3", "--chatcore-max-cat=5")
    assert work(run) == 0
    found = [event for event in told(run, EvalFinished) if event.step == 0]
    assert [(event.task, event.total) for event in found] == [
        ("ARC-Easy", 5),
        ("ARC-Challenge", 5),
        ("MMLU", 5),
        ("GSM8K", 3),
        ("HumanEval", 3),
    ]
    written = found[3]
    assert (written.chance, written.one_letter, dict(written.letters)) == (0.0, None, {})
    items = eval_items.load_items(run.path / written.items_file)
    assert len(items.answers) == 3
    assert items.correct == written.correct
    # Both texts of a question can be read, and ChatCORE is told.
    told_of = QuestionFlags(run=str(run.path), task="HumanEval", kind="all")
    lines = as_text(told_of, 80)
    assert "    right: passed" in lines
    assert all(len(line) <= 80 for line in lines)
    (entry,) = as_dict(told_of)["tasks"]
    assert [len(entry[key]) for key in ("letters", "questions")] == [3, 3]
    assert all(question["wrote_to"] is not None for question in entry["questions"])
    shot = snapshot.read_run(run)
    look = run_json.to_dict(shot)["stages"][0]["chatcore"][-1]
    assert [score["name"] for score in look["scores"]] == ["ChatCORE", "ChatCORE_cat"]
    assert set(look["against"]) == {"ChatCORE", "ChatCORE_cat"}


def ask(run, command):
    request = Request(id=wire.new_id(), command=command, author="test", t=time.time())
    inbox.post(run, request)
    return request.id


@pytest.mark.parametrize("command", [Command.STOP, Command.CANCEL])
def test_a_request_is_heard_between_two_tokens(place, monkeypatch, command):
    """Within 2 s, whatever is left to write; a stopped run evaluates the step when taken up."""
    run = place.make(TASKS, "--num-iterations=2")
    asked: list[tuple[str, float]] = []
    heard: list[float] = []
    calls: list[float] = []
    best = batch_generate._best

    def slow(*arguments):
        time.sleep(0.02)
        calls.append(time.monotonic())
        if not asked and calls[-1] > calls[0] + 1.2:
            asked.append((ask(run, command), time.monotonic()))
        return best(*arguments)

    given_up = measure._given_up

    def timed(*arguments):
        heard.append(time.monotonic() - asked[0][1])
        return given_up(*arguments)

    monkeypatch.setattr(batch_generate, "_best", slow)
    monkeypatch.setattr(measure, "_given_up", timed)
    monkeypatch.setattr(eval_meetings, "TELL_SECONDS", 0.1)
    assert work(run) == 0
    assert heard[0] < 2
    answers = {event.id: event.outcome for event in told(run, ControlApplied)}
    assert answers[asked[0][0]] == "applied"
    assert [event.task for event in told(run, EvalFinished) if event.step == 0] == ["MMLU"]
    assert "was given up after" in told(run, LogLine)[0].text
    if command is Command.STOP:
        assert told(run, RunFinished)[-1].status == "stopped"
        assert told(run, StepFinished) == []
    else:
        assert told(run, RunFinished)[-1].status == "finished"
        # The step after it is trained, and the last evaluation is of its own.
        assert len(told(run, StepFinished)) == 1
    progress = told(run, EvalProgress)
    assert progress
    assert all(event.task == "GSM8K" and event.total == 6 for event in progress)
    assert max(event.tokens for event in progress) > 0


def test_a_request_to_cancel_without_an_evaluation_is_refused(place):
    run = place.make(TASKS, "--num-iterations=2", "--eval-max-generated=1")
    wanted = ask(run, Command.CANCEL)
    # The start's evaluation is over in less than the time to a meeting, or hears it.
    assert work(run) == 0
    (answer,) = [event for event in told(run, ControlApplied) if event.id == wanted]
    assert answer.outcome in ("rejected", "applied")


@pytest.mark.slow
def test_two_ranks_hear_a_stop_in_the_middle_of_an_evaluation(tmp_path):
    """Ranks at different problems stop at the same meeting, and nothing is left running."""
    with children() as started:
        place = Place(tmp_path, started)
        write_problems(place, 1200)
        run = place.make(TASKS, "--gpus=2", "--eval-max-generated=-1", "--device-batch-size=1")
        process = place.supervise(run)
        end = time.monotonic() + 100
        while not told(run, EvalProgress):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.1)
        begin = time.monotonic()
        ask(run, Command.STOP)
        assert place.ended(process) == 0
        waited = time.monotonic() - begin
    assert told(run, RunFinished)[-1].status == "stopped"
    (line,) = [event for event in told(run, LogLine) if "was given up after" in event.text]
    done = list(told(run, ControlApplied))
    assert done[-1].outcome == "applied"
    assert line.stamp.t is not None
    assert waited < 30, "of which 2 s are for hearing it, the rest saves and leaves"
