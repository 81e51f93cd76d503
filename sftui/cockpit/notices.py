"""Call a person who is not looking: bell, desktop notice, and a command of their own.

Only for what happens while somebody watches: the history of a run that is attached to
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

TOLD = (ev.RunFinished, ev.AlarmRaised, ev.RankLost)
"""What is worth a call."""
SLACK_SECONDS = 2.0
"""An event may be older than the screen that its run started."""
MOST_COMMANDS = 8
"""At work at one time: an alarm that flaps must not fill the machine."""
COMMAND_SECONDS = 60.0


class Notices:
    """Knows since when somebody watches."""

    def __init__(
        self, since: float, *, call: Callable[[str], None], command: str | None = None
    ) -> None:
        """`call` rings and shows a text; `command` is a shell command, or None."""
        self._since = since - SLACK_SECONDS
        self._call = call
        self._command = command
        self._room = threading.Semaphore(MOST_COMMANDS)

    def observe(self, event: ev.Event) -> None:
        """Tell of this event if it is worth it, and new."""
        if not isinstance(event, TOLD):
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
            # The person typed this command for this purpose; a shell is what they expect.
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
    """Bell, and OSC 9: a desktop notice where the terminal knows it, nothing elsewhere."""
    return f"\a\x1b]9;{clean(text, 200)}\a"
