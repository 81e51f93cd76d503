"""nanochat's logs: every line kind in any cut, real logs against an independent count."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import (
    CheckpointSaved,
    EvalFinished,
    LogLine,
    MetricLogged,
    RunFinished,
    StepFinished,
    ValidationFinished,
)
from sftui.readers.nanochat import NanochatReader
from tests.conftest import SHARED, needs_shared
from tests.sftui.readers.reader_checks import (
    assert_any_cut,
    assert_same,
    chunkings,
    flat,
    free_values,
    losses,
    of,
    read,
    stages,
)

LOG = "2025-10-23 23:07:33,846 - nanochat.{} - \x1b[32m\x1b[1mINFO\x1b[0m - "
SHAPE = "{'sequence_len': 2048, 'vocab_size': 65536, 'n_layer': 16, 'n_head': 8, 'n_kv_head': 8, 'n_embd': 1024}"  # noqa: E501
HEAD = (
    "Overriding: source = mid\nOverriding: matrix_lr = 0.04\nOverriding: run = dummy\n"
    "Autodetected device type: cuda\n"
    + LOG.format("common")
    + "Distributed world size: 2\n"
    + LOG.format("checkpoint_manager")
    + "Loading model from /c/mid_checkpoints/d16 with step 770\n"
    + LOG.format("checkpoint_manager")
    + f"Building model with config: {SHAPE}\n"
    "Target examples per step: 32\nDevice batch size: 2\n"
    "Examples per step is device_batch_size * ddp_world_size: 4\n=> Setting grad accum steps: 8\n"
    "Scaling the LR for the AdamW parameters \u221d1/\u221a(1024/768) = 0.866025\n"
    "Muon: Grouping 64 params of shape torch.Size([1024, 1024]), device cuda:0, dtype torch.float32\n"  # noqa: E501
)
SFT = (
    HEAD + "Step 00000 | Validation loss: 1.243950\n"
    "Step 00000/01953 | Training loss: 1.193573| lrm: 1.000000| num_tokens: 1,697\n"
    "some warning of a compiler\r\n"
    "Step 00001/01953 | Training loss: nan| lrm: 0.999488| num_tokens: 970\n"
    "Final: 249/1024 (24.32%)\nFinal: 251/1024 (24.51%)\n"
    "Step 00100 | mmlu_acc: 0.243164, arc_easy_acc: 0.245117\n"
    "Step 01952 | Validation loss: 1.263363\n"
    + LOG.format("checkpoint_manager")
    + "Saved model file to: /c/chatsft_checkpoints/d16/model_001952.pt\n"
    + LOG.format("checkpoint_manager")
    + "Saved metadata file to: /c/chatsft_checkpoints/d16/meta_001952.json\n"
    "\u2705 Saved model checkpoint to /c/chatsft_checkpoints/d16\n"
)
MID = (
    "Overriding: device_batch_size = 32\nAutodetected device type: cuda\n"
    + LOG.format("checkpoint_manager")
    + "Loading model from /c/base_checkpoints/d20 with step 21400\n"
    "Tokens / micro-batch / rank: 32 x 2048 = 65,536\nTokens / micro-batch: 131,072\n"
    "Total batch size 524,288 => gradient accumulation steps: 4\n"
    "Step 00000 | Validation bpb: 0.7004\n"
    "step 00001 (0.13%) | loss: 1.430600 | lrm: 1.00 | dt: 2157.73ms | tok/sec: 242,983 | mfu: 20.10 | total time: 0.00m\n"  # noqa: E501
    "step 00400 (52.01%) | loss: 1.2 | lrm: 1.00 | dt: 1157.73ms | tok/sec: 1,242,983 | mfu: 40.10 | total time: 0.40m\n"  # noqa: E501
    "step 00770 (100.00%) | loss: 1.1 | lrm: -0.03 | dt: 1157.73ms | tok/sec: 1,242,983 | mfu: 40.10 | total time: 11.85m\n"  # noqa: E501
    "Step 00770 | Validation bpb: 0.3997\nPeak memory usage: 77145.27MiB\n"
    "Total training time: 11.85m\nMinimum validation bpb: 0.3997\n"
)
EVAL = (
    "Autodetected device type: cpu\n"
    + LOG.format("checkpoint_manager")
    + "Loading model from ~/.cache/nanochat/chatsft_checkpoints/d4 with step 224\n"
    "Final: 2/16 (12.50%)\nARC-Easy accuracy: 12.50%\n"
    "\r\x1b[KRank 0 | 0/1 (0.00%)\r\x1b[KRank 0 | 1/2 (50.00%)\n" + "=" * 50 + "\n"
    "Final: 1/2 (50.00%)\nGSM8K accuracy: 50.00%\n"
)
BASE = (
    "Autodetected device type: cuda\nVocab size: 65,536\nNumber of parameters: 560,988,160\n"
    "Calculated number of iterations from target data:param ratio: 21,400\n"
    "Step 00000 | Validation bpb: 3.2987\n"
    "step 00000/21400 (0.00%) | loss: 11.090354 | lrm: 1.00 | dt: 27858.01ms | tok/sec: 18,819 | mfu: 1.66 | total time: 0.00m\n"  # noqa: E501
    "Evaluating: winograd (0-shot, type: schema)... accuracy: 0.5128 | centered: 0.0256 | time: 2.11s\n"  # noqa: E501
    "Step 02000 | CORE metric: 0.1375\n<|bos|>The capital of France is Paris\n"
    "step 02001/21400 (9.35%) | loss: inf | lrm: 1.00 | dt: 27858.01ms | tok/sec: 18,819 | mfu: 1.66 | epoch: 1 | total time: 9.00m | eta: 80.1m\n"  # noqa: E501
)
YEAR_2026 = (
    "Autodetected device type: cuda\nCOMPUTE_DTYPE: torch.bfloat16 (auto-detected)\n"
    + LOG.format("checkpoint_manager")
    + "Loading model from /c/base_checkpoints/d24 with step 5742\n"
    "Inherited matrix_lr=0.02 from pretrained checkpoint\n"
    "Training mixture: 1,071,759 rows (MMLU x3, GSM8K x4)\n"
    "Step 00000 | Validation bpb: 0.6153\n"
    "step 00001 (101.67%) | loss: 0.9 | lrm: -0.03 | dt: 9.1ms | tok/sec: 5 | mfu: 0.00 | epoch: 1 | total time: 0.00m\n"  # noqa: E501
    "Final: 1066/2376 (44.87%)\n  ARC-Easy: 44.87%\nFinal: 1/24 (4.17%)\n  GSM8K: 4.17%\n"
    "Step 00001 | ChatCORE: 0.2711 | ChatCORE_cat: 0.1811\n"
)
GLUED = (
    "Overriding: run = dummy/usr/lib/torch/__init__.py:1617: UserWarning: new API settings\n"
    "Target examples per step: 32\n"
    "Step 00000/00010 | Training loss: 1.5| lrm: 1.0| num_tokens: 970"
    + LOG.format("common")
    + "Saved metadata file to: /x\n"
    "100%|###| 3/3 [00:00<00:00, 1.2it/s]Step 00001/00010 | Training loss: 1.25| lrm: 0.9| num_tokens: 1,200Final: 1/4 (25.00%)Final: 3/4 (75.00%)\n"  # noqa: E501
    "Step 00001 | mmlu_acc: 0.25, arc_easy_acc: 0.75\n"
)
CRASH = (
    "Autodetected device type: cuda\nTraceback (most recent call last):\n"
    '  File "/root/nanochat/scripts/mid_train.py", line 55, in <module>\n    main()\n'
    "torch.OutOfMemoryError: CUDA out of memory\n"
    'Traceback (most recent call last):\n  File "/n/scripts/chat_sft.py", line 1, in <module>\n'
    "AssertionError\n"
)
SAMPLES = {
    "sft": SFT,
    "mid": MID,
    "eval": EVAL,
    "base": BASE,
    "2026": YEAR_2026,
    "glued": GLUED,
    "crash": CRASH,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_cut_at_every_byte(name):
    """A log cut anywhere gives the events of the whole log."""
    data = SAMPLES[name].encode()
    assert len(data) <= 4096
    assert_any_cut(NanochatReader, data)


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data())
def test_any_chunking(name, data):
    """So does a log in any number of pieces."""
    raw = SAMPLES[name].encode()
    assert_same(read(NanochatReader, *data.draw(chunkings(raw))), read(NanochatReader, raw))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_torn_end(name):
    """A log torn off anywhere is read without an exception, and loses at most its last line."""
    data = SAMPLES[name].encode()
    whole = len(of(StepFinished, read(NanochatReader, data)))
    for end in range(0, len(data), 7):
        torn = of(StepFinished, read(NanochatReader, data[:end]))
        assert len(torn) <= whole


@given(st.binary(max_size=2000))
def test_garbage_gives_no_exception(data):
    """Bytes of anything are counted, not raised about."""
    reader = NanochatReader()
    assert not of(StepFinished, flat(reader.feed(data) + reader.close()))
    assert reader.lines.total == reader.lines.read + reader.lines.unrecognised


@given(st.lists(st.sampled_from(list(SAMPLES.values())).map(str.encode), max_size=3), st.data())
def test_shuffled_lines_give_no_exception(parts, data):
    """Lines of all kinds in any order, as two channels may mix them, raise nothing."""
    lines = b"".join(parts).splitlines(keepends=True)
    read(NanochatReader, *data.draw(st.permutations(lines)))


def test_sft_run():
    """Settings, shape, both losses, counts by task and the end of an SFT run are read."""
    ((start, events),) = stages(read(NanochatReader, SFT.encode()))
    assert (start.name, start.source) == ("chat_sft", "mid d16 step 770")
    assert (start.num_iterations, start.world_size, start.device) == (1953, 2, "cuda")
    assert start.num_parameters == 335_544_320
    assert start.settings["matrix_lr"] == 0.04
    assert start.settings["target_examples_per_step"] == 32
    assert start.effective["grad_accum_steps"] == 8
    steps = of(StepFinished, events)
    assert [(e.step, e.supervised_tokens) for e in steps] == [(0, 1697), (1, 970)]
    assert steps[0].loss_micro_last == 1.193573
    assert math.isnan(steps[1].loss_micro_last)
    assert [(e.step, e.loss) for e in of(ValidationFinished, events)] == [
        (0, 1.24395),
        (1952, 1.263363),
    ]
    assert [(e.step, e.task, e.correct, e.total) for e in of(EvalFinished, events)] == [
        (100, "MMLU", 249, 1024),
        (100, "ARC-Easy", 251, 1024),
    ]
    assert [(e.step, e.path) for e in of(CheckpointSaved, events)] == [
        (1952, "/c/chatsft_checkpoints/d16/model_001952.pt")
    ]
    assert [(e.status, e.updates) for e in of(RunFinished, events)] == [("finished", 1952)]
    assert [e.text for e in of(LogLine, events)] == ["some warning of a compiler"]


def test_mid_training():
    """mid_train prints no total: it is estimated from its percentage, and known at the end."""
    events = read(NanochatReader, MID.encode())
    ((start, events),) = stages(events)
    assert (start.name, start.num_iterations) == ("mid_train", 770)
    steps = of(StepFinished, events)
    assert (steps[0].step, steps[0].loss, steps[0].seconds) == (1, 1.4306, 2.15773)
    assert steps[-1].lr_mult == -0.03
    assert steps[-1].tokens_per_second == 1_242_983
    assert free_values(events, "mfu_percent") == [20.1, 40.1, 40.1]
    assert [e.metric for e in of(ValidationFinished, events)] == ["bpb", "bpb"]
    (end,) = of(RunFinished, events)
    assert (end.status, end.updates, end.seconds) == ("finished", 770, 711)


def test_base_training():
    """CORE results are free metrics; an infinite loss is kept; fields of forks do not disturb."""
    ((start, events),) = stages(read(NanochatReader, BASE.encode()))
    assert (start.name, start.num_iterations) == ("base_train", 21400)
    assert start.num_parameters == 560_988_160
    assert losses(events) == [11.090354, math.inf]
    assert free_values(events, "CORE metric") == [0.1375]
    assert free_values(events, "CORE/winograd") == [0.5128]


def test_chat_eval():
    """Stand-alone evaluation: a task is named by the line after its counts."""
    ((start, events),) = stages(read(NanochatReader, EVAL.encode()))
    assert start.name == "chat_eval"
    assert [(e.step, e.task, e.correct, e.total) for e in of(EvalFinished, events)] == [
        (224, "ARC-Easy", 2, 16),
        (224, "GSM8K", 1, 2),
    ]


def test_the_2026_generation():
    """Lower-case steps, bits per byte, ChatCORE, 101 % and negative multipliers are read."""
    reader = NanochatReader()
    ((start, events),) = stages(flat(reader.feed(YEAR_2026.encode()) + reader.close()))
    assert (start.name, start.rows, reader.format) == ("chat_sft", 1_071_759, "nanochat 2026")
    (step,) = of(StepFinished, events)
    assert (step.step, step.lr_mult, step.epoch) == (1, -0.03, 1)
    assert [(e.step, e.task, e.correct) for e in of(EvalFinished, events)] == [
        (1, "ARC-Easy", 1066),
        (1, "GSM8K", 1),
    ]
    assert free_values(events, "ChatCORE") == [0.2711]


def test_glued_lines():
    """Lines of two writers on one line are all found, and a date is no part of a number."""
    ((_, events),) = stages(read(NanochatReader, GLUED.encode()))
    assert [(e.step, e.supervised_tokens) for e in of(StepFinished, events)] == [
        (0, 970),
        (1, 1200),
    ]
    assert [(e.task, e.correct) for e in of(EvalFinished, events)] == [("MMLU", 1), ("ARC-Easy", 3)]


def test_crashed_programs():
    """A program that fails before its loop is a failed stage, named by its traceback."""
    found = stages(read(NanochatReader, CRASH.encode()))
    assert [start.name for start, _ in found] == ["mid_train", "chat_sft"]
    ends = [of(RunFinished, events)[0] for _, events in found]
    assert [end.status for end in ends] == ["failed", "failed"]
    assert ends[0].reason == "torch.OutOfMemoryError: CUDA out of memory"


def test_a_pipeline_is_many_stages():
    """Programs one after another in a file are stages, also when the same one runs twice."""
    found = stages(read(NanochatReader, (BASE + MID + EVAL + SFT + SFT).encode()))
    names = [start.name for start, _ in found]
    assert names == ["base_train", "mid_train", "chat_eval", "chat_sft", "chat_sft"]
    assert len({start.stamp.run for start, _ in found}) == 5


def test_steps_that_start_again_begin_a_stage():
    """Without start-up lines, a step number that falls says that another run began."""
    line = "Step {:05d}/00009 | Training loss: 1.0| lrm: 1.0| num_tokens: 5\n"
    log = "".join(line.format(step) for step in [*range(9), *range(6), *range(3)])
    found = stages(read(NanochatReader, log.encode()))
    assert [len(of(StepFinished, events)) for _, events in found] == [9, 6, 3]


def test_a_number_torn_off_is_not_believed():
    """The last number of an unfinished line may lack digits: it is left out."""
    log = SFT[: SFT.index("1,697") + 1]
    (step,) = of(StepFinished, read(NanochatReader, log.encode()))
    assert (step.loss_micro_last, step.supervised_tokens) == (1.193573, None)


def test_sniffing():
    """Loop lines and its scripts are proof, its logger alone is not; other text is not claimed."""
    assert NanochatReader.sniff(SFT.encode()).confidence > 0.8
    assert NanochatReader.sniff(CRASH.encode()).confidence > 0.5
    assert NanochatReader.sniff(LOG.format("common").encode() + b"x\n").confidence <= 0.3
    assert NanochatReader.sniff(b"{'loss': 1.5, 'epoch': 0.1}\n").confidence == 0


# ---- real logs: counted once more by patterns of the test's own ---------------------------------

_PRINTED_SFT = re.compile(r"Step (\d+)/\d+ \| Training loss: (\S+)\|")
_PRINTED_PRETRAIN = re.compile(r"^step (\d+)\S* \([\d.]+%\).*? loss: (\S+) \|", re.MULTILINE)
_PRINTED_VALIDATION = re.compile(r"Step (\d+) \| Validation (?:loss|bpb): ([\d.]+|nan)")
OCTOBER = [
    ("nanochat/logs/sft_1rank.log", ["chat_sft"]),
    ("nanochat/logs/sft_2rank_cut_short.log", ["chat_sft"]),
    ("nanochat/logs/mid_train.log", ["mid_train"]),
    ("nanochat/logs/chat_eval.log", ["chat_eval"]),
    ("logs/nanochat/base_train_400M.log", ["base_train"]),
    ("logs/nanochat/base_train_d12_moe_sweep.log", ["base_train"] * 2),
    ("logs/nanochat/mid_train_wandb_output.log", ["mid_train"]),
    ("logs/nanochat/chat_eval_sft_d32_npu.txt", ["chat_eval"]),
    ("logs/nanochat/chat_sft_nan_losses_mar2026.log", ["chat_sft"]),
    (
        "logs/nanochat/speedrun_d20_2gpu_oct2025.log",
        ["base_train", "base_loss", "base_eval", "mid_train", "chat_eval", "chat_sft", "chat_eval"],
    ),
    (
        "logs/nanochat/speedrun_d24_feb2026.log",
        ["base_train", "base_eval", "chat_sft", "chat_eval"],
    ),
    (
        "logs/nanochat/speedrun_crash_on_start.log",
        ["base_train", "base_loss", "base_eval", "mid_train", "chat_sft"],
    ),
]


@needs_shared
@pytest.mark.parametrize(("name", "names"), OCTOBER, ids=[Path(n).stem for n, _ in OCTOBER])
def test_real_logs(name, names):
    """Stages, steps, and first and last values are those that a plain count of the text finds."""
    data = (SHARED / name).read_bytes()
    text = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", data.decode(errors="replace").replace("\r", "\n"))
    found = stages(read(NanochatReader, data))
    assert [start.name for start, _ in found] == names
    events = [event for _, stage in found for event in stage]

    printed = sorted(
        [(m.start(), int(m[1]), float(m[2])) for m in _PRINTED_SFT.finditer(text)]
        + [(m.start(), int(m[1]), float(m[2])) for m in _PRINTED_PRETRAIN.finditer(text)]
    )
    assert len(of(StepFinished, events)) == len(printed)
    if printed:
        assert [e.step for e in of(StepFinished, events)] == [step for _, step, _ in printed]
        assert str(losses(events)) == str([loss for _, _, loss in printed])
    validations = [(int(s), float(v)) for s, v in _PRINTED_VALIDATION.findall(text)]
    assert [(e.step, e.loss) for e in of(ValidationFinished, events)] == validations
    finals = re.findall(r"Final: (\d+)/(\d+)", text)
    assert [(str(e.correct), str(e.total)) for e in of(EvalFinished, events)] == finals


@needs_shared
def test_the_speedrun_of_october():
    """The SFT stage of a whole pipeline: 681 lines, 8 validations, 4 evaluations of two tasks."""
    data = (SHARED / "logs/nanochat/speedrun_d20_2gpu_oct2025.log").read_bytes()
    found = stages(read(NanochatReader, data))
    (start, events) = next(stage for stage in found if stage[0].name == "chat_sft")
    assert len(of(StepFinished, events)) == 681
    assert (start.num_iterations, start.world_size, start.num_parameters) == (682, 4, 560_988_160)
    validations = of(ValidationFinished, events)
    assert (len(validations), validations[0].loss, validations[-1].loss) == (8, 1.010513, 1.012097)
    evals = [(e.step, e.task) for e in of(EvalFinished, events)]
    assert evals == [(s, t) for s in (200, 400, 600, 681) for t in ("MMLU", "ARC-Easy")]
    core = of(MetricLogged, found[0][1])
    assert sum("CORE metric" in e.values for e in core) == 11


@needs_shared
@pytest.mark.parametrize("size", [1, 7, 4096, 100_003])
def test_real_log_in_pieces(size):
    """A real log in pieces of any size is the log."""
    data = (SHARED / "nanochat/logs/sft_1rank.log").read_bytes()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert_same(read(NanochatReader, *pieces), read(NanochatReader, data))


@needs_shared
def test_other_logs_are_not_claimed():
    """Logs of other trainers are left to other readers."""
    for name in ("slurm_failed.out", "sft_other_format_diff.log", "nanoswe_speedrun_b200.log"):
        head = (SHARED / "logs/nanochat" / name).read_bytes()[: 1 << 20]
        assert NanochatReader.sniff(head).confidence <= 0.3
