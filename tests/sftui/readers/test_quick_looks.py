"""A quick look that spares a line a pattern never changes what the pattern would have found."""

from __future__ import annotations

import re
import time
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.readers import leftovers, meanings, prefixes, printed, tracebacks
from sftui.readers.ledger import TELLING, TELLING_ALONE
from sftui.readers.meanings import Names, meaning
from sftui.readers.plain_text import PlainTextReader
from tests.dense_logs import dense

PIECES = (
    """
2025-09-16 21:23:50,436;[09/16/25 21:23:50];12:30:01 PM;99:99:99;2025-13-41 10:00:00
[rank0]:;[default3]:;rank 1 |;0: ;[1,2]<stdout>: ;[3]: ;gpu-1: ;(RANK 2);[pod/worker-3/main] x
(Worker pid=12, ip=1.2.3.4);I0929 123 a/b.cc:17];[PID:9];[INFO|trainer.py:12];WARNING:root:;ERROR
train.py:77;[a.b:12];stdout F ;stderr P ;1 day, 0:08:23;0:05;[00:12<01:30, 1.5it/s];step 10 000
loss;tloss;lr;lr2;x_lr;klr;Score;scores;underscore;F1;f12;wer;lower;mAe;returns;step 3;Step;iter
EPOCH;epoch 3/4;evaluate;total steps: 9;global step 12;training step: 3/4;note:;reward;acc;val;mmlu
3;-1.5e-3;nan;n/a;1,234;12.3%;tok/s;/;=;|;: ; ;\t;  ;Killed;foo;of;best;train/loss;#;-;step: 1 234
""".strip()
    .replace("\n", ";")
    .split(";")
)
lines = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map(
    " ".join
) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)

_WORTH_A_LOOK = re.compile(
    rf"{'|'.join(TELLING)}|(?:\b|_)(?:{'|'.join(TELLING_ALONE)})(?![a-z0-9])|epoch|train|val|eval"
    rf"|test|[:\]]\s*$|^{printed.COUNT_ALONE}",
    re.IGNORECASE,
)
"""What is worth a look, as one pattern."""


class _Always:
    """A quick look that always says that there may be something."""

    def match(self, *_: object) -> bool:
        return True

    search = match


@given(lines)
def test_a_line_is_worth_a_look_as_one_pattern_says(line):
    """Words are looked for one by one, in small letters."""
    if not line.isascii():
        return  # other alphabets have letters that are small in more than one way
    assert printed.is_worth_a_look(line.lower()) == bool(_WORTH_A_LOOK.search(line))


@given(lines)
def test_the_clock_is_taken_as_without_a_quick_look(line):
    with mock.patch.object(prefixes, "_TIME_OF_DAY", _Always()):
        slow = prefixes.take_clock(line + " :")
    assert prefixes.take_clock(line + " :") == slow
    if ":" not in line:
        assert prefixes.take_clock(line) == (line, None)


@given(lines)
def test_the_rank_is_taken_as_without_a_quick_look(line):
    with mock.patch.object(prefixes, "_MAY_HAVE_RANK", _Always()):
        slow = prefixes.take_rank(line)
    assert prefixes.take_rank(line) == slow


@given(lines)
def test_the_words_of_loggers_are_taken_as_all_patterns_together_find_them(line):
    every = prefixes._noise((True,) * len(prefixes._NOISE))
    assert prefixes.without_noise(line) == every.sub(lambda found: " " * len(found[0]), line)


@given(lines)
def test_a_traceback_keeps_its_indentation_behind_a_rank(line):
    """The text behind the rank, found by its place, is what a comparison of both texts finds."""
    text, rank, _ = prefixes.take_rank(line)
    behind, found = tracebacks._without_rank(line)
    assert found == rank
    if rank is None:
        assert behind == line
    else:
        last = max(at for at, (a, b) in enumerate(zip(line, text, strict=True)) if a != b)
        assert behind == line[last + 1 :].removeprefix(" ")


@given(lines)
def test_a_shape_has_single_blanks_and_no_numbers(line):
    shape = leftovers.shape_of(line)
    text, _ = prefixes.take_clock(line[:400])
    plain, found = leftovers._NUMBER.subn("#", text)
    assert shape == (re.sub(r"\s+", " ", plain).strip()[:72] if found else "")


_VOCABULARY = [
    *sorted(meanings._known_words()),
    *("foo", "Bar", "bazQux", "lossy", "arc", "easy", "human", "gsm", "8k", "HumanEval", "metrics"),
    *("trainer/global_step", "data/loss", "val/x", "3", "math500", "exact", "of", "[x]", "best"),
]


@given(st.lists(st.sampled_from(_VOCABULARY), min_size=1, max_size=5), st.sampled_from(" _-./"))
def test_a_name_that_is_not_looked_up_means_nothing(words, gap):
    name = gap.join(words)
    assert Names().of(name) == meaning.__wrapped__(name)


# ---- what a line costs -----------------------------------------------------------------------


_NUMBER = re.compile(r"[-+]?\d+\.?\d*")


def _cpu_seconds(data: bytes) -> tuple[float, float]:
    """Of reading a log, and of looking for the numbers in each of its lines."""
    text = data.decode().splitlines()
    begin = time.process_time()
    for line in text:
        _NUMBER.findall(line)
    between = time.process_time()
    reader = PlainTextReader()
    reader.feed(data)
    reader.close()
    return time.process_time() - between, between - begin


@pytest.mark.parametrize(
    ("kind", "most"),
    [("text without numbers", 11.0), ("text with sums", 16.0), ("text that names losses", 50.0)],
)
def test_a_line_that_tells_nothing_costs_a_few_looks_for_its_numbers(kind, most):
    """A log of what a model wrote is read as fast as its size lets expect.

    Ratios of processor time in one process, the least of some tries: other work beside it slows
    both.
    """
    data = dense(kind, 150_000)
    ratios = []
    for _ in range(5):
        spent, plain = _cpu_seconds(data)
        ratios.append(spent / plain)
    assert min(ratios) < most


def test_a_second_that_was_seen_is_of_the_zone_that_holds_now(monkeypatch):
    """What is remembered of a printed second must not outlive a change of the machine's zone."""
    moments = []
    try:
        for zone in ("UTC", "Etc/GMT-5", "UTC"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            moments.append(prefixes.take_clock("2025-09-16 21:23:50 step 1")[1])
    finally:
        monkeypatch.undo()
        time.tzset()
    assert moments[0] == moments[2]
    assert moments[1] == moments[0] - 5 * 3600
