"""A recurrent layer: a cell of any kind over time. See `Recurrent`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, cast

import torch
from torch import Tensor, nn

from elman.backends import dispatch
from elman.cells import (
    Cell,
)
from elman.compiler.graph import Graph
from elman.errors import OptionError, ShapeError, describe
from elman.layers.linear import linear
from elman.layers.noise import Noise, dropped
from elman.layers.projection import folded, folds

__all__ = ["Options", "Recurrent"]


class Options(TypedDict, total=False):
    """The options of `Recurrent`, which all named layers share."""

    bidirectional: bool
    dropout: float
    input_dropout: float
    output_dropout: float
    variational: bool
    recurrent_dropout: float
    weight_drop: float
    zoneout: float | Mapping[str, float] | None
    input_projection: int | None
    initial_bias: Mapping[str, float] | None
    recompute: bool
    device: torch.device | str | None
    dtype: torch.dtype | None


class Recurrent(nn.Module):
    r"""Run a cell over sequences: stacked, in one direction or both, with lengths, resets and carried state.

    ``outputs, state = layer(x, state=None, *, lengths=None, reset=None)``

    Layer l reads the outputs of layer l - 1, of both directions side by side where there are two. The output of a step
    is the first state of the cell.

    Args:
        cell: the class of the cell, `elman.LSTMCell` or one of your own.
        input_size: features of x.
        hidden_size: units of each layer and direction, H.
        num_layers: how many layers stand on each other.
        bidirectional: also run from the last step to the first; outputs have 2 H features, those of the forward
            direction first.
        dropout: probability of dropout on the outputs of each layer but the last.
        input_dropout: the same on what the first layer reads (after the input projection).
        output_dropout: the same on the outputs of the last layer; the returned states are untouched.
        variational: those three drop the same features of a row at all steps of a call (Gal and Ghahramani 2016).
        recurrent_dropout: probability of dropout on the hidden values that gates multiply with their matrices U: a row,
            layer and direction drops the same units for all gates, at all steps of a call. The states that are carried
            on and returned are whole (Gal and Ghahramani 2016).
        weight_drop: probability of dropout on the weights U, ``weight_h``, drawn for each call (Merity et al. 2018).
        zoneout: probability with which a unit of a state keeps its old value, drawn for each step; for all states, or
            by state: ``{"h": 0.05, "c": 0.5}``. In evaluation, p · old + (1 - p) · new (Krueger et al. 2017).
        input_projection: size of a linear layer, with bias, between x and the first layer; None for none.
        initial_bias: initial biases by gate, instead of those that the cell declares: ``{"f": 0.0}``.
        recompute: save memory in training, for about a third more time: of a sequence of T steps only about √T states
            are kept, and the steps between them run again in the backward pass.
        device: where the parameters live.
        dtype: their floating-point type.

    Shapes:
        - x: ``(batch, time, input_size)``, time at least 1.
        - state: a named tuple with a field for each state of the cell (or any sequence in this order), each
          ``(batch, num_layers, directions, hidden_size)``; None for zeros.
        - lengths: integers ``(batch,)``, 0 to time, in any order, on any device; None where all rows are full. Past its
          end a row's outputs are zero and its state is the state at its end; what x holds there touches neither a
          result nor a gradient.
        - reset: bool ``(batch, time)``; where true, one sequence ends before this step and another begins there from
          zero states: for the forward direction before step t, for the backward direction after it.
        - outputs: ``(batch, time, directions · hidden_size)``.
        - returned state: as ``state``; pass it to the next call to go on. In the backward direction it is the state
          after step 0.

    Parameters:
        ``cells[layer][direction]`` are the cells (`elman.Cell` names their parameters), ``projection`` is the input
        projection.

    Raises:
        OptionError: a size or a probability is out of range, or dropout between layers is asked of one layer.
        ShapeError: x, state, lengths or reset has another shape or type than the layer reads.
        BackendError: inside ``elman.backend("llvm")``, compiled code cannot run this call.

    Example:
        >>> from elman import LSTMCell
        >>> layer = Recurrent(LSTMCell, 8, 16, num_layers=2, bidirectional=True)
        >>> outputs, state = layer(torch.ones(4, 10, 8), lengths=torch.tensor([10, 0, 3, 7]))
        >>> outputs.shape, state.c.shape
        (torch.Size([4, 10, 32]), torch.Size([4, 2, 2, 16]))
    """

    def __init__(
        self,
        cell: type[Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
        variational: bool = False,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: float | Mapping[str, float] | None = None,
        input_projection: int | None = None,
        initial_bias: Mapping[str, float] | None = None,
        recompute: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._check_options(cell, num_layers, input_projection)
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.recompute = recompute
        self.dropout = self._probability("dropout", dropout)
        self.input_dropout = self._probability("input_dropout", input_dropout)
        self.output_dropout = self._probability("output_dropout", output_dropout)
        self.variational = variational
        self.weight_drop = self._probability("weight_drop", weight_drop)
        recurrent_dropout = self._probability("recurrent_dropout", recurrent_dropout)
        if dropout and num_layers == 1:
            raise OptionError(
                f"{self._name}: dropout acts between layers and there is one layer. "
                f"Use input_dropout or output_dropout, or num_layers=2."
            )
        self.projection: nn.Linear | None = None
        if input_projection is not None:
            self.projection = nn.Linear(input_size, input_projection, device=device, dtype=dtype)
        first = input_size if input_projection is None else input_projection
        sizes = [first] + [self.directions * hidden_size] * (num_layers - 1)
        self.cells = nn.ModuleList(
            nn.ModuleList(
                cell(size, hidden_size, initial_bias=initial_bias, device=device, dtype=dtype)
                for _ in range(self.directions)
            )
            for size in sizes
        )
        self._packed = tuple(self.cell_at(0, 0)._parameters)
        self._noise = Noise(self.cell_at(0, 0).graph, recurrent_dropout, self._zoneout_rates(zoneout))
        self._check_matrices()

    @property
    def directions(self) -> int:
        """1, or 2 for a bidirectional layer."""
        return 2 if self.bidirectional else 1

    @property
    def recurrent_dropout(self) -> float:
        """The probability of dropout on the hidden values that gates multiply with their matrices."""
        return self._noise.recurrent_dropout

    @property
    def zoneout(self) -> dict[str, float]:
        """The probability of zoneout of each state that has one."""
        return dict(self._noise.zoneout)

    @property
    def graph(self) -> Graph:
        """The equations of a step that run now: those of the cell, with the noise of training or its mean."""
        return self._noise.training if self.training else self._noise.evaluation

    def cell_at(self, layer: int, direction: int) -> Cell:
        """Return the cell of a layer (0 is the lowest) and a direction (0 forward, 1 backward)."""
        return cast(Cell, cast(nn.ModuleList, self.cells[layer])[direction])

    def named_cells(self) -> Iterator[tuple[str, Cell]]:
        """Yield a readable name, ``layer_0/forward``, and the cell, for every layer and direction."""
        for layer in range(self.num_layers):
            for direction in range(self.directions):
                yield f"layer_{layer}/{('forward', 'backward')[direction]}", self.cell_at(layer, direction)

    def forward(
        self,
        x: Tensor,
        state: Sequence[Tensor] | None = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Run over x; see the class for shapes."""
        cells = [cell for row in cast("Iterable[Iterable[Cell]]", self.cells) for cell in row]
        parameters = [self._parameters_of(cell) for cell in cells]
        batch, time = self._checked_sizes(x, parameters[0])
        valid = None if lengths is None else self._valid(lengths, batch, time, x.device)
        reset = None if reset is None else self._checked_reset(reset, batch, time, x.device)
        if valid is not None:
            x = torch.where(valid[:, :, None], x, x.new_zeros(()))  # also NaN, which would spoil gradients as 0 * NaN
            reset = None if reset is None else reset & valid
        if self.projection is not None:
            drops = self.training and self.input_dropout > 0
            own = [parameters[k] for k in range(self.directions)]
            if drops or not folds(cells[0].graph, own[0], self.projection, batch * time):
                x = linear(x, self.projection.weight, self.projection.bias)
            else:
                parameters[: self.directions] = [folded(cells[0].graph, p, self.projection) for p in own]
        state = self._checked_state(state, x)
        masks = {"valid": valid, "reset": reset}
        if self.training and self.weight_drop:
            parameters = [{**p, "weight_h": dropped(p["weight_h"], self.weight_drop)} for p in parameters]
        if not (self.training and (self.input_dropout or self.dropout or self.output_dropout or self._noise)):
            done = dispatch.stack(self._noise.evaluation, parameters, x, state, directions=self.directions, **masks)
            if done is not None:
                return done[0], self.cell.State(*done[1])
        initial = list(zip(*(s.flatten(1, 2).unbind(1) for s in state), strict=True))
        outputs = self._dropped(x, self.input_dropout)
        final: list[tuple[Tensor, ...]] = []
        for first in range(0, len(cells), self.directions):
            runs = [
                self._run(parameters[k], outputs, initial[k], reverse=k > first, **masks)
                for k in range(first, first + self.directions)
            ]
            outputs = torch.cat([run[0] for run in runs], dim=2) if self.bidirectional else runs[0][0]
            last = first + self.directions == len(cells)
            outputs = self._dropped(outputs, self.output_dropout if last else self.dropout)
            final += [run[1] for run in runs]
        return outputs, self._joined(final)

    def initial_state(self, batch: int) -> Any:
        """Return zero states for a batch of this size, in the type and on the device of the weights."""
        weight = next(self.parameters())
        shape = (batch, self.num_layers, self.directions, self.hidden_size)
        return self.cell.State(*(weight.new_zeros(shape) for _ in self.cell.states))

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        options = {
            "num_layers": (self.num_layers, 1),
            "bidirectional": (self.bidirectional, False),
            "dropout": (self.dropout, 0.0),
            "input_dropout": (self.input_dropout, 0.0),
            "output_dropout": (self.output_dropout, 0.0),
            "variational": (self.variational, False),
            "recurrent_dropout": (self.recurrent_dropout, 0.0),
            "weight_drop": (self.weight_drop, 0.0),
            "zoneout": (self.zoneout, {}),
            "recompute": (self.recompute, False),
        }
        said = [f"{name}={value}" for name, (value, default) in options.items() if value != default]
        return ", ".join([f"{self.cell.__name__}, {self.input_size}, {self.hidden_size}", *said])

    def _run(
        self, parameters: Mapping[str, Tensor], x: Tensor, state: Sequence[Tensor], **options: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run one layer and direction, with noise where there is some; see `elman.backends.dispatch.unroll`."""
        noise, graph = None, self.graph
        if self.training and self._noise:
            noise, state = self._noise.draw(x, state)
        outputs, final = dispatch.unroll(graph, parameters, x, state, noise=noise, recompute=self.recompute, **options)
        return outputs, final[: len(self.cell.states)]  # without those that the noise added

    def _dropped(self, values: Tensor, probability: float) -> Tensor:
        if not (probability and self.training):
            return values
        return dropped(values, probability, shared=1 if self.variational else None)

    def _parameters_of(self, cell: Cell) -> Mapping[str, Tensor]:
        """Return the packed parameters by name; `functional_call` and parametrisations put others in their places."""
        held = cast("Mapping[str, Tensor]", cell._parameters)
        return held if tuple(held) == self._packed else {name: getattr(cell, name) for name in self._packed}

    def _joined(self, final: Sequence[tuple[Tensor, ...]]) -> Any:
        """Join the final states of all layers and directions to one ``(batch, layers, directions, hidden)`` a state."""
        shape = (final[0][0].shape[0], self.num_layers, self.directions, self.hidden_size)
        if len(final) == 1:
            return self.cell.State(*(s.view(shape) for s in final[0]))
        return self.cell.State(*(torch.cat(s, dim=1).view(shape) for s in zip(*final, strict=True)))

    @property
    def _name(self) -> str:
        return type(self).__name__ if type(self) is not Recurrent else f"Recurrent({self.cell.__name__})"

    def _check_options(self, cell: type[Cell], num_layers: int, input_projection: int | None) -> None:
        if not (isinstance(cell, type) and issubclass(cell, Cell)):
            got = repr(cell)
            raise OptionError(describe("Recurrent: cell", expected="a class of elman.Cell", got=got))
        self.cell = cell
        for what, size in (("num_layers", num_layers), ("input_projection", input_projection)):
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                raise OptionError(describe(f"{self._name}: {what}", expected="a positive int", got=repr(size)))

    def _check_matrices(self) -> None:
        """What drops hidden values, or their weights, needs a gate that has such weights."""
        for what in ("recurrent_dropout", "weight_drop"):
            if getattr(self, what) and "weight_h" not in self._packed:
                raise OptionError(
                    f"{self._name}: {what} acts where a gate multiplies a hidden value with a matrix, and no gate of "
                    f"{self.cell.__name__} does."
                )

    def _probability(self, what: str, value: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            cause = "It is the probability of dropping, not of keeping."
            raise OptionError(
                describe(f"{self._name}: {what}", expected="at least 0 and under 1", got=repr(value), cause=cause)
            )
        return float(value)

    def _zoneout_rates(self, zoneout: float | Mapping[str, float] | None) -> dict[str, float]:
        """Return the probability of each state that has one."""
        if not isinstance(zoneout, Mapping):
            rate = 0.0 if zoneout is None else self._probability("zoneout", zoneout)
            return dict.fromkeys(self.cell.states, rate) if rate else {}
        for name in zoneout:
            if name not in self.cell.states:
                expected = f"by states of {self.cell.__name__} ({', '.join(self.cell.states)})"
                raise OptionError(describe(f"{self._name}: zoneout", expected=expected, got=repr(name)))
        return {name: self._probability(f"zoneout of {name}", rate) for name, rate in zoneout.items()}

    def _checked_sizes(self, x: Tensor, parameters: Mapping[str, Tensor]) -> tuple[int, int]:
        """Return batch and time of x, if it is what the layer reads."""
        shape = x.shape
        if len(shape) != 3 or shape[2] != self.input_size or shape[1] < 1:
            cause = ""
            if x.ndim == 2:
                cause = "For one sequence, pass x[None]; for one step of a batch, x[:, None]."
            elif x.ndim == 3 and x.shape[2] == self.hidden_size:
                cause = "Did you pass hidden features?"
            elif x.ndim == 3 and x.shape[2] == self.input_size:
                cause = "There is no step to do."
            expected = f"(batch, time, input_size={self.input_size})"
            raise ShapeError(describe(f"{self._name}: x", expected=expected, got=str(tuple(x.shape)), cause=cause))
        weight = next(iter(parameters.values())) if self.projection is None else self.projection.weight
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            fixes = f"Call x.to({weight.dtype}){f', or layer.to({x.dtype})' if x.is_floating_point() else ''}."
            expected = f"of the weights' type {weight.dtype}"
            raise ShapeError(describe(f"{self._name}: x", expected=expected, got=str(x.dtype), cause=fixes))
        return shape[0], shape[1]

    def _checked_state(self, state: Sequence[Tensor] | None, x: Tensor) -> Sequence[Tensor]:
        """Return the initial states, each ``(batch, layers, directions, hidden)``."""
        shape = (x.shape[0], self.num_layers, self.directions, self.hidden_size)
        if state is None:
            return [x.new_zeros(shape)] * len(self.cell.states)
        if isinstance(state, Tensor) or len(state) != len(self.cell.states):
            expected = f"a sequence of states ({', '.join(self.cell.states)})"
            got = "one tensor" if isinstance(state, Tensor) else f"{len(state)}"
            raise ShapeError(describe(f"{self._name}: state", expected=expected, got=got))
        for name, s in zip(self.cell.states, state, strict=True):
            if tuple(s.shape) != shape:
                expected = f"(batch, layers, directions, hidden_size) = {shape}"
                cause = "torch.nn has the batch third: state.transpose(0, 1) and split." if s.ndim == 3 else ""
                what = f"{self._name}: state {name}"
                raise ShapeError(describe(what, expected=expected, got=str(tuple(s.shape)), cause=cause))
            if s.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
                what, expected = f"{self._name}: state {name}", f"of the type of x {x.dtype}"
                raise ShapeError(describe(what, expected=expected, got=str(s.dtype)))
        return state

    def _valid(self, lengths: Tensor, batch: int, time: int, device: torch.device) -> Tensor:
        lengths = torch.as_tensor(lengths, device=device)
        if lengths.shape != (batch,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
            got = f"{lengths.dtype} {tuple(lengths.shape)}"
            raise ShapeError(describe(f"{self._name}: lengths", expected=f"integers (batch={batch},)", got=got))
        if not torch.compiler.is_compiling() and bool(((lengths < 0) | (lengths > time)).any()):
            got = f"{int(lengths.min())} to {int(lengths.max())}"
            raise ShapeError(describe(f"{self._name}: lengths", expected=f"0 to time={time}", got=got))
        return torch.arange(time, device=device)[None, :] < lengths[:, None]

    def _checked_reset(self, reset: Tensor, batch: int, time: int, device: torch.device) -> Tensor:
        if reset.shape != (batch, time) or reset.dtype != torch.bool:
            got = f"{reset.dtype} {tuple(reset.shape)}"
            raise ShapeError(
                describe(f"{self._name}: reset", expected=f"torch.bool (batch={batch}, time={time})", got=got)
            )
        return reset.to(device)
