"""Whether what a run directory could start was asked for by the user who takes the run up.

A run directory may come from another person, and three things in its manifest would run on the
machine of whoever resumes it: the command of another trainer's run, programs of a model without
a sandbox (`unsafe_code`), and the host that ranks of several machines meet at, whose answers
torch unpickles. The manifest of such a run bears a seal, a MAC of these values under a key that
only this user can read. Without it they count when they are typed once more.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.files import checked

NAME = "seal"
"""Key of the manifest."""

_KEY_BYTES = 32
_FOREIGN = ("id", "command", "cwd")
_SETTINGS = ("unsafe_code", "nodes", "rendezvous")


def key_path() -> Path:
    """The user's key: beside the file that `SFTUI_CONFIG` names, else where settings are kept."""
    if named := os.environ.get("SFTUI_CONFIG"):
        return Path(named).expanduser().with_suffix(".seal")
    from platformdirs import user_config_path  # noqa: PLC0415  not needed where it is named

    return user_config_path("sftui") / "run.seal"


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a run that this user makes now, with its seal.

    Without one where no key can be kept, as in a home that is not writable.
    """
    key = _key(make=True)
    return dict(manifest) | ({} if key is None else {NAME: _mac(key, manifest)})


def is_ours(manifest: Mapping[str, Any]) -> bool:
    """Whether this user made the run, with the command and settings that stand there now.

    Args:
        manifest: as `run.json` has it; what a resumption laid over it is not sealed.
    """
    key, found = _key(make=False), manifest.get(NAME)
    if key is None or not isinstance(found, str) or not found.isascii():
        return False
    import hmac  # noqa: PLC0415  OpenSSL, which a screen does without

    return hmac.compare_digest(found, _mac(key, manifest))


def unsealed(
    manifest: Mapping[str, Any], flat: Mapping[str, Any], typed: frozenset[str]
) -> tuple[str, ...]:
    """Settings that would let a stranger's run act on this machine; none for a run of one's own.

    Args:
        manifest: as `run.json` has it.
        flat: the settings that hold now.
        typed: names of those that were typed beside `--resume`.
    """
    risky = []
    if flat.get("unsafe_code"):
        risky.append("unsafe_code")
    if flat.get("nodes", 1) != 1 and flat.get("rendezvous"):
        risky.append("rendezvous")
    config = manifest.get("config") or {}
    ours = is_ours(manifest)
    return tuple(
        name
        for name in risky
        if name not in typed and not (ours and config.get(name) == flat[name])
    )


def _mac(key: bytes, manifest: Mapping[str, Any]) -> str:
    import hashlib  # noqa: PLC0415  as in `is_ours`
    import hmac  # noqa: PLC0415  as in `is_ours`

    config = manifest.get("config") or {}
    values = [manifest.get(name) for name in _FOREIGN] + [config.get(name) for name in _SETTINGS]
    return hmac.new(key, json.dumps(values).encode(), hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes | None:
    """The user's key; None where there is none and none can be made."""
    path = key_path()
    with contextlib.suppress(OSError):
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Another command may make one at this moment: whichever is linked first is the key.
            fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(_KEY_BYTES))
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
            fresh.unlink()
        found = checked.read_typed(path, _KEY_BYTES)
        return found if len(found) == _KEY_BYTES else None
    return None
