"""A benchmark is a benchmark in every reader's log, however its name is written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.cli import main
from sftui.readers.tasks import BENCHMARKS, task_of
from sftui.sources import snapshot

_AROUND = ("{}", "{}_acc", "{}/acc", "{}/acc_norm", "eval/{}", "{}_accuracy", "accuracy/{}")
_CASES = (str, str.upper, lambda name: name.replace("_", "-"), lambda name: name.replace("_", ""))


@given(st.sampled_from(sorted(BENCHMARKS)), st.sampled_from(_AROUND), st.sampled_from(_CASES))
def test_every_spelling_of_a_benchmark_is_that_benchmark(name, around, case):
    """With and without the word of its measure, in any case, with any separator."""
    if around == "{}" and name in ("math", "lambada"):
        return  # alone they may mean something else
    assert task_of(around.format(case(name))) == BENCHMARKS[name]


@pytest.mark.parametrize(
    "name",
    ["train_acc", "rewards/accuracies", "mmlu_loss", "arc_easy_time", "math", "train/mmlu_frac",
     "mean_token_accuracy", "loss", "lr", "step", ""],
)  # fmt: skip
def test_other_numbers_are_no_benchmarks(name):
    """What measures something else keeps its own name."""
    assert task_of(name) is None


ROWS = [
    {"step": step, "loss": 2.0 - step / 100, "mmlu_acc": 0.25 + step / 1000, "eval/arc_easy": 0.3}
    for step in range(20)
]


def write(path: Path) -> None:
    """The same rows, by the suffix of the file."""
    if path.suffix == ".csv":
        out = io.StringIO()
        table = csv.DictWriter(out, ROWS[0])
        table.writeheader()
        table.writerows(ROWS)
        path.write_text(out.getvalue())
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_tasks_of_any_format_are_evaluations(tmp_path, name):
    """One table for all readers."""
    write(tmp_path / name)
    state = snapshot.read(str(tmp_path / name)).state
    assert set(state.evals) == {"MMLU", "ARC-Easy"}
    assert state.evals["MMLU"][19].accuracy == pytest.approx(0.269)


def test_a_report_names_the_numbers_it_does_not_use(tmp_path, capsys):
    """It does not say that nothing was evaluated while unknown numbers stand in the log."""
    log = tmp_path / "log.jsonl"
    log.write_text(
        "".join(
            json.dumps({"step": step, "loss": 1.0, "my_score": 0.5, "mfu": 40.0}) + "\n"
            for step in range(20)
        )
    )
    assert main(["report", str(log), "-o", str(tmp_path / "report.md")]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "no task was evaluated" not in text
    assert "are not used: my\\_score, mfu" in text or "are not used: my_score, mfu" in text
