"""Strengths, weaknesses and next steps: each from one rule, each with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sftui.report.finding_rules import completion, devices, tasks, training, validation
from sftui.report.finding_rules.finding import Finding
from sftui.report.language import Language
from sftui.report.report_facts import Facts

Rule = Callable[[Language, Facts], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    completion.end_of_the_run,
    completion.nonfinite,
    completion.out_of_memory,
    tasks.tasks_that_moved,
    validation.no_validation,
    training.diverged,
    validation.validation_rose,
    validation.validation_came_up,
    validation.validation_fell,
    training.rate_too_low,
    validation.start_not_validated,
    tasks.start_not_evaluated,
    tasks.guessing,
    tasks.more_items,
    tasks.evaluate_start,
    completion.restarts,
    devices.waited_for,
    devices.larger_batch,
    training.noisy_loss,
)
"""In the order of their findings; of the next steps, the first three stand in the verdict."""


def find(tr: Language, facts: Facts) -> list[Finding]:
    """What every rule finds."""
    return [finding for rule in RULES for finding in rule(tr, facts)]


__all__ = ["RULES", "Finding", "Rule", "find"]
