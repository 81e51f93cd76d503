"""Each rank says that it lives; rank 0 hears when one does not."""

import json
import os
import threading

import psutil
import pytest
import torch

from engine.distributed import Ranks
from engine.events import AlarmCleared, AlarmRaised, RankHeartbeat
from engine.processes import heartbeat
from engine.processes.heartbeat import Collector, GpuSampler, Heartbeat
from engine.processes.heartbeat_file import read_record
from engine.run.lock import evidence
from tests.processes import make_run, wait_for

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def beat(run, rank, number, t=None):
    record = {"rank": rank, "beat": f"1:{number}", "pid": os.getpid(), "host": "h"}
    record["t"] = heartbeat.time.time() if t is None else t
    run.heartbeat(rank).write_text(json.dumps(record))


def test_a_rank_tells_what_it_uses(run):
    """Resident memory and load of this very process, and the step it is at."""
    events = []
    with Heartbeat(run, Ranks(device=CPU), events.append, beat_seconds=0.01, tell_seconds=0) as h:
        h.at_step(6)
        h.at_step(7)
        wait_for(lambda: any(e.at_step == 7 for e in events if isinstance(e, RankHeartbeat)), 10)
        found = next(e for e in events if e.at_step == 7)
        assert found.step_seconds is not None
        rss = psutil.Process().memory_info().rss
        assert 0.5 * rss < found.memory_bytes < 2 * rss
        assert found.memory_kind == "resident"
        assert found.memory_peak_bytes >= found.memory_bytes // 2
        assert found.memory_total_bytes == psutil.virtual_memory().total
        assert found.disk_free_bytes > 0
        assert found.pid == os.getpid()
        # A trainer knows better than the clock: a pause between two steps is none of either.
        h.at_step(8, seconds=0.25)
        assert h.sample().step_seconds == 0.25
        assert found.cpu_percent is not None
        assert evidence(run)[0], "a fresh heartbeat is evidence of life"


def test_the_other_ranks_only_write_their_file(run):
    """Rank 0 alone speaks."""
    events = []
    ranks = Ranks(device=CPU, rank=1, world_size=2)
    with Heartbeat(run, ranks, events.append, beat_seconds=0.01):
        wait_for(lambda: read_record(run.heartbeat(1)), 10)
    assert events == []
    assert read_record(run.heartbeat(1))["rank"] == 1


def test_a_beat_is_rewritten_in_place(run):
    """Same file, same size: a full disk does not make a living rank look dead."""
    with Heartbeat(run, Ranks(device=CPU), lambda event: None, beat_seconds=0.005):
        wait_for(lambda: read_record(run.heartbeat(0)), 10)
        before = run.heartbeat(0).stat()
        first = read_record(run.heartbeat(0))["beat"]
        wait_for(lambda: (read_record(run.heartbeat(0)) or {}).get("beat") != first, 10)
        after = run.heartbeat(0).stat()
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size)


def test_a_silent_rank_raises_one_alarm_until_it_is_heard_again(run):
    """Ten seconds without a beat; its process may look as alive as it likes."""
    now, events = [0.0], []
    collector = Collector(run, 2, events.append, 10.0, clock=lambda: now[0])
    for second in range(30):
        now[0] = float(second)
        beat(run, 0, second)
        if second < 5 or second > 25:
            beat(run, 1, second)
        collector.collect()
    alarms = [e for e in events if isinstance(e, AlarmRaised | AlarmCleared)]
    assert [type(alarm) for alarm in alarms] == [AlarmRaised, AlarmCleared]
    assert "rank 1" in alarms[0].text
    assert "rank 0" not in alarms[0].text
    beats = [e.rank for e in events if isinstance(e, RankHeartbeat)]
    assert beats.count(0) == 30
    assert beats.count(1) == 9


def test_files_of_an_earlier_attempt_are_no_beats(run):
    """A dead rank's last word is not repeated in the next attempt."""
    events = []
    beat(run, 0, 1, t=1000.0)
    collector = Collector(run, 1, events.append)
    collector.collect()
    assert events == []
    beat(run, 0, 2)
    collector.collect()
    assert [event.rank for event in events] == [0]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rank": "x"}', '{"beat": 1}'])
def test_a_half_written_file_is_no_beat(run, text):
    """Nor an error."""
    run.heartbeat(0).write_text(text)
    assert read_record(run.heartbeat(0)) is None
    Collector(run, 1, lambda event: None).collect()


class Driver:
    """A GPU driver in which every question may fail or hang."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self, failing=(), hang=None):
        self.failing = failing
        self.hang = hang

    def _ask(self, name, value):
        if self.hang is not None:
            self.hang.wait()
        if name in self.failing:
            raise RuntimeError("GPU is lost")
        return value

    def nvmlDeviceGetUtilizationRates(self, handle):
        return type("Rates", (), {"gpu": self._ask("util", 93)})

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._ask("power", 250_000)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return self._ask("limit", 300_000)

    def nvmlDeviceGetTemperature(self, handle, kind):
        return self._ask("temperature", 61)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        mine = type("Process", (), {"pid": os.getpid(), "usedGpuMemory": 3})
        return self._ask("processes", [mine])

    def nvmlDeviceGetMemoryInfo(self, handle):
        return type("Memory", (), {"used": self._ask("memory", 10)})


def test_the_drivers_numbers_have_their_units():
    """Percent, watts, degrees, bytes of others."""
    assert heartbeat._nvml_sample(Driver(), None) == {
        "gpu_util_percent": 93.0,
        "gpu_power_watts": 250.0,
        "gpu_power_limit_watts": 300.0,
        "gpu_temperature_celsius": 61.0,
        "gpu_others_bytes": 7,
    }


@pytest.mark.parametrize("failing", ["util", "power", "limit", "temperature", "processes"])
def test_what_the_driver_does_not_know_is_left_out(failing):
    """One failing question costs one cell."""
    assert len(heartbeat._nvml_sample(Driver({failing}), None)) == 4


def test_a_lost_gpu_gives_no_numbers():
    """Every question fails: training itself decides what that means."""
    failing = {"util", "power", "limit", "temperature", "processes", "memory"}
    assert heartbeat._nvml_sample(Driver(failing), None) == {}


def test_no_driver_is_no_error(run):
    """A machine without one: the sampler's thread ends, the cells stay empty."""
    sampler = GpuSampler(torch.device("cuda", 0), period_seconds=0.01)
    assert sampler.latest() == {}
    sampler.close()


def test_a_driver_that_hangs_does_not_stop_the_beat(run, monkeypatch):
    """Old numbers turn stale; the rank keeps beating."""
    free = threading.Event()
    driver = Driver(hang=free)
    driver.nvmlInit = lambda: None
    driver.nvmlDeviceGetHandleByIndex = lambda index: None
    monkeypatch.setitem(heartbeat.sys.modules, "pynvml", driver)
    ranks = Ranks(device=torch.device("cuda", 0))
    try:
        with Heartbeat(run, ranks, lambda event: None, beat_seconds=0.01) as h:
            wait_for(lambda: (read_record(run.heartbeat(0)) or {}).get("beat", "").endswith(":5"))
            assert h.sample().gpu_util_percent is None
    finally:
        free.set()
