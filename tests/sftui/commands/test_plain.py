"""The run as plain lines: what a signal does to the command."""

import os
import signal

from engine import events as ev
from engine.control import Command
from engine.errors import RunDirError
from sftui.commands import plain


class Full:
    """A run whose disk takes no request at first; it ends when it gets one."""

    def __init__(self, refusals):
        self.refusals = refusals
        self.sent = []
        self.ended = False

    def poll(self):
        if self.sent and not self.ended:
            self.ended = True
            return [ev.RunFinished(status="stopped")]
        return []

    def send(self, request):
        if self.refusals:
            self.refusals -= 1
            raise RunDirError("cannot write control.jsonl: No space left on device.")
        self.sent.append(request)

    @property
    def closed(self):
        return self.ended


def test_a_notice_is_passed_on_until_it_is_written(monkeypatch):
    """On a full disk the command neither leaves, which would end the job, nor repeats itself."""
    monkeypatch.setattr(plain, "TICK_SECONDS", 0.001)
    source, lines = Full(refusals=5), []
    before = signal.getsignal(signal.SIGTERM)

    def write(line):
        lines.append(line)

    poll, notices = source.poll, [1, 2]

    def told():
        if notices:
            notices.pop()
            os.kill(os.getpid(), signal.SIGTERM)
        return poll()

    monkeypatch.setattr(source, "poll", told)

    state, left = plain.watch(source, send_stop=True, write=write)
    assert not left
    assert state.badge == "stopped"
    [request] = source.sent
    assert (request.command, request.author) == (Command.STOP, "SIGTERM")
    assert sum("No space left" in line for line in lines) == 1
    assert sum("saves a checkpoint" in line for line in lines) == 1
    assert signal.getsignal(signal.SIGTERM) is before


class Past(Full):
    """A run that is over, and told much more than one poll gives."""

    left = 50

    def poll(self):
        self.left = max(0, self.left - 1)
        return [ev.LogLine(text="x")] * (self.left > 0)

    @property
    def closed(self):
        return not self.left


def test_a_long_past_is_printed_without_a_pause(monkeypatch):
    """A tick after every 2,000 events: of 300,000 `attach --headless` took over a minute."""
    slept = []
    monkeypatch.setattr(plain.time, "sleep", slept.append)
    plain.watch(Past(0), send_stop=False, write=lambda line: None)
    assert slept == []
