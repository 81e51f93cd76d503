"""What a log does not hold is not said: each such sentence stood in the report of a real log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model import family
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


def test_a_picture_is_said_to_show_what_the_log_holds(folder: Path) -> None:
    """A log without validations, alarms or checkpoints has no such lines in its picture."""
    text = trainer_state(folder, trained(5))
    assert "*Training loss (pale: as logged; line: smoothed).*" in text
    validated = trainer_state(folder, [*trained(5), {"step": 5, "eval_loss": 1.0}])
    assert "line: smoothed), validation loss" in validated


def test_a_small_loss_keeps_digits_that_tell_it_from_another(folder: Path) -> None:
    """`0.000030 -> 0.000029, 0.000000` is a change that nobody can check."""
    losses = [2.9562e-05, 2.9443e-05, 2.9324e-05, 2.9205e-05, 2.9086e-05, 2.8967e-05]
    history = trained(6) + [{"step": i, "eval_loss": value} for i, value in enumerate(losses)]
    text = trainer_state(folder, history)
    assert "2.956e-05 at step 0 -> 2.897e-05 at step 5, -5.95e-07 (-2.01 %)" in text


def test_a_failed_run_is_told_to_mend_its_failure_first(folder: Path) -> None:
    path = folder / "failed.log"
    lines = [f"step {i}/100, loss: 1.5" for i in range(20)]
    trace = ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>']
    path.write_text("\n".join([*lines, *trace, "AssertionError: no tokenizer\n"]))
    [line] = [line for line in text_of(path).splitlines() if line.startswith("5. **What next")]
    assert line.startswith("5. **What next?** First mend what ended it (`AssertionError")


CONFIG_2026 = {
    "sequence_len": 2048,
    "vocab_size": 32768,
    "n_layer": 12,
    "n_head": 6,
    "n_kv_head": 6,
    "n_embd": 768,
    "window_pattern": "SSSL",
}


def of_2026(folder: Path, *more: str) -> str:
    """The report of a log as nanochat's chat_sft prints it since 2026."""
    path = folder / "sft2026.log"
    lines = [
        "2026-03-01 21:47:25,000 - nanochat.common - INFO - Distributed world size: 1",
        "Autodetected device type: cuda",
        f"2026-03-01 21:47:26,000 - nanochat.checkpoint_manager - INFO - "
        f"Building model with config: {CONFIG_2026}",
        *more,
        "Inherited embedding_lr=0.3 from pretrained checkpoint",
        "Inherited max_seq_len=2048 from pretrained checkpoint",
        "Inherited device_batch_size=1 from pretrained checkpoint",
    ]
    lines += [
        f"step {i:05d} ({i}.00%) | loss: 1.5000{i} | lrm: 1.00 | dt: 900.00ms | tok/sec: 1,000 | "
        "mfu: 1.00 | epoch: 1 | total time: 0.10m"
        for i in range(1, 20)
    ]
    path.write_text("\n".join(lines) + "\n")
    return text_of(path)


def test_the_newer_model_is_not_counted_and_set_up_as_the_older_one(folder: Path) -> None:
    """Value embeddings, its own default rates and decay: October's numbers are not its own."""
    text = of_2026(folder)
    assert "nanochat 2026" in text
    assert "computed from the shape" not in text  # 135 M by October's formula, and 286 M
    assert "| `embedding_lr` | `0.2` |" not in text  # October's default
    assert "no weight decay" not in text
    assert "Predicted for each rank" not in text
    [rate] = [line for line in text.splitlines() if line.startswith("| `embedding_lr` |")]
    assert rate.split("|")[3].strip() == ""  # what it came to, by October's init_lr_frac


def test_a_count_the_log_gives_wins(folder: Path) -> None:
    text = of_2026(folder, "Parameter counts:", "total                   : 286,262,424")
    assert "| parameters, as the log says | 286,262,424 |" in text
    exact = of_2026(folder, "Parameter counts:", f"total                   : {_exact():,}")
    assert f"| **parameters**, computed from the shape | **{_exact():,}** |" in exact


def _exact() -> int:
    return family.shape_from(CONFIG_2026).num_parameters
