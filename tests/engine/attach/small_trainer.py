"""A trainer of real transformers and TRL on a model that is made here: seconds a run, no hub.

As a script it is what a person would have written, without a word of sftui in it:
`python small_trainer.py OUTPUT [json of options]`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers import trainers as tokenizer_trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}<|end|>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<|end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def rows(count: int) -> list[dict[str, Any]]:
    """Conversations about small sums, the same ones every time."""
    made = []
    for i in range(count):
        a, b = (i * 37) % 100, (i * 61 + 13) % 100
        question = {"role": "user", "content": f"What is {a} plus {b}?"}
        reply = {"role": "assistant", "content": f"The sum is {a + b}." + " Yes." * (i % 3)}
        made.append({"messages": [question, reply]})
    return made


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte pairs over those rows, with a chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [message["content"] for row in rows(100) for message in row["messages"]]
    bpe.train_from_iterator(
        texts,
        tokenizer_trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<pad>", "<|start|>", "<|end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<|end|>")
    made.chat_template = TEMPLATE
    return made


def model(words: PreTrainedTokenizerFast, dropout: float = 0.1) -> LlamaForCausalLM:
    """Two layers of width 32, the same weights every time."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=128,
            attention_dropout=dropout,
            pad_token_id=words.pad_token_id,
            eos_token_id=words.eos_token_id,
            bos_token_id=None,
        )
    )


def quiet() -> None:
    """No progress bars of data sets and savers in what a test printed."""
    import datasets

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


_NAMES = frozenset(SFTConfig.__dataclass_fields__)


def as_logged(losses: dict[int, float]) -> dict[int, float]:
    """Losses as the trainer's own log has them: Transformers 4 rounds to four digits."""
    if transformers.__version__.startswith("4."):
        return {step: round(loss, 4) for step, loss in losses.items()}
    return losses


class Slow(TrainerCallback):
    """A step that takes time, so that a test can act in the middle of a run."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_step_begin(self, *args: Any, **kw: Any) -> None:
        time.sleep(self.seconds)


class LossOfEveryStep(TrainerCallback):
    """What the trainer itself logs; needs `logging_steps=1`."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kw: Any) -> None:
        if logs and "loss" in logs:
            self.losses[state.global_step - 1] = logs["loss"]


def _as_trained(made: list[dict[str, Any]], words: Any) -> list[dict[str, Any]]:
    """Rows as this version of TRL takes them: before 0.20 the text of a conversation."""
    if "max_length" in _NAMES:
        return made
    return [{"text": words.apply_chat_template(row["messages"], tokenize=False)} for row in made]


def sft_trainer(
    output: Path | str,
    *,
    steps: int = 12,
    train_rows: int = 120,
    dropout: float = 0.1,
    eval_rows: int | dict[str, int] | None = 8,
    lora: bool = False,
    slow: float = 0.0,
    callbacks: tuple[Any, ...] = (),
    **settings: Any,
) -> SFTTrainer:
    """An SFTTrainer as people write it; `settings` go into its SFTConfig."""
    words = tokenizer()
    data = _as_trained(rows(train_rows), words)
    held_out = _as_trained(rows(160)[120:], words)
    evaluation: Any = None
    if isinstance(eval_rows, dict):
        evaluation = {
            name: Dataset.from_list(held_out[:count]) for name, count in eval_rows.items()
        }
    elif eval_rows:
        evaluation = Dataset.from_list(held_out[:eval_rows])
    defaults: dict[str, Any] = {
        "output_dir": str(output),
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": steps,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "logging_steps": 1,
        "eval_strategy": "steps" if evaluation is not None else "no",
        "eval_steps": 5,
        "save_strategy": "steps",
        "save_steps": 5,
        # TRL's name before 0.20.
        "max_length" if "max_length" in _NAMES else "max_seq_length": 64,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 1,
    }
    quiet()
    peft_config = None
    if lora:
        from peft import LoraConfig

        peft_config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)
    extra = [Slow(slow)] if slow else []
    return SFTTrainer(
        model=model(words, dropout),
        args=SFTConfig(**(defaults | settings)),
        train_dataset=Dataset.from_list(data),
        eval_dataset=evaluation,
        processing_class=words,
        peft_config=peft_config,
        callbacks=[*callbacks, *extra],
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    options = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    sft_trainer(sys.argv[1], **options).train()
