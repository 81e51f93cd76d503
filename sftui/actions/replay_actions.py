"""What the keys of a replay do: play, scrub, jump, other stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftui.actions.log_actions import LogActions

if TYPE_CHECKING:
    from collections.abc import Callable

    from sftui.cockpit.playback import Playback
    from sftui.widgets.scrubber import ScrubbedTo


class ReplayActions(LogActions):
    """Actions of the group `replay`; the end of a replay is the end of its log too."""

    def _move(self, act: Callable[[Playback], str | None]) -> str:
        """Move the clock of a replay, and start ticking again; returns what there is to tell."""
        said = self._cockpit.move(act)
        self._wake()
        return said

    def action_toggle_clock(self) -> None:
        self._move(lambda playback: playback.toggle())

    def action_scrub(self, by: int) -> None:
        self._move(lambda playback: playback.scrub(by))

    def on_scrubbed_to(self, message: ScrubbedTo) -> None:
        """The mouse over the bar."""
        self._move(lambda playback: playback.seek_part(message.part))

    def action_step_clock(self, by: int) -> None:
        self._move(lambda playback: playback.step(by))

    def action_change_speed(self, by: int) -> None:
        self._move(lambda playback: playback.change_speed(by))

    def action_jump_mark(self, by: int) -> None:
        if not self._move(lambda playback: playback.jump(by)):
            self._tell_none(by, "event")

    def action_to_start(self) -> None:
        self._move(lambda playback: playback.to_start())

    def action_to_end(self) -> None:
        self.action_follow_log()
        self._move(lambda playback: playback.to_end())

    def action_next_stage(self) -> None:
        said = self._move(lambda playback: playback.next_stage())
        if said:
            self.tell(said)
