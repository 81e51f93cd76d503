"""What holds for every hook: an error in it ends the cockpit, never the training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class StopTraining(Exception):
    """Leave the trainer's loop here, on all ranks at the same place; never seen by the script."""


def hook(method: F) -> F:
    """A hook that does nothing once the cockpit is dark, and darkens it instead of raising.

    Its object says `is_live` (whether there is a cockpit to serve) and takes `on_error(error)`.
    """

    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.is_live:
            return None
        try:
            return method(self, *args, **kwargs)
        except StopTraining:
            raise
        except Exception as error:
            self.on_error(error)
            return None

    return cast(F, guarded)
