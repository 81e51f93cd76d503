"""Pack a run as the recording of `sftui demo`.

    python tests/make_demo.py RUN-FOLDER

Events, settings and answers question by question; no weights. What names the machine is
replaced, numbers and times stay as they were measured. The same run gives the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from pathlib import Path

PLACE = Path(__file__).resolve().parents[1] / "sftui" / "commands" / "demo.zip"
HOST = "laptop"


def pack(run: Path, place: Path = PLACE) -> None:
    """Write the recording of a run."""
    manifest = json.loads((run / "run.json").read_text(encoding="utf-8"))
    host, folder = manifest["host"], manifest["cwd"]
    manifest |= {"host": HOST, "cwd": "."}
    files = {"run.json": json.dumps(manifest, indent=1).encode()}
    for name in ("events.jsonl", "config.toml", "run.log"):
        text = (run / name).read_text(encoding="utf-8")
        text = re.sub(rf'"host":\s?"{re.escape(host)}"', f'"host":"{HOST}"', text)
        assert folder not in text, f"{name} names {folder}"
        files[name] = text.encode()
    for path in sorted((run / "evals").iterdir()):
        files[f"evals/{path.name}"] = path.read_bytes()
    for path in sorted((run / "ckpt").glob("step-*")):
        if path.is_dir():
            # Listed as they were; whoever wants to load one is told that it is not whole.
            files[f"ckpt/{path.name}/README.txt"] = b"The weights are not part of the recording.\n"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, content in files.items():
            entry = zipfile.ZipInfo(f"{run.name}/{name}", (2026, 1, 2, 3, 4, 6))
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, content)


if __name__ == "__main__":
    pack(Path(sys.argv[1]))
