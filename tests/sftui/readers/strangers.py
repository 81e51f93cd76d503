"""What trainers print, line by line, in our own words and numbers, and what it says.

Forms are those of the programs named; no line is anybody's. Each sample says its stages,
training losses as (step, loss), validations and accuracies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sample:
    """One log and what is right of it."""

    text: str
    losses: list[tuple[int, float]]
    """Of the last stage."""
    planned: int | None = None
    val: list[tuple[int, float]] = field(default_factory=list)
    """Of all sets of rows."""
    sets: tuple[str, ...] = ()
    """Names of the sets, where they are named."""
    evals: list[tuple[int, float]] = field(default_factory=list)
    stages: int = 1
    ended: bool = False
    checkpoints: tuple[int, ...] = ()


def bar(done: int, total: int, label: str = "", beside: str = "") -> str:
    """One redraw of tqdm."""
    full = 10 * done // total
    blocks = "█" * full + " " * (10 - full)
    rate = f"[00:{done % 60:02d}<00:30,  1.05it/s{', ' + beside if beside else ''}]"
    return (
        f"{label}{': ' if label else ''}{100 * done // total:3d}%|{blocks}| {done}/{total} {rate}"
    )


def redraws(*places: int, total: int, label: str = "") -> str:
    return "".join("\r" + bar(place, total, label) for place in places)


WIPE = "\r" + " " * 70 + "\r"


def entry(**items: object) -> str:
    return repr(items) + "\n"


def lines(*parts: str) -> str:
    return "\n".join(parts) + "\n"


def rows(*objects: Mapping[str, object]) -> str:
    return "".join(json.dumps(each) + "\n" for each in objects)


def hf_loss(step: int, loss: float, total: int = 60) -> str:
    """A dict under its bar, as tqdm.write puts it."""
    return (
        redraws(step, total=total)
        + WIPE
        + entry(loss=loss, grad_norm=1.5, learning_rate=2e-05, epoch=round(step / 20, 2))
    )


SAMPLES: dict[str, Sample] = {}

SAMPLES["axolotl"] = Sample(
    "[2025-03-02 09:15:00,101] [INFO] [axolotl.load_tokenizer:294] [PID:812] [RANK:0] EOS: 2\n"
    + redraws(1, 2, 3, total=3)
    + "\n[2025-03-02 09:15:04,000] [INFO] [axolotl.train:173] [PID:812] [RANK:0] Starting trainer\n"
    + redraws(0, total=60)
    + "\n"
    + "".join(hf_loss(step, loss) for step, loss in ((10, 2.31), (20, 2.02)))
    + redraws(20, total=60)
    + "\n"
    + redraws(0, 1, 2, 3, 4, total=4)
    + WIPE
    + entry(eval_loss=2.11, eval_runtime=3.2, eval_samples_per_second=9.1, epoch=1.0)
    + redraws(21, total=60)
    + hf_loss(30, 1.87)
    + entry(train_runtime=61.0, train_samples_per_second=8.8, train_loss=2.07, epoch=1.5),
    losses=[(10, 2.31), (20, 2.02), (30, 1.87)],
    planned=60,
    val=[(20, 2.11)],
    ended=True,
)
SAMPLES["trl"] = Sample(
    redraws(0, total=12)
    + "\n"
    + "".join(
        redraws(step, total=12)
        + WIPE
        + entry(
            loss=3.0 - step / 10,
            grad_norm="0.91",
            learning_rate="1e-05",
            num_tokens=4096.0 * step,
            mean_token_accuracy=0.41 + step / 100,
            epoch=step / 4,
        )
        for step in (4, 8, 12)
    ),
    losses=[(4, 2.6), (8, 2.2), (12, 1.8)],
    planned=12,
)
SAMPLES["llama-factory stdout"] = Sample(
    "[INFO|trainer.py:2405] 2025-05-02 10:00:00,000 >>   Total optimization steps = 90\n"
    + "".join(
        bar(step, 90)
        + f"[INFO|2025-05-02 10:00:{step}] llamafactory.train.callbacks:143 >> "
        + repr({"loss": loss, "learning_rate": 4.9e-05, "epoch": epoch})
        + "\n"
        + entry(loss=loss, grad_norm=0.8, learning_rate=4.91e-05, epoch=epoch)
        for step, loss, epoch in ((10, 1.91, 0.33), (20, 1.72, 0.67), (30, 1.64, 1.0))
    )
    + bar(30, 90)
    + "\n***** Running Evaluation *****\n"
    + entry(eval_loss=1.58, eval_runtime=2.0, epoch=1.0)
    + "[INFO|trainer.py:3984] 2025-05-02 10:01:00,000 >> Saving model checkpoint to "
    "saves/try/checkpoint-30\n",
    losses=[(10, 1.91), (20, 1.72), (30, 1.64)],
    planned=90,
    val=[(30, 1.58)],
    checkpoints=(30,),
)
SAMPLES["llama-factory trainer_log.jsonl"] = Sample(
    rows(
        *(
            {"current_steps": s, "total_steps": 40, "loss": 2.0 - s / 40, "lr": 1e-05}
            | {"epoch": s / 20, "percentage": 2.5 * s, "elapsed_time": "0:00:10"}
            for s in (10, 20)
        ),
        {"current_steps": 20, "total_steps": 40, "eval_loss": 1.61, "epoch": 1.0},
        {"current_steps": 30, "total_steps": 40, "loss": 1.25, "lr": 1e-06, "epoch": 1.5},
    ),
    losses=[(10, 1.75), (20, 1.5), (30, 1.25)],
    planned=40,
    val=[(20, 1.61)],
)
SAMPLES["unsloth"] = Sample(
    "==((====))==  Unsloth - 2x faster free finetuning | Num GPUs used = 1\n"
    "   \\\\   /|    Num examples = 1,000 | Num Epochs = 1 | Total steps = 30\n"
    + redraws(0, total=30)
    + "\n"
    + "".join(
        redraws(step, total=30)
        + WIPE
        + entry(
            loss=str(2.5 - step / 10),
            grad_norm="1.1",
            learning_rate="0.0002",
            epoch=str(step / 30),
            train_runtime=str(step * 2.0),
            num_input_tokens_seen=2048 * step,
        )
        for step in (1, 2, 3)
    ),
    losses=[(1, 2.4), (2, 2.3), (3, 2.2)],
    planned=30,
)
SAMPLES["ms-swift stdout"] = Sample(
    "[INFO:swift] The logging file will be saved in: out/logging.jsonl\n"
    + "".join(
        bar(step, 50, "Train")
        + entry(
            loss=str(loss),
            grad_norm="0.5",
            learning_rate="1e-04",
            token_acc="0.8",
            epoch=str(step / 25),
            **{"global_step/max_steps": f"{step}/50", "elapsed_time": "43s"},
        )
        for step, loss in ((1, 1.5), (5, 1.25), (10, 1.0))
    )
    + bar(4, 4, "Val")
    + "\n"
    + entry(
        eval_loss="1.125",
        eval_runtime="2.1",
        eval_token_acc="0.75",
        epoch="0.4",
        **{"global_step/max_steps": "10/50"},
    ),
    losses=[(1, 1.5), (5, 1.25), (10, 1.0)],
    planned=50,
    val=[(10, 1.125)],
    evals=[(10, 0.75)],
)
SAMPLES["ms-swift logging.jsonl"] = Sample(
    rows(
        *(
            {"loss": 2.0 - s / 10, "grad_norm": 1.0, "learning_rate": 1e-04, "epoch": s / 10}
            | {"global_step/max_steps": f"{s}/20", "percentage": f"{5 * s}%"}
            for s in (1, 5, 10)
        ),
        {"eval_loss": 0.875, "epoch": 1.0, "global_step/max_steps": "10/20"},
        {"train_runtime": 60.0, "train_loss": 1.5, "epoch": 2.0, "global_step/max_steps": "20/20"},
        {"last_model_checkpoint": "out/checkpoint-20", "global_step": 20, "log_history": []},
    ),
    losses=[(1, 1.9), (5, 1.5), (10, 1.0)],
    planned=20,
    val=[(10, 0.875)],
    ended=True,
)
SAMPLES["torchtune bar"] = Sample(
    "INFO:torchtune.utils._logging:Running LoRAFinetuneRecipeSingleDevice with resolved config:\n"
    + "".join(
        "\r" + bar(step, 8, f"1|{step}|Loss: {loss}")
        for step, loss in ((1, 2.25), (2, 2.125), (3, 1.75), (4, 1.5))
    )
    + "\n",
    losses=[(1, 2.25), (2, 2.125), (3, 1.75), (4, 1.5)],
    planned=8,
)
SAMPLES["torchtune metric log"] = Sample(
    lines(
        *(
            f"Step {s} | loss:{3.5 - s / 2} lr:2e-05 tokens_per_second_per_gpu:812.5 "
            f"peak_memory_active:11.5 "
            for s in (1, 2, 3)
        )
    ),
    losses=[(1, 3.0), (2, 2.5), (3, 2.0)],
)
SAMPLES["litgpt"] = Sample(
    lines(
        "Epoch 1 | iter 1 step 0 | loss train: 2.500, val: n/a | iter time: 301.10 ms",
        "Epoch 1 | iter 2 step 1 | loss train: 2.250, val: n/a | iter time: 300.90 ms (step)",
        "Epoch 1 | iter 3 step 1 | loss train: 2.125, val: n/a | iter time: 300.50 ms",
        "Epoch 1 | iter 4 step 2 | loss train: 2.000, val: 2.375 | iter time: 300.20 ms (step)",
        "Epoch 1 | iter 5 step 2 | loss train: 1.875, val: 2.375 | iter time: 300.00 ms",
    ),
    losses=[(1, 2.5), (2, 2.25), (3, 2.125), (4, 2.0), (5, 1.875)],
    val=[(4, 2.375)],
)
SAMPLES["NeMo"] = Sample(
    lines(
        *(
            f"Training epoch 0, iteration {i}/99 | lr: 1e-05 | global_batch_size: 16 | "
            f"global_step: {i} | reduced_train_loss: {5 - i / 2} | train_step_timing in s: 1.25"
            for i in range(4)
        ),
        "Training epoch 0, iteration 4/99 | lr: 1e-05 | global_batch_size: 16 | global_step: 4 | "
        "reduced_train_loss: 3.0 | train_step_timing in s: 1.25 | val_loss: 3.5",
    ),
    losses=[(0, 5.0), (1, 4.5), (2, 4.0), (3, 3.5), (4, 3.0)],
    val=[(4, 3.5)],
)
SAMPLES["Megatron-LM"] = Sample(
    lines(
        *(
            f" [2025-01-05 07:00:{i:02d}] iteration {i:8d}/     500 | "
            f"consumed samples: {i * 64:12d} | "
            f"elapsed time per iteration (ms): 812.5 | learning rate: 1.500E-04 | "
            f"global batch size:    64 | lm loss: {9 - i:.6E} | loss scale: 1.0 | "
            f"grad norm: 1.250 | number of skipped iterations:   0 | "
            f"number of nan iterations:   0 |"
            for i in (1, 2, 3)
        ),
        "-" * 60,
        " validation loss at iteration 3 | lm loss value: 6.250000E+00 | "
        "lm loss PPL: 5.180128E+02 | ",
        "-" * 60,
    ),
    losses=[(1, 8.0), (2, 7.0), (3, 6.0)],
    planned=500,
    val=[(3, 6.25)],
)
SAMPLES["DeepSpeed-Chat"] = Sample(
    "***** Running training *****\n"
    "***** Evaluating perplexity, Epoch 0/1 *****\n"
    + lines(
        *(
            f"Epoch: 0, Step: {s}, Rank: {rank}, loss = {2.5 - s / 4 + rank / 8}"
            for s in (1, 2, 3)
            for rank in (1, 0)
        )
    ),
    losses=[(1, 2.25), (2, 2.0), (3, 1.75)],
)
SAMPLES["OpenRLHF"] = Sample(
    "".join(
        "\r" + bar(s, 20, "Train step of epoch 0", f"gpt_loss={2 - s / 4}, loss_mean=2.1, lr=1e-5")
        for s in (1, 2, 3)
    )
    + "\n",
    losses=[(1, 1.75), (2, 1.5), (3, 1.25)],
)
SAMPLES["verl"] = Sample(
    lines(
        *(
            bar(s - 1, 4, "Epoch 1/2")
            + f"step:{s} - train/loss:{1.5 - s / 8} - train/lr(1e-3):0.01"
            for s in (1, 2, 3, 4)
        ),
        "step:4 - val/loss:1.25",
        "Final validation metrics: {'val/loss': 1.25}",
    ),
    losses=[(1, 1.375), (2, 1.25), (3, 1.125), (4, 1.0)],
    val=[(4, 1.25)],
)
SAMPLES["open-instruct"] = Sample(
    lines(
        *(
            f"2025-02-01 12:00:{s:02d} - INFO - __main__ -   Step: {s}, LR: 1e-05, "
            f"Loss: {2 - s / 4}, "
            f"TPS: {1000 + s}.5"
            for s in (1, 2, 3)
        )
    ),
    losses=[(1, 1.75), (2, 1.5), (3, 1.25)],
)
SAMPLES["fairseq"] = Sample(
    lines(
        *(
            f"2023-04-01 10:00:0{n} | INFO | train_inner | "
            + json.dumps(
                {"epoch": 1, "update": n / 20, "loss": str(9 - n), "nll_loss": "7.5"}
                | {"ppl": "181", "wps": "9000", "num_updates": str(100 * n), "lr": "1e-05"}
            )
            for n in (1, 2, 3)
        ),
        "2023-04-01 10:01:00 | INFO | valid | "
        + json.dumps({"epoch": 1, "valid_loss": "6.5", "valid_nll_loss": "5.5"})[:-1]
        + ', "valid_num_updates": "300"}',
        "2023-04-01 10:01:02 | INFO | train | "
        + json.dumps({"epoch": 1, "train_loss": "7.0", "train_num_updates": "300"}),
    ),
    losses=[(100, 8.0), (200, 7.0), (300, 6.0)],
    val=[(300, 6.5)],
)
SAMPLES["nanotron"] = Sample(
    lines(
        *(
            f"03/08/2025 11:00:0{i} [INFO|DP=0|PP=1|TP=0|host-1]: iteration: {i} / 200 | "
            f"consumed_tokens: {i * 1.31:.2f}M | elapsed_time_per_iteration_ms: 2.5K | "
            f"tokens_per_sec: 523K | tokens_per_sec_per_gpu: 65.4K | global_batch_size: 512 | "
            f"lm_loss: {11 - i} | lr: 3e-05 | model_tflops_per_gpu: 37 | grad_norm: 1.25"
            for i in (1, 2, 3)
        )
    ),
    losses=[(1, 10.0), (2, 9.0), (3, 8.0)],
    planned=200,
)
SAMPLES["accelerate bar"] = Sample(
    "".join("\r" + bar(s, 40, "Steps", f"lr=1e-5, step_loss={1 - s / 8}") for s in (1, 2, 3))
    + "\n",
    losses=[(1, 0.875), (2, 0.75), (3, 0.625)],
    planned=40,
)
SAMPLES["Lightning bar"] = Sample(
    "".join(
        "\r" + bar(s, 2, f"Epoch {e}", f"v_num=0, train_loss={3 - (2 * e + s) / 4}")
        for e in (0, 1)
        for s in (1, 2)
    )
    + "\n"
    + bar(1, 3, "Validation DataLoader 0")
    + "\n"
    + bar(2, 2, "Epoch 1", "v_num=0, train_loss=2.0, val_loss=2.25")
    + "\n",
    losses=[(1, 2.75), (2, 2.5), (3, 2.25), (4, 2.0)],
    val=[(4, 2.25)],
)
SAMPLES["Keras"] = Sample(
    "Epoch 1/2\n"
    "100/100 [==============================] - 5s 50ms/step - loss: 1.5000 - accuracy: 0.5000 "
    "- val_loss: 1.2500 - val_accuracy: 0.6250\n"
    "Epoch 2/2\n"
    "100/100 [==============================] - 5s 50ms/step - loss: 1.0000 - accuracy: 0.7500 "
    "- val_loss: 1.1250 - val_accuracy: 0.6875\n",
    losses=[(100, 1.5), (200, 1.0)],
    planned=200,
    val=[(100, 1.25), (200, 1.125)],
    evals=[(100, 0.625), (200, 0.6875)],
)
SAMPLES["sentence-transformers"] = Sample(
    "".join(
        entry(loss=2 - s / 4, grad_norm=1.0, learning_rate=1e-05, epoch=s / 10)
        + entry(**{"eval_sts-dev_loss": 1.5 - s / 8, "eval_sts-dev_runtime": 1.0, "epoch": s / 10})
        + entry(**{"eval_all-nli_loss": 2.5 - s / 8, "eval_all-nli_runtime": 1.0, "epoch": s / 10})
        for s in (1, 2)
    ),
    losses=[(1, 1.75), (2, 1.5)],
    val=[(1, 1.375), (2, 1.25), (1, 2.375), (2, 2.25)],
    sets=("sts-dev", "all-nli"),
)
SAMPLES["prime-rl metrics.jsonl"] = Sample(
    rows(
        *(
            {"step": s, "loss/mean": 2 - s / 4, "optim/lr": 1e-06, "optim/grad_norm": 0.5}
            | {"perf/throughput": 9000.0}
            for s in (1, 2, 3)
        )
    ),
    losses=[(1, 1.75), (2, 1.5), (3, 1.25)],
)
SAMPLES["log_history list"] = Sample(
    json.dumps(
        [
            {"loss": 1.5, "learning_rate": 1e-05, "epoch": 0.5, "step": 5},
            {"eval_loss": 1.75, "eval_runtime": 1.0, "epoch": 0.5, "step": 5},
            {"loss": 1.25, "learning_rate": 5e-06, "epoch": 1.0, "step": 10},
            {"train_runtime": 9.0, "train_loss": 1.375, "epoch": 1.0, "step": 10},
        ],
        indent=1,
    ),
    losses=[(5, 1.5), (10, 1.25)],
    val=[(5, 1.75)],
    ended=True,
)
SAMPLES["wandb export"] = Sample(
    '"Step","calm-dew-7 - train/loss","calm-dew-7 - train/loss__MIN",'
    '"calm-dew-7 - train/loss__MAX"\n'
    '"10","1.5","1.4","1.6"\n"20","1.25","1.2","1.3"\n"30","1.125","1.1","1.2"\n',
    losses=[(10, 1.5), (20, 1.25), (30, 1.125)],
)
SAMPLES["semicolons and decimal commas"] = Sample(
    "step;loss;val_loss;lr\n10;1,5;;0,0001\n20;1,25;1,375;0,0001\n30;1,125;;0,0001\n",
    losses=[(10, 1.5), (20, 1.25), (30, 1.125)],
    val=[(20, 1.375)],
)
SAMPLES["tabs"] = Sample(
    "epoch\titeration\ttrain loss\tval loss\n1\t100\t1.5\t\n1\t200\t1.25\t1.5\n2\t300\t1.0\t\n",
    losses=[(100, 1.5), (200, 1.25), (300, 1.0)],
    val=[(200, 1.5)],
)
SAMPLES["Keras CSVLogger"] = Sample(
    "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,1.5,0.25,1.75\n1,0.625,1.25,0.5,1.5\n"
    "2,0.75,1.0,0.625,1.25\n",
    losses=[(0, 1.5), (1, 1.25), (2, 1.0)],
    val=[(0, 1.75), (1, 1.5), (2, 1.25)],
    evals=[(0, 0.25), (1, 0.5), (2, 0.625)],
)
SAMPLES["Megatron-DeepSpeed"] = Sample(
    lines(
        *(
            f" iteration {s:8d}/    1000 | consumed samples: {s * 64:12d} | "
            f"consumed tokens: {s * 131072:12d} | elapsed time per iteration (s): 4.13 | "
            f"learning rate: 1.200E-05 | global batch size: 64 | lm loss: {8 - s / 10:.6E} | "
            f"moe loss: 1.000000E-02 | loss scale: 65536.0 | grad norm: 1.125 | "
            f"num zeros: 0.0 | actual seqlen: 2048 | samples per second: 15.496 | TFLOPs: 81.2 |"
            for s in (10, 20, 30)
        ),
        "-" * 70,
        " validation loss at iteration 30 | lm loss value: 5.250000E+00 | lm loss PPL: 1.9E+02 | ",
        "-" * 70,
    ),
    losses=[(10, 7.0), (20, 6.0), (30, 5.0)],
    planned=1000,
    val=[(30, 5.25)],
)
SAMPLES["GPT-NeoX"] = Sample(
    lines(
        *(
            line
            for s in (10, 20, 30)
            for line in (
                f" samples/sec: 61.250 | iteration {s:8d}/     600 | "
                f"elapsed time per iteration (ms): 4180.2 | learning rate: 6.000E-05 | "
                f"approx flops per GPU: 48.1TFLOPS | lm_loss: {8 - s / 10:.6E} | "
                f"loss scale: 32768.0 | number of skipped iterations:   0 | "
                f"number of nan iterations:   0 |",
                f"[2023-05-04 10:00:{s},101] [INFO] [logging.py:60:log_dist] [Rank 0] step={s}, "
                f"skipped=0, lr=[6e-05, 6e-05], mom=[[0.9, 0.95], [0.9, 0.95]]",
            )
        ),
        "-" * 99,
        " validation results at iteration 30 | lm_loss value: 5.250000E+00 | "
        "lm_loss_ppl value: 1.905662E+02 | ",
        "-" * 99,
    ),
    losses=[(10, 7.0), (20, 6.0), (30, 5.0)],
    planned=600,
    val=[(30, 5.25)],
)
SAMPLES["mmengine by iterations (xtuner)"] = Sample(
    lines(
        "2024/06/01 09:00:00 - mmengine - INFO - Checkpoints will be saved to work_dirs/try.",
        *(
            f"2024/06/01 09:0{s // 10}:00 - mmengine - INFO - Iter(train) [{s:4d}/200]  "
            f"lr: 2.0000e-05  eta: 0:12:10  time: 3.0125  data_time: 0.0210  memory: 9310  "
            f"loss: {2 - s / 40:.4f}" + ("  grad_norm: 0.5250" if s > 10 else "")
            for s in (10, 20, 30)
        ),
    ),
    losses=[(10, 1.75), (20, 1.5), (30, 1.25)],
    planned=200,
)
SAMPLES["mmengine by epochs"] = Sample(
    lines(
        *(
            f"06/01 09:0{e}:{s} - mmengine - INFO - Epoch(train)  [{e}][{s}/40]  lr: 1.0000e-02  "
            f"eta: 0:00:25  time: 0.0100  data_time: 0.0010  memory: 310  "
            f"loss: {4 - e - s / 40:.4f}"
            for e in (1, 2)
            for s in (20, 40)
        ),
        "06/01 09:03:00 - mmengine - INFO - Saving checkpoint at 2 epochs",
    ),
    losses=[(20, 2.5), (40, 2.0), (60, 1.5), (80, 1.0)],
)
SAMPLES["timm"] = Sample(
    lines(
        *(
            f"Train: {e} [{s:4d}/100 ({s:3d}%)]  Loss: {4 - e - s / 100:.3f} (3.50)  "
            f"Time: 0.412s,  620.10/s  (0.433s,  590.40/s)  LR: 1.000e-03  Data: 0.011 (0.020)"
            for e in (0, 1)
            for s in (0, 50)
        ),
    ),
    losses=[(0, 4.0), (50, 3.5), (100, 3.0), (150, 2.5)],
)
SAMPLES["timm summary.csv"] = Sample(
    "epoch,train_loss,eval_loss,eval_top1,eval_top5,lr\n"
    "0,6.5,6.25,1.5,5.0,1e-06\n1,6.0,5.75,3.25,9.5,0.0001\n2,5.5,5.25,6.75,15.0,0.0002\n",
    losses=[(0, 6.5), (1, 6.0), (2, 5.5)],
    val=[(0, 6.25), (1, 5.75), (2, 5.25)],
)
SAMPLES["Composer"] = Sample(
    lines(
        *(
            line
            for b in (1, 2, 3)
            for line in (
                f"[batch={b}/40]:",
                "\t Train epoch: 0",
                f"\t Train trainer/global_step: {b}",
                f"\t Train trainer/batch_idx: {b}",
                "\t Train memory/allocated_mem: 6.8051",
                f"\t Train loss/train/total: {12 - b}.5000",
                f"\t Train metrics/train/LanguageCrossEntropy: {12 - b}.5000",
                "\t Train time/train: 0.0081",
            )
        ),
        "[Eval batch=1/8] Eval on eval data",
        "[Eval batch=8/8] Eval on eval data:",
        "\t Eval loss/eval/total: 9.7500",
        "[batch=4/40]:",
        "\t Train trainer/global_step: 4",
        "\t Train loss/train/total: 8.5000",
    ),
    losses=[(1, 11.5), (2, 10.5), (3, 9.5), (4, 8.5)],
    planned=40,
    val=[(3, 9.75)],
)
SAMPLES["counters in brackets above indented numbers"] = Sample(
    "".join(
        f"2026-05-03 09:00:{step:02d}.123\tnode:0\tsome.train:960\tINFO\t[step={step}/90,epoch=0]\n"
        f"    optim/total_grad_norm=1.{step}\n    train/CrossEntropyLoss={loss}\n"
        "    throughput/total_tokens=4,194,304\n"
        for step, loss in ((1, 2.9), (2, 2.7), (3, 2.6))
    ),
    losses=[(1, 2.9), (2, 2.7), (3, 2.6)],
    planned=90,
)
SAMPLES["Chinese words, wide punctuation"] = Sample(
    lines(
        "开始训练，共 3 轮",
        "第 10/90 步，训练损失：2.91，学习率：2e-05",
        "第 20/90 步，训练损失：2.52，学习率：1e-05",
        "第 20 步，验证损失：2.61",
        "第 30/90 步，训练损失：2.33，学习率：1e-05",
    ),
    losses=[(10, 2.91), (20, 2.52), (30, 2.33)],
    planned=90,
    val=[(20, 2.61)],
)
SAMPLES["Chinese names of numbers"] = Sample(
    lines(*(f"步数: {s} 损失: {3 - s / 10:.1f} 困惑度: 12.5" for s in range(1, 5))),
    losses=[(1, 2.9), (2, 2.8), (3, 2.7), (4, 2.6)],
)
SAMPLES["Chinese keys"] = Sample(
    rows(*({"步数": s, "训练损失": 3 - s / 10, "验证准确率": s / 10} for s in (1, 2, 3))),
    losses=[(1, 2.9), (2, 2.8), (3, 2.7)],
    evals=[(1, 0.1), (2, 0.2), (3, 0.3)],
)
SAMPLES["tensors printed as they are"] = Sample(
    lines(
        "step: 1, loss: tensor(2.5, device='cuda:0', grad_fn=<NllLossBackward0>)",
        "step: 2, loss: tensor(2.25, device='cuda:0', grad_fn=<NllLossBackward0>)",
        "step: 3, loss: np.float64(2.125), lr: np.float32(1e-05)",
        "step: 4, loss: tensor([2.0], requires_grad=True)",
    ),
    losses=[(1, 2.5), (2, 2.25), (3, 2.125), (4, 2.0)],
)
SAMPLES["a tensor beside a bar"] = Sample(
    "".join("\r" + bar(s, 5, "Training", f"loss=tensor({3 - s / 10}), lr=1e-5") for s in (1, 2, 3))
    + "\n",
    losses=[(1, 2.9), (2, 2.8), (3, 2.7)],
    planned=5,
)
SAMPLES["a counter on a line of its own"] = Sample(
    lines(*(f"Step: {s}/9\nLoss: {3 - s / 10:.1f}\nLR: 1e-05" for s in (1, 2, 3))),
    losses=[(1, 2.9), (2, 2.8), (3, 2.7)],
    planned=9,
)
SAMPLES["a table with padded columns"] = Sample(
    "     epoch,    train_loss,      val_loss\n"
    + "".join(f"{s:>10},{3 - s / 10:>14.1f},{3.1 - s / 10:>14.1f}\n" for s in (1, 2, 3)),
    losses=[(1, 2.9), (2, 2.8), (3, 2.7)],
    val=[(1, 3.0), (2, 2.9), (3, 2.8)],
)
