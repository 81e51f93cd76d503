"""What is deferred really is: a fresh interpreter per entry point, and a look at sys.modules.

The import contracts see the static graph only; they cannot tell that a deferred
import is not reached after all.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.long_files import EveryRow
from tests.processes import environment

HEAVY = ("torch", "datasets", "pandas", "pyarrow", "plotext", "matplotlib", "scipy.stats")
FOR_RUNS_ALONE = ("psutil", "multiprocessing", "tomllib", "tiktoken", "numpy.ma")
"""Each a tenth to a hundredth of the time to the first curve of a replay."""

PROGRAMS = {
    "the command line": (
        "import sftui.cli",
        (*HEAVY, "textual", "numpy", "argparse", "sftui.commands.options"),
    ),
    "the flags of run": (
        "from sftui.commands.run_flags import parse_run; parse_run(['--gpus', '2'])",
        (*HEAVY, "textual"),
    ),
    "the launcher": ("import engine.processes.launch", (*HEAVY, "textual")),
    "the screen": ("import sftui.commands.watch, sftui.app, sftui.screens.dashboard", HEAVY),
    "the flags of replay": (
        "from sftui.commands import parse, screen_flags; "
        "parse.flags_of(screen_flags.ReplayFlags, ['x', '--speed', '2'], 'sftui')",
        (*HEAVY, "textual", "numpy", "engine.config"),
    ),
    "the screen of a replay": (
        "import sftui.cli, sftui.commands.watch, sftui.sources.open_log, sftui.app, "
        "sftui.cockpit.cockpit",
        (*HEAVY, *FOR_RUNS_ALONE),
    ),
    "plain lines": ("import sftui.commands.watch, sftui.commands.plain", (*HEAVY, "textual")),
    "eval, export, chat, fit, resume": (
        "import sftui.commands.evaluate, sftui.commands.export, sftui.commands.chat, "
        "sftui.commands.fit_table, engine.processes.resume",
        (*HEAVY, "textual"),
    ),
    "report, compare": (
        "import sftui.commands.write_report, sftui.compare.comparison",
        (*HEAVY, "textual"),
    ),
    "show": (
        "import sftui.commands.show, sftui.run_json, sftui.commands.runs",
        (*HEAVY, "textual"),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_heavy_is_not_imported(name):
    """The screen never pays for torch, and `--help` pays for next to nothing."""
    program, forbidden = PROGRAMS[name]
    code = f"{program}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split("\n"))
    assert sorted(loaded & set(forbidden)) == []


STATISTICS = ("sftui.statistics.paired_tests", "sftui.statistics.scores", "fractions", "statistics")
NOT_FOR_A_TABLE = (*STATISTICS, "sftui.readers.pairs", "secrets", "subprocess", "textual")


def test_plain_lines_of_a_log_without_evaluations_import_no_statistics(tmp_path):
    """Nor what reads text and makes requests: together a fifth of the start of such a log."""
    log = tmp_path / "metrics.csv"
    log.write_text("step,loss\n" + "".join(f"{step},{3 - step / 9}\n" for step in range(20)))
    code = (
        f"import sys\nfrom sftui.cli import main\nmain(['replay', '--headless', {str(log)!r}])\n"
        "print('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "▶ train" in done.stdout, "it was read"
    assert sorted(set(done.stdout.split("\n")) & set(NOT_FOR_A_TABLE)) == []


FIRST_PICTURE = """
import sys
from sftui.cockpit.cockpit import Cockpit
from sftui.drawing.canvas import Grid
from sftui.sources import feed
from sftui.sources.open_log import open_replay
from sftui.state.run_state import RunState
from sftui.view.view import View
from sftui.widgets.loss_chart import LossChart
from sftui.widgets.now import Now
feed.SHORT_BYTES, feed.FIRST_BLOCK_BYTES = 0, 16_384
source, state = open_replay(sys.argv[1]).source, RunState()
for event in source.poll():
    state.apply(event)
view = View(now=lambda: 1.8e9)
view.replay = source.status()
assert view.replay.loading and state.updates > 2, "its first block was read"
for panel in (Now(state, view, id="now"), LossChart(state, view, id="loss")):
    panel.paint(Grid(24, 120))
print("\\n".join(sys.modules))
source.close()
"""
FOR_JUDGES = ("scipy", "numpy.ma", "hashlib")
FOR_TEXT = ("nanochat", "hf_trainer", "llmc", "mlx", "torchtitan", "plain_text", "printed")


@pytest.mark.parametrize("kind", ["wandb", "tensorboard", "jsonl"])
def test_the_first_picture_of_a_long_log_imports_no_judge_and_no_reader_of_another_kind(
    kind: str, tmp_path: Path
) -> None:
    """A third of the time to the first curve of a wandb file, whose rows have validations."""
    log = EveryRow(tmp_path, kind, 400)
    done = subprocess.run(
        [sys.executable, "-P", "-c", FIRST_PICTURE, str(log.target)],
        capture_output=True, text=True, timeout=60, check=True,
        env=environment(XDG_STATE_HOME=str(tmp_path / "state")),
    )  # fmt: skip
    loaded = set(done.stdout.split("\n"))
    assert sorted(loaded & set(FOR_JUDGES)) == []
    if kind != "jsonl":
        assert sorted(loaded & {f"sftui.readers.{name}" for name in FOR_TEXT}) == []
