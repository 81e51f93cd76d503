"""Each import contract of `.importlinter` refuses a breach of it, and no import runs in a circle.

The breaches are planted all at once in a copy of the two packages, and the linter is run once:
under the name of each contract it has to name that contract's own breach.
"""

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.api import read_configuration

from tests import structure

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS: dict[str, dict[str, Any]] = {
    contract["id"]: contract
    for contract in read_configuration(str(ROOT / ".importlinter"))["contracts_options"]
}


@dataclass(frozen=True)
class Breach:
    """One import that a contract forbids."""

    importer: str
    imported: str

    @property
    def line(self) -> str:
        """As the linter names it, without its line number."""
        return f"{self.importer} -> {self.imported} "


def breaches() -> dict[str, list[Breach]]:
    """By contract: every module or layer on its lists breaks it once."""
    found = {}
    for name, contract in CONTRACTS.items():
        match contract["type"]:
            case "forbidden":
                sources, outside = contract["source_modules"], contract["forbidden_modules"]
                found[name] = [Breach(source, outside[0]) for source in sources]
                found[name] += [Breach(sources[0], module) for module in outside]
            case "independence":
                ring = [*contract["modules"], contract["modules"][0]]
                found[name] = [Breach(a, b) for a, b in itertools.pairwise(ring)]
            case "protected":
                found[name] = [
                    Breach("sftui.cli", module) for module in contract["protected_modules"]
                ]
            case "layers":
                found[name] = list(layer_breaches(contract))
    return found


def layer_breaches(contract: dict[str, Any]) -> list[Breach]:
    """The lowest layer imports every other one, and rooms side by side import each other."""
    [container] = contract.get("containers") or [""]
    prefix = f"{container}." if container else ""
    rows = [
        [prefix + name for name in re.split(r" *[|:] *", row) if not name.startswith("(")]
        for row in contract["layers"]
    ]
    [lowest] = rows[-1][:1]
    found = [Breach(lowest, above) for row in rows[:-1] for above in row]
    return found + [Breach(row[0], row[1]) for row in rows if len(row) > 1]


UNPLACED = ("engine/unplaced.py", "sftui/unplaced.py")
"""Rooms that no layer names."""
FOR_TYPES = Breach("sftui.statistics.flips", "textual.for_types_alone")
"""Forbidden, were it not for type checking alone."""


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """What the linter says of all breaches at once, by the name of the contract."""
    root = tmp_path_factory.mktemp("planted")
    source_only = shutil.ignore_patterns("__pycache__")
    for package in structure.PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=source_only)
    shutil.copy(ROOT / ".importlinter", root)
    for breach in {breach for planted in breaches().values() for breach in planted}:
        plant(root, breach.importer, f"import {breach.imported}")
    types = f"if TYPE_CHECKING:\n    import {FOR_TYPES.imported}"
    plant(root, FOR_TYPES.importer, f"from typing import TYPE_CHECKING\n{types}")
    for path in UNPLACED:
        (root / path).write_text('"""A room without a layer."""\n')
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": str(root), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1, done.stderr
    details = done.stdout.partition("Broken contracts")[2]
    names = "|".join(re.escape(contract["name"]) for contract in CONTRACTS.values())
    parts = re.split(rf"^({names})$\n", details, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def plant(root: Path, module: str, text: str) -> None:
    """Append `text` to a module of the copy."""
    path = root / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    with path.open("a") as file:
        file.write(f"\n{text}\n")


@pytest.mark.parametrize("name", CONTRACTS)
def test_each_contract_refuses_a_breach_of_each_entry_on_its_lists(refused, name):
    """A module that was renamed and is on no list any more would not be noticed otherwise."""
    said = refused[CONTRACTS[name]["name"]]
    planted = breaches()[name]
    assert planted
    assert [breach for breach in planted if breach.line not in said] == []


def test_a_room_without_a_layer_is_refused(refused):
    """Whoever adds a folder says where it stands."""
    for name, container in (("engine-layers", "engine"), ("screen-layers", "sftui")):
        assert f"- {container}.unplaced" in refused[CONTRACTS[name]["name"]]


def test_an_import_for_type_checking_alone_is_no_breach(refused):
    """It makes no module load another."""
    assert not [name for name, said in refused.items() if FOR_TYPES.imported in said]


def test_every_widget_and_every_reader_is_on_the_list_of_the_independent_ones():
    """But for what several of them share."""
    shared = {
        # The base classes, and what stands on the dashboard before the first event.
        "widgets-independent": {"panel", "startup", "zoom_chart"},
        # Found text, rows and formats that readers have in common.
        "readers-independent": {
            *("nanochat_head", "nanochat_lines", "nanochat_steps", "protobuf"),
            *("rows", "skeleton", "event_skeleton", "text", "objects"),
            # From bytes to pairs, from pairs to meanings, and the evidence for each.
            *(
                "alikes",
                "bars",
                "chinese",
                "counters",
                "envelopes",
                "layouts",
                "ledger",
                "last_words",
                "leftovers",
            ),
            *("meanings", "pairs", "prefixes", "printed", "quantities", "record_files", "tasks"),
            "tracebacks",
        },
    }
    for name, common in shared.items():
        listed = {module.rpartition(".")[2] for module in CONTRACTS[name]["modules"]}
        folder = ROOT / CONTRACTS[name]["modules"][0].rpartition(".")[0].replace(".", "/")
        found = {path.stem for path in folder.glob("*.py")} - {"__init__"}
        assert found == listed | common


def test_a_folder_that_runs_without_a_screen_is_on_the_list_of_those():
    """A new one joins the contract; none leaves it without a word."""
    graph = grimp.build_graph(
        "sftui",
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )
    drawn = graph.find_downstream_modules("textual")
    folders = {m for m in graph.find_children("sftui") if graph.find_children(m)}
    headless = {m for m in folders if not ({m} | graph.find_descendants(m)) & drawn}
    assert headless <= set(CONTRACTS["headless"]["source_modules"])
    assert {"sftui.readers", "sftui.state", "sftui.statistics"} <= headless


def test_no_modules_import_each_other_in_a_circle():
    """Deferred imports count; those for type checking alone do not."""
    assert structure.circle(structure.import_graph()) == []


def test_a_circle_would_be_found():
    """The test above can fail."""
    graph = structure.import_graph()
    graph.add_import(importer="engine.errors", imported="engine.trainer")
    ring = structure.circle(graph)
    assert ring[0] == ring[-1]
    assert {"engine.errors", "engine.trainer"} <= set(ring)
    assert [group for group in structure.circles(graph) if "engine.errors" in group]


def test_no_module_is_imported_under_another_name_because_two_share_theirs():
    """One searches for a module by its basename, and finds one."""
    assert structure.renamed(ROOT) == []


def test_a_module_imported_under_another_name_would_be_found(tmp_path):
    """The test above can fail, with `import a.b as c` and with `from a import b as c`."""
    for path, text in {
        "engine/text.py": "",
        "sftui/text.py": "",
        "sftui/one.py": "import engine.text as words\n",
        "sftui/two.py": "from engine import text as words\nfrom engine.text import name as n\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert structure.renamed(tmp_path) == [
        "sftui/one.py:1 engine.text as words",
        "sftui/two.py:1 engine.text as words",
    ]


def test_no_test_file_is_left_out_of_the_type_check_but_the_old_ones():
    """The list in `pyproject.toml` names files that exist, no helper, and no more than it did."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    [left_out] = [each["module"] for each in settings["overrides"] if each.get("ignore_errors")]
    assert [name for name in left_out if not (ROOT / f"{name.replace('.', '/')}.py").exists()] == []
    assert [name for name in left_out if not name.rpartition(".")[2].startswith("test_")] == []
    assert len(left_out) <= 56
