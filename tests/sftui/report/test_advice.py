"""Advice follows what happened: by rate, by how the loss ended, by the sources of the rows."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from engine import events as ev
from engine.journal.event_bus import EventBus
from engine.run import run_dir
from sftui import report
from sftui.report import finding_rules
from sftui.report.language import Language
from sftui.report.report_facts import Facts, open_facts

ENGLISH = Language("en")


def hf_log(folder: Path, losses: list[float], validations: dict[int, float] | None = None) -> Facts:
    """The log of an HF trainer with a line each step, at a constant rate."""
    lines: list[dict[str, float]] = [
        {"loss": loss, "learning_rate": 1e-5, "epoch": step / 100, "step": step}
        for step, loss in enumerate(losses, start=1)
    ]
    for step, loss in (validations or {}).items():
        lines.append({"eval_loss": loss, "epoch": step / 100, "step": step})
    lines.sort(key=lambda line: line["step"])
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"log_history": lines, "max_steps": len(losses)}))
    return open_facts(str(path), command="x")


def our_run(folder: Path, *events: ev.Event) -> Facts:
    """A run of ours that did what these events say."""
    run = run_dir.create(folder, "r", datetime(2026, 1, 1))
    run.manifest.write_text("{}")
    bus = EventBus(run, run.id, 1, live=False)
    bus.emit(ev.RunStarted(name="r", source="mid d4", num_iterations=101, world_size=1))
    bus.emit(ev.AttemptStarted(start_step=0, world_size=1))
    for event in events:
        bus.emit(event)
    bus.emit(ev.RunFinished(step=100, status="finished"))
    bus.close()
    return open_facts(str(run.path), command="x")


def codes(facts: Facts) -> set[str]:
    return {finding.code for finding in finding_rules.find(ENGLISH, facts)}


def quiet(count: int, level: float = 1.2) -> list[float]:
    return np.random.default_rng(1).normal(level, 0.03, count).tolist()


def text(facts: Facts) -> str:
    return report.markdown(facts, "en", stem=None)


def test_a_foreign_log_is_folded_through_the_alarms(tmp_path: Path) -> None:
    """What the screen raises over a log stands in its report."""
    rising = {100 * i: 2.0 - 0.3 * i if i < 4 else 0.95 + 0.03 * i for i in range(1, 10)}
    facts = hf_log(tmp_path, quiet(900), rising)
    found = text(facts)
    assert "`overfitting`" in found
    assert "Nothing that was recorded" not in found
    assert "stop-earlier" in codes(facts)


def test_a_loss_that_came_back_earns_no_advice_to_train_slower(tmp_path: Path) -> None:
    """The alarm is told as over; halving the rate was for its moment."""
    facts = hf_log(tmp_path, [*quiet(300), *quiet(100, 2.0), *quiet(300)])
    found = text(facts)
    assert "over at step" in found
    assert "alarms, all over by the end: `diverging`" in found.lower()
    assert "halve" not in found.lower()
    assert not codes(facts) & {"halve-rate", "diverged"}


def test_a_loss_that_stayed_up_does(tmp_path: Path) -> None:
    """Then the rate is halved, or the run taken up before it."""
    facts = hf_log(tmp_path, [*quiet(300), *quiet(300, 2.0)])
    assert {"halve-rate", "diverged"} <= codes(facts)
    assert "held to the end" in text(facts)


def steps(losses: list[float], *, final: float = 0.0) -> list[ev.Event]:
    """Updates at a rate that falls in a line to `final`."""
    last = len(losses) - 1
    return [
        ev.StepFinished(step=i, loss=loss, lr_mult=1 + (final - 1) * i / last)
        for i, loss in enumerate(losses)
    ]


def falling_validations() -> list[ev.Event]:
    return [ev.ValidationFinished(step=20 * i, loss=8.0 - 0.5 * i) for i in range(6)]


def in_order(*events: ev.Event) -> list[ev.Event]:
    return sorted(events, key=lambda event: event.step or 0)


@pytest.mark.parametrize(
    ("final", "code", "not_said"),
    [(0.0, "raise-rate", "More steps may help"), (1.0, "go-on", "Raise the rate")],
)
def test_more_steps_are_never_advised_at_a_rate_of_zero(
    tmp_path: Path, final: float, code: str, not_said: str
) -> None:
    """A schedule that is spent learns nothing more: a higher rate does, or a new run."""
    facts = our_run(
        tmp_path, *in_order(*steps(quiet(100, 8.0), final=final), *falling_validations())
    )
    assert code in codes(facts)
    assert not_said not in text(facts)


def test_weights_that_hardly_moved_are_told_as_nothing_learnt(tmp_path: Path) -> None:
    """And the advice is to raise the rate."""
    moved = ev.MetricLogged(
        step=99, values={"train/update_ratio/matrices": 1e-7, "train/distance/matrices": 2e-5}
    )
    facts = our_run(tmp_path, *steps(quiet(100)), moved)
    assert {"nothing-learnt", "raise-rate"} <= codes(facts)
    assert "Nothing was learnt: the weights moved by 0.0020 %" in text(facts)
    assert "什么也没有学到：权重只移动了 0.0020%" in report.markdown(facts, "zh", stem=None)


def test_a_shift_of_the_mixture_is_told_from_over_fitting(tmp_path: Path) -> None:
    """By the losses of each source, in the table and in the advice."""

    def validation(step: int, code: float, chat: float) -> ev.Event:
        return ev.ValidationFinished(
            step=step, loss=(code + chat) / 2, loss_by_source={"code": code, "chat": chat}
        )

    # Six in one direction: three validations without rows tell nothing.
    shift = [validation(20 * i, 1.0 + 0.08 * i, 1.0 - 0.008 * i) for i in range(6)]
    facts = our_run(tmp_path / "a", *in_order(*steps(quiet(100)), *shift))
    assert "Add rows like those of code" in text(facts)
    assert "| code | 1.0000 | 1.0000 | 1.4000 |" in text(facts)
    both = [validation(20 * i, 1.0 + 0.08 * i, 1.0 + 0.04 * i) for i in range(6)]
    facts = our_run(tmp_path / "b", *in_order(*steps(quiet(100)), *both))
    assert "Add rows" not in text(facts)
    assert "lower rate" in text(facts)
