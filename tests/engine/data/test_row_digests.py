"""A run that goes on meets the rows it was planned with, or is told that it does not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import config
from engine.config import RunConfig
from engine.conversations.conversation import Conversation, parse_messages
from engine.data import row_digests, tasks
from engine.errors import ConfigError, DataError
from engine.events import StepFinished
from engine.processes import launch, resume
from engine.run import resume_file
from engine.run.run_dir import RunDir
from engine.step import run_plan
from tests import tiny
from tests.conftest import examples
from tests.faults.place import Place, end_of, told, work

NOW = datetime(2026, 1, 2, 3, 4, 5)

TEXT = st.text("ab", max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    messages: list[dict[str, object]] = []
    for _ in range(draw(st.integers(1, 2))):
        messages.append({"role": "user", "content": draw(TEXT)})
        messages.append(
            {"role": "assistant", "content": draw(TEXT), "weight": draw(st.integers(0, 1))}
        )
    return parse_messages(messages)


@examples(200)
@given(first=st.lists(conversations(), max_size=4), second=st.lists(conversations(), max_size=4))
def test_digests_are_equal_where_the_rows_are(
    first: list[Conversation], second: list[Conversation]
) -> None:
    """Contents, order, and which answers carry loss; nothing else."""
    assert (row_digests.digest(first) == row_digests.digest(second)) == (first == second)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run of two updates that was stopped after the first."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tiny.write_cache(tmp_path / "cache")))
    tiny.write_data(tmp_path / "data")
    settings = config.load_recipe("nanochat-sft").replace(
        data_dir=str(tmp_path / "data"), target_examples_per_step=8, num_iterations=13
    )
    return launch.create(
        launch.prepare(settings), tmp_path / "runs", command=["sftui"], cwd=tmp_path, now=NOW
    )


def again(run: RunDir, *, allow: bool = False) -> resume.Prepared:
    return resume.prepare(run, RunConfig(), frozenset(), allow_changes=allow)


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(change(lines)))


def edited(lines: list[str]) -> list[str]:
    return [line.replace("Say", "Tell").replace("largest", "biggest") for line in lines]


def one_letter(lines: list[str]) -> list[str]:
    row = json.loads(lines[7])
    row["messages" if "messages" in row else "question"] = (
        [*row["messages"][:-1], {"role": "assistant", "content": "!"}]
        if "messages" in row
        else f"{row['question']}!"
    )
    return [*lines[:7], json.dumps(row) + "\n", *lines[8:]]


def reordered(lines: list[str]) -> list[str]:
    return random.Random(1).sample(lines, len(lines))


def without_loss(lines: list[str]) -> list[str]:
    row = json.loads(lines[3])
    if "messages" not in row:
        return edited(lines)
    row["messages"][-1]["weight"] = 0
    return [*lines[:3], json.dumps(row) + "\n", *lines[4:]]


@pytest.mark.parametrize("change", [edited, one_letter, reordered, without_loss])
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("GSM8K.train", "The training rows of GSM8K are not those"),
        ("ARC-Easy.train", "The training rows of ARC-Easy are not those"),
        ("SmolTalk.test", "The validation rows of SmolTalk are not those"),
        ("MMLU.test", "The questions of MMLU are not those"),
    ],
)
def test_rows_changed_under_a_run_are_refused(
    stopped: RunDir, tmp_path: Path, file: str, words: str, change: Callable[..., list[str]]
) -> None:
    """Their number is the same; every source counts, and --resume-changed goes on for good."""
    again(stopped)
    rewrite(tmp_path / "data" / f"{file}.jsonl", change)
    with pytest.raises(ConfigError, match=rf"{words}.*--resume-changed"):
        again(stopped)

    allowed = again(stopped, allow=True)
    assert any("are others than before" in note for note in allowed.notes)
    resume.record(allowed, command=["sftui"], now=NOW)
    assert again(stopped).other_rows is False


def test_the_same_rows_written_otherwise_are_the_same(stopped: RunDir, tmp_path: Path) -> None:
    """Other spelling of the JSON, other encoding, keys nobody reads: nothing changed."""
    path = tmp_path / "data" / "SmolTalk.train.jsonl"
    rows = [json.loads(line) | {"note": "x"} for line in path.read_text().splitlines()]
    path.write_bytes(json.dumps(rows, indent=2).encode("utf-16"))
    assert again(stopped).other_rows is False


def test_a_changed_number_of_rows_is_recorded_once_it_is_meant(
    stopped: RunDir, tmp_path: Path
) -> None:
    """Whoever allowed it is not asked again."""
    rewrite(tmp_path / "data" / "GSM8K.train.jsonl", lambda lines: lines[:-1])
    resume.record(again(stopped, allow=True), command=["sftui"], now=NOW)
    assert again(stopped).plan.num_rows == 95
    assert resume_file.manifest_now(stopped)["rows"] == 95


def test_a_run_without_digests_goes_on_and_says_so(stopped: RunDir, tmp_path: Path) -> None:
    """Runs of earlier versions: the number is compared, and from here on the rows are."""
    manifest = stopped.read_manifest()
    del manifest[row_digests.KEY]
    stopped.manifest.write_text(json.dumps(manifest))
    found = again(stopped)
    assert any("kept no digest of its rows" in note for note in found.notes)
    resume.record(found, command=["sftui"], now=NOW)
    rewrite(tmp_path / "data" / "GSM8K.train.jsonl", edited)
    with pytest.raises(ConfigError, match="training rows of GSM8K"):
        again(stopped)


def test_launcher_and_ranks_work_out_the_same_digests(stopped: RunDir) -> None:
    """Or every run would be refused by its own ranks."""
    own = config.from_flat(stopped.read_manifest()["config"], None)
    settings = run_plan.data_settings(own)
    found = tasks.digests_of(
        tasks.build_mixture(settings),
        tasks.load_validation(settings, run_plan.validation_rows_wanted(own)),
        tasks.load_questions(settings, own.eval.eval_metrics_max_problems),
    )
    assert found == stopped.read_manifest()[row_digests.KEY]
    assert len(found) == 4 + 1 + 2


def test_what_only_the_ranks_read_is_kept_when_they_first_read_it(stopped: RunDir) -> None:
    """A hub data set has no digest before it is downloaded; a later revision is noticed."""
    recorded = {"training own": "1"}
    row_digests.settle(stopped, recorded, {"training own": "1", "training hub": "2"}, write=True)
    row_digests.settle(stopped, recorded, {"training own": "1", "training hub": "2"}, write=False)
    with pytest.raises(DataError, match="The training rows of hub are not those"):
        row_digests.settle(stopped, recorded, {"training hub": "3"}, write=True)
    row_digests.forget(stopped)
    row_digests.settle(stopped, recorded, {"training hub": "3"}, write=True)


# ---- real ranks ---------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_ranks_refuse_rows_that_changed_after_the_plan(place: Place) -> None:
    """Between the launcher's look and theirs, or before a restart after a crash."""
    run = place.make()
    rewrite(place.data / "GSM8K.train.jsonl", edited)
    work(run)
    assert not told(run, StepFinished)
    assert end_of(run).status == "failed"
    assert "training rows of GSM8K are not those" in end_of(run).reason
