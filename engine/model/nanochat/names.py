"""Names of nanochat's parameters that more than one module here needs."""

from __future__ import annotations

HEAD = "lm_head.weight"
EMBEDDING = "transformer.wte.weight"
