"""Try a chat template and a tokenizer, in a child that may take little time and memory.

Jinja's sandbox keeps a template from files and programs, not from counting to 10**10 or writing
gigabytes. Most templates only loop over the messages and write what is in them: those need no
trial, and most tokenizers need none either (`tokenizer_trial`). Any other is tried before it is
used: `python -m engine.model.hf.template_trial SECONDS`, both as JSON on stdin. It prints `fine`
for each, the tokenizer first, or what is wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.conversations.conversation import RowFault
from engine.errors import CheckpointError
from engine.files import checked
from engine.model.hf import template as chat_template
from engine.model.hf import tokenizer_trial

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


@dataclass(frozen=True, slots=True)
class Faults:
    """Why a template, or a tokenizer, is not to be used; "" when nothing speaks against it."""

    template: str = ""
    tokenizer: str = ""


@lru_cache(maxsize=64)
def try_out(template: str, tokenizer: str = "") -> Faults:
    """What speaks against the two, tried in one child; in none where neither needs a trial.

    To be asked before the template is rendered and the tokenizer made. `tokenizer`: what
    `tokenizer_trial.outline` gives of it.

    Raises:
        CheckpointError: no process can be started to try them in.
    """
    if len(template) > LONGEST:
        return Faults(f"it has {len(template):,} characters, and {LONGEST:,} are read at most")
    tried = None if _needs_no_trial(template) else template
    if tried is None and not tokenizer:
        return Faults()
    command = [sys.executable, "-P", "-m", "engine.model.hf.template_trial", str(MOST_SECONDS)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps({"template": tried, "tokenizer": tokenizer}).encode(),
            capture_output=True,
            timeout=WAIT_SECONDS,
            # Threads of the library would take address space for each core of the machine.
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        )
    except subprocess.TimeoutExpired as late:
        return _ended(late.stdout, f"took it longer than {WAIT_SECONDS:.0f} s")
    except OSError as error:
        raise CheckpointError(
            f"The chat template and the tokenizer cannot be tried out: {error}."
        ) from None
    if done.returncode == -signal.SIGABRT:
        return _ended(done.stdout, f"took it more than {MOST_BYTES // 2**30} GB")
    if done.returncode < 0:
        return _ended(done.stdout, f"took it longer than {MOST_SECONDS} s of CPU")
    said = done.stdout.decode("utf-8", "replace").strip().split("\n")
    of_tokenizer, of_template = (
        "" if each == "fine" else each[:300] or "it ends the program"
        for each in (*said, *[""] * 2)[:2]
    )
    return Faults(tokenizer=of_tokenizer) if of_tokenizer else Faults(of_template)


def _ended(said: bytes | None, how: str) -> Faults:
    """Of a child that was ended: the template was at fault where the tokenizer was through."""
    if (said or b"").startswith(b"fine"):
        return Faults(f"a short conversation {how}")
    return Faults(tokenizer=f"a sentence {how}")


def _needs_no_trial(template: str) -> bool:
    """Whether it is plain, or cannot be compiled either: `template.check` says why."""
    try:
        return is_plain(template)
    except ImportError:
        raise
    except Exception:  # as in `template.check`
        return True


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
    job = checked.parse_json(sys.stdin.read())
    for each in (tokenizer_trial.faults(job["tokenizer"]), _faults(job["template"])):
        print(next(each, "fine").replace("\n", " "), flush=True)  # noqa: T201  the answer
    return 0


def _faults(template: str | None) -> Iterator[str]:
    """What is wrong with the texts that it writes. A refusal is its right."""
    for chat in _CHATS if template is not None else ():
        assert template is not None
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
