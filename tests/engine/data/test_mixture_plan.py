"""How often the rows of each source stand in an epoch."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import DataConfig, RunConfig
from engine.data import mixture_plan
from engine.data.data_check import check_data
from engine.data.mixture_plan import Share
from engine.data.tasks import build_mixture, load_validation
from engine.errors import ConfigError
from engine.processes import launch
from engine.step import run_plan

rates = st.fractions(Fraction(1, 100), 50, max_denominator=100)


@given(st.lists(st.tuples(st.integers(1, 10**9), rates, rates), min_size=1, max_size=8))
def test_weighted_sources_stand_in_proportion_and_one_of_them_is_used_up(
    sources: list[tuple[int, Fraction, Fraction]],
) -> None:
    """Within a row of the exact proportion, none more often than it may."""
    lengths, times, weights = zip(*sources, strict=True)
    names = [str(number) for number in range(len(sources))]
    found = mixture_plan.rows_per_epoch(names, lengths, times, weights)
    most = [max(1, int(length * time)) for length, time in zip(lengths, times, strict=True)]
    assert all(1 <= count <= limit for count, limit in zip(found, most, strict=True))
    assert any(count == limit for count, limit in zip(found, most, strict=True))
    unit = min(Fraction(limit) / weight for limit, weight in zip(most, weights, strict=True))
    for count, weight in zip(found, weights, strict=True):
        assert abs(count - unit * weight) < 1 or count == 1


@given(st.lists(st.tuples(st.integers(1, 10**9), rates), min_size=1, max_size=8))
def test_without_weights_every_source_stands_as_often_as_was_typed(
    sources: list[tuple[int, Fraction]],
) -> None:
    lengths, times = zip(*sources, strict=True)
    found = mixture_plan.rows_per_epoch(list("x" * len(lengths)), lengths, times, [None] * 8)
    assert found == [max(1, int(n * t)) for n, t in zip(lengths, times, strict=True)]


def test_a_weight_for_some_sources_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"b has no weight"):
        mixture_plan.rows_per_epoch(["a", "b"], [1, 1], [Fraction(1)] * 2, [Fraction(2), None])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two files: 20 rows of a, 10 of b."""
    for name, rows in (("a", 20), ("b", 10)):
        said = [{"question": f"{name}{n}?", "answer": "yes"} for n in range(rows)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    return tmp_path


def settings(files: Path, *entries: str, **others: Any) -> RunConfig:
    mixture = tuple(f"{files}/{entry}" for entry in entries)
    return RunConfig(data=DataConfig(mixture=mixture, validation="held-out", **others))


@pytest.mark.parametrize(
    ("entries", "counts"),
    [
        (("a.jsonl", "b.jsonl*2"), {"a": 19, "b": 18}),
        (("a.jsonl*0.5", "b.jsonl*1.5"), {"a": 9, "b": 13}),
        (("a.jsonl@1", "b.jsonl@3"), {"a": 3, "b": 9}),
        (("a.jsonl@1", "b.jsonl*2@1"), {"a": 18, "b": 18}),
        (("a.jsonl:10*2@0.5", "b.jsonl@0.25"), {"a": 18, "b": 9}),
    ],
)
def test_an_epoch_holds_what_was_typed_and_the_plan_says_so(
    entries: tuple[str, ...], counts: dict[str, int], files: Path
) -> None:
    """No row of a source stands twice before all of it stand once."""
    config = launch.absolute_paths(settings(files, *entries))
    data = run_plan.data_settings(config)
    mixture = build_mixture(data)
    assert Counter(mixture.source_of(index) for index in range(len(mixture))) == counts
    assert mixture.counts() == counts
    found = check_data(dataclasses.replace(data, questions=()))
    assert (dict(found.train), found.num_rows) == (counts, len(mixture))
    times = Counter(mixture.row(index).id for index in range(len(mixture)))
    for source in counts:
        own = [times[mixture.row(i).id] for i in range(len(mixture))
               if mixture.source_of(i) == source]  # fmt: skip
        assert max(own) - min(own) <= 1
    shares = {share.name: share.to_dict(len(mixture)) for share in found.shares}
    assert shares["a"]["rows_per_epoch"] == counts["a"]
    assert sum(share["share"] for share in shares.values()) == pytest.approx(1, abs=1e-5)


def test_words_are_for_plans_that_are_more_than_every_row_once() -> None:
    assert mixture_plan.words([Share(name="a", rows=3, per_epoch=3)]) == ""
    several = [Share(name="a", rows=30, per_epoch=15), Share(name="b", rows=5, per_epoch=5)]
    assert mixture_plan.words(several) == "a 15 of 30 rows (75.0%), b 5 of 5 rows (25.0%)"


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**7)), min_size=1, max_size=4))
def test_no_plan_takes_more_rows_of_a_source_than_it_has(pairs: list[tuple[int, int]]) -> None:
    """`A of B` is a part of B; what is repeated is drawn from it."""
    shares = [Share(name="s", rows=rows, per_epoch=count) for rows, count in pairs]
    said = mixture_plan.words(shares)
    for count, rows in re.findall(r"s ([\d,]+) of ([\d,]+) rows", said):
        assert int(count.replace(",", "")) <= int(rows.replace(",", ""))
    if said:
        repeated = sum(count > rows for rows, count in pairs)
        assert said.count(" drawn from ") == repeated


def test_a_source_that_is_repeated_says_what_it_is_drawn_from() -> None:
    repeated = [Share(name="MMLU", rows=350, per_epoch=1050), Share(name="b", rows=5, per_epoch=5)]
    assert mixture_plan.words(repeated).startswith("MMLU 1,050 drawn from 350 rows (99.5%), b 5 of")


@pytest.mark.parametrize(("share", "held"), [(0.05, 1), (0.1, 2), (0.5, 10)])
def test_the_share_that_is_held_out_is_the_same_for_every_seed(
    share: float, held: int, files: Path
) -> None:
    """And is never trained on."""
    seen = []
    for seed in (1, 2):
        config = settings(files, "a.jsonl", val_share=share, seed=seed)
        data = run_plan.data_settings(config)
        validation = load_validation(data, None)
        assert len(validation) == held
        training = build_mixture(data)
        ids = {validation.row(index).id for index in range(held)}
        assert not ids & {training.row(index).id for index in range(len(training))}
        seen.append(ids)
    assert seen[0] == seen[1]


def test_a_share_that_is_none_is_refused(files: Path) -> None:
    with pytest.raises(ConfigError, match="val_share is 1"):
        settings(files, "a.jsonl", val_share=1.0).check()


def test_several_validation_files_are_found_from_any_folder(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    config = launch.absolute_paths(RunConfig(data=DataConfig(validation="a.jsonl,b.jsonl:3")))
    monkeypatch.chdir("/")
    assert len(load_validation(run_plan.data_settings(config), None)) == 23
