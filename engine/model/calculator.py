"""The calculator a model can call in its answer: sums, and how often a letter is in a word.

What a model writes is text from outside: it is parsed, never executed.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable

MOST_CHARACTERS = 200
"""Of one call: longer ones are not sums that anybody taught."""

_SUM = re.compile(r"[0-9+\-*/.() ]+")
_COUNT = re.compile(r"""\s*(['"])(.*?)\1\s*\.count\(\s*(['"])(.*?)\3\s*\)\s*""", re.DOTALL)
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def calculate(call: str) -> str | None:
    """The result as text, a whole number without a point; None for what it cannot do."""
    call = call.strip()
    if len(call) > MOST_CHARACTERS:
        return None
    if counting := _COUNT.fullmatch(call):
        return str(counting[2].count(counting[4]))
    call = call.replace(",", "")
    if not _SUM.fullmatch(call):
        return None
    try:
        found = _value(ast.parse(call.strip(), mode="eval").body)
    except (ArithmeticError, ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not math.isfinite(found):
        return None
    if isinstance(found, float) and found.is_integer() and abs(found) < 1e15:
        found = int(found)
    return str(found)


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATORS:
            return _OPERATORS[type(operation)](_value(left), _value(right))
    raise ValueError("no sum")
