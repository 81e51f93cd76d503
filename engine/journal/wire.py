"""Events and requests to and from one line of JSON.

Strict JSON: NaN and infinities are written as null and named in `nf` (path ->
nan, inf, -inf), because a diverged loss is the news and must survive. A kind
this version does not know becomes `Unknown`; fields it does not know are
ignored. Only a newer major version or a line that is no envelope raises.

Words are not checked: a phase, a reason or an alarm that only a newer version knows is
passed on as it stands. The closed types of `engine.events` bind those who write; a screen
shows the unknown word, and no rule takes it for another.
"""

from __future__ import annotations

import dataclasses
import json
import math
import secrets
from collections.abc import Mapping
from typing import Any

from engine.control import Command, Request
from engine.errors import WireError
from engine.events import KINDS, TYPE_NAME, Event, Stamp, Unknown

VERSION = 1
MAX_LINE_BYTES = 64 * 1024
"""One event is one write call of at most this size; longer text is cut before it gets here."""

_FIELDS = {
    kind: tuple(f.name for f in dataclasses.fields(kind) if f.name not in ("step", "stamp"))
    for kind in [*TYPE_NAME, Unknown]
}
_REQUIRED = {
    kind: frozenset(
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    for kind in TYPE_NAME
}
_DEFAULTS = {
    kind: {f.name: f.default for f in dataclasses.fields(kind)} for kind in [*TYPE_NAME, Unknown]
}
_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(event: Event) -> bytes:
    """One line, newline included, at most `MAX_LINE_BYTES`; longer strings in it are cut."""
    line = _encode(event)
    limit = 4000
    while len(line) > MAX_LINE_BYTES:
        # A pathological text: cut its strings, never lose the event itself.
        line = _encode(_cut_strings(event, limit))
        limit //= 4
    return line


def decode(line: bytes | str) -> Event:
    """The event of one line.

    Raises:
        WireError: not a JSON object, no `type`, a newer major version, or a known
            kind without a field it cannot do without.
    """
    raw = _load(line)
    version = raw.get("v", VERSION)
    if not isinstance(version, int) or version > VERSION:
        raise WireError(f"event version {version!r}; this sftui reads up to {VERSION}. Upgrade it.")
    kind_name = raw.get("type")
    if not isinstance(kind_name, str):
        raise WireError("no event type in the line")
    data = raw.get("d") or {}
    if not isinstance(data, dict):
        raise WireError(f"the payload of {kind_name} is not an object")
    for path, name in (raw.get("nf") or {}).items():
        _restore(data, path.split("/"), _NONFINITE.get(name, math.nan))
    step = raw.get("step")
    stamp = Stamp(
        run=str(raw.get("run", "")),
        src=str(raw.get("src", "")),
        att=_int(raw.get("att"), 1),
        seq=_int(raw.get("seq"), 0),
        t=_float(raw.get("t")),
        m=_float(raw.get("m")),
        boot=str(raw.get("boot", "")),
    )
    kind = KINDS.get(kind_name)
    if kind is None:
        return Unknown(type=kind_name, data=data, step=_int(step, None), stamp=stamp)
    missing = _REQUIRED[kind] - data.keys()
    if missing:
        raise WireError(f"{kind_name} without {', '.join(sorted(missing))}")
    known = {name: data[name] for name in _FIELDS[kind] if name in data}
    return kind(step=_int(step, None), stamp=stamp, **known)


def encode_request(request: Request) -> bytes:
    """One line of `control.jsonl`."""
    body = dataclasses.asdict(request) | {"command": request.command.value, "v": VERSION}
    return (json.dumps(body, separators=(",", ":"), allow_nan=False) + "\n").encode()


def decode_request(line: bytes | str) -> Request:
    """The request of one line.

    Raises:
        WireError: not a request, or a command this version does not know (the id, when
            there is one, is in `error.args[1]` so that it can still be rejected by name).
    """
    raw = _load(line)
    request_id = raw.get("id")
    if not isinstance(request_id, str) or not request_id:
        raise WireError("a request without an id")
    try:
        command = Command(raw.get("command"))
    except ValueError:
        words = ", ".join(c.value for c in Command)
        raise WireError(
            f"unknown command {raw.get('command')!r}; expected one of {words}", request_id
        ) from None
    argument = raw.get("argument")
    if argument is not None and not isinstance(argument, int | float):
        raise WireError(f"the argument of {command.value} is not a number", request_id)
    return Request(
        id=request_id,
        command=command,
        argument=_float(argument),
        author=str(raw.get("author", "")),
        t=_float(raw.get("t")) or 0.0,
        attempt=_int(raw.get("attempt"), None),
        expires=_float(raw.get("expires")),
    )


def new_id() -> str:
    """A short random id for a request."""
    return secrets.token_hex(6)


def _encode(event: Event) -> bytes:
    kind = type(event)
    if isinstance(event, Unknown):
        name, payload = event.type, dict(event.data)
    else:
        name = TYPE_NAME[kind]
        defaults = _DEFAULTS[kind]
        payload = {}
        for field in _FIELDS[kind]:
            value = getattr(event, field)
            # A field at its default is left out: half of every line otherwise.
            if value is not defaults[field] and value != {}:
                payload[field] = value
    stamp = event.stamp
    body: dict[str, Any] = {"v": VERSION, "type": name, "src": stamp.src, "att": stamp.att}
    body["seq"] = stamp.seq
    if event.step is not None:
        body["step"] = event.step
    if stamp.t is not None:
        body["t"] = round(stamp.t, 6)
    if stamp.m is not None:
        body["m"] = round(stamp.m, 6)
    if stamp.run:
        body["run"] = stamp.run
    if stamp.boot:
        body["boot"] = stamp.boot
    body["d"] = payload
    try:
        text = json.dumps(body, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except ValueError:
        flags: dict[str, str] = {}
        body["d"] = _strip_nonfinite(payload, "", flags)
        body["nf"] = flags
        text = json.dumps(body, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"


def _strip_nonfinite(value: Any, path: str, flags: dict[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _strip_nonfinite(item, f"{path}/{_escape(key)}" if path else _escape(key), flags)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_strip_nonfinite(item, f"{path}/{i}", flags) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        flags[path] = "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
        return None
    return value


def _escape(key: object) -> str:
    # As in JSON pointers: series names hold slashes.
    return str(key).replace("~", "~0").replace("/", "~1")


def _restore(data: Any, path: list[str], value: float) -> None:
    """Put a non-finite number back where `nf` says; a wrong path is ignored."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in path]
    try:
        for part in parents:
            data = data[int(part)] if isinstance(data, list) else data[part]
        data[int(last) if isinstance(data, list) else last] = value
    except (KeyError, IndexError, ValueError, TypeError):
        return


def _cut_strings(event: Event, limit: int) -> Event:
    def cut(value: Any) -> Any:
        if isinstance(value, str):
            return value if len(value) <= limit else value[:limit] + "..."
        if isinstance(value, Mapping):
            return {k: cut(v) for k, v in list(value.items())[:limit]}
        if isinstance(value, list | tuple):
            return [cut(v) for v in value[:limit]]
        return value

    names = _FIELDS[type(event)]
    return dataclasses.replace(event, **{n: cut(getattr(event, n)) for n in names})


def _load(line: bytes | str) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise WireError("not a JSON object")
    return raw


def _int(value: Any, default: Any) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
