"""The reference run as nanochat printed it: the log behind the hand-written report.

Validations and counts are the run's own; the training lines between the first one and the
two extremes are made up, as only their range was written down.
"""

from __future__ import annotations

import random
from pathlib import Path

VALIDATION = {
    0: 1.243950,
    50: 1.245711,
    100: 1.246526,
    200: 1.251375,
    500: 1.254372,
    1000: 1.257231,
    1500: 1.262891,
    1900: 1.263423,
    1952: 1.263363,
}
MMLU = {100: 249, 200: 247, 300: 264, 500: 272, 1000: 253, 1500: 275, 1800: 264, 1952: 271}
ARC_EASY = {100: 251, 200: 254, 300: 283, 500: 272, 1000: 264, 1500: 273, 1800: 301, 1952: 291}
BASELINE = "MMLU = 26.58\nARC-Easy = 27.74\n"
_SETTINGS = {
    "source": "mid",
    "model_tag": "d16",
    "step": 770,
    "device_batch_size": 2,
    "num_epochs": 3,
    "target_examples_per_step": 32,
    "unembedding_lr": 0.008,
    "embedding_lr": 0.4,
    "matrix_lr": 0.04,
    "weight_decay": 0.1,
    "init_lr_frac": 0.02,
    "eval_every": 50,
    "eval_metrics_every": 100,
}
_EXTREMES = {0: 1.056656, 777: 0.493076, 1204: 2.090418}


def text() -> str:
    """The whole log."""
    lines = [f"Overriding: {name} = {value}" for name, value in _SETTINGS.items()]
    lines += [
        "Autodetected device type: cuda",
        _logged("14:54:57", "common", "Distributed world size: 2"),
        _logged(
            "14:54:58",
            "checkpoint_manager",
            "Loading model from /c/mid_checkpoints/d16 with step 770",
        ),
        _logged(
            "14:54:58",
            "checkpoint_manager",
            "Building model with config: {'sequence_len': 2048, 'vocab_size': 65536, "
            "'n_layer': 16, 'n_head': 8, 'n_kv_head': 8, 'n_embd': 1024}",
        ),
        "Target examples per step: 32",
        "Device batch size: 2",
        "Examples per step is device_batch_size * ddp_world_size: 4",
        "=> Setting grad accum steps: 8",
        "Scaling the LR for the AdamW parameters ∝1/√(1024/768) = 0.866025",
    ]
    made_up = random.Random(7)
    for step in range(1953):
        if step in VALIDATION:
            lines.append(f"Step {step:05d} | Validation loss: {VALIDATION[step]:.6f}")
        if step in MMLU:
            mmlu, arc = MMLU[step], ARC_EASY[step]
            lines.append(f"Final: {mmlu}/1024 ({100 * mmlu / 1024:.2f}%)")
            lines.append(f"Final: {arc}/1024 ({100 * arc / 1024:.2f}%)")
            accuracies = f"mmlu_acc: {mmlu / 1024:.6f}, arc_easy_acc: {arc / 1024:.6f}"
            lines.append(f"Step {step:05d} | {accuracies}")
        if step < 1952:
            loss = _EXTREMES.get(step) or 0.55 + 1.4 * made_up.random()
            lines.append(
                f"Step {step:05d}/01953 | Training loss: {loss:.6f}| "
                f"lrm: {1 - step / 1953:.6f}| num_tokens: {made_up.randrange(600, 1800):,}"
            )
    saved = "/c/chatsft_checkpoints/d16"
    lines += [
        _logged("15:28:55", "checkpoint_manager", f"Saved model file to: {saved}/model_001952.pt"),
        _logged(
            "15:28:55", "checkpoint_manager", f"Saved metadata file to: {saved}/meta_001952.json"
        ),
        f"✅ Saved model checkpoint to {saved}",
    ]
    return "\n".join(lines) + "\n"


def write(folder: Path) -> tuple[Path, Path]:
    """The log and its baseline as files."""
    log, baseline = folder / "reference.log", folder / "base.toml"
    log.write_text(text(), encoding="utf-8")
    baseline.write_text(BASELINE, encoding="utf-8")
    return log, baseline


def _logged(clock: str, module: str, message: str) -> str:
    return f"2025-10-29 {clock},000 - nanochat.{module} - INFO - {message}"
