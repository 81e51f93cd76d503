"""A run and a replay behind one protocol: what the cockpit asks of either."""

import pytest

from sftui.cockpit.modes import Live, Mode
from sftui.cockpit.playback import FOLLOW_TICK_SECONDS, Playback
from sftui.sources.replay import replay_events
from tests.sftui.fake_run import START, ListSource, fake_run


def modes() -> list[Mode]:
    return [Live(ListSource([]), now=lambda: START), Playback(replay_events(fake_run()))]


@pytest.mark.parametrize("mode", modes(), ids=lambda mode: type(mode).__name__)
def test_every_mode_answers_the_whole_protocol(mode):
    """The cockpit never asks which of the two it has."""
    for name in Mode.__protocol_attrs__ if hasattr(Mode, "__protocol_attrs__") else ():
        assert hasattr(mode, name)
    assert isinstance(mode.transport(), str)
    assert mode.restarted() is False
    assert mode.log_book() is not mode.log_book()
    assert mode.new_alarms().busy is False
    assert mode.silence(mode.new_alarms(), START) == []


def test_a_run_takes_requests_and_ages_go_on():
    """Over a replay nothing is older than the newest event."""
    live, replay = modes()
    assert live.takes_requests
    assert not replay.takes_requests
    assert live.ages_to(START - 60) == START
    assert replay.ages_to(START - 60) == START - 60
    assert live.status() is None


def test_a_replay_is_at_the_present_at_its_end_alone():
    """What lies on disk now says nothing of the middle of a run."""
    source = replay_events(fake_run())
    replay = Playback(source)
    assert replay.at_present
    source.seek(10)
    assert not replay.at_present
    assert Live(ListSource([]), now=lambda: START).at_present


def test_no_tick_comes_where_nothing_moves():
    """A replay that stands still, a run that ended; both wake for alarms that are not judged."""
    source = replay_events(fake_run())
    replay = Playback(source)
    source.seek(10)
    assert replay.pace(ended=False, judging=False) == 0.0
    assert replay.pace(ended=False, judging=True) > 0
    source.speed, source.paused = 60.0, False
    assert 0 < replay.pace(ended=False, judging=False) < FOLLOW_TICK_SECONDS
    live = Live(ListSource([]), now=lambda: START)
    assert live.pace(ended=False, judging=False) is None


def test_the_status_of_a_replay_is_the_source_s():
    """Nobody else keeps speed, place or stage."""
    source = replay_events(fake_run())
    replay = Playback(source)
    source.seek(source.length // 2)
    source.speed, source.paused = 8.0, True
    status = replay.status()
    assert status == source.status()
    assert (status.speed, status.paused, status.step) == (8.0, source.paused, source.step)
    assert status.last_step == 400
    assert [mark.kind for mark in status.marks] == [mark.kind for mark in source.marks]
    assert source.status().marks is status.marks, "made once for a file that did not change"
