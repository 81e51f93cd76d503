"""The table of keys as Textual's bindings, with the keys that a user gave them."""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import Binding
from textual.dom import DOMNode

from sftui.keys.key_table import TABLE, Key

_FIRST = frozenset({"tab", "shift+tab", "ctrl+c", "ctrl+p"})
"""Focus order, the copy key and the palette of Textual would win over ours otherwise."""
_IDS = frozenset(key.id for key in TABLE)


def bindings(keys: Iterable[Key], *, priority: bool = False) -> list[Binding]:
    """A binding for every key of every entry, in the order of the table.

    `priority`: all go before what a widget does with the key.
    """
    return [
        Binding(
            name,
            key.action,
            key.words,
            id=key.id,
            tooltip=key.help,
            show=False,
            priority=priority or name in _FIRST or key.id == "palette",
        )
        for key in keys
        for name in key.keys.split(",")
    ]


def rebind(node: DOMNode, keys: Iterable[Key], *, priority: bool = False) -> None:
    """Give a screen or the app these keys for its entries of the table; its others stay.

    Writes `_bindings`, a private name of Textual 8.2: its public key maps take a key from every
    binding that has it, while some of ours have two meanings by what is on the screen. This may go
    when `App.set_keymap` keeps several bindings of one key and asks `check_action` which one acts.
    """
    ours = bindings(keys, priority=priority)
    known = node._bindings.key_to_bindings
    actions = {binding.action for binding in ours}
    others = [
        binding
        for group in known.values()
        for binding in group
        if binding.id not in _IDS and binding.action not in actions
    ]
    known.clear()
    for binding in [*ours, *others]:
        known.setdefault(binding.key, []).append(binding)
