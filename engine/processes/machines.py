"""The command to type on the other machines of a run that several share."""

from __future__ import annotations

import shlex
from typing import Any

from engine.run.run_dir import RunDir

MAX_RESTARTS = 3
"""Where a manifest says nothing."""


def other_machines(run_dir: RunDir, manifest: dict[str, Any]) -> str:
    """A log text with the torchrun command for every machine but the first."""
    nodes, world_size = int(manifest["nodes"]), int(manifest["world_size"])
    return (
        f"waiting for {nodes - 1} more machine(s). On each, with this run directory mounted at the "
        "same place: TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun "
        f"--nnodes {nodes} --nproc-per-node {world_size // nodes} --max-restarts "
        f"{manifest.get('max_restarts', MAX_RESTARTS)} --rdzv-backend c10d --rdzv-endpoint "
        f"{manifest['rendezvous']} --rdzv-id {run_dir.id} "
        f"--no-python python -P -m engine.worker {shlex.quote(str(run_dir.path))}"
    )
