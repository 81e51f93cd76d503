"""`compare`: differences are B minus A, paired or refused with the reason."""

import json
import math
import re
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine import events as ev
from engine.evaluation import eval_items
from engine.evaluation.eval_items import EvalResult
from engine.evaluation.validation_rows import RowLosses, save_rows
from engine.journal.event_bus import EventBus
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.cli import main
from sftui.compare import compare_text, comparison, pairing
from sftui.compare.overlaid_runs import Contender
from sftui.sources import snapshot
from sftui.state.run_state import RunState
from tests.sftui.report import reference_writeup

ITEMS = 40


def items(right, item_set="set-1"):
    """A result with the first `right` questions answered right."""
    gold = ("A",) * ITEMS
    return EvalResult(
        task="MMLU",
        item_set=item_set,
        item_ids=tuple(f"q{i}" for i in range(ITEMS)),
        subjects=("s",) * ITEMS,
        gold=gold,
        predicted=tuple("A" if i < right else "B" for i in range(ITEMS)),
        letter_logprobs=np.zeros((ITEMS, 2), dtype=np.float32),
        item_letters=(("A", "B"),) * ITEMS,
        chance=0.5,
        one_letter=1.0,
    )


def make(
    tmp_path, name, *, right, losses, item_set="set-1", tokenizer="t", data_dir="d", **settings
):
    run = run_dir.create(tmp_path / "runs", name, datetime(2026, 1, 1))
    run.manifest.write_text(json.dumps({"tokenizer_sha256": tokenizer, "cwd": "/w"}))
    result = items(right, item_set)
    eval_items.save_items(run.eval_items(3, "MMLU"), result)
    save_rows(
        run.eval_items(3, "val"), RowLosses(losses=np.array(losses), rows=np.arange(len(losses)))
    )
    bus = EventBus(run, run.id, 1, live=False)
    for event in (
        ev.RunStarted(name=name, num_iterations=4, settings={"data_dir": data_dir, **settings}),
        *(ev.StepFinished(step=step, loss=2.0 - step / 4) for step in range(3)),
        ev.ValidationFinished(
            step=3, loss=float(np.mean(losses)), rows_file="evals/step-3.val.npz"
        ),
        ev.EvalFinished(
            step=3,
            task="MMLU",
            correct=right,
            total=ITEMS,
            item_set=item_set,
            items_file="evals/step-3.MMLU.npz",
        ),
        ev.RunFinished(status="finished", updates=3),
    ):
        bus.emit(event)
    assert bus.close()
    return run.path


def adjust(run, *commands):
    """Say in a run's journal what a person did: (command, argument, step), all applied."""
    bus = EventBus(RunDir(run), run.name, 1, live=False)
    for i, (command, argument, step) in enumerate(commands):
        bus.emit(ev.ControlApplied(id=f"c{i}", command=command, argument=argument, step=step))
    assert bus.close()


BEFORE = [1.10, 1.30, 1.20, 1.40, 1.00, 1.25, 1.15, 1.35]
NOW = [1.12, 1.33, 1.21, 1.44, 1.02, 1.25, 1.18, 1.36]


def test_what_can_be_paired_is_paired(tmp_path):
    """Questions by McNemar's test, rows by their differences; B minus A."""
    a = make(tmp_path, "a", right=10, losses=BEFORE, matrix_lr=0.02)
    b = make(tmp_path, "b", right=30, losses=NOW, matrix_lr=0.04)
    found = comparison.to_dict(comparison.compare(str(a), str(b)))
    [task] = found["tasks"]
    assert (task["kind"], task["gains"], task["losses"]) == ("paired", 20, 0)
    assert task["points"] == pytest.approx(50.0)
    assert task["p"] == pytest.approx(2 * 0.5**20)
    assert task["verdict"] == "clear"
    assert task["reason"] is None
    validation = found["validation"]
    assert (validation["kind"], validation["rows"]) == ("paired", 8)
    assert validation["difference"] == pytest.approx(0.02)
    assert found["settings"] == [{"name": "matrix_lr", "a": 0.02, "b": 0.04}]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"item_set": "set-2"}, "unpaired", "not the same items"),
        ({}, "paired", None),
    ],
)
def test_other_questions_are_refused_with_the_reason(tmp_path, change, kind, words):
    """Equal numbers of other questions are still other questions."""
    a = make(tmp_path, "a", right=10, losses=BEFORE)
    b = make(tmp_path, "b", right=30, losses=NOW, **change)
    [task] = comparison.to_dict(comparison.compare(str(a), str(b)))["tasks"]
    assert task["kind"] == kind
    assert words is None or words in task["reason"]


@pytest.mark.parametrize(
    ("item_set", "said"),
    [
        ("set-2", "unpaired: other questions"),
        (None, "unpaired; the items of one side are not known"),
    ],
)
def test_that_two_are_not_paired_is_said_once(tmp_path, capsys, item_set, said):
    """On paper and on the screen: not once by the difference and once more behind it."""
    a = make(tmp_path, "a", right=10, losses=BEFORE)
    b = make(tmp_path, "b", right=30, losses=NOW, item_set=item_set)
    assert main(["compare", str(a), str(b), "--plain"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MMLU")]
    assert line.endswith(said)
    assert len(re.findall("paired|questions|items", line)) == len(
        re.findall("paired|questions|items", said)
    )
    # Whatever the reason, the screen has the same words.
    found = comparison.compare(str(a), str(b))
    assert compare_text.why_unpaired(found.tasks[0]) == said.removeprefix(
        "unpaired: other questions"
    ).removeprefix("unpaired; ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokenizer": "other"}, "tokenizers differ"),
        ({"data_dir": "elsewhere"}, "data_dir"),
    ],
)
def test_row_numbers_of_other_data_are_never_paired(tmp_path, change, words):
    """Row 5 of one file is not row 5 of another; a token of one tokenizer none of another."""
    a = make(tmp_path, "a", right=10, losses=BEFORE)
    b = make(tmp_path, "b", right=10, losses=NOW, **change)
    found = comparison.to_dict(comparison.compare(str(a), str(b)))["validation"]
    assert found["kind"] == "refused"
    assert found["difference"] is None
    assert words in found["reason"]


def test_a_reason_names_the_run_by_its_letter(tmp_path):
    """Beside a third run, `A` would be another one."""
    a = make(tmp_path, "a", right=10, losses=BEFORE)
    log, _ = reference_writeup.write(tmp_path)
    sides = [snapshot.read(str(path)) for path in (a, log)]
    found = pairing.of(*sides, ("B", "C"))
    assert found.validation is not None
    assert "the losses of C are not stored" in found.validation.reason


def test_nanochats_spelling_of_a_task_is_the_same_task(tmp_path):
    """Its text logs write `starter_lists`; ours `Starter-Lists`."""
    states = []
    for task in ("Starter-Lists", "starter_lists"):
        state = RunState()
        state.apply(ev.EvalFinished(step=3, task=task, correct=5, total=10, accuracy=0.5))
        states.append(SimpleNamespace(state=state, run=None))
    found = pairing.of(*states)
    assert [task.task for task in found.tasks] == ["Starter-Lists"]
    assert (found.only_a, found.only_b) == ([], [])


def test_a_log_and_a_run_are_compared_without_pretending(tmp_path, capsys):
    """Other formats: unpaired, and said; the curves lie on each other."""
    log, _ = reference_writeup.write(tmp_path)
    run = make(tmp_path, "a", right=10, losses=BEFORE)
    assert main(["compare", str(log), str(run)]) == 0
    out = capsys.readouterr().out
    assert "unpaired; the items of one side are not known" in out
    assert "only A was asked: ARC-Easy" in out
    assert "train A" in out
    assert "train B" in out


def test_the_json_has_a_schema_and_no_nan(tmp_path, capsys):
    """A diverged run is null, not a word no parser knows."""
    a = make(tmp_path, "a", right=10, losses=BEFORE)
    b = make(tmp_path, "b", right=10, losses=[math.nan] * 8)
    assert main(["compare", str(a), str(b), "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["schema"] == 1
    assert found["validation"]["b"]["value"] is None
    assert found["validation"]["kind"] == "refused"
    assert {"a", "b", "settings", "validation", "tasks", "only_a", "only_b"} <= found.keys()


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        (((250, 300, 350, 400), (250, 350, 450, 550)), "clear"),
        (((250, 420, 230, 440, 240, 400), (250, 410, 260, 480, 300, 550)), "suggestive"),
        # One run alone may tell how much evaluations scatter.
        (((400,), (250, 410, 260, 480, 300, 550)), "suggestive"),
    ],
)
def test_runs_whose_evaluations_jump_are_not_called_different(counts, verdict):
    """To be clear, B minus A must beat the scatter of both runs' own evaluations."""
    sides = []
    for place, correct in enumerate(counts):
        side = Contender(place=place, title="", path=Path("x"))
        for step, k in enumerate(correct):
            side.state.apply(ev.EvalFinished(step=step, task="MMLU", correct=k, total=1000))
        sides.append(side)
    [task] = pairing.of(*sides).tasks
    assert task.judged.comparison.p < 0.001
    assert task.judged.verdict == verdict


def test_a_run_against_itself_differs_in_nothing(tmp_path):
    """No setting, no flip, no difference; and no evidence of any."""
    a = make(tmp_path, "a", right=10, losses=BEFORE)
    found = comparison.to_dict(comparison.compare(str(a), str(a)))
    assert found["settings"] == []
    assert found["tasks"][0]["points"] == 0
    assert found["tasks"][0]["verdict"] == "no evidence"
    assert found["validation"]["difference"] == 0


def test_bad_input_is_one_line(tmp_path, capsys):
    """Exit code 2."""
    assert main(["compare", str(tmp_path / "x"), str(tmp_path / "y")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_a_person_did_stands_first_among_the_differences(tmp_path, capsys):
    """A factor on the rates is a difference like a setting; a pause is none."""
    a = make(tmp_path, "a", right=10, losses=BEFORE, matrix_lr=0.02, sample_every=10)
    b = make(tmp_path, "b", right=30, losses=NOW, matrix_lr=0.04, sample_every=20)
    adjust(a, ("pause", None, 1), ("lr", 0.5, 1), ("resume", None, 1))
    found = comparison.to_dict(comparison.compare(str(a), str(b)))["settings"]
    assert found[0] == {"name": "by hand", "a": "lr ×0.5 from step 1", "b": "nothing"}
    assert [row["name"] for row in found] == ["by hand", "matrix_lr", "sample_every"]
    assert main(["compare", str(a), str(b)]) == 0
    text = capsys.readouterr().out
    assert "lr ×0.5 from step 1" in text
    assert "no effect on the weights: sample_every 10/20" in text


def test_a_difference_over_rows_names_the_means_it_is_the_difference_of(tmp_path, capsys):
    """A row counts once, whatever its tokens: the two losses above need not differ by as much."""
    a = make(tmp_path, "a", right=10, losses=BEFORE)
    b = make(tmp_path, "b", right=10, losses=NOW)
    main(["compare", str(a), str(b)])
    text = " ".join(capsys.readouterr().out.split())
    before, now = float(np.mean(BEFORE)), float(np.mean(NOW))
    assert re.search(rf"B - A [a-z ]+, {re.escape(f'{now - before:+.4f}')} nats", text)
    assert f"(their means: A {before:.4f}, B {now:.4f})" in text


@pytest.mark.parametrize("odd", [-9223372036854775809, 1e300, 0.5 + 2**-52, float("nan")])
@pytest.mark.parametrize("where", [0, 3])
def test_a_printed_chart_of_values_that_are_close_together_says_nothing_else(
    tmp_path, capsys, odd, where
):
    """plotext printed a remark in colours above the comparison."""
    log = tmp_path / "train.log"
    losses = [0.5] * where + [odd] + [0.5] * (5 - where)
    log.write_text("".join(f"{{'loss': {loss}, 'epoch': 0.25}}\n" for loss in losses))
    for words in (["compare", str(log), str(log)], ["show", str(log)]):
        assert main(words) == 0
        said = capsys.readouterr()
        assert "plotext" not in said.out + said.err
        assert "\x1b" not in said.out + said.err


def test_what_is_named_twice_is_read_once(tmp_path, monkeypatch):
    log = tmp_path / "train.log"
    log.write_text("".join(f"step {i} loss {3 - i / 50}\n" for i in range(20)))
    read, found = snapshot.read, []
    monkeypatch.setattr(snapshot, "read", lambda *a, **n: (found.append(a), read(*a, **n))[1])
    comparison.compare_all([str(log)] * 3)
    assert len(found) == 1
