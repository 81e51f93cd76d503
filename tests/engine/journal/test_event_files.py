"""Reading event logs back: the last event, the end, all of a kind."""

from engine.events import AttemptStarted, ControlApplied, LogLine, RunFinished, Stamp
from engine.journal import event_files, wire
from engine.journal.event_files import JournalWriter
from tests.processes import events, make_run


def lines(*found, att=1):
    return b"".join(
        wire.encode(type(e)(**{f: getattr(e, f) for f in e.__slots__}, stamp=Stamp(att=att, seq=i)))
        for i, e in enumerate(found, 1)
    )


def test_a_run_without_events_is_at_its_first_attempt(tmp_path):
    """No log, no attempt yet."""
    run = make_run(tmp_path)
    assert event_files.next_attempt(run) == 1
    assert event_files.finished(run) is None


def test_the_next_attempt_is_found_behind_garbage(tmp_path):
    """A long unreadable tail does not hide how far the run came."""
    run = make_run(tmp_path)
    run.events.write_bytes(lines(LogLine(text="a"), att=4) + b"x" * 400_000)
    assert event_files.next_attempt(run) == 5


def test_an_end_is_an_end_until_the_run_is_taken_up_again(tmp_path):
    """`run_finished` proves success, and a later attempt opens the run again."""
    run = make_run(tmp_path)
    run.events.write_bytes(lines(LogLine(text="a"), RunFinished(status="finished")))
    assert event_files.finished(run).status == "finished"
    assert event_files.finished(run, after_seq=2) is None
    run.events.write_bytes(lines(RunFinished(status="stopped"), AttemptStarted()))
    assert event_files.finished(run) is None


def test_scan_finds_kinds_across_chunks(tmp_path, monkeypatch):
    """A log larger than memory is searched piece by piece, and no event is cut."""
    monkeypatch.setattr(event_files, "_CHUNK_BYTES", 70)
    run = make_run(tmp_path)
    found = [ControlApplied(id=str(i), command="pause") for i in range(20)]
    noise = [LogLine(text='not "control_applied"') for _ in range(20)]
    mixed = [event for pair in zip(found, noise, strict=True) for event in pair]
    run.events.write_bytes(lines(*mixed) + b'{"type":"control_applied"')
    assert [e.id for e in event_files.scan(run.events, ControlApplied)] == [e.id for e in found]


def test_the_supervisor_writes_its_own_numbered_lines(tmp_path):
    """Each event of the supervisor is whole, stamped and numbered, over its restarts too."""
    run = make_run(tmp_path)
    JournalWriter(run.supervisor_events, run.id, "sup").write(LogLine(text="a"), 1)
    with run.supervisor_events.open("ab") as file:
        file.write(b'{"torn')
    JournalWriter(run.supervisor_events, run.id, "sup").write(LogLine(text="b"), 2)
    found = events(run.supervisor_events)
    assert [(e.text, e.stamp.src, e.stamp.seq, e.stamp.att) for e in found] == [
        ("a", "sup", 1, 1),
        ("b", "sup", 2, 2),
    ]
