"""Rows that are alike are read together, and say what each would say alone."""

from __future__ import annotations

import json
import math
import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import LogLine, RunStarted, StepBatch, StepFinished
from sftui.readers import Reader
from sftui.readers.csv_metrics import CsvReader
from sftui.readers.plain_text import PlainTextReader
from sftui.readers.protobuf import ProtobufError, fields
from sftui.readers.tensorboard import TensorBoardReader
from sftui.readers.wandb_offline import WandbReader
from sftui.sources.open_log import open_replay
from sftui.state.run_state import RunState
from tests.long_files import FORMATS, EveryRow
from tests.sftui.readers.reader_checks import assert_same, read
from tests.sftui.readers.test_reader_formats import history, proto, record, scalar, wandb_file

TAGS = ("train/loss", "val/loss", "eval/mmlu", "train/lr", "reward", "train/dt", "epoch")
NUMBERS = st.floats(width=32) | st.sampled_from([0.0, 0.25, 1.0, 1e30, -5.0])


@st.composite
def tensorboard_records(draw: st.DrawFn) -> list[bytes]:
    """Runs of rows of the same tags, one tag or more; steps grow past the sizes of a varint,
    begin again or stand still; between them what is no scalar of the usual form."""
    noise = random.Random(draw(st.integers(0, 2**32)))
    out = [record(proto((1, 1e9), (3, b"brain.Event:2")))]
    step = draw(st.sampled_from([0, 1, 100, 16_370, 10**12 - 30]))
    for _ in range(draw(st.integers(1, 4))):
        tags = draw(st.lists(st.sampled_from(TAGS), min_size=1, max_size=5, unique=True))
        tensor = draw(st.booleans())
        every = draw(st.sampled_from([0, 0, 5]))
        for i in range(draw(st.sampled_from([1, 3, 40]))):
            for tag in tags:
                value = noise.choice([noise.random(), noise.random(), 2.0, math.nan])
                out.append(scalar(step, tag, value, tensor=tensor))
            if every and i % every == 0:
                out.append(noise.choice([scalar(step, "test/loss", 0.5), record(b"\x08"), _OTHER]))
            step += noise.choice([1, 1, 1, 1, 0, 7])
        step = draw(st.sampled_from([step, step, 0, max(0, step - 5)]))
    return out


_OTHER = record(proto((1, 1e9), (2, 5), (5, proto((1, proto((1, b"note"), (4, b"words")))))))


@settings(max_examples=60, deadline=None)
@given(tensorboard_records(), st.integers(50, 4000))
def test_an_event_file_read_at_once_says_what_its_records_say_one_by_one(records, size):
    """Wherever the bytes are cut."""
    data = b"".join(records)
    alone = read(TensorBoardReader, *records)
    assert_same(read(TensorBoardReader, data), alone)
    assert_same(
        read(TensorBoardReader, *(data[i : i + size] for i in range(0, len(data), size))), alone
    )


def shuffled(noise: random.Random, step: int, names: list[str]) -> bytes:
    """A row of history as wandb writes it: its items in any order."""
    items: dict[str, Any] = {
        name: noise.choice([noise.random(), 10.0 ** noise.randrange(-9, 9)]) for name in names
    }
    items |= {"_step": step, "_timestamp": 1.7e9 + step + noise.random(), "_runtime": 0.5}
    odd = noise.randrange(40)
    name = noise.choice(names)
    if odd == 0:
        items[name] = math.nan
    elif odd == 1:
        items[name] = 10**400
    elif odd == 2:
        items[name] = None
    elif odd == 3:
        items["note"] = "words"
    elif odd == 4:
        del items["_timestamp"]
    elif odd == 5:
        items["_step"] = step + 0.5
    order = list(items)
    noise.shuffle(order)
    return history(step, **{each: items[each] for each in order})


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(TAGS), min_size=1, max_size=5, unique=True),
            st.sampled_from([1, 3, 60]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 2**32),
    st.integers(200, 4000),
)
def test_a_wandb_file_read_at_once_says_what_its_rows_say_one_by_one(parts, seed, size):
    """Keys in any order, numbers that are none, other rows between; wherever it is cut."""
    noise = random.Random(seed)
    rows, step = [], 0
    for names, count in parts:
        for _ in range(count):
            rows.append(shuffled(noise, step, names))
            step += noise.choice([1, 1, 1, 0, 9])
        step = noise.choice([step, step, 0])
    data = wandb_file(*rows)
    alone = read(_OneByOne, data)
    assert_same(read(WandbReader, data), alone)
    assert_same(read(WandbReader, *(data[i : i + size] for i in range(0, len(data), size))), alone)


class _OneByOne(WandbReader):
    """Every row read field by field, and given before the next."""

    def _row_of_history(self, message: bytes) -> None:
        self._history(message)
        self._flush_block()


CELLS = [
    "0.5",
    "1e-05",
    "2",
    "",
    "nan",
    "-inf",
    "1e400",
    " 3.5",
    "1_000",
    "n/a",
    "0,5",
    "12%",
    "words",
]
HEADER = ["epoch", "step", "train_loss", "val_loss", "lr-AdamW", "note"]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0, 1, 30]),
    st.sampled_from([0.0, 0.01, 0.1]),
    st.integers(20, 3000),
)
def test_a_table_read_at_once_says_what_its_rows_say_one_by_one(seed, odd, falls, size):
    """Runs of rows with numbers in the same columns, or words in one of them; of thirty rows,
    `odd` hold anything, their step too, or are no row at all. Steps fall now and then."""
    noise = random.Random(seed)
    lines, step = [",".join(HEADER)], 0
    for _ in range(noise.randrange(1, 5)):
        filled = [noise.random() < 0.7 for _ in HEADER]
        words = noise.random() < 0.5
        for _ in range(noise.choice([2, 6, 60, 100])):
            row = [f"{noise.random():.6f}" if full else "" for full in filled]
            row[0], row[1] = str(step // 20), str(step)
            if words:
                row[-1] = noise.choice(["good", "bad", "n/a"])
            if noise.random() < falls:
                step = noise.choice([0, 0, max(0, step - 5)])
            if noise.randrange(30) < odd:
                row[noise.randrange(1, len(row))] = noise.choice(
                    [*CELLS, '"a, b"', "+4", "7.0", "x,y"]
                )
            lines.append(",".join(row))
            step += noise.choice([1, 1, 1, 0, 9])
        if odd and noise.random() < 0.3:
            lines.append(noise.choice([lines[0], "step,other", "", "not a row of it"]))
            step = noise.choice([step, 0])
    data = [line.encode() + b"\n" for line in lines]
    alone = read(CsvReader, *data)
    assert_same(read(CsvReader, b"".join(data)), alone)
    whole = b"".join(data)
    assert_same(read(CsvReader, *(whole[i : i + size] for i in range(0, len(whole), size))), alone)


PRINTED = (
    "step {step} loss {x:.4f}",
    "step {step}/{length} | loss {x:.4f} | lr 1e-4",
    "Epoch {epoch} step {step}/{length} loss: {x:.4f} val_loss {y:.4f}",
    "epoch {epoch} | step {step} | loss {x:.4f} | accuracy {y:.3f}",
    "[2026-06-26 10:{minute:02}:{second:02}] iter {step}: loss {x:.4f}, grad_norm {y:.3f}",
    "epoch: {epoch}, loss: {x:.4f}",
    "[{step}/{length}] loss {x:.4f}",
)
BETWEEN = ("words", "step", "val loss 0.5", "Evaluation accuracy: 0.4")


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(PRINTED),
    st.sampled_from([0.0, 0.01, 0.1]),
    st.sampled_from([1, 20, 50, 100]),
)
def test_printed_lines_read_at_once_say_what_they_say_one_by_one(seed, form, falls, length):
    """Epochs whose steps begin again, runs one after another, steps that fall or stand still."""
    noise = random.Random(seed)
    step = epoch = 0
    lines: list[str] = []
    nested = noise.random() < 0.5
    for at in range(noise.choice([10, 40, 150])):
        x, y = noise.random(), noise.choice([noise.random(), 0.5])
        minute, second = at // 60, at % 60
        lines.append(form.format(**locals()))
        step += noise.choice([1, 1, 1, 1, 0, 3]) if noise.random() < 0.2 else 1
        if step >= length and nested:
            step, epoch = 0, epoch + 1
        if noise.random() < falls:
            step = noise.choice([0, 0, max(0, step - 5)])
        if noise.random() < 0.02:
            lines.append(noise.choice(BETWEEN))
    data = [line.encode() + b"\n" for line in lines]
    assert_same(read(PlainTextReader, b"".join(data)), read(PlainTextReader, *data))


def test_rows_of_numbers_are_cut_and_converted_by_the_block(monkeypatch):
    """Of 3,000 rows with a validation after every hundredth, none is looked at cell by cell."""
    looked_at: list[str] = []
    each = CsvReader._take_each

    def counting(self: CsvReader, lines: list[str]) -> None:
        looked_at.extend(lines)
        each(self, lines)

    monkeypatch.setattr(CsvReader, "_take_each", counting)
    lines = ["epoch,step,train_loss,val_loss"]
    for step in range(3_000):
        lines.append(f"0,{step},{1 + step / 7:.6f},")
        if step % 100 == 99:
            lines.append(f"0,{step},,{1 + step / 9:.6f}")
    events = read(CsvReader, "\n".join([*lines, ""]).encode())
    assert sum(isinstance(event, StepFinished) for event in events) == 3_000
    assert len(looked_at) == 31, "the header and the validations"


def test_a_column_of_words_and_runs_one_after_another_keep_rows_together():
    """Of 6,000 rows in 30 runs, a note beside each: batches, not an event a number."""
    lines = ["step,train_loss,val_loss,note"]
    for at in range(6_000):
        lines.append(f"{at % 200},{1 + at / 7:.6f},{1 + at / 9:.6f},good")
    reader = CsvReader()
    events = [*reader.feed("\n".join([*lines, ""]).encode()), *reader.close()]
    assert sum(isinstance(event, RunStarted) for event in events) == 30
    assert len(events) < 6_000 / 20
    rows = sum(len(event.steps) for event in events if isinstance(event, StepBatch))
    assert rows == 6_000 - 30, "the first of a run is looked at alone"


def long_files(rows: int) -> Iterator[tuple[type[Reader], bytes]]:
    """Twenty numbers in every row, validation and accuracies among them."""
    noise = random.Random(0)
    names = [f"{kind}/{i}" for kind in ("metric", "reward") for i in range(8)]
    names += ["train/loss", "val/loss", "eval/mmlu", "eval/gsm8k"]
    keys = [proto((1, name.encode())) for name in names]
    crcs = {}
    events, records = [], []
    for step in range(rows):
        items = []
        for key in keys:
            value = noise.random()
            message = proto((1, 1e9 + step), (2, step))
            message += proto((5, proto((1, key + b"\x15" + struct.pack("<f", value)))))
            head = struct.pack("<Q", len(message))
            if len(message) not in crcs:
                crcs[len(message)] = record(message)[8:12]
            events.append(head + crcs[len(message)] + message + b"\0\0\0\0")
            text = json.dumps(value).encode()
            items.append((1, key + b"\x82\x01" + bytes([len(text)]) + text))
        text = str(step).encode()
        items.append((1, proto((1, b"_step")) + b"\x82\x01" + bytes([len(text)]) + text))
        noise.shuffle(items)
        records.append(proto((1, step + 1), (2, proto(*items))))
    yield TensorBoardReader, b"".join(events)
    yield WandbReader, wandb_file(*records)


@pytest.mark.parametrize("rows", [6_000])
def test_a_long_file_of_results_in_every_row_comes_in_blocks(rows):
    """And not as an event a number: 6,000 rows of twenty series, and all of them in the state."""
    for make, data in long_files(rows):
        reader, events = make(), []
        for at in range(0, len(data), 1 << 20):
            events += reader.feed(data[at : at + (1 << 20)])
        events += reader.close()
        assert len(events) < rows / 20, make.__name__
        assert any(isinstance(event, StepBatch) for event in events)
        state = RunState()
        for event in events:
            state.apply(event)
        assert len(state.steps) == len(state.validations) == rows
        assert {len(found) for found in state.evals.values()} == {rows}
        assert {len(table) for table in state.metrics.values()} == {rows}


@given(st.binary(max_size=60))
def test_messages_of_any_bytes_are_taken_apart_as_before(data):
    """Against a reading that looks at one byte after another."""

    def plain() -> list[tuple[int, bytes | int | float]]:
        at = 0
        found: list[tuple[int, bytes | int | float]] = []

        def varint() -> int:
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                if shift > 63:
                    raise IndexError
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return value

        while at < len(data):
            tag = varint()
            kind = tag & 7
            if kind == 0:
                found.append((tag >> 3, varint()))
                continue
            size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
            if not tag >> 3 or at + size > len(data):
                raise IndexError
            raw = data[at : at + size]
            at += size
            kinds = {1: "<d", 5: "<f"}
            found.append((tag >> 3, raw if kind == 2 else struct.unpack(kinds[kind], raw)[0]))
        return found

    try:
        expected = plain()
    except (IndexError, KeyError):
        expected = None
    try:
        found = list(fields(data))
    except ProtobufError:
        found = None
    assert repr(found) == repr(expected)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_thousand_numbers_in_a_row_are_a_thousand_series(tmp_path, kind):
    """A log of every layer: no name is left out, and the rows come in blocks."""
    names = ("loss", *(f"layer_{i:04}/ratio" for i in range(999)))
    log = EveryRow(tmp_path, kind, 30, names)
    source, state, events = open_replay(str(log.target)).source, RunState(), 0
    while not source.closed:
        for event in source.poll():
            state.apply(event)
            events += 1
        time.sleep(0.002)
    assert len(state.steps) == 30
    assert {len(table) for table in state.metrics.values()} == {30}
    assert len(state.metrics) == 999
    assert events < 30


def loaded(log: Path) -> RunState:
    """All of a log."""
    source, state = open_replay(str(log)).source, RunState()
    while not source.closed:
        for event in source.poll():
            state.apply(event)
        time.sleep(0.002)
    return state


def test_of_more_numbers_than_are_read_the_first_are_and_the_rest_is_said(tmp_path):
    """2,500 numbers a line; beside it long lines of words, in which few numbers stand far apart."""
    numbers = " | ".join(f"m{i}: 0.{i:04}" for i in range(2498))
    words = "the loss of a word is 3 times that of a letter, as the text of this row says; " * 200
    log = tmp_path / "train.log"
    log.write_text(
        "".join(f"step {i}/40 | loss: {3 - i / 50} | {numbers}\n{words}\n" for i in range(12))
    )
    state = loaded(log)
    assert state.steps.column("loss").tolist() == pytest.approx([3 - i / 50 for i in range(12)])
    assert [len(table) for table in state.metrics.values()] == [12] * 1997
    said = [event.text for event in state.log if isinstance(event, LogLine)]
    assert [text for text in said if text.startswith("sftui: a line holds")] == [
        "sftui: a line holds 2,501 numbers; of each the first 2,000 are read."
    ]


def test_a_line_of_ten_megabytes_costs_no_more_than_the_part_that_is_read(tmp_path):
    log = tmp_path / "train.log"
    head = "".join(f"step {i}/40 | loss: {3 - i / 50}\n" for i in range(20))
    dump = "step 20/40 | loss: 2.6 | " + " | ".join(f"w{i}: 0.5" for i in range(800_000))
    rest = "".join(f"step {i}/40 | loss: {3 - i / 50}\n" for i in range(21, 40))
    log.write_text(head + dump + "\n" + rest)
    begin = time.process_time()
    state = loaded(log)
    assert state.steps.at(20) == pytest.approx({"loss": 2.6}, rel=1e-6)
    assert time.process_time() - begin < 5


PIECES = {
    "a printed dict": "{'loss': 0.5, 'grad_norm': 0.18, 'learning_rate': -inf, 'epoch': 0.25}",
    "one with words beside it": "train {'loss': 0.5, 'epoch': 0.25} of rank 1 ",
    "an object": '{"step": 7, "loss": 0.5}',
    "one in a bar": " 10%|#  | 1/10 [00:01<00:09, {'loss': 0.5}]",
    "pairs": "step 7/40 | loss: 0.5 | lr: 1e-4 | ",
    "brackets": "[[(({{",
}
"""Of each a line of a million characters is made."""


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_a_line_of_the_same_piece_over_and_over_takes_no_time(tmp_path, piece):
    """Each dict was read with all words beside it: eight megabytes took six minutes."""
    log = tmp_path / "train.log"
    head, rest = (
        "".join(f"step {i}/40 | loss: {3 - i / 50}\n" for i in part)
        for part in (range(20), range(21, 40))
    )
    log.write_text(head + piece * (1_000_000 // len(piece)) + "\n" + rest)
    begin = time.process_time()
    state = loaded(log)
    assert time.process_time() - begin < 5
    assert state.steps.at(39)["loss"] == pytest.approx(3 - 39 / 50)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("lines", [21, 60])
def test_an_object_over_several_lines_that_does_not_end_is_looked_at_once(tmp_path, lines, end):
    """Each of its lines could be matched in two ways: of sixty, none came to an end."""
    log = tmp_path / "train.log"
    begun = "{" + end + f'  "epoch": 30.0,metric": null,{end}' * lines
    log.write_text(begun + "".join(f"step {i}/40 | loss: {3 - i / 50}{end}" for i in range(20)))
    begin = time.process_time()
    state = loaded(log)
    assert time.process_time() - begin < 2
    assert len(state.steps) == 20
