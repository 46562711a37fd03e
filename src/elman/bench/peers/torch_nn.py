"""The layers of `torch.nn`, with the weights of elman's."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.bench.example import Example
from elman.bench.language import NextWord
from elman.bench.program import LanguageModelProgram, Program, Results, plain_program, torch_program
from elman.cells import Cell, GRUCell, LSTMCell, ReLURNNCell, RNNCell
from elman.layers import LinearCrossEntropy, Recurrent
from elman.tasks.classification.model import SequenceClassifier
from elman.tasks.language_model.model import LanguageModel

__all__ = ["cells", "layer", "layer_gradients", "layer_without_onednn", "matching"]

_LAYERS: Final[dict[type[Cell], Any]] = {
    LSTMCell: nn.LSTM,
    GRUCell: nn.GRU,
    RNNCell: nn.RNN,
    ReLURNNCell: partial(nn.RNN, nonlinearity="relu"),
}


def layer(example: Example, threads: int) -> Program:
    """`torch.nn.LSTM` and its kin, in the layout that they like best; in a program, in that of the data."""
    del threads  # those of torch, which elman takes too
    if example.work.kind == "cross-entropy":
        return plain_program(example)
    if example.work.kind == "program":
        classifier = _Classifier(cast(SequenceClassifier, example.model))
        return torch_program(example, classifier, classifier.gradients)
    if example.work.kind == "language-model":
        model = _LanguageModel(cast(LanguageModel, example.model))
        return _Training(model, example, model.gradients, time_first=True)
    return _layer(example)


def _layer(example: Example, **options: Any) -> Program:
    """A layer, or a language model that says the next word, with its time first."""
    module = matching(example.layer)
    if example.work.kind == "next-word":
        return torch_program(
            example, _NextWord(cast(NextWord, example.model), module), dict, time_first=True, **options
        )
    return torch_program(example, module, partial(layer_gradients, module, example.layer), time_first=True, **options)


def layer_without_onednn(example: Example, threads: int) -> Program:
    """The same, through torch's own kernels."""
    del threads
    return _layer(example, setting=_without_onednn)


@contextmanager
def _without_onednn() -> Iterator[None]:
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def cells(example: Example, threads: int) -> Program:
    """A `torch.nn.LSTMCell` for each layer, one step after another."""
    del threads
    cells = _Cells(example.layer)
    if example.work.kind == "next-word":
        return torch_program(example, _NextWord(cast(NextWord, example.model), cells), dict)
    return torch_program(example, cells, dict)


class _Cells(nn.Module):
    """Cells on each other; called as a layer is, with one step."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        cells = [layer.cell_at(k, 0) for k in range(layer.num_layers)]
        self.cells = nn.ModuleList(nn.LSTMCell(cell.input_size, cell.hidden_size) for cell in cells)
        with torch.no_grad():
            for ours, theirs in zip(cells, self.cells, strict=True):
                _copy(ours, dict(theirs.named_parameters()), "")

    def forward(self, x: Tensor, state: list[Any] | None) -> tuple[Tensor, list[Any]]:
        below, new = x[:, 0], []
        for k, cell in enumerate(self.cells):
            new.append(cell(below, None if state is None else state[k]))
            below = new[-1][0]
        return below[:, None], new


class _Classifier(nn.Module):
    """What `SequenceClassifier` does, as one writes it with torch's layers."""

    def __init__(self, model: SequenceClassifier) -> None:
        super().__init__()
        self.ours, self.dropout = [model], model.config.output_dropout  # in a list: not a part of this module
        self.scale = model.specification.scale
        self.projection = _copied(model.recurrent.projection) if model.recurrent.projection is not None else None
        self.recurrent = matching(model.recurrent, batch_first=True)
        self.readout = _copied(model.readout)

    def forward(self, x: Tensor) -> Tensor:
        inputs = x.to(torch.float32) * self.scale
        if self.projection is not None:
            inputs = self.projection(inputs)
        _, state = self.recurrent(inputs)
        final = state[0] if isinstance(state, tuple) else state
        seen = final[-2:].transpose(0, 1).flatten(1) if self.recurrent.bidirectional else final[-1]
        logits: Tensor = self.readout(F.dropout(seen, self.dropout, self.training))
        return logits

    def gradients(self) -> Results:
        results = layer_gradients(self.recurrent, self.ours[0].recurrent, "recurrent.")
        linear = {"recurrent.projection": self.projection, "readout": self.readout}
        for place, module in linear.items():
            if module is not None:
                results |= {f"gradient of {place}.{name}": _grad(p).clone() for name, p in module.named_parameters()}
        return results


class _LanguageModel(nn.Module):
    """What `LanguageModel` does, as one writes it with torch's layers; time comes first."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.ours = [model]  # in a list: not a part of this module
        self.embedding = copy.deepcopy(model.embedding)
        self.dropped = nn.Dropout(model.recurrent.input_dropout)
        self.recurrent = matching(model.recurrent)
        self.recurrent.dropout = model.recurrent.dropout
        self.readout = _copied(model.readout)

    def forward(self, words: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, state = self.recurrent(self.dropped(self.embedding(words)), state)
        logits = self.readout(self.dropped(outputs))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten()), state

    def gradients(self) -> Results:
        results = layer_gradients(self.recurrent, self.ours[0].recurrent, "recurrent.")
        for place, module in {"embedding": self.embedding, "readout": self.readout}.items():
            results |= {f"gradient of {place}.{name}": _grad(p).clone() for name, p in module.named_parameters()}
        return results


class _Training(LanguageModelProgram):
    """The training step with torch's own clipping."""

    def update(self, loss: Tensor) -> None:
        torch.autograd.backward(loss * self.x.shape[self.time])
        nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_norm)
        self.optimizer.step()


class _NextWord(nn.Module):
    """What `NextWord` does, around recurrent layers of torch."""

    def __init__(self, model: NextWord, recurrent: nn.Module) -> None:
        super().__init__()
        self.embedding = copy.deepcopy(model.embedding)
        self.recurrent, self.readout = recurrent, _copied(model.readout)

    def forward(self, words: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, state = self.recurrent(self.embedding(words), state)
        return F.log_softmax(self.readout(outputs), dim=-1), state


def _copied(linear: nn.Linear | LinearCrossEntropy) -> nn.Linear:
    outputs, inputs = linear.weight.shape
    copied = nn.Linear(inputs, outputs)
    copied.load_state_dict(linear.state_dict())
    return copied


def matching(layer: Recurrent, *, batch_first: bool = False) -> nn.RNNBase:
    """Return the layer of torch that computes the same, with the same weights."""
    module: nn.RNNBase = _LAYERS[layer.cell](
        layer.cell_at(0, 0).input_size,
        layer.hidden_size,
        layer.num_layers,
        bidirectional=layer.bidirectional,
        batch_first=batch_first,
    )
    theirs = dict(module.named_parameters())
    with torch.no_grad():
        for suffix, cell in _suffixes(layer):
            _copy(cell, theirs, suffix)
    return module


def _suffixes(layer: Recurrent) -> list[tuple[str, Cell]]:
    return [
        (f"_l{k}{'_reverse' if direction else ''}", layer.cell_at(k, direction))
        for k in range(layer.num_layers)
        for direction in range(layer.directions)
    ]


def _copy(cell: Cell, theirs: dict[str, nn.Parameter], suffix: str) -> None:
    """Put a cell's weights into torch's: its one bias into the first of torch's two, but for a GRU's candidate."""
    theirs[f"weight_ih{suffix}"].copy_(cell.weight_x)
    theirs[f"weight_hh{suffix}"].copy_(cell.weight_h)
    from_x, from_h = theirs[f"bias_ih{suffix}"], theirs[f"bias_hh{suffix}"]
    from_x.copy_(cell.bias[: len(from_x)])
    from_h.zero_()
    if isinstance(cell, GRUCell):
        from_h[2 * cell.hidden_size :] = cell.bias[len(from_x) :]


def layer_gradients(module: nn.RNNBase, layer: Recurrent, prefix: str = "") -> Results:
    """Return torch's gradients by elman's names."""
    theirs = {name: _grad(p) for name, p in module.named_parameters()}
    results: Results = {}
    for (suffix, cell), (place, _) in zip(_suffixes(layer), _places(layer), strict=True):
        bias = theirs[f"bias_ih{suffix}"]
        if isinstance(cell, GRUCell):
            bias = torch.cat([bias, theirs[f"bias_hh{suffix}"][2 * cell.hidden_size :]])
        ours = {"weight_x": theirs[f"weight_ih{suffix}"], "weight_h": theirs[f"weight_hh{suffix}"], "bias": bias}
        results |= {f"gradient of {prefix}{place}.{name}": value.clone() for name, value in ours.items()}
    return results


def _places(layer: Recurrent) -> list[tuple[str, Cell]]:
    return [(name, module) for name, module in layer.named_modules() if isinstance(module, Cell)]


def _grad(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
