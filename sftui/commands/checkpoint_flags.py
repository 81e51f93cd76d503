"""What can be typed after the commands that load a checkpoint: eval, chat and export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from sftui.commands.options import Typed
from sftui.commands.shared_flags import OUTPUT, RunsDirFlags

CHECKPOINT = Typed(metavar="CHECKPOINT", positional=True)
DEVICE = Typed(metavar="{cuda,cpu}", choices=("cuda", "cpu"))
SOURCE = Typed(metavar="{base,mid,sft,rl}", choices=("base", "mid", "sft", "rl"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFlags(RunsDirFlags):
    """For commands that load one checkpoint."""

    checkpoint: Annotated[str | None, CHECKPOINT] = None
    """A run, RUN:STEP, a ckpt/step-N folder, sft:d16:700, starter, or a folder of
    transformers: a model, a trainer's checkpoint-N, adapters of peft (default: the newest run
    that has a checkpoint)."""
    source: Annotated[str | None, SOURCE] = None
    """nanochat's checkpoint by names: base, mid, sft or rl."""
    model_tag: Annotated[str | None, Typed(metavar="NAME")] = None
    """Model folder of --source, e.g. d16 (default: the deepest)."""
    step: int | None = None
    """Step of the checkpoint (default: the last)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalFlags(CheckpointFlags):
    """Ask one checkpoint the evaluation questions, and write a results file.

    A checkpoint of a run is asked what its run asked. The file can be given to --baseline, and
    readers of lm-evaluation-harness results understand it.

    Examples:
      sftui eval runs/20260102-030405-starter/ckpt/step-200
      sftui eval sft:d16:1952 --tasks MMLU,ARC-Challenge --data-dir data/
      sftui eval sft:d24 --tasks chatcore
    """

    tasks: Annotated[str | None, Typed(metavar="NAME,...")] = None
    """Tasks, comma-separated: ARC-Easy, ARC-Challenge, MMLU, GSM8K, HumanEval; chatcore is all five
    (default: those of the run, else MMLU,ARC-Easy)."""
    data_dir: Annotated[str | None, Typed(metavar="DIR")] = None
    """Folder with TASK.test.jsonl or .parquet files (default: the run's, else the hub)."""
    max_problems: int | None = None
    """Questions of each task that is answered by letter, -1 for all (default: as many as the run
    asked, else 1024; of chatcore all)."""
    max_generated: int | None = None
    """Problems of GSM8K and of HumanEval, whose answers are written out, -1 for all (default: as
    many as the run asked, else 24)."""
    unsafe_code: bool = False
    """Run HumanEval's programs, which the model writes, without a sandbox."""
    device_type: Annotated[str, DEVICE] = ""
    """cuda or cpu (default: found out)."""
    output: Annotated[Path | None, OUTPUT] = None
    """Results file (default: in the run's evals/, else evals/ here)."""
    json: bool = False
    """Print the results file instead of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFlags(CheckpointFlags):
    """Talk to a checkpoint.

    On a terminal a prompt a line: /clear begins anew, /quit or Ctrl-D ends, Ctrl-C stops an
    answer. One answer and no more with --prompt, or with the prompt on stdin.

    Examples:
      sftui chat 20260102-030405-starter
      sftui chat sft:d16:1952 --prompt "Why is the sky blue?" --temperature 0
      echo "What is 3 + 4?" | sftui chat runs/20260102-030405-starter/ckpt/step-60 --json
    """

    prompt: str | None = None
    """Say this, print the answer and end."""
    temperature: float = 0.6
    """0 takes the likeliest token each time; higher is more varied."""
    top_k: int = 50
    """Choose among so many likeliest tokens (0: among all)."""
    max_tokens: int = 512
    """Longest answer."""
    seed: int = 42
    """The same seed gives the same answers."""
    device_type: Annotated[str, DEVICE] = ""
    """cuda or cpu (default: found out)."""
    json: bool = False
    """Print one object: prompt, text, tokens, stopped_by and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFlags(CheckpointFlags):
    """Write a checkpoint so that another program can load it.

    nanochat: a folder to set NANOCHAT_BASE_DIR to, checkpoint and tokenizer in it. hf: a folder
    for transformers' from_pretrained (model type nanochat), with tokenizer and chat template.

    Examples:
      sftui export 20260102-030405-starter --format hf -o my-model
      sftui export sft:d16:1952 --format hf
    """

    format: Literal["nanochat", "hf"] = "nanochat"
    """Whose layout."""
    output: Annotated[Path | None, OUTPUT] = None
    """Folder to write (default: named after checkpoint and format, here)."""
    adapter: bool = False
    """Of a run with --lora: the adapters alone, for peft, and not merged into the model."""
    tag: Annotated[str | None, Typed(metavar="NAME")] = None
    """Model folder to write in nanochat's layout (default: d and the number of layers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFlags(RunsDirFlags):
    """Look at rows as a model will see them: token by token, what carries loss.

    Of a file with a Hugging Face model's tokenizer, or of one step of a run. Supervised tokens
    are green, or stand between ⟦ and ⟧ where there are no colours.

    Examples:
      sftui data chat.jsonl --model SmolLM2-135M-Instruct
      sftui data chat.jsonl --model DIR --first 120 --rows 1
      sftui data chat.jsonl --model DIR --json
      sftui data 20260102-030405-hf --step 40
    """

    file: Annotated[Path | None, Typed(metavar="FILE", positional=True)] = None
    """File or folder of rows (.jsonl, .json, .csv, .tsv, also .gz, .parquet), or with --step a
    run."""
    model: Annotated[Path | None, Typed(metavar="DIR")] = None
    """Folder of the model, whose tokenizer and chat template write the rows."""
    step: int | None = None
    """Of a run: the rows of this update, counted from 0."""
    rows: int = 3
    """So many are printed; all are counted."""
    first: int = 1
    """Begin with this row, counted from 1."""
    max_tokens: int = 2048
    """Where a row is cut."""
    chat_template: Annotated[Path | None, Typed(metavar="FILE")] = None
    """A file with the chat template to use instead of the tokenizer's own."""
    last_answer_only: bool = False
    """Only the last answer of each row carries loss."""
    data_format: str = ""
    """Form of the rows (default: recognised by their columns)."""
    map: Annotated[tuple[str, ...], Typed(metavar="NAME=COLUMN")] = ()
    """Columns under their names here, comma-separated, e.g. prompt=question,completion=reply."""
    json: bool = False
    """One object a row: ids, mask, tokens, dropped, or its fault."""
