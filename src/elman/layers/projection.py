"""A linear layer in front of a recurrent one, folded into its weights. See `folds` and `folded`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from elman.compiler.graph import Graph
from elman.layers.linear import linear

__all__ = ["folded", "folds"]


def folds(graph: Graph, parameters: Mapping[str, Tensor], projection: nn.Linear, rows: int) -> bool:
    """Tell whether to fold: it can be done, and takes fewer operations for so many rows of x.

    Every gate that reads x must have a bias to take up that of the projection.
    """
    if not set(graph.input_blocks) <= set(graph.biases) or not graph.input_blocks:
        return False
    if torch.is_autocast_enabled(projection.weight.device.type):  # which casts products, but not sums with a bias
        return False
    outputs, between = parameters["weight_x"].shape
    features = projection.in_features
    saved = between * (features + outputs) - outputs * features  # a row
    if torch.compiler.is_compiling():  # rows are not to be looked at: one graph serves any number
        return saved > 0
    return rows * saved > outputs * between * features


def folded(graph: Graph, parameters: Mapping[str, Tensor], projection: nn.Linear) -> dict[str, Tensor]:
    r"""Return the parameters that read what the projection reads.

    .. math::

        W (P x + p) + b = (W P) x + (W p + b)

    These are products that autograd sees, so that the chain rule unfolds the gradients of W, P, p and b exactly.
    """
    weight, hidden = parameters["weight_x"], len(parameters["bias"]) // len(graph.biases)
    shift = linear(projection.bias[None], weight)[0].view(-1, hidden)
    places = torch.tensor([graph.biases.index(gate) for gate in graph.input_blocks], device=weight.device)
    bias = parameters["bias"].view(-1, hidden).index_add(0, places, shift).view(-1)
    return {**parameters, "weight_x": linear(weight, projection.weight.t()), "bias": bias}
