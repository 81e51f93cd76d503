"""Samples while a run trains: what they say, and that training does not notice them."""

from __future__ import annotations

import pytest
import torch

from engine import config, measure, trainer
from engine.checkpoints import checkpoint_dir, load_target
from engine.checkpoints.checkpoint_target import of_run
from engine.conversations.conversation import Conversation, Message
from engine.errors import ConfigError
from engine.evaluation import samples
from engine.evaluation.samples import MOST_TOKENS, answers, default_prompts
from engine.events import LogLine, PhaseStarted, RunFinished, SampleGenerated, StepFinished
from engine.model.generate import Dialogue, Sampling, text_of
from engine.processes import resume
from sftui.commands.run_flags import parse_run
from tests.engine.model.test_generate import fixed_model, model_of
from tests.engine.small import BYTES, ListSource
from tests.faults.place import Place, told, work
from tests.processes import children


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def weights(run) -> dict[str, torch.Tensor]:
    return load_target.load_state(of_run(run, checkpoint_dir.list_checkpoints(run)[-1]))


def test_samples_are_told_at_their_steps_and_are_the_weights_own(place):
    """Every so many steps and at the last; the last are what the last checkpoint answers."""
    run = place.make("--sample-every=5", "--sample-prompts", "Say 5.", "a, b")
    assert work(run) == 0
    found = told(run, SampleGenerated)
    assert [(s.step, s.prompt) for s in found] == [
        (step, prompt) for step in (0, 5, 10, 12) for prompt in ("Say 5.", "a, b")
    ]
    assert {event.step for event in told(run, PhaseStarted) if event.phase == "sample"} == {
        0, 5, 10, 12,
    }  # fmt: skip
    target = of_run(run, checkpoint_dir.list_checkpoints(run)[-1])
    model = load_target.load_model(target, torch.device("cpu"))
    for sample in found[-2:]:
        reply = Dialogue(model, BYTES, Sampling(max_tokens=MOST_TOKENS)).reply(sample.prompt)
        assert sample.text == text_of(BYTES, list(reply))
        assert sample.stopped_by == reply.stopped_by


def test_training_does_not_notice_them(place):
    """Same losses and the same weights to the last bit, with samples and without."""
    runs = [place.make("--run=with", "--sample-every=1"), place.make("--run=without")]
    for run in runs:
        assert work(run) == 0
    assert len(told(runs[0], SampleGenerated)) > 12
    assert told(runs[1], SampleGenerated) == []
    losses = [[event.loss for event in told(run, StepFinished)] for run in runs]
    assert losses[0] == losses[1]
    one, other = map(weights, runs)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_two_ranks_keep_in_step_and_train_the_same(tmp_path):
    """One answers while the other waits: same losses, a finished run, to the last bit."""
    found = []
    for every in (0, 3):
        with children() as started:
            place = Place(tmp_path / str(every), started)
            run = place.make("--gpus=2", f"--sample-every={every}")
            assert place.ended(place.supervise(run)) == 0
        found.append((run, [event.loss for event in told(run, StepFinished)]))
    (without, losses), (run, again) = found
    assert losses == again
    assert {event.step for event in told(run, SampleGenerated)} == {0, 3, 6, 9, 12}
    one, other = weights(without), weights(run)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_prompts_the_validation_rows_give_them(place):
    """What their users begin with."""
    run = place.make("--sample-every=100")
    assert work(run) == 0
    prompts = {event.prompt for event in told(run, SampleGenerated)}
    assert prompts
    assert all(prompt.startswith("Say ") for prompt in prompts)


def test_a_resumed_run_does_not_sample_a_step_twice(place):
    """The checkpoint remembers that it was done."""
    run = place.make("--sample-every=4", "--checkpoint-every=4")
    with pytest.MonkeyPatch.context() as patch:
        accumulate = trainer.accumulate_gradients

        def die(session, batch):
            if batch.step == 5:
                # A save is made beside the steps: let the one before be whole.
                session.checkpointer.wait()
                raise RuntimeError("power")
            return accumulate(session, batch)

        patch.setattr(trainer, "accumulate_gradients", die)
        assert work(run) == 1
    assert work(run) == 0
    found = [(event.step, event.prompt) for event in told(run, SampleGenerated)]
    assert len(found) == len(set(found))
    assert {step for step, _ in found} == {0, 4, 8, 12}


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), None], ids=["memory", "too long"]
)
def test_what_goes_wrong_costs_the_samples_alone(place, error):
    """A line in the log; the run finishes."""
    prompt = "x" * (1 if error else 5000)
    run = place.make("--sample-every=6", f"--sample-prompts={prompt}")
    with pytest.MonkeyPatch.context() as patch:
        if error:

            def refuse(*_):
                raise error

            patch.setattr(measure, "answers", refuse)
        assert work(run) == 0
    assert told(run, RunFinished)[-1].status == "finished"
    assert told(run, SampleGenerated) == []
    lines = [event.text for event in told(run, LogLine) if event.text.startswith("samples of step")]
    assert len(lines) == 3
    assert ("out of memory" if error else "positions for 640") in lines[0]


def test_other_faults_are_not_hidden(place):
    """A bug is a bug here as well."""
    run = place.make("--sample-every=6")
    with pytest.MonkeyPatch.context() as patch:

        def broken(*_):
            raise RuntimeError("size mismatch")

        patch.setattr(measure, "answers", broken)
        assert work(run) == 1


def test_answers_are_short_whatever_the_model():
    """By tokens, and by a clock that is shared out among the prompts."""
    model = fixed_model(65)
    [one] = answers(model, BYTES, ["x"])
    assert (one.text, one.stopped_by) == ("A" * MOST_TOKENS, "max_tokens")
    seconds = iter(range(10_000))
    found = list(answers(model, BYTES, ["x", "y"], clock=lambda: float(next(seconds))))
    assert [sample.stopped_by for sample in found] == ["time", "time"]
    assert all(5 <= len(sample.text) <= 15 for sample in found)
    assert sum(len(sample.text) for sample in found) <= samples.MOST_SECONDS


def test_each_prompt_is_a_conversation_of_its_own():
    """The order of prompts changes no answer."""
    model = model_of(seed=3)
    there = {s.prompt: s.text for s in answers(model, BYTES, ["one", "two"])}
    back = {s.prompt: s.text for s in answers(model, BYTES, ["two", "one"])}
    assert there == back


def test_default_prompts_are_short_and_unlike():
    """Long ones, blank ones and those that begin alike are passed over."""
    texts = [
        "y" * 301,
        "Tell me a story of a fox.",
        "Tell me a story of a bear.",
        " ",
        "b",
        "c",
        "d",
    ]
    rows = ListSource([("chat", text, "answer") for text in texts])
    assert default_prompts(rows) == ("Tell me a story of a fox.", "b", "c")

    class WithSystem:
        def __len__(self):
            return 1

        def conversation(self, _):
            return Conversation((Message("system", "s"), Message("user", "u")))

    assert default_prompts(WithSystem()) == ("u",)


def test_prompts_are_settings_like_others(tmp_path):
    """Commas and all; by flag, by TOML, and back; out of range in one line."""
    flags, _ = parse_run(["--sample-every=5", "--sample-prompts", "a, b", "c", "--gpus=1"])
    assert flags.settings.eval.sample_prompts == ("a, b", "c")
    flags, _ = parse_run(["--sample-prompts=one, two"])
    assert flags.settings.eval.sample_prompts == ("one, two",)
    path = tmp_path / "c.toml"
    path.write_text('sample_prompts = "x, y"\n')
    assert config.load_toml(path, config.RunConfig()).eval.sample_prompts == ("x, y",)
    path.write_text(config.to_toml(flags.settings))
    assert config.load_toml(path, config.RunConfig()).eval.sample_prompts == ("one, two",)
    again = config.from_flat(flags.settings.flat(), None)
    assert again.eval.sample_prompts == ("one, two",)
    with pytest.raises(ConfigError, match="sample_every is -1"):
        parse_run(["--sample-every=-1"])
    with pytest.raises(ConfigError, match="holds 9; expected at most 8"):
        parse_run(["--sample-prompts", *"abcdefghi"])
    with pytest.raises(ConfigError, match="an empty one"):
        parse_run(["--sample-prompts", "a", " "])
    assert {"sample_every", "sample_prompts"} <= resume.FREE
