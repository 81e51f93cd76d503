"""What the keys of a replay do: play, scrub, jump, other stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sftui.cockpit.cockpit import Cockpit
    from sftui.cockpit.playback import Playback


class ClockActions:
    """Mixed into the app, which has a cockpit and wakes its clock."""

    _cockpit: Any
    _wake: Callable[[], None]
    tell: Callable[..., None]
    action_follow_log: Callable[[], None]

    def _move(self, act: Callable[[Playback], str | None]) -> str:
        """Move the clock of a replay, which may have stood still without a tick."""
        cockpit: Cockpit = self._cockpit
        said = cockpit.move(act)
        self._wake()
        return said

    def action_toggle_clock(self) -> None:
        self._move(lambda playback: playback.toggle())

    def action_scrub(self, by: int) -> None:
        self._move(lambda playback: playback.scrub(by))

    def action_scrub_to(self, part: float) -> None:
        self._move(lambda playback: playback.seek_part(part))

    def action_step_clock(self, by: int) -> None:
        self._move(lambda playback: playback.step(by))

    def action_change_speed(self, by: int) -> None:
        self._move(lambda playback: playback.change_speed(by))

    def action_jump_mark(self, by: int) -> None:
        said = self._move(lambda playback: playback.jump(by))
        if not said:
            side = "later" if by > 0 else "earlier"
            self.tell(f"There is no {side} event.")

    def action_to_start(self) -> None:
        self._move(lambda playback: playback.to_start())

    def action_to_end(self) -> None:
        self.action_follow_log()
        self._move(lambda playback: playback.to_end())

    def action_next_stage(self) -> None:
        said = self._move(lambda playback: playback.next_stage())
        if said:
            self.tell(said)
