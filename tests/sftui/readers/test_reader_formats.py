"""Every foreign format: what its lines mean, and that no cut and no garbage disturbs it."""

import contextlib
import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import (
    CheckpointSaved,
    EvalFinished,
    LogLine,
    RunFinished,
    StepFinished,
    ValidationFinished,
)
from sftui.readers.csv_metrics import CsvReader
from sftui.readers.hf_trainer import HfTrainerReader
from sftui.readers.json_lines import JsonLinesReader
from sftui.readers.llmc import LlmcReader
from sftui.readers.minimind import MiniMindReader
from sftui.readers.mlx import MlxReader
from sftui.readers.plain_text import PlainTextReader
from sftui.readers.protobuf import ProtobufError, fields
from sftui.readers.tensorboard import TensorBoardReader, masked_crc32c
from sftui.readers.torchtitan import TorchTitanReader
from sftui.readers.trainer_state import TrainerStateReader
from sftui.readers.wandb_offline import WandbReader
from sftui.sources.formats import READERS
from sftui.sources.open_log import recognise
from tests.sftui.readers.reader_checks import (
    assert_any_cut,
    assert_same,
    chunkings,
    flat,
    free_values,
    of,
    read,
    stages,
)


def bar(done: int, total: int) -> str:
    return f"\r {100 * done // total}%|###   | {done}/{total} [00:10<00:50,  1.00it/s]"


WIPE = "\r" + " " * 60 + "\r"
HF = (
    "Loading checkpoint shards: 100%|##| 4/4 [00:15<00:00]\n"
    + bar(1, 40)
    + bar(10, 40)
    + WIPE
    + bar(10, 40)
    + bar(20, 40)
    + WIPE
    + bar(20, 40)
    + "\n{'loss': 0.5, 'grad_norm': 0.18, 'learning_rate': 1.5e-05, 'epoch': 0.25}\n"
    "{'loss': nan, 'grad_norm': inf, 'learning_rate': 1.2e-05, 'reward': 0.7, 'epoch': 0.5}\n"
    + bar(1, 100)
    + WIPE
    + WIPE
    + "\n{'eval_loss': 0.41, 'eval_runtime': 44.4, 'eval_steps_per_second': 2.2, 'epoch': 0.5}\n"
    + bar(40, 40)
    + WIPE
    + "{'train_runtime': 1810.4, 'train_loss': 0.48, 'epoch': 1.0}\n"
)
STATE = json.dumps(
    {
        "max_steps": 30,
        "num_train_epochs": 3,
        "log_history": [
            {"epoch": 0.5, "loss": 2.5, "learning_rate": 1e-5, "grad_norm": 11.0, "step": 10},
            {"epoch": 1.0, "eval_loss": 2.0, "eval_runtime": 3.0, "step": 10},
            {"epoch": 1.0, "eval_g0_accuracy": 0.7, "eval_g0_loss": 5.7, "step": 10},
            {"epoch": 1.5, "loss": 1.5, "learning_rate": 0.0, "step": 20},
            {"epoch": 3.0, "train_loss": 1.9, "train_runtime": 60.0, "step": 30},
        ],
    },
    indent=1,
)
FACTORY = "".join(
    json.dumps(
        {"current_steps": s, "total_steps": 30, "loss": 3.0 / s, "lr": 1e-5, "epoch": s / 10}
        | {"percentage": s / 0.3, "elapsed_time": f"1 day, 0:00:{s}", "remaining_time": "0:00:01"}
    )
    + "\n"
    for s in (10, 20, 30)
) + (
    '{"current_steps": 30, "total_steps": 30, "eval_loss": 1.25, "epoch": 3.0}\n'
    '{"current_steps": 30, "total_steps": 30, "epoch": 3.0, "elapsed_time": "5:39:46"}\n'
)
LLMC = (
    "s:0 tel:11.0092\ns:0 eval:0.2451\ns:0 trl:11.0091 lr:0.000001 norm:15.37\n"
    "s:1 trl:nan lr:0.000002 norm:15.24\ns:250 tel:6.1710\n"
)
MODDED = (
    "Running PyTorch 2.7.0\nstep:0/3 val_loss:10.8258 train_time:0ms step_avg:nanms\n"
    "step:1/3 train_loss:9.5 train_time:17608ms step_avg:nanms\n"
    "step:2/3 train_time:124ms step_avg:62.00ms\nstep:3/3 train_time:224ms step_avg:62.00ms\n"
    "step:3/3 val_loss:3.2785 train_time:225ms step_avg:62.00ms\n"
    "peak memory allocated: 37653 MiB reserved: 39236 MiB\n"
)
CSV = (
    "epoch,epoch_time,step,train_loss_epoch,train_loss_step,val_acc,val_loss\n"
    "0,,49,,7.5,,\n0,,99,,7.25,,\n0,,99,,,0.5,4.125\n0,2419.6,99,7.4,,,\n1,,149,,nan,,\nbroken\n"
)
MINIMIND = (
    "Model Params: 30.03M\n"
    "Epoch:[1/2](10/100), loss: 8.5, logits_loss: 8.5, lr: 0.0005, epoch_time: 130.0min\n"
    "Epoch:[2/2](100/100), loss: 2.1, logits_loss: 2.1, lr: 0.00005, epoch_time: 0.0min\n"
)
MLX = (
    "Starting training..., iters: 20  \nIter 1: Val loss 5.946, Val took 2.684s  \n"
    "Iter 10: Train loss 3.636, Learning Rate 1.000e-05, It/sec 2.000, Tokens/sec 192.200, "
    "Trained Tokens 1566, Peak mem 3.315 GB  \n"
    "Iter 10: Saved adapter weights to a/adapters.safetensors and a/0000010_adapters.safetensors.\n"
    "Iter 20: Train loss 0.933, Learning Rate 1.000e-05, It/sec 1.459, Tokens/sec 230.525, "
    "Trained Tokens 3146, Peak mem 3.315 GB\n"
)
TITAN = (
    "[rank0]:[titan] 2025-01-01 00:00:00,000 - root - INFO - Training starts at step 1, with local "
    "batch size 8, total steps 1000 (warmup 200)\n"
    "[rank0]:[titan] 2025-01-01 00:00:01 - root - INFO - \x1b[31mstep:  1  \x1b[32mloss: 12.2721"
    "  \x1b[38mgrad_norm:  1.9  \x1b[33mmemory: 47.41GiB(59.86%)  \x1b[34mtps: 7,600  "
    "\x1b[36mtflops: 44.12  \x1b[35mmfu: 14.15%\x1b[0m\n"
    "[titan] 2025-01-01 00:01:00,000 - root - INFO - step: 10  loss:  9.5  grad_norm: 2.0  "
    "memory: 47.41GiB(59.86%)  tps: 812\n"
    "[titan] - root - INFO - validate step: 10  loss: 9.1\n"
    "[titan] - root - INFO - Saving the checkpoint (or staging if async is enabled).\n"
    "[titan] - root - INFO - Training completed\n"
)
PLAIN = (
    "GPU-hour budget: 192 GPU-h on 8 ranks (clock starts after step 0; checked every step).\n"
    "[2026-06-25 19:33:47] step 000000 | loss 10.398314 | lrm 0.0250 | dt_ms 500.0\n"
    "[2026-06-25 19:33:56] step 000001 | loss nan | lrm 0.0500 | dt_ms 8124.4\n"
    "  step 00050/30026 | epoch 1/2 | loss: 1.7691 | avg: 1.5291 | lr: 8.33e-07\n"
    "2025-09-16 21:24:01,500 - train - INFO - Step 60 loss: 91.25, token_entropy: 0.5\n"
    "2025-09-16 21:24:02,500 - train - INFO - Step 60 eval_acc: 0.54\n"
    "iter 70: loss 2.5000, time 21.10ms, mfu 12.3%\nnothing to see here\n"
)


def record(message: bytes) -> bytes:
    """A TFRecord."""
    length = struct.pack("<Q", len(message))
    crc = struct.pack("<I", masked_crc32c(length))
    return length + crc + message + struct.pack("<I", masked_crc32c(message))


def proto(*parts: tuple[int, float | int | bytes]) -> bytes:
    """A message of varints, doubles and byte strings."""
    out = b""
    for number, value in parts:
        if isinstance(value, bytes):
            out += bytes([number << 3 | 2]) + varint(len(value)) + value
        elif isinstance(value, float):
            out += bytes([number << 3 | 1]) + struct.pack("<d", value)
        else:
            out += bytes([number << 3]) + varint(value)
    return out


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def scalar(step: int, tag: str, value: float, *, tensor: bool = False) -> bytes:
    if tensor:  # newer writers: a float tensor without dimensions
        content = proto((1, 1), (2, b""), (4, struct.pack("<f", value)))
        number = proto((1, tag.encode()), (8, content))
    else:
        number = proto((1, tag.encode())) + bytes([2 << 3 | 5]) + struct.pack("<f", value)
    return record(proto((1, 1e9 + step), (2, step), (5, proto((1, number)))))


TENSORBOARD = (
    record(proto((1, 1e9), (3, b"brain.Event:2")))
    + b"".join(
        scalar(s, "train/loss", 3.0 - s) + scalar(s, "train/learning_rate", 0.5) for s in range(3)
    )
    + scalar(2, "eval/loss", 1.5, tensor=True)
    + scalar(3, "odd/metric", -1.0)
)


def wandb_file(*records: bytes) -> bytes:
    """Records in LevelDB log blocks (their checksums are not looked at)."""
    out = bytearray(b":W&B" + b"\xbe\xe1\x00")
    for data in records:
        first = True
        while data or first:
            left = 32768 - len(out) % 32768
            if left < 7:
                out += b"\0" * left
                left = 32768
            piece, data = data[: left - 7], data[left - 7 :]
            kind = (1 if not data else 2) if first else (4 if not data else 3)
            out += b"\0" * 4 + struct.pack("<HB", len(piece), kind) + piece
            first = False
    return bytes(out)


def history(step: int, **items) -> bytes:
    rows = [
        (
            1,
            proto((1, name.encode()))
            + b"\x82\x01"
            + varint(len(text := json.dumps(value).encode()))
            + text,
        )
        for name, value in items.items()
    ]
    return proto((1, step + 1), (2, proto(*rows, (2, proto((1, step))))))


WANDB = wandb_file(
    *[
        history(s, **{"train/loss": 3.0 - s, "lr": 0.5, "_step": s, "_timestamp": 1e9 + s})
        for s in range(3)
    ],
    history(3, **{"eval/loss": 1.5, "text": "x" * 900}),
    b"\x92\x01" + varint(4) + proto((1, 0), (2, 60)),
)

SAMPLES = {
    "hf": (HfTrainerReader, HF.encode()),
    "state": (TrainerStateReader, STATE.encode()),
    "factory": (JsonLinesReader, FACTORY.encode()),
    "llmc": (LlmcReader, LLMC.encode()),
    "modded": (LlmcReader, MODDED.encode()),
    "csv": (CsvReader, CSV.encode()),
    "minimind": (MiniMindReader, MINIMIND.encode()),
    "mlx": (MlxReader, MLX.encode()),
    "titan": (TorchTitanReader, TITAN.encode()),
    "plain": (PlainTextReader, PLAIN.encode()),
    "tensorboard": (TensorBoardReader, TENSORBOARD),
    "wandb": (WandbReader, WANDB),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_cut_at_every_byte(name):
    """A log cut anywhere gives the events of the whole log."""
    reader, data = SAMPLES[name]
    assert len(data) <= 4096
    assert_any_cut(reader, data)


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data())
def test_any_chunking(name, data):
    """So does a log in any number of pieces."""
    reader, raw = SAMPLES[name]
    assert_same(read(reader, *data.draw(chunkings(raw))), read(reader, raw))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_torn_end(name):
    """A log torn off anywhere raises nothing and tells of no more updates than the whole."""
    reader, data = SAMPLES[name]
    whole = len(of(StepFinished, read(reader, data)))
    for end in range(len(data)):
        assert len(of(StepFinished, read(reader, data[:end]))) <= whole


@pytest.mark.parametrize("name", SAMPLES)
@given(st.data())
def test_damage_gives_no_exception(name, data):
    """Bytes changed, lost or put in are counted, not raised about; every sniff is safe too."""
    reader, raw = SAMPLES[name]
    at = data.draw(st.integers(0, len(raw)))
    lost = data.draw(st.integers(0, 40))
    noise = data.draw(st.binary(max_size=40))
    damaged = raw[:at] + noise + raw[at + lost :]
    one = reader()
    flat(one.feed(damaged) + one.close())
    assert one.lines.total >= one.lines.unrecognised >= 0
    for other in READERS:
        assert 0 <= other.sniff(damaged).confidence <= 1


@pytest.mark.parametrize("name", SAMPLES)
def test_each_is_recognised_by_content(name):
    """Every sample is told from all other formats without its name."""
    reader, data = SAMPLES[name]
    found = recognise(data if name != "plain" else data * 3)
    assert found is not None
    assert found[0] is reader
    assert found[1].why


def numbers(name: str):
    reader, data = SAMPLES[name]
    ((start, events),) = stages(read(reader, data))
    steps = of(StepFinished, events)
    return start, events, [(e.step, e.loss) for e in steps], steps


def validations(events) -> list:
    return [(e.step, e.loss) for e in of(ValidationFinished, events)]


def test_hf_trainer_output():
    """Dicts that a buffered stdout delivers late get the steps of the bar they wiped."""
    start, events, losses, steps = numbers("hf")
    assert start.num_iterations == 40
    assert losses[0] == (10, 0.5)
    assert losses[1][0] == 20
    assert math.isnan(losses[1][1])
    assert (steps[0].lrs, steps[0].grad_norm) == ({"lr": 1.5e-05}, 0.18)
    assert validations(events) == [(20, 0.41)]
    assert free_values(events, "reward") == [0.7]
    (end,) = of(RunFinished, events)
    assert (end.status, end.seconds, end.updates) == ("finished", 1810.4, 40)


def test_hf_trainer_output_without_a_bar():
    """Without a bar entries are counted, and the format says that the log prints no step."""
    reader = HfTrainerReader()
    line = "{'loss': '0.5', 'learning_rate': '1e-05', 'epoch': '0.25'}\n"
    events = flat(reader.feed((line * 3).encode()) + reader.close())
    assert [e.step for e in of(StepFinished, events)] == [1, 2, 3]
    assert "steps counted" in reader.format


def test_trainer_state():
    """The log history of a checkpoint, its evaluations by name, its planned steps."""
    start, events, losses, _ = numbers("state")
    assert (start.num_iterations, start.settings["num_train_epochs"]) == (30, 3)
    assert losses == [(10, 2.5), (20, 1.5)]
    named = [(e.step, e.loss, e.set_name) for e in of(ValidationFinished, events)]
    assert named == [(10, 2.0, ""), (10, 5.7, "g0")]
    assert [(e.step, e.task, e.accuracy) for e in of(EvalFinished, events)] == [(10, "g0", 0.7)]
    assert of(RunFinished, events)[0].seconds == 60.0


def test_llama_factory():
    """LLaMA-Factory's lines: planned steps, evaluations, and the end in its words for time."""
    start, events, losses, _ = numbers("factory")
    assert start.num_iterations == 30
    assert losses == [(10, 0.3), (20, 0.15), (30, 0.1)]
    assert validations(events) == [(30, 1.25)]
    assert of(RunFinished, events)[0].seconds == 5 * 3600 + 39 * 60 + 46


def test_two_processes_in_one_file_are_one_stage():
    """Interleaved writers whose steps fall a little begin no stage; a real restart does."""
    order = [10, 10, 20, 20, 30, 20, 40, 30, 50, 40]
    lines = "".join(json.dumps({"step": s, "loss": 1.0}) + "\n" for s in order)
    assert len(stages(read(JsonLinesReader, lines.encode()))) == 1
    assert len(stages(read(JsonLinesReader, (lines * 2).encode()))) == 2


def test_llmc():
    """llm.c: training and validation loss, HellaSwag, learning rate and gradient norm."""
    _, events, losses, steps = numbers("llmc")
    assert losses[0] == (0, 11.0091)
    assert math.isnan(losses[1][1])
    assert (steps[0].lrs, steps[0].grad_norm) == ({"lr": 1e-06}, 15.37)
    assert validations(events) == [(0, 11.0092), (250, 6.171)]
    assert [(e.task, e.accuracy) for e in of(EvalFinished, events)] == [("HellaSwag", 0.2451)]


def test_modded_nanogpt():
    """modded-nanogpt: times from a clock that is set back once; no loss where none is printed."""
    start, events, losses, steps = numbers("modded")
    assert start.num_iterations == 3
    assert losses == [(1, 9.5), (2, None), (3, None)]
    assert [e.seconds for e in steps] == [17.608, 0.0, pytest.approx(0.1)]
    assert validations(events) == [(0, 10.8258), (3, 3.2785)]
    assert of(RunFinished, events)[0].status == "finished"
    assert free_values(events, "peak_memory_mib") == [37653]


def test_lightning_csv():
    """Empty cells were not logged; epoch rows repeat a step and are no updates."""
    reader, data = SAMPLES["csv"]
    one = reader()
    ((_, events),) = stages(flat(one.feed(data) + one.close()))
    steps = of(StepFinished, events)
    assert [(e.step, e.epoch) for e in steps] == [(49, 0), (99, 0), (149, 1)]
    assert [e.loss for e in steps[:2]] == [7.5, 7.25]
    assert math.isnan(steps[2].loss)
    assert validations(events) == [(99, 4.125)]
    assert [(e.step, e.accuracy) for e in of(EvalFinished, events)] == [(99, 0.5)]
    assert free_values(events, "train_loss_epoch") == [7.4]
    assert one.lines.unrecognised == 1


def test_minimind():
    """MiniMind's count within an epoch goes on over epochs."""
    start, events, losses, steps = numbers("minimind")
    assert start.num_iterations == 200
    assert losses == [(10, 8.5), (200, 2.1)]
    assert [e.epoch for e in steps] == [0.1, 2.0]
    assert free_values(events, "epoch_seconds_left") == [7800.0, 0.0]


def test_mlx():
    """mlx-lm: losses, speed as time of a step, adapters saved, the end by its planned steps."""
    start, events, losses, steps = numbers("mlx")
    assert start.num_iterations == 20
    assert losses == [(10, 3.636), (20, 0.933)]
    assert (steps[0].seconds, steps[0].tokens_per_second) == (0.5, 192.2)
    assert validations(events) == [(1, 5.946)]
    (saved,) = of(CheckpointSaved, events)
    assert (saved.step, saved.path) == (10, "a/0000010_adapters.safetensors")
    assert of(RunFinished, events)[0].status == "finished"


def test_torchtitan():
    """torchtitan in colours: blanks before numbers, thousands commas, validation."""
    start, events, losses, steps = numbers("titan")
    assert start.num_iterations == 1000
    assert losses == [(1, 12.2721), (10, 9.5)]
    assert [e.tokens_per_second for e in steps] == [7600, 812]
    assert [e.grad_norm for e in steps] == [1.9, 2.0]
    assert free_values(events, "mfu") == [14.15]
    assert validations(events) == [(10, 9.1)]
    assert len(of(CheckpointSaved, events)) == 1
    assert of(RunFinished, events)[0].status == "finished"


def test_any_text_with_steps_and_numbers():
    """Lines that name a step and a telling number are read; a step in a sentence is not."""
    start, events, losses, steps = numbers("plain")
    assert start.num_iterations == 30026
    assert [step for step, _ in losses] == [0, 1, 50, 60, 70]
    assert [losses[0][1], losses[2][1], losses[3][1]] == [10.398314, 1.7691, 91.25]
    assert (steps[0].seconds, steps[0].lr_mult) == (0.5, 0.025)
    assert steps[1].stamp.t - steps[0].stamp.t == 9
    assert free_values(events, "token_entropy") == [0.5]
    assert free_values(events, "mfu") == [pytest.approx(0.123)]
    assert [(e.step, e.accuracy) for e in of(EvalFinished, events)] == [(60, 0.54)]
    texts = [e.text for e in of(LogLine, events)]
    assert texts[0] == "nothing to see here"
    assert len(texts) == 2
    assert "1 line held numbers and gave none: 1 like 'GPU-hour" in texts[1]


def test_tensorboard():
    """Scalars of one step are one row again, old and new encodings alike."""
    _, events, losses, steps = numbers("tensorboard")
    assert losses == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert steps[0].lrs == {"lr": 0.5}
    assert steps[1].stamp.t == 1e9 + 1
    assert validations(events) == [(2, 1.5)]
    assert free_values(events, "odd/metric") == [-1.0]


def test_the_checksum_is_crc32c():
    """The check value of CRC-32C, which its standard gives, masked as TFRecord does."""
    crc = 0xE3069283
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_crc32c(b"123456789") == masked


def test_a_damaged_record_ends_an_event_file():
    """Where a length cannot be believed nothing behind it can; it is counted."""
    data = bytearray(TENSORBOARD)
    data[len(record(proto((1, 1e9), (3, b"brain.Event:2")))) + 1] ^= 0xFF
    reader = TensorBoardReader()
    reader.feed(bytes(data))
    reader.close()
    assert (reader.lines.total, reader.lines.unrecognised) == (2, 1)


def test_wandb():
    """History rows by step and time, settings, and the exit code."""
    _, events, losses, steps = numbers("wandb")
    assert losses == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert steps[2].stamp.t == 1e9 + 2
    assert validations(events) == [(3, 1.5)]
    (end,) = of(RunFinished, events)
    assert (end.status, end.seconds) == ("finished", 60.0)


def test_wandb_records_cross_blocks():
    """A record longer than a block comes in pieces, and padding at a block's end is skipped."""
    rows = [history(s, loss=1.0 + s, note="x" * (20_000 if s % 2 else 32_735)) for s in range(12)]
    data = wandb_file(*rows)
    assert len(of(StepFinished, read(WandbReader, data))) == 12
    pieces = [data[i : i + 999] for i in range(0, len(data), 999)]
    assert_same(read(WandbReader, *pieces), read(WandbReader, data))


@given(st.binary(max_size=200))
def test_no_message_takes_a_reader_down(data):
    """Bytes that are no message raise the one error there is for it."""
    with contextlib.suppress(ProtobufError):
        list(fields(data))
