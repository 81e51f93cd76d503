"""Attach every trainer of a script under `sftui run --`, without a changed line in it.

Python imports the first `sitecustomize` on its path when it starts; the keeper puts this folder
first, as `opentelemetry-instrument` does. It hands on to the one that was there before, waits
for a trainer's module to be imported, and attaches each trainer as it is made. Without a keeper
it does nothing. Whatever fails here is one line on stderr.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  no import at every start
_RUN, _WISH = "SFTUI_RUN_DIR", "SFTUI_ATTACH"


def _hand_on() -> None:
    """Run the `sitecustomize` that this one stands in front of."""
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != _HERE]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _warn(error: BaseException) -> None:
    reason = f"{type(error).__name__}: {error}"
    sys.stderr.write(f"sftui: warning: this script is not attached ({reason})\n")
    run = os.environ.get(_RUN, "")
    attempt = os.environ.get("SFTUI_ATTEMPT", "1")
    note = {"answer": "refused", "reason": reason, "attempt": int(attempt), "pid": os.getpid()}
    try:
        with open(os.path.join(run, "attach.json"), "w") as file:  # noqa: PTH118, PTH123
            json.dump(note, file)
    except OSError:
        pass


def _attach_trainer(trainer: Any) -> None:
    from engine.attach.hf_trainer import attach  # noqa: PLC0415  torch and transformers are there

    if not hasattr(trainer, "_sftui_attached"):
        attach(trainer)


def _attach_lightning(trainer: Any) -> None:
    from engine.attach.lightning import attach  # noqa: PLC0415  as above

    attach(trainer)


_MODULES: dict[str, Callable[[Any], None]] = {
    "transformers.trainer": _attach_trainer,
    "lightning.pytorch.trainer.trainer": _attach_lightning,
    "pytorch_lightning.trainer.trainer": _attach_lightning,
}
"""Modules that have a `Trainer`, and how one of theirs is attached."""


class _Waiter(importlib.abc.MetaPathFinder):
    """Sees a trainer's module being imported, and changes its class once it is."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        attach = _MODULES.pop(name, None)
        if attach is None:
            return None
        if not _MODULES and self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            try:
                _change(module.Trainer, attach)
            except Exception as error:
                _warn(error)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _change(kind: Any, attach: Callable[[Any], None]) -> None:
    """Attach each object of this class when it has been made."""
    make = kind.__init__

    @functools.wraps(make)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        try:
            attach(self)
        except Exception as error:
            _warn(error)

    kind.__init__ = __init__


try:
    if os.environ.get(_RUN) and os.environ.get(_WISH, "1") != "0":
        sys.meta_path.insert(0, _Waiter())
except Exception as error:
    _warn(error)
_hand_on()
