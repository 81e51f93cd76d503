"""What the plan of a run says of its data, and what it refuses before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import config
from engine.data import tasks
from engine.errors import DataError, UsageError
from engine.processes import launch
from engine.step import run_plan
from tests import hf_material, tiny
from tests.conftest import examples
from tests.engine.data.test_loss_flags import talk

# ---- what the plan says -------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tiny.write_cache(tmp_path / "cache")))
    tiny.write_data(tmp_path / "data")
    return tmp_path


def prepare(place: Path, rows: list[Any], **settings: Any) -> launch.Prepared:
    """The plan of a run on these rows."""
    path = place / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flat = {"data_dir": str(place / "data"), "device_batch_size": 2, "target_examples_per_step": 4}
    wanted = config.load_recipe("nanochat-sft").replace(mixture=(str(path),), **flat | settings)
    return launch.prepare(wanted)


def test_the_plan_counts_the_answers_that_are_left_out(place: Path) -> None:
    rows = [{"messages": talk([("weight", 0), None])}] * 12
    prepared = prepare(place, rows)
    assert "left out    12 of 24 answers carry no loss" in "\n".join(launch.describe(prepared))
    assert any("12 of 24 answers of own carry no loss" in note for note in prepared.notes)


def test_a_user_message_that_asks_to_be_trained_on_is_told(place: Path) -> None:
    """weight 0 on a user's message is what holds anyway; weight 1 is not done, and said."""
    prepared = prepare(place, [{"messages": talk([("weight", 0)], on="user")}] * 12)
    assert not any("weight" in note for note in prepared.notes)
    prepared = prepare(place, [{"messages": talk([("weight", 1)], on="user")}] * 12)
    assert any("12 messages of own ask to be trained on" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ([{"role": "user", "content": "q"}], "no row has an answer"),
        (talk([("weight", 0), ("weight", 0.0)]), "all 24 answers say weight 0"),
        (
            [{"role": "user", "content": "x" * 3000}, {"role": "assistant", "content": "a"}],
            "behind token 2,048",
        ),
    ],
)
def test_rows_that_teach_nothing_are_refused_before_anything_starts(
    place: Path, row: list[Any], why: str
) -> None:
    """No answer, none that carries loss, or none before the cut; one such row is enough."""
    silent = {"messages": row}
    with pytest.raises(DataError, match=rf"own\.jsonl: none of its 12 rows.*supervised.*{why}"):
        prepare(place, [silent] * 12)
    prepared = prepare(place, [silent] * 11 + [{"messages": talk([None])}])
    assert prepared.data.num_rows == 12


def test_silent_rows_among_others_are_counted(place: Path) -> None:
    rows = [{"messages": talk([None])}] * 9 + [{"messages": talk([None])[:1]}] * 3
    prepared = prepare(place, rows)
    assert any("3 of 12 rows of own hold no answer to learn from" in n for n in prepared.notes)


def test_validation_rows_must_be_measurable_too(place: Path) -> None:
    path = place / "data" / "SmolTalk.test.jsonl"
    path.write_text(json.dumps({"messages": talk([None])[:1]}) + "\n")
    with pytest.raises(DataError, match=r"SmolTalk\.test\.jsonl: none of its 1 rows"):
        prepare(place, [{"messages": talk([None])}] * 12)


# ---- fewer rows than one update -----------------------------------------------------------------


@examples(30)
@given(rows=st.integers(1, 40), target=st.sampled_from([2, 4, 8, 32]), iterations=st.booleans())
def test_fewer_rows_than_one_update_are_refused_with_the_numbers(
    tmp_path_factory: pytest.TempPathFactory, rows: int, target: int, iterations: bool
) -> None:
    """Also where a recipe or a person says how many iterations: each would repeat its rows."""
    settings = config.load_recipe("nanochat-sft").replace(
        device_batch_size=2,
        target_examples_per_step=target,
        **({"num_iterations": 9} if iterations else {}),
    )
    if rows < target:
        with pytest.raises(UsageError, match=rf"there are {rows} training rows, .* {target} of"):
            run_plan.check_rows(settings, rows)
    elif rows < 2 * target and not iterations:
        with pytest.raises(UsageError, match=rf"{rows} training rows.*no update"):
            run_plan.check_rows(settings, rows)
    else:
        run_plan.check_rows(settings, rows)
        assert run_plan.make_plan(settings, rows).num_updates >= 1


def test_a_plan_of_too_few_rows_is_refused(place: Path) -> None:
    rows = [{"messages": talk([None])}]
    with pytest.raises(UsageError, match=r"3 training rows, fewer than the 4 of one update"):
        prepare(place, rows * 3, num_iterations=9)
    with pytest.raises(UsageError, match=r"7 training rows in updates of 4 make 1 iteration"):
        prepare(place, rows * 7)
    assert prepare(place, rows * 8).plan.num_updates == 1


# ---- own files without a folder -----------------------------------------------------------------


@pytest.fixture
def offline(place: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No data set on this machine; whoever asks the hub is noted and gets no answer."""
    asked: list[str] = []
    monkeypatch.setenv("HF_HOME", str(place / "hf"))

    def no_answer() -> bool:
        asked.append("asked")
        return False

    monkeypatch.setattr("engine.data.hub.hub_answers", no_answer)
    return asked


def test_own_files_offline_ask_no_hub(place: Path, offline: list[str]) -> None:
    """Validation is held out of the files, no question is asked, and both are said."""
    rows = [{"messages": [{"role": "user", "content": f"{n}"},
                          {"role": "assistant", "content": "a"}]} for n in range(40)]  # fmt: skip
    prepared = prepare(place, rows, data_dir=None)
    assert offline == []
    assert prepared.data.num_rows + prepared.data.validation_rows == 40
    assert prepared.data.validation_rows == 2
    text = "\n".join([*launch.describe(prepared), *prepared.notes])
    assert "questions   none" in text
    assert "held out for validation" in text
    assert "MMLU, ARC-Easy are not asked" in text


def test_what_was_asked_for_is_not_left_out(place: Path, offline: list[str]) -> None:
    """Tasks that were typed are looked for, and missed with the usual words."""
    path = place / "own.jsonl"
    path.write_text(json.dumps({"messages": talk([None])}) + "\n")
    wanted = config.load_recipe("nanochat-sft").replace(mixture=(str(path),))
    with pytest.raises(DataError, match=r"cais/mmlu.*not in the cache"):
        launch.prepare(wanted, frozenset({"eval_tasks"}))
    assert offline


def test_rows_held_out_are_trained_on_by_nobody(place: Path) -> None:
    """The two sides of every file: together all rows, none in both, the same every time."""
    files = []
    for name, count in (("a", 50), ("b", 3)):
        path = place / f"{name}.jsonl"
        path.write_text(
            "".join(json.dumps({"question": f"{name}{n}", "answer": "x"}) + "\n"
                    for n in range(count))
        )  # fmt: skip
        files.append(str(path))
    settings = run_plan.data_settings(
        config.RunConfig().replace(mixture=tuple(files), validation="held-out", eval_tasks=())
    )
    sides = []
    for mixture in (tasks.build_mixture(settings), tasks.load_validation(settings, 100)):
        sides.append({mixture.row(i).conversation.messages[0].content for i in range(len(mixture))})
    assert len(sides[0]) + len(sides[1]) == 53
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 2 + 1
    assert len(tasks.load_validation(settings, 2)) == 2


@pytest.mark.parametrize(("refused", "line"), [(range(1), 1), (range(9, 10), 10), (range(10), 1)])
def test_a_row_that_a_template_refuses_is_named_with_its_line(
    refused: range, line: int, tmp_path: Path
) -> None:
    """Whether a row teaches anything was asked first, and ended in a traceback."""
    hf_material.folder(tmp_path / "tiny")
    said = {"role": "user", "content": "hi"}
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = {"messages": [said, {"role": "assistant", "content": "", "tool_calls": [call]}]}
    plain = {"messages": [said, {"role": "assistant", "content": "yes"}]}
    path = tmp_path / "own.jsonl"
    rows = [tool if i in refused else plain for i in range(10)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flat = {"model": str(tmp_path / "tiny"), "mixture": (str(path),)}
    with pytest.raises(DataError, match=rf"own.jsonl:{line}: message 2 calls a tool, and the chat"):
        launch.prepare(config.RunConfig().replace(**flat), frozenset(flat))
