"""`sftui doctor` gathers what a report needs, and names each fault with its remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from engine.processes import machine_facts
from engine.processes.machine_facts import Facts

CARD = {"name": "a card", "memory": 24 * 2**30}
SEEN = {"name": "a card", "capability": [8, 9]}
GOOD = Facts(
    box={"system": "Linux", "cores": 8, "memory_gib": 64.0, "bf16_units": None},
    versions={"sftui": "0.1.0"},
    torch={
        "version": "2.13.0",
        "cuda": "13.0",
        "hip": None,
        "driver": "580.1",
        "driver_cuda": [13, 0],
        "obstacle": "",
        "probe": {"sees": "2 CUDA card(s)", "cards": [SEEN, SEEN], "nccl": "2.29"},
    },
    cards=[CARD, CARD],
    environment={},
    storage={
        "shared_memory_free": 2**30,
        "runs": "/data/runs",
        "runs_free": 2**40,
        "runs_system": "ext4",
    },
)


def test_a_healthy_machine_has_no_faults() -> None:
    """And the report says so, after its facts."""
    assert machine_facts.wrong(GOOD) == []
    lines = machine_facts.text_lines(GOOD)
    assert lines[-1] == "nothing wrong was found"
    text = "\n".join(lines)
    for fact in ("2.13.0, CUDA 13.0", "580.1 (CUDA 13.0)", "2.29", "a card, 24.0 GiB", "ext4"):
        assert fact in text


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("torch", {"version": None}, "torch is not installed"),
        ("torch", {"obstacle": "torch 2.13.0 is a CPU build."}, "is a CPU build"),
        ("torch", {"probe": {"cards": [], "error": "driver too old"}}, "driver too old"),
        ("torch", {"probe": {"cards": [SEEN | {"capability": [7, 5]}]}}, "capability 7.5"),
        ("torch", {"hip": "6.4"}, "nothing here was tried on AMD"),
        ("storage", {"shared_memory_free": 64 * 2**20}, "--shm-size=1g"),
        ("storage", {"shared_memory_free": None}, "--shm-size=1g"),
        ("storage", {"runs_free": 10 * 2**20}, "--runs-dir"),
        ("storage", {"runs_system": "nfs4"}, "slow network disk"),
        ("environment", {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}, "expandable_segments"),
        ("environment", {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, "PCI_BUS_ID"),
    ],
)
def test_each_fault_is_a_sentence_with_a_remedy(
    part: str, change: dict[str, Any], said: str
) -> None:
    """Each alone, in the lines and in the JSON."""
    broken = dataclasses.replace(GOOD, **{part: getattr(GOOD, part) | change})
    [fault] = machine_facts.wrong(broken)
    assert said in fault
    assert fault.endswith(".")
    assert f"wrong: {fault}" in machine_facts.text_lines(broken)
    assert broken.to_dict()["wrong"] == [fault]


def test_this_machine_is_gathered_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the runs need not be there; only what matters of the environment is told."""
    monkeypatch.setattr(machine_facts, "_probe", dict)
    facts = machine_facts.gather(
        tmp_path / "not" / "yet", {"NCCL_DEBUG": "INFO", "MY_SECRET": "x", "SFTUI_RUNS": "r"}
    )
    assert facts.environment == {"NCCL_DEBUG": "INFO", "SFTUI_RUNS": "r"}
    assert facts.storage["runs_free"] is not None
    assert facts.storage["runs_system"]
    assert facts.versions["python"]
    machine_facts.text_lines(facts)


def test_torch_is_asked_in_a_process_that_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash there is a fact here."""
    monkeypatch.setattr(machine_facts, "_PROBE", "import os; os.abort()")
    assert "asking torch failed" in machine_facts._probe()["error"]
