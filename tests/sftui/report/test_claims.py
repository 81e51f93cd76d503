"""What a log does not hold is not said: each such sentence stood in the report of a real log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui import report

Lines = list[dict[str, Any]]


def trainer_state(folder: Path, history: Lines, **more: Any) -> str:
    """The English report of a trainer_state.json."""
    path = folder / "trainer_state.json"
    last = history[-1]["step"] if history else 0
    content = {"log_history": history, "global_step": last, "max_steps": last} | more
    path.write_text(json.dumps(content))
    return text_of(path)


def text_of(path: Path, lang: Literal["en", "zh"] = "en") -> str:
    facts = report.open_facts(str(path), command="sftui report x")
    return report.markdown(facts, lang, stem="r")


def trained(steps: int, every: int = 1, **more: Any) -> Lines:
    return [{"step": s, "loss": 1.0, **more} for s in range(every, steps + 1, every)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("claims")


@given(steps=st.integers(1, 40), every=st.integers(1, 5))
def test_no_more_steps_are_done_than_the_log_prints(folder: Path, steps: int, every: int) -> None:
    """Its steps begin at 1: step 10 of 10 is not eleven updates of ten."""
    logged = trained(steps * every, every)
    text = trainer_state(folder, logged)
    assert f"the last step in the log is {steps * every:,}" in text
    assert f"{steps * every + 1:,} updates done" not in text


@given(st.lists(st.sampled_from([1.0, 1.25, 1.5]), min_size=1, max_size=6))
def test_of_equal_validations_the_last_is_kept_and_no_later_one_is_claimed(
    folder: Path, losses: list[float]
) -> None:
    """`The best is step 0: no later checkpoint beat it` needs a later one."""
    history = trained(len(losses))
    history += [{"step": i, "eval_loss": value} for i, value in enumerate(losses)]
    text = trainer_state(folder, history)
    [line] = [line for line in text.splitlines() if line.startswith("4. **Checkpoint to keep")]
    validation = text.split("## 9. ")[1].split("## 10.")[0]
    if len(losses) == 1:
        assert "no later checkpoint" not in validation
        assert "not known" in line
    elif min(losses) == losses[0]:
        assert "the starting one" in line
    elif min(losses) == losses[-1]:
        assert f"step {len(losses) - 1}, the last: " in line
        unique = losses.count(losses[-1]) == 1
        assert ("its validation loss is the lowest" in line) == unique
    else:
        assert "the last" not in line


@pytest.mark.parametrize(
    ("epochs", "seen"), [([0, 0, 1, 1], None), ([1, 1, 1], None), ([1, 2, 3], 3.0), ([0.5, 1], 1.0)]
)
def test_a_count_of_epochs_begun_is_not_how_much_was_seen(
    folder: Path, epochs: list[float], seen: float | None
) -> None:
    """`epoch 1` on every line says that the first goes on, not that it is over."""
    history = [{"step": i + 1, "loss": 1.0, "epoch": epoch} for i, epoch in enumerate(epochs)]
    text = trainer_state(folder, history)
    if seen is None:
        assert "epochs really seen" not in text
        assert "epochs seen" not in text
    else:
        assert f"epochs really seen: {seen:.3f}" in text


def test_percentages_without_counts_are_not_known_and_have_no_intervals(folder: Path) -> None:
    """54 points more are neither shown nor refuted by them."""
    history = trained(2)
    history += [
        {"step": step, "eval_mmlu_accuracy": value} for step, value in ((0, 0.0), (2, 0.54))
    ]
    text = trainer_state(folder, history)
    line = text.split("1. **Better than the start?**")[1].splitlines()[0]
    assert line.startswith(" Not known: the log holds percentages without the number of questions.")


def test_evaluated_once_is_not_asked_against_itself(tmp_path: Path) -> None:
    """`Better than step 847?` where step 847 is all there is."""
    path = tmp_path / "once.jsonl"
    lines = [*trained(3), {"step": 3, "mmlu_accuracy": 0.35}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = text_of(path)
    assert "Better than step" not in text
    assert "so every difference is to a checkpoint" not in text


def test_a_validation_that_rises_again_is_told_where_better_is(folder: Path) -> None:
    """From 5.7 to 2.7 by way of 1.1."""
    losses = [5.7, 1.1, *(1.2 + 0.1 * i for i in range(14))]
    history = trained(len(losses))
    history += [{"step": i, "eval_loss": value} for i, value in enumerate(losses)]
    text = trainer_state(folder, history)
    [line] = [line for line in text.splitlines() if line.startswith("2. **Validation")]
    assert "The best is 1.100000 at step 1. It has risen again since: +" in line


def test_settings_that_are_not_printed_are_not_called_defaults(folder: Path) -> None:
    """Nothing is known of them."""
    text = trainer_state(folder, trained(3), num_train_epochs=3)
    assert "had their defaults" not in text
    assert "what the others were is not known" in text


def test_bold_chinese_words_are_closed(folder: Path) -> None:
    """Two asterisks between a full-width sign and a character stay asterisks in CommonMark."""
    from markdown_it import MarkdownIt

    trainer_state(folder, trained(3))
    html = MarkdownIt().render(text_of(folder / "trainer_state.json", "zh"))
    assert "**" not in html
