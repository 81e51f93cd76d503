"""A log that ends in a traceback failed, of that error; one that trains on caught it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.sources import snapshot
from sftui.sources.snapshot import Snapshot

STYLES = [
    "step {s}/100, loss: 1.{s}",
    "{{'loss': 1.{s}, 'grad_norm': 0.5, 'learning_rate': 1e-05, 'epoch': 0.{s}}}",
    "iteration {s:8d}/ 100 | lm loss: 1.{s} | grad norm: 0.5 |",
    "Iter {s}: Train loss 1.{s}, Learning Rate 1.000e-05, It/sec 1.2, Tokens/sec 300.0",
]
NANOCHAT = "Step 000{s}/00099 | Training loss: 1.{s}| lrm: 1.000000| num_tokens: 1,000"
ERRORS = [
    "AssertionError: no tokenizer",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "KeyboardInterrupt",
    "ValueError: loss 3 is not 4",
    "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
]
LAUNCHER = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: "


def traceback(error: str, prefix: str = "", calls: int = 2) -> list[str]:
    lines = ["Traceback (most recent call last):"]
    for call in range(calls):
        lines += [f'  File "train.py", line {call + 1}, in step', "    loss = model(x, step=3)"]
    return [prefix + line for line in [*lines, error]]


def read(lines: list[str]) -> Snapshot:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.log")
        path.write_text("\n".join(lines) + "\n")
        return snapshot.read(str(path))


def trained(style: str, start: int, count: int) -> list[str]:
    return [style.format(s=start + i) for i in range(count)]


@given(
    style=st.sampled_from(STYLES),
    error=st.sampled_from(ERRORS),
    prefix=st.sampled_from(["", "[rank0]: ", "[rank3]: "]),
    launcher=st.booleans(),
)
def test_the_first_error_behind_the_last_row_is_how_it_ended(
    style: str, error: str, prefix: str, launcher: bool
) -> None:
    """Other ranks and the launcher print their own after it."""
    lines = [*trained(style, 10, 8), *traceback(error, prefix)]
    if launcher:
        lines += [*traceback("RuntimeError: connection closed by peer", "[rank1]: ")]
        lines += ["E1129 failed (exitcode: 1)", *traceback(LAUNCHER)]
    found = read(lines)
    assert (found.status, found.state.reason) == ("failed", error)
    assert found.lines_unrecognised >= len(traceback(error))
    assert "File" not in str(found.leftovers)  # a line number is no number of the run


@given(style=st.sampled_from(STYLES), error=st.sampled_from(ERRORS))
def test_an_error_that_training_went_on_after_was_caught(style: str, error: str) -> None:
    found = read([*trained(style, 10, 6), *traceback(error), *trained(style, 16, 6)])
    assert (found.status, found.state.reason) == ("unknown", "")


@given(
    style=st.sampled_from(STYLES[:3]),
    error=st.sampled_from([*ERRORS, "MyProblem: no name of ours"]),
)
def test_rows_behind_the_traceback_of_a_rank_are_rows(style: str, error: str) -> None:
    """A launcher puts the rank before every line, also before what comes after the traceback."""
    ranked = [f"[rank0]: {line}" for line in trained(style, 16, 6)]
    found = read([*trained(style, 10, 6), *traceback(error, "[rank0]: "), *ranked])
    assert (found.status, found.state.reason) == ("unknown", "")
    assert found.state.updates == read([*trained(style, 10, 6), *ranked]).state.updates


def test_of_two_ranks_that_die_at_once_the_first_error_counts() -> None:
    """Their lines stand between each other's."""
    one, other = (traceback(f"ValueError: loss {n}", f"[rank{n}]: ") for n in (1, 2))
    mixed = [line for pair in zip(one, other, strict=True) for line in pair]
    found = read([*trained(STYLES[0], 10, 8), *mixed])
    assert found.state.reason == "ValueError: loss 1"
    assert found.state.updates == read(trained(STYLES[0], 10, 8)).state.updates


CANCELLED = "slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2026-05-02T10:00:00"
LAST_WORDS = {
    "Killed": ("failed", "killed (SIGKILL): often the machine's memory was full"),
    "./go.sh: line 3: 812 Killed                  python train.py": (
        "failed",
        "killed (SIGKILL): often the machine's memory was full",
    ),
    "Segmentation fault (core dumped)": ("failed", "segmentation fault"),
    "Terminated": ("interrupted", "terminated (SIGTERM)"),
    f"{CANCELLED} DUE TO TIME LIMIT ***": ("interrupted", "Slurm cancelled the job, time limit"),
    f"{CANCELLED} ***": ("interrupted", "Slurm cancelled the job"),
    "slurmstepd: error: Detected 1 oom_kill event in StepId=9.0.": (
        "failed",
        "killed for want of the machine's memory (out of memory)",
    ),
    "E0502 10:00:00 api.py:869] failed (exitcode: -9) local_rank: 3 (pid: 81) of binary: python": (
        "failed",
        "rank 3 was ended by SIGKILL",
    ),
    "[launch.py:325:sigkill_handler] exits with return code = 2": (
        "failed",
        "a process ended with exit code 2",
    ),
    "srun: error: n1: task 3: Exited with exit code 137": (
        "failed",
        "a process ended with exit code 137",
    ),
    "  what():  CUDA error: an illegal memory access was encountered": (
        "failed",
        "CUDA error: an illegal memory access was encountered",
    ),
}


@pytest.mark.parametrize("line", LAST_WORDS)
@pytest.mark.parametrize("style", [*STYLES, NANOCHAT])
def test_a_run_that_was_killed_ended_as_its_launcher_says(style: str, line: str) -> None:
    """It cannot say so itself. What training went on after was not the run's end."""
    status, reason = LAST_WORDS[line]
    found = read([*trained(style, 10, 8), line])
    assert (found.status, found.state.reason) == (status, reason)
    if style is not NANOCHAT:
        assert read([*trained(style, 10, 6), line, *trained(style, 16, 6)]).status == "unknown"


@pytest.mark.parametrize("line", ["Killed by whom?", "0 failed", "Terminated 3 workers early"])
def test_words_that_only_look_like_an_end_are_none(line: str) -> None:
    assert read([*trained(STYLES[0], 10, 8), line]).status == "unknown"


def test_the_error_before_the_launchers_word_is_the_cause() -> None:
    error = "ValueError: no rows"
    lines = [*traceback(error), "E0502 api.py] failed (exitcode: 1) local_rank: 0 (pid: 8)"]
    assert read([*trained(STYLES[0], 10, 8), *lines]).state.reason == error


def test_an_error_while_python_was_ending_is_no_failure() -> None:
    lines = [*trained(STYLES[0], 10, 8), "Exception ignored in: <function Pool.__del__ at 0x7f>"]
    assert read([*lines, *traceback("TypeError: 'NoneType' object")]).status == "unknown"


def test_of_a_chain_the_last_error_counts() -> None:
    chain = [
        *traceback("KeyError: 'text'"),
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        *traceback("DataError: row 7 has no text"),
    ]
    assert read([*trained(STYLES[0], 10, 8), *chain]).state.reason == "DataError: row 7 has no text"


@pytest.mark.parametrize("calls", [1000, 12_000])
def test_a_traceback_of_any_length_is_read_once(calls: int) -> None:
    """A recursion prints a thousand calls; what never names its error ends with them."""
    lines = [*trained(STYLES[0], 10, 8), *traceback("RecursionError: maximum depth", calls=calls)]
    found = read(lines)
    assert found.status == ("failed" if calls == 1000 else "unknown")
