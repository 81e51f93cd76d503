"""Find the checkpoint that a command names, and describe it without loading it.

One set of names for every command that takes a checkpoint: a run (its newest
checkpoint), `RUN:STEP`, a `ckpt/step-N` folder, nanochat's names (`sft:d4:224`, or
`--source`, `--model-tag`, `--step`), a folder in nanochat's layout, one of transformers (a model,
a trainer's `checkpoint-N`, adapters of peft), and `starter`. No torch in here: a name that does
not exist is refused at once. `load_target` reads the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from engine.checkpoints import checkpoint_dir, nanochat_paths, weights_header
from engine.checkpoints.nanochat_paths import SOURCE_FOLDERS, NanochatCheckpoint
from engine.config import STARTER
from engine.errors import CheckpointError, RunDirError, SftuiError
from engine.events import CheckpointSaved
from engine.files import checked
from engine.files.lfs import pointer_fault
from engine.journal.event_files import scan
from engine.model import family
from engine.model.family import ModelShape
from engine.model.hf import hf_folders
from engine.model.hf.tokenizer_files import TOKENIZER
from engine.run import foreign, run_dir
from engine.run.run_dir import RunDir

HF_WEIGHTS = "model.safetensors"
HF_TOKENIZER = "sftui_tokenizer.json"
"""Our own form of the tokenizer beside transformers' `tokenizer.json`: exact, and no conversion."""

_EXAMPLES = (
    "Name a run, RUN:STEP, a ckpt/step-N folder, sft:d16:700 (nanochat's source, tag and step), or "
    "a folder of transformers (a model, a checkpoint-N, adapters, an export)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One checkpoint of any origin."""

    kind: Literal["sftui", "nanochat", "hf", "folder", "starter"]
    label: str
    """In words, e.g. `sft d4 step 224`."""
    config: ModelShape
    path: Path
    """Checkpoint folder (`sftui`, `hf`: nanochat for transformers, `folder`: any other model of
    transformers) or weights file."""
    tokenizer: Path
    step: int | None = None
    ref: NanochatCheckpoint | None = None
    """Of a nanochat checkpoint."""
    run: RunDir | None = None
    """The run it belongs to, whose settings then say how it was evaluated."""
    val_loss: float | None = None
    accuracies: Mapping[str, float] | None = None
    """As they were measured in the run, by task."""

    def described(self) -> dict[str, Any]:
        """What it is and where it lies, for a result file or a message."""
        return {
            "label": self.label,
            "kind": self.kind,
            "path": str(self.path),
            "step": self.step,
            "run": None if self.run is None else self.run.id,
        }


def find(
    text: str | None,
    *,
    source: str | None = None,
    model_tag: str | None = None,
    step: int | None = None,
    runs: Path,
) -> Target:
    """Find the checkpoint named by `text`, or by nanochat's three names.

    Args:
        text: as typed; None when nanochat's three names were given instead, or nothing: then
            the newest run that has a checkpoint is meant.
        step: chooses among the checkpoints of a run or of a nanochat folder.
        runs: where runs lie, for ids.

    Raises:
        UsageError: nothing or no usable checkpoint of that name; what there is is named.
    """
    if text is None:
        if source is None and model_tag is None:
            return _newest(runs, step)
        return _nanochat(nanochat_paths.find_checkpoint(source or "sft", model_tag, step))
    path = Path(text).expanduser()
    if path.is_dir():
        return _folder(path.absolute(), step)
    if path.is_file():
        return _file(path.absolute())
    if text == STARTER:
        return _starter()
    name, _, rest = text.partition(":")
    if name in SOURCE_FOLDERS:
        tag, _, number = rest.partition(":")
        chosen = _chosen(number, text, step)
        return _nanochat(nanochat_paths.find_checkpoint(name, tag or model_tag, chosen))
    if "/" in text:
        raise CheckpointError(f"{text}: no such file or folder. {_EXAMPLES}")
    try:
        found = run_dir.find(name, runs)
    except RunDirError as error:
        raise CheckpointError(f"{error} {_EXAMPLES}") from None
    return _run(found, _chosen(rest, text, step))


def of_run(run: RunDir, info: checkpoint_dir.CheckpointInfo) -> Target:
    """A resumable checkpoint as a target."""
    # Later evaluations only: a checkpoint may carry numbers measured steps before it.
    own = info.state.get("eval_step") == info.step
    accuracies = info.state.get("accuracies") if own else None
    return Target(
        kind="sftui",
        label=f"{run.id} step {info.step}",
        config=_shape(info.path, info.state.get("model_config")),
        path=info.path,
        tokenizer=run.tokenizer,
        step=info.step,
        run=run,
        val_loss=info.val_loss,
        accuracies=accuracies if isinstance(accuracies, dict) else None,
    )


def _chosen(text: str, whole: str, step: int | None) -> int | None:
    """The step that `whole` ends in, else the one given beside it."""
    if not text:
        return step
    number = checked.digits(text)
    if number is None:
        raise CheckpointError(f"{whole}: {text!r} is no step number. {_EXAMPLES}")
    if step not in (None, number):
        raise CheckpointError(f"{whole} names step {number}, --step is {step}; leave one out.")
    return number


def _folder(path: Path, step: int | None) -> Target:
    if (path / "run.json").is_file():
        return _run(RunDir(path), step)
    if checkpoint_dir.step_of(path) is not None and path.parent.name == "ckpt":
        # `read` says what is wrong with a broken one.
        return of_run(RunDir(path.parents[1]), checkpoint_dir.read(path))
    if hf_folders.is_one(path):
        return _hf(path, step)
    if any(path.glob("model_*.pt")):
        return _nanochat_folder(path, step)
    for source in ("sft", "rl", "mid", "base"):
        if (path / SOURCE_FOLDERS[source]).is_dir():
            return _nanochat(nanochat_paths.find_checkpoint(source, None, step, base=path))
    raise CheckpointError(f"{path} holds no checkpoint that is known here. {_EXAMPLES}")


def _file(path: Path) -> Target:
    number = checked.digits(path.stem.removeprefix("model_"))
    if path.suffix == ".pt" and number is not None:
        return _nanochat_folder(path.parent, number)
    if path.name in (
        checkpoint_dir.MODEL,
        checkpoint_dir.MANIFEST,
        "config.json",
        hf_folders.ADAPTER,
    ):
        return _folder(path.parent, None)
    raise CheckpointError(f"{path} is no checkpoint that is known here. {_EXAMPLES}")


def _newest(runs: Path, step: int | None) -> Target:
    """Of the newest run that has a checkpoint."""
    for run in run_dir.list_runs(runs):
        if checkpoint_dir.list_checkpoints(run) or _of_its_trainer(run):
            return _run(run, step)
    raise CheckpointError(f"no checkpoint was named, and no run here has one. {_EXAMPLES}")


def _run(run: RunDir, step: int | None) -> Target:
    found = checkpoint_dir.list_checkpoints(run)
    if not found:
        if others := _of_its_trainer(run):
            return _foreign(hf_folders.find(_of_step(run, others, step)))
        checkpoint_dir.refuse_broken(run)
        raise CheckpointError(
            f"{run.id} has no checkpoint. Ask a running run for one with "
            f"`sftui ctl {run.id} checkpoint`."
        )
    return of_run(run, _of_step(run, {info.step: info for info in found}, step))


_Saved = TypeVar("_Saved")


def _of_step(run: RunDir, found: Mapping[int, _Saved], step: int | None) -> _Saved:
    """The newest, or that of the step."""
    chosen = max(found) if step is None else step
    if chosen not in found:
        steps = ", ".join(map(str, sorted(found)))
        raise CheckpointError(f"{run.id} has no checkpoint of step {step}; there are {steps}.")
    return found[chosen]


def _of_its_trainer(run: RunDir) -> dict[int, Path]:
    """Folders of transformers that another trainer saved in this run and that are still there, by
    step: they lie where the trainer writes, and the run's events name them."""
    try:
        if not foreign.is_foreign(run.read_manifest()):
            return {}
    except SftuiError:
        return {}
    saved = {
        event.step: run.path / event.path
        for event in scan(run.events, CheckpointSaved)
        if isinstance(event, CheckpointSaved) and event.kind == "hf" and event.step is not None
    }
    return {step: path for step, path in saved.items() if hf_folders.is_one(path)}


def _nanochat_folder(path: Path, step: int | None) -> Target:
    source = next((name for name, f in SOURCE_FOLDERS.items() if f == path.parent.name), None)
    if source is None:
        raise CheckpointError(
            f"{path} lies in {path.parent.name}; expected nanochat's layout, e.g. "
            "chatsft_checkpoints/d16 beside tokenizer/tokenizer.pkl. Copy it into such a folder."
        )
    base = path.parents[1]
    return _nanochat(nanochat_paths.find_checkpoint(source, path.name, step, base=base))


def _nanochat(ref: NanochatCheckpoint) -> Target:
    val_loss = ref.meta.get("val_loss")
    return Target(
        kind="nanochat",
        label=ref.label,
        config=ref.config,
        path=ref.model_path,
        tokenizer=ref.tokenizer_path,
        step=ref.step,
        ref=ref,
        val_loss=val_loss if isinstance(val_loss, int | float) else None,
    )


def _hf(path: Path, step: int | None) -> Target:
    found = hf_folders.find(path, step)
    if found.path != path or found.adapter is not None:
        return _foreign(found)
    config = _read_json(path / "config.json")
    own = (path / HF_TOKENIZER).is_file()
    if config.get("model_type") == "nanochat" and not own and not (path / TOKENIZER).is_file():
        raise CheckpointError(
            f"{path} has no {HF_TOKENIZER}; expected a folder written by `sftui export --format "
            "hf`. Export it again from the checkpoint it was made of."
        )
    if config.get("model_type") != "nanochat" or not own:
        return _foreign(found)
    weights_header.check_safetensors(path / HF_WEIGHTS)
    shape = {
        "sequence_len": config.get("max_position_embeddings"),
        "vocab_size": config.get("vocab_size"),
        "n_layer": config.get("num_hidden_layers"),
        "n_head": config.get("num_attention_heads"),
        "n_kv_head": config.get("num_key_value_heads"),
        "n_embd": config.get("hidden_size"),
    }
    return Target(
        kind="hf",
        label=f"{path.name} (transformers)",
        config=_shape(path / "config.json", shape),
        path=path,
        tokenizer=path / HF_TOKENIZER,
    )


def _foreign(found: hf_folders.ForeignFolder) -> Target:
    return Target(
        kind="folder",
        label=found.label,
        config=found.shape(),
        path=found.path,
        tokenizer=found.tokenizer,
        step=found.step,
    )


def _starter() -> Target:
    # The starter's files concern the starter alone.
    from engine.starter import base  # noqa: PLC0415

    info = base.base_info()
    return Target(
        kind="starter",
        label="starter base",
        config=info.config,
        path=info.weights_path,
        tokenizer=info.tokenizer_path,
    )


def _shape(where: Path, raw: Any) -> ModelShape:
    if not isinstance(raw, dict):
        raise CheckpointError(f"{where} does not say the model's shape. {_EXAMPLES}")
    try:
        return family.shape_from(raw)
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from None


def _read_json(path: Path) -> dict[str, Any]:
    if fault := pointer_fault(path):
        raise CheckpointError(f"{fault}.")
    try:
        found = checked.parse_json(checked.read_typed(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is not a JSON object.")
    return found
