"""Write the example reports that the documentation links to: `make reports`.

The run is the reference write-up of the report's tests, so what is written is the same
everywhere. The reports of `two-ranks` are of a real run and are not written here.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path

from sftui import cli
from tests.sftui.report import reference_writeup

FOLDER = Path(__file__).resolve().parents[1] / "screenshots" / "reports"
LANGUAGES = ("en", "zh")


def write(folder: Path) -> None:
    """`reference.LANG.md` and its pictures in `folder`; times of day are those of TZ."""
    with tempfile.TemporaryDirectory() as work, chdir(work):
        log, baseline = reference_writeup.write(Path())
        for lang in LANGUAGES:
            words = ["report", str(log), "--baseline", str(baseline)]
            words += ["--lang", lang] if lang != "en" else []
            code = cli.main([*words, "-o", str(folder.absolute() / f"reference.{lang}.md")])
            assert code == 0, f"sftui {' '.join(words)} gives {code}"


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
