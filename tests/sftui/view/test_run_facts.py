"""The run panel: every setting with its value, what it came to and what it means."""

import dataclasses

import pytest

from engine import config
from engine import events as ev
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.screens.run_panel import run_panel_content
from sftui.state.run_state import RunState
from sftui.view.run_facts import meanings, sections
from tests.sftui.fake_run import ListSource
from tests.sftui.test_app import Clock, ready

SETTINGS = {
    name: ",".join(value) if isinstance(value, tuple) else value
    for name, value in config.RunConfig().flat().items()
}
STARTED = ev.RunStarted(
    name="x",
    recipe="nanochat-sft",
    source="mid d16 step 770",
    num_iterations=1953,
    world_size=2,
    device="cpu",
    backend="gloo",
    num_parameters=335_544_320,
    rows=20843,
    mixture={"ARC-Easy": 2251, "SmolTalk": 10000},
    settings=SETTINGS,
    effective={
        "n_layer": 16,
        "n_embd": 1024,
        "grad_accum_steps": 8,
        "examples_per_micro_step": 4,
        "width_scale": 0.8660254,
        "lr/wte": 0.0034641,
        "lr/matrices": 0.02,
        "notes": '["2 GPUs were asked for: CPU ranks it is"]',
    },
    stamp=ev.Stamp(seq=1, t=1.0),
)


def facts(started=STARTED):
    state = RunState()
    state.apply(started)
    return dict(sections(state))


def test_every_setting_has_a_meaning():
    """A setting without a sentence under it would stand there unexplained."""
    assert meanings().keys() >= set(config.setting_names())
    assert all(text.endswith(".") or text.endswith(")") for text in meanings().values())


def test_every_setting_is_shown_once():
    """In the group of its owner."""
    shown = [f.name for title, found in facts().items() for f in found if "ettings" in title]
    assert sorted(shown) == sorted(SETTINGS)


def test_what_settings_come_to():
    """Scaled rates, accumulation, iterations and the precision of a CPU."""
    found = {f.name: f for group in facts().values() for f in group}
    assert found["embedding_lr"].effective == "3.5e-3"
    assert found["matrix_lr"].effective == ""
    assert found["num_iterations"].effective == "1,953"
    assert found["dtype"].effective == "float32"
    assert found["accumulation"].value == "8 micro-steps of 4 rows"
    assert "1,952 updates" in found["iterations"].meaning
    assert found["width scale"].value == "×0.866"
    assert found["SmolTalk"].value == "10,000 rows"
    assert found["parameters"].value == "335,544,320 (336M)"
    assert "CPU ranks" in found["note"].value


def test_the_same_number_is_not_told_twice():
    """`3000 → 3,000` would look like a change."""
    started = ev.RunStarted(name="x", num_iterations=3000, settings={"num_iterations": 3000})
    found = {fact.name: fact for group in facts(started).values() for fact in group}
    assert found["num_iterations"].effective == ""


def test_the_tasks_that_were_asked_stand_beside_those_that_were_typed():
    """The starter asks questions of its own."""
    state = RunState()
    state.apply(STARTED)
    state.apply(ev.EvalFinished(step=0, task="Starter-Facts", correct=1, total=2))
    facts = {fact.name: fact for _, found in sections(state) for fact in found}
    assert facts["eval_tasks"].effective == "Starter-Facts"


def test_one_row_is_one_row():
    """The smallest micro-batch there is."""
    started = ev.RunStarted(name="x", world_size=2, settings={"device_batch_size": 1})
    assert facts(started)["A step"][0].value == "1 row on each of 2 ranks"


BEST_FIT = ev.RunStarted(
    name="x",
    num_iterations=131,
    world_size=2,
    device="cpu",
    rows=3042,
    settings=SETTINGS
    | {"packing": "best-fit", "device_batch_size": 2, "max_seq_len": 512}
    | {"total_batch_size": 2048, "dtype": "bfloat16"},
    effective={
        "examples_per_micro_step": 4,
        "grad_accum_steps": 1,
        "conversations_per_update": 3057 / 130,
        "lr/x0_lambdas": 0.025,
        "precision": "bfloat16",
    },
)
"""Rows that hold several conversations: `target_examples_per_step` (32) means nothing."""


def test_a_step_of_full_rows_is_counted_in_what_it_takes():
    """An epoch is as many updates as its conversations fill, not 3042 / 32 = 95."""
    found = {fact.name: fact.value for fact in facts(BEST_FIT)["A step"]}
    assert found["micro-batch"] == "2 rows of 512 tokens on each of 2 ranks"
    assert found["accumulation"] == "1 micro-step of 4 rows"
    assert found["token places a step"] == "2,048"
    assert found["conversations a step"] == "23.52"
    assert found["steps an epoch"] == "129.4"
    assert "rows a step" not in found
    [rate] = [f for found in facts(BEST_FIT).values() for f in found if f.name == "scalar_lr"]
    assert rate.effective == "0.025"


def test_what_is_not_told_of_full_rows_is_not_worked_out():
    """Runs of earlier versions do not say how many conversations a step takes."""
    state = RunState()
    state.apply(dataclasses.replace(BEST_FIT, effective={}))
    assert state.steps_an_epoch is None
    assert "steps an epoch" not in {fact.name for _, found in sections(state) for fact in found}


@pytest.mark.parametrize(
    ("device", "settings", "told"),
    [
        ("cpu", {"dtype": "auto", "micro_tokens": 0}, "float32"),
        ("cuda", {"dtype": "auto", "micro_tokens": 0}, "bfloat16 autocast"),
        ("cuda", {"dtype": "float32", "micro_tokens": 0}, "float32"),
        ("cpu", {"dtype": "bfloat16", "micro_tokens": 0}, "bfloat16 autocast"),
        # Of a time when it was the default, and meant CUDA alone.
        ("cpu", {"dtype": "bfloat16"}, "float32"),
    ],
)
def test_the_precision_is_that_of_the_run(device, settings, told):
    started = ev.RunStarted(name="x", device=device, settings=settings)
    found = {f.name: f for group in facts(started).values() for f in group}
    assert found["precision"].value == told
    assert (found["dtype"].effective or found["dtype"].value) == told.removesuffix(" autocast")


def test_only_our_last_iteration_only_evaluates():
    """Another program that plans 30 steps makes 30 updates."""
    foreign = ev.RunStarted(name="train", num_iterations=30, stamp=ev.Stamp(src="hf-trainer"))
    assert facts(foreign)["A step"][0].meaning == ""


def test_a_foreign_log_shows_what_it_printed():
    """Settings nobody here knows, cleaned; nothing is made up."""
    found = facts(ev.RunStarted(name="hf", settings={"fp16": True, "x\x1b[31m": "a\x1b]0;b\x07"}))
    assert [f.value for f in found["Other settings"]] == ["yes", "a"]
    assert "A step" not in found


@pytest.mark.parametrize("width", [20, 50, 73, 111])
def test_the_page_fits(width):
    """No line is wider than the page, names and single words apart."""
    state = RunState()
    state.apply(STARTED)
    lines = str(run_panel_content(sections(state), width).plain).splitlines()
    too_wide = [line for line in lines if len(line) > max(width, 60)]
    assert not too_wide


async def test_i_opens_and_any_key_closes():
    """The page says what the header has no room for."""
    app = SftuiApp(ScreenRequest(ListSource([STARTED]), "t"), now=Clock(2.0))
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot)
        await pilot.press("i")
        await pilot.pause()
        assert app.screen is not app.cockpit.dashboard
        await pilot.press("pagedown")
        assert app.screen is not app.cockpit.dashboard
        await pilot.press("space")
        await pilot.pause()
        assert app.screen is app.cockpit.dashboard
        assert app.source.sent == []


@pytest.mark.parametrize("notes", ["[" * 100_000, '["' + "x" * 1000, "9" * 5000, '{"a": 1}'])
def test_notes_that_are_no_list_are_left_out(notes):
    """An event log may come from anywhere: such notes ended the screen that showed the run."""
    started = dataclasses.replace(STARTED, effective={"notes": notes, "n_layer": 16})
    shown = facts(started)["The run"]
    assert [fact for fact in shown if fact.name == "note"] == []
