"""What `elman.explain` returns, and how it reads as text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from elman.compiler.work import Product

__all__ = ["Code", "Explanation", "Pass", "Phase", "Run", "amount", "together"]


@dataclass(frozen=True)
class Phase:
    """What is done once every so many steps: matrix products, then pointwise operations.

    Attributes:
        every: how many steps.
        products: the matrix products.
        operations: how many follow for one unit of one row.
    """

    every: int
    products: tuple[Product, ...]
    operations: int


@dataclass(frozen=True)
class Pass:
    """One way through all steps, forward or backward.

    Attributes:
        phases: what is done, in this order; nothing is said of the reference backend, which leaves it to torch.
        flops: floating-point operations of the products in all steps; backward with ``recompute``, also of those of the
            way forward, which is run once more.
        share: of the peak of torch's threads, what to expect; None where nothing is known: on the reference backend,
            and where so few rows run that reading the weights takes longer than multiplying with them.
    """

    phases: tuple[Phase, ...]
    flops: int
    share: float | None


@dataclass(frozen=True)
class Code:
    """How compiled code runs here.

    Attributes:
        instructions: the processor's vector instructions.
        lanes: numbers in a vector.
        threads: how many run.
        pool: whose threads they are.
        shared: what they share: ``rows``, where none waits for another before the last step (backward, before the end
            of a chunk), or ``units``, where they meet at every step.
        packed: weights are packed before the first step; for very few rows they are read as they lie.
        working_bytes: memory in use while it runs, on the way that needs more.
    """

    instructions: str
    lanes: int
    threads: int
    pool: str
    shared: str
    packed: bool
    working_bytes: int


@dataclass(frozen=True)
class Run:
    """One layer and direction.

    Attributes:
        name: such as ``layer_0/forward``.
        backend: ``llvm`` or ``reference``.
        reason: why it is this one.
        code: how compiled code runs; None on the reference backend.
        forward: the way forward.
        backward: the way back; None where nothing asks for a gradient.
        gradients: what the way back gives: ``x`` and names of packed parameters.
        weight_bytes: of the parameters.
        kept_bytes: what the way back needs of the way forward besides x and outputs; None where torch decides.
    """

    name: str
    backend: str
    reason: str
    code: Code | None
    forward: Pass
    backward: Pass | None
    gradients: tuple[str, ...]
    weight_bytes: int
    kept_bytes: int | None


@dataclass(frozen=True, repr=False)
class Explanation:
    """What `explain` returns: it prints as text, and `as_dict` is for programs.

    Attributes:
        layer: the layer, as it prints.
        shape: of x.
        dtype: of x.
        threads: that torch has.
        notes: what else there is to know.
        runs: every layer and direction, in their order.
    """

    layer: str
    shape: tuple[int, int, int]
    dtype: str
    threads: int
    notes: tuple[str, ...]
    runs: tuple[Run, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it in dictionaries and tuples."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    __repr__ = __str__


def together(ways: Sequence[Pass]) -> tuple[int, float | None]:
    """Return the operations of several, and their share of the peak one after the other."""
    flops = sum(way.flops for way in ways)
    shares = [way.share for way in ways if way.share]
    time = sum(way.flops / share for way, share in zip(ways, shares, strict=False))
    return flops, flops / time if len(shares) == len(ways) else None


def _lines(explanation: Explanation) -> Iterator[str]:
    shape = ", ".join(map(str, explanation.shape))
    yield f"{explanation.layer} on x ({shape}), {explanation.dtype}, with {_count(explanation.threads, 'thread')}"
    yield from explanation.notes
    for run, alike in itertools.groupby(explanation.runs, lambda run: replace(run, name="")):
        yield ""
        yield f"{', '.join(one.name for one in alike)}: {run.backend}, because {run.reason}"
        yield from _run_lines(run)
    yield ""
    if any(run.code for run in explanation.runs):
        yield "Products: rows x inner x columns, for the gates named. Operations: pointwise, for one unit of one row."
    ways = [way for run in explanation.runs for way in (run.forward, run.backward) if way is not None]
    flops, share = together(ways)
    expected = "" if share is None else f", {_percent(share)} of the peak. That is foreseen; elman bench measures"
    yield f"All layers: {amount(flops)}FLOP{expected}."


def _run_lines(run: Run) -> Iterator[str]:
    if run.code is not None:
        yield f"  code      {_how(run.code)}"
    ways = {"forward": run.forward} if run.backward is None else {"forward": run.forward, "backward": run.backward}
    products = [product for way in ways.values() for phase in way.phases for product in phase.products]
    widths = [max((len(text) for text in column), default=0) for column in zip(*map(_columns, products), strict=True)]
    for name, way in ways.items():
        yield from _pass(name, way, widths)
    yield f"  work      {_work(run)}"
    yield f"  memory    {_memory(run)}"
    if run.code is not None:
        yield f"  expect    {_expectation(run)}"


def _how(code: Code) -> str:
    whose = "" if code.threads == 1 else f" of {code.pool}"
    meet = {"rows": "which share the rows", "units": "which share the units and meet at every step"}[code.shared]
    weights = "weights packed first" if code.packed else "weights read as they lie"
    team = _count(code.threads, "thread") + (f"{whose}, {meet}" if code.threads > 1 else "")
    return f"{code.instructions}, {code.lanes} numbers a vector; {weights}; {team}"


def _columns(product: Product) -> tuple[str, str]:
    return product.what, f"{product.rows} x {product.inner} x {product.columns}"


def _pass(name: str, way: Pass, widths: Sequence[int]) -> Iterator[str]:
    """Describe a way, a line for each product."""
    for k, phase in enumerate(way.phases):
        every = "every step" if phase.every == 1 else f"every {phase.every} steps"
        lines = []
        for product in phase.products:
            columns = zip(_columns(product), widths, strict=True)
            lines.append("  ".join([*(f"{text:<{width}}" for text, width in columns), " ".join(product.gates)]))
        lines += [_count(phase.operations, "operation")] if phase.operations else []
        for m, line in enumerate(lines):
            yield f"  {'' if k or m else name:<9} {'' if m else every:<15} {line}"


def _work(run: Run) -> str:
    there = f"{amount(run.forward.flops)}FLOP forward"
    if run.backward is None:
        return f"{there}; nothing asks for a gradient"
    return f"{there}, {amount(run.backward.flops)}FLOP backward, for the gradients of {', '.join(run.gradients)}"


def _memory(run: Run) -> str:
    parts = [f"weights {amount(run.weight_bytes)}B"]
    if run.backward is not None and run.kept_bytes is not None:
        parts.append(f"kept for the way back {amount(run.kept_bytes)}B besides x and outputs")
    if run.code is not None:
        parts.append(f"working memory {amount(run.code.working_bytes)}B")
    return ", ".join(parts)


def _expectation(run: Run) -> str:
    if run.forward.share is None:
        return f"bound by reading the weights, {amount(run.weight_bytes)}B a step, for few rows"
    there = f"{_percent(run.forward.share)} of the peak forward"
    if run.backward is None or run.backward.share is None:
        return there
    return f"{there}, {_percent(run.backward.share)} backward"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def amount(number: float) -> str:
    """Write a number with a prefix: three digits.

    Example:
        >>> amount(234881024), amount(80)
        ('235 M', '80 ')
    """
    for prefix in ("", "k", "M", "G"):
        if number < 999.5:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} T"
