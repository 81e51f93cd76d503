"""Every real log of other trainers, against a count by patterns of the test's own."""

import csv
import json
import re

import pytest

from engine.errors import UsageError
from engine.events import MetricLogged, StepFinished, ValidationFinished
from sftui.sources.open_log import read_whole, recognise
from tests.conftest import SHARED, needs_shared
from tests.sftui.readers.reader_checks import flat, of

pytestmark = needs_shared
LOGS = SHARED / "logs"


def read_log(name: str):
    """Format, single stage and flat events of a log."""
    opened = read_whole(str(LOGS / name))
    (stage,) = opened.recording.stages
    events = flat(stage.timeline.events(0, len(stage.timeline)))
    return opened.source.format, stage.start, events


def text_of(name: str) -> str:
    return (LOGS / name).read_text(errors="replace").replace("\r", "\n")


def losses(events) -> list:
    return [(e.step, e.loss) for e in of(StepFinished, events) if e.loss is not None]


def validations(events) -> list:
    return [(e.step, e.loss) for e in of(ValidationFinished, events)]


@pytest.mark.parametrize("run", ["code_simplifier_sft", "hotpotqa_grpo", "miniphi3_sft_deepspeed"])
def test_hf_trainer_output(run):
    """One update for each dict with a loss, in order, with its value."""
    name = f"hf_trainer/{run}.stdout.log"
    words, _, events = read_log(name)
    printed = [float(v) for v in re.findall(r"\{'loss': ([\d.]+)", text_of(name))]
    assert [loss for _, loss in losses(events)] == printed
    printed = [float(v) for v in re.findall(r"\{'eval_loss': ([\d.]+)", text_of(name))]
    assert [loss for _, loss in validations(events)] == printed
    assert words.startswith("Hugging Face Trainer output")


def test_steps_inferred_from_the_bar_are_those_of_the_trainer():
    """The state file of the same run has the true steps; the bar gave the same."""
    _, _, printed = read_log("hf_trainer/code_simplifier_sft.stdout.log")
    _, _, stored = read_log("hf_trainer/code_simplifier_sft.trainer_state.json")
    assert losses(printed) == losses(stored)
    assert validations(printed) == validations(stored)[:1]
    _, _, grpo = read_log("hf_trainer/hotpotqa_grpo.stdout.log")
    assert [step for step, _ in losses(grpo)] == list(range(20, 1861, 20))


@pytest.mark.parametrize(
    "name", ["code_simplifier_sft", "mistral_translator", "trainer_state_viz_sample"]
)
def test_trainer_state(name):
    """Steps, losses and evaluations of the log history."""
    path = next((LOGS / "hf_trainer").glob(f"{name}*.json"))
    raw = json.loads(path.read_text())
    _, start, events = read_log(f"hf_trainer/{path.name}")
    history = raw["log_history"]
    assert start.num_iterations == raw["max_steps"]
    assert losses(events) == [(e["step"], e["loss"]) for e in history if "loss" in e]
    printed = [
        (e["step"], e[name], name[5:-5].strip("_"))
        for e in history
        for name in e
        if re.fullmatch(r"eval_(?:\w+_)?loss", name)
    ]
    found = [(e.step, e.loss, e.set_name) for e in of(ValidationFinished, events)]
    assert sorted(found) == sorted(printed)


@pytest.mark.parametrize("name", ["mistral_translator", "sft_teaching_run"])
def test_llama_factory(name):
    """Every line with a loss is an update of its step."""
    rows = [
        json.loads(line)
        for line in text_of(f"hf_trainer/{name}.trainer_log.jsonl").split("\n")
        if line
    ]
    words, start, events = read_log(f"hf_trainer/{name}.trainer_log.jsonl")
    assert losses(events) == [(r["current_steps"], r["loss"]) for r in rows if "loss" in r]
    assert (words, start.num_iterations) == (
        "LLaMA-Factory trainer_log.jsonl",
        rows[0]["total_steps"],
    )


def test_llmc():
    """llm.c's main.log: training and validation losses of every step."""
    text = text_of("modded_nanogpt_llmc/llmc_main.log")
    _, _, events = read_log("modded_nanogpt_llmc/llmc_main.log")
    assert losses(events) == [(int(s), float(v)) for s, v in re.findall(r"s:(\d+) trl:(\S+)", text)]
    printed = [(int(s), float(v)) for s, v in re.findall(r"s:(\d+) tel:(\S+)", text)]
    assert validations(events) == printed


@pytest.mark.parametrize("run", ["muon_2024-10-10", "normuon_2025-10-24", "sub3min_2025-01-16"])
def test_modded_nanogpt(run):
    """modded-nanogpt: an update a line, whether or not it prints a loss, and all validations."""
    name = f"modded_nanogpt_llmc/{run}.txt"
    text = text_of(name)
    words, start, events = read_log(name)
    printed = re.findall(r"^step:(\d+)/(\d+) (?!val)(?:train_loss:(\S+))?", text, re.MULTILINE)
    assert [e.step for e in of(StepFinished, events)] == [int(step) for step, _, _ in printed]
    assert losses(events) == [(int(step), float(loss)) for step, _, loss in printed if loss]
    printed_val = re.findall(r"step:(\d+)/\d+ val_loss:(\S+)", text)
    assert validations(events) == [(int(step), float(loss)) for step, loss in printed_val]
    assert (words, start.num_iterations) == ("modded-nanogpt log", int(printed[0][1]))


@pytest.mark.parametrize("run", ["slm_v0", "slm_v5", "xkv"])
def test_lightning_csv(run):
    """A step loss where the cell is filled, a validation where that one is."""
    name = f"lightning_csv/{run}.metrics.csv"
    rows = list(csv.DictReader(text_of(name).splitlines()))
    _, _, events = read_log(name)
    printed = [(int(r["step"]), float(r["train_loss_step"])) for r in rows if r["train_loss_step"]]
    assert losses(events) == printed
    printed = [(int(r["step"]), float(r["val_loss"])) for r in rows if r.get("val_loss")]
    assert validations(events) == printed


def test_minimind():
    """MiniMind's lines, one epoch of 39695 steps."""
    text = text_of("other_text/minimind_pretrain.log")
    _, start, events = read_log("other_text/minimind_pretrain.log")
    printed = re.findall(r"\((\d+)/39695\), loss: ([\d.]+)", text)
    assert losses(events) == [(int(step), float(loss)) for step, loss in printed]
    assert start.num_iterations == 39695


def test_mlx():
    """mlx-lm's training and validation losses."""
    text = text_of("other_text/mlx_lm_lora.log")
    _, _, events = read_log("other_text/mlx_lm_lora.log")
    for kind, found in (("Train", losses(events)), ("Val", validations(events))):
        printed = re.findall(rf"Iter (\d+): {kind} loss ([\d.]+)", text)
        assert found == [(int(step), float(loss)) for step, loss in printed]


PLAIN = {
    "nanochat/nanoswe_speedrun_b200.log": r"step (\d+) \| loss (\S+)",
    "nanochat/sft_other_format_diff.log": r"step (\d+)/\d+ \|.*? loss: (\S+)",
    "other_text/assignment5_sft.log": r"Step (\d+) loss: ([\d.]+)",
}


@pytest.mark.parametrize("name", PLAIN)
def test_any_text_with_steps(name):
    """Three trainers nobody wrote a reader for."""
    _, _, events = read_log(name)
    printed = re.findall(PLAIN[name], text_of(name))
    assert len(printed) > 50
    assert losses(events) == [(int(step), float(loss)) for step, loss in printed]


def test_wandb():
    """The offline files of two runs; one of them also as nanochat printed it."""
    _, start, events = read_log("wandb_offline/run-md4wekyz.wandb")
    assert len(of(MetricLogged, events)) == 83
    assert start.settings["device_batch_size"] == 32
    printed = text_of("nanochat/mid_train_wandb_output.log")
    shown = [
        (int(s), float(v)) for s, v in re.findall(r"Step (\d+) \| Validation bpb: (\S+)", printed)
    ]
    assert [(s, round(v, 4)) for s, v in validations(events)] == shown
    _, _, events = read_log("wandb_offline/run-x199n1yz.wandb")
    assert len(losses(events)) == 16


def test_tensorboard():
    """Two event files; the counts of tags are those of the bytes."""
    data = (LOGS / "tensorboard/events.out.tfevents.1622543341.host.1").read_bytes()
    _, _, events = read_log("tensorboard/events.out.tfevents.1622543341.host.1")
    for tag in ("lax/foo", "lax/bar_1", "lax/bar_2"):
        values = [e.values[tag] for e in of(MetricLogged, events)]
        assert len(values) == data.count(tag.encode()) == 110
    _, _, events = read_log("tensorboard/events.out.tfevents.1585769947.host")
    assert len(of(StepFinished, events)) == 17


NOT_LOGS = {
    "nanochat/slurm_failed.out": "no training log",
    "nanochat/report_card_nov2025.md": "no training log",
    "wandb_offline/run-g9dvvkua.wandb": "holds no training step",
}


@pytest.mark.parametrize("name", NOT_LOGS)
def test_what_is_no_training_log_is_said_so(name):
    """A job that failed before training, a report, a run without history: one clear line."""
    with pytest.raises(UsageError, match=NOT_LOGS[name]):
        read_whole(str(LOGS / name))


def test_every_log_is_recognised_or_refused():
    """No file of the collection is left out of these tests, and none raises anything else."""
    refused = []
    for path in sorted(LOGS.glob("*/*")):
        if path.name.endswith(".sftui.json"):
            continue  # what somebody said of a log with --map, kept beside it
        if recognise(path.read_bytes()[: 1 << 20]) is None:
            refused.append(path.name)
    assert refused == ["report_card_dec2025.md", "report_card_nov2025.md", "slurm_failed.out"]
