"""Memory segments that grow are asked for before torch is imported, unless somebody chose."""

import os
import subprocess
import sys

import pytest

from engine.processes import cuda_environment


def test_growing_segments_and_the_drivers_order_are_the_default():
    """What `fit` counts on is set, under the name that torch 2.10 and later read."""
    environment: dict[str, str] = {}
    cuda_environment.set_defaults(environment)
    assert environment == {
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


@pytest.mark.parametrize("name", cuda_environment.ALLOCATOR_VARIABLES)
def test_a_wish_under_either_name_stays(name):
    """Nothing is laid over what a person set, and the other name is not added."""
    environment = {name: "max_split_size_mb:64", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    before = dict(environment)
    cuda_environment.set_defaults(environment)
    assert environment == before


@pytest.mark.slow
def test_a_rank_of_torchrun_has_it_before_torch_is_imported(tmp_path):
    """Without a supervisor of ours, too: the worker's main sets it first."""
    code = (
        "import os, sys\n"
        "from engine import worker\n"
        "worker.orphan.end_with_parent = lambda: (print(os.environ['PYTORCH_ALLOC_CONF'],"
        " 'torch' in sys.modules), False)[1]\n"
        "worker.main([sys.argv[1]])\n"
    )
    environment = {k: v for k, v in os.environ.items() if "ALLOC_CONF" not in k}
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["expandable_segments:True", "False"]
