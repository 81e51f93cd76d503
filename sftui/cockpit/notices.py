"""Tell of the end of a run, of alarms and of lost ranks: bell, desktop notice, shell command.

Only of what happens after the screen opened: the history of a run that is attached to
rings no bell. The command gets the event as one JSON line, the one of the event log.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable

from engine import events as ev
from engine.journal.wire import encode
from sftui.logbook.event_lines import entry
from sftui.text.clean import clean

NOTICED = (ev.RunFinished, ev.AlarmRaised, ev.RankLost)
"""Events that ring."""
SLACK_SECONDS = 2.0
"""An event may be so much older than the screen: the run it starts is a moment earlier."""
MOST_COMMANDS = 8
"""Running at one time: an alarm that comes and goes must not start hundreds."""
COMMAND_SECONDS = 60.0


class Notices:
    """Rings and runs the command for events that are newer than the screen."""

    def __init__(
        self, since: float, *, call: Callable[[str], None], command: str | None = None
    ) -> None:
        """`call` rings and shows a text; `command` is a shell command, or None."""
        self._since = since - SLACK_SECONDS
        self._call = call
        self._command = command
        self._room = threading.Semaphore(MOST_COMMANDS)

    def observe(self, event: ev.Event) -> None:
        """Ring and run the command if this event is one of NOTICED, and new."""
        if not isinstance(event, NOTICED):
            return
        if event.stamp.t is not None and event.stamp.t < self._since:
            return
        line = entry(event)
        self._call(line.text if line is not None else type(event).__name__)
        if self._command and self._room.acquire(blocking=False):
            threading.Thread(
                target=self._run, args=(self._command, encode(event)), daemon=True
            ).start()

    def _run(self, command: str, data: bytes) -> None:
        try:
            # The user typed this command for this purpose; a shell is what they expect.
            process = subprocess.Popen(
                command,
                shell=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                process.communicate(data + b"\n", timeout=COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        except OSError:
            return  # there is no shell: nothing that the screen could do about it
        finally:
            self._room.release()


def terminal_notice(text: str) -> str:
    """The sequence of a bell and of a desktop notice (OSC 9), which other terminals ignore."""
    return f"\a\x1b]9;{clean(text, 200)}\a"
