"""Copy through the terminal's clipboard, and a chart written as it is seen and read again."""

import base64
import csv
import io
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from engine import events as ev
from sftui.report import chart_files
from sftui.screens import copying
from sftui.sources import snapshot
from sftui.widgets.loss_chart import LossChart
from tests.sftui.fake_run import START
from tests.sftui.test_app import make, panel_of, ready


def stamped(seq: int, **fields: object) -> ev.LogLine:
    return ev.LogLine(stamp=ev.Stamp(seq=seq, t=START + seq), **fields)  # type: ignore[arg-type]


async def copied(pilot, panel: str) -> str:
    """What `y` copies with the focus on this panel."""
    app = pilot.app
    app._clipboard = ""
    app.cockpit.dashboard.focus_panel(panel)
    await pilot.pause()
    await pilot.press("y")
    return str(app.clipboard)


async def test_y_copies_what_each_panel_is_on():
    """Values at the crosshair, results with counts, paths, answers: as words that can be pasted."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        await ready(pilot)
        await pilot.press("left", "left")
        at = app.cockpit.view.viewport.cursor
        words = await copied(pilot, "loss")
        step = re.match(r"step ([\d,]+), ", words)
        assert step is not None
        assert abs(int(step[1].replace(",", "")) - at) <= 1
        assert re.search(r"train \d\.\d{4}", words), words
        assert re.search(r"MMLU \d+\.\d% \(\d+/\d+\) at step \d+", await copied(pilot, "accuracy"))
        assert (await copied(pilot, "checkpoints")).splitlines()[0].startswith("ckpt/step-")
        assert "rank" in await copied(pilot, "memory")
        assert not set("│━╸") & set(await copied(pilot, "memory"))


async def test_how_tmux_passes_a_copy_on_is_said_once(monkeypatch):
    """The first notice says it; what was copied is all that the others say."""
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        said: list[str] = []
        monkeypatch.setattr(app, "tell", said.append)
        for panel in ("accuracy", "memory", "loss"):
            await copied(pilot, panel)
        assert sum("Copied: " in words for words in said) == 3
        assert ["set-clipboard" in words for words in said].count(True) == 1


async def test_a_log_line_of_any_length_is_copied_whole_as_far_as_terminals_take_it():
    """The pane cuts at its edge, the copy does not; ten megabytes are cut with a word of it."""
    long = "x" * 1990 + "y" * 4000 + "end"
    app = make([stamped(1, text=long)])
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        assert await copied(pilot, "log") == long
    huge = "0123456789" * 1_000_000
    app = make([stamped(1, text=huge)])
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        begun = time.process_time()
        found = await copied(pilot, "log")
        assert time.process_time() - begun < 2.0
        assert huge.startswith(found)
        assert len(found) == copying.MOST_BYTES
        said = [str(note.message) for note in app._notifications]
        assert any("The first" in words for words in said), said


async def test_what_is_copied_holds_no_control_characters():
    """A line that sets a title, clears the screen or ends a paste is text when it is pasted."""
    app = make([stamped(1, text="a\x1b]0;evil\x07b\x1b[2Jc\x1b[201~\rls\x00d\nnext")])
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        found = await copied(pilot, "log")
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", found), repr(found)


async def test_the_answers_of_the_samples_are_copied_with_their_prompts():
    """Prompt, step and the whole answer, its line breaks kept."""
    sample = ev.SampleGenerated(
        prompt="Say it twice.", text="once\n" + "long " * 900, stamp=ev.Stamp(seq=1, t=START)
    )
    app = make([sample])
    async with app.run_test(size=(160, 48)) as pilot:
        await ready(pilot)
        found = await copied(pilot, "samples")
        assert found.splitlines()[0] == "Say it twice."
        assert found.count("long") == 900


@pytest.fixture
def chart_app(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make()


async def written(pilot, folder: Path) -> dict[str, Path]:
    """What `Y` writes into a folder, by ending."""
    await pilot.press("Y")
    for _ in range(400):
        files = [path for path in folder.glob("*.*") if not path.name.startswith(".")]
        if len(files) == 3:
            return {path.suffix: path for path in files}
        await pilot.pause(0.05)
    raise AssertionError(f"no three files: {files}")


async def test_a_chart_is_written_as_it_is_seen_and_its_table_is_read_again(chart_app, tmp_path):
    """SVG and PNG are pictures of that size, the CSV the points in sight, under the names of the
    series: a replay of it has the same numbers."""
    app = chart_app
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("plus")
        chart = panel_of(dashboard, "loss")
        assert isinstance(chart, LossChart)
        plot, state = chart.plot, app.cockpit.state
        files = await written(pilot, tmp_path)
    assert {path.stem for path in files.values()} == {"test-loss-step-119"}
    assert ElementTree.parse(files[".svg"]).getroot().tag.endswith("svg")
    head = files[".png"].read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(head[16:20], "big") == 1500
    rows = list(csv.DictReader(io.StringIO(files[".csv"].read_text())))
    steps = [int(row["step"]) for row in rows if row["loss"]]
    assert plot.x_low <= steps[0] < plot.x_low + 1.01
    assert steps[-1] == 119
    again = snapshot.read(str(files[".csv"]), None).state
    loss, ours = again.step_series(again.loss_name), state.step_series("loss")
    kept = ours.x >= plot.x_low
    assert np.array_equal(loss.x, ours.x[kept])
    assert np.array_equal(loss.y, ours.y[kept])
    val = again.validations.loss
    assert np.array_equal(val.y, state.validations.loss.y[state.validations.loss.x >= plot.x_low])


async def test_no_chart_is_written_over_another(chart_app, tmp_path):
    """The same chart twice is six files; nothing half is left behind."""
    app = chart_app
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        data = panel_of(dashboard, "loss").chart_data()
    # What stands on the very edge of the picture is marked whole.
    axes = chart_files._figure(data).axes[0]
    low, high = axes.get_xlim()
    whole = [
        np.asarray(line.get_xdata(), dtype=float) for line in axes.lines if not line.get_clip_on()
    ]
    assert np.concatenate(whole).tolist() == data.curves[1].x.tolist()
    assert low <= whole[0].min() <= whole[0].max() <= high
    first = chart_files.write(data, tmp_path, ("csv",))
    second = chart_files.write(data, tmp_path, ("csv",))
    assert [path.name for path in first + second] == [
        "test-loss-step-119.csv",
        "test-loss-step-119-2.csv",
    ]
    assert not list(tmp_path.glob(".*"))


async def test_a_folder_that_cannot_be_written_is_named(chart_app, tmp_path, monkeypatch):
    """The reason is one line; no traceback, no file."""
    app = chart_app
    blocked = tmp_path / "there"
    blocked.write_text("a file")
    monkeypatch.setattr(type(app), "chart_folder", blocked)
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("Y")
        for _ in range(400):
            said = [str(note.message) for note in app._notifications]
            if any("Not written" in words for words in said):
                break
            await pilot.pause(0.05)
        assert any("Not written" in words and "there" in words for words in said), said


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_tmux_has_what_was_copied(tmp_path):
    """`y` in a real terminal: the escape sequence arrives, whole, in another program's buffer."""
    log = tmp_path / "log.csv"
    log.write_text("step,loss\n" + "".join(f"{n},{3 - n / 100:.4f}\n" for n in range(100)))
    tmux = ["tmux", "-f", os.devnull, "-S", str(tmp_path / "socket")]

    def call(*words: str) -> str:
        return subprocess.run([*tmux, *words], capture_output=True, text=True, timeout=30).stdout

    environment = {k: v for k, v in os.environ.items() if k not in ("TMUX", "TMUX_PANE")}
    environment |= {"SFTUI_CONFIG": str(tmp_path), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "sftui", "replay", str(log)]
    subprocess.run(
        [*tmux, "new-session", "-d", "-x", "120", "-y", "36", *command],
        env=environment,
        check=True,
        timeout=30,
    )
    try:
        call("set", "-s", "set-clipboard", "on")
        deadline = time.monotonic() + 60
        found = ""
        while time.monotonic() < deadline and "train" not in found:
            if "loss" in call("capture-pane", "-p"):
                call("send-keys", "y")
            time.sleep(0.3)
            found = call("show-buffer")
        assert found.startswith("step 99, train 2.01"), call("capture-pane", "-p")
    finally:
        call("kill-server")


def test_the_sequence_is_the_one_terminals_know():
    """OSC 52 with base64 stays within the 100,000 bytes that terminals take."""
    whole = b"\x1b]52;c;" + base64.b64encode(b"x" * copying.MOST_BYTES) + b"\a"
    assert 99_990 < len(whole) <= 100_000
