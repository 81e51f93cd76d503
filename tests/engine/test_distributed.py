"""Alone or among peers, a rank knows who it is and is told when the environment is wrong."""

import pytest
import torch

from engine import distributed
from engine.errors import UsageError


def test_alone_without_a_launcher():
    """No environment, no group, and the collectives are what they are for one."""
    ranks = distributed.join("cpu", environ={})
    assert (ranks.rank, ranks.world_size, ranks.backend, ranks.is_main) == (0, 1, None, True)
    tensor = torch.tensor([3.0])
    assert ranks.sum(tensor) is tensor
    assert ranks.max(tensor).item() == ranks.broadcast(tensor).item() == 3.0
    ranks.barrier()
    ranks.leave()


def test_one_rank_of_a_launcher_needs_no_group():
    """`--gpus 1` under the supervisor costs no rendezvous of its own."""
    environ = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    assert distributed.join("cpu", environ=environ).group is None


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_an_incomplete_environment_is_named(missing):
    """What is missing, and what to type."""
    environ = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
    del environ[missing]
    with pytest.raises(UsageError, match=f"{missing} is not set.*torchrun"):
        distributed.join("cpu", environ=environ)


def test_a_variable_that_is_no_number_is_named():
    """Not a traceback from int()."""
    with pytest.raises(UsageError, match="WORLD_SIZE is 'two'"):
        distributed.join("cpu", environ={"WORLD_SIZE": "two"})


def test_a_rank_without_a_gpu_is_told_both_numbers():
    """Fewer GPUs than ranks is said before anything hangs."""
    have = torch.cuda.device_count()
    with pytest.raises(UsageError, match=f"needs GPU {have}, and this machine has {have}"):
        distributed.join("cuda", environ={"LOCAL_RANK": str(have)})


def test_torchrun_users_are_warned_of_restarts_that_would_fail():
    """The variable that makes restarts work is named; with it, silence."""
    environ = {"WORLD_SIZE": "2", "TORCHELASTIC_MAX_RESTARTS": "3"}
    [warning] = distributed.launch_warnings(environ)
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE" in warning
    fixed = environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    assert distributed.launch_warnings(fixed) == []
    assert distributed.launch_warnings({"WORLD_SIZE": "2"}) == []
