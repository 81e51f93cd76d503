"""Two checkpoints: every number against published tables, scipy.stats and statsmodels."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.statistics import paired_tests
from sftui.statistics.paired_tests import (
    CLEAR,
    NO_EVIDENCE,
    SUGGESTIVE,
    Comparison,
    Evaluation,
    best_of,
    compare_evaluations,
    e_value,
    flips,
    holm,
    judge,
    mcnemar,
    paired,
    paired_error,
    unpaired,
    verdict,
)
from tests.conftest import examples


class Scored(NamedTuple):
    """One result as a log tells it."""

    correct: int | None
    total: int | None
    accuracy: float | None = None


def near(value: float, digits: int = 6) -> object:
    return pytest.approx(value, abs=0.51 * 10**-digits)


@pytest.mark.parametrize(
    ("b", "c", "p", "mid_p", "error", "e"),
    [
        (74, 52, 0.060938, 0.050487, 0.010941, 0.753404),
        (120, 98, 0.154778, 0.136934, 0.014403, 0.255891),
        (30, 8, 0.000472, 0.000294, 0.005982, None),
        (150, 110, 0.015416, 0.013137, 0.015699, None),
        (180, 140, 0.029087, 0.025424, 0.017427, None),
        (5, 0, 0.0625, 0.03125, 0.002178, 5.333333),
        (6, 0, 0.03125, 0.015625, 0.002385, 9.142857),
        (8, 0, 0.0078125, None, None, 28.444444),
        (0, 0, 1.0, None, 0.0, 1.0),
    ],
)
def test_paired_table(
    b: int, c: int, p: float, mid_p: float | None, error: float | None, e: float | None
) -> None:
    """Gains and losses have the published p, standard error at 1024 items and e-value."""
    assert mcnemar(b, c) == near(p)
    if mid_p is not None:
        assert mcnemar(b, c, mid=True) == near(mid_p)
    if error is not None:
        assert paired_error(b, c, 1024) == near(error)
    if e is not None:
        assert e_value(b, c) == near(e)


def test_e_values_that_just_suffice() -> None:
    """Eight gains without a loss are the first run of gains that is clear whenever one looks."""
    assert e_value(30, 8) == near(144.124, 3)
    assert e_value(60, 30) == near(20.2096, 4)
    assert e_value(8, 0) == pytest.approx(2**8 / 9)
    assert e_value(7, 0) < 20
    assert e_value(50_000, 0) == math.inf


def test_small_paired_example() -> None:
    """Twenty questions, six gained and one lost: 25 points, and no evidence yet."""
    before = [int(x) == 1 for x in "10110010100110010010"]
    now = [int(x) == 1 for x in "11101011101110110011"]
    gained, lost = flips(now, before)
    found = paired(len(gained), len(lost), 20)
    assert (len(gained), len(lost)) == (6, 1)
    assert (found.difference, found.points) == (near(0.25), near(25.0))
    assert found.error == near(0.119896)
    assert found.error * math.sqrt(20 / 19) == near(0.123010)
    assert found.p == near(0.125)


@pytest.mark.parametrize(("net", "most"), [(10, 20), (22, 114), (26, 162), (40, 396), (50, 624)])
def test_how_many_flips_a_net_gain_survives(net: int, most: int) -> None:
    """A net gain drowns when too many questions flipped both ways."""
    flipped = [n for n in range(net, 2000, 2) if mcnemar((n + net) // 2, (n - net) // 2) < 0.05]
    assert max(flipped) == most


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_statsmodels(b: int, c: int) -> None:
    """Any flips give statsmodels' exact McNemar p."""
    from statsmodels.stats.contingency_tables import mcnemar as reference

    if b + c:
        assert mcnemar(b, c) == pytest.approx(
            min(1.0, reference([[0, b], [c, 0]], exact=True).pvalue), rel=1e-9
        )


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_paired_error_is_that_of_the_item_differences(pairs: list[tuple[bool, bool]]) -> None:
    """Flips give the same error as the item-wise differences they summarise."""
    now, before = [a for a, _ in pairs], [b for _, b in pairs]
    gained, lost = flips(now, before)
    differences = np.array(now, dtype=int) - np.array(before, dtype=int)
    found = paired(len(gained), len(lost), len(pairs))
    assert found.difference == pytest.approx(differences.mean())
    assert found.error == pytest.approx(differences.std() / math.sqrt(len(pairs)), abs=1e-12)
    assert found.low <= found.difference <= found.high


def test_error_from_the_correlation_of_the_items() -> None:
    """The paired variance is p1q1 + p2q2 less twice the covariance."""
    rng = np.random.default_rng(3)
    before = rng.random(1024) < 0.25
    now = np.where(rng.random(1024) < 0.7, before, rng.random(1024) < 0.3)
    gained, lost = flips(now, before)
    p1, p2 = now.mean(), before.mean()
    rho = np.corrcoef(now, before)[0, 1]
    variance = p1 * (1 - p1) + p2 * (1 - p2)
    variance -= 2 * rho * math.sqrt(p1 * (1 - p1) * p2 * (1 - p2))
    assert paired_error(len(gained), len(lost), 1024) == pytest.approx(math.sqrt(variance / 1024))


@pytest.mark.parametrize(("gain", "loss"), [(0.05, 0.05), (0.2, 0.1), (0.02, 0.0), (0.3, 0.3)])
def test_paired_interval_covers_the_truth(gain: float, loss: float) -> None:
    """Summed over all outcomes of 60 items, the 95 % interval covers in 93.5 % of cases or more."""
    items, covered = 60, 0.0
    for b, c in itertools.product(range(items + 1), repeat=2):
        rest = items - b - c
        if rest < 0 or (loss == 0.0 and c):
            continue
        log_p = math.lgamma(items + 1) - math.lgamma(b + 1) - math.lgamma(c + 1)
        log_p += -math.lgamma(rest + 1) + b * math.log(gain) + rest * math.log(1 - gain - loss)
        log_p += c * math.log(loss) if c else 0.0
        found = paired(b, c, items)
        if found.low <= gain - loss <= found.high:
            covered += math.exp(log_p)
    assert covered > 0.935


def test_interval_has_a_width_when_nothing_flipped() -> None:
    """No flip among 1024 items still leaves a few tenths of a point open."""
    found = paired(0, 0, 1024)
    assert found.error == 0.0
    assert found.low < -0.002
    assert found.high > 0.002


@pytest.mark.parametrize(
    ("before", "now", "difference", "error", "p", "low", "high"),
    [
        ((249, 1024), (271, 1024), 0.021484, 0.019229, 0.26403, -0.01622, 0.05911),
        ((251, 1024), (291, 1024), 0.039062, 0.019477, 0.04511, 0.00085, 0.07713),
    ],
)
def test_unpaired_values_of_the_reference_run(
    before: tuple[int, int],
    now: tuple[int, int],
    difference: float,
    error: float,
    p: float,
    low: float,
    high: float,
) -> None:
    """The +2.14 points that were reported as progress have p = .26."""
    found = unpaired(now, before)
    assert (found.difference, found.error) == (pytest.approx(difference, abs=1e-6), near(error))
    assert (found.p, found.low, found.high) == (near(p, 5), near(low, 5), near(high, 5))


def test_baseline_of_whole_test_sets_is_not_different() -> None:
    """Against the whole test sets there is nothing to report at all."""
    assert unpaired((271, 1024), (3732, 14042)).p == near(0.93725, 5)
    assert unpaired((291, 1024), (659, 2376)).p == near(0.68419, 5)


@given(st.integers(1, 500), st.integers(1, 500), st.data())
def test_unpaired_is_statsmodels(n1: int, n0: int, data: st.DataObject) -> None:
    """Any two counts give statsmodels' Newcombe interval and pooled z test."""
    from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

    k1, k0 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n0))
    found = unpaired((k1, n1), (k0, n0))
    low, high = confint_proportions_2indep(k1, n1, k0, n0, method="newcomb", compare="diff")
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
    if 0 < k1 + k0 < n1 + n0:
        _, p = proportions_ztest([k1, k0], [n1, n0])
        assert found.p == pytest.approx(p, abs=1e-9)


def test_holm_of_the_worked_example() -> None:
    """Five comparisons shown together are adjusted step by step."""
    assert holm([0.001, 0.01, 0.03, 0.04, 0.2]) == pytest.approx([0.005, 0.04, 0.09, 0.09, 0.2])
    adjusted = holm([0.2, math.nan, 0.001])
    assert adjusted[2] == pytest.approx(0.002)
    assert math.isnan(adjusted[1])


# statsmodels takes 0.1 s for 20 values.
@examples(15)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(ps: list[float]) -> None:
    """Any list of p values is adjusted as statsmodels does."""
    from statsmodels.stats.multitest import multipletests

    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1].tolist(), abs=1e-12)


def test_verdict_words() -> None:
    """`clear` survives the number of looks, `suggestive` does not, everything else is nothing."""
    shown = [paired(180, 140, 1024), paired(0, 0, 1024), paired(80, 30, 1024)]
    words = [j.verdict for j in judge([*shown, paired(20, 20, 1024)])]
    assert words == [SUGGESTIVE, NO_EVIDENCE, CLEAR, NO_EVIDENCE]
    assert [j.verdict for j in judge(shown[:1])] == [CLEAR]


def test_enough_evidence_needs_no_count_of_looks() -> None:
    """An e-value of 20 is clear among any number of comparisons."""
    shown = judge([paired(60, 30, 1024)] + [paired(10, 10, 1024)] * 40)
    assert shown[0].p_adjusted > 0.05
    assert shown[0].verdict == CLEAR


def test_the_wobble_of_the_run_has_to_be_beaten_too() -> None:
    """A gain beyond the sampling error is not clear when evaluations scatter as much."""
    assert judge([paired(80, 30, 1024)])[0].verdict == CLEAR
    assert judge([paired(80, 30, 1024, wobble=0.005)])[0].verdict == CLEAR
    [held] = judge([paired(80, 30, 1024, wobble=0.03)])
    assert (held.verdict, held.held_by) == (SUGGESTIVE, "scatter")
    assert held.p_adjusted > 0.05
    assert unpaired((400, 1024), (250, 1024), wobble=0.1).p_scatter > 0.05


def test_scatter_alone_makes_no_evidence_of_nothing_and_takes_none_away() -> None:
    """Whether there is evidence is for the questions to say; what is clear is so for both."""
    none = paired(60, 55, 1024)
    for wobble in (None, 0.0001, 0.05):
        shown = [paired(60, 55, 1024, wobble=wobble), unpaired((291, 1024), (251, 1024))]
        assert [j.verdict for j in judge(shown)] == [NO_EVIDENCE, SUGGESTIVE]
        assert judge(shown)[0].comparison.p == none.p
        assert judge(shown)[1].held_by == "number"


wobbles = st.sampled_from([None, 0.0, 0.001, 0.01, 0.05])


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), wobbles), max_size=6))
def test_clear_survives_both_the_looks_and_the_scatter(drawn) -> None:
    """As if the larger of the two p values were the only one; below it, the test's own word."""
    shown = [paired(b, c, 1024, wobble=own) for b, c, own in drawn]
    adjusted = holm([max(c.p, c.p_scatter) for c in shown])
    for comparison, p, judged in zip(shown, adjusted, judge(shown), strict=True):
        strict = verdict(max(comparison.p, comparison.p_scatter), p, comparison.e_value)
        assert (judged.verdict == CLEAR) == (strict == CLEAR)
        assert (judged.verdict == NO_EVIDENCE) == (not comparison.p < 0.05)
        assert (judged.held_by == "") == (judged.verdict != SUGGESTIVE)


def test_best_of_twenty_looks() -> None:
    """The best of many looks is named with the number of looks and its adjusted p."""
    looks = [paired(100 + i, 100, 1024) for i in range(26, 6, -1)]
    best = best_of(looks)
    assert best is not None
    assert (best.index, best.among) == (0, 20)
    assert best.judged.p_adjusted == pytest.approx(min(1.0, 20 * looks[0].p))
    assert looks[0].p < 0.1
    assert best.judged.verdict == NO_EVIDENCE
    assert best_of([]) is None


def evaluation(right: str, item_set: str | None = "a" * 64) -> Evaluation:
    flags = [c == "1" for c in right]
    return Evaluation(correct=sum(flags), total=len(flags), item_set=item_set, right=flags)


def test_equal_items_are_paired() -> None:
    """Two evaluations of one item set are compared question by question."""
    found = compare_evaluations(evaluation("1101"), evaluation("1010"))
    assert found is not None
    assert (found.kind, found.gains, found.losses, found.note) == ("paired", 2, 1, "")


@pytest.mark.parametrize(
    ("now", "before", "reason"),
    [
        (evaluation("11", "a" * 9), evaluation("10", "b" * 9), "not the same items"),
        (evaluation("11", None), evaluation("10"), "not known"),
        (Evaluation(correct=1, total=2, item_set="a" * 64), evaluation("10"), "are missing"),
        (evaluation("111"), evaluation("10"), "3 and 2 results"),
    ],
)
def test_other_items_are_not_paired(now: Evaluation, before: Evaluation, reason: str) -> None:
    """Where items may differ the comparison is unpaired and says why."""
    found = compare_evaluations(now, before)
    assert found is not None
    assert found.kind == "unpaired"
    assert found.note.startswith("unpaired, conservative: ")
    assert reason in found.note


def test_bare_percentages_are_never_evidence() -> None:
    """A log without counts shows its difference and claims nothing."""
    found = compare_evaluations(Evaluation(accuracy=0.9), Evaluation(accuracy=0.2))
    assert found is not None
    assert (found.kind, judge([found])[0].verdict) == ("bare", NO_EVIDENCE)
    assert math.isnan(found.p)
    assert compare_evaluations(Evaluation(accuracy=math.nan), Evaluation(accuracy=0.2)) is None


def test_different_lengths_are_an_error_when_counting_flips() -> None:
    """Counting flips of unequal lists is a mistake of the caller."""
    with pytest.raises(ValueError, match="expected the same items"):
        flips([True], [True, False])
    with pytest.raises(ValueError, match="expected counts"):
        paired(3, 3, 5)


def test_looking_until_it_is_significant_fools_the_exact_test_only() -> None:
    """Checking after every flip, p < .05 is wrong a third of the time; e >= 20 under 5 %."""
    rng = np.random.default_rng(0)
    fooled = {"p": 0, "e": 0}
    runs, items = 300, 400
    critical = [_critical_count(n) for n in range(items + 1)]
    needed = [
        next((b for b in range(n // 2, n + 1) if e_value(b, n - b) >= 20), n + 1)
        for n in range(items + 1)
    ]
    for _ in range(runs):
        gains = np.cumsum(rng.random(items) < 0.5)
        more = [max(int(g), n - int(g)) for n, g in enumerate(gains, start=1)]
        fooled["p"] += any(m >= critical[n] for n, m in enumerate(more, start=1))
        fooled["e"] += any(m >= needed[n] for n, m in enumerate(more, start=1))
    assert 0.25 < fooled["p"] / runs < 0.45
    assert fooled["e"] / runs < 0.06


def _critical_count(flipped: int) -> int:
    return next(
        (b for b in range(flipped // 2, flipped + 1) if mcnemar(b, flipped - b) < 0.05),
        flipped + 1,
    )


def test_the_best_of_twenty_evaluations_of_an_unchanged_model() -> None:
    """Without any change, the best of 20 looks gains points and is rarely called clear."""
    rng = np.random.default_rng(5)
    gains, significant, clear = [], 0, 0
    for _ in range(100):
        before = rng.random(1024) < 0.25
        looks: list[Comparison] = []
        for _ in range(20):
            # Item by item correlation .5 with the start, and no change on average.
            now = np.where(rng.random(1024) < 0.5, before, rng.random(1024) < 0.25)
            gained, lost = flips(now, before)
            looks.append(paired(len(gained), len(lost), 1024))
        best = best_of(looks)
        assert best is not None
        gains.append(best.judged.comparison.points)
        significant += any(look.p < 0.05 for look in looks)
        clear += any(j.verdict == CLEAR for j in judge(looks))
    assert np.mean(gains) == pytest.approx(1.8, abs=0.4)
    assert significant >= 20
    assert clear <= 8


def test_no_scipy_before_the_first_evaluation() -> None:
    """Importing the statistics costs the first frame no scipy, and never scipy.stats."""
    code = (
        "import sys; from sftui.statistics import accuracy, loss_statistics, paired_tests\n"
        "assert not any(m.startswith('scipy') for m in sys.modules), 'scipy at import'\n"
        "paired_tests.paired(3, 1, 9); loss_statistics.trend([1, 2, 3], [1., 2., 4.])\n"
        "assert 'scipy.special' in sys.modules and 'scipy.stats' not in sys.modules\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)


def test_the_words_are_the_contract() -> None:
    """The three words do not change: colours and reports hang on them."""
    assert (paired_tests.NO_EVIDENCE, paired_tests.SUGGESTIVE, paired_tests.CLEAR) == (
        "no evidence",
        "suggestive",
        "clear",
    )
