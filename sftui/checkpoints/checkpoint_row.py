"""Checkpoints as the browser lists them: what the log says and what is on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from engine.checkpoints.checkpoint_dir import CheckpointInfo
from sftui.state.checkpoint_rows import CheckpointRows
from sftui.state.records import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """A row of the list; `best`: of the lowest validation loss, `marked`: never pruned."""

    known: Checkpoint
    info: CheckpointInfo | None
    """What lies on disk; None when it is gone, or is no resumable checkpoint of a run here."""
    best: bool
    marked: bool
    exported: bool

    @property
    def step(self) -> int:
        return self.known.step

    @property
    def name(self) -> str:
        """As the list shows it: `step 300`, `nanochat 300` or `start`."""
        if self.known.kind == "start":
            return "start"
        if self.known.exported:
            what = "nanochat" if self.known.kind == "nanochat" else "export"
            return f"{what} {self.known.step:,}"
        return f"step {self.known.step:,}"


class ListedCheckpoints(Sequence[CheckpointRow]):
    """The rows of the list, each made when it is read: a run may name a hundred thousand.

    What the state knew when the list was made; later events do not change it.
    """

    def __init__(
        self, known: CheckpointRows, disk: Mapping[int, CheckpointInfo], best_step: int | None
    ) -> None:
        """`disk`: what lies there, by step; `best_step`: of the lowest validation loss."""
        self._known = list(known)
        self._steps = known.steps.copy()
        self._rest = range(len(self._steps), len(self._known))
        self._best = best_step
        self._exported = {one.step for one in known.rest if one.exported}
        self._infos: dict[int, CheckpointInfo] = {}
        """By place: a step that was saved under two names lies on disk once."""
        for step, info in disk.items():
            ours = (at for at in self._places(step) if self._known[at].kind == "sftui")
            if (place := next(ours, None)) is not None:
                self._infos[place] = info

    def __len__(self) -> int:
        return len(self._known)

    @overload
    def __getitem__(self, index: int) -> CheckpointRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[CheckpointRow]: ...

    def __getitem__(self, index: int | slice) -> CheckpointRow | list[CheckpointRow]:
        if isinstance(index, slice):
            return [self._row(place) for place in range(*index.indices(len(self)))]
        return self._row(range(len(self))[index])

    @property
    def on_disk(self) -> list[CheckpointRow]:
        """Those that lie on disk, in order."""
        return [self._row(place) for place in sorted(self._infos)]

    def place_of(self, known: Checkpoint) -> int | None:
        """Where the row of this checkpoint is."""
        found = (at for at in self._places(known.step) if self._known[at].path == known.path)
        return next(found, None)

    def place_of_step(self, step: int) -> int | None:
        """Where the first row of this step is."""
        return next(iter(self._places(step)), None)

    def _row(self, place: int) -> CheckpointRow:
        known, info = self._known[place], self._infos.get(place)
        return CheckpointRow(
            known=known,
            info=info,
            best=known.step == self._best and not known.exported,
            marked=info is not None and info.marked,
            exported=known.kind == "sftui" and known.step in self._exported,
        )

    def _places(self, step: int) -> list[int]:
        """Of all rows of a step, in order."""
        # Of the resumable ones the steps rise while the places fall.
        low, high = self._steps.searchsorted([step, step + 1]).tolist()
        number = len(self._steps)
        places = [number - 1 - at for at in range(high - 1, low - 1, -1)]
        return places + [at for at in self._rest if self._known[at].step == step]
