"""What every test may use: the place of the real reference data, when it is there."""

import os
import tempfile
from pathlib import Path

import pytest

# What a developer likes to see must not change a test, nor a test what they like. Set here and
# not in a fixture: screens started as processes inherit it.
os.environ["SFTUI_CONFIG"] = str(Path(tempfile.gettempdir()) / f"sftui-tests-{os.getpid()}.json")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
"""Real data, logs and nanochat reference values; absent outside the developers' machines."""

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference folder is not there")
