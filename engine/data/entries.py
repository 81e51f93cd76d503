"""Which rows a run trains on and is measured with: the sources, and all settings that decide.

A cut (`size`, `max_rows`, `max_problems`) always comes after the seed-42 shuffle
of the whole task, so asking for fewer rows gives a prefix of the same rows.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from engine.conversations.problems import GENERATED_TASKS
from engine.data.hub import HUB
from engine.data.hub_sets import HubId
from engine.data.mixture import SEED
from engine.data.row_forms import RowForm
from engine.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DataEntry:
    """One source of rows: a known task, or any file under a name of its own."""

    name: str
    """`ARC-Easy`, `GSM8K`, ...; with `file`, whatever the screen shall call it."""
    file: Path | None = None
    hub: HubId | None = None
    """A data set of the hub that is no known task."""
    split: str = "train"
    size: int | None = None
    """Rows kept, counted after the shuffle; None keeps all."""
    epochs: int | Fraction = 1
    """How often the rows stand in one epoch of the mixture; a fraction: so large a part."""
    weight: Fraction | None = None
    """Its proportion to other sources, which then have one too (`mixture_plan`)."""
    shuffle: bool = True
    """False keeps the file's order, as nanochat does with its identity file."""

    @property
    def is_own(self) -> bool:
        """Rows that somebody named, and no known task: a file, a folder, a data set by its id."""
        return self.file is not None or self.hub is not None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ConfigError(f"{self.name}: size is {self.size}; expected 1 or more.")
        if self.epochs <= 0:
            raise ConfigError(f"{self.name}: epochs is {self.epochs}; expected more than 0.")
        if self.weight is not None and self.weight <= 0:
            raise ConfigError(f"{self.name}: weight is {self.weight}; expected more than 0.")
        if self.file is None and self.hub is None and self.name not in HUB:
            near = difflib.get_close_matches(self.name, HUB, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f'There is no task "{self.name}"; expected one of {", ".join(HUB)}, or a '
                f"file beside the name.{meant}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamLimits:
    """Most questions of a task; None asks all of them."""

    letters: int | None = None
    generated: int | None = None
    """Of GSM8K and HumanEval, whose answers are written out: hundreds of times the work."""

    def of(self, task: str) -> int | None:
        return self.generated if task in GENERATED_TASKS else self.letters


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """All settings that decide which rows a run trains on and is measured with."""

    data_dir: Path | None = None
    """Folder of `TASK.SPLIT.jsonl|.parquet`; None takes the hub's data sets."""
    mixture: tuple[DataEntry, ...] = ()
    """Empty: ARC-Easy, ARC-Challenge, GSM8K and SmolTalk, as in nanochat's reference run."""
    validation: DataEntry | tuple[DataEntry, ...] | None = DataEntry(name="SmolTalk", split="test")
    """Several are mixed, as nanochat does since 2026. None holds a share of every training
    entry's rows out, at least one of each."""
    held_out: Fraction = Fraction(1, 20)
    """That share."""
    questions: tuple[DataEntry, ...] = (
        DataEntry(name="MMLU", split="test"),
        DataEntry(name="ARC-Easy", split="test"),
    )
    form: RowForm = field(default_factory=RowForm)
    """Of the rows in files that were named."""
    skip_bad_rows: bool = False
    """Count malformed rows instead of refusing the file."""
    starter: bool = False
    """Take the built-in generator's rows for everything; the fields above are not used."""
    max_smoltalk_rows: int = 10_000
    """Of the default mixture."""
    seed: int = SEED
    """Of the order that rows are trained in."""
    exam_seed: int = SEED
    """Of what is asked and measured: the same for every run, so that two seeds can be compared.
    A run that an earlier version began keeps its own (`run_plan.exam_seed`)."""

    def validation_entries(self) -> tuple[DataEntry, ...]:
        """Empty where training rows are held out."""
        if self.validation is None:
            return ()
        return self.validation if isinstance(self.validation, tuple) else (self.validation,)

    def train_entries(self) -> tuple[DataEntry, ...]:
        return self.mixture or (
            DataEntry(name="ARC-Easy"),
            DataEntry(name="ARC-Challenge"),
            DataEntry(name="GSM8K"),
            DataEntry(name="SmolTalk", size=self.max_smoltalk_rows),
        )
