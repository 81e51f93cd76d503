"""What every test may use: the place of the real reference data, when it is there."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
"""Real data, logs and nanochat reference values; absent outside the developers' machines."""

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference folder is not there")
