"""The words of a step: functions that work on tensors and, while a step is traced, on symbols alike.

Together with Python's arithmetic (``+ - * / **``, unary minus, ``abs``) and the comparisons ``< <= > >=`` inside
`where`, these are all that a step may use. Constants are Python numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from elman.compiler.trace import Symbol

__all__ = [
    "TORCH",
    "exp",
    "log",
    "maximum",
    "minimum",
    "relu",
    "sigmoid",
    "softplus",
    "sqrt",
    "tanh",
    "where",
]


def _of_tensors(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Any], Tensor]:
    """Let a function of two tensors take a Python number for one of them."""

    def of_either(a: Any, b: Any) -> Tensor:
        dtype = (a if isinstance(a, Tensor) else b).dtype
        return function(torch.as_tensor(a, dtype=dtype), torch.as_tensor(b, dtype=dtype))

    return of_either


def _softplus(value: Tensor) -> Tensor:
    return torch.logaddexp(value, value.new_zeros(()))  # torch's softplus is linear above 20


#: Every operation of a graph on tensors. The reference backend evaluates graphs with it.
TORCH: Final[dict[str, Callable[..., Tensor]]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "negate": operator.neg,
    "abs": torch.abs,
    "exp": torch.exp,
    "log": torch.log,
    "maximum": _of_tensors(torch.maximum),
    "minimum": _of_tensors(torch.minimum),
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "softplus": _softplus,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "less": operator.lt,
    "less_equal": operator.le,
    "where": torch.where,
}


def _say(op: str, *operands: Any) -> Any:
    if any(isinstance(v, Symbol) for v in operands):
        return Symbol.apply(op, *operands)
    if any(isinstance(v, Tensor) for v in operands):
        return TORCH[op](*operands)
    return TORCH[op](*(torch.tensor(v, dtype=torch.float64) for v in operands)).item()  # a word of constants


def exp(value: Any) -> Any:
    """Exponential, e^value."""
    return _say("exp", value)


def log(value: Any) -> Any:
    """Natural logarithm."""
    return _say("log", value)


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two values, unit by unit; one may be a number. Where they are equal, each gets half."""
    return _say("maximum", a, b)


def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of two values, unit by unit; one may be a number. Where they are equal, each gets half."""
    return _say("minimum", a, b)


def relu(value: Any) -> Any:
    """Rectifier, max(value, 0); its derivative at 0 is 0."""
    return _say("relu", value)


def sigmoid(value: Any) -> Any:
    """Logistic function, 1 / (1 + e^-value)."""
    return _say("sigmoid", value)


def softplus(value: Any) -> Any:
    """Smooth rectifier, log(1 + e^value)."""
    return _say("softplus", value)


def sqrt(value: Any) -> Any:
    """Square root."""
    return _say("sqrt", value)


def tanh(value: Any) -> Any:
    """Hyperbolic tangent."""
    return _say("tanh", value)


def where(condition: Any, a: Any, b: Any) -> Any:
    """Choose ``a`` where the condition (a comparison) holds and ``b`` elsewhere, unit by unit.

    The gradient flows into the side that was chosen; the condition itself has none.
    """
    return _say("where", condition, a, b)
