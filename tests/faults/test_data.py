"""Faults in rows, losses and evaluations: named, agreed on by all ranks, never silently wrong."""

import json
import math
import re
import time

import pytest

from engine import measure, trainer
from engine.checkpoints import checkpoint_dir
from engine.checkpoints.checkpoint_dir import MODEL
from engine.conversations.tokenizer import Tokenizer
from engine.events import (
    AttemptStarted,
    ControlApplied,
    EvalFinished,
    LogLine,
    PhaseStarted,
    StepFinished,
    ValidationFinished,
)
from engine.step import dataloader, token_rows
from tests.faults.place import Place, end_of, told, work
from tests.faults.worker import out_of_memory
from tests.processes import children


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def weights(run):
    newest = checkpoint_dir.list_checkpoints(run)[-1]
    return newest.step, (newest.path / MODEL).read_bytes()


def errors(run):
    return [event.text for event in told(run, LogLine) if event.level == "error"]


def poison(monkeypatch, *, at, rows=None):
    """Losses and gradients of that step are no numbers; of the rows given, or only the gradient."""
    accumulate = trainer.accumulate_gradients

    def poisoned(session, batch):
        losses = accumulate(session, batch)
        if batch.step == at:
            for weight in session.model.parameters():
                weight.grad.fill_(math.nan)
            if rows is not None:
                import dataclasses

                bad = losses.document_losses.copy()
                bad[rows] = math.nan
                losses = dataclasses.replace(losses, loss=math.nan, document_losses=bad)
        return losses

    monkeypatch.setattr(trainer, "accumulate_gradients", poisoned)


# ---- 19: NaN ------------------------------------------------------------------------------------


def test_a_nan_stops_the_run_with_the_last_good_state(place, monkeypatch):
    """Fault 19, policy stop: before the optimizer touched anything; the row is named."""
    whole = place.make("--checkpoint-every=5")
    work(whole)
    run = place.make("--run=nan")
    poison(monkeypatch, at=5, rows=[2])
    work(run)
    assert end_of(run).status == "failed"
    assert "not a number: loss nan" in end_of(run).reason
    assert "step 5" in end_of(run).reason
    [text] = errors(run)
    assert "rows whose loss it is: " in text
    assert text.count("(") == 1
    # What is on the disk is what five good updates made.
    assert weights(run) == (5, (whole.checkpoint(5) / MODEL).read_bytes())
    assert told(run, StepFinished)[-1].step == 5
    assert math.isnan(told(run, StepFinished)[-1].loss)


def test_a_nan_may_be_left_out(place, monkeypatch):
    """Fault 19, policy skip: that update is not made, the others are."""
    run = place.make("--on-nonfinite=skip")
    poison(monkeypatch, at=5)
    work(run)
    assert end_of(run).status == "finished"
    assert [event.step for event in told(run, StepFinished)] == list(range(12))
    [text] = errors(run)
    assert "rows of the step: " in text
    assert text.count("(") == 8
    assert all(math.isfinite(event.loss) for event in told(run, ValidationFinished))


def test_a_nan_is_only_warned_of_when_asked(place, monkeypatch):
    """Fault 19, policy warn: the person said so, and what follows is shown as it is."""
    run = place.make("--on-nonfinite=warn")
    poison(monkeypatch, at=5)
    work(run)
    assert end_of(run).status == "finished"
    assert len(told(run, StepFinished)) == 12
    assert math.isnan(told(run, ValidationFinished)[-1].loss)
    state = checkpoint_dir.list_checkpoints(run)[-1].state
    assert math.isfinite(state["best_loss"])


@pytest.mark.slow
def test_what_happens_to_one_rank_is_met_by_all(tmp_path):
    """Faults 20, 23, 34 and 35 in one run of two ranks: nobody waits for ever, all act alike.

    Rows that do not divide by the ranks, batches in which one rank or both have no supervised
    token, memory that is full on rank 1 in an evaluation, a NaN on rank 1 at step 20.
    """
    with children() as started:
        place = Place(tmp_path, started)
        silent = silent_rows(place.data)
        talk = place.data / "SmolTalk.train.jsonl"
        talk.write_text("".join(talk.read_text().splitlines(keepends=True)[:23]))
        run = place.make(
            "--gpus=2",
            "--device-batch-size=1",
            "--target-examples-per-step=2",
            "--num-iterations=40",
            "--eval-every=40",
            "--eval-metrics-every=40",
            f"--mixture={silent},{talk}",
        )
        faults = [
            {"rank": 1, "step": 0, "action": "memory-eval"},
            {"rank": 1, "step": 20, "action": "nan"},
        ]
        assert place.ended(place.supervise(run, faults)) == 1
    assert end_of(run).status == "failed"
    assert "gradient norm nan at step" in end_of(run).reason
    assert end_of(run).step >= 20
    assert len(told(run, AttemptStarted)) == 1
    assert checkpoint_dir.list_checkpoints(run)[-1].step == end_of(run).step

    ran_out = [text for text in errors(run) if "ran out of memory on rank 1" in text]
    assert len(ran_out) == 2, "MMLU and ARC-Easy of step 0"
    assert told(run, EvalFinished) == []
    assert "3.00 GiB" in (run.rank_log(1, 1) / "stderr.log").read_text()

    steps = told(run, StepFinished)[:20]
    assert any(event.supervised_tokens == 0 for event in steps)
    assert all((event.loss is None) == (event.supervised_tokens == 0) for event in steps)
    assert all(event.loss is None or math.isfinite(event.loss) for event in steps)


# ---- 22, 23: out of memory ----------------------------------------------------------------------


def test_memory_full_in_an_evaluation_costs_that_evaluation(place, monkeypatch):
    """Fault 23: said with task and step; training goes on to the same bits."""
    whole = place.make()
    work(whole)
    run = place.make("--run=full")
    answer, validate = measure.answer_task, measure.validate

    def full(model, tokenizer, prepared, **options):
        if prepared.task == "MMLU":
            out_of_memory()
        return answer(model, tokenizer, prepared, **options)

    def full_once(*arguments, **options):
        monkeypatch.setattr(measure, "validate", validate)
        out_of_memory()

    monkeypatch.setattr(measure, "answer_task", full)
    monkeypatch.setattr(measure, "validate", full_once)
    work(run)
    assert end_of(run).status == "finished"
    assert weights(run) == weights(whole)
    assert {event.task for event in told(run, EvalFinished)} == {"ARC-Easy"}
    assert [event.step for event in told(run, ValidationFinished)] == [4, 8, 12]
    assert errors(run)[0].startswith("validation at step 0 ran out of memory on rank 0")
    assert len(errors(run)) == 1 + 3


def test_an_evaluation_that_was_asked_for_and_failed_is_not_called_applied(place, monkeypatch):
    """Fault 23: the answer to the request says what happened."""
    run = place.make()
    from engine.control import Command, Request
    from engine.journal import wire
    from engine.steering import inbox

    inbox.post(run, Request(id=wire.new_id(), command=Command.EVALUATE, author="test"))
    monkeypatch.setattr(measure, "answer_task", lambda *a, **o: out_of_memory())
    work(run)
    [answer] = told(run, ControlApplied)
    assert answer.outcome == "rejected"
    assert "out of memory" in answer.reason


def test_another_error_in_an_evaluation_is_not_swallowed(place, monkeypatch):
    """Only memory is forgiven; a mistake in the code ends the attempt."""
    run = place.make()

    def broken(*arguments, **options):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(measure, "validate", broken)
    assert work(run) == 1
    assert end_of(run) is None
    assert any("shapes do not match" in text for text in errors(run))


# ---- 31 to 35: rows -----------------------------------------------------------------------------


def silent_rows(folder):
    """SmolTalk rows in which the assistant says nothing, but for one: none at all is refused."""
    rows = [{"messages": [{"role": "user", "content": f"Say {n}."}]} for n in range(24)]
    rows[-1]["messages"].append({"role": "assistant", "content": "23"})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "silent.jsonl").write_text(text)
    return folder / "silent.jsonl"


def test_a_step_without_a_supervised_token_has_no_loss_and_ends_nothing(place, monkeypatch):
    """Fault 34: weight 0, counted, told; not NaN, and the gradient is exactly zero."""
    run = place.make("--num-iterations=6")
    render = token_rows.render_conversation
    silent = set(range(8, 16))
    plan_rows = []

    def masked(tokenizer, conversation, max_tokens):
        rendered = render(tokenizer, conversation, max_tokens)
        plan_rows.append(1)
        import dataclasses

        if len(plan_rows) - 1 in silent:
            rendered = dataclasses.replace(rendered, mask=[0] * len(rendered.mask))
        return rendered

    monkeypatch.setattr(token_rows, "render_conversation", masked)
    # Rows are rendered in the order of the steps: 8 a step, validation's 4 after the first.
    work(run)
    assert end_of(run).status == "finished"
    steps = told(run, StepFinished)
    assert [event.step for event in steps] == list(range(5))
    empty = [event for event in steps if event.supervised_tokens == 0]
    assert len(empty) <= 1
    for event in empty:
        assert event.loss is None
        assert event.grad_norm == 0.0
    warned = [e.text for e in told(run, LogLine) if "no supervised token" in e.text]
    assert warned
    assert all(event.loss is None or math.isfinite(event.loss) for event in steps)


def test_rows_that_are_cut_are_counted_and_told(place):
    """Fault 33: the first cut is told at once, the count at the end."""
    talk = place.data / "SmolTalk.train.jsonl"
    asked, long = {"role": "user", "content": "Count."}, "one two three " * 100
    rows = talk.read_text().splitlines()
    rows[:8] = [json.dumps({"messages": [asked, {"role": "assistant", "content": long}]})] * 8
    talk.write_text("\n".join(rows) + "\n")
    run = place.make("--max-tokens=160")
    work(run)
    assert end_of(run).status == "finished"
    cut = [event.text for event in told(run, LogLine) if "cut (--max-tokens)" in event.text]
    assert cut
    assert "longer than 160 tokens" in cut[0]
    assert "--max-tokens" in cut[0]
    counts = [int(text.split()[0]) for text in cut]
    assert counts == sorted(counts)


class Forged(Tokenizer):
    """Says an id that the model has no row for, wherever a text holds the word."""

    def encode_ordinary(self, text):
        found = super().encode_ordinary(text)
        return [*found, self.vocab_size + 7] if self.word in text else found


@pytest.mark.parametrize("where", ["row", "question"])
def test_an_id_beyond_the_vocabulary_is_named_before_it_reaches_the_model(
    where, place, monkeypatch
):
    """Fault 30: which row or question, which id, what the model knows; not an index error."""
    run = place.make("--num-iterations=6")
    question = json.loads((place.data / "MMLU.test.jsonl").read_text().splitlines()[0])
    forged = Forged.load(run.tokenizer)
    said = "gladly" if where == "row" else question["question"]
    monkeypatch.setattr(Forged, "word", said, raising=False)
    monkeypatch.setattr(Tokenizer, "load", classmethod(lambda cls, path: forged))
    assert work(run) == 0
    assert end_of(run).status == "failed"
    name = r"row \d+ \((SmolTalk|GSM8K)\)" if where == "row" else r"question \S+ \(MMLU\)"
    known = forged.vocab_size
    words = rf"{name} holds the token id {known + 7}; the model knows ids below {known}"
    assert re.match(words, end_of(run).reason)


def test_a_tokenizer_that_was_changed_between_two_attempts_is_refused(place):
    """Fault 29 where no launcher looks: ranks that are restarted compare the digest."""
    run = place.make("--num-iterations=6")
    raw = json.loads(run.tokenizer.read_text())
    raw["merges"][0], raw["merges"][1] = raw["merges"][1], raw["merges"][0]
    run.tokenizer.write_text(json.dumps(raw))
    work(run)
    assert end_of(run).status == "failed"
    assert "is not the tokenizer this run was started with" in end_of(run).reason
    assert told(run, StepFinished) == []


# ---- 61, 62: the loader -------------------------------------------------------------------------


def test_late_data_is_told_while_it_is_late(place, monkeypatch):
    """Fault 61: "waiting for data", so that nobody looks for the fault in the model."""
    monkeypatch.setattr(dataloader, "LATE_SECONDS", 1.0)
    run = place.make("--num-iterations=6", "--eval-every=6", "--eval-metrics-every=6")
    build = dataloader.StepLoader._build

    def slow(self, step):
        if step == 3:
            time.sleep(2.0)
        return build(self, step)

    monkeypatch.setattr(dataloader.StepLoader, "_build", slow)
    work(run)
    assert end_of(run).status == "finished"
    [late] = [event for event in told(run, LogLine) if "waiting for data" in event.text]
    assert late.step == 3
    assert [e.step for e in told(run, PhaseStarted) if e.detail == "waiting"] == [3]


def test_a_loader_that_breaks_ends_the_attempt_with_its_own_words(place, monkeypatch):
    """Fault 62: rows are made ready by a thread; what it raises reaches the log and restarts."""
    run = place.make()
    build = dataloader.StepLoader._build

    def broken(self, step):
        if step == 3:
            raise OSError("the network drive went away")
        return build(self, step)

    monkeypatch.setattr(dataloader.StepLoader, "_build", broken)
    assert work(run) == 1
    assert end_of(run) is None
    assert any("the network drive went away" in text for text in errors(run))


# ---- 56: evaluation leaves no trace -------------------------------------------------------------


def test_any_number_of_evaluations_leaves_the_training_bit_identical(place):
    """Fault 56: measured at every step or hardly ever, the weights end the same."""
    often = place.make("--run=often", "--eval-every=1", "--eval-metrics-every=1")
    seldom = place.make("--run=seldom", "--eval-every=99", "--eval-metrics-every=99")
    assert work(often) == work(seldom) == 0
    assert len(told(often, ValidationFinished)) == 13
    assert len(told(seldom, ValidationFinished)) == 2
    assert weights(often) == weights(seldom)
