"""The rows of one step of a run, as the model reads them: for people, so no torch.

Worked out from what the run directory holds (settings, plan, tokenizer) and from the data as it
lies there now, the way the ranks do it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from engine.config import from_flat
from engine.conversations.chat_format import Rendered, render_conversation
from engine.conversations.conversation import RowFault
from engine.data import tasks
from engine.data.mixture import Mixture
from engine.errors import RunDirError, UsageError
from engine.model import family
from engine.model.family import RunTokenizer
from engine.run import resume_file
from engine.run.run_dir import RunDir
from engine.step import packed_run, row_packing, run_plan
from engine.step.plan import MicroBatch, Plan
from engine.step.row_packing import RowPlan


class SeenRow(NamedTuple):
    """A row as the model sees it, or why it does not."""

    where: str
    """File and line, or source and number of the row in it."""
    rendered: Rendered | None
    fault: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """What a run trains on: its rows, their order, and how they are written."""

    mixture: Mixture
    plan: Plan | RowPlan
    tokenizer: RunTokenizer
    max_tokens: int

    @property
    def num_updates(self) -> int:
        return self.plan.num_updates

    def of_step(self, step: int) -> Iterator[SeenRow]:
        """Rows of update `step`, counted from 0, in the plan's order.

        Raises:
            UsageError: there is no such step.
        """
        if not 0 <= step < self.num_updates:
            raise UsageError(
                f"there is no step {step:,}; expected one from 0 to {self.num_updates - 1:,}."
            )
        micro_batches: list[MicroBatch] = self.plan.micro_batches(step)
        for row in (row for micro in micro_batches for row in micro.rows):
            where, source = self.mixture.where(row), self.mixture.source_of(row)
            try:
                rendered = render_conversation(
                    self.tokenizer, self.mixture.conversation(row), self.max_tokens
                )
                yield SeenRow(where=where, source=source, rendered=rendered)
            except RowFault as fault:
                yield SeenRow(where=where, source=source, rendered=None, fault=str(fault))


def open_run(run: RunDir) -> RunRows:
    """What a run trains on.

    Raises:
        UsageError: it is no run of our engine, or its data or files cannot be read.
    """
    manifest = resume_file.manifest_now(run)
    if "config" not in manifest or "model_config" not in manifest.get("start", {}):
        raise RunDirError(
            f"{run.id} follows another trainer, which keeps its rows to itself; expected a run "
            "that sftui trained."
        )
    settings = from_flat(manifest["config"], manifest.get("recipe"))
    shape = family.shape_from(manifest["start"]["model_config"])
    tokenizer = family.run_tokenizer(shape, run.tokenizer, manifest["tokenizer_sha256"])
    mixture = tasks.build_mixture(run_plan.data_settings(settings, run_plan.exam_seed(manifest)))
    plan: Plan | RowPlan
    if packed_run.is_packed(settings):
        plan, _ = row_packing.load(run.packing)
    else:
        plan = run_plan.make_plan(settings, len(mixture))
    if plan.num_rows != len(mixture):
        raise RunDirError(
            f"{run.id} was planned with {plan.num_rows:,} rows, and its data has "
            f"{len(mixture):,} now. Put the files back as they were."
        )
    return RunRows(
        mixture=mixture,
        plan=plan,
        tokenizer=tokenizer,
        max_tokens=packed_run.longest_conversation(settings),
    )


def token_texts(tokenizer: RunTokenizer, rendered: Rendered) -> list[str]:
    """The text of every token alone; a part of a character is U+FFFD."""
    return [tokenizer.bytes_of(token).decode("utf-8", "replace") for token in rendered.ids]
