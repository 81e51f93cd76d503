"""Run a chat template, and say which of its text is a model's answer.

Templates are programs in Jinja, written by whoever published the model: they run in Jinja's
sandbox, with the helpers that transformers documents for them and no others.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from engine.conversations.conversation import RowFault

Place = tuple[int, int]
"""Begin and end (not included) in a text, in characters."""

BEGIN, END = "\ufdd0", "\ufdd1"
"""Stand around answers in a marked text. Unicode keeps both for a program's own use."""

NO_MEMORY = "the chat template takes more memory than there is"

_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


def says_answers(template: str) -> bool:
    """Whether a template marks answers itself, with `{% generation %}`."""
    return _GENERATION.search(template) is not None


def render(
    template: str,
    chat: Sequence[Mapping[str, Any]],
    *,
    asks: bool,
    tools: Sequence[Mapping[str, Any]] | None = None,
    **names: Any,
) -> tuple[str, list[Place]]:
    """The text of a chat, and where the template marks answers.

    `asks`: end with what comes before an answer. `tools`: JSON schemas. `names`: further names a
    template may use, such as `bos_token`.

    Raises:
        RowFault: the template refuses the chat, fails at it, or writes what is no text.
    """
    if any(mark in str(message.get("content")) for message in chat for mark in (BEGIN, END)):
        raise RowFault("a text holds U+FDD0 or U+FDD1, which Unicode keeps for programs")
    try:
        marked = _compiled(template).render(
            messages=[dict(message) for message in chat],
            add_generation_prompt=asks,
            # Both are always there in transformers, and templates ask whether they are None.
            tools=tools,
            documents=None,
            **names,
        )
    except RecursionError:
        raise RowFault("the chat template calls itself without end") from None
    except MemoryError:
        raise RowFault(NO_MEMORY) from None
    except Exception as error:  # a template is a program, which may fail in any way
        reason = str(error).partition("\n")[0]
        raise RowFault(f"the chat template refuses it: {reason}") from None
    try:
        marked.encode()
    except UnicodeEncodeError as error:
        half = ascii(marked[error.start])
        raise RowFault(
            f"the chat template writes {half}, half of a character (a lone surrogate), which no "
            "tokenizer reads"
        ) from None
    return _unmarked(marked)


def check(template: str) -> str:
    """Why a template cannot be used at all; "" when it can be."""
    try:
        _compiled(template)
    except ImportError:
        raise
    except Exception as error:  # Jinja's own, and what Python says of a number or of loops in loops
        return str(error).partition("\n")[0]
    return ""


def touched(places: Sequence[Place], tokens: Sequence[Place]) -> list[int]:
    """0 or 1 for each token: whether some of its characters lie in one of the places.

    No place overlaps another. A token of no width touches none.
    """
    begins, stops = zip(*sorted(places), strict=True) if places else ((), ())
    mask = [0] * len(tokens)
    for index, (begin, end) in enumerate(tokens):
        # The first place that is not over where the token begins: any later one begins later.
        nearest = bisect.bisect_right(stops, begin)
        if begin < end and nearest < len(begins) and begins[nearest] < end:
            mask[index] = 1
    return mask


def _unmarked(marked: str) -> tuple[str, list[Place]]:
    """A text without its marks, and where they stood."""
    if BEGIN not in marked:
        return marked, []
    pieces: list[str] = []
    places: list[Place] = []
    length = 0
    for index, piece in enumerate(marked.split(BEGIN)):
        inside, end, after = piece.partition(END)
        if index and end:
            places.append((length, length + len(inside)))
        pieces += [inside, after]
        length += len(inside) + len(after)
    return "".join(pieces), places


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    return environment().from_string(template)


@lru_cache(maxsize=1)
def environment() -> Any:
    """The sandbox that templates run in."""
    from jinja2 import pass_context  # noqa: PLC0415  of the extra
    from jinja2.ext import Extension, loopcontrols  # noqa: PLC0415
    from jinja2.nodes import CallBlock  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Generation(Extension):
        """`{% generation %}` ... `{% endgeneration %}`: what stands between is an answer."""

        tags = {"generation"}  # noqa: RUF012  Jinja's name and kind

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

        def _mark(self, caller: Callable[[], str]) -> str:
            return f"{BEGIN}{caller()}{END}"

    @pass_context
    def as_it_is(_: Any, value: object) -> object:
        return value

    # Nothing is worked out while a template is compiled: neither by the optimizer, nor what is
    # written at once, which Jinja leaves to a `finalize` that takes the context. What the trial in
    # a child never came to would be worked out here, gigabytes of `'%2147483648d' % 1`.
    found = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Generation, loopcontrols],
        optimized=False,
        finalize=as_it_is,
    )
    found.filters["tojson"] = _as_json
    found.globals["raise_exception"] = _refuse
    found.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return found


def _as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes for HTML, which no model was trained on."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(reason: str) -> None:
    import jinja2  # noqa: PLC0415  of the extra

    raise jinja2.TemplateError(reason)
