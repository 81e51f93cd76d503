"""Numbers that texts write: typed by a person, or names of somebody else's files."""

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import RunConfig
from engine.errors import ConfigError
from engine.files import checked
from engine.journal import event_files
from engine.run import foreign, run_dir
from engine.step import run_plan

HOSTILE = ["²", "٣", "१२", "③", "-1", "+1", "1_000", " 1", "1 ", "", "0x1", "9" * 5000]
"""Of what `str.isdigit` or `int` takes alone, and what nobody means by a number."""


@given(st.text(max_size=30) | st.text("0123456789²③٣", max_size=30) | st.sampled_from(HOSTILE))
def test_digits_are_0_to_9_and_few(text):
    """Whatever the text, a number that fits 64 bits or None."""
    found = checked.digits(text)
    plain = 0 < len(text) <= checked.MOST_DIGITS and set(text) <= set("0123456789")
    assert found == (int(text) if plain else None)
    assert found is None or found < checked.LARGEST_WHOLE


@pytest.mark.parametrize("text", HOSTILE)
def test_no_such_text_stops_a_run(tmp_path, monkeypatch, text):
    """A folder among the logs, a host, an entry of data, a number from the keeper."""
    run = run_dir.create(tmp_path, "x", datetime(2026, 1, 2, 3, 4, 5))
    run.manifest.write_text(json.dumps({"id": run.id}))
    if len(text) < 200:
        (run.logs / f"attempt-{text}").mkdir(parents=True)
    assert event_files.next_log_attempt(run) == 1
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        RunConfig().replace(nodes=2, gpus=2, rendezvous=f"host:{text}").check()
    assert run_plan._split_entry(f"MMLU:{text}") == (f"MMLU:{text}", None)
    assert foreign.start_number({foreign.ATTEMPT_VARIABLE: text}) == 1
