"""The log on disk: the index against a plain decode, pages against `splitlines`, search against
looking at every line."""

import dataclasses
import random
import re
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.journal import wire
from sftui.logbook import entry_index, file_search, text_file
from sftui.logbook.entry_index import JournalRows
from sftui.logbook.event_lines import entry, parameters
from sftui.logbook.file_log import FileLog
from sftui.logbook.file_search import FileSearch
from sftui.logbook.kinds import CONTROL, EVERYTHING, FILTERS, PLAIN, RESULT, WARNING, kind_of
from sftui.logbook.log_book import LogBook
from sftui.logbook.log_content import Query
from sftui.logbook.text_file import TextFile
from sftui.sources.open_log import open_replay
from sftui.state import run_state as state_module
from sftui.state.run_state import RunState
from sftui.text.clean import clean
from tests.conftest import examples
from tests.sftui.fake_run import fake_run

WORDS = ["oom", "Retry", "[bold]", "naïve", "训练", 'say "x"', "a\\b", "\x1b[31mred", "tab\there"]


def long_run(lines: int = 900, seed: int = 3) -> list[ev.Event]:
    """A run with many log lines of every level between its events, numbered as one writer does."""
    rng = random.Random(seed)
    out: list[ev.Event] = []
    recorded = fake_run()
    for i, event in enumerate(recorded):
        out.append(event)
        for _ in range(lines // len(recorded) + (rng.random() < 0.6)):
            text = f"line {len(out)} {rng.choice(WORDS)} {rng.random():.3f}"
            level = rng.choice(["info", "info", "info", "warn", "error"])
            line = ev.LogLine(text=text, level=level, rank=rng.choice([None, 0, 1]))
            out.append(dataclasses.replace(line, stamp=recorded[i].stamp))
    return [
        dataclasses.replace(e, stamp=dataclasses.replace(e.stamp, seq=i + 1))
        for i, e in enumerate(out)
    ]


def logged(events) -> list[ev.Event]:
    """What a state puts into its log, all of it."""
    state = RunState()
    for event in events:
        state.apply(event)
    assert state.log_total == len(state.log), "the reference needs a memory that holds all"
    return list(state.log)


@pytest.fixture
def journal(tmp_path):
    """A journal on disk and its events; the index works in blocks of a few lines."""
    events = long_run()
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(wire.encode(event) for event in events))
    return path, events


@pytest.fixture
def small_memory(monkeypatch):
    """A state that keeps 50 entries, so that most of a log is in the file."""
    monkeypatch.setattr(state_module, "LOG_LINES", 50)


def indexed(path) -> JournalRows:
    rows = JournalRows(path)
    rows.follow()
    rows.join()
    return rows


# ---- the index of a journal --------------------------------------------------------------------


@pytest.mark.parametrize("block", [200, 4096, 512 * 1024])
def test_rows_are_the_entries_of_the_journal(journal, monkeypatch, block):
    """Same events in the same order as decoding every line, whatever the blocks; same kinds."""
    monkeypatch.setattr(entry_index, "BLOCK_BYTES", block)
    path, events = journal
    rows = indexed(path)
    wanted = [
        e
        for e in events
        if kind_of(e)
        and entry(e) is not None
        and not (isinstance(e, ev.AttemptStarted) and e.stamp.att == 1)
    ]
    assert rows.events(range(len(rows))) == wanted
    for _, kinds in FILTERS:
        found = rows.matching(kinds, len(rows)).tolist()
        assert found == [i for i, e in enumerate(wanted) if kind_of(e) & kinds]
    assert rows.num_bytes <= 9 * 1.6 * max(1024, len(rows))


def test_the_index_follows_a_growing_file_and_a_torn_line(journal):
    """A line counts once it is whole; another file under the name starts again."""
    path, _ = journal
    data = path.read_bytes()
    cut = data.index(b"\n", len(data) // 2) + 20
    path.write_bytes(data[:cut])
    rows = indexed(path)
    half = len(rows)
    with path.open("ab") as file:
        file.write(data[cut:])
    rows.follow()
    rows.join()
    assert half < len(rows) == len(indexed(path))
    around = (half - 1, half, half + 1)
    assert rows.events(around) == indexed(path).events(around)
    other = path.with_name("other")
    other.write_bytes(data[: data.index(b"\n") + 1] * 2)
    other.replace(path)
    with path.open("ab") as file:
        file.write(data)
    rows.follow()
    rows.join()
    assert len(rows) == len(indexed(path))


def test_the_index_leaves_half_of_the_interpreter_to_the_screen(journal, monkeypatch):
    """After `home` the next key took as long as the index of a long log."""
    monkeypatch.setattr(entry_index, "BLOCK_BYTES", 4096)
    rows, waited = JournalRows(journal[0]), []
    monkeypatch.setattr(rows._stop, "wait", waited.append)
    begun = time.thread_time()
    rows._index()
    taken = time.thread_time() - begun
    assert len(waited) > 10
    assert sum(waited) > taken / 2


def test_a_field_called_like_an_entry_is_none(tmp_path):
    """Only the type of the line itself counts, not one inside its payload."""
    path = tmp_path / "events.jsonl"
    inner = ev.Unknown(type="other", data={"type": "log_line", "x": {"type": "alarm_raised"}})
    told = ev.LogLine(text='{"type":"alarm_raised","level":"error"}')
    path.write_bytes(wire.encode(inner) + wire.encode(told) + b"no json\n\n")
    rows = indexed(path)
    assert rows.events(range(len(rows))) == [told]
    assert rows.matching(WARNING, 1).tolist() == []


QUERIES = ["oom", "RETRY", "[bold]", "naïve", "训练", '"x"', "\\b", "red"]
PREFIXES = ["rank 1: line", "k 1", "1: l", " line 5", "nk", "step 100"]


@pytest.mark.parametrize("query", [*QUERIES, *PREFIXES])
def test_search_finds_what_looking_at_every_line_finds(journal, monkeypatch, query):
    """The first look at raw bytes loses nothing, in any block and any filter."""
    monkeypatch.setattr(entry_index, "_SEARCH_ROWS", 37)
    path, _ = journal
    rows = indexed(path)
    wanted = Query(query)
    for kinds in (EVERYTHING, PLAIN, WARNING, RESULT):
        search = FileSearch(
            lambda a, b, k=kinds: rows.search(wanted.pattern, wanted.needle, k, a, b)
        )
        search.reach(len(rows) // 2)
        search.join()
        search.reach(len(rows))
        search.join()
        plain = [
            i
            for i, event in enumerate(rows.events(range(len(rows))))
            if kind_of(event) & kinds and query.lower() in entry(event).text.lower()
        ]
        assert search.found.tolist() == plain
        assert search.share == 1.0


def test_a_search_is_given_up_between_two_blocks(monkeypatch):
    """Cancelled, or with more matches than anybody goes through."""
    looked = []

    def find(low, high):
        for at in range(high - 1, low - 1, -1):
            looked.append(at)
            if len(looked) == 5:
                search.cancel()
            yield at, [at]

    search = FileSearch(find)
    search.reach(1000)
    search.join()
    assert len(looked) == 5
    monkeypatch.setattr(file_search, "MOST_FOUND", 3)
    search = FileSearch(lambda low, high: ((at, [at]) for at in range(high - 1, low - 1, -1)))
    search.reach(1000)
    search.join()
    assert search.full
    assert search.found.tolist() == [997, 998, 999]


# ---- the story ---------------------------------------------------------------------------------


def settle(book, state):
    """Let the threads come to their end."""
    for _ in range(200):
        book.work(state)
        if not book.busy:
            book.work(state)
            if not book.busy:
                return
        rows = book._event_log._rows
        if rows is not None:
            rows.join()
        for sheet in (book._event_log, book._file_log):
            if sheet is not None and sheet._search is not None:
                sheet._search.join()
        if book._file_log is not None:
            book._file_log._file.join()
    raise AssertionError("it works for ever")


def all_lines(book, state, rows=7) -> list[str]:
    """The whole log, by scrolling from its end to its start."""
    book.follow()
    window = book.window(state, rows)
    out = [line.text for line in window.lines]
    book.scroll(state, -1)
    settle(book, state)
    book.follow()
    while True:
        before = book.window(state, rows).lines
        book.scroll(state, -1)
        now = book.window(state, rows).lines
        if [line.place for line in now] == [line.place for line in before]:
            return out
        assert [line.text for line in now[1:]] == [line.text for line in before[:-1]]
        out.insert(0, now[0].text)


def test_scrolling_goes_on_into_the_file(journal, small_memory):
    """Every entry of the run once and in order, although the memory holds fifty."""
    path, events = journal
    state = RunState()
    for event in events:
        state.apply(event)
    assert len(state.log) == 50
    book = LogBook(path)
    wanted = [e for e in events if kind_of(e) and entry(e)]
    wanted = [e for e in wanted if not isinstance(e, ev.AttemptStarted)]
    shown = all_lines(book, state)
    assert len(shown) == len(wanted)
    # The state says once what a request and a change of state both tell.
    told = [entry(e).text for e in wanted if not isinstance(e, ev.StateChanged)]
    known = set(told)
    assert [words for words in shown if words in known] == told


def test_lines_in_sight_stay_while_new_ones_come(journal, small_memory):
    """Also when what is read leaves the memory and goes on in the file."""
    path, events = journal
    state = RunState()
    cut = len(events) - 300
    for event in events[:cut]:
        state.apply(event)
    book = LogBook(path)
    book.scroll(state, -20)
    before = [line.text for line in book.window(state, 8).lines]
    assert len(before) == 8
    for event in events[cut:]:
        state.apply(event)
        book.work(state)
    settle(book, state)
    assert [line.text for line in book.window(state, 8).lines] == before
    assert book.window(state, 8).newer > 150
    book.follow()
    assert book.window(state, 8).newer == 0


@pytest.mark.parametrize("number", range(1, len(FILTERS)))
def test_filters_show_their_kind_alone(journal, small_memory, number):
    """In memory and in the file."""
    path, events = journal
    state = RunState()
    for event in events:
        state.apply(event)
    book = LogBook(path)
    for _ in range(number):
        book.next_filter(state)
    settle(book, state)
    kinds = FILTERS[number][1]
    wanted = [entry(e).text for e in events if kind_of(e) & kinds and entry(e)]
    if kinds == CONTROL:
        assert 0 < len(all_lines(book, state)) <= len(wanted)
    else:
        assert all_lines(book, state) == wanted


def test_matches_are_stepped_through_from_the_newest(journal, small_memory):
    """It goes to the newest, back to the oldest and on again, each match once; counts are true."""
    path, events = journal
    state = RunState()
    for event in events:
        state.apply(event)
    book = LogBook(path)
    book.begin_search(state)
    for letter in "oom":
        book.type(state, letter)
    book.accept(state)
    settle(book, state)
    wanted = [entry(e).text for e in events if kind_of(e) and entry(e)]
    wanted = [text for text in wanted if "oom" in text]
    seen = []
    while True:
        lines = book.window(state, 5).lines
        here = [line.text for line in lines if line.place == book.content.current]
        assert len(here) == 1, "the match is in sight"
        seen.insert(0, here[0])
        assert book.search_words(state) == f"{len(wanted) - len(seen) + 1} of {len(wanted)}"
        if not book.step(state, -1):
            break
    assert seen == wanted
    for _ in wanted[1:]:
        assert book.step(state, 1)
    assert not book.step(state, 1)
    book.end_search(state)
    assert book.search_words(state) == ""
    assert not book.searching


def test_new_lines_are_searched_as_they_come():
    """And a search through memory alone needs no file."""
    state = RunState()
    book = LogBook()
    for i in range(10):
        state.apply(ev.LogLine(text=f"a{i}"))
    book.begin_search(state)
    book.type(state, "A")
    book.work(state)
    assert book.search_words(state) == "10 of 10"
    state.apply(ev.LogLine(text="another"))
    assert book.work(state)
    assert book.search_words(state) == "10 of 11"
    book.erase(state)
    assert book.typing
    book.erase(state)
    assert not book.typing


# ---- the file of another program -----------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.text(alphabet="ab\r\t é训", max_size=12).map(str.encode),
        st.binary(max_size=8).map(lambda raw: raw.replace(b"\n", b"")),
        st.just(b"x" * 90),
    ),
    max_size=40,
)


@given(lines=LINES, ended=st.booleans(), page=st.integers(1, 64), most=st.integers(1, 9))
@examples(80)
def test_pages_are_the_lines_of_the_file(tmp_path_factory, lines, ended, page, most):
    """Backwards from the end and forwards from the start, in any page size."""
    path = tmp_path_factory.mktemp("pages") / "log"
    path.write_bytes(b"\n".join(lines) + (b"\n" if ended and lines else b""))
    whole = path.read_bytes().split(b"\n")
    if not whole[-1]:
        whole.pop()
    file = TextFile(path)
    before, text_file._PAGE_BYTES = text_file._PAGE_BYTES, page
    try:
        back, end = [], file.size
        while found := file.before(end, most):
            back = found + back
            end = found[0][0]
        assert [raw for _, raw in back] == whole
        assert all(b[0] == a[0] + len(a[1]) + 1 for a, b in pairwise(back))
        on, start = [], 0
        while found := file.after(start, most, file.size):
            on += found
            start = found[-1][0] + len(found[-1][1]) + 1
        assert on == back
    finally:
        text_file._PAGE_BYTES = before


def test_lines_are_counted_in_the_background(tmp_path, monkeypatch):
    """The number of any line, from marks that take a few bytes each."""
    monkeypatch.setattr(text_file, "MARK_BYTES", 1000)
    monkeypatch.setattr(text_file, "BLOCK_BYTES", 4000)
    path = tmp_path / "log"
    rng = random.Random(1)
    data = b"".join(b"x" * rng.randrange(60) + b"\n" for _ in range(3000))
    path.write_bytes(data)
    file = TextFile(path)
    assert file.number(50_000) is None
    file.follow()
    file.join()
    for at in (0, 1, 999, 1000, 1001, 50_000, len(data)):
        assert file.number(at) == data[:at].count(b"\n")
    assert file.num_bytes <= 8 * (len(data) / 1000 + 1)
    with path.open("ab") as grown:
        grown.write(data)
    file.follow()
    file.join()
    assert file.number(2 * len(data)) == 6000


@pytest.mark.parametrize("query", ["ab", "AB", "é", "训", "red ", "[b"])
@pytest.mark.parametrize("block", [64, 1000, 1 << 20])
def test_a_text_is_searched_as_it_is_drawn(tmp_path, monkeypatch, query, block):
    """Colours, tabs and redrawn lines count as they look; every line once."""
    monkeypatch.setattr(text_file, "BLOCK_BYTES", block)
    rng = random.Random(5)
    pieces = [
        "ab",
        "é",
        "训练",
        "[b]",
        "x",
        "\t",
        " ",
        "\x1b[31mred\x1b[0m ",
        "gone\rseen",
        "a\x1b[1mb",
    ]
    lines = ["".join(rng.choices(pieces, k=rng.randrange(6))) for _ in range(400)]
    path = tmp_path / "log"
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    wanted = Query(query)
    file = TextFile(path)
    search = FileSearch(lambda low, high: file.search(wanted.pattern, wanted.needle, low, high))
    search.reach(file.size)
    search.join()
    at, plain = 0, []
    for line in path.read_bytes().split(b"\n"):
        if query.lower() in clean(line).lower():
            plain.append(at)
        at += len(line) + 1
    assert plain
    assert search.found.tolist() == plain


def nanochat_log(steps: int, *, stages: int = 1) -> str:
    """As chat_sft prints it: validations between the updates, a few lines nobody knows."""
    lines = []
    for stage in range(stages):
        lines.append("Overriding: run = chatsft" if stage == 0 else "again")
        for step in range(steps):
            if step % 50 == 0:
                lines.append(f"Step {step:05d} | Validation loss: {2 - step / steps:.6f}")
                lines.append(f"a sample of {stage}: two and two is four")
            lines.append(
                f"Step {step:05d}/{steps + 1:05d} | Training loss: {3 - step / steps + stage:.6f}"
                f"| lrm: {1 - step / steps:.6f}| num_tokens: {step + 1000:,}"
            )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("piece", [700, 4096, 128 * 1024])
def test_no_line_from_behind_the_clock_is_shown(tmp_path, monkeypatch, piece):
    """At any moment of a replay the last update in the file's sheet is the clock's."""
    monkeypatch.setattr("sftui.sources.feed.PIECE_BYTES", piece)
    path = tmp_path / "sft.log"
    path.write_text(nanochat_log(400))
    opened = open_replay(str(path))
    source = opened.source
    while source.loading:
        source.poll()
    assert source.text_end() is None
    data = path.read_bytes()
    for step in (0, 1, 49, 50, 51, 137, 200, 398):
        source.seek_step(step)
        source.poll()
        shown = data[: source.text_end()]
        assert shown.endswith(b"\n")
        steps = [int(n) for n in re.findall(rb"Step (\d+)/", shown)]
        assert steps == list(range(step + 1))
    source.seek(0)
    assert not re.search(rb"Step \d+/", data[: source.text_end()])
    source.close()


@pytest.mark.parametrize("piece", [900, 128 * 1024])
def test_the_clock_of_an_earlier_stage_hides_the_later_one(tmp_path, monkeypatch, piece):
    """Two programs in one file: the first at its end, and in the middle of the second."""
    monkeypatch.setattr("sftui.sources.feed.PIECE_BYTES", piece)
    path = tmp_path / "both.log"
    path.write_text(nanochat_log(120, stages=2))
    source = open_replay(str(path)).source
    while source.loading:
        source.poll()
    assert len(source.stages) == 2
    data = path.read_bytes()
    source.select_stage(0)
    source.poll()
    first = [int(n) for n in re.findall(rb"Step (\d+)/", data[: source.text_end()])]
    assert first == list(range(120))
    source.select_stage(1)
    source.seek_step(60)
    source.poll()
    steps = [int(n) for n in re.findall(rb"Step (\d+)/", data[: source.text_end()])]
    assert steps == [*range(120), *range(61)]
    source.close()


def test_a_log_without_step_words_goes_by_its_share(tmp_path):
    """A table has a row an update."""
    path = tmp_path / "metrics.csv"
    rows = "".join(f"{i},{2 - i / 500:.4f}\n" for i in range(400))
    path.write_text("step,train_loss\n" + rows)
    source = open_replay(str(path)).source
    while source.loading:
        source.poll()
    source.seek_step(200)
    source.poll()
    shown = path.read_bytes()[: source.text_end()].splitlines()
    assert abs(len(shown) - 202) <= 2
    source.close()


@pytest.mark.parametrize(
    ("trained", "words"),
    [
        (4_884_480, "135M parameters, 4.88M trained"),
        (134_515_008, "135M parameters"),
        (None, "135M parameters"),
        ("some", "135M parameters"),
    ],
)
def test_a_model_that_is_not_trained_whole_says_how_much_of_it_is(
    trained: object, words: str
) -> None:
    effective = {} if trained is None else {"trainable_parameters": trained}
    run = ev.RunStarted(name="a", num_parameters=134_515_008, effective=effective)
    assert parameters(run) == words
    assert words in entry(run).text
    assert parameters(ev.RunStarted(name="a", effective=effective)) == ""


def test_more_steps_are_told_as_such_whether_the_run_was_paused_or_not():
    """`pause in 5` of a run that goes on is no resumption."""
    more = ev.ControlApplied(id="r", command="resume", argument=5, author="ctl", step=37)
    why = "pauses before step 42"
    told = entry(dataclasses.replace(more, reason=why))
    assert told is not None
    assert told.text.startswith(f"5 more steps by ctl: {why}")
    on = entry(dataclasses.replace(more, argument=None))
    assert on is not None
    assert on.text.startswith("resumed by ctl")


def test_a_search_that_ends_while_it_is_looked_at_goes_to_its_first_match(tmp_path):
    """The thread found all and ended between two looks: no line was chosen any more."""
    path = tmp_path / "a.log"
    path.write_text("".join(f"step {i}\n" for i in range(9)))
    log = FileLog(TextFile(path))
    while log.busy:
        log.work(RunState(), 4)
    log.search_for(RunState(), Query("step"))

    class Ending:
        """A search whose thread ends once its matches were looked at."""

        looked = False
        full, share = False, 1.0

        @property
        def found(self):
            before, self.looked = self.looked, True
            return np.array([0, 7, 14] if before else [], dtype=np.int64)

        @property
        def busy(self):
            return not self.looked

        def reach(self, size):
            return None

        def cancel(self):
            return None

    log._search = Ending()
    log._go_to_first_match(4)
    log._go_to_first_match(4)
    assert log.current == 14
    log.close()
