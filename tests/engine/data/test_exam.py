"""One exam for every seed: what is asked and measured does not depend on the run's seed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.config import RunConfig
from engine.data.data_check import check_data
from engine.data.mixture import Mixture
from engine.data.tasks import (
    DataEntry,
    DataSettings,
    build_mixture,
    load_questions,
    load_validation,
)
from engine.step import run_plan
from tests.conftest import examples


def folder(root: str, rows: int) -> Path:
    quiz = [
        {"question": f"q{i}", "choices": list("wxyz"), "letters": list("ABCD"), "answer": "A"}
        for i in range(rows)
    ]
    talk = [
        {"messages": [{"role": r, "content": f"{r}{i}"} for r in ("user", "assistant")]}
        for i in range(rows)
    ]
    for name, made in (("MMLU.test", quiz), ("SmolTalk.test", talk), ("SmolTalk.train", talk)):
        Path(root, f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return Path(root)


def settings(root: Path, seed: int, size: int | None, *, held_out: bool) -> DataSettings:
    return DataSettings(
        data_dir=root,
        seed=seed,
        mixture=(DataEntry(name="SmolTalk", size=size),),
        validation=None if held_out else DataEntry(name="SmolTalk", split="test"),
        questions=(DataEntry(name="MMLU", split="test"),),
    )


def texts(found: Mixture) -> list[str]:
    return [repr(found.conversation(i)) for i in range(len(found))]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 60),
    st.integers(1, 70),
    st.integers(2, 60) | st.none(),
    st.booleans(),
)
@examples(25)
def test_two_seeds_are_asked_and_measured_the_same(
    seed: int, rows: int, most: int, size: int | None, held_out: bool
) -> None:
    """Questions, validation rows and their digests; only the order of training differs."""
    with tempfile.TemporaryDirectory() as root:
        where = folder(root, rows)
        one, two = (settings(where, s, size, held_out=held_out) for s in (42, seed))
        assert load_questions(one, most) == load_questions(two, most)
        asked = texts(load_validation(one, most))
        assert asked == texts(load_validation(two, most))
        digests = [check_data(s, max_validation_rows=most).digests for s in (one, two)]
        for name in digests[0]:
            if not name.startswith("training"):
                assert digests[0][name] == digests[1][name]
        if held_out:
            trained = texts(build_mixture(two))
            assert sorted(trained) == sorted(texts(build_mixture(one)))
            assert not set(trained) & set(asked)


def test_a_run_of_an_earlier_version_keeps_the_exam_it_began_with() -> None:
    """It was chosen by the run's seed, which is what its manifest tells; a new one says 42."""
    config = RunConfig().replace(seed=7)
    old = {"config": config.flat()}
    assert run_plan.exam_seed(old) == 7
    assert run_plan.exam_seed(old | {run_plan.EXAM_SEED: 42}) == 42
    wanted = run_plan.data_settings(config, run_plan.exam_seed(old))
    assert (wanted.seed, wanted.exam_seed) == (7, 7)
    assert run_plan.data_settings(config).exam_seed == 42
