"""The norm of ∂L/∂h_t for every step t. See `gradient_flow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from elman.backends.call import PACKED
from elman.backends.reference import Step
from elman.cells import Cell
from elman.errors import OptionError, ShapeError, describe
from elman.layers import Recurrent, linear

__all__ = ["Curve", "GradientFlow", "fresh_flow", "gradient_flow"]

_FACTOR: Final = 1e3  # from the last step to the first: less is neither vanishing nor exploding


@dataclass(frozen=True, eq=False)
class Curve:
    """The norms of one state of one layer and direction.

    Attributes:
        place: ``layer_0/forward``, as `Recurrent.named_cells` has it.
        state: its name, ``h``.
        norms: ``(time,)``, of step 0 first, whichever direction.
    """

    place: str
    state: str
    norms: Tensor

    @property
    def rate(self) -> float:
        """The factor by which the norm changes in a step back, in the geometric mean: 1 where it stays."""
        way = self._way_back()
        return float(way[-1] / way[0]) ** (1 / max(1, len(way) - 1)) if len(way) else 0.0

    @property
    def verdict(self) -> Literal["vanishes", "flows", "explodes"]:
        """Whether the norm falls to less than a thousandth over all steps, or grows to more than the thousandfold."""
        way = self._way_back()
        factor = float(way[-1] / way[0]) if len(way) else 0.0
        return "vanishes" if factor < 1 / _FACTOR else "flows" if factor <= _FACTOR else "explodes"

    def _way_back(self) -> Tensor:
        """Return the norms in the order in which the gradient goes, from the first step that it meets."""
        way = self.norms.flip(0) if self.place.endswith("forward") else self.norms
        return way[int((way != 0).long().argmax()) :] if bool(way.any()) else way[:0]


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """What `gradient_flow` finds.

    Attributes:
        norms: by state, ``(layers, directions, time)`` in float64 on the CPU.
    """

    norms: dict[str, Tensor]

    def curves(self) -> Iterator[Curve]:
        """Yield the norms over time of each layer, direction and state."""
        layers, directions, _ = next(iter(self.norms.values())).shape
        for layer in range(layers):
            for direction in range(directions):
                place = f"layer_{layer}/{('forward', 'backward')[direction]}"
                for state, norms in self.norms.items():
                    yield Curve(place, state, norms[layer, direction])


def gradient_flow(layer: Recurrent, loss: Callable[[], Tensor]) -> GradientFlow:
    r"""Measure how strongly a loss depends on the states of a layer at each step.

    .. math::

        g_t = \left\lVert \frac{\partial L}{\partial h_t} \right\rVert, \qquad
        \frac{\partial L}{\partial h_t} = \frac{\partial L}{\partial y_t}
        + \left(\frac{\partial h_{t+1}}{\partial h_t}\right)^{\!\top} \frac{\partial L}{\partial h_{t+1}}

    The gradient is the total one: through the output y_t = h_t and all that stands on it, and through all later steps.
    The norm is over the rows of the batch and the units. Where L depends on the last step alone, the gradient at step t
    is that of the last step times the Jacobians of all steps between: it vanishes or explodes exponentially where these
    shrink or stretch. Every state of the cell has its g_t; that of an LSTM's c_t counts the way through h_t as well, as
    δc_t of `elman equations` does.

    The layer runs in evaluation mode (without dropout, and with the mean of zoneout) in torch operations. Weights and
    their gradients are not touched.

    Args:
        layer: of any cell, stacked, in one direction or both.
        loss: runs the network that the layer stands in, once, and returns a scalar; lengths, resets and states are what
            the network gives the layer. Past its end, a row counts as zero.

    Raises:
        OptionError: the layer did not run once.
        ShapeError: the loss is no scalar, or does not depend on the layer.

    Source:
        Hochreiter (1991), "Untersuchungen zu dynamischen neuronalen Netzen"; Bengio, Simard and Frasconi (1994),
        "Learning long-term dependencies with gradient descent is difficult"; Pascanu, Mikolov and Bengio (2013), "On
        the difficulty of training recurrent neural networks".

    Example:
        >>> from elman import RNN
        >>> layer, x = RNN(1, 8), torch.zeros(4, 50, 1)
        >>> flow = gradient_flow(layer, lambda: layer(x)[0][:, -1].sum())
        >>> flow.norms["h"].shape
        torch.Size([1, 1, 50])
        >>> next(flow.curves()).verdict  # an orthogonal matrix, and tanh'(0) = 1
        'flows'
    """
    recorded: list[_Recorded] = []

    def hook(module: Recurrent, inputs: tuple[Any, ...], options: dict[str, Any], outputs: Any) -> Any:
        recorded.append(_Recorded(module, *inputs, **options))
        return recorded[-1].result

    handle, training = layer.register_forward_hook(hook, with_kwargs=True), layer.training
    layer.eval()
    try:
        with torch.enable_grad():
            value = loss()
    finally:
        layer.train(training)
        handle.remove()
    if len(recorded) != 1:
        raise OptionError(describe("loss", expected="to run the layer once", got=f"{len(recorded)} runs"))
    if value.ndim or not value.requires_grad:
        what = "one without gradient" if not value.ndim else str(tuple(value.shape))
        raise ShapeError(describe("loss", expected="a scalar that depends on the layer", got=what))
    return GradientFlow(recorded[0].norms(value))


def fresh_flow(
    cell: type[Cell], *, steps: int = 100, hidden_size: int = 128, rows: int = 32, seed: int = 0
) -> GradientFlow:
    """Measure the gradient flow of a cell that has not been trained, where a loss depends on the last step alone.

    Weights are drawn as `Cell` does, x is noise of mean 0 and variance 1 with as many features as there are units, in
    float64. The loss is wᵀ h_T with w of random direction, and so long that ‖∂L/∂h_T‖ is 1.

    Args:
        cell: its class.
        steps: T.
        hidden_size: units.
        rows: sequences.
        seed: of the weights, x and w; torch's own random state is left as it is.

    Example:
        >>> from elman import LSTMCell, RNNCell
        >>> [next(fresh_flow(cell, steps=50).curves()).verdict for cell in (RNNCell, LSTMCell)]
        ['vanishes', 'vanishes']
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = Recurrent(cell, hidden_size, hidden_size, dtype=torch.float64)
        x = torch.randn(rows, steps, hidden_size, dtype=torch.float64)
        w = torch.randn(rows, hidden_size, dtype=torch.float64)
    w = w / torch.linalg.vector_norm(w)
    return gradient_flow(layer, lambda: (w * layer(x)[0][:, -1]).sum())


class _Recorded:
    """A run of a layer in torch operations that keeps the states of all steps for the way back.

    Args:
        layer: the layer, which has checked the rest.
        x: as in `Recurrent`, like all that follows.
        state: the initial states.
        lengths: of the rows.
        reset: where sequences begin anew.

    Attributes:
        result: outputs and final states, as the layer gives them.
    """

    def __init__(
        self,
        layer: Recurrent,
        x: Tensor,
        state: Sequence[Tensor] | None = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> None:
        self.layer = layer
        batch, time, _ = x.shape
        every = torch.full((batch,), time, device=x.device) if lengths is None else lengths.to(x.device)
        self.valid = (torch.arange(time, device=x.device) < every[:, None])[:, :, None]
        self.fresh = torch.zeros_like(self.valid) if reset is None else reset.to(x.device)[:, :, None] & self.valid
        self.runs: list[list[list[Tensor]]] = []  # of each layer and direction: by step, by state
        initial = layer.initial_state(batch) if state is None else state
        outputs = torch.where(self.valid, x, x.new_zeros(()))
        if layer.projection is not None:
            outputs = linear(outputs, layer.projection.weight, layer.projection.bias)
        final: list[Sequence[Tensor]] = []
        for k in range(layer.num_layers):
            sides = []
            for direction in range(layer.directions):
                before = [s[:, k, direction] for s in initial]
                side, last = self._run(layer.cell_at(k, direction), outputs, before, reverse=direction == 1)
                sides.append(side)
                final.append(last)
            outputs = torch.cat(sides, dim=2)
        shape = (batch, layer.num_layers, layer.directions, layer.hidden_size)
        joined = (torch.stack(values, dim=1).view(shape) for values in zip(*final, strict=True))
        self.result = outputs, layer.cell.State(*joined)

    def _run(
        self, cell: Cell, x: Tensor, states: Sequence[Tensor], *, reverse: bool
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """Run one layer and direction; return outputs and final states."""
        parameters = {name: getattr(cell, name).detach() for name in PACKED if hasattr(cell, name)}
        step = Step(self.layer.graph, parameters, cell.hidden_size)
        # So that every state has a gradient:
        x, *states = (s if s.requires_grad else s.detach().requires_grad_() for s in (x, *states))
        inputs = step.inputs(x)
        time = x.shape[1]
        done: list[list[Tensor]] = [[]] * time
        outputs: list[Tensor] = [x] * time
        for t in reversed(range(time)) if reverse else range(time):
            border = t + 1 if reverse else t  # a reset lies before a step: who comes from the right meets that of t + 1
            if border < time:
                states = [s.masked_fill(self.fresh[:, border], 0.0) for s in states]
            new = step(None if inputs is None else inputs[t], states)
            # A state that is handed on as it is has another gradient than it had the step before.
            done[t] = [s.clone() if any(s is old for old in states) else s for s in new]
            states = [torch.where(self.valid[:, t], s, old) for s, old in zip(done[t], states, strict=True)]
            outputs[t] = states[0]
        self.runs.append(done)
        return torch.where(self.valid, torch.stack(outputs, dim=1), x.new_zeros(())), states

    def norms(self, loss: Tensor) -> dict[str, Tensor]:
        """Return by state ``(layers, directions, time)``."""
        states = [state for run in self.runs for step in run for state in step]
        found = torch.autograd.grad(loss, states, allow_unused=True, materialize_grads=True)
        sizes = torch.stack([torch.linalg.vector_norm(gradient.double()) for gradient in found]).cpu()
        names, layer = self.layer.cell.states, self.layer
        by_place = sizes.view(layer.num_layers, layer.directions, -1, len(names))
        return {name: by_place[..., k].clone() for k, name in enumerate(names)}
