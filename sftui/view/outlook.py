"""The three questions about a run, a line each: when it ends, whether validation still falls, and
what was changed since the last run (or, of one that has ended, what to type next)."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

from sftui.drawing.canvas import fit, text_width
from sftui.state.run_state import RunState
from sftui.statistics.families import PREVIOUS, START
from sftui.statistics.validation_scores import LossChange
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.empty_words import first_due
from sftui.view.view import View

RECENT, BLOCKS = 50, 5
"""Updates whose times tell the range of the end, and into how many means they are taken."""
MOST_JUDGED = 60
"""Validations up to which the newest is judged here: the rows of each are read once."""
CHANGED = "changed: "
"""What stands before the settings that are others than in the past run."""
MOST_WORDS = 300
"""Characters of an answer that are looked at."""
NEXT = ("chat", "report", "eval")
"""Commands of `sftui` for a run that is over; typed alone they take the newest. All but the
report need a checkpoint."""


class Answer(NamedTuple):
    """A question in a word or two, and its answer."""

    question: str
    words: str
    clear: bool = False
    """Whether it says something that holds beyond chance."""
    shorter: tuple[str, ...] = ()
    """The answer in fewer words, for narrow lines: the longest first."""

    def fitting(self, cells: int) -> str:
        """The longest of the answers that has room in so many cells; the shortest is cut."""
        for words in (self.words, *self.shorter):
            # Names of a log are among them, and how it ended.
            shown = clean(words, MOST_WORDS)
            if text_width(shown) <= cells:
                return shown
        return fit(shown, cells)


def answers(state: RunState, view: View, changed: str) -> list[Answer]:
    """One line a question. `changed`: what was set otherwise than in the past run that is shown;
    empty where none is."""
    return [_when(state, view), _falling(state, view), _next(state, view, changed)]


def _when(state: RunState, view: View) -> Answer:
    """The clock at the end, its range by the pace of late, and the share of evaluations."""
    if state.ended or view.trouble:
        end = "" if state.last_t is None else f" at {_clock(state.last_t, view.now())}"
        over = f"{state.badge}{end}"
        words = f"{over}, {fmt.counted(state.done, 'update')}"
        return Answer("ended", words, shorter=(over, state.badge))
    left = view.eta(state)
    if view.replay is not None and view.replay.over:
        return Answer("ended", f"log ends, {fmt.counted(state.done, 'update')}")
    if view.replay is not None:
        return Answer("ends", f"{fmt.clock(left)} of the run to come" if left else fmt.UNKNOWN)
    if left is None:
        return Answer("ends", "not known before the first updates", shorter=("not known yet",))
    if state.badge == "paused":
        return Answer("ends", f"{fmt.clock(left)} after it goes on")
    spread = fmt.duration(max(1.0, round(spread_seconds(state))))
    clock = _clock(view.now() + left, view.now())
    words = f"{clock} ± {spread}"
    planned = state.planned or 0
    own = max(0, planned - state.done) * (state.step_seconds() or 0.0)
    others = max(0.0, (state.eta_seconds() or 0.0) - own)
    if not others:
        return Answer("ends", words, shorter=(clock,))
    share = f", {fmt.duration(others)} of it "
    return Answer(
        "ends", f"{words}{share}evaluations", shorter=(f"{words}{share}evals", words, clock)
    )


def spread_seconds(state: RunState) -> float:
    """Half the range of the end: what the updates to come would take at the fastest and at the
    slowest of the means over a fifth of the recent updates."""
    recent = state.steps.tail("seconds", RECENT).tolist()
    seconds = [value for value in recent if math.isfinite(value)]
    if len(seconds) < BLOCKS:
        return 0.0
    bounds = [len(seconds) * block // BLOCKS for block in range(BLOCKS + 1)]
    means = [sum(seconds[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    left = max(0, (state.planned or 0) - state.done)
    return float(left * (max(means) - min(means)) / 2)


def _falling(state: RunState, view: View) -> Answer:
    """The newest validation against the one before and the start, as far as it can be told."""
    found = state.validation_list()
    known = [v for v in found[-MOST_JUDGED - 1 :] if math.isfinite(v.loss)]
    if not known:
        return Answer("val", _no_validation(state, view))
    if len(known) < 2:
        once = f"{fmt.loss(known[0].loss)}, once"
        return Answer("val", f"{once}: none to compare yet", shorter=(once,))
    now, before = known[-1], known[-2]
    steps = fmt.counted(now.step - before.step, "step")
    by = fmt.change(now.loss - before.loss)
    if len(found) > MOST_JUDGED:
        return Answer(
            "val", f"{by} in {steps}; not judged here", shorter=(f"{by}, not judged here",)
        )
    if view.replay is not None and view.replay.unread:
        why = "judged once the log is read"
        return Answer("val", f"{by} in {steps}; {why}", shorter=(why, "not judged yet"))
    judged = view.losses.changes(found)
    late, whole = judged.get((now.step, PREVIOUS)), judged.get((now.step, START))
    return _verdict(late or whole, whole, by, steps)


def _no_validation(state: RunState, view: View) -> str:
    """Whether one may still come, and what asks for it."""
    if view.replay is not None:
        return "none in this log" if view.replay.over else "none so far"
    if state.ended or view.trouble:
        return "none"
    key = view.keys.by_id("evaluate").shown
    return f"none yet{first_due('validation', state) or f'; {key} asks for one'}"


def _verdict(late: LossChange | None, whole: LossChange | None, by: str, steps: str) -> Answer:
    """In words, by the judge of all validations: never more than it says. `by` is what it
    changed `by` in so many `steps`."""
    facts = f"{by} in {steps}"
    if late is not None and late.basis == "others":
        why = "of other rows: no comparison"
        return Answer("val", f"{facts}, {why}", shorter=(why, "of other rows"))
    if late is None or late.basis == "nothing":
        return Answer("val", f"{facts}, not judged yet", shorter=(f"{by}, not judged yet",))
    if late.clear:
        word = "still falls" if late.change < 0 else "rises"
        shorter = (f"{word}, {by}", word)
        return Answer("val", f"{word}, {facts}", clear=True, shorter=shorter)
    if whole is not None and whole.clear:
        word = "below" if whole.change < 0 else "above"
        since = f"{word} the start"
        return Answer("val", f"{since}, lately within noise", shorter=(f"{since}, now in noise",))
    return Answer("val", f"{facts}: within noise", shorter=("within noise",))


def _next(state: RunState, view: View, changed: str) -> Answer:
    if changed:
        return Answer("last run", changed, shorter=(changed.removeprefix(CHANGED),))
    if (state.ended or view.trouble) and view.run_id:
        names = [name for name in NEXT if state.loadable or name == "report"]
        words = " · ".join(f"sftui {name}" for name in names)
        return Answer("next", words, shorter=(f"sftui {' · '.join(names)}",))
    if view.folder is None:
        typed = "`:past LOG` draws one"
        return Answer("beside", f"{typed} behind it", shorter=(typed,))
    key = view.keys.by_id("past_run").shown
    words, short = {
        True: (f"{key} draws it and says what was changed", f"{key} draws it, with what changed"),
        False: ("none yet of this model and data", "none of this model and data"),
        None: (f"{key} looks for one of this model and data", f"{key} looks for one"),
    }[view.earlier]
    return Answer("last run", words, shorter=(short,))


def _clock(t: float, now: float) -> str:
    """hh:mm in the person's own time zone, with the day where it is another."""
    try:
        then, today = time.localtime(t), time.localtime(now)
        form = "%H:%M" if then[:3] == today[:3] else "%a %H:%M"
        return time.strftime(form, then)
    except (ValueError, OverflowError, OSError):
        return "--:--"


def widest(found: Sequence[Answer]) -> int:
    """Cells of the longest question."""
    return max(len(answer.question) for answer in found)
