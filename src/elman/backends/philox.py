"""Random choices that one key decides: the same numbers on any device, by any backend, on any number of threads.

The key comes from torch's generator, and from there alone: who sets its seed, or keeps its state, has the same numbers
again. From the key on it is Philox4x32-10, in compiled code on a CPU and in torch operations elsewhere. What
`torch.compile` compiles has other numbers, those of torch.

Source: J. K. Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from elman.backends.autograd import intercepted
from elman.backends.linear import transformed
from elman.backends.llvm import draws, runtime
from elman.backends.selection import wanted

__all__ = ["KEY_STEPS", "MULTIPLIERS", "ROUNDS", "chosen", "words"]

ROUNDS: Final = 10
MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS: Final = (0x9E3779B9, 0xBB67AE85)
_WORD: Final = 2**32


def chosen(shape: Sequence[int], probability: float, value: float, like: Tensor) -> Tensor:
    """Return ``value`` with a probability, and 0 otherwise, for each number of a shape by itself.

    Args:
        shape: of the result.
        probability: of ``value``; taken to 32 bits.
        value: any number.
        like: gives type and device.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> chosen((2, 4), 0.75, 4 / 3, torch.ones(()))
        tensor([[1.3333, 0.0000, 1.3333, 1.3333],
                [1.3333, 0.0000, 1.3333, 1.3333]])
    """
    if torch.compiler.is_compiling():  # which has a generator of its own, and is slow to take in that of this module
        return (torch.rand(tuple(shape), device=like.device) < probability).to(like.dtype) * value
    key = torch.randint(_WORD, (2,), device=like.device)
    threshold = round(probability * _WORD)
    if _compiled(like):
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        return draws.draw(shape, threshold, value, key.tolist(), dtype).to(like.dtype)
    below = words(math.prod(shape), key) < threshold
    return (below.to(like.dtype) * value).view(tuple(shape))


def _compiled(like: Tensor) -> bool:
    """Tell whether compiled code can draw: on a CPU, where torch need not see how."""
    if transformed() or intercepted() is not None or wanted() == "reference":
        return False
    return like.is_cpu and type(like) in (Tensor, nn.Parameter) and isinstance(runtime.host(), runtime.Host)


def words(count: int, key: Tensor) -> Tensor:
    """Return the words of 32 bits that a key ``(2,)`` gives, as int64 ``(count,)``.

    With b = ⌈count / 4⌉ counters, number w b + c is word w of counter c.
    """
    counter = torch.arange(-(-count // 4), device=key.device)
    block = [counter % _WORD, counter // _WORD, torch.zeros_like(counter), torch.zeros_like(counter)]
    for turn in range(ROUNDS):
        first, second = ((key[k] + turn * step) % _WORD for k, step in enumerate(KEY_STEPS))
        high, low = zip(*(_product(block[2 * k], factor) for k, factor in enumerate(MULTIPLIERS)), strict=True)
        block = [high[1] ^ block[1] ^ first, low[1], high[0] ^ block[3] ^ second, low[0]]
    return torch.stack(block).flatten()[:count]


def _product(word: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Return the high and the low word of a product."""
    product = word * factor  # may be over 2^63: its bits are right, and so is what is left of them here
    return (product >> 32) & (_WORD - 1), product & (_WORD - 1)
