"""What every full-screen command shares: signals, themes, colours by role.

Light on purpose: it is imported before the first frame.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from textual._context import active_message_pump
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.css.query import NoMatches
from textual.driver import Driver
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widget import Widget

from sftui.drawing.theme import DAY, NIGHT, Palette
from sftui.keys.key_table import DEFAULT_KEYS
from sftui.keys.keymap import Keymap
from sftui.keys.preferences import Preferences
from sftui.terminal import interrupts
from sftui.terminal.keyboard import hardy
from sftui.terminal.sgr import shortening
from sftui.terminal.way_out import WayOut

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that end a screen and nothing else: the run goes on."""
_OTHERS = ["QUIT", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "XCPU", "IO", "PWR", "STKFLT"]
ALSO_ENDING = tuple(
    getattr(signal, f"SIG{name}") for name in _OTHERS if hasattr(signal, f"SIG{name}")
)
"""Signals that do the same where their default action stands: to end the process at once, which
would leave the terminal raw. Slurm sends SIGUSR1 before a job's time is over. Not those of faults
of the program, which come again when their handler returns."""


BOXES = Path(__file__).with_name("boxes.tcss")
"""The style sheet of the boxes over the screen."""


class TerminalApp(App[None]):
    """An app whose screens are made of panels. Apps derive from it."""

    CSS_PATH = Path(__file__).with_name("app.tcss")
    TITLE = "sftui"

    def __init__(
        self, preferences: Preferences | None = None, keymap: Keymap | None = None
    ) -> None:
        """`preferences`: how the screen was shown last; `keymap`: the user's keys."""
        super().__init__()
        self.keys = DEFAULT_KEYS if keymap is None else DEFAULT_KEYS.changed(keymap.keys)
        """The table with the user's own keys."""
        self._keymap_said = keymap.said if keymap is not None else ""
        self.told_to_end = False
        self.ended_by: int | None = None
        """The signal that ended the screen, if one did."""
        self.ascii = False
        """Whether the terminal can print nothing but ASCII."""
        self.told_of_tmux = False
        """Whether it was said how tmux passes a copy on: once is enough."""
        self._in_terminal = False
        """Whether the signals of the process are this app's (see `run_in_terminal`)."""
        self._palette: Palette | None = None
        self.register_theme(NIGHT)
        self.register_theme(DAY)
        self.theme = NIGHT.name
        if preferences is not None and preferences.theme in self.available_themes:
            self.theme = preferences.theme

    def on_mount(self) -> None:
        if self.ended_by is not None:
            # It came before there was a loop to tell.
            self.exit()
        if self._in_terminal:
            # Not before: Textual's driver sets its own when it is built.
            signal.signal(signal.SIGCONT, lambda *_: self._in_loop(self._continued))
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        if self._keymap_said:
            said, long = self._keymap_said, 12
            self.notify(said, title="Keys", severity="warning", markup=False, timeout=long)

    def get_driver_class(self) -> type[Driver]:
        """Textual's choice, reading any input, with its output shortened (see `sgr`)."""
        return shortening(hardy(super().get_driver_class()))

    def pop_screen(self) -> AwaitComplete:
        """Close the top screen; nothing where the last one is left.

        Two keys that close it may come before it is gone.
        """
        if len(self.screen_stack) <= 1:
            return AwaitComplete()
        return super().pop_screen()

    def _handle_exception(self, error: Exception) -> None:
        """End the app because of an error in a handler, unless a closed screen had it.

        Keys come faster than a screen is mounted or removed: one that was closed meanwhile gets
        its Mount, or a Resize, and finds none of its widgets. Nothing is lost with it. So does one
        that is opened in the moment in which the app is told to end.
        """
        if isinstance(error, NoMatches) and (
            self._exit or self._of_closed_screen(active_message_pump.get(None))
        ):
            return
        super()._handle_exception(error)

    def _of_closed_screen(self, pump: MessagePump | None) -> bool:
        """Whether that part of the screen belongs to one that is on no stack any more."""
        if not isinstance(pump, Widget):
            return False
        screens = [node for node in pump.ancestors_with_self if isinstance(node, Screen)]
        return not any(
            screen in stack for stack in self._screen_stacks.values() for screen in screens
        )

    @property
    def chart_folder(self) -> Path:
        """Where charts are written that a person asks for: here, where there is no run's folder."""
        return Path.cwd()

    def in_loop(self, act: Callable[[], None]) -> None:
        """Have the event loop call `act`, from any thread; nothing once the screen is closed."""
        self._in_loop(act)

    def tell(self, words: str, *, title: str = "", seconds: float = 3.0) -> None:
        """A sentence about the key that was just pressed, in place of the one before.

        A key that is held down must not fill the screen with the same words.
        """
        self.clear_notifications()
        if title:
            self.notify(words, title=title, severity="warning", markup=False)
        else:
            self.notify(words, markup=False, timeout=seconds)

    def run_in_terminal(self) -> None:
        """`run`, during which signals that end a screen do nothing but end it, however many come.

        Those that come before the first frame, or while the terminal is being restored, would
        otherwise leave the alternate screen behind. After one of them they stay without effect:
        what is left to do is to say how the run goes on.
        """

        told = threading.Event()

        def note(number: int, frame: FrameType | None) -> None:
            if self.ended_by is None:
                self.ended_by = number
                self.told_to_end = number == signal.SIGTERM
                told.set()
                self._in_loop(self.exit)

        continued = signal.getsignal(signal.SIGCONT)
        try:
            ending = [
                *ENDING,
                *(each for each in ALSO_ENDING if signal.getsignal(each) == signal.SIG_DFL),
            ]
            before = {number: signal.signal(number, note) for number in ending}
        except ValueError:
            # Not the main thread: whoever is there gets the signals.
            self.run()
            return
        if interrupts.noted():
            # Pressed before this, where the exception was dropped.
            note(signal.SIGINT, None)
        self._in_terminal = True
        way_out = WayOut(told, lambda: 128 + (self.ended_by or 0))
        try:
            self.run()
        finally:
            way_out.close()
            self._in_terminal = False
            signal.signal(signal.SIGCONT, continued)
            for number, handler in before.items():
                signal.signal(number, handler if self.ended_by is None else signal.SIG_IGN)

    def _in_loop(self, act: Callable[[], None]) -> None:
        """Have the event loop call `act`; nothing where it is not running.

        Called by signal handlers. The loop's own (`add_signal_handler`) are not used: while a
        loop closes, it puts the default actions back and closes the socket that Python still
        writes to when a signal comes, which prints a traceback over the user's shell.
        """
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(act)

    def _continued(self) -> None:
        """Go on after a stop, also after a SIGSTOP that gave no time to leave the terminal.

        Textual 8.2 then starts a second reader and writer beside those it has: keys get lost,
        the program hangs at its end, the terminal stays raw. This may go when its own handler of
        SIGCONT leaves the application mode before it enters it again (`_must_signal_resume` is a
        private name of its driver).
        """
        driver = self._driver
        if driver is None:
            return
        if not getattr(driver, "_must_signal_resume", False):
            driver.suspend_application_mode()
        driver.resume_application_mode()
        self.refresh(layout=True)

    def get_css_variables(self) -> dict[str, str]:
        """Textual's, and our roles as they are under the present theme."""
        variables = super().get_css_variables()
        return variables | Palette(variables).variables()

    @property
    def palette(self) -> Palette:
        """Style numbers to terminal styles, under the present theme."""
        if self._palette is None:
            self._palette = Palette(self.theme_variables)
        return self._palette

    def _theme_changed(self, _: object) -> None:
        self._palette = None
        self.forget_colours()

    def forget_colours(self) -> None:
        """The theme changed: have the panels of the screen painted anew."""
