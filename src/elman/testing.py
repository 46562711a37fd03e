"""The conformance kit: is a cell, ours or yours, right in every way that a layer runs it? See `assert_cell_conforms`.

Everything is compared in float64 by name, values and gradients, with random distinct weights: with equal weights
a cell with two gates swapped would pass.
"""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from elman.backends.bptt import backpropagate
from elman.cells import Cell
from elman.errors import ShapeError
from elman.layers import Recurrent

__all__ = ["assert_cell_conforms", "properties"]

Oracle = Callable[..., Any]
Results = dict[str, Tensor]
Run = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]]

_DEEP: Final[dict[str, Any]] = {"num_layers": 2, "bidirectional": True}
_STACKS: Final[tuple[dict[str, Any], ...]] = ({}, {"num_layers": 3}, {"bidirectional": True}, _DEEP)


def assert_cell_conforms(cell: type[Cell], *, oracle: Oracle | None = None, device: torch.device | str = "cpu") -> None:
    """Check that a cell does in a layer what its step says, and that its gradients are right.

    - Its step equals its oracle, where one is given.
    - A layer (stacked, in both directions) equals the step done by hand over time: outputs, final states and the
      gradients of x, the initial states and every gate's weights; also for one step, one row and odd sizes.
    - These gradients equal central differences, and those of the back-propagation through time that elman derives from
      the equations; no gate's is zero.
    - A sequence cut at any step, its state carried over the cut, equals the whole.
    - Padding (filled with NaN, rows of any length, also empty) touches neither a result nor a gradient.
    - A reset equals another sequence, in both directions.
    - Rows know nothing of each other; the strides of x and of the states do not matter, nor does it whether gradients
      are recorded.
    - Weights that are saved and loaded, copied, converted, changed in place or passed to `functional_call` are those
      that run.
    - Inputs of a wrong shape or type raise `ShapeError` with a message that says what was expected.

    Args:
        cell: the class; its zero states and states between 0 and 1 must be in the domain of its equations.
        oracle: the step once more in plain NumPy, written from the paper: ``oracle(parameters, x, *states)`` returns
            the new states, a tuple. x is ``(batch, input)``, the states are ``(batch, hidden)``, the parameters are
            float64 arrays named as `Cell.named_gate_parameters` names them: ``parameters["f/weight_x"]``.
        device: where to run.

    Raises:
        AssertionError: the cell breaks a property; the message names the cell, the property, the tensor and by how
            much it differs.

    Example:
        >>> import numpy as np
        >>> from elman import Affine, Cell, sigmoid, tanh
        >>> class MinimalGatedCell(Cell):
        ...     states = ("h",)
        ...     f, n = Affine(bias=1.0), Affine()
        ...
        ...     def step(self, x, h):
        ...         f = sigmoid(self.f(x, h))
        ...         return (1 - f) * h + f * tanh(self.n(x, f * h))
        >>> def minimal_gated(p, x, h):
        ...     f = 1 / (1 + np.exp(-(x @ p["f/weight_x"].T + h @ p["f/weight_h"].T + p["f/bias"])))
        ...     n = np.tanh(x @ p["n/weight_x"].T + (f * h) @ p["n/weight_h"].T + p["n/bias"])
        ...     return ((1 - f) * h + f * n,)
        >>> assert_cell_conforms(MinimalGatedCell, oracle=minimal_gated)
    """
    for check in properties(cell, oracle=oracle, device=device).values():
        check()


def properties(
    cell: type[Cell], *, oracle: Oracle | None = None, device: torch.device | str = "cpu"
) -> dict[str, Callable[[], None]]:
    """Return the checks of `assert_cell_conforms` by name, for a test runner that shows each.

    Example:
        >>> from elman import LSTMCell
        >>> checks = properties(LSTMCell)
        >>> checks["split"]()
    """
    checks = {name: check for name, check in _PROPERTIES.items() if name != "oracle" or oracle is not None}
    return {name: partial(check, _Subject(cell, name, oracle, torch.device(device))) for name, check in checks.items()}


@dataclass
class _Subject:
    """A cell under test and its random weights and inputs, the same in every run."""

    cell: type[Cell]
    property: str
    oracle: Oracle | None
    device: torch.device
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(1990))

    def random(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (low + (high - low) * values).to(self.device)

    def layer(self, input_size: int = 2, hidden_size: int = 3, **options: Any) -> Recurrent:
        layer = Recurrent(self.cell, input_size, hidden_size, **options, device=self.device, dtype=torch.float64)
        with torch.no_grad():
            for parameter in layer.parameters():
                # rounded, so that a way through float32 changes nothing
                parameter.copy_(self.random(*parameter.shape).float())
        return layer

    def inputs(self, layer: Recurrent, batch: int = 3, time: int = 4) -> tuple[Tensor, list[Tensor]]:
        shape = (batch, layer.num_layers, layer.directions, layer.hidden_size)
        # between 0 and 1 a logarithm, a square root and a normaliser are at home too
        state = [self.random(*shape, low=0.1, high=0.9) for _ in self.cell.states]
        return self.random(batch, time, layer.input_size), state

    def results(self, run: Run, layer: Recurrent, x: Tensor, state: Sequence[Tensor]) -> Results:
        """Return outputs, final states and all gradients of a weighted sum of them, by name."""
        inputs = {"x": x, **{f"state {name}": s for name, s in zip(self.cell.states, state, strict=True)}}
        inputs = {name: value.detach().clone().requires_grad_() for name, value in inputs.items()}
        layer.zero_grad()
        values = self.named(*run(inputs["x"], [value for name, value in inputs.items() if name != "x"]))
        torch.autograd.backward(_weighted_sum(values))
        results = dict(values)
        for name, value in inputs.items():
            results[f"the gradient of {name}"] = torch.zeros_like(value) if value.grad is None else value.grad
        for name, value, gradient in _gate_parameters(layer):
            results[f"the gradient of {name}"] = torch.zeros_like(value) if gradient is None else gradient.clone()
        return results

    def named(self, outputs: Tensor, state: Sequence[Tensor]) -> Results:
        return {"outputs": outputs, **{f"state {n}": s for n, s in zip(self.cell.states, state, strict=True)}}

    def compare(
        self, got: Mapping[str, Tensor], expected: Mapping[str, Tensor], case: str, *, tolerance: float = 1e-10
    ) -> None:
        for name in expected:
            value, other = expected[name].detach(), got[name].detach()
            self.check(other.shape == value.shape, f"{case}: {name} is {tuple(other.shape)}, not {tuple(value.shape)}")
            if value.numel():
                difference, size = float((other - value).abs().max()), float(value.abs().max())
                good = difference <= tolerance * (1 + size)  # never so for NaN
                self.check(good, f"{case}: {name} differs by {difference:.3g}, at most {size:.3g} large")

    def check(self, good: bool, message: str) -> None:
        if not good:
            raise AssertionError(f"{self.cell.__name__}: {self.property}: {message}.")


def _gate_parameters(layer: Recurrent) -> list[tuple[str, Tensor, Tensor | None]]:
    return [
        (f"{place} {name}", value, gradient)
        for place, cell in layer.named_cells()
        for name, value, gradient in cell.named_gate_parameters()
    ]


def _weighted_sum(values: Mapping[str, Tensor]) -> Tensor:
    """Weight every number differently, so that no error cancels."""
    total = torch.zeros((), dtype=torch.float64, device=values["outputs"].device)
    for k, value in enumerate(values.values()):
        weights = torch.cos(1.0 + k + torch.arange(value.numel(), dtype=torch.float64, device=value.device))
        total = total + (value * weights.reshape(value.shape)).sum()
    return total


def _by_hand(
    layer: Recurrent,
    x: Tensor,
    state: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Do what a layer does by calling the steps of its cells, a row after the other, without its padding."""
    batch, time, _ = x.shape
    outputs, final = [], []
    for row in range(batch):
        length = time if lengths is None else int(lengths[row])
        cuts = set() if reset is None else {t for t in range(length) if reset[row, t]}
        below, ends = x[row : row + 1, :length], []
        for level in range(layer.num_layers):
            runs = []
            for direction in range(layer.directions):
                cell = layer.cell_at(level, direction)
                states = [s[row : row + 1, level, direction] for s in state]
                done: dict[int, Tensor] = {}
                for t in reversed(range(length)) if direction else range(length):
                    if t + direction in cuts:
                        states = [torch.zeros_like(s) for s in states]
                    states = list(cell(below[:, t], states))
                    done[t] = states[0]
                empty = below.new_zeros(1, 0, layer.hidden_size)
                runs.append(torch.stack([done[t] for t in range(length)], dim=1) if length else empty)
                ends.append(states)
            below = torch.cat(runs, dim=2)
        outputs.append(torch.cat([below, below.new_zeros(1, time - length, below.shape[2])], dim=1))
        final.append(ends)
    shape = (batch, layer.num_layers, layer.directions, layer.hidden_size)
    by_state = [torch.cat([torch.cat([e[k] for e in ends]) for ends in final]) for k in range(len(state))]
    return torch.cat(outputs), [s.reshape(shape) for s in by_state]


def _check_oracle(subject: _Subject) -> None:
    layer = subject.layer()
    x, state = subject.inputs(layer)
    parameters = {n: p.detach().cpu().numpy() for n, p, _ in layer.cell_at(0, 0).named_gate_parameters()}
    states = tuple(s[:, 0, 0].cpu().numpy() for s in state)
    outputs = []
    assert subject.oracle is not None
    for t in range(x.shape[1]):
        states = subject.oracle(parameters, x[:, t].cpu().numpy(), *states)
        good = isinstance(states, tuple) and len(states) == len(state)
        subject.check(good, f"the oracle must return a tuple of {len(state)} new states")
        outputs.append(states[0])
    expected = subject.named(
        torch.as_tensor(np.stack(outputs, axis=1)), [torch.as_tensor(s)[:, None, None] for s in states]
    )
    with torch.no_grad():
        got = {name: value.cpu() for name, value in subject.named(*layer(x, state)).items()}
    subject.compare(got, expected, "the layer against the oracle")


def _check_by_hand(subject: _Subject) -> None:
    for options in _STACKS:
        layer = subject.layer(**options)
        x, state = subject.inputs(layer)
        expected = subject.results(partial(_by_hand, layer), layer, x, state)
        subject.compare(subject.results(layer, layer, x, state), expected, f"a layer with {options or 'no options'}")


def _check_sizes(subject: _Subject) -> None:
    for batch, time, input_size, hidden_size in ((1, 1, 1, 1), (2, 1, 2, 3), (1, 5, 3, 1), (5, 2, 1, 7), (3, 3, 17, 5)):
        layer = subject.layer(input_size, hidden_size, bidirectional=True)
        x, state = subject.inputs(layer, batch, time)
        expected = subject.results(partial(_by_hand, layer), layer, x, state)
        case = f"batch {batch}, time {time}, input {input_size}, hidden {hidden_size}"
        subject.compare(subject.results(layer, layer, x, state), expected, case)


def _check_zero_state(subject: _Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer)
    with torch.no_grad():
        expected = subject.named(*_by_hand(layer, x, [torch.zeros_like(s) for s in state]))
        subject.check(all(bool(v.isfinite().all()) for v in expected.values()), "zero states must give finite ones")
        subject.compare(subject.named(*layer(x)), expected, "no state given")
        one = layer.cell_at(0, 0)
        zeros = [x.new_zeros(len(x), layer.hidden_size) for _ in state]
        subject.compare(one(x[:, 0])._asdict(), one(x[:, 0], zeros)._asdict(), "the step, no state given")


def _check_differences(subject: _Subject) -> None:
    layer = subject.layer()
    x, state = subject.inputs(layer, batch=2, time=2)
    results = subject.results(layer, layer, x, state)
    step = 1e-5
    with torch.no_grad():
        leaves = {"x": x, **{f"state {n}": s for n, s in zip(subject.cell.states, state, strict=True)}}
        leaves |= {name: value for name, value, _ in _gate_parameters(layer)}
        for name, leaf in leaves.items():
            numbers, differences = leaf.view(-1), torch.zeros_like(leaf)
            for k, number in enumerate(numbers.tolist()):
                sums = []
                for moved in (number - step, number + step):
                    numbers[k] = moved
                    sums.append(_weighted_sum(subject.named(*layer(x, state))))
                numbers[k] = number
                differences.view(-1)[k] = (sums[1] - sums[0]) / (2 * step)
            gradient = f"the gradient of {name}"
            subject.compare(results, {gradient: differences}, "against central differences", tolerance=1e-6)


def _check_derivation(subject: _Subject) -> None:
    layer = subject.layer()
    x, state = subject.inputs(layer)
    expected = subject.results(layer, layer, x, state)
    values = {name: value.detach().requires_grad_() for name, value in subject.named(*layer(x, state)).items()}
    outputs, *final = torch.autograd.grad(_weighted_sum(values), list(values.values()))
    (_, cell), *_ = layer.named_cells()
    with torch.no_grad():
        parameters = dict(cell.named_parameters())
        derived = backpropagate(
            cell.graph, parameters, x, [s[:, 0, 0] for s in state], outputs, [s[:, 0, 0] for s in final]
        )
    got = {"the gradient of x": derived.x}
    for name, gradient in zip(subject.cell.states, derived.states, strict=True):
        got[f"the gradient of state {name}"] = gradient[:, None, None]
    for packed, parameter in parameters.items():
        parameter.grad = derived.parameters[packed]
    got |= {
        f"the gradient of {name}": gradient for name, _, gradient in _gate_parameters(layer) if gradient is not None
    }
    gradients = {name: value for name, value in expected.items() if name.startswith("the gradient")}
    subject.compare(got, gradients, "derived from the equations, against torch's")


def _check_all_gradients(subject: _Subject) -> None:
    layer = subject.layer(**_DEEP)
    results = subject.results(layer, layer, *subject.inputs(layer))
    for name, _, _ in _gate_parameters(layer):
        subject.check(bool(results[f"the gradient of {name}"].any()), f"the gradient of {name} is zero everywhere")


def _check_split(subject: _Subject) -> None:
    layer = subject.layer(num_layers=2)
    x, state = subject.inputs(layer)
    expected = subject.results(layer, layer, x, state)

    def in_two(x: Tensor, state: Sequence[Tensor], *, at: int) -> tuple[Tensor, Sequence[Tensor]]:
        first, state = layer(x[:, :at], state)
        second, state = layer(x[:, at:], state)
        return torch.cat([first, second], dim=1), state

    for at in range(1, x.shape[1]):
        got = subject.results(partial(in_two, at=at), layer, x, state)
        subject.compare(got, expected, f"cut at step {at}, state carried over")


def _check_padding(subject: _Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer, batch=5)
    lengths = torch.tensor([2, 0, 4, 1, 3])
    padding = torch.arange(x.shape[1])[None, :] >= lengths[:, None]
    x[padding.to(x.device)] = torch.nan
    expected = subject.results(partial(_by_hand, layer, lengths=lengths), layer, x, state)
    got = subject.results(partial(layer, lengths=lengths), layer, x, state)
    subject.compare(got, expected, f"lengths {lengths.tolist()}, padding NaN")


def _check_resets(subject: _Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer, time=5)
    reset = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0]], dtype=torch.bool)
    for lengths in (None, torch.tensor([3, 5, 0])):
        expected = subject.results(partial(_by_hand, layer, lengths=lengths, reset=reset), layer, x, state)
        got = subject.results(partial(layer, lengths=lengths, reset=reset), layer, x, state)
        subject.compare(got, expected, f"resets{'' if lengths is None else ' and lengths'}")


def _check_permutation(subject: _Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer)
    order = torch.tensor([2, 0, 1])

    def permuted(x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        outputs, final = layer(x[order], [s[order] for s in state])
        back = torch.argsort(order)
        return outputs[back], [s[back] for s in final]

    expected = subject.results(layer, layer, x, state)
    subject.compare(subject.results(permuted, layer, x, state), expected, "rows in another order")


def _check_strides(subject: _Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer)

    def strided(x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        spread = torch.stack([x, -x], dim=-1).transpose(0, 1).contiguous()[..., 0].transpose(0, 1)
        return layer(spread, [torch.stack([s, -s], dim=-1)[..., 0] for s in state])  # type: ignore[no-any-return]

    expected = subject.results(layer, layer, x, state)
    subject.compare(subject.results(strided, layer, x, state), expected, "inputs that are not contiguous")


def _check_no_gradients(subject: _Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer)
    expected = subject.named(*layer(x, state))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            subject.compare(subject.named(*layer(x, state)), expected, f"under {mode.__name__}")


def _check_weights(subject: _Subject) -> None:
    source, *targets = [subject.layer(bidirectional=True) for _ in range(5)]
    x, state = subject.inputs(source)
    for target in targets:
        target(x, state)  # what a layer might keep of its first weights, it keeps now
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    for target, assign in zip(targets, (False, True), strict=False):
        file.seek(0)
        target.load_state_dict(torch.load(file, map_location=subject.device), assign=assign)
    with torch.no_grad():
        for ours, theirs in zip(targets[2].parameters(), source.parameters(), strict=True):
            ours.copy_(theirs)
    ways = {
        "load_state_dict": targets[0],
        "load_state_dict(assign=True)": targets[1],
        "a change in place": targets[2],
        "copy.deepcopy": copy.deepcopy(source),
        ".float().double()": copy.deepcopy(source).float().double(),
    }
    expected = subject.results(partial(_by_hand, source), source, x, state)
    weights = {name: value for name, value, _ in _gate_parameters(source)}
    for way, target in ways.items():
        subject.compare({name: value for name, value, _ in _gate_parameters(target)}, weights, way)
        subject.compare(subject.results(target, target, x, state), expected, way)
        subject.compare(subject.results(partial(_by_hand, target), target, x, state), expected, f"{way}, the step")

    def functional(x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        return functional_call(targets[3], dict(source.named_parameters()), (x, state))  # type: ignore[no-any-return]

    subject.compare(subject.results(functional, source, x, state), expected, "functional_call")


def _check_bad_inputs(subject: _Subject) -> None:
    layer = subject.layer(num_layers=2)
    cell, (x, state) = layer.cell_at(0, 0), subject.inputs(layer)
    one, states = x[:, 0], [s[:, 0, 0] for s in state]
    name = subject.cell.states[-1]
    cases: dict[str, tuple[Callable[[], Any], str]] = {
        "x of rank 2": (lambda: layer(one), r"x must be \(batch, time, input_size=2\), got \(3, 2\)"),
        "x of rank 4": (lambda: layer(x[None]), r"x must be \(batch, time, input_size=2\), got \(1, 3, 4, 2\)"),
        "x of other features": (lambda: layer(x.repeat(1, 1, 2)), r"input_size=2\), got \(3, 4, 4\)"),
        "x without steps": (lambda: layer(x[:, :0]), r"got \(3, 0, 2\).* no step"),
        "x of float32": (lambda: layer(x.float()), r"x must be .*float64, got torch.float32"),
        "a state too many": (lambda: layer(x, [*state, state[0]]), rf"states \(.*{name}\), got {len(state) + 1}"),
        "a tensor as state": (lambda: layer(x, state[0]), r"a sequence of states .*, got one tensor"),
        "a state of other rows": (
            lambda: layer(x, [*state[:-1], state[-1][:1]]),
            rf"state {name} must be \(batch, layers, directions, hidden_size\) = \(3, 2, 1, 3\), got \(1, 2, 1, 3\)",
        ),
        "a state of float32": (
            lambda: layer(x, [*state[:-1], state[-1].float()]),
            rf"state {name} .*got torch.float32",
        ),
        "lengths of other rows": (lambda: layer(x, lengths=torch.ones(2).long()), r"lengths must be .*batch=3"),
        "a length too long": (lambda: layer(x, lengths=torch.tensor([1, 5, 2])), r"lengths must be 0 to time=4, got"),
        "resets that are numbers": (lambda: layer(x, reset=torch.ones(3, 4)), r"reset must be torch.bool"),
        "a step's x of rank 3": (lambda: cell(x), r"x must be \(batch, input_size=2\), got \(3, 4, 2\)"),
        "a step's x of other features": (lambda: cell(one[:, :1]), r"input_size=2\), got \(3, 1\)"),
        "a step's x of float32": (lambda: cell(one.float(), states), r"x must be .*float64, got torch.float32"),
        "a step's state of other rows": (lambda: cell(one, [s[:2] for s in states]), r"batch=3, hidden_size=3\), got"),
        "a step's state of float32": (lambda: cell(one, [s.float() for s in states]), r"state .*got torch.float32"),
    }
    for what, (call, message) in cases.items():
        try:
            call()
        except ShapeError as error:
            subject.check(re.search(message, str(error)) is not None, f"{what}: {error} does not match {message}")
        else:
            subject.check(False, f"{what} raises no ShapeError")


_PROPERTIES: Final[dict[str, Callable[[_Subject], None]]] = {
    "oracle": _check_oracle,
    "steps by hand": _check_by_hand,
    "sizes": _check_sizes,
    "zero state": _check_zero_state,
    "central differences": _check_differences,
    "derivation": _check_derivation,
    "all gradients": _check_all_gradients,
    "split": _check_split,
    "padding": _check_padding,
    "resets": _check_resets,
    "permutation": _check_permutation,
    "strides": _check_strides,
    "no gradients": _check_no_gradients,
    "weights": _check_weights,
    "bad inputs": _check_bad_inputs,
}
