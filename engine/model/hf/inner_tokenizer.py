"""The one door to the library `tokenizers`: its every failure is an error of ours.

It is written in Rust, and where that gives up (a pattern that needs too many tries at a text) it
panics: in Python an exception that is no `Exception`, with a stack of forty lines on stderr.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from engine.conversations.row_fault import RowFault
from engine.errors import CheckpointError

Found = TypeVar("Found")

_MOST_REASON = 200
_silence = threading.Lock()


class InnerTokenizer:
    """A tokenizer of the library."""

    def __init__(self, text: str, *, may_panic: bool = True) -> None:
        """`text`: of tokenizer.json. `may_panic`: whether it has patterns that are not known; what
        the library says of a panic is then kept from stderr.

        Raises:
            ImportError: the library is not installed.
            CheckpointError: it refuses the text.
        """
        import tokenizers  # noqa: PLC0415  of the extra

        self._may_panic = may_panic
        self._inner = self._asked(tokenizers.Tokenizer.from_str, text)
        self._asked(self._inner.no_truncation)
        self._asked(self._inner.no_padding)

    def encode(self, text: str, *, add_special_tokens: bool) -> Any:
        """Ids, offsets and all else that the library gives.

        Raises:
            RowFault: it fails at this text.
        """
        try:
            return self._asked(self._inner.encode, text, add_special_tokens=add_special_tokens)
        except CheckpointError as error:
            raise RowFault(f"the tokenizer fails at the text: {error}") from None

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens written out.

        Raises:
            CheckpointError: the library fails at them.
        """
        return str(self._asked(self._inner.decode, list(ids), skip_special_tokens=False))

    def token_to_id(self, token: str) -> int | None:
        found: int | None = self._asked(self._inner.token_to_id, token)
        return found

    def id_to_token(self, number: int) -> str | None:
        found: str | None = self._asked(self._inner.id_to_token, number)
        return found

    def get_vocab(self) -> dict[str, int]:
        """Token -> id, control tokens included."""
        found: dict[str, int] = self._asked(self._inner.get_vocab, with_added_tokens=True)
        return found

    def get_added_tokens_decoder(self) -> dict[int, Any]:
        """Id -> token that was added to those of the model."""
        found: dict[int, Any] = self._asked(self._inner.get_added_tokens_decoder)
        return found

    def _asked(self, call: Callable[..., Found], /, *given: Any, **named: Any) -> Found:
        """What a call of the library gives.

        Raises:
            CheckpointError: the reason that the library gives, in one line.
        """
        try:
            with _silent_stderr() if self._may_panic else contextlib.nullcontext():
                return call(*given, **named)
        except Exception as error:  # the library raises plain ones
            raise CheckpointError(reason_of(error)) from None
        except BaseException as error:
            if not is_panic(error):  # Ctrl-C
                raise
            raise CheckpointError(reason_of(error)) from None


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust gave up; its class cannot be imported."""
    return type(error).__name__ == "PanicException"


def reason_of(error: BaseException) -> str:
    """The first line of an error, not too long."""
    return str(error).strip().partition("\n")[0][:_MOST_REASON] or type(error).__name__


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Nothing written to this process's stderr meanwhile is seen.

    By one thread at a time: of two, one would put back what the other had put in its place.
    """
    with _silence:
        try:
            kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        except OSError:  # it is closed: there is nothing to silence
            yield
            return
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
