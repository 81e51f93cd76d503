"""What CUDA reads from the environment, set before torch is imported.

Supervisor and rank both call it: ranks that torchrun started have no supervisor of ours.
A variable that is set already is somebody's wish and stays.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""The name of torch 2.10 and later, and the older one, which later ones warn about."""


def set_defaults(environ: MutableMapping[str, str] = os.environ) -> None:
    """Growing memory segments, and cards numbered as the driver numbers them."""
    # Packed micro-steps have every length: the worst case for blocks of a fixed size. With
    # segments that grow, 3 to 5 % are lost between blocks, which is what `fit` counts on.
    if not any(name in environ for name in ALLOCATOR_VARIABLES):
        environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    # CUDA sorts cards by speed unless told otherwise; NVML never does.
    environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
