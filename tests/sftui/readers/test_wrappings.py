"""What people's tools put around the numbers: prefixes, frames, several lines, running means."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import EvalFinished, StepFinished
from sftui.cli import main
from tests.conftest import examples
from tests.sftui.readers.reader_checks import flat, of
from tests.sftui.readers.strangers import Sample
from tests.sftui.readers.test_kinds import Truth, merged, truths
from tests.sftui.readers.test_strangers import check, opened

PREFIXES = {
    "kubectl --timestamps": "2025-01-05T07:00:01.123456789Z ",
    "kubectl --prefix": "[pod/trainer-worker-0/pytorch] ",
    "SageMaker": "2025-01-05T07:00:01.123Z [1,mpirank:0,algo-1]<stdout>:",
    "mpirun": "[1,0]<stderr>: ",
    "srun --label": "0: ",
    "torchrun": "[rank0]: ",
    "docker compose": "trainer-1  | ",
    "a logger": "2025-01-05 07:00:01,123 INFO stderr: ",
}


def scores(found) -> list[tuple[int | None, float]]:
    last = found.recording.stages[-1]
    events = flat(last.timeline.events(0, len(last.timeline)))
    return [(e.step, round(e.accuracy, 6)) for e in of(EvalFinished, events)]


@given(truths(), st.sampled_from(sorted(PREFIXES)), st.booleans())
@examples(20)
def test_bars_and_dicts_are_read_behind_any_prefix(tmp_path_factory, truth, name, other_rank):
    """The bar tells the step whatever stands before it; of two ranks the first one counts."""
    prefix = PREFIXES[name]
    second = prefix.replace("0", "1") if name in ("mpirun", "srun --label", "torchrun") else ""
    ranks = [(prefix, 0.0)] + ([(second, 0.5)] if second and other_rank else [])
    text = ""
    for step, loss in truth.losses:
        for before, more in ranks:
            percent, place = step * 100 // truth.total, f"{step}/{truth.total}"
            text += f"{before} {percent:3d}%|##   | {place} [00:10<01:00,  1.2s/it]\n"
            printed = {"loss": loss + more, "learning_rate": 1e-5, "epoch": 0.5}
            text += f"{before}{printed}\n"
    sample = Sample(text, truth.losses, planned=truth.total)
    check(opened(tmp_path_factory.mktemp("log"), text), sample)


def pretty(row: dict[str, object]) -> str:
    return json.dumps(row, indent=2)


def pprinted(row: dict[str, object]) -> str:
    return "{" + ",\n ".join(f"{name!r}: {value!r}" for name, value in row.items()) + "}"


@given(truths(), st.sampled_from([pretty, pprinted]), st.sampled_from(["", "INFO metrics: "]))
@examples(20)
def test_an_object_over_several_lines_is_one_row(tmp_path_factory, truth, printed, before):
    text = ""
    for step, loss, val in merged(truth):
        for name, value in (("loss", loss), ("eval_loss", val)):
            if value is not None:
                row: dict[str, object] = {"step": step, name: value, "seconds": 0.5}
                text += before + printed(row) + "\nnext\n"
    found = opened(tmp_path_factory.mktemp("log"), text)
    check(found, Sample(text, truth.losses, val=truth.val))


def test_dicts_of_the_trainer_over_several_lines_are_read(tmp_path):
    """They have no step: entries are counted, as where they stand on a line each."""
    rows: list[dict[str, object]] = [
        {"loss": 3 - i / 9, "grad_norm": 1.0, "epoch": i / 10} for i in range(6)
    ]
    text = "".join(pretty(row).replace('"', "'") + "\n" for row in rows)
    check(opened(tmp_path, text), Sample(text, [(i + 1, 3 - i / 9) for i in range(6)]))


@pytest.mark.parametrize("printed", [pretty, pprinted])
def test_a_config_over_several_lines_is_no_row(printed, tmp_path):
    config: dict[str, object] = {"lr": 1e-5, "steps": 60, "loss_type": "ce", "warmup": 5}
    text = f"config = {printed(config)}\n"
    text += "".join(f"step {s} loss {3 - s / 9}\n" for s in range(1, 6))
    found = opened(tmp_path, text)
    check(found, Sample(text, [(s, 3 - s / 9) for s in range(1, 6)]))
    last = found.recording.stages[-1]
    events = flat(last.timeline.events(0, len(last.timeline)))
    assert max(e.step or 0 for e in of(StepFinished, events)) == 5


@pytest.mark.parametrize("inner", ["{'0_default': 1.2}", '{"gpu": 3}'])
def test_an_object_inside_a_line_hides_no_number_of_it(inner, tmp_path):
    text = "".join(f"tflops=180.1,step={s},loss={3 - s / 9},norms={inner},n=4\n" for s in range(6))
    check(opened(tmp_path, text), Sample(text, [(s, 3 - s / 9) for s in range(6)]))


RUNNING: dict[str, Callable[[int, int, float], str]] = {
    "lines": lambda at, of_all, value: f"Test:  [{at:>2}/{of_all}]  eta: 0:00:01  loss: {value}\n",
    "bar": lambda at, of_all, value: (
        f"\rEval stage: {at:>3}%|##  | {at}/{of_all} [00:01<00:01,  1.0s/it, eval loss={value}]\n"
    ),
    "phase": lambda at, of_all, value: f"val {at}/{of_all} loss {value}\n",
}


@given(
    truths(), st.sampled_from(sorted(RUNNING)), st.lists(st.floats(0.5, 9), min_size=1, max_size=5)
)
@examples(20)
def test_of_an_evaluation_batch_by_batch_the_last_mean_counts(tmp_path_factory, truth, form, means):
    """It is one result of its step, not one a batch, and no loss of the training."""
    means = [round(value, 4) for value in means]
    text = ""
    wanted: dict[int, float] = {}
    for step, loss in truth.losses:
        text += f"Step {step} loss: {loss}\n"
        if step % 2 == 0:
            for at, value in enumerate(means, 1):
                text += RUNNING[form](at, len(means), value)
            wanted[step] = means[-1]
    found = opened(tmp_path_factory.mktemp("log"), text)
    planned = found.recording.stages[-1].start.num_iterations
    check(found, Sample(text, truth.losses, val=sorted(wanted.items()), planned=planned))


def test_a_loss_without_a_step_changes_none_that_has_one(tmp_path):
    """The mean of an epoch's losses is none of its last step, nor is that of an evaluation."""
    text = "".join(f"Epoch: [0]  [{10 * i:>3}/50]  loss: {3 - i / 9:.4f}\n" for i in range(5))
    text += "Averaged stats: lr: 0.0001  loss: 9.0000\n"
    text += "Test:  [0/2]  loss: 2.5000\nTest:  [1/2]  loss: 2.4000\n* Acc 50.0 loss 2.3000\n"
    losses = [(10 * i, float(f"{3 - i / 9:.4f}")) for i in range(5)]
    check(opened(tmp_path, text), Sample(text, losses, val=[(40, 2.3)]))


@pytest.mark.parametrize("part", ["Z", "train/Z", "train/router z", "moe", "train/aux"])
@pytest.mark.parametrize("first", [True, False])
def test_a_part_of_the_loss_is_not_the_loss(part, first, tmp_path):
    text = ""
    for step in range(1, 7):
        lines = [f"    {part} loss=0.0010", f"    train/CE loss={3 - step / 9:.4f}"]
        text += f"[step={step}/6,epoch=1]\n" + "\n".join(lines if first else lines[::-1]) + "\n"
    losses = [(step, float(f"{3 - step / 9:.4f}")) for step in range(1, 7)]
    check(opened(tmp_path, text), Sample(text, losses, planned=6))


# ---- tables in other clothes -----------------------------------------------------------------


def drawn(truth: Truth, bar: str, rule: str) -> str:
    lines = [rule * 20, f"{bar} step {bar} loss {bar} val_loss {bar}", rule * 20]
    for step, loss, val in merged(truth):
        cells = [str(step), *("" if each is None else str(each) for each in (loss, val))]
        lines.append(f"{bar} " + f" {bar} ".join(cells) + f" {bar}")
    return "\n".join([*lines, rule * 20]) + "\n"


def in_contexts(truth: Truth, header: str, train: str, val: str) -> str:
    lines = [header]
    for step, loss in truth.losses:
        lines.append(f"loss,{loss},{step},{train}")
    for step, value in truth.val:
        lines.append(f"loss,{value},{step},{val}")
    return "\n".join(lines) + "\n"


def sacred(truth: Truth) -> str:
    series = {"training.loss": truth.losses, "validation.loss": truth.val}
    found = {
        name: {"steps": [s for s, _ in points], "values": [v for _, v in points]}
        for name, points in series.items()
    }
    return json.dumps(found)


TABLES: dict[str, Callable[[Truth], str]] = {
    "rich": lambda truth: drawn(truth, "│", "─"),
    "polars": lambda truth: drawn(truth, "┆", "═"),
    "heavy": lambda truth: drawn(truth, "┃", "━"),
    "Comet": lambda truth: in_contexts(
        truth, "metricName,metricValue,step,runContext", "train", "validate"
    ),
    "Aim": lambda truth: in_contexts(
        truth, "metric.name,value,step,metric.context", "{'subset': 'train'}", "{'subset': 'val'}"
    ),
    "Sacred": sacred,
}


@given(truths(), st.sampled_from(sorted(TABLES)))
@examples(30)
def test_tables_of_other_tools_are_read_back(tmp_path_factory, truth, name):
    found = opened(tmp_path_factory.mktemp("log"), TABLES[name](truth))
    check(found, Sample("", truth.losses, val=truth.val))


@given(truths())
@examples(20)
def test_a_metric_of_an_mlflow_store_is_named_by_its_file(tmp_path_factory, truth):
    text = "".join(f"{1764323000000 + s} {loss} {s}\n" for s, loss in truth.losses)
    check(opened(tmp_path_factory.mktemp("log"), text, "loss"), Sample(text, truth.losses))


@given(st.integers(1, 900), st.integers(4, 9), st.sampled_from([";", "\t"]))
@examples(15)
def test_beside_decimal_commas_dots_part_the_thousands_of_a_step(tmp_path_factory, by, count, cut):
    steps = [100 * by * i for i in range(1, count)]
    lines = [cut.join(["step", "loss"])]
    for i, step in enumerate(steps):
        lines.append(
            cut.join([f"{step:,}".replace(",", "."), f"{2.5 - i / 100:.2f}".replace(".", ",")])
        )
    text = "\r\n".join(lines) + "\r\n"
    losses = [(step, float(f"{2.5 - i / 100:.2f}")) for i, step in enumerate(steps)]
    check(opened(tmp_path_factory.mktemp("log"), text), Sample(text, losses))


def test_a_time_in_a_table_of_blanks_is_no_reason_to_refuse_it(tmp_path):
    """fastai prints how long each epoch took."""
    text = "epoch     train_loss  valid_loss  accuracy  time    \n"
    text += "".join(
        f"{e}         {2 - e / 9:.6f}    {2.1 - e / 9:.6f}    0.5{e}  00:1{e}   \n"
        for e in range(5)
    )
    found = opened(tmp_path, text)
    losses = [(e, float(f"{2 - e / 9:.6f}")) for e in range(5)]
    val = [(e, float(f"{2.1 - e / 9:.6f}")) for e in range(5)]
    check(found, Sample(text, losses, val=val, evals=[(e, 0.5 + e / 100) for e in range(5)]))


# ---- accuracies ------------------------------------------------------------------------------

FORMS: dict[str, Callable[[int, float, float], str]] = {
    "line": lambda step, loss, acc: f"step {step} loss {loss} val_loss {loss} val_acc: {acc:.2f}\n",
    "row": lambda step, loss, acc: (
        json.dumps({"step": step, "loss": loss, "eval_accuracy": round(acc, 2)}) + "\n"
    ),
}


@given(
    st.sampled_from(sorted(FORMS)),
    st.lists(st.integers(0, 10_000), min_size=4, max_size=30, unique=True),
)
@examples(20)
def test_accuracies_in_percent_are_fractions_of_one(tmp_path_factory, form, hundredths):
    """Printed without a sign: one of more than 1 says it for all of them, those before it too."""
    hundredths = [*(each for each in hundredths if each != 5230), 5230]
    text = "".join(FORMS[form](s, 2.5, each / 100) for s, each in enumerate(hundredths, 1))
    found = opened(tmp_path_factory.mktemp("log"), text)
    assert scores(found) == [(s, round(each / 1e4, 6)) for s, each in enumerate(hundredths, 1)]


def test_a_rounding_error_above_one_makes_no_percentage(tmp_path):
    values = [0.5, 0.75, 1.0000001, 1.0]
    text = "".join(f"step {s} loss 2.5 val_acc: {v}\n" for s, v in enumerate(values, 1))
    assert scores(opened(tmp_path, text)) == [(1, 0.5), (2, 0.75), (4, 1.0)]


def test_results_alone_are_a_log_too(tmp_path):
    """The examples of transformers without its Trainer print one evaluation an epoch."""
    text = "".join(f"epoch {e}: perplexity: 12.1 eval_loss: {2.5 - e / 9:.3f}\n" for e in range(4))
    found = opened(tmp_path, text)
    check(found, Sample(text, [], val=[(e, float(f"{2.5 - e / 9:.3f}")) for e in range(4)]))


def test_a_checkpoint_of_megatron_is_one(tmp_path):
    text = "".join(f" iteration {i:8d}/ 10 | lm loss: 2.5E+00 |\n" for i in range(1, 6))
    text += "  successfully saved checkpoint from iteration       5 to /runs/a\n"
    losses = [(i, 2.5) for i in range(1, 6)]
    check(opened(tmp_path, text), Sample(text, losses, planned=10, checkpoints=(5,)))


@pytest.mark.parametrize(
    ("magic", "words"),
    [
        (b"\x28\xb5\x2f\xfd", "zstd -d"),
        (b"\x04\x22\x4d\x18", "lz4 -d"),
        (b"PK\x03\x04", "unzip"),
        (b"PAR1", "to_csv"),
    ],
)
def test_a_file_of_another_tool_is_refused_with_what_to_type(magic, words, tmp_path, capsys):
    path = tmp_path / "some.file"
    path.write_bytes(magic + bytes(100))
    assert main(["show", str(path)]) == 2
    assert words in capsys.readouterr().err
