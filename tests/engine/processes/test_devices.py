"""The number of GPUs is known, and said, before anything starts."""

import importlib.metadata
import subprocess
import sys
from types import SimpleNamespace

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


GIB = 2**30


class FakeCards:
    """A driver with named cards of so many GiB, the CUDA version it knows, and UUIDs."""

    def __init__(self, *cards, cuda=12040):
        self.cards, self.cuda = cards, cuda

    def nvmlInit(self):
        pass

    nvmlShutdown = nvmlInit

    def nvmlDeviceGetCount(self):
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetHandleByUUID(self, name):
        return [uuid for uuid, _, _ in self.cards].index(name)

    def nvmlDeviceGetUUID(self, handle):
        return self.cards[handle][0]

    def nvmlDeviceGetName(self, handle):
        return self.cards[handle][1]

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=self.cards[handle][2] * GIB)

    def nvmlSystemGetCudaDriverVersion(self):
        return self.cuda


CARDS = (("GPU-aa1", "display", 2), ("GPU-bb2", "big", 80), ("GPU-bc3", "middle", 24))


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["display", "big", "middle"]),
        ("1", ["big"]),
        ("2,1", ["middle", "big"]),
        ("GPU-bb2", ["big"]),
        ("GPU-bc", ["middle"]),
        ("GPU-b", []),
        ("1,9,2", ["big"]),
        ("", []),
        ("-1", []),
    ],
)
def test_the_memory_of_hidden_cards_is_not_asked(monkeypatch, visible, names):
    """A small display card that CUDA_VISIBLE_DEVICES hides must not make `fit` refuse."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeCards(*CARDS))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [name for name, _ in devices.gpu_memories()] == names
    if names == ["big"]:
        assert devices.memory_of_rank("cuda", 1) == ("big", 80 * GIB)


def test_the_torch_that_is_installed_is_read_without_importing_it():
    """What its own file says, by another process that never loads torch."""
    code = (
        "import sys; from engine.processes import devices; print(devices.torch_build().version);"
        "assert 'torch' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == importlib.metadata.version("torch")


@pytest.mark.parametrize(
    ("cuda", "hip", "driver", "said"),
    [
        (None, None, (12, 4), "is a CPU build"),
        (None, "6.4", (12, 4), "for ROCm"),
        ("13.0", None, (12, 4), "the driver knows CUDA 12.4 at most"),
        ("13.0", None, (12, 8), "whl/cu126"),
        ("13.0", None, (13, 0), ""),
        ("12.6", None, (13, 0), ""),
        ("12.8", None, (12, 4), ""),
        ("13.0", None, None, ""),
    ],
)
def test_a_torch_that_cannot_use_the_card_is_refused(cuda, hip, driver, said):
    """With the line to install; within a major version of CUDA every driver will do."""
    build = devices.TorchBuild(version="2.13.0", cuda=cuda, hip=hip)
    text = devices.torch_obstacle(build, driver)
    assert said in text
    assert bool(text) == bool(said)


def test_a_cpu_build_beside_a_card_is_refused_before_anything_starts(monkeypatch):
    """It used to start, and a rank died of "this machine has 0"."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeCards(*CARDS))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "torch_build", lambda: devices.TorchBuild(version="2.13.0+cpu"))
    for wanted in ("", "cuda"):
        with pytest.raises(ConfigError, match=r"CPU build.*index-url.*--device-type cpu"):
            devices.find(1, wanted)
    assert devices.find(1, "cpu").device_type == "cpu"


def test_amd_and_apple_cards_are_named_and_never_chosen(monkeypatch, tmp_path):
    """The note says what to type; a ROCm build takes the cards when asked."""
    rocm = devices.TorchBuild(version="2.13.0+rocm6.4", hip="6.4")
    monkeypatch.setattr(devices, "count_gpus", lambda *_: 0)
    monkeypatch.setattr(devices, "torch_build", lambda: rocm)
    assert "--device-type cuda to try it" in devices.find(1, "").note
    assert "mps" in devices.other_gpu(None, "darwin")
    assert devices.other_gpu(None, "linux") == ""
    for number, gpu in enumerate((0, 5042, 7)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "gpu_id").write_text(f"{gpu}\n")
    assert devices.count_amd_gpus(tmp_path) == 2
    monkeypatch.setattr(devices, "count_amd_gpus", lambda: 2)
    assert devices.find(2, "cuda").device_type == "cuda"
