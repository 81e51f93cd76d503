"""Every request gets exactly one answer, whoever wrote it and however often ranks restart."""

import threading
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.control import Command, Request
from engine.errors import RunDirError, WireError
from engine.events import ControlApplied, Stamp
from engine.journal import wire
from engine.journal.event_files import JournalWriter
from engine.steering.inbox import MAX_REQUEST_BYTES, Inbox, answer, late_answer, post
from tests.processes import make_run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def ask(name, command=Command.PAUSE, **rest):
    return Request(id=name, command=command, **rest)


def test_requests_come_in_file_order_and_once(run):
    """Two screens with opposite wishes: both are read, in the order of the file."""
    inbox = Inbox(run, 1)
    assert inbox.read() == ([], [])
    post(run, ask("a"))
    post(run, ask("b", Command.RESUME))
    assert inbox.changed()
    assert [request.id for request in inbox.read().requests] == ["a", "b"]
    assert not inbox.changed()
    assert inbox.read() == ([], [])


def test_the_same_id_is_applied_once(run):
    """A request that was sent twice (a retry) acts once."""
    inbox = Inbox(run, 1)
    post(run, ask("a"))
    post(run, ask("a"))
    assert len(inbox.read().requests) == 1


def test_a_restarted_rank_does_not_answer_again(run):
    """What the event log has answered stays answered; what it has not is read again."""
    post(run, ask("answered"))
    post(run, ask("open"))
    [first, _] = Inbox(run, 1).read().requests
    event = answer(first, step=7)
    stamped = ControlApplied(id=event.id, command=event.command, stamp=Stamp(seq=1))
    run.events.write_bytes(wire.encode(stamped))
    assert [request.id for request in Inbox(run, 2).read().requests] == ["open"]


def test_a_request_to_an_older_attempt_is_rejected(run):
    """Its author was looking at ranks that are gone."""
    post(run, ask("old", attempt=1))
    post(run, ask("new", attempt=2))
    batch = Inbox(run, 2).read()
    assert [request.id for request in batch.requests] == ["new"]
    [refusal] = batch.refusals
    assert (refusal.id, refusal.outcome) == ("old", "rejected")
    assert "attempt 2" in refusal.reason


def test_what_an_earlier_session_left_over_is_not_obeyed(run):
    """A stop that nobody read before the power went does not stop tomorrow's session."""
    post(run, ask("yesterday", Command.STOP))
    inbox = Inbox(run, 2, history_bytes=run.control.stat().st_size)
    post(run, ask("today"))
    batch = inbox.read()
    assert [request.id for request in batch.requests] == ["today"]
    assert [(r.id, r.outcome) for r in batch.refusals] == [("yesterday", "rejected")]


def test_what_the_supervisor_answered_is_answered(run):
    """It speaks for ranks that are gone."""
    post(run, ask("a"))
    writer = JournalWriter(run.supervisor_events, run.id, "sup")
    writer.write(late_answer(ask("a")))
    assert Inbox(run, 2).read() == ([], [])


def test_an_expired_request_is_not_applied(run):
    """A wish that came too late is answered and not carried out."""
    post(run, ask("late", expires=100.0))
    post(run, ask("early", expires=200.0))
    batch = Inbox(run, 1, now=lambda: 150.0).read()
    assert [request.id for request in batch.requests] == ["early"]
    assert [(r.id, r.outcome) for r in batch.refusals] == [("late", "expired")]


def test_an_unknown_command_is_rejected_by_its_id(run):
    """A newer screen's command gets an answer, not silence."""
    run.control.write_bytes(b'{"v":1,"id":"x","command":"dance"}\nnonsense\n[]\n')
    inbox = Inbox(run, 1)
    [refusal] = inbox.read().refusals
    assert (refusal.id, refusal.outcome) == ("x", "rejected")
    assert "dance" in refusal.reason
    assert inbox.num_bad_lines == 2


def test_half_a_line_waits_for_its_other_half(run):
    """A request that is being written is not taken for a bad one."""
    line = wire.encode_request(ask("a"))
    inbox = Inbox(run, 1)
    with run.control.open("ab", buffering=0) as file:
        file.write(line[:20])
        assert inbox.read() == ([], [])
        file.write(line[20:])
    assert [request.id for request in inbox.read().requests] == ["a"]
    assert inbox.num_bad_lines == 0


def test_a_writer_that_died_mid_line_does_not_swallow_the_next_request(run):
    """`post` ends a torn line first."""
    run.control.write_bytes(wire.encode_request(ask("dead"))[:20])
    post(run, ask("next"))
    inbox = Inbox(run, 1)
    assert [request.id for request in inbox.read().requests] == ["next"]
    assert inbox.num_bad_lines == 1


def test_a_replaced_file_is_read_from_its_start(run):
    """Somebody cleaned up: new requests are still heard, old ones not again."""
    inbox = Inbox(run, 1)
    post(run, ask("a"))
    post(run, ask("b"))
    inbox.read()
    run.control.write_bytes(wire.encode_request(ask("c")))
    assert [request.id for request in inbox.read().requests] == ["c"]


def test_an_endless_line_is_no_request(run):
    """Whatever its id, a line beyond any request's size is not parsed."""
    run.control.write_bytes(
        b'{"id":"a","command":"pause","author":"' + b"x" * MAX_REQUEST_BYTES + b'"}\n'
    )
    inbox = Inbox(run, 1)
    assert inbox.read() == ([], [])
    assert inbox.num_bad_lines == 1


_GOOD = [b'{"id":"a","command":"pause"}', b'{"id":"b"}', b' \t{"id":"c","command":"stop"}\r']
_LINES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([*_GOOD, b"\xef\xbb\xbf" + _GOOD[1], b"'\x1b", b"[1]", b'"id"', b"  ", b""]),
    st.text('{"id:a} \t', max_size=14).map(str.encode),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_LINES, max_size=8))
def test_lines_that_are_passed_over_quickly_hold_no_request(tmp_path_factory, lines):
    """The requests, answers and count of a plain reading, line by line."""
    run = make_run(tmp_path_factory.mktemp("run"))
    text = b"".join(line.replace(b"\n", b"") + b"\n" for line in lines)
    run.control.write_bytes(text)
    inbox = Inbox(run, 1)
    got = inbox.read()
    requests, refusals, bad = [], [], 0
    for line in text.split(b"\n"):
        if not line.strip():
            continue
        try:
            requests.append(wire.decode_request(line).id)
        except WireError as error:
            refusals += [str(name) for name in error.args[1:]]
            bad += len(error.args) < 2
    assert [request.id for request in got.requests] == list(dict.fromkeys(requests))
    assert {refused.id for refused in got.refusals} == set(refusals)
    assert inbox.num_bad_lines == bad


def test_millions_of_lines_that_are_no_objects_are_not_decoded(run, monkeypatch):
    """Eight megabytes of them took rank 0 four seconds of a core, between two updates."""
    run.control.write_bytes(b"'\x1b\n" * 2_700_000 + _GOOD[0] + b"\n")
    decoder = mock.Mock(wraps=wire.decode_request)
    monkeypatch.setattr(wire, "decode_request", decoder)
    inbox = Inbox(run, 1)
    assert [request.id for request in inbox.read().requests] == ["a"]
    assert inbox.num_bad_lines == 2_700_000
    assert decoder.call_count == 1


def test_many_writers_lose_nothing(run):
    """Four screens writing at once: every request arrives whole."""

    def write(name):
        for index in range(50):
            post(run, ask(f"{name}-{index}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inbox = Inbox(run, 1)
    assert len(inbox.read().requests) == 200
    assert inbox.num_bad_lines == 0


def test_a_run_that_is_gone_says_so(tmp_path):
    """The message names the file."""
    run = make_run(tmp_path)
    run.control.mkdir()
    with pytest.raises(RunDirError, match=r"control\.jsonl"):
        post(run, ask("a"))


HOURS = 6 * 3600.0


def asked(run, inbox_of, at, *, waited=0.0, lifetime=120.0):
    """Whether a request of an author whose clock says `at` is carried out, and what is answered.

    The file was last looked at `waited` seconds ago; our clock says 10^6.
    """
    ticks = [0.0]
    inbox = Inbox(run, 1, now=lambda: 1e6, clock=lambda: ticks[0])
    if inbox_of == "a run that looks":
        assert not inbox.changed()
        assert inbox.read() == ([], [])
    ticks[0] = waited
    post(run, ask("r", t=at, expires=at + lifetime))
    batch = inbox.read()
    return bool(batch.requests), "".join(refusal.reason for refusal in batch.refusals)


def test_a_request_from_a_clock_that_is_ahead_is_obeyed_and_does_not_live_longer(run):
    """By its expiry alone it lived six hours too long: a stop could come the next morning."""
    assert asked(run, "a run that looks", 1e6 + HOURS, waited=1.0) == (True, "")


@pytest.mark.parametrize("waited", [121.0, 5 * 3600.0])
def test_a_request_from_the_future_expires_by_our_own_clock(run, waited):
    """It was in the file for longer than it asked to live, or may have been."""
    done, said = asked(run, "a run that looks", 1e6 + HOURS, waited=waited)
    assert not done
    assert "the clocks differ: its author's is 21600 s ahead of ours" in said


def test_a_rank_that_starts_does_not_guess_how_old_a_request_from_the_future_is(run):
    """Nobody looked at the file before."""
    done, said = asked(run, "a rank that starts", 1e6 + HOURS)
    assert not done
    assert "the clocks differ" in said


def test_a_request_from_a_clock_that_is_behind_says_that_the_clocks_may_differ(run):
    """It said that it was read six hours too late, a second after it was typed."""
    done, said = asked(run, "a run that looks", 1e6 - HOURS, waited=1.0)
    assert not done
    assert said == (
        "read 21480 s too late, by its author's clock; it was held up, or the clocks differ"
    )


@pytest.mark.parametrize("at", [1e6 - 4, 1e6, 1e6 + 4])
@pytest.mark.parametrize("waited", [0.0, 119.0, 400.0])
def test_clocks_that_are_kept_right_cost_nothing(run, at, waited):
    """A step may take minutes; a request lives as long as it says."""
    assert asked(run, "a run that looks", at, waited=waited) == (True, "")
