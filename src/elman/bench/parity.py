"""Are the numbers right? What is compared before anything is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

__all__ = ["GRADIENTS", "VALUES", "errors", "wrong"]

#: Largest errors of values and of gradients, as max|difference| / max|reference|.
VALUES: Final = 2e-6
GRADIENTS: Final = 1e-5


def errors(got: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> dict[str, float]:
    """Return max|difference| / max|reference| of every tensor of the reference, by name.

    A tensor that is not there, or of another shape, is infinitely wrong, and so is one with a NaN.

    Example:
        >>> import torch
        >>> errors({"outputs": torch.tensor([1.0, 2.5])}, {"outputs": torch.tensor([1.0, 2.0])})
        {'outputs': 0.25}
    """
    return {name: _error(got.get(name), value) for name, value in truth.items()}


def _error(got: Tensor | None, truth: Tensor) -> float:
    if got is None or got.shape != truth.shape:
        return float("inf")
    difference = float((got.detach().to(truth.dtype) - truth.detach()).abs().max())
    size = float(truth.detach().abs().max())
    if difference != difference:  # NaN
        return float("inf")
    return difference / size if size else difference


def wrong(
    got: Mapping[str, Tensor],
    truth: Mapping[str, Tensor],
    *,
    yardstick: Callable[[], Mapping[str, Tensor]] | None = None,
) -> str | None:
    """Say which tensor is too far from the reference; None where all are near.

    Args:
        got: values and gradients; the names of gradients begin with "gradient".
        truth: the same in float64.
        yardstick: the same in the precision of ``got`` by plain operations, where sums are so long that their rounding
            may be over the limits: what it misses is allowed too. Only asked for where something is over the limits.
    """
    found = errors(got, truth)
    limits = {name: GRADIENTS if name.startswith("gradient") else VALUES for name in truth}
    over = [name for name in found if not found[name] <= limits[name]]
    if over and yardstick is not None:
        allowed = errors(yardstick(), truth)
        limits = {name: max(limits[name], allowed[name]) for name in limits}
        over = [name for name in over if not found[name] <= limits[name]]
    if not over:
        return None
    worst = max(over, key=lambda name: found[name] / limits[name])
    more = f", and {len(over) - 1} more" if len(over) > 1 else ""
    return f"{worst} differs from the reference by {found[worst]:.2g} of its size, allowed is {limits[worst]:.2g}{more}"
