"""The cases of strangers' inputs, judged by their own checker."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import SHARED

CASES = SHARED / "cases"
GROUPS = 4
"""Run side by side; more of them would only copy the folder more often."""

pytestmark = [
    pytest.mark.skipif(not CASES.is_dir(), reason="the reference folder is not there"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


def checked(names: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What the checker says of the cases with these names."""
    found = shutil.which("sftui", path=str(Path(sys.executable).parent))
    assert found is not None
    command = [sys.executable, str(CASES / "check.py"), str(CASES), found, *names]
    env = os.environ | {"SFTUI_RUNS": ""}
    env.pop("SFTUI_RUNS")
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_every_case_is_right():
    """Each input is read right, or refused with the reason."""
    names = sorted(path.name for path in CASES.glob("*.case.json"))
    assert len(names) >= 50
    with ThreadPoolExecutor(GROUPS) as pool:
        groups = [names[at::GROUPS] for at in range(GROUPS)]
        done = list(pool.map(checked, groups))
    assert all(each.returncode == 0 for each in done), "".join(each.stdout for each in done)
    for group, each in zip(groups, done, strict=True):
        right, of = (int(word) for word in each.stdout.split()[:3:2])
        assert right == of >= len(group)
