"""What a conforming cell does; see `assert_cell_conforms`."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from elman.backends import selection
from elman.backends.bptt import backpropagate
from elman.cells import Cell
from elman.errors import ShapeError
from elman.testing.differences import compare_differences
from elman.testing.subject import Oracle, Subject, by_hand, gate_parameters, weighted_sum

__all__ = ["assert_cell_conforms", "properties"]

_DEEP: Final[dict[str, Any]] = {"num_layers": 2, "bidirectional": True}
_STACKS: Final[tuple[dict[str, Any], ...]] = ({}, {"num_layers": 3}, {"bidirectional": True}, _DEEP)


def assert_cell_conforms(
    cell: type[Cell],
    *,
    oracle: Oracle | None = None,
    device: torch.device | str = "cpu",
    backend: selection.Name = "auto",
) -> None:
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
        backend: what runs the layers: ``llvm``, ``reference``, or ``auto`` for what elman would take.

    Raises:
        AssertionError: the cell breaks a property; the message names the cell, the property, the tensor and by how
            much it differs.
        BackendError: the backend cannot run on this machine or device.

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
    for check in properties(cell, oracle=oracle, device=device, backend=backend).values():
        check()


def properties(
    cell: type[Cell],
    *,
    oracle: Oracle | None = None,
    device: torch.device | str = "cpu",
    backend: selection.Name = "auto",
) -> dict[str, Callable[[], None]]:
    """Return the checks of `assert_cell_conforms` by name, for a test runner that shows each.

    Example:
        >>> from elman import LSTMCell
        >>> checks = properties(LSTMCell)
        >>> checks["split"]()
    """
    checks = {name: check for name, check in _PROPERTIES.items() if name != "oracle" or oracle is not None}
    return {
        name: partial(_run, check, Subject(cell, name, oracle, torch.device(device)), backend)
        for name, check in checks.items()
    }


def _run(check: Callable[[Subject], None], subject: Subject, backend: selection.Name) -> None:
    with selection.backend(backend):
        check(subject)


def _check_oracle(subject: Subject) -> None:
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


def _check_by_hand(subject: Subject) -> None:
    for options in _STACKS:
        layer = subject.layer(**options)
        x, state = subject.inputs(layer)
        expected = subject.results(partial(by_hand, layer), layer, x, state)
        subject.compare(subject.results(layer, layer, x, state), expected, f"a layer with {options or 'no options'}")


def _check_sizes(subject: Subject) -> None:
    for batch, time, input_size, hidden_size in ((1, 1, 1, 1), (2, 1, 2, 3), (1, 5, 3, 1), (5, 2, 1, 7), (3, 3, 17, 5)):
        layer = subject.layer(input_size, hidden_size, bidirectional=True)
        x, state = subject.inputs(layer, batch, time)
        expected = subject.results(partial(by_hand, layer), layer, x, state)
        case = f"batch {batch}, time {time}, input {input_size}, hidden {hidden_size}"
        subject.compare(subject.results(layer, layer, x, state), expected, case)


def _check_zero_state(subject: Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer)
    with torch.no_grad():
        expected = subject.named(*by_hand(layer, x, [torch.zeros_like(s) for s in state]))
        subject.check(all(bool(v.isfinite().all()) for v in expected.values()), "zero states must give finite ones")
        subject.compare(subject.named(*layer(x)), expected, "no state given")
        one = layer.cell_at(0, 0)
        zeros = [x.new_zeros(len(x), layer.hidden_size) for _ in state]
        subject.compare(one(x[:, 0])._asdict(), one(x[:, 0], zeros)._asdict(), "the step, no state given")


def _check_differences(subject: Subject) -> None:
    for check in compare_differences(subject):
        off = f"the gradient of {check.name} is off by {check.error:.2g}, allowed are {check.limit:.2g}"
        subject.check(check.good, off)


def _check_derivation(subject: Subject) -> None:
    layer = subject.layer()
    x, state = subject.inputs(layer)
    expected = subject.results(layer, layer, x, state)
    values = {name: value.detach().requires_grad_() for name, value in subject.named(*layer(x, state)).items()}
    outputs, *final = torch.autograd.grad(weighted_sum(values), list(values.values()))
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
    got |= {f"the gradient of {name}": gradient for name, _, gradient in gate_parameters(layer) if gradient is not None}
    gradients = {name: value for name, value in expected.items() if name.startswith("the gradient")}
    subject.compare(got, gradients, "derived from the equations, against torch's")


def _check_all_gradients(subject: Subject) -> None:
    layer = subject.layer(**_DEEP)
    results = subject.results(layer, layer, *subject.inputs(layer))
    for name, _, _ in gate_parameters(layer):
        subject.check(bool(results[f"the gradient of {name}"].any()), f"the gradient of {name} is zero everywhere")


def _check_split(subject: Subject) -> None:
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


def _check_padding(subject: Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer, batch=5)
    lengths = torch.tensor([2, 0, 4, 1, 3])
    padding = torch.arange(x.shape[1])[None, :] >= lengths[:, None]
    x[padding.to(x.device)] = torch.nan
    expected = subject.results(partial(by_hand, layer, lengths=lengths), layer, x, state)
    got = subject.results(partial(layer, lengths=lengths), layer, x, state)
    subject.compare(got, expected, f"lengths {lengths.tolist()}, padding NaN")


def _check_resets(subject: Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer, time=5)
    reset = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0]], dtype=torch.bool)
    for lengths in (None, torch.tensor([3, 5, 0])):
        expected = subject.results(partial(by_hand, layer, lengths=lengths, reset=reset), layer, x, state)
        got = subject.results(partial(layer, lengths=lengths, reset=reset), layer, x, state)
        subject.compare(got, expected, f"resets{'' if lengths is None else ' and lengths'}")


def _check_permutation(subject: Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer)
    order = torch.tensor([2, 0, 1])

    def permuted(x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        outputs, final = layer(x[order], [s[order] for s in state])
        back = torch.argsort(order)
        return outputs[back], [s[back] for s in final]

    expected = subject.results(layer, layer, x, state)
    subject.compare(subject.results(permuted, layer, x, state), expected, "rows in another order")


def _check_strides(subject: Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer)

    def strided(x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        spread = torch.stack([x, -x], dim=-1).transpose(0, 1).contiguous()[..., 0].transpose(0, 1)
        return layer(spread, [torch.stack([s, -s], dim=-1)[..., 0] for s in state])  # type: ignore[no-any-return]

    expected = subject.results(layer, layer, x, state)
    subject.compare(subject.results(strided, layer, x, state), expected, "inputs that are not contiguous")


def _check_no_gradients(subject: Subject) -> None:
    layer = subject.layer(**_DEEP)
    x, state = subject.inputs(layer)
    expected = subject.named(*layer(x, state))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            subject.compare(subject.named(*layer(x, state)), expected, f"under {mode.__name__}")


def _check_weights(subject: Subject) -> None:
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
    expected = subject.results(partial(by_hand, source), source, x, state)
    weights = {name: value for name, value, _ in gate_parameters(source)}
    for way, target in ways.items():
        subject.compare({name: value for name, value, _ in gate_parameters(target)}, weights, way)
        subject.compare(subject.results(target, target, x, state), expected, way)
        subject.compare(subject.results(partial(by_hand, target), target, x, state), expected, f"{way}, the step")

    def functional(x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        return functional_call(targets[3], dict(source.named_parameters()), (x, state))  # type: ignore[no-any-return]

    subject.compare(subject.results(functional, source, x, state), expected, "functional_call")


def _check_bad_inputs(subject: Subject) -> None:
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


_PROPERTIES: Final[dict[str, Callable[[Subject], None]]] = {
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
