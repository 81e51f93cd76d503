"""Which counter is the step: what lines print, what bars show, and how far to believe either.

A printed step goes before any bar, a bar whose total stays while losses come before the first
bar, and counting entries is the last resort. A counter that begins again in each epoch goes
on over epochs, if the log names them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sftui.readers.bars import Bar

MOST_PASSES = 8
"""Times that later lines may overturn a reading; every time one more thing is settled."""
MOST_WIPES = 100_000
_MOST_BARS = 64


@dataclass(slots=True)
class Decisions:
    """What the lines so far have settled, for a reading from the start."""

    demoted: set[str] = field(default_factory=set)
    """Counters that stand still or begin again while another of the same line goes on."""
    secondary: set[tuple[int, str]] = field(default_factory=set)
    """(stage, name) of losses that are not the training's: another one is printed more often."""
    bars: set[int] = field(default_factory=set)
    """Totals of bars under which training losses came."""
    other_bars: set[int] = field(default_factory=set)
    lead: int | None = None
    """The rank whose numbers count."""
    within: set[str] = field(default_factory=set)
    """Counters that begin again in each epoch."""
    over_run: set[str] = field(default_factory=set)
    """Counters that do not, though their line names an epoch."""
    stepped: bool = False
    """Training losses have steps, so an epoch is no step."""
    decimal_commas: bool = False
    """A comma stands before decimals, not between thousands."""
    from_zero: bool = False
    """Epochs are counted from zero."""
    percent: set[str] = field(default_factory=set)
    """Tasks whose accuracies are printed as `52.3`, without a sign."""
    passes: int = 0


@dataclass(slots=True)
class Axis:
    """One printed counter on its way through a stage."""

    name: str
    last: int = -1
    first_of_epoch: int = 0
    offset: int = 0
    epoch: int | None = None
    first_epoch: int | None = None
    counts: int = 0

    def place(
        self,
        value: int,
        total: int | None,
        epoch: int | None,
        epochs: int | None,
        nested: bool,
        settled: Decisions,
    ) -> tuple[int, int | None, str]:
        """The step over the whole run, what is planned, and what was found out, if anything.

        `nested`: the epoch stands before the counter, as in `Epoch [1/3], Step [100/400]`.
        """
        found = self._judge(value, total, epoch, epochs, settled) if epoch is not None else ""
        within = self.name in settled.within or (
            nested and total is not None and self.name not in settled.over_run
        )
        if epoch is None or not within:
            self._note(value, epoch)
            return value, total, found
        if total:
            base = 0 if settled.from_zero else 1
            step = (epoch - base) * total + value
        else:
            if self.epoch is not None and epoch > self.epoch and value <= self.last:
                self.offset += self.last + (1 if self.first_of_epoch == 0 else 0)
                self.last = -1
            elif self.epoch is not None and epoch < self.epoch:
                self.offset = 0
                self.last = -1
            step = self.offset + value
        self._note(value, epoch)
        planned = epochs * total if epochs and total else None
        return step, planned, found

    def _judge(
        self,
        value: int,
        total: int | None,
        epoch: int | None,
        epochs: int | None,
        settled: Decisions,
    ) -> str:
        """Whether the counter begins again in each epoch, once that shows."""
        if self.name in settled.within or self.name in settled.over_run or epoch is None:
            return ""
        moved = self.epoch is not None and epoch > self.epoch
        falls = moved and value <= self.last
        if total and epochs and epochs > 1 and not moved:
            # Over the whole run, epoch 2 of 3 lies between a third and two thirds of the total.
            share = value / total * epochs
            falls = falls or not epoch - 1.01 <= share <= epoch + 1.01
        if falls:
            settled.within.add(self.name)
            base = 0 if settled.from_zero else 1
            if total and self.counts and self.first_epoch not in (None, base):
                return f"{self.name} begins again in each epoch"
        elif moved and self.counts:
            settled.over_run.add(self.name)
            if total and self.first_epoch not in (None, 0, 1):
                return f"{self.name} goes on over the epochs"
        return ""

    def _note(self, value: int, epoch: int | None) -> None:
        if epoch != self.epoch or self.counts == 0:
            self.first_of_epoch = value
        if self.first_epoch is None:
            self.first_epoch = epoch
        self.last, self.epoch = value, epoch
        self.counts += 1


class BarTrack:
    """The training's bar among all bars, and the wipes that mark a printed dict.

    To print a dict, tqdm wipes its bar with blanks first. Dicts and wipes go to two channels
    and keep their order each, so they are paired first to first, however late a buffered
    stdout delivers the dicts.
    """

    def __init__(self, settled: Decisions) -> None:
        self._settled = settled
        self.place: int | None = None
        """How far the training's bar is."""
        self.total: int | None = None
        self._shadow: int | None = None
        """How far another bar of the same length is, that began while training's stood."""
        self._last: Bar | None = None
        self._wiped: deque[tuple[Bar, int | None, int | None]] = deque(maxlen=MOST_WIPES)
        self._since_wipe = False
        self._votes: dict[int, int] = {}
        self.begun = False
        """The bar began again after its end: another run."""

    def take(self, bar: Bar) -> None:
        """One redraw."""
        if not _may_train(bar):
            self._since_wipe = True
            self._last = bar if bar.split in ("val", "test") else self._last
            return
        self._last = bar
        self._since_wipe = True
        if bar.total not in self._settled.bars:
            return
        if self.total == bar.total and self.place is not None:
            if not self._goes_on(bar):
                return
        elif self.total is not None and self.total != bar.total:
            self.begun = True
        self.place, self.total = bar.done, bar.total

    def _goes_on(self, bar: Bar) -> bool:
        """Whether a bar of training's length is training's."""
        place = self.place or 0
        if self._shadow is None:
            if bar.done >= place:
                return True
            self._shadow = bar.done
            return False
        if bar.done >= self._shadow or bar.done < place:
            self._shadow = bar.done
            return False
        self._shadow = None
        return True

    def wipe(self) -> None:
        """A line of blanks. With two bars on the screen one dict wipes both."""
        if self._last is not None and self._since_wipe:
            self._since_wipe = False
            self._wiped.append((self._last, self.place, self._shadow))

    def after_end(self) -> None:
        """The bars of an ended run say nothing of the next."""
        self._votes = {}
        self.place = self.total = self._shadow = self._last = None
        self._wiped.clear()

    def forget(self) -> int:
        """The bar that was taken for the training's was another's: training has not begun."""
        self.place = self.total = self._shadow = None
        return 0

    def step_of_result(self, *, repeated: bool = False) -> int | None:
        """Where training stood when an evaluation was printed."""
        if self._wiped and not repeated:
            _, place, _ = self._wiped.popleft()
        else:
            place = self.place
        self._shadow = None
        return place

    def step_of_loss(self, *, repeated: bool = False) -> tuple[int | None, str]:
        """Where training stood when a loss was printed, and what was found out by it."""
        if self._wiped:
            bar, place, shadow = self._wiped.popleft()
        elif self._last is not None:
            bar, place, shadow = self._last, self.place, self._shadow
        else:
            return None, ""
        if shadow is not None:  # a loss under it: the bar was of another run of the same length
            place, self.begun = shadow, True
            self.place, self._shadow = self._shadow if self._shadow is not None else shadow, None
        if repeated:
            return place, ""
        found = self._vote(bar) if _may_train(bar) else ""
        return place, found

    def _vote(self, bar: Bar) -> str:
        total, settled = bar.total, self._settled
        if len(self._votes) > _MOST_BARS:
            self._votes.clear()
        self._votes[total] = self._votes.get(total, 0) + 1
        if total in settled.bars or total in settled.other_bars:
            return ""
        known = max((self._votes.get(t, 0) for t in settled.bars), default=0)
        if settled.bars and self._votes[total] < 2:
            return ""
        finished = self.place is not None and self.place == self.total
        if known > 1 and not finished:
            return ""
        if known == 1 and not finished:
            wrong = {t for t in settled.bars if self._votes.get(t)}
            settled.bars -= wrong
            settled.other_bars |= wrong
        settled.bars.add(total)
        return f"the bar of {total:,} is training's"


def _may_train(bar: Bar) -> bool:
    """Whether its label leaves that open: none, an epoch, or the word training."""
    if bar.split in ("val", "test"):
        return False
    label = bar.label.lower().strip(" []")
    if not label or bar.split == "train" or "loss" in label:
        return True
    first = label.split()[0].rstrip(":0123456789/[")
    return first in ("epoch", "steps", "step", "iter", "iteration", "global_step", "batch", "it")
