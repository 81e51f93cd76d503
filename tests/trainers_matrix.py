"""The attach tests with the oldest and newest trainers: `make trainers-matrix` (15 minutes).

Each row gets an environment of its own under `build/trainers/`, with torch and the test tools of
this one and its own transformers, TRL, peft, accelerate or Lightning. Exit code 1 when a row
fails; a row that cannot be installed is said and counts as failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRANSFORMERS = (
    "tests/engine/attach/test_hf_trainer.py",
    "tests/engine/attach/test_questions.py",
    "tests/engine/attach/test_kept_ranks.py",
)
LIGHTNING = ("tests/engine/attach/test_lightning.py",)


@dataclass(frozen=True, slots=True)
class Row:
    """One environment: what is installed into it, and what is run in it."""

    name: str
    packages: tuple[str, ...]
    tests: tuple[str, ...]


ROWS = (
    Row(
        "transformers-4.46",
        ("transformers==4.46.*", "trl==0.12.*", "accelerate==1.1.*", "peft==0.13.*"),
        TRANSFORMERS,
    ),
    Row("transformers-newest", ("transformers", "trl", "accelerate", "peft"), TRANSFORMERS),
    # It asks setuptools for pkg_resources, which newer ones no longer have.
    Row("lightning-2.2", ("lightning==2.2.*", "setuptools<80"), LIGHTNING),
    Row("lightning-newest", ("lightning",), LIGHTNING),
)


def make(row: Row) -> Path | None:
    """The Python of a row's environment; None when something cannot be installed."""
    folder = ROOT / "build" / "trainers" / row.name
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        # Behind its own packages those of this environment: torch, pytest, sftui itself.
        own = next((folder / "lib").glob("python*/site-packages"))
        (own / "behind.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    torch_is = f"torch=={_version('torch')}"
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", "--upgrade", *row.packages, torch_is],
        check=False,
    )
    return python if done.returncode == 0 else None


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def main() -> int:
    """Run the rows; 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    wanted = parser.parse_args().only
    failed = []
    for row in ROWS:
        if wanted not in row.name:
            continue
        python = make(row)
        if python is None:
            failed.append(f"{row.name}: cannot be installed here")
            continue
        # What old packages warn of when they are imported is no error of ours.
        flags = ["-q", "-p", "no:cacheprovider", "-W", "default"]
        command = [str(python), "-m", "pytest", *flags, *row.tests]
        print(f"== {row.name}", flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(f"{row.name}: tests failed")
    print("\n".join(failed) or "every row passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
