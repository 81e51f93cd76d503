"""The programs that benchmarks start, as another checkout has them: names have moved."""

from __future__ import annotations

import ast
from pathlib import Path


def program(tree: Path, benchmark: str, name: str = "OURS") -> str:
    """The text that `benchmark` of the checkout `tree` assigns to `name`; SystemExit without it."""
    path = tree / "tests/benchmarks" / benchmark
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return str(ast.literal_eval(node.value))
    raise SystemExit(f"{path} has no program named {name}")
