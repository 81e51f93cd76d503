"""The cases of strangers' inputs, judged by their own checker."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SHARED

CASES = SHARED / "cases"

pytestmark = [
    pytest.mark.skipif(not CASES.is_dir(), reason="the reference folder is not there"),
    pytest.mark.timeout(600),
]


def checked(*names: str) -> subprocess.CompletedProcess[str]:
    """What the checker says of the cases with these names; of all, without any."""
    found = shutil.which("sftui", path=str(Path(sys.executable).parent))
    assert found is not None
    command = [sys.executable, str(CASES / "check.py"), str(CASES), found, *names]
    env = os.environ | {"SFTUI_RUNS": ""}
    env.pop("SFTUI_RUNS")
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_every_case_is_right():
    """Each input is read right, or refused with the reason."""
    done = checked()
    assert done.returncode == 0, done.stdout
