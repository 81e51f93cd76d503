"""`sftui run --seeds N`: a run a seed, the series ends with the first that does not finish."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.errors import UsageError
from engine.journal.event_bus import EventBus
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui import cli
from sftui.commands import run_seeds
from sftui.commands.run_flags import RunFlags, parse_run
from sftui.diagnostics import ExitCode


class Series:
    """Starts nothing: every seed's run ends at once, in the way that is asked for."""

    def __init__(self, root: Path, ends: dict[int, ev.EndStatus] | None = None) -> None:
        self.root, self.ends = root, ends or {}
        self.started: list[tuple[RunFlags, set[str], list[str]]] = []

    def __call__(
        self, flags: RunFlags, typed: set[str], words: list[str]
    ) -> tuple[ExitCode, RunDir | None]:
        self.started.append((flags, typed, words))
        if flags.dry_run:
            return ExitCode.DONE, None
        seed = flags.settings.data.seed
        run = run_dir.create(self.root, flags.settings.runtime.run, datetime(2026, 1, 1))
        status = self.ends.get(seed, "finished")
        run.manifest.write_text("{}")
        bus = EventBus(run, run.id, 1, live=False)
        for event in (
            ev.RunStarted(name="r", num_iterations=4, settings={"seed": seed}),
            ev.ValidationFinished(step=4, loss=1.0 + seed / 100),
            ev.EvalFinished(step=4, task="MMLU", correct=50 + seed, total=100),
            ev.RunFinished(status=status),
        ):
            bus.emit(event)
        assert bus.close()
        return ExitCode.RUN_FAILED if status == "failed" else ExitCode.DONE, run

    def run(self, *words: str) -> ExitCode:
        flags, typed = parse_run(words)
        return run_seeds.run_all(flags, typed, list(words), self)

    @property
    def seeds(self) -> list[int]:
        return [flags.settings.data.seed for flags, _, _ in self.started]


def test_each_seed_is_a_run_with_a_name_and_words_of_its_own(tmp_path: Path) -> None:
    """The words typed again make the same run: the manifest keeps them."""
    series = Series(tmp_path)
    assert series.run("--recipe=starter", "--seeds", "3", "--run", "low", "--seed=5") == 0
    assert series.seeds == [5, 6, 7]
    for flags, typed, words in series.started:
        assert {"seed", "run", "recipe"} <= typed
        assert flags.headless
        again, _ = parse_run(words)
        assert again.settings == flags.settings
        assert again.seeds == 1
    assert [f.settings.runtime.run for f, _, _ in series.started] == [
        f"low-seed-{seed}" for seed in (5, 6, 7)
    ]


def test_at_the_end_the_seeds_are_told_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mean and scatter of every number, and a command that names the runs."""
    series = Series(tmp_path)
    assert series.run("--seeds=3", "--seed=10") == 0
    told = capsys.readouterr().err
    assert "MMLU: 61.0%, mean of 3 runs; seeds scatter by 1.0 points" in told
    assert "validation loss: 1.1100, mean of 3 runs; seeds scatter by 0.0100 nats" in told
    [line] = [line for line in told.splitlines() if "sftui compare" in line]
    named = line.split("sftui compare ")[1].split()[0].split(",")
    assert [run_dir.find(name, tmp_path).id for name in named] == named
    assert len(named) == 3


@pytest.mark.parametrize(
    ("status", "code"), [("failed", ExitCode.RUN_FAILED), ("stopped", ExitCode.INTERRUPTED)]
)
def test_a_run_that_does_not_finish_ends_the_series(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    status: ev.EndStatus,
    code: ExitCode,
) -> None:
    """Ctrl-C and a failure alike; what was not started can be typed."""
    series = Series(tmp_path, {2: status})
    assert series.run("--seeds=4", "--seed=1", "--run=low") == code
    assert series.seeds == [1, 2]
    told = capsys.readouterr().err
    assert "seed 3, 4: not started" in told
    assert "sftui compare" not in told


spellings = st.tuples(
    st.sampled_from((["--seed", "7"], ["--seed=7"])),
    st.sampled_from((["--seeds", "3"], ["--seeds=3"])),
    st.sampled_from((["--run", "a b"], ["--run=a b"], [])),
    st.sampled_from((["--matrix-lr=0.5"], ["--init_lr_frac", "0.5"], [])),
).flatmap(st.permutations)


@given(spellings)
def test_what_is_left_does_what_is_left_however_it_was_typed(parts: list[list[str]]) -> None:
    """The command that is printed makes the runs that were not made, and no others."""
    words = [word for part in parts for word in part]
    flags, _ = parse_run(words)
    kept = run_seeds.without(words, ("--seeds", "--seed", "--run"))
    name = flags.settings.runtime.run
    typed = shlex.split(run_seeds.typed_for(range(8, 10), kept, name))
    assert typed[:2] == ["sftui", "run"]
    again, _ = parse_run(typed[2:])
    assert again.seeds == 2
    assert again.settings == flags.settings.replace(seed=8)


def test_a_dry_run_shows_one_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are the same but for the seed."""
    series = Series(tmp_path)
    assert series.run("--seeds=3", "--seed=1", "--dry-run") == 0
    assert series.seeds == [1]
    assert "the same with seed 2, 3" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-2"])
def test_no_runs_are_refused(number: str) -> None:
    """Nothing is started, and nothing is taken for one run."""
    with pytest.raises(UsageError, match="expected 1 or more"):
        cli.run(["--recipe=starter", f"--seeds={number}", "--dry-run"])
