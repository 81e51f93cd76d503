"""What every test may use: the place of the real reference data, when it is there."""

import os
import platform
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it in what it starts in the background, and children inherit that: a screen
    # that is told to end in its first tenths of a second would not hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Speed is measured by benchmarks, as ratios; a busy machine stands still for longer than
# Hypothesis' 200 ms, and that says nothing about the code.
EXAMPLES = int(os.environ.get("SFTUI_EXAMPLES", "1"))
"""Times the usual number of examples: `make hunt` looks for what one run in a hundred finds."""
# The same examples in every `make test`, so that a change is judged and not a draw; the hunt
# draws anew each time.
settings.register_profile(
    "sftui", deadline=None, max_examples=100 * EXAMPLES, derandomize=EXAMPLES == 1
)
settings.load_profile("sftui")


def examples(number: int) -> settings:
    """So many examples of a property that is not tested with the usual hundred."""
    return settings(max_examples=number * EXAMPLES)


# What a developer likes to see must not change a test, nor a test what they like. Set here and
# not in a fixture: screens started as processes inherit it.
os.environ["SFTUI_CONFIG"] = str(Path(tempfile.gettempdir()) / f"sftui-tests-{os.getpid()}.json")

# nanochat's reference values were made with AVX2. With AVX-512 the products are summed in another
# order, and AdamW's first updates of gradients that are nearly zero go the other way: projections
# of wte then differ by 0.011 instead of 0.0006. Read by torch when it is imported.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
"""Real data, logs and nanochat reference values; absent outside the developers' machines."""

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference folder is not there")
