"""A log of very many programs: what is told of each, and what is not worked out for any."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui import cli, run_json
from sftui.commands import show
from sftui.sources import snapshot
from sftui.sources.recording import Recording
from sftui.state.run_state import RunState
from tests.dense_logs import dense

RESTARTS = 3000


def restarts(folder) -> str:
    """A log of `RESTARTS` programs of four steps each, all but the last with a validation."""
    text = dense("restarts of llm.c", 600_000).decode()
    programs = text.split("s:0 ")[1 : RESTARTS + 1]
    assert len(programs) == RESTARTS
    path = folder / "train.log"
    path.write_text("".join(f"s:0 {each}" for each in programs))
    return str(path)


def test_show_lists_the_first_and_the_last_programs_and_counts_the_others(tmp_path, capsys):
    assert cli.main(["show", restarts(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("  stage pretrain") == show.MOST_STAGES
    assert f"... {RESTARTS - show.MOST_STAGES:,} stages more" in out
    assert f"this is pretrain, stage {RESTARTS:,} of {RESTARTS:,}" in out


def test_json_has_a_thousand_stages_and_says_how_many_it_left_out(tmp_path, capsys):
    assert cli.main(["show", restarts(tmp_path), "--json", "--stage", "1500"]) == 0
    told = json.loads(capsys.readouterr().out)
    half = run_json.MOST_STAGES // 2
    expected = [*range(1, half + 1), 1500, *range(RESTARTS - half + 1, RESTARTS + 1)]
    assert [stage["number"] for stage in told["stages"]] == expected
    assert told["stages_left_out"] == RESTARTS - len(expected)


def test_a_report_names_few_of_many_programs(tmp_path, capsys):
    out = tmp_path / "report.md"
    assert cli.main(["report", restarts(tmp_path), "-o", str(out)]) == 0
    assert f"of {RESTARTS}: pretrain" in out.read_text()
    assert f"{RESTARTS - 40} more" in out.read_text()


def test_a_state_is_made_for_no_program_that_nothing_is_told_of(tmp_path, monkeypatch):
    made = []

    def counted(state: RunState) -> None:
        made.append(state)
        init(state)

    init = RunState.__init__
    monkeypatch.setattr(RunState, "__init__", counted)
    shot = snapshot.read(restarts(tmp_path))
    assert len(made) == 1, "of the one that is shown"
    show.summary_lines(shot)
    assert len(made) <= show.MOST_STAGES + 2
    assert shot.stages[7].state is shot.stages[7].state
    assert len(shot.stages[7].state.steps) == 4


def test_the_listener_hears_the_stage_that_is_shown(tmp_path):
    heard: list[ev.Event] = []
    shot = snapshot.read(restarts(tmp_path), listener=heard.append)
    assert {event.stamp.run for event in heard} == {f"pretrain-{RESTARTS}"}
    assert shot.shown == RESTARTS - 1


def plainly_preferred(recording: Recording, *, newest: bool) -> int | None:
    """The stage to open, from all of them at once."""
    failed = [i for i, stage in enumerate(recording.stages) if stage.timeline.failed]
    if failed and not newest:
        after = recording.stages[failed[-1] + 1 :]
        if not any(stage.timeline.num_updates for stage in after):
            return failed[-1]
    best, best_rank = None, -1
    for index, stage in enumerate(recording.stages):
        rank = 2 * (stage.timeline.num_updates > 0) + bool(stage.timeline.marks)
        if rank >= 2 and (newest or "sft" in stage.name.lower()):
            rank = 4
        if rank >= best_rank:
            best, best_rank = index, rank
    return best


@given(st.lists(st.sampled_from(["base", "sft", "update", "mark", "fail", "end", "name"])))
def test_the_stage_to_open_is_the_same_however_often_it_is_asked_for(words):
    recording, number = Recording(), 0
    for word in words:
        number += word in ("base", "sft")
        stamp = ev.Stamp(src="x", run=str(number))
        event: ev.Event
        match word:
            case "base" | "sft" | "name":
                event = ev.RunStarted(name="sft" if word == "name" else word, stamp=stamp)
            case "update":
                event = ev.StepFinished(step=1, loss=1.0, stamp=stamp)
            case "mark":
                event = ev.EvalFinished(step=1, task="MMLU", accuracy=0.5, stamp=stamp)
            case _:
                status = "failed" if word == "fail" else "finished"
                event = ev.RunFinished(status=status, stamp=stamp)  # type: ignore[arg-type]
        recording.extend([event])
        for newest in (False, True):
            expected = plainly_preferred(recording, newest=newest)
            assert recording.preferred(newest=newest) == expected
