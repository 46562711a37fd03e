"""Losses over a vocabulary: a linear layer and softmax cross-entropy as one operation. See `linear_cross_entropy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function, forward_ad

from elman.backends import cross_entropy
from elman.backends.linear import seen_by_torch, transformed
from elman.errors import BackendError, OptionError, ShapeError, describe
from elman.layers.linear import linear

__all__ = ["LinearCrossEntropy", "linear_cross_entropy"]

Reduction = Literal["mean", "sum"]


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Return the softmax cross-entropy of linear logits, without ever holding all logits.

    .. math::

        z_n = W x_n + b, \qquad \ell = \sum_n \Bigl(\log \sum_v e^{z_{nv}} - z_{n y_n}\Bigr),

    over the rows n whose target y_n is not ``ignore_index``, divided by their number for the mean. Equal to
    ``torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, weight, bias), targets)``, NaN for the mean of no
    rows included, except that a row that is ignored may hold anything, also NaN.

    Rows are taken in blocks. Where gradients are wanted, those of a block are made together with its loss: three matrix
    products, nothing computed twice, and in memory one block of logits beside the gradients themselves. The backward
    pass only scales them.

    Args:
        x: ``(..., features)``, float32 or float64; other types go the way of torch's two operations.
        weight: ``(vocabulary, features)``.
        bias: ``(vocabulary,)``, or None.
        targets: int64 ``(...)``: 0 to vocabulary - 1, or ``ignore_index``.
        ignore_index: the target of rows that give no loss and no gradient.
        reduction: ``mean`` over the rows that are not ignored, or ``sum``.

    Returns:
        The loss, a number.

    Raises:
        ShapeError: shapes or types do not fit, or a target is out of range.
        OptionError: there is no such reduction.

    Source:
        Blocks of rows that make loss and gradients together: Hsu et al., «Liger Kernel: Efficient Triton Kernels for
        LLM Training», 2024, section 3.2.

    Example:
        >>> x, weight, targets = torch.ones(2, 3, 4), torch.eye(5, 4), torch.tensor([[0, 1, 2], [3, 4, -100]])
        >>> linear_cross_entropy(x, weight, None, targets).round(decimals=4)
        tensor(1.6743)
    """
    _check(x, weight, bias, targets, reduction)
    rows, wanted = x.reshape(targets.numel(), x.shape[-1]), targets.reshape(-1)
    mean = reduction == "mean"
    if _wants_torch(x, weight, bias):
        if not _traced():
            cross_entropy.check_targets(targets, len(weight), ignore_index)
        return _by_torch(rows, weight, bias, wanted, ignore_index, mean)
    if torch.compiler.is_compiling():
        needed = [torch.is_grad_enabled() and t is not None and t.requires_grad for t in (x, weight, bias)]
        loss, *_ = _operator(rows, weight, bias, wanted, ignore_index, mean, needed)
    else:
        loss = _LinearCrossEntropy.apply(rows, weight, bias, wanted, ignore_index, mean)  # type: ignore[no-untyped-call]
    return cast(Tensor, loss)


class LinearCrossEntropy(nn.Module):
    r"""A readout over a vocabulary and its loss, `linear_cross_entropy` with weights of its own.

    Args:
        features: of x.
        vocabulary: how many classes.
        bias: whether the logits have one.
        ignore_index: the target of rows that give no loss and no gradient.
        reduction: ``mean`` over the rows that are not ignored, or ``sum``.
        device: where the parameters live.
        dtype: their floating-point type.

    Parameters:
        weight ``(vocabulary, features)``, bias ``(vocabulary,)``: named as those of `torch.nn.Linear`, whose state it
        loads. ``readout.weight = embedding.weight`` shares them with an embedding.

    Init:
        Uniform in ±1/√features, as `torch.nn.Linear`.

    Raises:
        OptionError: a size is not positive, or there is no such reduction.

    Example:
        >>> readout = LinearCrossEntropy(16, 100)
        >>> x, targets = torch.ones(4, 7, 16), torch.arange(28).reshape(4, 7)
        >>> readout(x, targets).shape, readout.logits(x).shape
        (torch.Size([]), torch.Size([4, 7, 100]))
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        features: int,
        vocabulary: int,
        bias: bool = True,
        *,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for what, size in (("features", features), ("vocabulary", vocabulary)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise OptionError(describe(f"LinearCrossEntropy: {what}", expected="a positive int", got=repr(size)))
        _check_reduction("LinearCrossEntropy", reduction)
        self.features = features
        self.vocabulary = vocabulary
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction
        self.weight = nn.Parameter(torch.empty(vocabulary, features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(vocabulary, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew, as the class says under Init."""
        bound: float = self.features**-0.5
        for parameter in self.parameters():
            parameter.uniform_(-bound, bound)

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of x ``(..., features)`` and targets ``(...)``."""
        options: dict[str, Any] = {"ignore_index": self.ignore_index, "reduction": self.reduction}
        return linear_cross_entropy(x, self.weight, self.bias, targets, **options)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of x, ``(..., vocabulary)``, to predict or to sample with."""
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes, for `print`."""
        return f"{self.features}, {self.vocabulary}, bias={self.bias is not None}"


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, reduction: str) -> None:
    name = "linear_cross_entropy"
    _check_reduction(name, reduction)
    if weight.ndim != 2:
        raise ShapeError(describe(f"{name}: weight", expected="(vocabulary, features)", got=str(tuple(weight.shape))))
    vocabulary, features = weight.shape
    if x.ndim < 1 or x.shape[-1] != features:
        cause = "Are these logits already?" if x.ndim and x.shape[-1] == vocabulary else ""
        got = str(tuple(x.shape))
        raise ShapeError(describe(f"{name}: x", expected=f"(..., features={features})", got=got, cause=cause))
    if bias is not None and tuple(bias.shape) != (vocabulary,):
        expected = f"(vocabulary={vocabulary},)"
        raise ShapeError(describe(f"{name}: bias", expected=expected, got=str(tuple(bias.shape))))
    if targets.shape != x.shape[:-1] or targets.dtype != torch.int64:
        expected = f"torch.int64 {tuple(x.shape[:-1])}"
        cause = "Call targets.long()." if targets.shape == x.shape[:-1] else ""
        got = f"{targets.dtype} {tuple(targets.shape)}"
        raise ShapeError(describe(f"{name}: targets", expected=expected, got=got, cause=cause))
    for what, tensor in (("x", x), ("bias", bias)):
        if tensor is not None and tensor.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            expected = f"of the weights' type {weight.dtype}"
            raise ShapeError(describe(f"{name}: {what}", expected=expected, got=str(tensor.dtype)))


def _check_reduction(name: str, reduction: str) -> None:
    if reduction not in get_args(Reduction):
        raise OptionError(describe(f"{name}: reduction", expected="'mean' or 'sum'", got=repr(reduction)))


def _traced() -> bool:
    """Whether values cannot be looked at: torch compiles, or maps over a dimension."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def _wants_torch(*tensors: Tensor | None) -> bool:
    """Whether torch must see its own operations; while it compiles, the blocks are an operator of their own."""
    if torch.compiler.is_compiling() and not transformed() and not torch.compiler.is_exporting():
        given = [tensor for tensor in tensors if tensor is not None]
        return torch.is_autocast_enabled(given[0].device.type) or any(
            tensor.dtype not in (torch.float32, torch.float64) for tensor in given
        )
    return seen_by_torch(*tensors)  # an exported program needs no operator of elman


def _by_torch(x: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, ignore_index: int, mean: bool) -> Tensor:
    """Take the loss by torch's two operations, with every derivative that they have."""
    x = torch.where((targets == ignore_index)[:, None], x.new_zeros(()), x)  # also NaN, which would spoil gradients
    reduction = "mean" if mean else "sum"
    return F.cross_entropy(F.linear(x, weight, bias), targets, ignore_index=ignore_index, reduction=reduction)


class _LinearCrossEntropy(Function):
    """The blocks, for torch's tape."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, targets: Any, ignore_index: int, mean: bool) -> Any:
        wanted = ctx.needs_input_grad[:3]
        result = cross_entropy.run(x, weight, bias, targets, ignore_index=ignore_index, mean=mean, wanted=wanted)
        ctx.save_for_backward(x, weight, bias, targets)
        ctx.options = ignore_index, mean
        ctx.gradients = result[1:]
        return result.loss

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        wanted, (ignore_index, mean) = ctx.needs_input_grad[:3], ctx.options
        operands = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed():
            return *_differentiated(operands, ctx.options, grad, wanted), None, None, None
        # The first backward pass takes the gradients; another one, which is rare, has to make them again.
        found, ctx.gradients = ctx.gradients, None
        if found is None:
            found = cross_entropy.run(*operands, ignore_index=ignore_index, mean=mean, wanted=wanted)[1:]
        return *(None if gradient is None else _scaled(gradient, grad) for gradient in found), None, None, None


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """Scale a gradient where it is; one that is as large as the weights is not to be copied, nor to be passed over."""
    if torch._C._functorch.is_legacy_batchedtensor(factor):  # torch.autograd.grad(..., is_grads_batched=True)
        return gradient * factor
    if factor.is_cpu and float(factor) == 1.0:  # on other devices looking costs more than scaling
        return gradient
    return gradient.mul_(factor)


def _differentiated(
    operands: Sequence[Tensor | None], options: tuple[int, bool], grad: Tensor, wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Return the gradients in torch's operations, to be differentiated again."""
    ignore_index, mean = options
    places = [k for k, needed in enumerate(wanted) if needed]

    def loss(*values: Tensor) -> Tensor:
        every: list[Any] = list(operands)
        for k, value in zip(places, values, strict=True):
            every[k] = value
        with torch.autocast(values[0].device.type, enabled=False):  # as in the forward pass
            x, weight, bias, targets = every
            return _by_torch(x, weight, bias, targets, ignore_index, mean)

    # In this form x may itself depend on the weights: each gets the gradient of its own place.
    pull = torch.func.vjp(loss, *(operands[k] for k in places))[1]
    found: list[Tensor | None] = [None, None, None]
    for k, gradient in zip(places, pull(grad), strict=True):
        found[k] = gradient
    return found


@torch.library.custom_op("elman::linear_cross_entropy", mutates_args=())
def _operator(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    ignore_index: int,
    mean: bool,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The blocks, for `torch.compile`; gradients that are not wanted are empty."""
    if forward_ad._current_level >= 0:
        raise BackendError(
            "Forward-mode derivatives (torch.func.jvp, jacfwd, hessian) of a compiled linear_cross_entropy are not to "
            "be had. Take them of the function itself."
        )
    needed = (wanted[0], wanted[1], wanted[2])
    loss, *gradients = cross_entropy.run(x, weight, bias, targets, ignore_index=ignore_index, mean=mean, wanted=needed)
    found = [x.new_empty(0) if gradient is None else gradient for gradient in gradients]
    return loss, found[0], found[1], found[2]


@_operator.register_fake
def _fake(x: Any, weight: Any, bias: Any, targets: Any, ignore_index: int, mean: bool, wanted: Any) -> Any:
    shapes = (x.shape, weight.shape, weight.shape[:1])
    found = [x.new_empty(shape if needed else 0) for shape, needed in zip(shapes, wanted, strict=True)]
    return x.new_empty(()), *found


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.wanted = inputs[-1]
    ctx.save_for_backward(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Any, *others: Any) -> Any:
    if any(other is not None for other in others):  # of the gradients: a backward pass is differentiated
        raise BackendError(
            "Second derivatives of a compiled linear_cross_entropy are not to be had. Take them of the function itself."
        )
    pairs = zip(ctx.saved_tensors, ctx.wanted, strict=True)
    found = [gradient * grad if needed and grad is not None else None for gradient, needed in pairs]
    return *found, None, None, None, None


_operator.register_autograd(_backward, setup_context=_keep)
