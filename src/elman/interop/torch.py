"""Weights of `torch.nn.RNN`, `torch.nn.LSTM` and `torch.nn.GRU`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elman.errors import OptionError, describe
from elman.layers import GRU, LSTM, RNN, Recurrent, ReLURNN

__all__ = ["from_torch"]


def from_torch(module: nn.RNN | nn.LSTM | nn.GRU) -> Recurrent:
    """Make a layer of elman with the weights of a layer of torch.

    Outputs, states and gradients are the same. The two biases of torch become their sum; a layer without biases
    gets zeros, which train. elman's layer is batch-first whatever ``batch_first`` says; dropout between layers is
    taken over.

    Args:
        module: of any number of layers and directions.

    Returns:
        `elman.RNN`, `elman.ReLURNN`, `elman.LSTM` or `elman.GRU`, in the type and on the device of the module.

    Raises:
        OptionError: the module is none of these, or has a projection (``proj_size``), which elman does not know.

    Example:
        >>> theirs = torch.nn.LSTM(3, 5, num_layers=2, batch_first=True)
        >>> x = torch.ones(2, 7, 3)
        >>> bool(torch.allclose(from_torch(theirs)(x)[0], theirs(x)[0], atol=1e-6))
        True
    """
    layer_class = _layer_class(module)
    if getattr(module, "proj_size", 0):
        raise OptionError(
            f"from_torch: proj_size={module.proj_size} of the {type(module).__name__} has no equal in elman."
        )
    weight = module.weight_ih_l0
    assert isinstance(weight, Tensor)
    layer = layer_class(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        bidirectional=module.bidirectional,
        dropout=module.dropout if module.num_layers > 1 else 0.0,
        device=weight.device,
        dtype=weight.dtype,
    )
    theirs = dict(module.named_parameters())
    with torch.no_grad():
        for k in range(module.num_layers):
            for direction in range(layer.directions):
                suffix = f"l{k}{'_reverse' if direction else ''}"
                cell = layer.cell_at(k, direction)
                cell.weight_x.copy_(theirs[f"weight_ih_{suffix}"])
                cell.weight_h.copy_(theirs[f"weight_hh_{suffix}"])
                if module.bias:
                    cell.bias.copy_(_one_bias(layer, theirs[f"bias_ih_{suffix}"], theirs[f"bias_hh_{suffix}"]))
                else:
                    cell.bias.zero_()
    return layer.train(module.training)


def _layer_class(module: nn.Module) -> type[RNN | ReLURNN | LSTM | GRU]:
    if isinstance(module, nn.LSTM):
        return LSTM
    if isinstance(module, nn.GRU):
        return GRU
    if isinstance(module, nn.RNN):
        return ReLURNN if module.nonlinearity == "relu" else RNN
    expected = "a torch.nn.RNN, LSTM or GRU"
    raise OptionError(describe("from_torch: module", expected=expected, got=type(module).__name__))


def _one_bias(layer: Recurrent, from_x: Tensor, from_h: Tensor) -> Tensor:
    """Sum torch's two biases, but for the GRU's candidate, whose two terms are kept apart."""
    if not isinstance(layer, GRU):
        return from_x + from_h
    size = 2 * layer.hidden_size
    return torch.cat([from_x[:size] + from_h[:size], from_x[size:], from_h[size:]])
