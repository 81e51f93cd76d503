"""What the start-up lines of one nanochat program say, gathered until its loop begins.

The lines come in no fixed order: stderr is not buffered and stdout is, so with one
rank the logger's lines stand before the overrides that were printed first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.events import RunStarted, Scalar, Stamp
from sftui.readers import nanochat_lines as lines

_SETTING = re.compile(
    r"Overriding: (?P<override>\w{1,60}) = (?P<value>.{0,300})"
    r"|Autodetected device type: (?P<device>cuda|cpu|mps|npu|xpu)"
    r"|Target examples per step: (?P<target>\d{1,12})"
    r"|Device batch size: (?P<batch>\d{1,12})"
    r"|=> Setting grad accum steps: (?P<accum>\d{1,12})"
    r"|Tokens / micro-batch / rank: (?P<rank_batch>\d{1,9}) x (?P<length>\d{1,9}) = .*"
    r"|Total batch size (?P<total>\d[\d,]{0,20}) => gradient accumulation steps: (?P<steps>\d{1,9})"
    r"|Scaling the LR for the AdamW parameters .* = (?P<scale>[\d.]{1,20})"
    r"|(?:Number of parameters: |total +: )(?P<parameters>\d[\d,]{0,20})"
    r"|Calculated number of iterations from [^:]*(?::[^:]*)?: (?P<iterations>\d[\d,]{0,12})"
    r"|Training mixture: (?P<rows>\d[\d,]{0,20}) rows.*"
    r"|(?:Inherited |Using )(?P<inherited>[a-z_]{1,60})=(?P<inherited_value>\S{1,60}).*"
    r"|Eval modes: (?P<modes>.*)"
    r"|COMPUTE_DTYPE: torch\.(?P<dtype>\w{1,20}).*"
    r"|(?P<word>Vocab size: |Estimated FLOPs per token: |Muon: Grouping |GPU: "
    r"|Tokens / micro-batch: |Examples per step is |Total number of training tokens: "
    r"|Tokens : |Total training FLOPs |num_layers: |model_dim: |num_heads: |num_kv_heads: "
    r"|Number of iterations is too high).*"
)
_FIRST_LETTERS = frozenset("OADT=SNCtIUEVMGnm")
_SCRIPT = re.compile(
    r"scripts[./](base_train|base_loss|base_eval|mid_train|chat_sft|chat_eval|chat_rl|tok_train)\b"
)
_WORLD = re.compile(r"Distributed world size: (\d{1,9})")


@dataclass(slots=True)
class Head:
    """One program's start-up; `name` is what it was, once something said so."""

    name: str | None = None
    marks: set[str] = field(default_factory=set)
    """Kinds of start-up lines seen; a second one of a kind means another program."""
    settings: dict[str, Scalar] = field(default_factory=dict)
    effective: dict[str, Scalar] = field(default_factory=dict)
    device: str | None = None
    world_size: int | None = None
    source: str | None = None
    source_step: int | None = None
    num_iterations: int | None = None
    num_parameters: int | None = None
    rows: int | None = None
    t: float | None = None
    generation: str | None = None

    def take(self, text: str) -> bool:
        """Learn from one start-up line of stdout; False when it is none."""
        if text[:1] not in _FIRST_LETTERS:
            return text[:3] == '  "' and self._take_json(text)
        match = _SETTING.fullmatch(text)
        if match is None:
            return False
        groups = match.groupdict()
        for name, learn in _LEARN.items():
            if groups[name] is not None:
                learn(self, groups)
        return True

    def take_logged(self, message: str, t: float | None) -> bool:
        """Learn from one message of the logger."""
        if t is not None and self.t is None:
            self.t = t
        if world := _WORLD.match(message):
            self.world_size = int(world[1])
            self.marks.add("world")
        elif loading := lines.LOADING_MODEL.match(message):
            folder, tag = loading[1].rstrip("/").split("/")[-2:] if "/" in loading[1] else ("", "")
            kind = {"chatsft_checkpoints": "sft", "chatrl_checkpoints": "rl"}.get(
                folder, folder.removesuffix("_checkpoints")
            )
            self.source = f"{kind} {tag} step {int(loading[2])}".strip()
            self.source_step = int(loading[2])
        elif message.startswith("Building model with config: "):
            self._take_config(lines.model_config(message))
        elif not message.startswith(("No model tag provided", "Loading optimizer", "Patching ")):
            return False
        return True

    def event(self, stamp: Stamp) -> RunStarted:
        """What is known by now, as the event that begins (or refines) a stage."""
        effective = dict(self.effective)
        parameters = self.num_parameters or lines.num_parameters(effective)
        return RunStarted(
            name=self.name or "unknown",
            source=self.source,
            num_iterations=self.num_iterations,
            world_size=self.world_size,
            device=self.device,
            backend="nccl" if self.device == "cuda" and (self.world_size or 1) > 1 else None,
            num_parameters=parameters,
            rows=self.rows,
            settings=dict(self.settings),
            effective=effective,
            stamp=stamp,
        )

    def _take_json(self, text: str) -> bool:
        item = lines.json_item(text)
        self._take_config(item)
        return bool(item)

    def _take_config(self, config: dict[str, Scalar]) -> None:
        self.effective.update(config)
        if "window_pattern" in config:
            self.generation = "2026"


_Groups = dict[str, str]


def script_of(line: str) -> str | None:
    """The program that a line of a traceback names: one that failed early said it nowhere else."""
    match = _SCRIPT.search(line)
    return match[1] if match else None


def _learn_override(head: Head, groups: _Groups) -> None:
    head.marks.add("override")
    key, value = groups["override"], lines.scalar(groups["value"])
    head.settings[key] = value
    if key in ("num_iterations", "max_iterations") and isinstance(value, int) and value > 0:
        head.num_iterations = value


def _learn_device(head: Head, groups: _Groups) -> None:
    head.marks.add("device")
    head.device = groups["device"]


def _learn_target(head: Head, groups: _Groups) -> None:
    head.name = "chat_sft"
    head.settings["target_examples_per_step"] = int(groups["target"])


def _learn_batch(head: Head, groups: _Groups) -> None:
    head.settings["device_batch_size"] = int(groups["batch"])


def _learn_accumulation(head: Head, groups: _Groups) -> None:
    head.effective["grad_accum_steps"] = int(groups["accum"])


def _learn_rank_batch(head: Head, groups: _Groups) -> None:
    head.settings["device_batch_size"] = int(groups["rank_batch"])
    head.settings["max_seq_len"] = int(groups["length"])


def _learn_total_batch(head: Head, groups: _Groups) -> None:
    head.settings["total_batch_size"] = lines.count(groups["total"])
    head.effective["grad_accum_steps"] = int(groups["steps"])


def _learn_scale(head: Head, groups: _Groups) -> None:
    head.effective["lr_scale"] = lines.scalar(groups["scale"])


def _learn_parameters(head: Head, groups: _Groups) -> None:
    head.num_parameters = lines.count(groups["parameters"])
    head.name = head.name or "base_train"


def _learn_iterations(head: Head, groups: _Groups) -> None:
    head.num_iterations = lines.count(groups["iterations"])
    head.name = head.name or "base_train"


def _learn_rows(head: Head, groups: _Groups) -> None:
    head.rows = lines.count(groups["rows"])
    head.name, head.generation = "chat_sft", "2026"


def _learn_inherited(head: Head, groups: _Groups) -> None:
    head.settings[groups["inherited"]] = lines.scalar(groups["inherited_value"])


def _learn_modes(head: Head, groups: _Groups) -> None:
    head.name, head.generation = "base_eval", "2026"


def _learn_dtype(head: Head, groups: _Groups) -> None:
    head.settings["dtype"], head.generation = groups["dtype"], "2026"


def _learn_word(head: Head, groups: _Groups) -> None:
    if groups["word"] in ("Vocab size: ", "Estimated FLOPs per token: "):
        head.name = head.name or "base_train"


_LEARN: dict[str, Callable[[Head, _Groups], None]] = {
    "override": _learn_override,
    "device": _learn_device,
    "target": _learn_target,
    "batch": _learn_batch,
    "accum": _learn_accumulation,
    "rank_batch": _learn_rank_batch,
    "total": _learn_total_batch,
    "scale": _learn_scale,
    "parameters": _learn_parameters,
    "iterations": _learn_iterations,
    "rows": _learn_rows,
    "inherited": _learn_inherited,
    "modes": _learn_modes,
    "dtype": _learn_dtype,
    "word": _learn_word,
}
