"""Faults at the screen: it may be killed, cut off, stopped, flooded or broken; the run goes on."""

import itertools
import json
import os
import signal
import statistics
import subprocess
import time

import psutil
import pytest

from engine.events import (
    AlarmCleared,
    AlarmRaised,
    AttemptStarted,
    ControlApplied,
    RunFinished,
    StepFinished,
)
from engine.run import lock, run_dir
from sftui.keys.key_table import GROUPS
from tests.faults.place import Place, end_of, fill, small_disk, told
from tests.faults.terminal import Terminal
from tests.faults.worker import HOSTILE
from tests.processes import children, wait_for

pytestmark = pytest.mark.slow


class Desk(Place):
    """A place with terminals; the ranks are simulated."""

    def __init__(self, path, started, **script):
        super().__init__(path, started)
        self.env = self.environment(
            SFTUI_WORKER="tests.faults.simulated", SFTUI_SIMULATION=json.dumps(script)
        )
        self.terminals = []

    def sit_down(self, *words, program=("-m", "sftui"), **size):
        terminal = Terminal(self.started, *program, *words, env=self.env, **size)
        self.terminals.append(terminal)
        return terminal

    def run(self, *flags, **options):
        """`sftui run` in a terminal, once it shows steps; the terminal and the run."""
        before = {run.id for run in run_dir.list_runs(self.root)}
        terminal = self.sit_down("run", *self.flags(*flags), **options)
        wait_for(lambda: {run.id for run in run_dir.list_runs(self.root)} - before)
        [run] = [run for run in run_dir.list_runs(self.root) if run.id not in before]
        wait_for(lambda: told(run, StepFinished))
        self.started.note_descendants()
        return terminal, run

    def ctl(self, run, *words):
        process = self.started.start(
            "-m", "sftui", "ctl", run.id, *words, env=self.env, stdout=-1, stderr=-2
        )
        return process.communicate(timeout=60)[0].decode().strip()

    def stop(self, run):
        """End the run in good order; nothing may be left."""
        self.ctl(run, "stop")
        wait_for(lambda: not lock.is_running(run))
        wait_for(lambda: self.started.left() == [], 20)
        assert [type(event) for event in told(run, RunFinished)] == [RunFinished]
        assert end_of(run).status == "stopped"
        assert len(told(run, AttemptStarted)) == 1


@pytest.fixture
def desk(tmp_path):
    with children() as started:
        made = Desk(tmp_path, started, rate=50, prints=HOSTILE.hex())
        yield made
        for terminal in made.terminals:
            terminal.close()


def steps(run):
    return len(told(run, StepFinished))


@pytest.mark.parametrize("how", ["kill", "hang up"])
def test_a_run_outlives_its_screen_and_is_attached_to_again(desk, how):
    """Faults 1 and 2: SIGKILL of the screen, or the terminal gone with the SSH connection."""
    screen, run = desk.run("--gpus=2")
    screen.wait_for("RUNNING")
    if how == "kill":
        screen.process.kill()
    else:
        screen.hang_up()
    screen.wait()
    before = steps(run)
    wait_for(lambda: steps(run) > before + 50)
    assert lock.is_running(run)
    again = desk.sit_down("attach")
    again.wait_for("RUNNING")
    again.press("q")
    assert again.wait() == 0
    assert f"sftui attach {run.id}" in again.words()
    desk.stop(run)


def test_a_stopped_screen_slows_no_step_and_catches_up(desk):
    """Fault 9: SIGSTOP of the screen, two seconds of steps, SIGCONT; then it ends as ever."""
    screen, run = desk.run()
    screen.wait_for("RUNNING")

    def spacing(after, count=100):
        wait_for(lambda: steps(run) > after + count)
        times = [event.stamp.m for event in told(run, StepFinished)][after + 1 :][:count]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        return statistics.median(gaps), max(gaps)

    free, _ = spacing(steps(run))
    assert not screen.cooked()
    screen.process.send_signal(signal.SIGSTOP)
    held, longest = spacing(steps(run))
    assert held < 1.2 * free
    assert longest < 1.0
    screen.process.send_signal(signal.SIGCONT)
    since = screen.press("4")
    newest = steps(run)
    wait_for(lambda: any(f"{n:,}" in screen.words(since) for n in range(newest, steps(run) + 1)))
    desk.stop(run)
    screen.wait_for("STOPPED", since)
    screen.press("q")
    assert screen.wait() == 0
    assert screen.cooked(), "the shell that comes back must see what is typed"


def test_a_person_at_the_keyboard_breaks_nothing(desk):
    """Faults 10, 13, 52 and 68 in one sitting.

    The window shrinks to one cell and back; 200 keys in a second give one answer a request;
    what a library prints from C goes to the log file; Ctrl-C asks, and the ranks never see it.
    """
    screen, run = desk.run("--gpus=2")
    screen.wait_for("RUNNING")
    for size in ((1, 1), (300, 2), (20, 60)):
        screen.resize(*size)
        time.sleep(0.05)
    here = len(screen.output)
    screen.resize(120, 36)
    screen.wait_for("RUNNING", here)

    begin = time.monotonic()
    for _ in range(50):
        screen.press(" ek ")
    assert time.monotonic() - begin < 5
    # Keys are taken in order: when the last one shows, all have been.
    screen.wait_for(next(iter(GROUPS.values())), screen.press("?"))
    screen.wait_for("sftui", screen.press("\x1b"))
    wait_for(lambda: unanswered(run) == set())
    requests = [json.loads(line) for line in run.control.read_text().splitlines()]
    assert 0 < len(requests) <= 200
    answers = [event.id for event in told(run, ControlApplied)]
    assert sorted(answers) == sorted(request["id"] for request in requests)
    assert screen.process.poll() is None

    assert HOSTILE not in screen.output
    assert b"]52;" not in screen.output
    assert b"pwned" not in screen.output
    for rank in (0, 1):
        assert HOSTILE in (run.rank_log(1, rank) / "stdout.log").read_bytes()
        assert HOSTILE in (run.rank_log(1, rank) / "stderr.log").read_bytes()

    assert desk.ctl(run, "resume").startswith("resume applied")
    before = steps(run)
    here = screen.press("\x03")
    screen.wait_for("Leave or stop?", here)
    wait_for(lambda: steps(run) > before + 20)
    assert len(told(run, AttemptStarted)) == 1
    screen.press("q")
    assert screen.wait() == 0
    assert "goes on without the screen" in screen.words()
    assert screen.output.rstrip().endswith(b"stop")
    assert b"\x1b[?1049l" in screen.output
    assert lock.is_running(run)
    desk.stop(run)


def unanswered(run):
    asked = {json.loads(line)["id"] for line in run.control.read_text().splitlines()}
    return asked - {event.id for event in told(run, ControlApplied)}


FIRST = """
import os, sys
words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "sftui", *sys.argv[1:]]
os.execvp(words[0], words)
"""


@pytest.mark.parametrize("how", ["q", "SIGTERM"])
def test_process_1_of_a_container_does_not_take_the_run_along(desk, how):
    """Leaving the screen would end the container; `docker stop` tells process 1 alone."""
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"]).returncode:
        pytest.skip("process namespaces are not allowed here")
    screen, run = desk.run(program=("-c", FIRST))
    screen.wait_for("RUNNING")
    [first] = psutil.Process(screen.process.pid).children()
    if how == "q":
        here = screen.press("q")
        screen.wait_for("it stays here until the run ends", here)
        before = steps(run)
        wait_for(lambda: steps(run) > before + 20)
    first.send_signal(signal.SIGTERM)
    assert screen.wait() == 0
    assert "told to end (SIGTERM)" in screen.words()
    assert screen.cooked()
    assert end_of(run).status == "stopped"
    wait_for(lambda: desk.started.left() == [], 20)


BROKEN = """
import sys
from sftui.cockpit.cockpit import Cockpit
tick, ticks = Cockpit.tick, []
def broken(self):
    ticks.append(1)
    if len(ticks) > 20:
        raise RuntimeError("a panel is broken \\x1b]52;c;aGFja2Vk\\x07")
    return tick(self)
Cockpit.tick = broken
from sftui.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_a_terminal_there_are_plain_lines(tmp_path):
    """Fault 64: `sftui run > file`, typed without --headless."""
    with children() as started:
        desk = Desk(tmp_path, started, rate=50, steps=120, prints=HOSTILE.hex())
        process = started.start(
            *("-m", "sftui", "run", *desk.flags()), env=desk.env, stdin=-3, stdout=-1, stderr=-2
        )
        out = process.communicate(timeout=60)[0]
        assert process.returncode == 0, out
    assert b"\x1b" not in out
    assert b"\r" not in out
    lines = out.decode().splitlines()
    assert sum("loss" in line for line in lines) > 3
    assert "finished" in out.decode()


def test_a_screen_that_breaks_restores_the_terminal_and_says_how_to_come_back(desk):
    """Fault 69: an error in the screen's own code; the run is not touched by it."""
    screen, run = desk.run(program=("-c", BROKEN))
    assert screen.wait() == 1
    assert b"\x1b[?1049l" in screen.output
    assert b"\x1b[?25h" in screen.output
    assert b"\x1b]52;" not in screen.output
    said = screen.words(screen.output.rindex(b"\x1b[?1049l"))
    assert "the screen failed: " in said
    assert "a panel is broken" in said
    assert f"sftui attach {run.id}" in said
    before = steps(run)
    wait_for(lambda: steps(run) > before + 20)
    desk.stop(run)


def test_two_screens_see_one_run_and_their_wishes_are_answered_in_file_order(desk):
    """Fault 51: opposite requests from two terminals; the last one in the file holds."""
    first, run = desk.run()
    first.wait_for("RUNNING")
    second = desk.sit_down("attach")
    second.wait_for("RUNNING")
    here, there = first.press(" "), len(second.output)
    first.wait_for("PAUSED", here)
    second.wait_for("PAUSED", there)
    here, there = len(first.output), second.press(" ")
    first.wait_for("RUNNING", here)
    second.wait_for("RUNNING", there)
    asked = [json.loads(line)["id"] for line in run.control.read_text().splitlines()]
    assert [event.id for event in told(run, ControlApplied)] == asked
    assert [e.command for e in told(run, ControlApplied)] == ["pause", "resume"]
    for screen in (first, second):
        screen.press("q")
        assert screen.wait() == 0
    desk.stop(run)


def test_the_terminal_is_believed_over_a_size_that_a_shell_exported(desk):
    """`export COLUMNS` in a profile must not hold the screen at one size."""
    desk.env |= {"COLUMNS": "80", "LINES": "24"}
    screen, run = desk.run(columns=120, lines=36)
    screen.wait_for("RUNNING")
    screen.see("─ checkpoints ─")
    here = len(screen.output)
    screen.resize(90, 30)
    screen.wait_for("tok/s", here)  # in full where there is room
    screen.press("q")
    assert screen.wait() == 0
    desk.stop(run)


def test_a_full_disk_is_on_the_screen_while_it_is_full(desk):
    """Fault 14 as a person sees it: the banner comes through the queue, since no file can tell.

    Steps go on being drawn; when there is room the banner goes, and the file has the story.
    """
    with small_disk(desk.path / "disk", "8m") as disk:
        desk.root = disk / "runs"
        desk.env["SFTUI_RUNS"] = str(desk.root)
        screen, run = desk.run()
        screen.wait_for("RUNNING")
        here = len(screen.output)
        ballast = fill(disk)
        screen.wait_for("events.jsonl cannot be written", here)
        told_before, shown = steps(run), len(screen.output)
        wait_for(lambda: any(f"{told_before + n}" in screen.words(shown) for n in range(40, 400)))
        assert steps(run) == told_before
        ballast.unlink()
        wait_for(lambda: steps(run) > told_before + 100)
        kinds = [event.kind for event in told(run, AlarmRaised, AlarmCleared)]
        assert kinds == ["event_log_blocked"] * 2
        numbers = [event.step for event in told(run, StepFinished)]
        assert numbers == list(range(len(numbers)))
        screen.press("q")
        assert screen.wait() == 0
        desk.stop(run)


def test_a_killed_rank_and_its_restart_are_on_the_screen(desk):
    """Fault 5 as a person sees it: who was lost and why, and that it goes on."""
    # High enough for the log to hold the story: every second adds a validation to it.
    screen, run = desk.run("--gpus=2", columns=160, lines=80)
    screen.wait_for("RUNNING")
    [victim] = [
        child.pid
        for child in psutil.Process(lock.holder(run).pid).children()
        if child.environ()["RANK"] == "1"
    ]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(told(run, AttemptStarted)) == 2)
    screen.see("lost rank 1: killed by SIGKILL")
    screen.see("attempt 2 goes on at step")
    screen.see("RUNNING")
    before = steps(run)
    wait_for(lambda: steps(run) > before + 50)
    desk.ctl(run, "stop")
    wait_for(lambda: not lock.is_running(run))
    screen.see("STOPPED")
    screen.press("q")
    assert screen.wait() == 0
    assert end_of(run).status == "stopped"
    wait_for(lambda: desk.started.left() == [], 20)
