"""Comparisons judged together, baselines of every kind, validation row by row."""

import json
import math
import operator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine.errors import UsageError
from engine.evaluation.eval_items import EvalResult, save_items
from sftui import cli
from sftui.compare import baseline
from sftui.state.records import Validation
from sftui.state.run_state import RunState
from sftui.statistics import paired_tests
from sftui.statistics.families import BASELINE, BEST, PREVIOUS, START
from sftui.statistics.paired_tests import (
    CLEAR,
    NOT_JUDGED,
    Evaluation,
    compare_gold,
    judge,
    paired,
)
from sftui.statistics.scores import Scoreboard, score_lines, sentence, short_sentence
from sftui.statistics.validation_scores import LossBoard
from tests.conftest import SHARED, needs_shared

ITEMS = 400
_first = operator.itemgetter(0)


def items(right: list[bool], task="MMLU", item_set="s" * 64) -> EvalResult:
    """Answers of which these are right; the right letter is always A."""
    return EvalResult(
        task=task,
        item_set=item_set,
        item_ids=tuple(f"q{i}" for i in range(len(right))),
        subjects=("",) * len(right),
        gold=("A",) * len(right),
        predicted=tuple("A" if r else "B" for r in right),
        letter_logprobs=np.zeros((len(right), 2), dtype=np.float32),
        item_letters=(("A", "B"),) * len(right),
        chance=0.5,
        one_letter=0.5,
    )


def result(step: int, right: list[bool], folder=None, task="MMLU", item_set="s" * 64):
    """The event, and its item file when there is a folder."""
    name = f"evals/step-{step}.{task}.npz"
    if folder is not None:
        save_items(folder / name, items(right, task, item_set))
    return ev.EvalFinished(
        step=step, task=task, correct=sum(right), total=len(right), chance=0.5,
        item_set=item_set, items_file=name,
    )  # fmt: skip


def folded(*events) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def rights(number: int, *, lost: int = 0) -> list[bool]:
    """`number` right of 400, of which the first `lost` wrong ones of a base of 200 moved."""
    flags = [i < 200 for i in range(ITEMS)]
    for i in range(lost):
        flags[i] = False
    for i in range(200, 200 + number - 200 + lost):
        flags[i] = True
    return flags


def test_item_files_make_the_comparison_paired(tmp_path):
    """24 gains and 4 losses are clear item by item, and nothing without the items."""
    events = [result(0, rights(200), tmp_path), result(100, rights(220, lost=4), tmp_path)]
    state = folded(*events)
    paired = Scoreboard(tmp_path).scores(state).of("MMLU", 100, START)
    assert (paired.comparison.gains, paired.comparison.losses) == (24, 4)
    assert paired.verdict == CLEAR
    plain = Scoreboard().scores(state).of("MMLU", 100, START)
    assert plain.comparison.kind == "unpaired"
    assert plain.verdict != CLEAR


def test_one_pair_is_judged_once(tmp_path):
    """Start and previous may be the same evaluation: that is one comparison. So may the best,
    which is shown and not judged."""
    state = folded(result(0, rights(200), tmp_path), result(9, rights(230, lost=5), tmp_path))
    scores = Scoreboard(tmp_path).scores(state)
    found = [scores.of("MMLU", 9, against) for against in (START, PREVIOUS, BEST)]
    assert found[0] is found[1]
    assert found[0].comparison is found[2].comparison
    assert found[2].verdict == NOT_JUDGED
    assert found[0].p_adjusted == found[0].comparison.p_mid


def test_verdicts_count_all_that_is_shown_but_the_newest_stands_alone():
    """The same difference weighs less beside forty others, unless it is the one asked for."""
    few = folded(*(result(s, rights(n)) for s, n in ((0, 200), (1, 232), (2, 200))))
    many = folded(*(result(s, rights(232 if s == 1 else 200)) for s in range(40)))
    newest = folded(*(result(s, rights(232 if s == 39 else 200)) for s in range(40)))
    among_few = Scoreboard().scores(few).of("MMLU", 1, START)
    among_many = Scoreboard().scores(many).of("MMLU", 1, START)
    alone = Scoreboard().scores(newest).of("MMLU", 39, START)
    assert among_few.comparison.difference == alone.comparison.difference
    assert alone.p_adjusted < among_few.p_adjusted < among_many.p_adjusted
    assert (alone.verdict, among_many.verdict) == (CLEAR, "suggestive")
    assert among_many.was_clear
    assert "was clear when it was the newest" in sentence(among_many)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), max_size=12, unique_by=_first))
def test_each_is_compared_with_the_first_the_last_and_the_best_before_it(looks):
    """In whatever order they came; of equals the first is the best."""
    known = {step: correct / 4 for step, correct in looks}
    events = [ev.EvalFinished(step=s, task="MMLU", correct=c, total=4) for s, c in looks]
    scores = Scoreboard().scores(folded(*events))
    for step, value in known.items():
        earlier = sorted(s for s in known if s < step)
        for against in (START, PREVIOUS, BEST):
            judged = scores.of("MMLU", step, against)
            if not earlier:
                assert judged is None
                continue
            top = max(known[s] for s in earlier)
            best = next(s for s in earlier if known[s] == top)
            other = {START: earlier[0], PREVIOUS: earlier[-1], BEST: best}[against]
            assert judged.comparison.difference == value - known[other]


def test_items_of_a_later_evaluation_are_not_taken(tmp_path):
    """A file that was written anew no longer belongs to the event."""
    old = result(0, rights(200), tmp_path)
    save_items(tmp_path / old.items_file, items(rights(210)))
    assert Scoreboard(tmp_path).evaluation(old).right is None


def test_an_event_cannot_name_a_file_elsewhere(tmp_path):
    """`items_file` is text from a log: it stays inside the run directory."""
    (tmp_path / "run").mkdir()
    event = result(0, rights(200), tmp_path)
    outside = ev.EvalFinished(
        step=0, task="MMLU", correct=200, total=ITEMS, item_set="s" * 64,
        items_file=f"../{event.items_file}",
    )  # fmt: skip
    assert Scoreboard(tmp_path).evaluation(event).right is not None
    assert Scoreboard(tmp_path / "run").evaluation(outside).right is None


# ---- baselines ---------------------------------------------------------------------------------


def test_baseline_of_numbers(tmp_path):
    """Percentages and counts, in TOML and JSON, under the task's name however it is spelt."""
    toml = tmp_path / "base.toml"
    toml.write_text('MMLU = 24.32\narc_easy = "251/1024"\n')
    found = baseline.load(str(toml))
    assert found.of("MMLU").accuracy == pytest.approx(0.2432)
    assert found.of("ARC-Easy").correct == 251
    assert found.of("GSM8K") is None
    as_json = tmp_path / "base.json"
    as_json.write_text(json.dumps({"MMLU": {"correct": 249, "total": 1024}}))
    assert baseline.load(str(as_json)).of("MMLU").total == 1024


def test_a_bare_percentage_gives_no_verdict_and_says_if_it_cannot_be():
    """24.32 % is 249 of 1024; 24.35 % is no count of 1024 at all."""
    state = folded(ev.EvalFinished(step=5, task="MMLU", correct=300, total=1024))
    fine = baseline.Baseline(name="b", results={"MMLU": paired_tests.Evaluation(accuracy=0.2432)})
    scores = Scoreboard(None, fine).scores(state)
    judged = scores.of("MMLU", 5, BASELINE)
    assert judged.comparison.kind == "bare"
    assert judged.verdict != CLEAR
    assert "MMLU" not in scores.notes
    odd = baseline.Baseline(name="b", results={"MMLU": paired_tests.Evaluation(accuracy=0.2435)})
    scores = Scoreboard(None, odd).scores(state)
    assert "no count of 1,024" in scores.notes["MMLU"]
    assert any("other questions" in line for line in score_lines(Scoreboard(None, odd), state))


@pytest.mark.parametrize(
    "text",
    ["", "MMLU = 101", "MMLU = true", 'MMLU = "5/4"', 'MMLU = "much"', "MMLU = nan", "MMLU = ["],
)
def test_bad_numbers_are_refused_in_one_line(tmp_path, text):
    """What was found and what was expected, before anything starts."""
    path = tmp_path / "b.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match="--baseline"):
        baseline.load(str(path))


def test_baseline_that_is_nothing(tmp_path, monkeypatch):
    """A name that is neither file nor run."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--baseline"):
        baseline.load("nothing-here")


@needs_shared
def test_a_log_is_a_baseline(capsys):
    """The last evaluation of each task of another log, and a sentence in `show`."""
    log = str(SHARED / "logs/nanochat/speedrun_d20_2gpu_oct2025.log")
    found = baseline.load(log)
    assert found.of("ARC-Easy") is not None
    assert cli.main(["show", log, "--baseline", log]) == 0
    assert "against the baseline" in capsys.readouterr().out


# ---- validation --------------------------------------------------------------------------------


def rows(folder, step: int, losses) -> Validation:
    name = f"step-{step}.val.npz"
    np.savez_compressed(folder / name, losses=losses, rows=np.arange(len(losses)))
    return Validation(
        step=step, loss=float(np.mean(losses)), metric="loss", seconds=1.0, t=None, rows_file=name
    )


def test_validation_is_compared_row_by_row(tmp_path):
    """A change of 0.01 is clear when every row moved so, and noise when rows went both ways."""
    rng = np.random.default_rng(0)
    first = rng.normal(1.2, 0.5, 300)
    moved = rows(tmp_path, 10, first - 0.01 + rng.normal(0, 0.02, 300))
    shaken = rows(tmp_path, 20, first - 0.01 + rng.normal(0, 0.5, 300))
    found = LossBoard(tmp_path).changes([rows(tmp_path, 0, first), moved, shaken])
    assert found[10, START].clear
    assert found[10, START].change == pytest.approx(moved.loss - first.mean())
    assert found[10, START].error == pytest.approx(0.02 / math.sqrt(300), rel=0.2)
    assert not found[20, START].clear


def test_without_rows_nothing_is_claimed(tmp_path):
    """A log has the means alone: the change is shown, without error and colour."""
    two = [Validation(step=s, loss=2.0 - s, metric="loss", seconds=None, t=None) for s in (0, 1)]
    found = LossBoard(tmp_path).changes(two)[1, START]
    assert (found.change, found.error, found.clear) == (-1.0, None, False)


def test_an_interval_that_leaves_out_zero_without_evidence_comes_with_its_p():
    """11 gained, 3 lost of 256: the exact test says 0.057, the interval [+0.1, +6.1]."""
    [judged] = judge([paired(11, 3, 256)])
    assert sentence(judged).startswith("no evidence, +3.1 points, 95% [+0.1, +6.1], p 0.057, ")
    assert short_sentence(judged) == "no evidence, p 0.057"
    [close] = judge([paired(10, 3, 256)])
    assert short_sentence(close).startswith("no evidence, 95% [")


@given(st.lists(st.sampled_from("ab"), min_size=2, max_size=7))
@settings(max_examples=30, deadline=None)
def test_losses_of_other_rows_are_never_compared(tmp_path_factory, sets):
    """A run that goes on with another validation file: neither rows nor scatter judge the jump."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    known = {"a": rng.normal(1.2, 0.3, 60), "b": rng.normal(0.8, 0.3, 50)}
    measured = []
    for place, name in enumerate(sets):
        measured.append(rows(folder, 10 * place, known[name] - 0.05 * place))
    found = LossBoard(folder).changes(measured)
    for place in range(1, len(sets)):
        for other, against in ((0, START), (place - 1, PREVIOUS)):
            change = found[10 * place, against]
            if sets[place] == sets[other]:
                assert change.basis == "rows"
            else:
                assert (change.basis, change.clear, change.error) == ("others", False, None)


@pytest.mark.parametrize(("items", "known"), [(3, False), (9, False), (10, True), (200, True)])
def test_few_probabilities_are_no_evidence(items, known):
    """Three that move alike have next to no error, and p < .001."""
    right = np.arange(items) % 2 == 0
    before = Evaluation(
        correct=int(right.sum()), total=items, item_set="x", right=right,
        gold=np.full(items, 0.2) + np.linspace(0, 0.01, items),
    )  # fmt: skip
    now = replace(before, gold=np.full(items, 0.8))
    assert (compare_gold(now, before) is not None) == known
