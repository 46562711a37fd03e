"""What a cell is: states, gates and a step. See `Cell`."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final, NamedTuple, cast, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.compiler.equations import derive
from elman.compiler.graph import Graph
from elman.compiler.trace import Symbol, trace
from elman.compiler.typeset import latex_align
from elman.errors import OptionError, ShapeError, TraceError, describe, did_you_mean

__all__ = ["Affine", "Cell", "Diagonal", "GateParameter"]


class GateParameter(NamedTuple):
    """One gate's part of a packed parameter: ``packed`` is that parameter's name, ``rows`` the gate's rows there."""

    gate: str
    packed: str
    rows: slice

    def of(self, parameter: Tensor) -> Tensor:
        """Return the part of the packed parameter, or of a tensor of its shape (its gradient)."""
        part = parameter[self.rows]
        return part[0] if self.packed == "diagonal" else part


class _Declared:
    """A weight declared in the body of a cell class; learns its name from the class."""

    name: str

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class Affine(_Declared):
    """A gate: called with any operands, it is ``W x + U h + b``, one matrix an operand.

    Args:
        bias: initial value of the bias ``b``; None for a gate without one.
    """

    def __init__(self, *, bias: float | None = 0.0) -> None:
        self.bias = bias

    @overload
    def __get__(self, cell: None, owner: type) -> Affine: ...
    @overload
    def __get__(self, cell: Cell, owner: type) -> _Gate: ...
    def __get__(self, cell: Cell | None, owner: type) -> Affine | _Gate:
        return self if cell is None else _Gate(cell, self.name)


class Diagonal(_Declared):
    """One weight a unit: called with a state or a value of size H, it is ``p * s``."""

    @overload
    def __get__(self, cell: None, owner: type) -> Diagonal: ...
    @overload
    def __get__(self, cell: Cell, owner: type) -> _PerUnit: ...
    def __get__(self, cell: Cell | None, owner: type) -> Diagonal | _PerUnit:
        return self if cell is None else _PerUnit(cell, self.name)


class _Gate:
    """A gate of one cell: callable inside `step`, and the way to its weights, which are views made on access."""

    def __init__(self, cell: Cell, name: str) -> None:
        self._cell = cell
        self._name = name

    def __call__(self, *operands: Any) -> Any:
        symbols = [operand for operand in operands if isinstance(operand, Symbol)]
        if symbols:
            return symbols[0].affine(self._name, operands)
        if not operands or not all(isinstance(operand, Tensor) for operand in operands):
            raise TraceError(f"the gate {self._name} must be called with x, states or values of the step.")
        graph, hidden, total = self._cell.graph, iter(self.weights_h), self.bias
        for operand, k in zip(operands, graph.operands(self._name), strict=True):
            weight = self.weight_x if graph.nodes[k].op == "input" else next(hidden)
            product = F.linear(operand, cast(Tensor, weight))
            total = product if total is None else total + product
        return total

    @property
    def weight_x(self) -> Tensor | None:
        """``W (hidden, input)``, or None where the gate does not read x."""
        return next(iter(self._parts("weight_x")), None)

    @property
    def weights_h(self) -> tuple[Tensor, ...]:
        """``U (hidden, hidden)``, one for each operand of size H, in the order of the call."""
        return self._parts("weight_h")

    @property
    def bias(self) -> Tensor | None:
        """``b (hidden,)``, or None."""
        return next(iter(self._parts("bias")), None)

    def _parts(self, packed: str) -> tuple[Tensor, ...]:
        return self._cell.parts(self._name, packed)


class _PerUnit:
    """A diagonal of one cell: callable inside `step`, and the way to its weight."""

    def __init__(self, cell: Cell, name: str) -> None:
        self._cell = cell
        self._name = name

    def __call__(self, value: Any) -> Any:
        return value.diagonal(self._name) if isinstance(value, Symbol) else value * self.weight

    @property
    def weight(self) -> Tensor:
        """``p (hidden,)``."""
        return self._cell.parts(self._name, "diagonal")[0]


class Cell(nn.Module):
    r"""A recurrent cell, written once as its equations.

    A subclass names its states and its weights and says in `step` how a step computes the new states from x and the
    old ones. The first state is the output. All states have the same size H = ``hidden_size``.

    ::

        class MinimalGatedCell(Cell):
            states = ("h",)
            f, n = Affine(bias=1.0), Affine()

            def step(self, x, h):
                f = sigmoid(self.f(x, h))
                n = tanh(self.n(x, f * h))
                return (1 - f) * h + f * n

    `step` uses the words that elman exports (`sigmoid`, `tanh`, `relu`, `where`, ...) and Python arithmetic. Numbers
    that a family of cells shares are class attributes. From the step elman finds which weights there are:

    Parameters:
        weight_x ``(gates that read x · H, input_size)``: one block of H rows for each gate that reads x.
        weight_h ``(pairs (gate, operand of size H) · H, H)``: one block of H rows for each pair.
        bias ``(gates with a bias · H,)``.
        diagonal ``(diagonals, H)``.

        Blocks stand in the order of declaration (those of a subclass behind those of its base); a parameter that
        would be empty is not there. A gate has one bias, where `torch.nn` has two, which give the same outputs and
        gradients, but move twice as far in a step of training.

    Init:
        ``weight_x`` Glorot uniform, ``weight_h`` orthogonal, both block by block; ``bias`` as declared, ``diagonal``
        uniform in ±1/√H.

    Args:
        input_size: features of x.
        hidden_size: units, H.
        initial_bias: initial biases by gate, instead of the declared ones: ``{"f": 0.0}``.
        device: where the parameters live.
        dtype: their floating-point type.

    Raises:
        TraceError: the step cannot be read as equations; the message names its line.
        OptionError: a size is not positive, or ``initial_bias`` names no gate with a bias.
    """

    states: ClassVar[tuple[str, ...]] = ()
    name: ClassVar[str | None] = None  #: on the command line
    registry: Final[dict[str, type[Cell]]] = {}
    State: ClassVar[type[tuple[Tensor, ...]]]  #: named tuple of the states, each ``(batch, hidden)``
    gates: ClassVar[dict[str, Affine]] = {}
    diagonals: ClassVar[dict[str, Diagonal]] = {}

    weight_x: nn.Parameter
    weight_h: nn.Parameter
    bias: nn.Parameter
    diagonal: nn.Parameter

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared = {n: value for base in reversed(cls.__mro__) for n, value in vars(base).items()}
        cls.gates = {n: value for n, value in declared.items() if isinstance(value, Affine)}
        cls.diagonals = {n: value for n, value in declared.items() if isinstance(value, Diagonal)}
        _check_declaration(cls)
        cls.State = namedtuple("State", cls.states, module=cls.__module__)  # type: ignore[misc]
        cls.State.__qualname__ = f"{cls.__qualname__}.State"  # so that a state can be pickled
        cls.name = name
        if name is not None:
            if name in Cell.registry:
                raise OptionError(f"{cls.__name__}: a cell named {name!r} exists: {Cell.registry[name].__name__}.")
            Cell.registry[name] = cls

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        initial_bias: Mapping[str, float] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for what, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise OptionError(describe(f"{type(self).__name__}: {what}", expected="a positive int", got=repr(size)))
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.initial_bias = self._checked_biases(initial_bias or {})
        self.graph: Graph = trace(
            self.step,
            cell=type(self).__name__,
            states=self.states,
            gates=tuple(self.gates),
            biases=tuple(self.initial_bias),
            diagonals=tuple(self.diagonals),
        )
        blocks = {"weight_x": len(self.graph.input_blocks), "weight_h": len(self.graph.hidden_blocks)}
        shapes = {
            "weight_x": (blocks["weight_x"] * hidden_size, input_size),
            "weight_h": (blocks["weight_h"] * hidden_size, hidden_size),
            "bias": (len(self.graph.biases) * hidden_size,),
            "diagonal": (len(self.diagonals), hidden_size),
        }
        for packed, shape in shapes.items():
            if shape[0]:
                self.register_parameter(packed, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def step(self, x: Any, *states: Any) -> Any:
        """Compute the new states from x and the old ones: the equations of the cell, given by the subclass."""
        raise TraceError("step is missing. Define step(self, x, ...) with one argument a state, after x.")

    def forward(self, x: Tensor, state: Sequence[Tensor] | None = None) -> Any:
        """Do one step, by the equations as they stand.

        Args:
            x: ``(batch, input_size)``.
            state: the states, each ``(batch, hidden_size)``; None for zeros.

        Returns:
            The new states, a named tuple; its first field is the output.
        """
        if x.ndim != 2 or x.shape[1] != self.input_size:
            expected = f"(batch, input_size={self.input_size})"
            raise ShapeError(describe(f"{type(self).__name__}: x", expected=expected, got=str(tuple(x.shape))))
        if state is None:
            state = (x.new_zeros(x.shape[0], self.hidden_size),) * len(self.states)
        if len(state) != len(self.states) or any(s.shape != (x.shape[0], self.hidden_size) for s in state):
            expected = f"{len(self.states)} of (batch={x.shape[0]}, hidden_size={self.hidden_size})"
            got = ", ".join(str(tuple(s.shape)) for s in state)
            raise ShapeError(describe(f"{type(self).__name__}: state {self.states}", expected=expected, got=got))
        weight = next(self.parameters(), x)
        for what, value in (("x", x), *((f"state {name}", s) for name, s in zip(self.states, state, strict=True))):
            if value.dtype != weight.dtype and not torch.is_autocast_enabled(value.device.type):
                expected = f"of the weights' type {weight.dtype}"
                raise ShapeError(describe(f"{type(self).__name__}: {what}", expected=expected, got=str(value.dtype)))
        new = self.step(x, *state)
        return self.State(*(new if isinstance(new, tuple | list) else (new,)))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew, as the class says under Init."""
        for part in self.gate_parameters:
            values = part.of(getattr(self, part.packed))
            if part.packed == "weight_x":
                nn.init.xavier_uniform_(values)
            elif part.packed == "weight_h":
                values.copy_(_orthogonal(values))
            elif part.packed == "bias":
                values.fill_(self.initial_bias[part.gate])
            else:
                values.uniform_(-(self.hidden_size**-0.5), self.hidden_size**-0.5)

    @cached_property
    def gate_parameters(self) -> tuple[GateParameter, ...]:
        """Every gate's part of the packed parameters, in the order of the blocks."""
        hidden_blocks = [gate for gate, _ in self.graph.hidden_blocks]
        owners = {
            "weight_x": list(self.graph.input_blocks),
            "weight_h": hidden_blocks,
            "bias": list(self.graph.biases),
        }
        size = self.hidden_size
        parts = [
            GateParameter(gate, packed, slice(k * size, (k + 1) * size))
            for packed, gates in owners.items()
            for k, gate in enumerate(gates)
        ]
        return (*parts, *(GateParameter(name, "diagonal", slice(k, k + 1)) for k, name in enumerate(self.diagonals)))

    def parts(self, gate: str, packed: str) -> tuple[Tensor, ...]:
        """Return a gate's parts of a packed parameter, as views."""
        if "graph" not in vars(self):
            raise TraceError(f"step reads the weights of {gate}. Call it instead: they come into being by its call.")
        mine = (part for part in self.gate_parameters if (part.gate, part.packed) == (gate, packed))
        return tuple(part.of(getattr(self, packed)) for part in mine)

    def named_gate_parameters(self) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """Yield name, value and gradient (None before the first backward pass) of every gate's parameters.

        Names are ``gate/weight_x``, ``gate/weight_h`` (``weight_h_1``, ``weight_h_2``, ... where the gate reads
        several values), ``gate/bias``, and for a diagonal its own.
        """
        for part in self.gate_parameters:
            packed = getattr(self, part.packed)
            alike = [p for p in self.gate_parameters if (p.gate, p.packed) == (part.gate, part.packed)]
            number = f"_{alike.index(part) + 1}" if len(alike) > 1 else ""
            name = part.gate if part.packed == "diagonal" else f"{part.gate}/{part.packed}{number}"
            yield name, part.of(packed), None if packed.grad is None else part.of(packed.grad)

    def _repr_latex_(self) -> str:
        """Show the equations of a step in a notebook."""
        return latex_align(derive(self.graph).forward)

    def extra_repr(self) -> str:
        """Return the sizes, for `print`."""
        return f"{self.input_size}, {self.hidden_size}"

    def _checked_biases(self, given: Mapping[str, float]) -> dict[str, float]:
        declared = {gate: affine.bias for gate, affine in self.gates.items() if affine.bias is not None}
        for gate in given:
            if gate not in declared:
                message = f"{type(self).__name__}: initial_bias names {gate!r}, which is no gate with a bias."
                raise OptionError(f"{message} {did_you_mean(gate, declared)}")
        return {gate: float(given.get(gate, bias)) for gate, bias in declared.items()}


def _orthogonal(like: Tensor) -> Tensor:
    """Draw an orthogonal matrix, in one thread: the bits of its QR decomposition change with their number."""
    wide = torch.promote_types(like.dtype, torch.float32)  # half precision has no QR decomposition
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return nn.init.orthogonal_(torch.empty_like(like, dtype=wide))
    finally:
        torch.set_num_threads(threads)


#: Names that a gate cannot have: what `Cell` and its instances have themselves.
_RESERVED: Final = {
    *("graph", "hidden_size", "initial_bias", "input_size", "x"),
    *dir(Cell),
    *Cell.__annotations__,
    *vars(nn.Module()),
}


def _check_declaration(cls: type[Cell]) -> None:
    """The weights must have names of their own, and the states and the signature of the step must agree."""
    if cls.step is not Cell.step and not (cls.gates or cls.diagonals):
        raise TraceError(f"{cls.__name__} has no weights. Declare a gate, a = Affine(), and call self.a(x, h) in step.")
    for declared in (*cls.gates, *cls.diagonals):
        # It would shadow what modules need (`half`, `type`, `train`, ...), or be shadowed by it.
        if declared in _RESERVED:
            raise TraceError(
                f"{cls.__name__}: {declared} is a name that modules use themselves. Call the gate otherwise."
            )
    taken = {"x", *cls.gates, *cls.diagonals}
    if not isinstance(cls.states, tuple) or not cls.states or len(set(cls.states)) < len(cls.states):
        got = repr(cls.states)
        raise TraceError(describe(f"{cls.__name__}.states", expected='a tuple of names such as ("h",)', got=got))
    for state in cls.states:
        if not isinstance(state, str) or not state.isidentifier() or state.startswith("_") or state in taken:
            expected = "a name that no gate has, and not x"
            raise TraceError(describe(f"{cls.__name__}: a state's name", expected=expected, got=repr(state)))
    arguments = tuple(inspect.signature(cls.step).parameters)[1:]
    if cls.step is not Cell.step and arguments != ("x", *cls.states):
        expected = f"(self, {', '.join(('x', *cls.states))}), one argument a state"
        got = f"(self, {', '.join(arguments)})"
        raise TraceError(describe(f"{cls.__name__}.step", expected=expected, got=got))
