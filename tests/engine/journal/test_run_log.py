"""`run.log` is in nanochat's own lines."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import (
    KINDS,
    AttemptStarted,
    CheckpointSaved,
    EvalFinished,
    LogLine,
    RankHeartbeat,
    RunFinished,
    RunStarted,
    Stamp,
    StepFinished,
    ValidationFinished,
)
from engine.journal.run_log import RunLog
from tests.conftest import SHARED, examples, needs_shared
from tests.strategies import events

START = RunStarted(
    name="x",
    num_iterations=1953,
    world_size=2,
    device="cuda",
    settings={
        "source": "mid",
        "model_tag": "d16",
        "step": 770,
        "device_batch_size": 2,
        "target_examples_per_step": 32,
        "matrix_lr": 0.04,
        "weight_decay": 0.1,
        "eval_every": 50,
        "gpus": 2,
    },
    effective={"n_embd": 1024},
    stamp=Stamp(t=0.0),
)


def lines(*events):
    log = RunLog()
    return [line for event in events for line in log.lines(event)]


def test_the_start_reads_as_nanochat_prints_it():
    """Overrides are what one would have typed there; ours alone are left out."""
    found = lines(START)
    assert found[:5] == [
        "Overriding: model_tag = d16",
        "Overriding: step = 770",
        "Overriding: device_batch_size = 2",
        "Overriding: matrix_lr = 0.04",
        "Overriding: weight_decay = 0.1",
    ]
    assert found[-5:] == [
        "Target examples per step: 32",
        "Device batch size: 2",
        "Examples per step is device_batch_size * ddp_world_size: 4",
        "=> Setting grad accum steps: 8",
        "Scaling the LR for the AdamW parameters ∝1/√(1024/768) = 0.866025",
    ]
    assert "Autodetected device type: cuda" in found
    assert not any("gpus" in line for line in found)


def test_a_run_of_full_rows_reads_as_nanochat_of_2026_prints_it():
    """Its step is counted in token places, its validation in bits a byte."""
    sizes = {"device_batch_size": 2, "max_seq_len": 512, "total_batch_size": 4096}
    start = replace(
        START,
        settings={"packing": "best-fit", "target_examples_per_step": 32, **sizes},
        effective={"n_embd": 96, "grad_accum_steps": 2},
    )
    assert lines(start, ValidationFinished(step=0, loss=0.58349, metric="bpb"))[-5:] == [
        "Tokens / micro-batch / rank: 2 x 512 = 1,024",
        "Tokens / micro-batch: 2,048",
        "Total batch size 4,096 => gradient accumulation steps: 2",
        "Scaling the LR for the AdamW parameters ∝1/√(96/768) = 2.828427",
        "Step 00000 | Validation bpb: 0.5835",
    ]
    assert not any("Target examples" in line for line in lines(start))


def test_a_step_reads_as_nanochat_prints_it():
    """No blank before the bars, thousands commas, five digits."""
    step = StepFinished(
        step=7, loss=9.0, loss_micro_last=1.25, lr_mult=0.5, supervised_tokens=12345
    )
    assert lines(START, step)[-1] == (
        "Step 00007/01953 | Training loss: 1.250000| lrm: 0.500000| num_tokens: 12,345"
    )


def test_nan_is_printed_as_nan():
    """A micro-batch without a supervised token prints `nan`, as nanochat does."""
    step = StepFinished(step=7, loss=1.0, loss_micro_last=math.nan, lr_mult=1.0)
    assert "Training loss: nan| " in lines(START, step)[-1]


def test_an_evaluation_round_ends_with_one_metrics_line():
    """It comes after the last task and before whatever follows, heartbeats apart."""
    found = lines(
        ValidationFinished(step=100, loss=1.24395),
        EvalFinished(step=100, task="MMLU", correct=249, total=1024),
        RankHeartbeat(rank=0),
        LogLine(text="a warning"),
        EvalFinished(step=100, task="ARC-Easy", correct=251, total=1024),
        StepFinished(step=100, loss_micro_last=1.0, lr_mult=1.0, supervised_tokens=5),
    )
    assert found == [
        "Step 00100 | Validation loss: 1.243950",
        "Final: 249/1024 (24.32%)",
        "a warning",
        "Final: 251/1024 (24.51%)",
        "Step 00100 | mmlu_acc: 0.243164, arc_easy_acc: 0.245117",
        "Step 00100/00000 | Training loss: 1.000000| lrm: 1.000000| num_tokens: 5",
    ]


def test_two_rounds_do_not_run_together():
    """The same task again, or another step, is another round."""
    again = EvalFinished(step=1, task="MMLU", correct=1, total=4)
    other = EvalFinished(step=2, task="ARC-Easy", correct=1, total=4)
    found = lines(again, again, other, RunFinished(status="finished"))
    assert [line for line in found if "_acc" in line] == [
        "Step 00001 | mmlu_acc: 0.250000",
        "Step 00001 | mmlu_acc: 0.250000",
        "Step 00002 | arc_easy_acc: 0.250000",
    ]


@pytest.mark.parametrize("path", ["/b/d16", "/b/d16/model_001952.pt"])
def test_the_export_is_announced_as_nanochat_does(path):
    """Three lines: model, metadata, folder."""
    saved = CheckpointSaved(step=1952, path=path, kind="nanochat", stamp=Stamp(t=0.0))
    found = lines(saved)
    assert found[0].endswith(
        " - nanochat.checkpoint_manager - INFO - Saved model file to: /b/d16/model_001952.pt"
    )
    assert found[1].endswith("Saved metadata file to: /b/d16/meta_001952.json")
    assert found[2] == "✅ Saved model checkpoint to /b/d16"
    assert lines(CheckpointSaved(step=50, path="ckpt/step-50")) == []


def test_a_log_line_cannot_control_the_terminal_that_shows_it():
    """Clipboard writes, titles, colours and overwritten lines stay out of the file."""
    hostile = "a\x1b]52;c;aGk=\x07b\x1b[31mc\x9b2Jd\re\x00f\u202eg"
    assert "".join(lines(LogLine(text=hostile))) == "abc2Jdefg"


@needs_shared
def test_the_lines_of_a_real_run_come_back_letter_for_letter():
    """Events made from a real nanochat log give its own lines again."""
    logs = [path for path in (SHARED / "logs").rglob("*") if path.is_file()]
    texts = [path.read_text("utf-8", "replace") for path in logs]
    import re

    step = re.compile(
        r"^Step (\d+)/(\d+) \| Training loss: (\d\.\d+)\| lrm: (\d\.\d+)\| num_tokens: ([\d,]+)$",
        re.M,
    )
    found = [match for text in texts for match in step.finditer(text)]
    assert found
    for match in found[:200]:
        log = RunLog()
        log.lines(RunStarted(name="x", num_iterations=int(match[2])))
        event = StepFinished(
            step=int(match[1]),
            loss_micro_last=float(match[3]),
            lr_mult=float(match[4]),
            supervised_tokens=int(match[5].replace(",", "")),
        )
        assert log.lines(event) == [match[0]]


PASSING = sorted(
    set(KINDS)
    - {"step_finished", "run_finished", "run_started", "attempt_started", "eval_finished"}
    - {"validation_finished"}
)
"""Every kind of event but those that end a round of evaluation."""


@pytest.mark.parametrize("kind", PASSING)
@given(data=st.data())
@examples(20)
def test_no_other_event_ends_a_round_of_evaluation(kind, data):
    """Whatever passes by between two tasks, one metrics line names both, and it stands last."""
    passing = data.draw(events(KINDS[kind]))
    log = RunLog()
    first = EvalFinished(step=120, task="MMLU", correct=12, total=48, accuracy=0.25)
    second = EvalFinished(step=120, task="ARC-Easy", correct=24, total=48, accuracy=0.5)
    lines = log.lines(first) + log.lines(passing) + log.lines(second) + log.lines(passing)
    assert not any(line.startswith("Step 00120 | mmlu_acc") for line in lines)
    (metrics, *after) = log.lines(StepFinished(step=120, loss=1.0))
    assert metrics == "Step 00120 | mmlu_acc: 0.250000, arc_easy_acc: 0.500000"
    assert after[-1].startswith("Step 00120/")


@pytest.mark.parametrize("end", [RunFinished(status="stopped"), AttemptStarted(start_step=100)])
def test_the_end_of_a_run_ends_a_round(end):
    """What was measured by then is told, and an export that came in the round after it."""
    log = RunLog()
    saved = CheckpointSaved(step=120, path="out/model_000120.pt", kind="nanochat")
    log.lines(EvalFinished(step=120, task="MMLU", correct=12, total=48, accuracy=0.25))
    assert log.lines(saved) == []
    (metrics, *export) = log.lines(end)
    assert metrics == "Step 00120 | mmlu_acc: 0.250000"
    assert export[-1].endswith("Saved model checkpoint to out")
