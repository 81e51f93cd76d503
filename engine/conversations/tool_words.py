"""Tools and their calls in a row, brought into the one form that chat templates are written for.

OpenAI's rows hold the arguments of a call as a text of JSON, templates expect the object; data
sets keep the list of tools as a text, since a table has no column for it. Both are understood.
Texts and not objects are kept: a conversation is compared and hashed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engine.conversations.row_fault import RowFault
from engine.files import checked

REASONING = ("reasoning_content", "thinking")
"""What an answer was thought out with, as reasoning models' data sets call it."""
EXTRA_KEYS = {"assistant": REASONING, "tool": ("name", "tool_call_id")}
"""Texts beside `content` that templates write, by role."""


def extra_of(item: Mapping[str, object], number: int) -> str:
    """JSON of what message `number` holds beside role and content, or an empty text.

    Raises:
        RowFault: `tool_calls` are no list of calls.
    """
    keys = EXTRA_KEYS.get(str(item.get("role")), ())
    found: dict[str, Any] = {
        key: item[key] for key in keys if item.get(key) and isinstance(item[key], str)
    }
    calls = item.get("tool_calls")
    if isinstance(calls, str) and calls.strip():
        calls = _parsed(calls, f'"tool_calls" of message {number}')
    if calls:
        if not isinstance(calls, list):
            raise RowFault(f'message {number} has "tool_calls" that are no list of calls')
        found["tool_calls"] = [_call(each, number) for each in calls]
    return json.dumps(found, ensure_ascii=False) if found else ""


def tools_of(raw: object) -> str:
    """JSON of a list of tools, given as JSON or as the text of it; an empty text for none.

    Raises:
        RowFault: it is no list of objects.
    """
    if raw is None or raw == "" or raw == []:
        return ""
    found = _parsed(raw, '"tools" of the row') if isinstance(raw, str) else raw
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise RowFault('the row has "tools" that are no list of objects; expected JSON schemas')
    return json.dumps(_without_nulls(found), ensure_ascii=False) if found else ""


def _call(raw: object, number: int) -> dict[str, Any]:
    """One call: `{"type": "function", "function": {"name", "arguments"}}`, or its inner part."""
    if not isinstance(raw, dict):
        raise RowFault(f"message {number} has a tool call that is no object")
    inner = raw.get("function", raw)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise RowFault(f'message {number} has a tool call without a "name"')
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str):
        arguments = _parsed(arguments, f"the arguments of a tool call of message {number}")
    found: dict[str, Any] = {
        "type": "function",
        "function": {
            "name": inner["name"],
            # A table gives every call the columns of all calls.
            "arguments": {} if arguments is None else _without_nulls(arguments),
        },
    }
    if isinstance(raw.get("id"), str):
        found["id"] = raw["id"]
    return found


def _without_nulls(value: Any) -> Any:
    """Without the keys that are null: a table has a column for every key of any row."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _parsed(text: str, what: str) -> Any:
    try:
        return checked.parse_json(text)
    except ValueError:
        raise RowFault(f"{what} hold a text that is no JSON; expected JSON") from None
