"""Two checkpoints: every number against published tables, scipy.stats and statsmodels."""

from __future__ import annotations

import itertools
import math
import random as random_module
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
    FEWEST_PROBABILITIES,
    NO_EVIDENCE,
    NOT_JUDGED,
    SUGGESTIVE,
    Comparison,
    Evaluation,
    compare_evaluations,
    compare_gold,
    flips,
    holm,
    judge,
    mcnemar,
    paired,
    paired_error,
    unpaired,
    verdict,
)
from sftui.statistics.scatter import Scatter
from tests.conftest import examples


class Scored(NamedTuple):
    """One result as a log tells it."""

    correct: int | None
    total: int | None
    accuracy: float | None = None


def near(value: float, digits: int = 6) -> object:
    return pytest.approx(value, abs=0.51 * 10**-digits)


@pytest.mark.parametrize(
    ("b", "c", "p", "mid_p", "error"),
    [
        (74, 52, 0.060938, 0.050487, 0.010941),
        (120, 98, 0.154778, 0.136934, 0.014403),
        (30, 8, 0.000472, 0.000294, 0.005982),
        (150, 110, 0.015416, 0.013137, 0.015699),
        (180, 140, 0.029087, 0.025424, 0.017427),
        (5, 0, 0.0625, 0.03125, 0.002178),
        (6, 0, 0.03125, 0.015625, 0.002385),
        (8, 0, 0.0078125, None, None),
        (0, 0, 1.0, None, 0.0),
    ],
)
def test_paired_table(b: int, c: int, p: float, mid_p: float | None, error: float | None) -> None:
    """Gains and losses have the published p and standard error at 1024 items."""
    assert mcnemar(b, c) == near(p)
    if mid_p is not None:
        assert mcnemar(b, c, mid=True) == near(mid_p)
    if error is not None:
        assert paired_error(b, c, 1024) == near(error)


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


def own(deviation: float | None) -> Scatter | None:
    """A run whose checkpoints scatter by so much, well known."""
    if deviation is None:
        return None
    return Scatter(beyond=deviation**2, total=deviation**2, freedom=1000.0)


def test_the_scatter_of_the_run_has_to_be_beaten_too() -> None:
    """A gain beyond the sampling error is not clear when checkpoints scatter as much."""
    assert judge([paired(80, 30, 1024)])[0].verdict == CLEAR
    assert judge([paired(80, 30, 1024, own=own(0.005))])[0].verdict == CLEAR
    [held] = judge([paired(80, 30, 1024, own=own(0.03))])
    assert (held.verdict, held.held_by) == (SUGGESTIVE, "scatter")
    assert held.p_adjusted > 0.05
    assert unpaired((400, 1024), (250, 1024), own=own(0.1)).p_scatter > 0.05


def test_scatter_alone_makes_no_evidence_of_nothing_and_takes_none_away() -> None:
    """Whether there is evidence is for the questions to say; what is clear is so for both."""
    none = paired(60, 55, 1024)
    for deviation in (None, 0.0001, 0.05):
        shown = [paired(60, 55, 1024, own=own(deviation)), unpaired((291, 1024), (251, 1024))]
        assert [j.verdict for j in judge(shown)] == [NO_EVIDENCE, SUGGESTIVE]
        assert judge(shown)[0].comparison.p == none.p
        assert judge(shown)[1].held_by == "number"


deviations = st.sampled_from([None, 0.0, 0.001, 0.01, 0.05])


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), deviations), max_size=6))
def test_clear_survives_both_the_number_and_the_scatter(
    drawn: list[tuple[int, int, float | None]],
) -> None:
    """As if the larger of the two p values were the only one; below it, the test's own word."""
    shown = [paired(b, c, 1024, own=own(d)) for b, c, d in drawn]
    adjusted = holm([max(c.p, c.p_scatter) for c in shown])
    for comparison, p, judged in zip(shown, adjusted, judge(shown), strict=True):
        strict = verdict(max(comparison.p, comparison.p_scatter), p)
        assert (judged.verdict == CLEAR) == (strict == CLEAR)
        assert (judged.verdict == NO_EVIDENCE) == (not comparison.p < 0.05)
        assert (judged.held_by == "") == (judged.verdict != SUGGESTIVE)


def test_however_much_evidence_one_pair_has_the_number_of_pairs_is_counted() -> None:
    """An e-value covers more questions of one pair, not more pairs: it makes nothing clear."""
    shown = judge([paired(60, 30, 1024)] + [paired(10, 10, 1024)] * 40)
    assert shown[0].p_adjusted > 0.05
    assert shown[0].verdict == SUGGESTIVE


def test_what_was_asked_for_counts_ties_half() -> None:
    """The headline's p is the mid-p, which is wrong as often as it says and not less."""
    [plain], [asked] = judge([paired(74, 51, 1024)]), judge([paired(74, 51, 1024)], headline=True)
    assert plain.p_adjusted == mcnemar(74, 51) > 0.04
    assert asked.p_adjusted == mcnemar(74, 51, mid=True) < plain.p_adjusted


def test_nothing_is_claimed_where_nearly_all_answers_are_one_letter() -> None:
    """The accuracy is then that letter's share of the right answers, and not counted either."""
    answers = {"C": 1015, "A": 9}
    now = Evaluation(correct=400, total=1024, letters=answers)
    before = Evaluation(correct=250, total=1024)
    held = compare_evaluations(now, before)
    assert held is not None
    other = paired(74, 51, 1024)
    first, second = judge([held, other])
    assert (first.verdict, first.held_by) == (NOT_JUDGED, "letter")
    assert first.comparison.one_letter == ("C", pytest.approx(1015 / 1024))
    assert second.p_adjusted == other.p
    assert Evaluation(correct=1, total=9, letters={"C": 9}).one_letter is None


subjects = st.lists(st.integers(0, 11), min_size=40, max_size=80)


@given(subjects, st.randoms(use_true_random=False))
def test_items_of_a_subject_that_move_together_widen_the_error_and_never_narrow_it(
    drawn: list[int], random: random_module.Random
) -> None:
    """The larger of the two errors, p and interval with it; statsmodels' sandwich for subjects."""
    import statsmodels.api as sm

    drift = [random.choice((-1, 0, 1)) for _ in range(12)]
    before = [random.random() < 0.5 for _ in drawn]
    now = [bool(min(1, max(0, b + drift[s]))) for b, s in zip(before, drawn, strict=True)]
    sides = [
        Evaluation(
            correct=sum(flags), total=len(flags), item_set="x", right=flags,
            clusters=np.array(drawn),
        )
        for flags in (now, before)
    ]  # fmt: skip
    found = compare_evaluations(*sides)
    assert found is not None
    plain = paired(found.gains or 0, found.losses or 0, len(drawn))
    assert found.error >= plain.error
    assert found.p >= plain.p
    if found.by_subject:
        change = np.array(now, dtype=float) - np.array(before, dtype=float)
        fit = sm.OLS(change, np.ones(len(change))).fit(
            cov_type="cluster", cov_kwds={"groups": np.array(drawn)}
        )
        assert found.error == pytest.approx(float(fit.bse[0]), rel=1e-9)


golds = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=40)


@given(golds)
def test_the_probability_of_the_right_letter_is_judged_by_a_paired_t_test(
    pairs: list[tuple[float, float]],
) -> None:
    """scipy's, over the items; of fewer than ten nothing is said."""
    from scipy.stats import ttest_rel

    sides = [
        Evaluation(
            correct=1, total=len(pairs), item_set="x", right=[True] + [False] * (len(pairs) - 1),
            gold=np.array([pair[i] for pair in pairs]),
        )
        for i in (0, 1)
    ]  # fmt: skip
    found = compare_gold(*sides)
    assert (found is not None) == (len(pairs) >= FEWEST_PROBABILITIES)
    if found is None or found.error < 1e-9:
        return
    reference = ttest_rel([now for now, _ in pairs], [before for _, before in pairs])
    assert found.p == pytest.approx(reference.pvalue, abs=1e-9)
    interval = reference.confidence_interval(0.95)
    assert (found.low, found.high) == (
        pytest.approx(interval.low, abs=1e-9),
        pytest.approx(interval.high, abs=1e-9),
    )


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
    assert found.note.startswith("unpaired: ")
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
        gains.append(max(look.points for look in looks))
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
