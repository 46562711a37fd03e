"""Every backend against the reference in float64: outputs, states and gradients by name. See `compare_backends`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, cast

import torch
from torch import Tensor

from elman.backends import dispatch, reference
from elman.cells import Cell
from elman.errors import BackendError, OptionError, describe
from elman.testing.cases import CASES, Case, Numbers

__all__ = ["TOLERANCES", "Comparison", "Place", "compare_backends", "places"]


class Tolerance(NamedTuple):
    """How far off a type may be after one step, as max|difference| / max|reference|."""

    values: float
    gradients: float


TOLERANCES: Final = {
    torch.float64: Tolerance(values=1e-13, gradients=1e-12),
    torch.float32: Tolerance(values=2e-6, gradients=1e-5),
}
#: Over several steps errors grow as the cell makes them grow: they may be this many times those of the reference in
#: float32 on the CPU, but not above the second number; in float64, both times the ratio of the types' precisions.
_GROWTH: Final = 4.0
_WORST: Final = 1e-3
#: A gradient that is almost nothing beside the others is what was left when larger numbers cancelled, and is measured
#: by this part of the largest; values likewise.
_SMALL: Final = 1e-2
#: Where one of these changes sides by a rounding, so does a gradient: rightly, and not again with other numbers.
_CORNERS: Final = frozenset({"abs", "less", "less_equal", "maximum", "minimum", "relu", "where"})
_DRAWS: Final = 3


class Place(NamedTuple):
    """What runs a cell, where, and in which type."""

    backend: str
    device: str
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.backend}, {self.device}, {str(self.dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class Comparison:
    """One result of a cell at one place: how far it is from the reference in float64, in the worst of all cases.

    Attributes:
        cell: the name of the class.
        what: ``outputs``, ``final state h``, ``gradient of x``, ``gradient of f/weight_h``, ...
        place: what ran it, where, and in which type.
        error: max|difference| / max|reference|; infinite where a number is NaN or a shape is wrong.
        limit: what is allowed there.
        case: in words.
    """

    cell: str
    what: str
    place: Place
    error: float
    limit: float
    case: str

    @property
    def good(self) -> bool:
        """Whether the error is within its limit."""
        return self.error <= self.limit

    def __str__(self) -> str:
        off = f"off by {self.error:.2g}, allowed are {self.limit:.2g}"
        return f"{self.cell}: {self.what} ({self.place}) is {off}: {self.case}"


def places(
    cell: type[Cell],
    *,
    backends: Sequence[str] | None = None,
    devices: Sequence[torch.device | str] | None = None,
    dtypes: Sequence[torch.dtype] = tuple(TOLERANCES),
) -> dict[Place, str | None]:
    """Say where a cell can run: every backend on every device of this machine, with the reason where one cannot.

    Args:
        cell: the class.
        backends: their names; None for all.
        devices: such as ``cpu`` or ``cuda:1``; None for the CPU and the accelerator that torch finds.
        dtypes: float64 and float32, or one of them.

    Raises:
        OptionError: there is no such backend, or no such device here.

    Example:
        >>> from elman import LSTMCell
        >>> places(LSTMCell, backends=["reference"], devices=["cpu"], dtypes=[torch.float32])
        {Place(backend='reference', device='cpu', dtype=torch.float32): None}
    """
    names = [name for name in dispatch.BACKENDS if name != "auto"]
    if unknown := set(backends or ()) - set(names):
        raise OptionError(describe("backend", expected=" or ".join(names), got=", ".join(sorted(unknown))))
    found = {}
    for device in _devices() if devices is None else [_device(name) for name in devices]:
        for backend in backends or names:
            for dtype in dtypes:
                place = Place(backend, str(device), dtype)
                found[place] = _refusal(cell, place)
    return found


def compare_backends(
    cell: type[Cell],
    *,
    backends: Sequence[str] | None = None,
    devices: Sequence[torch.device | str] | None = None,
    dtypes: Sequence[torch.dtype] = tuple(TOLERANCES),
    cases: Sequence[Case] = CASES,
) -> list[Comparison]:
    """Compare what runs a cell on this machine with the reference in float64 on the CPU.

    Outputs, final states and the gradient of x, of the initial states and of each gate's weights, by name, for sizes
    that fill no vector and no tile, with lengths, resets, both directions, and gradients of some inputs only. An error
    is max|difference| / max|reference|. After one step it may be as large as `TOLERANCES` says; over several steps, in
    float32, also four times as large as that of the reference in float32, up to 1e-3.

    Args:
        cell: the class; its states between 0 and 1 must be in the domain of its equations.
        backends: their names, each of which must be able to run somewhere; None for all that are.
        devices: such as ``cpu`` or ``cuda:1``; None for the CPU and the accelerator that torch finds.
        dtypes: float64 and float32, or one of them.
        cases: what to run.

    Returns:
        The worst of all cases for every place and result. Nothing is raised for a wrong number.

    Raises:
        OptionError: there is no such backend, or no such device here.
        BackendError: a backend that was named can run nowhere.

    Example:
        >>> from elman import RNNCell
        >>> found = compare_backends(RNNCell, cases=[Case(3, 5, 4, 17, lengths=True)])
        >>> for comparison in found[:7]:
        ...     print(comparison.what)
        outputs
        final state h
        gradient of x
        gradient of initial state h
        gradient of n/weight_x
        gradient of n/weight_h
        gradient of n/bias
        >>> [str(comparison) for comparison in found if not comparison.good]
        []
    """
    found = places(cell, backends=backends, devices=devices, dtypes=dtypes)
    for backend in backends or ():
        reasons = {place: reason for place, reason in found.items() if place.backend == backend}
        if all(reasons.values()):
            raise BackendError(
                f"{cell.__name__}: {'; '.join(f'{place}: {reason}' for place, reason in reasons.items())}."
            )
    able = [place for place, reason in found.items() if reason is None]
    worst: dict[tuple[Place, str], Comparison] = {}
    for case in cases:
        for comparison in _compare(cell, case, able):
            key = comparison.place, comparison.what
            if key not in worst or _excess(comparison) > _excess(worst[key]):
                worst[key] = comparison
    return [comparison for place in able for (where, _), comparison in worst.items() if where == place]


def _excess(comparison: Comparison) -> float:
    return comparison.error / comparison.limit


def _compare(cell: type[Cell], case: Case, able: Sequence[Place]) -> Iterator[Comparison]:
    """Compare one case at every place; a cell with corners gets other numbers where it fails."""
    missing = list(able)
    for draw in range(_DRAWS):
        numbers = Numbers(cell, case, draw)
        corners = any(node.op in _CORNERS for node in numbers.cell.graph.nodes)
        expected = _Expected(numbers)
        for place in list(missing):
            comparisons = _at_or_why_not(place, numbers, expected)
            if all(c.good for c in comparisons) or not corners or draw == _DRAWS - 1:
                missing.remove(place)
                yield from comparisons


def _at_or_why_not(place: Place, numbers: Numbers, expected: _Expected) -> list[Comparison]:
    """Compare one case at one place; not every device has every operation of torch, which is a finding too."""
    try:
        return list(_at(place, numbers, expected))
    except RuntimeError as error:
        if torch.device(place.device).type == "cpu":
            raise
        limit = TOLERANCES[place.dtype].values
        why = f"{numbers.case}: {str(error).partition(chr(10))[0]}"
        return [Comparison(type(numbers.cell).__name__, "outputs", place, math.inf, limit, why)]


def _at(place: Place, numbers: Numbers, expected: _Expected) -> Iterator[Comparison]:
    """Compare one case at one place, with gradients and, where nothing has to be kept for them, without."""
    case, device = numbers.case, torch.device(place.device)
    unroll = partial(dispatch.unroll, recompute=case.recompute)
    with dispatch.backend(cast(Any, place.backend)):
        got = _results(numbers, unroll, place.dtype, device, expected.factors)
        kept_nothing = _results(numbers, unroll, place.dtype, device, {})
    for results, how in ((got, str(case)), (kept_nothing, f"{case}, no gradients recorded")):
        for what, error in expected.errors(results).items():
            yield Comparison(type(numbers.cell).__name__, what, place, error, expected.limit(what, place.dtype), how)


class _Expected:
    """What comes out in float64 on the CPU, how far results are from it, and how far they may be."""

    def __init__(self, numbers: Numbers) -> None:
        cpu = torch.device("cpu")
        self.factors = numbers.factors(_results(numbers, reference.unroll, torch.float64, cpu, {}))
        self._values = _results(numbers, reference.unroll, torch.float64, cpu, self.factors)
        self._largest: dict[bool, float] = {}
        for what, value in self._values.items():
            size = float(value.abs().max()) if value.numel() else 0.0
            self._largest[_is_gradient(what)] = max(size, self._largest.get(_is_gradient(what), 0.0))
        self._grown: dict[str, float] = {}
        if numbers.case.steps > 1:
            self._grown = self.errors(_results(numbers, reference.unroll, torch.float32, cpu, self.factors))

    def errors(self, results: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the error of each result."""
        return {
            what: _error(value, self._values[what], _SMALL * self._largest[_is_gradient(what)])
            for what, value in results.items()
        }

    def limit(self, what: str, dtype: torch.dtype) -> float:
        """Return how large an error may be."""
        tolerance, precision = TOLERANCES[dtype], torch.finfo(dtype).eps / torch.finfo(torch.float32).eps
        least = tolerance.gradients if _is_gradient(what) else tolerance.values
        return max(least, precision * min(_WORST, _GROWTH * self._grown.get(what, 0.0)))


def _is_gradient(what: str) -> bool:
    return what.startswith("gradient")


def _error(got: Tensor, expected: Tensor, least: float) -> float:
    """Return max|difference| / max|expected|, which counts at least so much."""
    if got.shape != expected.shape:
        return math.inf
    if not expected.numel():
        return 0.0
    difference, size = float((got - expected).abs().max()), max(least, float(expected.abs().max()))
    if math.isnan(difference) or not math.isfinite(size):
        return math.inf
    return difference / size if size else math.inf if difference else 0.0


def _results(
    numbers: Numbers,
    unroll: Callable[..., Any],
    dtype: torch.dtype,
    device: torch.device,
    factors: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Run a case; return outputs, final states and, of a loss with these factors, the wanted gradients.

    Without factors nothing asks for a gradient, and nothing needs to be kept.
    """
    case, cell = numbers.case, numbers.cell
    leaves = {"x": numbers.laid_out(numbers.x, dtype, device)}
    states = [f"state {name}" for name in cell.states]
    leaves |= {name: numbers.laid_out(s, dtype, device) for name, s in zip(states, numbers.state, strict=True)}
    leaves |= {name: value.to(device=device, dtype=dtype) for name, value in numbers.parameters.items()}
    wanted = {"x", *states, *numbers.parameters} if factors else set()
    wanted = {name for name in wanted if ("states" if name in states else name) in case.wanted}
    leaves = {name: value.detach().requires_grad_(name in wanted) for name, value in leaves.items()}
    outputs, final = unroll(
        cell.graph,
        {name: leaves[name] for name in numbers.parameters},
        leaves["x"],
        [leaves[name] for name in states],
        valid=None if numbers.valid is None else numbers.valid.to(device),
        reset=None if numbers.reset is None else numbers.reset.to(device),
        reverse=case.reverse,
    )
    values = {"outputs": outputs, **{f"final state {n}": s for n, s in zip(cell.states, final, strict=True)}}
    results = {what: value.detach().double().cpu() for what, value in values.items()}
    counted = {what: value for what, value in values.items() if factors and _counts(what, case)}
    used = {n: v for n, v in counted.items() if v.requires_grad and v.shape == factors[n].shape}
    asked = {name: value for name, value in leaves.items() if name in wanted}
    if not asked:
        return results
    found: Sequence[Tensor] = [torch.zeros_like(value) for value in asked.values()]
    if used:
        with_factors = [factors[what].to(device=device, dtype=dtype) for what in used]
        found = torch.autograd.grad(
            list(used.values()), list(asked.values()), with_factors, allow_unused=True, materialize_grads=True
        )
    return results | _by_gate(cell, {name: g.double().cpu() for name, g in zip(asked, found, strict=True)})


def _counts(what: str, case: Case) -> bool:
    """Whether the loss depends on a value."""
    return case.loss == "all" or (case.loss == "outputs") == (what == "outputs")


def _by_gate(cell: Cell, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name gradients: those of packed parameters gate by gate."""
    results = {
        f"gradient of {'initial ' if name.startswith('state ') else ''}{name}": gradient
        for name, gradient in gradients.items()
        if name not in dict(cell.named_parameters())
    }
    names = [name for name, _, _ in cell.named_gate_parameters()]
    for name, part in zip(names, cell.gate_parameters, strict=True):
        if part.packed in gradients:
            results[f"gradient of {name}"] = part.of(gradients[part.packed])
    return results


def _devices() -> list[torch.device]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return [torch.device("cpu"), *([] if accelerator is None else [accelerator])]


def _device(name: torch.device | str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is none
        known = " or ".join(map(str, _devices()))
        (why, *_) = str(error).splitlines()
        raise OptionError(describe("device", expected=f"{known} on this machine", got=str(name), cause=why)) from error
    return device


def _refusal(cell: type[Cell], place: Place) -> str | None:
    """Return why a cell cannot run at a place, None where it can."""
    device = torch.device(place.device)
    try:
        x = torch.zeros(1, 1, 1, dtype=place.dtype, device=device)
    except (RuntimeError, TypeError) as error:  # torch's ways to say that a device has no such type
        return str(error).partition("\n")[0].rstrip(".")
    one = cell(1, 1, device=device, dtype=place.dtype)
    with dispatch.backend(cast(Any, "reference" if place.backend == "reference" else "auto")):
        choice = dispatch.choose(one.graph, dict(one.named_parameters()), x, [x[0]] * len(cell.states))
    return None if choice.name == place.backend else choice.reason
