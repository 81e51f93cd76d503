"""Calls of the calculator in an answer as it is written: what has to come after each."""

from __future__ import annotations

from collections.abc import Sequence

from engine.conversations.chat_format import format_of
from engine.conversations.tokenizer import OUTPUT_END, OUTPUT_START, PYTHON_END, PYTHON_START
from engine.model.calculator import calculate
from engine.model.family import RunTokenizer


class CalculatorCalls:
    """Follows the tokens of one answer; says what has to come after the end of a call."""

    def __init__(self, tokenizer: RunTokenizer) -> None:
        self._tokenizer = tokenizer
        self._call: list[int] | None = None

    def feed(self, token: int) -> list[int]:
        """Tokens that are forced after this one; none where there is no call, or no result."""
        tokenizer = self._tokenizer
        if token == tokenizer.special(PYTHON_START):
            self._call = []
        elif token == tokenizer.special(PYTHON_END):
            call, self._call = self._call, None
            if call:
                return self._result(call)
        elif self._call is not None:
            self._call.append(token)
        return []

    def _result(self, call: Sequence[int]) -> list[int]:
        tokenizer = self._tokenizer
        result = calculate(tokenizer.decode(call))
        if result is None:
            return []
        output = tokenizer.encode_ordinary(result)
        return [tokenizer.special(OUTPUT_START), *output, tokenizer.special(OUTPUT_END)]


def calls_of(tokenizer: RunTokenizer) -> CalculatorCalls | None:
    """For one answer; None where the models of this tokenizer's format call nothing."""
    return CalculatorCalls(tokenizer) if format_of(tokenizer).calls_calculator else None
