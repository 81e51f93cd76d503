"""`show --series`: any number of a run, and the same numbers when they are read again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.errors import UsageError
from sftui.cli import main
from sftui.commands import series
from sftui.sources import snapshot
from sftui.state.run_state import RunState
from tests.conftest import examples
from tests.sftui.fake_run import fake_run


def state_of(events: list[ev.Event]) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def test_every_number_of_a_run_can_be_had() -> None:
    state = state_of(fake_run())
    rows = list(csv.DictReader(io.StringIO(series.as_csv(series.chosen(state, "loss")))))
    assert [int(row["step"]) for row in rows] == state.steps.x.tolist()
    wanted = state.step_series("loss").y
    assert np.array_equal(np.array([row["loss"] for row in rows], dtype=np.float32), wanted)
    text = series.as_csv(series.chosen(state, "accuracy/*"))
    assert text.splitlines()[0].startswith("step,accuracy/")
    assert "s.e." in text.splitlines()[0]
    by_rank = series.as_csv(series.chosen(state, "rank 0/*"))
    assert by_rank.startswith("time,rank 0/")
    found = json.loads(series.as_json(series.chosen(state, "val/loss")))
    [only] = found["series"]
    assert [at for at, _ in only["points"]] == list(state.validations)
    everything = json.loads(series.as_json(series.chosen(state, "*")))
    assert {"loss", "val/loss", "grad_norm"} <= {each["name"] for each in everything["series"]}


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"there are: .*loss.*prints all"):
        series.chosen(state_of(fake_run(until=30)), "los")
    with pytest.raises(UsageError, match="none at all"):
        series.chosen(RunState(), "loss")


@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=False), min_size=2, max_size=30))
@examples(40)
def test_what_is_printed_is_read_again_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, losses: list[float]
) -> None:
    """By the reader of CSV logs: values to the last bit, holes as holes."""
    state = state_of([ev.StepFinished(step=i, loss=loss) for i, loss in enumerate(losses)])
    log = tmp_path_factory.mktemp("csv") / "loss.csv"
    if not np.isfinite(state.step_series("loss").y).any():
        return
    log.write_text(series.as_csv(series.chosen(state, "loss")))
    again = snapshot.read(str(log)).state.step_series("loss")
    known = np.isfinite(np.array(losses, dtype=np.float32))
    finite = np.isfinite(again.y)
    assert again.x[finite].tolist() == np.flatnonzero(known).tolist()
    assert np.array_equal(again.y[finite], np.array(losses, dtype=np.float32)[known])


def test_the_command_prints_csv_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "metrics.csv"
    log.write_text("step,loss,reward\n" + "".join(f"{i},{2 - i / 50},{i}\n" for i in range(40)))
    for flags in ((), ("--csv",)):
        assert main(["show", str(log), "--series", "reward", *flags]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:3] == ["step,reward", "0,0.0", "1,1.0"]
        assert len(lines) == 41
    assert main(["show", str(log), "--series", "loss", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["series"][0]["points"][1] == [1, 1.98]
    assert main(["show", str(log), "--csv"]) == 2
    assert "--series NAME" in capsys.readouterr().err
    assert main(["show", str(log), "--series", "rewrd"]) == 2
    assert "there are: loss, reward" in capsys.readouterr().err
