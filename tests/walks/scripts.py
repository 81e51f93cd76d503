"""Scripts of strangers for the walks: nothing of sftui in them, models made on the spot.

A step of these models takes a millisecond; each script waits in its steps, so that there is time
to press keys as over a model of a useful size.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SFT = ROOT / "tests" / "engine" / "attach" / "small_trainer.py"
"""TRL's SFTTrainer, as a person would have written it."""

DPO = f"""\
import sys
import time

from datasets import Dataset
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer

sys.path.insert(0, {str(ROOT)!r})
from tests.engine.attach.small_trainer import model, tokenizer


class Slow(TrainerCallback):
    def on_step_begin(self, *args, **kw):
        time.sleep(0.1)


words = tokenizer()
rows = Dataset.from_list(
    [
        {{"prompt": f"What is {{i}}?", "chosen": f" It is {{i}}.", "rejected": " No idea."}}
        for i in range(160)
    ]
)
DPOTrainer(
    model=model(words),
    ref_model=model(words),
    args=DPOConfig(
        output_dir="dpo-out", use_cpu=True, bf16=False, per_device_train_batch_size=2,
        max_steps=120, learning_rate=2e-3, logging_steps=1, save_strategy="no",
        eval_strategy="steps", eval_steps=30, report_to="none", disable_tqdm=True,
    ),
    train_dataset=rows.select(range(128)),
    eval_dataset=rows.select(range(128, 160)),
    processing_class=words,
    callbacks=[Slow()],
).train()
"""

SILENT = """\
import math
import random
import time

for step in range(1, 1201):
    loss = 1 + 3 * math.exp(-step / 90) + random.gauss(0, 0.03)
    print(f"step {step}/1200 | loss {loss:.4f} | lr {1e-3 * (1 - step / 1200):.3e}", flush=True)
    time.sleep(0.1)
"""


def sft(folder: str, **options: object) -> str:
    """The command that trains TRL's SFTTrainer on two ranks, as it is typed."""
    settings = {"save_steps": 20, "eval_steps": 20, "slow": 0.25, "save_total_limit": 3} | options
    words = json.dumps(settings, separators=(",", ":"))
    return f"torchrun --standalone --nproc-per-node 2 sft.py {folder} '{words}'"


def write(place: Path) -> None:
    """Put all of them there."""
    (place / "sft.py").symlink_to(SFT)
    (place / "dpo.py").write_text(DPO)
    (place / "silent.py").write_text(SILENT)
    own = resources.files("sftui.commands") / "scripts"
    loop = (own / "accelerate.txt").read_text()
    slow = loop.replace("import sftui\n", "import sftui\nimport time\n").replace(
        "        loss = loss_of(x)\n", "        time.sleep(0.1)\n        loss = loss_of(x)\n"
    )
    (place / "accelerate_loop.py").write_text(slow.replace("UPDATES = 400", "UPDATES = 300"))
    lightning = (own / "lightning.txt").read_text()
    # Under `sftui run --` it needs no line of ours.
    unchanged = lightning.replace("import sftui\n", "import time\n").replace(
        ", callbacks=[sftui.LightningCallback()]", ', default_root_dir="lightning-out"'
    )
    (place / "module.py").write_text(
        unchanged.replace(
            "        return self.loss(batch[0])\n\n    def validation",
            "        time.sleep(0.1)\n        return self.loss(batch[0])\n\n    def validation",
        )
    )
