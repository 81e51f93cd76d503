"""What is said of two checkpoints of a run, in a sentence and in a line a measure."""

from __future__ import annotations

from sftui.statistics.checkpoint_pair import CheckpointPair, Measure
from sftui.statistics.paired_tests import NO_EVIDENCE, Comparison
from sftui.statistics.scores import one_letter_words
from sftui.statistics.validation_scores import VALIDATION
from sftui.text import format as fmt
from sftui.text.clean import clean


def checkpoint_words(step: int) -> str:
    """`step 300`, or `the start`."""
    return "the start" if step == 0 else f"step {fmt.count(step)}"


def sentence(pair: CheckpointPair) -> str:
    """Which of two checkpoints is better, by what and by how much, or that this cannot be said."""
    this, other = checkpoint_words(pair.step), checkpoint_words(pair.before)
    better = _listed([m for m in pair.measures if m.sign > 0])
    worse = _listed([m for m in pair.measures if m.sign < 0])
    match pair.verdict:
        case "same":
            return f"{this}: the same weights"
        case "better":
            return f"{this} is better than {other}: {better}"
        case "worse":
            return f"{this} is worse than {other}: {worse}"
        case "trade":
            return f"{this} against {other}, better: {better}; worse: {worse}"
        case "alike":
            return f"{this} and {other} cannot be told apart{_by_what(pair)}"
        case "unknown":
            return f"{this} or {other}, which is better cannot be said: {_why_unknown(pair)}"


def headline(pair: CheckpointPair) -> str:
    """The sentence without its numbers, over a line for each of them."""
    this, other = checkpoint_words(pair.step), checkpoint_words(pair.before)
    better = ", ".join(_name(m) for m in pair.measures if m.sign > 0)
    worse = ", ".join(_name(m) for m in pair.measures if m.sign < 0)
    match pair.verdict:
        case "better":
            return f"{this} is better than {other} by {better}"
        case "worse":
            return f"{this} is worse than {other} by {worse}"
        case "trade":
            return f"{this} is better than {other} by {better}, and worse by {worse}"
        case "alike":
            return f"{this} and {other} cannot be told apart"
        case _:
            return sentence(pair)


def _by_what(pair: CheckpointPair) -> str:
    hints = [f"{_name(m)} {_verdict_words(m, pair)}" for m in pair.measures if m.hint]
    if hints:
        return f": {', '.join(hints)}"
    named = [_name(measure) for measure in pair.measures if measure.known]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return f" by {', '.join(named[:3])}{more}"


def _why_unknown(pair: CheckpointPair) -> str:
    if not pair.measures or all(measure.judged is None for measure in pair.measures):
        return "no number was measured at both"
    reasons = dict.fromkeys(
        one_letter_words(measure.judged.comparison.one_letter)
        if measure.judged.comparison.one_letter is not None
        else measure.reason
        for measure in pair.measures
        if measure.judged is not None
    )
    return "; ".join(reason for reason in reasons if reason) or "no paired rows"


def _listed(measures: list[Measure]) -> str:
    found = []
    for measure in measures:
        assert measure.judged is not None
        found.append(
            f"{_name(measure)} {difference_words(measure.name, measure.judged.comparison)}"
        )
    return ", ".join(found)


def _name(measure: Measure) -> str:
    return clean(measure.name, 40)


def difference_words(name: str, found: Comparison) -> str:
    """`0.0342 lower [0.0301, 0.0383]` of a loss, `+9.8 points [+4.9, +14.6]` of an accuracy; 95 %
    intervals, of a loss of how much lower (or higher) it is."""
    change = found.difference
    there = found.low == found.low and found.high == found.high
    if name != VALIDATION:
        words = f"{fmt.points(found.points)} points"
        low, high = (fmt.points(100 * bound) for bound in (found.low, found.high))
        return f"{words} [{low}, {high}]" if there else words
    sign = -1.0 if change < 0 else 1.0
    words = f"{fmt.loss(abs(change))} {'lower' if change < 0 else 'higher'}"
    bounds = sorted((sign * found.low, sign * found.high))
    return f"{words} [{fmt.loss(bounds[0])}, {fmt.loss(bounds[1])}]" if there else words


def measure_lines(pair: CheckpointPair) -> list[tuple[Measure, str]]:
    """Every measure of both with its difference, interval and verdict, or why there is none."""
    lines = []
    for measure in pair.measures:
        judged = measure.judged
        if judged is None:
            lines.append((measure, measure.reason))
            continue
        parts = [difference_words(measure.name, judged.comparison)]
        if judged.comparison.one_letter is not None:
            letter, share = judged.comparison.one_letter
            parts.append(f"no claim: {fmt.percent(share, 0)} of the answers are {clean(letter, 4)}")
        elif measure.known:
            parts.append(_verdict_words(measure, pair))
            if measure.rows:
                what = "row" if measure.name == VALIDATION else "question"
                parts.append(f"{fmt.counted(measure.rows, what)} paired")
            if measure.sign and measure.scatters:
                parts.append("the run's checkpoints scatter as much")
        if measure.reason:
            parts.append(measure.reason)
        lines.append((measure, ", ".join(parts)))
    return lines


def _verdict_words(measure: Measure, pair: CheckpointPair) -> str:
    assert measure.judged is not None
    if measure.sign:
        return "clear"
    if measure.judged.verdict == NO_EVIDENCE:
        return NO_EVIDENCE
    among = "" if pair.pairs == 1 else f" among {fmt.counted(pair.pairs, 'pair')}"
    return f"a hint, not clear{among}"
