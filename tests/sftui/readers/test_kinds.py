"""Kinds of logs, made from a known truth and read back, and mutations that change no number."""

import bz2
import gzip
import json
import lzma
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.events import StepFinished
from tests.conftest import examples
from tests.sftui.readers.reader_checks import flat, of
from tests.sftui.readers.strangers import SAMPLES, WIPE, Sample, bar, entry, redraws
from tests.sftui.readers.test_strangers import check, opened


@dataclass(frozen=True)
class Truth:
    """A run as it was, before any trainer puts it into words."""

    losses: list[tuple[int, float]]
    val: list[tuple[int, float]]
    total: int


@st.composite
def truths(draw) -> Truth:
    """Rising steps with losses, validations at some of them and perhaps before the first."""
    every = draw(st.sampled_from([1, 2, 5, 10, 50, 100]))
    count = draw(st.integers(4, 12))
    first = draw(st.sampled_from([every, every, 3 * every]))
    steps = [first + every * i for i in range(count)]
    values = st.integers(100, 99_999).map(lambda n: n / 10_000)
    losses = [(step, draw(values)) for step in steps]
    at = draw(st.lists(st.sampled_from(steps), max_size=4, unique=True))
    before = [0] if draw(st.booleans()) else []
    val = [(step, draw(values)) for step in sorted([*before, *at])]
    return Truth(losses, val, steps[-1] * draw(st.sampled_from([1, 2, 3])))


def merged(truth: Truth) -> list[tuple[int, float | None, float | None]]:
    """(step, training loss, validation) in order; an evaluation comes behind its step."""
    losses, val = dict(truth.losses), dict(truth.val)
    return [(s, losses.get(s), val.get(s)) for s in sorted({*losses, *val})]


TRAIN_LINES = [
    "step {s} | loss {l} | lr 1e-5",
    "Step {s}/{t}, Loss: {l}, lr: 0.0001",
    "iter {s}: loss {l}, time 12.5ms",
    "[Train] step={s} loss={l} lr=1.00e-05",
    "{s} | loss {l} | lr 3e-4 | 52.1ms",
    " iteration {s:8d}/{t:8d} | lm loss: {l} | grad norm: 0.5 |",
    "INFO trainer.py:33 global_step: {s} reduced_train_loss: {l}",
    "step:{s} - train/loss:{l} - train/lr:0.01",
    "Iteration {s} of {t}: training loss = {l}",
    "step {s:,} loss {l} tok/s 12,345",
    "2025-01-05 07:00:01,123 - INFO - Step {s} loss: {l}",
]
VAL_LINES = [
    "step {s} | val_loss {v}",
    "[Eval] step={s} loss={v} f1=0.5",
    "validation loss at step {s}: {v}",
    "step:{s} - val/loss:{v}",
    "valid | step {s} | loss {v} | ppl 10.5",
    "Step {s}: validation loss = {v}",
]


@given(truths(), st.sampled_from(TRAIN_LINES), st.sampled_from(VAL_LINES), st.randoms())
@examples(150)
def test_lines_of_any_words_are_read_back(tmp_path_factory, truth, train, valid, chance):
    """Any trainer's words, evaluations before, between and after, other lines between them."""
    noise = ["saving shard 3 of 9", "", "GPU Memory: 3.75GB / 12.74GB", "done with setup"]
    text = []
    for step, loss, val in merged(truth):
        if loss is not None:
            text.append(train.format(s=step, l=loss, t=truth.total))
        if val is not None:
            text.append(valid.format(s=step, v=val, t=truth.total))
        text.append(chance.choice(noise))
    sample = Sample("\n".join(text) + "\n", truth.losses, val=truth.val)
    found = opened(tmp_path_factory.mktemp("log"), sample.text)
    check(found, replace(sample, planned=found.recording.stages[-1].start.num_iterations))


KEYS = [
    ("step", "loss", "val_loss"),
    ("global_step", "train_loss", "eval_loss"),
    ("iteration", "lm loss", "valid_loss"),
    ("current_steps", "train/loss", "val/loss"),
    ("iter", "training_loss", "validation_loss"),
]


@given(truths(), st.sampled_from(KEYS), st.sampled_from(["names", "split", "nested"]))
@examples(80)
def test_rows_of_any_names_are_read_back(tmp_path_factory, truth, keys, how):
    """JSON lines: validations by their name, by a split beside them, or nested."""
    step_key, loss_key, val_key = keys
    rows: list[dict[str, object]] = []
    for step, loss, val in merged(truth):
        if loss is not None:
            split = {"split": "train"} if how == "split" else {}
            rows.append({step_key: step, loss_key: loss, "lr": 1e-5, **split})
        if val is not None:
            row: dict[str, object] = {"loss": val, "split": "val"}
            if how == "names":
                row = {val_key: val}
            elif how == "nested":
                row = {"val": {"loss": val}}
            rows.append({step_key: step, **row})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    check(opened(tmp_path_factory.mktemp("log"), text), Sample(text, truth.losses, val=truth.val))


@given(truths(), st.sampled_from(KEYS), st.sampled_from([",", "\t", ";"]), st.booleans())
@examples(80)
def test_tables_are_read_back(tmp_path_factory, truth, keys, delimiter, floats):
    """Tables parted by commas, tabs or semicolons, with decimal commas where they may be."""
    step_key, loss_key, val_key = keys

    def cell(value: float | None) -> str:
        text = "" if value is None else f"{value:.4f}"
        return text.replace(".", ",") if delimiter == ";" else text

    lines = [delimiter.join([step_key, loss_key, val_key])]
    for step, loss, val in merged(truth):
        printed = f"{step}.0" if floats and delimiter != ";" else str(step)
        lines.append(delimiter.join([printed, cell(loss), cell(val)]))
    text = "\r\n".join(lines) + "\r\n"
    check(opened(tmp_path_factory.mktemp("log"), text), Sample(text, truth.losses, val=truth.val))


@given(truths(), st.integers(1, 3), st.booleans(), st.sampled_from([3, 8, "same"]))
@examples(80)
def test_a_bar_and_its_dicts_are_read_back(tmp_path_factory, truth, loading, wiped, batches):
    """Bars of loading, training and evaluating; of as many batches as there are steps, too."""
    total = truth.total + (truth.total in (2, 3, 8))
    num_batches = total if batches == "same" else batches
    num_batches = num_batches if num_batches <= 300 else 300
    text = redraws(*range(1, loading + 1), total=loading) + "\n"
    for step, loss, val in merged(truth):
        text += redraws(step, total=total) + ("" if wiped else "\n")
        if loss is not None:
            printed = entry(loss=loss, grad_norm=1.5, learning_rate=1e-05, epoch=step / total)
            text += (WIPE if wiped else "") + printed + redraws(step, total=total) + "\n"
        if val is not None:
            text += redraws(*range(num_batches + 1), total=num_batches) + (WIPE if wiped else "\n")
            text += entry(eval_loss=val, eval_runtime=1.0, epoch=step / total)
            text += redraws(step, total=total) + "\n"
    sample = Sample(text, truth.losses, planned=total, val=truth.val)
    check(opened(tmp_path_factory.mktemp("log"), text), sample)


NESTED = [
    "Epoch [{e}/{E}], Step [{s}/{S}], Loss: {l}",
    "Epoch {e} batch {s}/{S} loss {l}",
    "[{e}/{E}][{s}/{S}] loss: {l}",
    "| epoch {e:03d}: {s:6d} / {S} loss={l}, lr=1e-05",
    "Train Epoch: {e} [{s}/{S}] Loss: {l}",
]


@given(st.sampled_from(NESTED), st.integers(2, 4), st.integers(3, 6), st.sampled_from([1, 10, 100]))
@examples(60)
def test_steps_that_begin_again_in_each_epoch_go_on(tmp_path_factory, line, epochs, count, every):
    """A counter of the epoch becomes one of the run, and so does the plan."""
    length = count * every
    losses = [
        ((e - 1) * length + s * every, round(9 - e - s / 10, 2))
        for e in range(1, epochs + 1)
        for s in range(1, count + 1)
    ]
    text = "".join(
        line.format(e=(n // count) + 1, E=epochs, s=(n % count + 1) * every, S=length, l=loss)
        + "\n"
        for n, (_, loss) in enumerate(losses)
    )
    sample = Sample(text, losses, planned=epochs * length if "{E}" in line else None)
    check(opened(tmp_path_factory.mktemp("log"), text), sample)


RANKS = [
    "[rank{r}]: step {s} loss {l}",
    "{r}: step {s} loss {l}",
    "[{r}] step {s}: loss={l}",
    "(RANK {r}) step {s} loss {l}",
    "[default{r}]:step {s} loss {l}",
    "step {s} rank {r} loss {l}",
    "[1,{r}]<stdout>: step {s} loss {l}",
    '{{"rank": {r}, "step": {s}, "loss": {l}}}',
]


@given(st.sampled_from(RANKS), st.integers(2, 64), st.integers(0, 3), st.randoms())
@examples(60)
def test_of_several_ranks_one_counts(tmp_path_factory, line, num_ranks, lag, chance):
    """Ranks that print the same steps, one behind the other: rank 0's numbers, one run."""
    waiting = [[(rank, step) for step in range(1, 7)] for rank in range(num_ranks)]
    order = []
    while any(waiting):
        ahead = max(6 - len(each) for each in waiting)
        ready = [each for each in waiting if each and 6 - len(each) >= ahead - lag]
        order.append(chance.choice(ready or [each for each in waiting if each]).pop(0))
    text = "".join(
        line.format(r=r, s=s, l=round(2 - s / 10 + r / 1000, 3)) + "\n" for r, s in order
    )
    sample = Sample(text, [(s, round(2 - s / 10, 3)) for s in range(1, 7)])
    check(opened(tmp_path_factory.mktemp("log"), text), sample)


# ---- mutations ---------------------------------------------------------------------------------


def docker(text: str) -> bytes:
    parts = text.splitlines(keepends=True)
    return "".join(
        json.dumps({"log": p, "stream": "stdout", "time": "t"}) + "\n" for p in parts
    ).encode()


def coloured(text: str) -> bytes:
    return "".join(f"\x1b[32m{line}\x1b[0m\n" for line in text.split("\n")[:-1]).encode()


def plain(text: str) -> bytes:
    return text.encode()


MUTATIONS = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big end first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "returns": lambda text: text.replace("\n", "\r").encode(),
    "colours": coloured,
    "gzip": lambda text: gzip.compress(text.encode()),
    "two gzips": lambda text: gzip.compress(text[:99].encode()) + gzip.compress(text[99:].encode()),
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "docker": docker,
    "docker in gzip": lambda text: gzip.compress(docker(text)),
    "no end of line": lambda text: text.rstrip("\n").encode(),
    "blank lines": lambda text: text.replace("\n", "\n\n").encode(),
}
ALL = list(SAMPLES)
ONE_VALUE = {"log_history list"}
"""One JSON value, which no line of its own may be cut from."""


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("trainer", ALL)
def test_a_mutation_changes_no_number(trainer, mutation, tmp_path):
    """Whatever a log is wrapped in or how its lines end: the same numbers."""
    sample = SAMPLES[trainer]
    if mutation in ("colours", "docker", "docker in gzip") and trainer in ONE_VALUE:
        pytest.skip("one JSON value has no lines")
    check(opened(tmp_path, MUTATIONS[mutation](sample.text)), sample)


@pytest.mark.parametrize("trainer", [name for name in ALL if name not in ONE_VALUE])
def test_a_cut_end_gives_no_number_that_was_not_there(trainer, tmp_path):
    """A log cut anywhere in its second half has losses of the whole log, or is refused."""
    sample = SAMPLES[trainer]
    data = sample.text.encode()
    whole = dict(sample.losses)
    for cut in random.Random(0).sample(range(len(data) // 2, len(data)), 12):
        end = data.rfind(b"\n", 0, cut) + 1  # the torn last line itself may hold a torn number
        if end < len(data) // 2:
            continue
        try:
            found = opened(tmp_path, data[:end])
        except UsageError:  # too little of it to be told
            continue
        for stage in found.recording.stages:
            events = flat(stage.timeline.events(0, len(stage.timeline)))
            for each in of(StepFinished, events):
                assert each.loss is None or whole.get(each.step) == each.loss


# ---- size --------------------------------------------------------------------------------------


def test_a_head_of_other_lines_hides_no_trainer(tmp_path):
    """A Trainer log whose first dict stands behind 30,000 lines of setup is a Trainer log."""
    head = "".join(f"Downloading shard {i} of 30000: took 0.{i}s\n" for i in range(30_000))
    sample = SAMPLES["axolotl"]
    check(opened(tmp_path, head + sample.text), sample)


def test_a_line_of_ten_megabytes_costs_no_number(tmp_path):
    """A dump of a tensor between two steps."""
    text = "step 1 loss 2.5\n" + "0.123, " * 1_500_000 + "\nstep 2 loss 2.25\nstep 3 loss 2.0\n"
    check(opened(tmp_path, text), Sample(text, [(1, 2.5), (2, 2.25), (3, 2.0)]))


def test_30_000_validations_of_many_sets(tmp_path):
    """Every validation of every set is kept under its name."""
    names = ("wiki", "code", "math")
    rows: list[dict[str, object]] = []
    for step in range(1, 10_001):
        rows.append({"step": step, "loss": 2.0})
        rows.append({"step": step} | {f"eval_{name}_loss": 1.0 + step / 8 for name in names})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    val = [(step, 1.0 + step / 8) for step in range(1, 10_001) for _ in names]
    losses = [(step, 2.0) for step in range(1, 10_001)]
    check(opened(tmp_path, text), Sample(text, losses, val=val, sets=names))


def test_a_bar_without_a_loss_is_no_log(tmp_path):
    """Bars of loading alone are refused, and the refusal says what is missing."""
    from engine.errors import UsageError

    with pytest.raises(UsageError, match="training loss and a step"):
        opened(tmp_path, redraws(1, 2, 3, total=3) + "\n" + bar(1, 5, "Map") + "\n")
