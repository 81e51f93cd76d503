"""Programs that judge the product are kept as they came: only their imports follow its modules."""

from pathlib import Path

import pytest

from tests.conftest import SHARED, needs_shared

COPIES = {"honesty_sim.py": "honesty_sim.py", "gpu/regress.py": "prototypes/gpu/regress.py"}


def without_imports(path: Path) -> list[str]:
    """The lines but for imports and the path that they are found on."""
    imports = ("import ", "from ", "sys.path.insert")
    return [line for line in path.read_text().splitlines() if not line.startswith(imports)]


@needs_shared
@pytest.mark.parametrize("name", COPIES)
def test_a_copy_differs_from_its_original_in_imports_alone(name):
    """Worlds, limits and sentences are not ours to move."""
    copy = Path(__file__).parent / name
    assert without_imports(copy) == without_imports(SHARED / COPIES[name])
