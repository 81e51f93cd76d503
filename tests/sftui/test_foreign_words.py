"""Runs of another's trainer in every view: its words, its settings, what cannot be asked of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from textual.widgets import Static

from engine.control import Command
from engine.events import (
    CheckpointSaved,
    Event,
    MetricLogged,
    RunFinished,
    RunStarted,
    StepFinished,
    ValidationFinished,
)
from engine.journal.event_files import JournalWriter
from engine.run import foreign, lock
from engine.run.run_dir import RunDir
from sftui.checkpoints.checkpoint_list import CheckpointList
from sftui.cli import main
from sftui.screens.run_panel import run_panel_content
from sftui.state.run_state import RunState
from sftui.view import run_facts
from sftui.view.run_facts import Fact
from tests.sftui.fake_run import ListSource, fake_run
from tests.sftui.test_app import make, ready

REASON = "the trainer has no eval_dataset"


def foreign_events(folder: Path) -> list[Event]:
    """A short run of a trainer like TRL's, with settings that are called as some of ours are."""
    there = folder / "checkpoint-2"
    there.mkdir(parents=True, exist_ok=True)
    return [
        RunStarted(
            name="sft",
            source="some/model",
            num_iterations=5,
            world_size=2,
            device="cpu",
            settings={"eval_steps": 500, "seed": 7, "learning_rate": 1e-5},
            effective={"trainer": "trl.SFTTrainer"},
            unavailable={"eval": REASON},
        ),
        *(StepFinished(step=step, loss=3 - step / 10, tokens=10) for step in range(4)),
        MetricLogged(step=3, values={"rewards/margins": 0.5, "eval_mean_token_accuracy": 0.4}),
        ValidationFinished(step=4, loss=2.5),
        CheckpointSaved(step=2, path=str(there), size_bytes=1234, kind="hf"),
        CheckpointSaved(step=4, path=str(folder / "checkpoint-4"), size_bytes=1234, kind="hf"),
        RunFinished(status="finished", reason="all updates done", step=4, updates=4),
    ]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = foreign.create(
        tmp_path / "runs",
        "sft",
        command=["torchrun", "train.py"],
        cwd=tmp_path,
        now=datetime(2026, 1, 2, 3, 4, 5),
        max_restarts=3,
        kept=True,
    )
    writer = JournalWriter(made.events, made.id, "r0")
    for event in foreign_events(tmp_path / "out"):
        writer.write(event)
    return made


def state_of(tmp_path: Path) -> RunState:
    state = RunState()
    for event in foreign_events(tmp_path / "out"):
        state.apply(event)
    return state


def test_the_lock_names_who_holds_it(run: RunDir) -> None:
    assert lock.evidence(run) == (False, "no supervisor has held this run")
    for role in ("keeper", "trainer"):
        with lock.RunLock.acquire(run, role):
            assert lock.evidence(run)[1].startswith(f"the {role} (pid ")
        assert lock.evidence(run)[1].startswith(f"the {role} (pid ")


def test_its_settings_are_the_trainers_and_mean_nothing_of_ours(tmp_path: Path) -> None:
    titles = dict(run_facts.sections(state_of(tmp_path)))
    assert "The trainer's settings" in titles
    facts = {fact.name: fact for fact in titles["The trainer's settings"]}
    assert set(facts) == {"eval_steps", "seed", "learning_rate"}
    assert all(not fact.meaning for fact in facts.values())
    assert not any(title.startswith("Settings: ") for title in titles)


def test_its_report_has_its_trainer_and_none_of_our_defaults(
    run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run.path), "-o", str(tmp_path / "report.md")]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "| Trainer | trl.SFTTrainer |" in text
    assert "differ from the defaults" not in text
    assert "chat_sft" not in text
    assert "Micro-batches per rank of one validation" not in text  # of our own `eval_steps`
    assert "Muon" not in text


def test_show_and_runs_read_it_as_any_run(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--json", str(run.path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["status"] == "finished"
    assert main(["runs", "--runs-dir", str(run.path.parent)]) == 0
    assert run.id in capsys.readouterr().out
    assert main(["compare", "--plain", str(run.path), str(run.path)]) == 0


def test_a_token_accuracy_is_a_series_and_no_benchmark(tmp_path: Path) -> None:
    state = state_of(tmp_path)
    assert not state.evals
    assert {"rewards/margins", "eval_mean_token_accuracy"} <= set(state.metrics)


def test_its_checkpoints_say_why_nothing_can_be_done_with_them(run: RunDir, tmp_path: Path) -> None:
    checkpoints = CheckpointList(run)
    why = {
        row.step: checkpoints.why_not(row)
        for row in checkpoints.rows(state_of(tmp_path))
        if row.known.kind == "hf"
    }
    assert "the trainer's own" in why[2]
    assert str(tmp_path / "out" / "checkpoint-2") in why[2]
    assert why[4].startswith("step 4 is not on disk any more")


def test_what_it_cannot_do_is_not_asked_for_and_has_no_key(tmp_path: Path) -> None:
    from sftui.cockpit.cockpit import Cockpit

    class Sent:
        requests: list[object] = []  # noqa: RUF012  one test

        def send(self, request: object) -> None:
            self.requests.append(request)

    cockpit = Cockpit.__new__(Cockpit)
    cockpit.state = RunState()
    cockpit.state.apply(foreign_events(tmp_path / "out")[0])
    assert cockpit.state.run.unavailable == {"eval": REASON}
    cockpit.__dict__["view"] = SimpleNamespace(pending={}, trouble="")
    cockpit.__dict__["mode"] = SimpleNamespace(takes_requests=True)
    cockpit.__dict__["source"] = Sent()
    assert cockpit.ask(Command.EVALUATE) == REASON
    assert not Sent.requests


def question_words(app) -> str:
    """All that the question says, its answers included."""
    return "\n".join(
        str(each.content) for each in app.screen.query("#dialog Static").results(Static)
    )


@pytest.mark.parametrize(
    ("unavailable", "words"),
    [
        ({}, "finishes its step and saves a checkpoint first"),
        ({"eval": REASON}, "finishes its step and saves a checkpoint first"),
        ({"checkpoint": "no save="}, "This trainer saves no checkpoint"),
        (dict.fromkeys(("pause", "eval", "checkpoint"), "followed"), "gets SIGTERM"),
    ],
)
async def test_the_question_before_a_stop_promises_what_the_trainer_does(
    unavailable: dict[str, str], words: str
) -> None:
    events = [
        replace(event, unavailable=unavailable) if isinstance(event, RunStarted) else event
        for event in fake_run(until=20)
    ]
    app = make(events)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("x")
        await pilot.pause()
        assert words in question_words(app)
        await pilot.press("escape", "ctrl+c")
        await pilot.pause()
        last = question_words(app)
        assert ("with a checkpoint" in last) is ("checkpoint" not in unavailable)


async def test_a_question_goes_when_the_run_has_ended_meanwhile() -> None:
    app = make(fake_run(until=20))
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("x")
        await pilot.pause(0.3)
        assert app.screen is not dashboard
        source = app.source
        assert isinstance(source, ListSource)
        assert app.cockpit is not None
        source.events.append(RunFinished(status="finished", reason="done", step=20))
        app.cockpit.tick()
        await pilot.pause(0.6)
        assert app.screen is dashboard
        assert source.sent == []


def test_a_setting_of_another_trainer_is_named_in_full_where_there_is_room() -> None:
    name = "gradient_accumulation_steps_of_theirs"
    sections = [("The trainer's settings", [Fact(name, "2"), Fact("seed", "7")])]
    for width in (100, 118):
        assert name in run_panel_content(sections, width).plain
    assert all(len(line) <= 60 for line in run_panel_content(sections, 60).plain.splitlines())
