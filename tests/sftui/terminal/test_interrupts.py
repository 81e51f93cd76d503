"""Ctrl-C before there is a screen ends the command, wherever the exception came up."""

import signal
import subprocess
import sys

import pytest

from sftui.commands import plain
from sftui.terminal import interrupts
from tests.faults.terminal import Terminal
from tests.processes import children, environment

PRESS = """
import os, signal, sys, weakref
from sftui import cli

def press():
    os.kill(os.getpid(), signal.SIGINT)

class Object:
    pass

def in_a_callback():
    # As importlib's of a module's lock: what it raises is printed and dropped.
    seen = Object()
    reference = weakref.ref(seen, lambda _: press())
    del seen

class Name:
    def __set_name__(self, owner, name):
        press()

def in_a_class():
    class Owner:
        name = Name()

def somewhere():
    press()

place = {place}
dispatch = cli._dispatch

def pressed(words):
    place()
    return dispatch(words)

cli._dispatch = pressed
sys.exit(cli.main(sys.argv[1:]))
"""
"""A command during whose start Ctrl-C is pressed in one of three places."""


@pytest.mark.parametrize("place", ["in_a_callback", "in_a_class", "somewhere"])
def test_ctrl_c_before_a_screen_ends_the_command(tmp_path, place):
    """One start in four hundred dropped it, and the screen came up and stayed."""
    log = tmp_path / "run.log"
    log.write_text("\n".join(f"step {i} loss {3 - i / 100}" for i in range(50)))
    with children() as started:
        program = PRESS.replace("{place}", place)
        terminal = Terminal(started, "-c", program, "replay", str(log), env=environment())
        assert terminal.wait(60) == 128 + signal.SIGINT
        assert terminal.cooked()
        words = terminal.words()
        assert "RuntimeError" not in words
        assert "Leave" not in words, "keys of a screen"


def test_a_command_that_the_shell_started_in_the_background_goes_on_ignoring_it(tmp_path):
    """`sftui report RUN &`: Ctrl-C is for what is in front."""
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + PRESS.replace(
        "{place}", "somewhere"
    )
    words = [sys.executable, "-c", program, "--version"]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, check=False, env=environment()
    )
    assert (done.returncode, done.stdout[:5]) == (0, "sftui"), done.stderr


def test_one_that_was_dealt_with_is_forgotten(monkeypatch):
    """In a chat it throws the line away; an error of a later line is one."""
    monkeypatch.setattr(interrupts, "_noted", False)
    with pytest.raises(KeyboardInterrupt):
        interrupts._note(signal.SIGINT, None)
    assert interrupts.noted()
    interrupts.forget()
    assert not interrupts.noted()


def test_one_that_was_dropped_counts_for_a_watcher_without_a_screen(monkeypatch):
    """The first Ctrl-C of `--headless` stops the run that was started."""
    monkeypatch.setattr(interrupts, "_noted", True)
    with plain._counted(signal.SIGINT) as seen:
        assert seen[signal.SIGINT] == 1
    assert not interrupts.noted()
