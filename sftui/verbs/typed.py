"""A typed line as a verb with its arguments, or a sentence on what to type instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from engine.config import nearest
from engine.errors import UsageError
from engine.files import checked
from sftui.verbs.verb_table import VERBS, Verb, by_name

MOST_FACTOR = 100.0
MOST_STEPS = 2**31 - 1


class NotHereError(UsageError):
    """The verb works over a run and this is a replay, or the other way round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A line that was understood."""

    verb: Verb
    text: str = ""
    """The argument in words: a task, a file, a run, an axis; empty where there is none."""
    number: float | None = None
    """The argument that is a number: a factor, steps, questions, a speed."""

    @property
    def alone(self) -> bool:
        """Whether the verb has no argument."""
        return not self.text and self.number is None


def read(line: str, mode: str = "live") -> Typed:
    """The verb and the arguments of a line; `mode`: over a `live` run or a `replay`.

    Raises:
        NotHereError: the verb works in the other mode alone.
        UsageError: no such verb, or arguments that it does not take. The message says what to
            type.
    """
    name, _, rest = line.strip().removeprefix(":").lstrip().partition(" ")
    rest = rest.strip()
    verb = by_name(name)
    if verb is None:
        if not name:
            raise UsageError("type a verb, such as `help`.")
        here = [v.name for v in VERBS if v.works_in(mode)]
        close = nearest(name, here) or f"; `help` lists the keys, and verbs are {', '.join(here)}."
        raise UsageError(f"there is no verb {_cut(name)!r}{close}")
    if not verb.works_in(mode):
        where = "a run that goes on" if verb.mode == "live" else "a replay"
        here_is = "this is a replay" if mode == "replay" else "this is a run"
        raise NotHereError(
            f"{name} works over {where}; {here_is}. `open` shows another, "
            f"`{'play' if mode == 'replay' else 'pause'}` works here."
        )
    if not rest:
        if verb.required:
            raise UsageError(f"{name} takes {verb.arguments}: type `{verb.examples[0]}`.")
        return Typed(verb=verb)
    if not verb.arguments:
        raise UsageError(f"{name} takes no argument; found {_cut(rest)!r}. Type `{name}` alone.")
    reader = _READERS.get(name)
    return reader(verb, rest) if reader is not None else Typed(verb=verb, text=rest)


def lr_factor(word: str) -> float:
    """The factor of `lr`.

    Raises:
        UsageError: it is no number above 0 and up to MOST_FACTOR.
    """
    try:
        factor = float(word)
    except ValueError:
        factor = -1.0
    if not 0.0 < factor <= MOST_FACTOR:
        raise UsageError(
            f"lr takes the factor on the schedule, above 0 and up to {MOST_FACTOR:g}, e.g. "
            f"`lr 0.5`; found {_cut(word)!r}."
        )
    return factor


def steps_of(word: str, name: str, example: str) -> int:
    """A number of steps, as `name` takes it.

    Raises:
        UsageError: it is no whole number from 1 on.
    """
    number = checked.digits(word.replace(",", "").replace("_", ""))
    if number is None or not 1 <= number <= MOST_STEPS:
        raise UsageError(
            f"{name} takes a number of steps, 1 or more, e.g. `{example}`; found {_cut(word)!r}."
        )
    return number


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _pause(verb: Verb, rest: str) -> Typed:
    words = rest.split()
    if words[0] == "in":
        words = words[1:]
    if len(words) == 2 and words[1] in ("step", "steps"):
        words = words[:1]
    if len(words) != 1:
        raise UsageError(f"pause takes `in` and a number of steps: type `pause in 50`; found "
                         f"{_cut(rest)!r}.")  # fmt: skip
    return Typed(verb=verb, number=steps_of(words[0], "pause in", "pause in 50"))


def _resume(verb: Verb, rest: str) -> Typed:
    return Typed(verb=verb, number=steps_of(rest, "resume", "resume 50"))


def _lr(verb: Verb, rest: str) -> Typed:
    return Typed(verb=verb, number=lr_factor(rest.removeprefix("x").removeprefix("×").strip()))


def _eval(verb: Verb, rest: str) -> Typed:
    task, *more = rest.split()
    if len(more) > 1:
        raise UsageError(
            f"eval takes a task and how many questions: type `eval MMLU 200`; found {_cut(rest)!r}."
        )
    if not more:
        return Typed(verb=verb, text=task)
    number = checked.digits(more[0].replace(",", ""))
    if number is None or not 1 <= number <= MOST_STEPS:
        raise UsageError(
            f"eval takes a number of questions, 1 or more, e.g. `eval {_cut(task)} 200`; found "
            f"{_cut(more[0])!r}."
        )
    return Typed(verb=verb, text=task, number=number)


def _speed(verb: Verb, rest: str) -> Typed:
    try:
        speed = float(rest.removesuffix("x").removesuffix("×"))
    except ValueError:
        speed = math.nan
    if not speed >= 1:
        raise UsageError(
            f"speed takes how many times as fast, 1 to 1000 or inf, e.g. `speed 60`; found "
            f"{_cut(rest)!r}."
        )
    return Typed(verb=verb, number=speed)


def _choice(verb: Verb, rest: str) -> Typed:
    if rest not in verb.choices:
        close = nearest(rest, list(verb.choices)) or f". Type `{verb.examples[0]}`."
        raise UsageError(
            f"{verb.name} takes one of {', '.join(verb.choices)}; found {_cut(rest)!r}{close}"
        )
    return Typed(verb=verb, text=rest)


_READERS: dict[str, Callable[[Verb, str], Typed]] = {
    "pause": _pause,
    "resume": _resume,
    "lr": _lr,
    "eval": _eval,
    "speed": _speed,
    "panel": _choice,
    "x": _choice,
    "report": _choice,
    "export": _choice,
}
