"""Forms of rows that people have, and how each becomes a conversation.

One form a class of columns: which must be there, which may, and what they turn into. A row goes
through `convert` into `{"messages": [...]}`, which `dataset.parse_row` reads; a plain text is a
conversation already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.conversations.conversation import ROW_LOSS_KEYS, RowFault, plain_text, says_loss
from engine.conversations.row_fault import shown
from engine.files import checked

Row = Mapping[str, Any]

KEPT = ("id", "source", "tools", *ROW_LOSS_KEYS)
"""Keys that mean the same beside every form."""

TURNS = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat")
"""Columns that hold a list of turns."""

TURN_KEYS = (("role", "content"), ("from", "value"), ("role", "value"), ("from", "content"),
             ("speaker", "text"), ("role", "text"))  # fmt: skip
"""How the speaker and the words of a turn are called."""

PAIRED = (("human", "assistant"), ("user", "assistant"), ("human", "gpt"))
"""Turns that hold question and answer at once."""

ALPACA = tuple(("instruction", answer) for answer in ("output", "response", "answer"))
PAIRS = (("prompt", "completion"), ("prompt", "response"), ("query", "response"),
         ("question", "response"), ("input", "output"), ("input", "response"),
         ("input", "target"), ("inputs", "targets"))  # fmt: skip
ASKED = (("question", "answer"), ("problem", "solution"), ("query", "answer"))
INPUTS = ("input", "context")
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
"""Columns of what is no text."""
SYSTEMS = ("system", "system_prompt")
TEXTS = ("text", "content")

_ROLES = {
    "system": "system", "developer": "system",
    "human": "user", "user": "user", "prompter": "user",
    **dict.fromkeys(("gpt", "assistant", "bot", "model", "chatgpt", "bing", "bard", "ai",
                     "chatbot"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "tool_response",
                     "ipython"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "call"),
}  # fmt: skip
"""What speakers are called elsewhere; `call`: an assistant whose words are the call of a tool."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A form that a row can be read as, and the columns that it takes."""

    form: str
    columns: tuple[str, ...]
    """The columns that decided; those that may be missing are not among them."""
    turn: tuple[str, str] = ("role", "content")
    """Of a list of turns: what speaker and words are called."""

    @property
    def words(self) -> str:
        """For people: the form, and the columns it was recognised by."""
        if self.form in ("messages", "sharegpt"):
            return f"{self.form} ({self.columns[0]}: {self.turn[0]}, {self.turn[1]})"
        return f"{self.form} ({', '.join(self.columns)})" if self.columns else self.form


Find = Callable[[Row], list[Fit]]


def _turns(row: Row) -> list[Fit]:
    found = []
    for column in TURNS:
        turns = listed(row.get(column))
        first = turns[0] if turns else None
        if not isinstance(first, Mapping):
            continue
        pair = next((pair for pair in (*TURN_KEYS, *PAIRED) if all(key in first for key in pair)),
                    None)  # fmt: skip
        if pair is not None:
            speaker = str(first.get("role"))
            ours = _ROLES.get(speaker, speaker) == speaker
            listed_here = isinstance(row[column], list)  # and not a text of JSON in a table
            native = column == "messages" and pair == TURN_KEYS[0] and ours and listed_here
            found.append(Fit("messages" if native else "sharegpt", (column,), pair))
    return found


def _alpaca(row: Row) -> list[Fit]:
    extra = tuple(name for name in (*INPUTS, "history") if name in row)
    return [Fit("alpaca", (*pair, *extra)) for pair in ALPACA if _texts(row, pair)]


def _pairs(row: Row) -> list[Fit]:
    return [
        Fit("prompt-completion", pair)
        for pair in PAIRS
        if all(isinstance(row.get(name), str | list) for name in pair)
    ]


def _asked(row: Row) -> list[Fit]:
    return [Fit("question-answer", pair) for pair in ASKED if _texts(row, pair)]


def _text(row: Row) -> list[Fit]:
    return [Fit("text", (name,)) for name in TEXTS if _texts(row, (name,))][:1]


def _texts(row: Row, names: Sequence[str]) -> bool:
    return all(isinstance(row.get(name), str) for name in names)


FINDS: Mapping[str, tuple[Find, str]] = {
    "messages": (_turns, "messages of role and content"),
    "sharegpt": (_turns, "conversations of from and value"),
    "alpaca": (_alpaca, "instruction with output"),
    "prompt-completion": (_pairs, "prompt with completion"),
    "question-answer": (_asked, "question with answer"),
    "text": (_text, "text"),
}
"""Form -> what finds it in a row, and its columns in words."""


def fits(row: Row) -> list[Fit]:
    """Every form that the row can be read as, in whose place no fuller one stands.

    A list of messages is taken whatever stands beside it, a text is left where there is
    anything else (it is the rendering of that), and columns that belong to a form with more
    columns are not a form of their own (`input` and `output` beside `instruction`).
    """
    if "choices" in row or ("entry_point" in row and "test" in row):
        return [Fit("questions", ("choices",) if "choices" in row else ("entry_point",))]
    found = [each for find in dict.fromkeys(find for find, _ in FINDS.values())
             for each in find(row)]  # fmt: skip
    messages = [each for each in found if each.form == "messages"]
    if messages:
        return messages
    structured = [each for each in found if each.form != "text"] or found
    return [
        each
        for each in structured
        if not any(set(each.columns) < set(other.columns) for other in structured)
    ]


def require_text(row: Row) -> None:
    """Refuse a row that brings pictures or sounds: without them its words say something else.

    Raises:
        RowFault: it holds some.
    """
    for name in MEDIA:
        if row.get(name):
            raise RowFault(
                f'the row holds "{name}", and only text is trained on. Leave such rows out '
                "(--skip-bad-rows), or name the columns that are to be read, e.g. --map "
                "messages=messages"
            )


def in_other_types(row: Row) -> str:
    """Of a row whose columns are of a known form and hold something else: what is wrong."""
    for pair in (*ALPACA, *PAIRS, *ASKED):
        if all(name in row for name in pair):
            for name in pair:
                if not isinstance(row[name], str):
                    return f'"{name}" holds {_kind(row[name])}; expected a text, in quotes'
    for name in TURNS:
        if isinstance(row.get(name), str):
            return f'"{name}" holds a text that is no JSON; expected a list of turns'
    for name, value in row.items():
        if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            return (
                f'rows lie in a list under "{shown(name)}"; expected a file of those rows, which '
                f"`jq -c '.{shown(name)}[]' FILE` prints"
            )
    return ""


def _kind(value: object) -> str:
    if value is None:
        return "nothing (null)"
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "an object")


def convert(row: Row, fit: Fit) -> object:
    """What `parse_row` reads of a row.

    Raises:
        RowFault: a column is missing or of another kind.
    """
    if fit.form == "text":
        trained = says_loss(row, "the row", ROW_LOSS_KEYS) is not False
        return plain_text(row.get(fit.columns[0]), trained=trained)
    kept = {key: row[key] for key in KEPT if row.get(key) is not None}
    match fit.form:
        case "sharegpt":
            messages = _from_turns(row, fit)
        case "alpaca":
            messages = _from_alpaca(row, fit)
        case "prompt-completion":
            messages = _from_pair(row, fit)
        case "question-answer" if fit.columns == ASKED[0]:
            return row  # `parse_row` knows GSM8K by it
        case "question-answer":
            messages = _from_pair(row, fit)
        case _:
            return row
    return {**kept, "messages": [*_system(row, messages), *messages]}


def _system(row: Row, messages: Sequence[Row]) -> list[Row]:
    """The system message of a column, where the conversation has none itself."""
    text = next((row[name] for name in SYSTEMS if isinstance(row.get(name), str)), "")
    has_one = bool(messages) and messages[0].get("role") == "system"
    return [] if has_one or not text.strip() else [{"role": "system", "content": text}]


def _from_turns(row: Row, fit: Fit) -> list[Row]:
    turns = listed(row.get(fit.columns[0]))
    if turns is None:
        raise RowFault(f'"{fit.columns[0]}" is no list of turns')
    found: list[Row] = []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, Mapping):
            raise RowFault(f"turn {number} is no object; expected {' and '.join(fit.turn)}")
        if fit.turn in PAIRED:
            asked, answered = fit.turn
            found.append({"role": "user", "content": turn.get(asked)})
            found.append({"role": "assistant", "content": turn.get(answered)})
            continue
        found.append(_turn(turn, fit.turn, number))
    return found


def _turn(turn: Row, names: tuple[str, str], number: int) -> Row:
    speaker, words = turn.get(names[0]), turn.get(names[1])
    role = _ROLES.get(speaker.casefold()) if isinstance(speaker, str) else None
    if role is None:
        raise RowFault(
            f'turn {number} is from "{shown(speaker)}"; expected human, gpt, system, tool or '
            "another name that is known for one of them"
        )
    rest = {key: value for key, value in turn.items() if key not in names}
    if role != "call":
        return {**rest, "role": role, "content": words}
    calls = _json(words) if isinstance(words, str) else words
    if isinstance(calls, Mapping):
        calls = [calls]
    if not isinstance(calls, list):
        raise RowFault(f"turn {number} calls a tool, and its words are no JSON of a call")
    return {**rest, "role": "assistant", "content": "", "tool_calls": calls}


def _from_alpaca(row: Row, fit: Fit) -> list[Row]:
    asked, answer = fit.columns[:2]
    name = next((name for name in INPUTS if isinstance(row.get(name), str)), None)
    more = row[name] if name is not None else ""
    words = _words(row, asked)
    # As LLaMA-Factory and ms-swift join them.
    question = f"{words}\n{more}" if more.strip() else words
    return [*_history(row), *_both(question, _words(row, answer))]


def _from_pair(row: Row, fit: Fit) -> list[Row]:
    asked, answered = (row.get(name) for name in fit.columns[:2])
    prompt = asked if isinstance(asked, list) else [{"role": "user", "content": asked}]
    said = answered if isinstance(answered, list) else [{"role": "assistant", "content": answered}]
    for name, turns in zip(fit.columns, (prompt, said), strict=False):
        if not all(isinstance(each, Mapping) for each in turns):
            raise RowFault(f'"{name}" is a list, but not of messages with role and content')
        if any(not isinstance(each.get("content"), str | list) and not each.get("tool_calls")
               for each in turns):  # fmt: skip
            raise RowFault(f'"{name}" is no text and no list of messages')
    # What was said before the completion is context, also where an assistant said it.
    context = [
        {**each, "weight": 0} if each.get("role") == "assistant" else each for each in prompt
    ]
    return [*_history(row), *context, *said]


def _history(row: Row) -> list[Row]:
    """Earlier turns: pairs of question and answer."""
    found: list[Row] = []
    for pair in listed(row.get("history")) or []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowFault('"history" is no list of pairs; expected [[question, answer], ...]')
        found += _both(*pair)
    return found


def _both(question: object, answer: object) -> list[Row]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _words(row: Row, name: str) -> str:
    if not isinstance(row.get(name), str):
        raise RowFault(f'"{name}" is missing or no text')
    return str(row[name])


def listed(value: object) -> list[Any] | None:
    """A list, also where a table holds it as a text of JSON."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        value = _json(value)
    return value if isinstance(value, list) else None


def _json(text: str) -> object:
    try:
        return checked.parse_json(text)
    except ValueError:
        return None
