"""The number of GPUs is known, and said, before anything starts."""

import pytest

from engine.errors import ConfigError
from engine.processes import devices


def test_without_gpus_the_ranks_run_on_the_cpu_and_it_is_said():
    """`--gpus 2` on a laptop is two gloo ranks."""
    found = devices.choose(2, "", gpus=0, cores=2)
    assert found.device_type == "cpu"
    assert found.note == "no GPU found: 2 CPU ranks through gloo"


def test_fewer_gpus_than_asked_names_both_numbers():
    """Some, but not enough, is a mistake and no reason to fall back silently."""
    with pytest.raises(ConfigError, match="asks for 4 GPUs; 2 are visible"):
        devices.choose(4, "", gpus=2, cores=8)


def test_enough_gpus_are_used():
    """One GPU a rank."""
    assert devices.choose(2, "", gpus=8, cores=8).device_type == "cuda"


def test_cuda_asked_for_and_absent_is_refused():
    """An explicit wish is never replaced."""
    with pytest.raises(ConfigError, match="no GPU is visible"):
        devices.choose(1, "cuda", gpus=0, cores=8)


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_do_not_count(visible):
    """CUDA_VISIBLE_DEVICES hides them from the ranks too."""
    assert devices.count_gpus({"CUDA_VISIBLE_DEVICES": visible}) == 0


class FakeNvml:
    """A driver with `count` GPUs, or one that fails."""

    def __init__(self, count):
        self.count = count

    def nvmlInit(self):
        if self.count is None:
            raise OSError("driver/library version mismatch")

    def nvmlShutdown(self):
        pass

    def nvmlDeviceGetCount(self):
        return self.count


@pytest.mark.parametrize(
    ("count", "visible", "expected"), [(2, None, 2), (2, "1", 1), (1, "0,1", 1), (None, None, 0)]
)
def test_the_driver_is_asked_and_may_fail(monkeypatch, count, visible, expected):
    """A broken driver is no GPU, never a traceback."""
    monkeypatch.setitem(__import__("sys").modules, "pynvml", FakeNvml(count))
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert devices.count_gpus(environment) == expected
