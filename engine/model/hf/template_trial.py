"""Try a chat template on short conversations, in a child that may take little time and memory.

Jinja's sandbox keeps a template from files and programs, not from counting to 10**10 or writing
gigabytes. Most templates only loop over the messages and write what is in them: those need no
trial. Any other is tried before it is used: `python -m engine.model.hf.template_trial SECONDS`,
the template on stdin. It prints `fine`, or what is wrong.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from engine.conversations.conversation import RowFault
from engine.errors import CheckpointError
from engine.model.hf import template as chat_template

MOST_BYTES = 2**30
"""Of address space in the child: Python and Jinja take a tenth."""
MOST_SECONDS = 5
"""Of CPU in the child; it takes a third of a second, most of it to start Python."""
WAIT_SECONDS = 60.0
"""Until it has ended: a busy machine takes longer."""
MOST_CHARACTERS = 100_000
"""Of the text of a conversation of a hundred characters."""
LONGEST = 500_000
"""Characters of a template: the longest that models are published with have some 30,000, and to
parse a million takes seconds."""

_CALLS = frozenset({"namespace", "raise_exception", "caller"})
_FILTERS = frozenset(
    {"default", "d", "first", "last", "length", "count", "list", "lower", "string", "tojson"}
    | {"trim", "upper", "items", "int", "safe", "selectattr", "rejectattr", "map"}
)
_METHODS = frozenset(
    {"endswith", "get", "items", "keys", "lower", "lstrip", "rsplit", "rstrip", "split"}
    | {"startswith", "strip", "title", "upper", "values"}
)
"""What writes no more than it was given."""
_MOST_LOOPS = 2
"""One in the other: over the messages, and over the parts of one."""

_CHATS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "Which one?"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is two plus two?"},
        {"role": "assistant", "content": "It is four."},
        {"role": "user", "content": "And three plus three?"},
        {"role": "assistant", "content": "It is six."},
    ],
)


@lru_cache(maxsize=64)
def try_out(template: str) -> str:
    """Why a template is not to be used; "" when nothing speaks against it.

    To be asked before it is rendered.

    Raises:
        CheckpointError: no process can be started to try it in.
    """
    import jinja2  # noqa: PLC0415  of the extra

    if len(template) > LONGEST:
        return f"it has {len(template):,} characters, and {LONGEST:,} are read at most"
    try:
        if is_plain(template):
            return ""
    except (jinja2.TemplateError, RecursionError):
        return ""  # it cannot be compiled either, and `template.check` says why
    command = [sys.executable, "-P", "-m", "engine.model.hf.template_trial", str(MOST_SECONDS)]
    try:
        done = subprocess.run(
            command, input=template.encode(), capture_output=True, timeout=WAIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"a short conversation took it longer than {WAIT_SECONDS:.0f} s"
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"The chat template cannot be tried out: {error}.") from None
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode < 0:
        return f"a short conversation took it longer than {MOST_SECONDS} s of CPU"
    return "" if said == "fine" else said[:300] or "it ends the program"


def is_plain(template: str) -> bool:
    """Whether a template, by its text, does nothing but walk through its messages and write them.

    It must be one that Jinja can parse.
    """
    from jinja2 import nodes  # noqa: PLC0415  of the extra

    tree = chat_template.environment().parse(template)
    if next(tree.find_all((nodes.Mul, nodes.Pow, nodes.Mod, nodes.Macro)), None) is not None:
        return False
    if any(_is_bold(found) for found in tree.find_all((nodes.Call, nodes.Filter))):
        return False
    # Texts that double at every turn of a loop need no other means.
    stores = next(tree.find_all(nodes.NSRef), None) is not None
    return not (stores and _grows(tree)) and _deepest(tree) <= _MOST_LOOPS


def _grows(tree: Any) -> bool:
    """Whether a name is set to what was put together from names that were set."""
    from jinja2 import nodes  # noqa: PLC0415  of the extra

    if next(tree.find_all(nodes.AssignBlock), None) is not None:
        return True
    set_here = list(tree.find_all(nodes.Assign))
    names = {name.name for each in set_here for name in _named(each.target)}
    sums = (
        total
        for each in set_here
        for total in each.find_all((nodes.Add, nodes.Concat))  # the value's, a target has none
    )
    return any(not names.isdisjoint(name.name for name in _named(total)) for total in sums)


def _named(node: Any) -> list[Any]:
    """The names in it, itself included."""
    from jinja2 import nodes  # noqa: PLC0415  of the extra

    kinds = (nodes.Name, nodes.NSRef)
    return [*([node] if isinstance(node, kinds) else []), *node.find_all(kinds)]


def _is_bold(found: Any) -> bool:
    """Whether a call or a filter may write more than it was given."""
    from jinja2 import nodes  # noqa: PLC0415  of the extra

    if isinstance(found, nodes.Filter):
        return found.name not in _FILTERS
    if isinstance(found.node, nodes.Getattr):
        return found.node.attr not in _METHODS
    if isinstance(found.node, nodes.ExtensionAttribute):
        return False  # the marks of `{% generation %}`
    return not isinstance(found.node, nodes.Name) or found.node.name not in _CALLS


def _deepest(node: Any) -> int:
    """How many loops stand in each other; a recursive one counts as many."""
    from jinja2 import nodes  # noqa: PLC0415  of the extra

    inner = max(map(_deepest, node.iter_child_nodes()), default=0)
    if not isinstance(node, nodes.For):
        return inner
    return inner + (_MOST_LOOPS + 1 if node.recursive else 1)


def main() -> int:
    import resource  # noqa: PLC0415  only a child limits itself

    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1])))
    print(next(_faults(sys.stdin.read()), "fine"))  # noqa: T201  the answer
    return 0


def _faults(template: str) -> Iterator[str]:
    """What is wrong with the texts that it writes. A refusal is its right."""
    for chat in _CHATS:
        for asks in (True, False):
            text = _written(template, chat, asks=asks)
            if text is None:
                yield f"a short conversation took it more than {MOST_BYTES // 2**30} GB"
            elif len(text) > MOST_CHARACTERS:
                yield f"it makes {len(text):,} characters of a short conversation"


def _written(template: str, chat: list[dict[str, str]], *, asks: bool) -> str | None:
    """The text of a chat, empty where it is refused; None where the memory did not do."""
    try:
        return chat_template.render(template, chat, asks=asks, bos_token="<", eos_token=">")[0]
    except RowFault as fault:
        return None if str(fault) == chat_template.NO_MEMORY else ""


if __name__ == "__main__":
    sys.exit(main())
