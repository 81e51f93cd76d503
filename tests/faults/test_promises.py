"""The numbers of `docs/reliability-and-clusters.md` are those of the code."""

from __future__ import annotations

import pytest

from engine import trainer
from engine.config import RunConfig
from engine.conversations import tokenizer, try_pattern
from engine.journal import event_bus
from engine.model.hf import template_trial
from engine.processes import heartbeat_file
from sftui.terminal import way_out
from tests.faults import test_table
from tests.fuzz import runner, targets
from tests.structure import ROOT

PAGE = (ROOT / "docs" / "reliability-and-clusters.md").read_text(encoding="utf-8")
WORDS = {5: "five", 10: "ten", 26: "twenty-six", 27: "twenty-seven", 28: "twenty-eight"}
GIB = 2**30

SAVE_MINUTES = int(trainer.SAVE_RETRY_SECONDS * trainer.SAVE_TRIES / 60)
KINDS = len(targets.TARGETS) + 1
"""And a real screen."""
FOUND = test_table.NUM_FAULTS - test_table.DESIGNED

NUMBERS = (
    f"at most `--max-restarts` ({RunConfig().runtime.max_restarts}) times",
    f"the last checkpoint waits {WORDS[SAVE_MINUTES]} minutes for room",
    f"an alarm after {heartbeat_file.SILENT_SECONDS:.0f} s",
    f"within {WORDS[int(way_out.GIVE_UP_SECONDS)]} seconds even where nobody reads its terminal",
    f"lists {test_table.NUM_FAULTS} faults, {test_table.DESIGNED} of the design and {FOUND} that",
    f"a tokenizer's pattern ({tokenizer.TRIAL_SECONDS:.0f} s)",
    f"loop over the messages ({template_trial.MOST_SECONDS} s)",
    f"inputs of {WORDS[KINDS]} kinds",
    f"in a child with limits ({runner.MOST_CPU_SECONDS:.0f} s, {runner.MOST_BYTES // 10**9} GB)",
    f"cost the last {WORDS[int(event_bus.SYNC_SECONDS)]} seconds of the log",
)


@pytest.mark.parametrize("words", NUMBERS)
def test_a_number_that_is_promised_is_the_codes(words: str) -> None:
    assert words in " ".join(PAGE.split())


def test_both_children_may_take_as_much_as_is_said() -> None:
    assert try_pattern.MOST_BYTES == template_trial.MOST_BYTES == GIB
    assert "in a child that may take 1 GB" in PAGE
