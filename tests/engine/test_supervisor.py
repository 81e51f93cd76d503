"""The supervisor outlives the screen, restarts the ranks, and never lies about the end."""

import json
import os
import signal
import time

import pytest

from engine import supervisor
from engine.control import Command, Request
from engine.events import AttemptStarted, ControlApplied, RankLost, RunFinished, Stamp
from engine.journal import wire
from engine.processes.elastic import backoff_seconds, last_words
from engine.run import lock
from engine.run.lock import RunLock
from engine.run.run_dir import RunDir
from engine.steering.inbox import Inbox, post
from tests.processes import children, environment, events, make_run, wait_for


@pytest.fixture
def started():
    with children() as found:
        yield found


def prepare(tmp_path, *, world_size=1, max_restarts=2, **script):
    run = make_run(tmp_path, world_size=world_size, max_restarts=max_restarts)
    (run.path / "fake.json").write_text(json.dumps(script))
    return run


def supervise(started, run, **env):
    env = environment(SFTUI_WORKER="tests.fake_worker", **env)
    with run.supervisor_log.open("wb") as log:
        arguments = ("-P", "-m", "engine.supervisor", str(run.path))
        return started.start(*arguments, env=env, stdout=log, stderr=log, stdin=-3)


def ended(started, process, seconds=90.0):
    """Exit code, once it has ended; all its descendants must be gone by then."""
    wait_for(lambda: started.note_descendants() or process.poll() is not None, seconds)
    assert started.left() == []
    return process.returncode


def told(run, kind):
    found = [*events(run.events), *events(run.supervisor_events)]
    return [event for event in found if isinstance(event, kind)]


@pytest.mark.slow
def test_a_run_ends_with_its_ranks(tmp_path, started):
    """Two ranks to the end: exit code 0, the lock held all the while and free afterwards."""
    run = prepare(tmp_path, world_size=2, steps=50)
    process = supervise(started, run)
    wait_for(lambda: told(run, AttemptStarted))
    assert lock.holder(run).pid == process.pid
    assert ended(started, process) == 0
    assert lock.holder(run) is None
    assert [event.status for event in told(run, RunFinished)] == ["finished"]
    assert not run.supervisor_events.exists()
    for rank in (0, 1):
        assert (run.rank_log(1, rank) / "stderr.log").exists()


@pytest.mark.slow
def test_a_killed_rank_is_named_and_all_are_restarted(tmp_path, started):
    """SIGKILL of rank 1: one RankLost, a second attempt, a good end."""
    run = prepare(
        tmp_path, world_size=2, steps=60, faults=[{"attempt": 1, "rank": 1, "how": "kill"}]
    )
    assert ended(started, supervise(started, run)) == 0
    [lost] = told(run, RankLost)
    assert (lost.rank, lost.reason, lost.stamp.src) == (1, "killed by SIGKILL", "sup")
    assert [event.stamp.att for event in told(run, AttemptStarted)] == [1, 2]
    assert run.rank_log(2, 1).is_dir()


@pytest.mark.slow
def test_ranks_that_keep_failing_end_the_run_with_their_error(tmp_path, started):
    """No endless loop: the last words of the rank are the reason, and the logs are named."""
    faults = [{"attempt": n, "rank": 0, "how": "raise"} for n in (1, 2, 3)]
    run = prepare(tmp_path, max_restarts=1, faults=faults)
    assert ended(started, supervise(started, run)) == 1
    [end] = told(run, RunFinished)
    assert (end.status, end.stamp.src) == ("failed", "sup")
    assert "rank 0: RuntimeError: the seventh seal is broken" in end.reason
    assert "logs/attempt-2" in end.reason
    assert len(told(run, RankLost)) == 2


@pytest.mark.slow
def test_memory_that_did_not_suffice_twice_is_not_tried_again(tmp_path, started):
    """The same out-of-memory error twice stops the run although restarts are left."""
    faults = [{"attempt": n, "rank": 0, "how": "memory"} for n in range(1, 9)]
    run = prepare(tmp_path, max_restarts=7, faults=faults)
    assert ended(started, supervise(started, run)) == 1
    assert len(told(run, AttemptStarted)) == 2
    assert "out of memory" in told(run, RunFinished)[0].reason


@pytest.mark.slow
def test_ranks_are_not_started_again_without_the_settings_they_began_with(tmp_path, started):
    """run.json damaged under the run, and a rank lost: each restart failed at its first line."""
    run = prepare(tmp_path, steps=300)
    process = supervise(started, run)
    wait_for(lambda: told(run, AttemptStarted))
    run.manifest.write_text("{garbage")
    os.kill(int((run.path / "pid-1-0").read_text()), signal.SIGKILL)
    assert ended(started, process) == 1
    assert len(told(run, AttemptStarted)) == 1
    [end] = told(run, RunFinished)
    assert "killed by SIGKILL; the ranks were not started again" in end.reason
    assert f"{run.manifest} cannot be read" in end.reason
    assert "It changed under the run" in end.reason
    assert f"--resume {run.id}" in end.reason


@pytest.mark.slow
def test_the_end_is_found_where_the_run_was_moved_to(tmp_path, started):
    """`mv runs runs2`: the run had its end, and was told as failed for want of one."""
    (tmp_path / "runs").mkdir()
    run = prepare(tmp_path / "runs", steps=100)
    process = supervise(started, run)
    wait_for(lambda: told(run, AttemptStarted))
    moved = RunDir((tmp_path / "runs").rename(tmp_path / "runs2") / run.id)
    # Another run has taken its place: its end is not ours.
    other = make_run(tmp_path / "runs")
    end = RunFinished(
        status="failed", reason="another's", stamp=Stamp(run=other.id, src="r0", seq=900)
    )
    other.events.write_bytes(wire.encode(end))
    assert other.path == run.path
    assert ended(started, process) == 0
    assert [event.status for event in told(moved, RunFinished)] == ["finished"]
    assert moved.supervisor_log.read_text().splitlines()[-1].startswith("finished: ")
    assert not other.supervisor_events.exists()


@pytest.mark.slow
def test_an_abort_after_the_end_changes_nothing(tmp_path, started):
    """Exit codes are hints: the run has its end, so it is not started again."""
    faults = [{"attempt": 1, "rank": 0, "how": "abort_after_end"}]
    run = prepare(tmp_path, steps=5, faults=faults)
    assert ended(started, supervise(started, run)) == 0
    assert len(told(run, AttemptStarted)) == 1
    assert told(run, RankLost) == []


@pytest.mark.slow
def test_exit_code_zero_without_an_end_is_a_failure(tmp_path, started):
    """Ranks that leave in silence have not finished the run."""
    faults = [{"attempt": 1, "rank": 0, "how": "never_ends"}]
    run = prepare(tmp_path, steps=5, faults=faults)
    assert ended(started, supervise(started, run)) == 1
    [end] = told(run, RunFinished)
    assert "without finishing" in end.reason


@pytest.mark.slow
def test_sigterm_asks_the_ranks_to_stop_and_sighup_does_nothing(tmp_path, started):
    """A closed terminal is ignored; a cluster's notice ends the run in good order."""
    run = prepare(tmp_path, world_size=2)
    process = supervise(started, run)
    wait_for(lambda: told(run, AttemptStarted))
    process.send_signal(signal.SIGHUP)
    steps = len(events(run.events))
    wait_for(lambda: len(events(run.events)) > steps + 10)
    process.send_signal(signal.SIGTERM)
    assert ended(started, process) == 0
    [answer] = told(run, ControlApplied)
    assert (answer.command, answer.author, answer.outcome) == ("stop", "SIGTERM", "applied")
    [end] = told(run, RunFinished)
    assert end.status == "stopped"


@pytest.mark.slow
def test_a_second_sigterm_ends_ranks_that_do_not_obey(tmp_path, started):
    """Whoever insists is obeyed; the run says that it failed, and the request has its answer."""
    run = prepare(tmp_path, faults=[{"attempt": 1, "rank": 0, "how": "deaf"}])
    process = supervise(started, run)
    wait_for(lambda: told(run, AttemptStarted))
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: run.control.exists() and run.control.stat().st_size)
    process.send_signal(signal.SIGTERM)
    assert ended(started, process) == 1
    [end] = told(run, RunFinished)
    assert (end.status, end.stamp.src) == ("failed", "sup")
    assert "told twice" in end.reason
    [answer] = told(run, ControlApplied)
    assert (answer.command, answer.stamp.src) == ("stop", "sup")
    assert Inbox(run, 2).read() == ([], []), "nothing is left to be obeyed by the next session"


@pytest.mark.slow
def test_sigterm_reaches_the_ranks_when_no_request_can_be_written(tmp_path, started):
    """On a full disk the signal itself is passed on; nothing is started again."""
    run = prepare(tmp_path)
    run.control.mkdir()
    process = supervise(started, run)
    wait_for(lambda: told(run, AttemptStarted))
    process.send_signal(signal.SIGTERM)
    assert ended(started, process) == 1
    assert len(told(run, AttemptStarted)) == 1
    assert "told to stop" in told(run, RunFinished)[0].reason


@pytest.mark.slow
def test_a_stop_between_two_attempts_is_heard(tmp_path, started):
    """While restarts wait longer and longer, no rank is there to read it."""
    faults = [{"attempt": n, "rank": 0, "how": "raise"} for n in range(1, 9)]
    run = prepare(tmp_path, max_restarts=8, faults=faults)
    process = supervise(started, run)
    wait_for(lambda: len(told(run, RankLost)) == 3)
    post(run, Request(id="s", command=Command.STOP, author="test", attempt=1))
    assert ended(started, process) == 0
    [end] = told(run, RunFinished)
    assert (end.status, end.reason, end.step) == ("stopped", "stop asked for by test", 0)
    [answer] = told(run, ControlApplied)
    assert (answer.id, answer.outcome, answer.reason) == ("s", "applied", "no rank was running")


@pytest.mark.slow
def test_a_killed_supervisor_frees_the_run_and_its_ranks_stop(tmp_path, started):
    """SIGKILL of the supervisor: the lock is free at once, the ranks notice and end."""
    run = prepare(tmp_path, world_size=2)
    process = supervise(started, run)
    wait_for(lambda: told(run, AttemptStarted))
    started.note_descendants()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lock.holder(run) is None
    wait_for(lambda: started.left() == [])
    [end] = told(run, RunFinished)
    assert (end.status, end.reason) == ("stopped", "the supervisor is gone")


def test_a_second_supervisor_is_refused(tmp_path, started):
    """Exit code 2, the holder's name, and nothing is started."""
    run = prepare(tmp_path, steps=1)
    with RunLock.acquire(run):
        process = supervise(started, run)
        assert process.wait(30) == 2
    assert f"process {os.getpid()}" in run.supervisor_log.read_text()
    assert not run.events.exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    """One line, exit code 2."""
    assert supervisor.main([str(tmp_path)]) == 2
    assert "is no run directory" in capsys.readouterr().err
    assert supervisor.main([]) == 2


def test_a_stop_request_of_the_supervisor_reaches_any_attempt(tmp_path):
    """It names no attempt: a rank restarted in the meantime obeys as well."""
    run = make_run(tmp_path)
    found = supervisor.Supervisor(run, run.read_manifest())
    found._on_signal(signal.SIGTERM, None)
    [request] = Inbox(run, 99).read().requests
    assert (request.command, request.author) == (Command.STOP, "SIGTERM")
    assert abs(request.t - time.time()) < 60


def test_the_threads_of_ranks_share_the_cores(tmp_path, monkeypatch):
    """Two ranks on this machine do not both take every core; a person's own choice stays."""
    cores = len(os.sched_getaffinity(0))
    for name in ("OMP_NUM_THREADS", "MALLOC_MMAP_THRESHOLD_", "SFTUI_FIRST_SEQ"):
        monkeypatch.setenv(name, "7")
    for name in ("SFTUI_SUPERVISOR_PID", "SFTUI_CONTROL_BYTES"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "0")
    run = make_run(tmp_path)
    run.events.write_bytes(wire.encode(AttemptStarted(stamp=Stamp(seq=41))))
    run.control.write_text("x" * 13)
    found = supervisor.Supervisor(run, run.read_manifest())
    found._set_environment(2)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert os.environ["SFTUI_CONTROL_BYTES"] == "13"
    monkeypatch.delenv("OMP_NUM_THREADS")
    found._set_environment(2)
    assert os.environ["OMP_NUM_THREADS"] == str(max(1, cores // 2))
    assert os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    assert os.environ["SFTUI_FIRST_SEQ"] == "41"
    assert os.environ["SFTUI_SUPERVISOR_PID"] == str(os.getpid())


def test_restarts_wait_longer_each_time():
    """At once after a single accident, half a minute at most in a loop of them."""
    assert [backoff_seconds(n) for n in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]


def test_last_words_are_the_last_line_that_says_something(tmp_path):
    """A traceback ends with its error; blank lines and bad bytes do not matter."""
    log = tmp_path / "stderr.log"
    assert last_words(log) == ""
    log.write_bytes(b"x" * 100_000 + b"\nTraceback ...\nValueError: \xff no\n\n  \n")
    assert last_words(log) == "ValueError: \ufffd no"
