"""Run directories of the commit before the modules went into folders: they open, replay, resume.

What was shown of them then stands in `shown.json`; what they must end with is the run that was
never broken off, made by the same old code.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoints import checkpoint_dir
from engine.events import RunFinished
from engine.run import lock, run_dir
from engine.run.run_dir import RunDir
from sftui import run_json
from sftui.sources import snapshot
from tests.old_runs.make_runs import NAMES, PLACEHOLDER
from tests.place import of
from tests.processes import Children, children, environment, wait_for

HERE = Path(__file__).parent
SHOWN: dict[str, Any] = json.loads((HERE / "shown.json").read_text())


class OldRuns:
    """The archive, unpacked into a folder that the runs believe they were made in."""

    def __init__(self, folder: Path, started: Children) -> None:
        with tarfile.open(HERE / "runs.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        for path in (*folder.glob("runs/*/run.json"), *folder.glob("runs/*/config.toml")):
            path.write_bytes(path.read_bytes().replace(PLACEHOLDER, str(folder).encode()))
        self.started = started
        self.root = folder / "runs"
        self.env = environment(NANOCHAT_BASE_DIR=str(folder / "cache"), SFTUI_RUNS=str(self.root))

    def run(self, name: str) -> RunDir:
        return run_dir.find(name, self.root)

    def resume(self, name: str) -> tuple[int, str]:
        """`sftui run --resume NAME --headless`: exit code and output; nothing is left running."""
        words = ["run", f"--resume={name}", "--headless"]
        process = self.started.start(
            "-m", "sftui", *words, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

        def ended() -> bool:
            self.started.note_descendants()
            return process.poll() is not None

        wait_for(ended, 100)
        assert process.stdout is not None
        out = process.stdout.read().decode()
        wait_for(lambda: self.started.left() == [], 20)
        return process.returncode, out


@pytest.fixture
def old(tmp_path: Path) -> Iterator[OldRuns]:
    with children() as started:
        yield OldRuns(tmp_path, started)


def numbers(run: RunDir) -> dict[str, dict[object, object]]:
    """Losses, validations and answers by step, read from the lines themselves."""
    found: dict[str, dict[object, object]] = {"loss": {}, "validation": {}, "correct": {}}
    for line in run.events.read_text().splitlines():
        event = json.loads(line)
        step, data = event.get("step"), event["d"]
        match event["type"]:
            case "step_finished":
                found["loss"][step] = data["loss"]
            case "validation_finished":
                found["validation"][step] = data["loss"]
            case "eval_finished":
                found["correct"][step, data["task"]] = data["correct"]
    return found


def part_of(old: Any, new: Any) -> Any:
    """`new`, reduced to what `old` has: fields may be added, never changed."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: part_of(value, new.get(key, "missing")) for key, value in old.items()}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [part_of(one, other) for one, other in zip(old, new, strict=True)]
    return new


@pytest.mark.parametrize("name", NAMES)
def test_an_old_run_is_shown_as_it_was(old: OldRuns, name: str) -> None:
    """Status, steps, losses, validations, answers, checkpoints and requests."""
    before = SHOWN[name]
    run = old.run(name)
    shown = run_json.to_dict(snapshot.read_run(run))
    assert shown["status"] == before["status"]
    [stage], [then] = shown["stages"], before["stages"]
    for key in ("steps", "train_loss", "val", "controls", "settings"):
        assert part_of(then[key], stage[key]) == then[key], key
    for result in then["evals"]:
        # How sure one may be of a difference is statistics, and may be mended; the counts stay.
        for key in ("interval", "against"):
            del result[key]
    assert part_of(then["evals"], stage["evals"]) == then["evals"]
    kept = [row for row in then["checkpoints"] if row["kind"] == "sftui"]
    assert part_of(kept, [r for r in stage["checkpoints"] if r["kind"] == "sftui"]) == kept
    assert not lock.is_running(run)


@pytest.mark.parametrize("name", NAMES)
def test_an_old_run_replays_to_the_numbers_of_its_lines(old: OldRuns, name: str) -> None:
    """Its log as a replay reads it: every step, validation and answer, to the last digit."""
    run = old.run(name)
    wanted = numbers(run)
    [stage] = snapshot.read(str(run.events)).stages
    state = stage.state
    series = state.step_series("loss")
    assert dict(zip(series.x, series.y, strict=True)) == pytest.approx(wanted["loss"], rel=1e-6)
    assert {v.step: v.loss for v in state.validation_list()} == wanted["validation"]
    answers = {
        (step, task): result.correct
        for task, by_step in state.evals.items()
        for step, result in by_step.items()
    }
    assert answers == wanted["correct"]


@pytest.mark.parametrize("name", NAMES)
def test_an_old_runs_checkpoints_are_whole(old: OldRuns, name: str) -> None:
    """Every byte is compared with its digest, and the newest says which step it holds."""
    run = old.run(name)
    newest, problems = checkpoint_dir.newest_valid(run)
    assert problems == []
    assert newest is not None
    # The killed run's is older than its last step: what came after was lost with the processes.
    assert newest.step == {"finished": 24, "stopped": 20, "killed": 12}[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stopped", "killed"])
def test_an_old_run_goes_on_as_the_run_that_was_never_broken_off(old: OldRuns, name: str) -> None:
    """Resumed by today's code it makes the steps that the old code made without a break."""
    run, whole = old.run(name), old.run("finished")
    done = numbers(run)
    code, out = old.resume(name)
    assert code == 0, out
    assert of(run, RunFinished)[-1].status == "finished"
    found, wanted = numbers(run), numbers(whole)
    assert len(found["loss"]) > len(done["loss"])
    # Another kind of processor adds products up in another order.
    assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
    assert found["validation"] == pytest.approx(wanted["validation"], rel=1e-5)
    assert found["correct"].keys() == wanted["correct"].keys()


@pytest.mark.slow
def test_an_old_run_that_finished_is_not_run_again(old: OldRuns) -> None:
    """The answer is a line and exit code 2; no file of the run changes."""
    run = old.run("finished")
    before = digests(run)
    code, out = old.resume("finished")
    assert code == 2
    assert "finished after 24 updates, so nothing is left to do" in " ".join(out.split())
    assert digests(run) == before


def digests(run: RunDir) -> dict[str, str]:
    files = sorted(path for path in run.path.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
