"""The shape of the code in numbers: `python -m tests.structure [ROOT]`, or `make structure`.

Counts of the two packages under ROOT (default: this repository): modules at the top levels,
arrows between rooms, import circles, the longest file and function, duplicate basenames,
comments where the mathematics is, and words of the README. A room is one child of `engine` or
`sftui`: a folder, or a module at the top level. `tests/test_contracts.py` holds circles and
duplicate basenames at none.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

PACKAGES = ("engine", "sftui")
ROOT = Path(__file__).resolve().parents[1]
SCRIPT = "engine.starter.build_base"
MATHEMATICS = ("trainer", "optim", "dataloader")
"""Modules, by basename, whose comments are counted."""


def import_graph(*, types: bool = False) -> grimp.ImportGraph:
    """Who imports whom in the two packages; with `types`, imports for type checking count too.

    Without the script that makes the starter base: it stands above the rooms that use its base.
    """
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=not types, cache_dir=None)
    graph.remove_module(SCRIPT)
    return graph


def circle(graph: grimp.ImportGraph) -> list[str]:
    """Modules that import each other in a ring, its first one again at the end; empty if none."""
    needs = {
        module: sorted(graph.find_modules_directly_imported_by(module))
        for module in sorted(graph.modules)
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """Every group of two or more modules that all reach each other by imports."""
    reach = {module: graph.find_upstream_modules(module) for module in graph.modules}
    groups = {
        frozenset(other for other in above if module in reach[other]) | {module}
        for module, above in reach.items()
    }
    return sorted((set(group) for group in groups if len(group) > 1), key=sorted)


def arrows(graph: grimp.ImportGraph, package: str) -> set[tuple[str, str]]:
    """(importer, imported): pairs of rooms of one package."""
    return {
        (_room(module), _room(other))
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
        if module.startswith(f"{package}.") and other.startswith(f"{package}.")
        if _room(module) != _room(other)
    }


def back_arrows(graph: grimp.ImportGraph, package: str) -> set[tuple[str, str]]:
    """The fewest arrows found without which the rooms of a package form no circle."""
    broken = graph.nominate_cycle_breakers(package)
    return {(_room(module), _room(other)) for module, other in broken}


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the two packages."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def duplicates(root: Path) -> dict[str, list[str]]:
    """Basename -> the modules that share it; packages count as modules."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, path in modules(root):
        if path.stem not in ("__init__", "__main__"):
            found[path.stem].append(name)
    return {stem: names for stem, names in found.items() if len(names) > 1}


def renamed(root: Path, folders: tuple[str, ...] = PACKAGES) -> list[str]:
    """Imports of a module with a shared basename under another name: `FILE:LINE import ... as`."""
    shared = {name for names in duplicates(root).values() for name in names}
    found = []
    for path in sorted(p for folder in folders for p in (root / folder).rglob("*.py")):
        for node in ast.walk(_tree(path)):
            match node:
                case ast.Import(names=names):
                    pairs = [(alias.name, alias.asname) for alias in names]
                case ast.ImportFrom(module=str(package), names=names):
                    pairs = [(f"{package}.{alias.name}", alias.asname) for alias in names]
                case _:
                    continue
            found += [
                f"{path.relative_to(root)}:{node.lineno} {name} as {asname}"
                for name, asname in pairs
                if asname is not None and name in shared
            ]
    return found


def longest_function(root: Path) -> tuple[int, str]:
    """Lines and name of the longest one, decorators and docstring included."""
    return max(
        (1 + (node.end_lineno or node.lineno) - node.lineno, f"{name}.{node.name}")
        for name, path in modules(root)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def comments(path: Path) -> tuple[int, float]:
    """Comments of a file, and comments per 100 lines."""
    with path.open("rb") as file:
        count = sum(token.type == tokenize.COMMENT for token in tokenize.tokenize(file.readline))
    return count, 100 * count / _line_count(path)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def report(root: Path) -> Iterator[str]:
    """The numbers, a line each. The two packages that can be imported must be those of `root`."""
    graph, with_types = import_graph(), import_graph(types=True)
    for package in PACKAGES:
        top = [path for path in (root / package).glob("*.py") if path.stem != "__init__"]
        names = {_room(name) for name, _ in modules(root) if name.startswith(f"{package}.")}
        yield f"{package}/: {len(top)} modules at its top level, {len(names)} rooms"
        for what, of in (("", graph), (", type-only imports counted", with_types)):
            back = back_arrows(of, package)
            named = "".join(f"; {_short(one)} -> {_short(other)}" for one, other in sorted(back))
            count = len(arrows(of, package))
            yield f"  arrows between rooms{what}: {count}, back: {len(back)}{named}"
    for what, of in (("", graph), (", type-only imports counted", with_types)):
        found = circles(of)
        named = "".join(f"; {', '.join(sorted(group))}" for group in found)
        yield f"circles of modules{what}: {len(found)}{named}"
    lines, longest = max((_line_count(path), name) for name, path in modules(root))
    yield f"files: {sum(1 for _ in modules(root))}; longest: {longest} with {lines} lines"
    lines, longest = longest_function(root)
    yield f"longest function: {longest} with {lines} lines"
    shared, under = duplicates(root), renamed(root)
    yield f"basenames that stand twice or more: {len(shared)}: {', '.join(sorted(shared))}"
    yield f"  imported with `as`: {len(under)}"
    for stem in MATHEMATICS:
        for name, path in modules(root):
            if path.stem == stem:
                count, share = comments(path)
                yield f"comments in {name}: {count}, {share:.1f} per 100 lines"
    words = len((root / "README.md").read_text(encoding="utf-8").split())
    yield f"README.md: {words} words"


def _short(room: str) -> str:
    return re.sub(r"^\w+\.", "", room)


def main() -> int:
    """Print the numbers of ROOT: in a process of its own, whose imports come from there."""
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    program = (
        "import sys; from pathlib import Path; root = sys.argv[1]; sys.path.insert(0, root)\n"
        "from structure import report\n"
        "for line in report(Path(root)): print(line)"
    )
    # Not as a module of `tests`: what is imported as `engine` must be found under ROOT.
    return subprocess.run(
        [sys.executable, "-P", "-c", program, str(root)],
        env={"PYTHONPATH": str(Path(__file__).parent)},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
