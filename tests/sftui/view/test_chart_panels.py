"""Which curves share a panel, and in which order panels come."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.drawing.roles import Role
from sftui.state.catalog import Catalog
from sftui.state.run_state import RunState
from sftui.view.chart_filter import parse
from sftui.view.chart_panels import ChartRun, chart_panels, general, split_of, title_of
from tests.sftui.fake_run import fake_run

GRPO = (
    "learning_rate_x",
    "rewards/format",
    "reward",
    "reward_std",
    "kl",
    "entropy",
    "completions/mean_length",
    "num_tokens",
    "step_time",
    "grad_norm_x",
    "gpu_memory",
    "aux",
    "eval_reward",
    "eval_rewards/format",
)


def logged(*names: str, loss: bool = True) -> RunState:
    """A state with two points of every name."""
    state = RunState()
    for step in range(2):
        if loss:
            state.apply(ev.StepFinished(step=step, loss=1.0, stamp=ev.Stamp(seq=2 * step + 1)))
        state.apply(
            ev.MetricLogged(
                step=step, values=dict.fromkeys(names, 0.5), stamp=ev.Stamp(seq=2 * step + 2)
            )
        )
    return state


def keys(state: RunState, query: str = "") -> list[str]:
    return [panel.key for panel in chart_panels([ChartRun(state=state)], parse(query))]


def test_a_number_of_ours_is_called_by_words_and_another_by_its_own_name():
    """Where one stands alone, as in `compare`, its title says what its panel would say."""
    state = RunState()
    for event in fake_run(until=120):
        state.apply(event)
    state.apply(ev.StepFinished(
        step=120, loss=1.0, lrs={"matrix": 0.1}, loss_by_source={"Starter-Chat": 2.0},
    ))  # fmt: skip
    state.apply(ev.ValidationFinished(step=120, loss=1.0, set_name="held/out"))
    titles = {entry.name: title_of(entry.name) for entry in Catalog(state).entries()}
    assert titles["loss_by_source/Starter-Chat"] == "loss by source: Starter-Chat"
    assert titles["lr/matrix"] == "learning rate by group: matrix"
    assert titles["val/loss"] == "validation loss"
    assert titles["val/loss/held/out"] == "validation loss: held/out"
    ours = {name for name, entry in zip(titles, Catalog(state).entries(), strict=True)
            if entry.kind in ("rate", "source", "validation", "accuracy")}  # fmt: skip
    assert not {
        name for name in ours if "_" in titles[name].partition(":")[0] or titles[name] == name
    }
    assert title_of("eval_rewards/chosen") == "eval_rewards/chosen"


def test_the_loss_of_the_only_source_is_not_called_the_loss():
    state = RunState()
    for step in range(2):
        sources, rates = {"chat": 1.5}, {"all": 0.1}
        state.apply(ev.StepFinished(step=step, loss=1.0, loss_by_source=sources, lrs=rates))
    titles = [panel.title for panel in chart_panels([ChartRun(state=state)])]
    assert titles == ["loss", "loss by source: chat", "learning rate"]


def test_training_and_validation_of_one_number_share_a_panel():
    """Ours by the catalog, others by the words of their names; nothing else is put together."""
    state = RunState()
    for event in fake_run(until=120):
        state.apply(event)
    found = {panel.key: panel for panel in chart_panels([ChartRun(state=state)])}
    assert [curve.name for curve in found["loss"].curves] == ["loss", "val/loss"]
    assert [curve.split for curve in found["loss"].curves] == ["train", "val"]
    for panel in found.values():
        if panel.key not in ("loss",) and not panel.key.startswith(("rank/", "lr/")):
            assert len(panel.curves) == 1, panel.key
    assert [curve.label for curve in found["rank/memory_bytes"].curves] == ["rank 0", "rank 1"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("eval_loss", ("loss", "val")),
        ("eval_rewards/chosen", ("rewards/chosen", "val")),
        ("train/loss", ("loss", "train")),
        ("val.acc", ("acc", "val")),
        ("loss/val", ("loss", "val")),
        ("test_em", ("em", "test")),
        ("value", ("value", "")),
        ("evaluation", ("evaluation", "")),
        ("retrain_loss", ("retrain_loss", "")),
        ("eval_", ("eval_", "")),
    ],
)
def test_the_word_for_the_data_is_told_from_the_name(name, found):
    assert split_of(name) == found


def test_rewards_of_a_grpo_log_come_after_the_loss_and_before_rates_and_machines():
    """Loss, rewards, the policy, rates, gradients, speed, memory, the rest, clocks."""
    order = keys(logged(*GRPO))
    assert order == [
        "loss",
        "reward",
        "reward_std",
        "rewards/format",
        "completions/mean_length",
        "entropy",
        "kl",
        "learning_rate_x",
        "grad_norm_x",
        "step_time",
        "gpu_memory",
        "aux",
        "num_tokens",
    ]
    panels = chart_panels([ChartRun(state=logged(*GRPO))])
    reward = next(panel for panel in panels if panel.key == "reward")
    assert [(c.name, c.split) for c in reward.curves] == [("reward", ""), ("eval_reward", "val")]


@given(st.lists(st.sampled_from(GRPO), unique=True, min_size=1), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_which_number_came_first(names, rng):
    """And every number is on exactly one panel."""
    shuffled = list(names)
    rng.shuffle(shuffled)
    one, other = logged(*names), logged(*shuffled)
    assert keys(one) == keys(other)
    curves = [c.name for panel in chart_panels([ChartRun(state=one)]) for c in panel.curves]
    assert sorted(curves) == sorted(["loss", *names])


@given(
    st.lists(
        st.text(alphabet="abtrainvl_/ .", min_size=1, max_size=12).filter(str.strip),
        unique=True,
        min_size=1,
        max_size=12,
    )
)
def test_any_names_are_shown_once_each(names):
    """Also names that differ only in the word for their data."""
    found = chart_panels([ChartRun(state=logged(*names))])
    curves = [curve.name for panel in found for curve in panel.curves]
    assert len(curves) == len(set(curves)) == len(names) + 1
    assert len({panel.key for panel in found}) == len(found)


def test_a_filter_picks_curves_and_not_whole_panels():
    """`!val` leaves the training loss alone on its panel; a rank can be picked from the others."""
    state = RunState()
    for event in fake_run(until=120):
        state.apply(event)
    (loss,) = list(chart_panels([ChartRun(state=state)], parse("loss !val !rows !micro")))
    assert [curve.name for curve in loss.curves] == ["loss"]
    ranks = chart_panels([ChartRun(state=state)], parse("rank 1 memory"))
    assert [[c.label for c in panel.curves] for panel in ranks] == [["rank 1"]]


def test_several_runs_stand_on_one_panel_with_their_letters():
    """A number that one run alone has still has a panel."""
    runs = [
        ChartRun(state=logged("kl"), letter="A"),
        ChartRun(state=logged("kl", "extra"), letter="B", role=Role.VAL),
    ]
    found = {panel.key: panel for panel in chart_panels(runs)}
    assert [(c.label, c.run) for c in found["kl"].curves] == [("A", 0), ("B", 1)]
    assert [c.run for c in found["extra"].curves] == [1]


@given(st.floats(allow_nan=True, width=32))
def test_a_number_fits_the_corner_of_a_small_chart(value):
    assert 1 <= len(general(value)) <= 9


def test_a_thousand_names_are_listed_in_order():
    """As many as a state keeps, in whatever order they come, numbers by their size."""
    names = [f"layer_{i}/norm" for i in range(200)]
    random.Random(0).shuffle(names)
    found = [k for k in keys(logged(*names)) if k != "loss"]
    assert found == [f"layer_{i}/norm" for i in range(200)]
