"""What a person said of a log: its format, and which names mean what; kept for the next time.

Beside the log as `NAME.sftui.json`, or where nothing can be written there, in the user's
state directory under a digest of the log's path.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.files import checked, written

_MOST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """`--format` and `--map`."""

    format: str | None = None
    mapped: dict[str, str] = field(default_factory=dict)
    """Printed name by what it means."""

    def __bool__(self) -> bool:
        return bool(self.format or self.mapped)


def load(log: Path) -> Hints:
    """What was said of this log before; nothing where that cannot be read."""
    for path in _places(log):
        # Beside a log of another person anything may stand.
        with contextlib.suppress(OSError, ValueError):
            raw = checked.read_json(path, _MOST_BYTES)
            if isinstance(raw, dict):
                return _hints(raw)
    return Hints()


def save(log: Path, hints: Hints) -> Path | None:
    """Keep what was said; where, or None if neither place can be written."""
    text = json.dumps({"format": hints.format, "map": hints.mapped}, indent=1) + "\n"
    for path in _places(log, new=True):
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written.replacing(path) as fresh:
                fresh.write_text(text, encoding="utf-8")
            return path
    return None


def _places(log: Path, *, new: bool = False) -> Iterator[Path]:
    """Where hints of this log lie, or may be put as `new`, one after the other."""
    from platformdirs import user_state_path  # noqa: PLC0415  only for a log of another program

    real = log.resolve()
    yield real.with_name(f"{real.name}.sftui.json")
    folder = user_state_path("sftui")
    if new or folder.is_dir():
        import hashlib  # noqa: PLC0415  OpenSSL: not before the first picture of every log

        yield folder / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:20]}.json"


def _hints(raw: dict[str, object]) -> Hints:
    form, mapped = raw.get("format"), raw.get("map")
    names = mapped if isinstance(mapped, dict) else {}
    return Hints(
        format=form if isinstance(form, str) else None,
        mapped={str(what): name for what, name in names.items() if isinstance(name, str)},
    )
