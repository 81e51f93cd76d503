"""Events and requests to and from one line of JSON.

Strict JSON: NaN and infinities are written as null and named in `nf` (path ->
nan, inf, -inf), because a diverged loss is the news and must survive. A kind
this version does not know becomes `Unknown`; fields it does not know are
ignored. Only a newer major version or a line that is no envelope raises.

Every field is checked for its type and its size here, once: whoever reads an event may trust its
numbers to fit 64 bits, its times to be of this calendar and its tables to hold what they say. A
line with a wrong value is no event; it costs itself alone.

Words are not checked: a phase, a reason or an alarm that only a newer version knows is
passed on as it stands. The closed types of `engine.events` bind those who write; a screen
shows the unknown word, and no rule takes it for another.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from engine.control import Command, Request
from engine.errors import WireError
from engine.events import KINDS, TYPE_NAME, Event, Scalar, Stamp, Unknown
from engine.files import checked

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
    """One line, newline included, at most `MAX_LINE_BYTES`; what is longer in it is cut."""
    line = _encode(event)
    limit = 4096
    while len(line) > MAX_LINE_BYTES and limit:
        # A pathological text or table: cut it, never lose the event itself.
        limit //= 4
        line = _encode(_cut(event, limit))
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
    try:
        if "nf" in raw:
            _restore_all(data, raw["nf"])
        step = None if raw.get("step") is None else _step(raw["step"])
        stamp = _stamp(raw)
        kind = KINDS.get(kind_name)
        if kind is None:
            return Unknown(type=kind_name, data=data, step=step, stamp=stamp)
        if not data.keys() >= _REQUIRED[kind]:
            missing = sorted(_REQUIRED[kind] - data.keys())
            raise WireError(f"{kind_name} without {', '.join(missing)}")
        known = check_fields(kind, data)
    except ValueError as error:
        raise WireError(f"{kind_name}: {error}") from None
    return kind(step=step, stamp=stamp, **known)


_BEFORE_KIND = '{"v":1,"type":"'
_KIND_ENDS = len(_BEFORE_KIND) + 200

MOST_UNKNOWN = 5_000
"""Events of kinds that this version does not know which a reader takes whole, for their clocks
and steps. Of more it need only count the lines: a file can be made of millions."""


def is_unknown(line: bytes | str) -> bool:
    """Whether a line of our writer's says a kind that this version does not know: by its first
    bytes, a hundredth of the work of `decode`. False for a line that is laid out differently."""
    text = line[:_KIND_ENDS].decode("latin-1") if isinstance(line, bytes) else line[:_KIND_ENDS]
    if not text.startswith(_BEFORE_KIND):
        return False
    kind, quote, _ = text[len(_BEFORE_KIND) :].partition('"')
    return bool(quote) and kind not in KINDS


def check_fields(kind: type[Event], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for fields of `kind`, each with the type that it is annotated with.

    Raises:
        ValueError: naming the first that has another type.
    """
    checks = _checks_of(kind)
    found = {}
    for name, value in values.items():
        check = checks.get(name)
        if check is None:
            continue
        if type(value) is check.plain:
            found[name] = value
            continue
        try:
            found[name] = check.full(value)
        except ValueError as error:
            raise ValueError(f"{name} is {error}") from None
    return found


def _stamp(raw: Mapping[str, Any]) -> Stamp:
    get = raw.get
    t, m, att, seq = get("t"), get("m"), get("att", 1), get("seq", 0)
    run, src, boot = get("run", ""), get("src", ""), get("boot", "")
    if not type(run) is type(src) is type(boot) is str:
        run, src, boot = checked.text(run), checked.text(src), checked.text(boot)
    # Mostly they are what they should be, and a long log has a million: no call for those.
    if not (type(att) is type(seq) is int and 0 <= att < _MOST_STEPS and 0 <= seq < _MOST_STEPS):
        att, seq = checked.whole(att), checked.whole(seq)
    if not (type(t) is type(m) is float and 0.0 <= t < LAST_TIME and 0.0 <= m < LAST_TIME):
        t, m = None if t is None else _time(t), None if m is None else _time(m)
    return Stamp(run=run, src=src, att=att, seq=seq, t=t, m=m, boot=boot)


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
    if not isinstance(request_id, str) or not 0 < len(request_id) <= MOST_ID_CHARACTERS:
        raise WireError("a request without an id")
    try:
        command = Command(raw.get("command"))
    except ValueError:
        words = ", ".join(c.value for c in Command)
        raise WireError(
            f"unknown command {checked.short(raw.get('command'))}; expected one of {words}",
            request_id,
        ) from None
    values: dict[str, Any] = {}
    for name, check in _REQUEST_FIELDS.items():
        try:
            if raw.get(name) is not None:
                values[name] = check(raw[name])
        except ValueError as error:
            raise WireError(f"the {name} of {command.value} is {error}", request_id) from None
    return Request(id=request_id, command=command, **values)


def new_id() -> str:
    """A short random id for a request."""
    import secrets  # noqa: PLC0415  hmac and hashlib with it; who only reads needs no new one

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


def _restore_all(data: dict[str, Any], flags: object) -> None:
    """Put every non-finite number back that `nf` names."""
    for path, name in checked.table(flags).items():
        _restore(data, path.split("/"), _NONFINITE.get(checked.text(name), math.nan))


def _restore(data: Any, path: list[str], value: float) -> None:
    """Put a non-finite number back where `nf` says; a wrong path is ignored."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in path]
    try:
        for part in parents:
            data = data[int(part)] if isinstance(data, list) else data[part]
        data[int(last) if isinstance(data, list) else last] = value
    except (KeyError, IndexError, ValueError, TypeError):
        return


def _cut(event: Event, limit: int) -> Event:
    """The event with every text and table in it at most so long, its stamp and names included."""

    def cut(value: Any) -> Any:
        if isinstance(value, str):
            return value if len(value) <= limit else value[:limit] + "..."
        if isinstance(value, Mapping):
            return {cut(k): cut(v) for k, v in list(value.items())[:limit]}
        if isinstance(value, list | tuple):
            return [cut(v) for v in value[:limit]]
        return value

    stamp = event.stamp
    texts = {name: cut(getattr(stamp, name)) for name in ("run", "src", "boot")}
    names = _FIELDS[type(event)]
    return dataclasses.replace(
        event,
        **{name: cut(getattr(event, name)) for name in names},
        stamp=dataclasses.replace(stamp, **texts),
    )


def _load(line: bytes | str) -> dict[str, Any]:
    try:
        raw = checked.parse_json(line)
    except ValueError as error:
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise WireError("not a JSON object")
    return raw


# ---- types of fields ---------------------------------------------------------------------------

MOST_ID_CHARACTERS = 200
"""Of a request; ours have twelve."""

LAST_TIME = 253_402_300_800.0
"""The year 10000, in seconds since the epoch: no calendar takes more."""

_MOST_STEPS = 2**53
"""Steps are also drawn, as floats."""

_Check = Callable[[Any], Any]


def _step(value: object) -> int:
    step = checked.whole(value)
    if not 0 <= step < _MOST_STEPS:
        raise ValueError(f"step {step}")
    return step


def _time(value: object) -> float:
    if type(value) is float and 0.0 <= value < LAST_TIME:
        return value
    seconds = checked.number(value)
    if not 0 <= seconds < LAST_TIME:
        raise ValueError(f"{seconds:g} s is no time")
    return seconds


def _number(value: object) -> float:
    # NaN and infinities are news, and were put back from `nf`.
    return value if type(value) is float else checked.number(value)


def _scalar(value: object) -> object:
    if value is None or type(value) in (str, bool, float):
        return value
    if isinstance(value, list):
        return [_scalar(item) for item in value]
    if type(value) is int and abs(value) >= checked.LARGEST_WHOLE:
        # A seed may have 64 bits; more digits than a float can count are nobody's setting.
        return checked.number(value)
    if type(value) is int:
        return value
    raise ValueError(f"{checked.short(value)}; expected a number or a text")


def _table_of(check: _Check) -> _Check:
    def checked_table(value: object) -> dict[str, Any]:
        return {name: check(item) for name, item in checked.table(value).items()}

    return checked_table


def _optional(check: _Check) -> _Check:
    def checked_or_none(value: object) -> Any:
        return None if value is None else check(value)

    return checked_or_none


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """What a value of one field must be."""

    plain: type | None
    """Every value of just this type will do as it stands; None where each has to be looked at."""
    full: _Check
    """Gives any other value as the field keeps it, or raises a ValueError."""


def _field_of(hint: Any) -> _Field:
    """Of a field with this annotation."""
    simple: dict[Any, _Field] = {
        int: _Field(None, checked.whole),
        # Finite or not, a float is a number.
        float: _Field(float, _number),
        str: _Field(str, checked.text),
        Any: _Field(None, lambda value: value),
        Scalar: _Field(None, _scalar),
    }
    if hint in simple:
        return simple[hint]
    origin = get_origin(hint)
    if origin is Literal:
        # The words themselves are not checked: a newer version may have others.
        return simple[str]
    if origin is Mapping:
        return _Field(None, _table_of(_field_of(get_args(hint)[1]).full))
    if origin in (Union, types.UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        if len(inner) == 1:
            field = _field_of(inner[0])
            return _Field(field.plain, _optional(field.full))
    raise TypeError(f"no check for fields of type {hint}")


_CHECKS: dict[type[Event], dict[str, _Field]] = {}


def _checks_of(kind: type[Event]) -> dict[str, _Field]:
    """By field; worked out when the first event of a kind is read, for most files have few."""
    known = _CHECKS.get(kind)
    if known is None:
        hints = get_type_hints(kind)
        known = _CHECKS[kind] = {name: _field_of(hints[name]) for name in _FIELDS[kind]}
    return known


_REQUEST_FIELDS: dict[str, _Check] = {
    "argument": checked.number,
    "author": checked.text,
    "t": checked.number,
    "attempt": checked.whole,
    "expires": checked.number,
}
