"""The pointwise operations on vectors, over their whole range, against many digits."""

from __future__ import annotations

import math
from functools import partial

import mpmath
import numpy as np
import pytest
import torch

from backends.llvm.applied import applied
from elman.backends.llvm.functions import POINTWISE, exp_of_negative, power
from elman.cells.words import TORCH
from elman.compiler.graph import ARITY

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
INF, NAN = math.inf, math.nan

#: Functions of one number: their truth in as many digits as are asked for, and how many units in the last place a
#: result may be off.
CURVES = {
    "exp": (mpmath.exp, 1.0),
    "log": (mpmath.log, 1.0),
    "sigmoid": (lambda a: 1 / (1 + mpmath.exp(-a)), 2.0),
    "tanh": (mpmath.tanh, 2.5),
    "softplus": (lambda a: mpmath.log1p(mpmath.exp(a)), 2.5),
    "sqrt": (mpmath.sqrt, 0.5),
}


def apply(op, *arrays):
    return applied(op, POINTWISE[op], *arrays)


def units_off(got, truth, dtype):
    """How many units in the last place results are off; below the normal numbers, the unit is that of the smallest."""
    info = torch.finfo(dtype)
    off = []
    with mpmath.workprec(150):
        for number, right in zip(got.tolist(), truth, strict=True):
            size = max(abs(right), mpmath.mpf(info.tiny))
            unit = mpmath.mpf(2) ** mpmath.floor(mpmath.log(size, 2)) * info.eps
            off.append(float(abs(mpmath.mpf(number) - right) / unit))
    return np.array(off)


def ends(dtype):
    """Between these, e^a is a normal number."""
    info = torch.finfo(dtype)
    return math.log(info.tiny) + 1e-4, math.log(info.max) - 1e-4


def points(op, dtype):
    """Numbers of every size, and more of them where a function bends."""
    info, (low, high) = torch.finfo(dtype), ends(dtype)
    smallest, largest = math.log2(info.tiny), math.log2(info.max) - 1e-3
    sizes = 2.0 ** torch.empty(300, dtype=torch.float64).uniform_(smallest, largest)
    near = torch.empty(300, dtype=torch.float64).uniform_(-4, 4)
    if op in {"log", "sqrt"}:
        around = 1 + torch.empty(200, dtype=torch.float64).uniform_(-0.3, 0.5)
        return torch.cat([sizes, near.abs(), around, 2.0 ** torch.arange(-20.0, 20.0).double()]).to(dtype)
    signed = torch.cat([sizes, -sizes])
    where = signed[(signed > low) & (signed < high)]
    wide = torch.empty(300, dtype=torch.float64).uniform_(low, high)
    if op == "sigmoid":  # beyond, it is held at e^-(0.98 * high), which is next to nothing
        wide, where = wide[wide > 0.97 * low], where[where > 0.97 * low]
    return torch.cat([where, near, wide, torch.tensor([low, high]).double() * 0.97]).to(dtype)


@types
@pytest.mark.parametrize("op", CURVES)
def test_curves(op, dtype):
    truth, allowed = CURVES[op]
    x = points(op, dtype)
    with mpmath.workprec(150):
        off = units_off(apply(op, x), [truth(mpmath.mpf(a)) for a in x.tolist()], dtype)
    worst = int(off.argmax())
    assert off[worst] <= allowed, f"{op}({x[worst]!r}) is {off[worst]:.2f} units off"


@pytest.mark.parametrize(
    ("op", "truth"),
    [
        ("exp", np.exp),
        ("log", np.log),
        ("sigmoid", lambda a: 1 / (1 + np.exp(-a))),
        ("tanh", np.tanh),
        ("softplus", lambda a: np.logaddexp(a, 0)),
    ],
)
def test_curves_at_many_numbers(op, truth):
    """In float32 a quarter of a million, of every exponent."""
    low, high = ends(torch.float32)
    bits = torch.arange(0x00800000, 0x7F800000, 8191, dtype=torch.int32)
    x = bits.view(torch.float32)
    if op != "log":
        x = torch.cat([x, -x])
        x = x[(x > 0.97 * low) & (x < high)]
    got, right = apply(op, x).double().numpy(), truth(x.double().numpy())
    size = np.maximum(np.abs(right), torch.finfo(torch.float32).tiny)
    off = np.abs(got - right) / (2.0 ** np.floor(np.log2(size)) * torch.finfo(torch.float32).eps)
    worst = int(off.argmax())
    assert off[worst] <= CURVES[op][1], f"{op}({x[worst]!r}) is {off[worst]:.2f} units off"


EDGES = {
    "exp": ([-INF, -1e30, -0.0, 0.0, 1e30, INF, NAN], [0.0, 0.0, 1.0, 1.0, INF, INF, NAN]),
    "log": ([-INF, -1.0, -0.0, 0.0, 1.0, INF, NAN], [NAN, NAN, -INF, -INF, 0.0, INF, NAN]),
    "tanh": ([-INF, -1e30, -30.0, -0.0, 0.0, 30.0, 1e30, INF, NAN], [-1.0, -1.0, -1.0, -0.0, 0.0, 1.0, 1.0, 1.0, NAN]),
    "softplus": ([-INF, -1e30, 0.0, 1e30, INF, NAN], [0.0, 0.0, math.log(2), 1e30, INF, NAN]),
    "sqrt": ([-1.0, 0.0, 4.0, INF, NAN], [NAN, 0.0, 2.0, INF, NAN]),
    "relu": ([-INF, -1.0, 0.0, 2.0, INF, NAN], [0.0, 0.0, 0.0, 2.0, INF, NAN]),
    "abs": ([-INF, -1.5, -0.0, 2.0, NAN], [INF, 1.5, 0.0, 2.0, NAN]),
    "negate": ([-INF, -0.0, 0.0, 2.0, NAN], [INF, 0.0, -0.0, -2.0, NAN]),
    "sigmoid": ([0.0, -0.0, 40.0, 1e30, INF, NAN], [0.5, 0.5, 1.0, 1.0, 1.0, NAN]),
}


@types
def test_exp_of_what_is_not_positive(dtype):
    """As exp has it, to the last bit or so; 0 where it would be too small to be normal."""
    low, _ = ends(dtype)
    x = torch.cat([torch.linspace(0.99 * low, 0, 2000, dtype=torch.float64), -(2.0 ** torch.arange(-30.0, 6.0))])
    x = x.to(dtype)
    got = applied("exp of negative", lambda code, v: exp_of_negative(code, v[0]), x)
    with mpmath.workprec(150):
        assert units_off(got, [mpmath.exp(mpmath.mpf(a)) for a in x.tolist()], dtype).max() <= 1.0
    ends_of = torch.tensor([0.0, -0.0, 1.02 * low, -1e30, -INF, NAN], dtype=dtype)
    got = applied("exp of negative", lambda code, v: exp_of_negative(code, v[0]), ends_of)
    expected = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, NAN], dtype=dtype)
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


@types
@pytest.mark.parametrize("op", EDGES)
def test_edges(op, dtype):
    given, right = (torch.tensor(numbers, dtype=torch.float64).to(dtype) for numbers in EDGES[op])
    got = apply(op, given)
    torch.testing.assert_close(got, right, rtol=0, atol=0, equal_nan=True)
    if op in {"tanh", "negate"}:
        assert got.nan_to_num().signbit().equal(right.nan_to_num().signbit())


@types
def test_where_results_leave_the_range(dtype):
    """e^a overflows and vanishes where it should; the logistic function and its like saturate without a jump."""
    low, high = ends(dtype)
    given = torch.tensor([high, high + 2e-4, low, low - 2e-4, 0.999 * high], dtype=torch.float64).to(dtype)
    got = apply("exp", given)
    assert got[[0, 4]].isfinite().all()
    assert got[1] == INF
    assert got[2] > 0
    assert got[3] == 0
    far = torch.tensor([low, 2 * low, -1e30, -INF], dtype=torch.float64).to(dtype)
    assert (apply("sigmoid", far) <= 1.0001 * math.exp(0.98 * low)).all()
    rising = torch.linspace(-60, 60, 4001, dtype=torch.float64).to(dtype)
    for op in ("sigmoid", "tanh", "softplus", "exp"):
        slope = apply(op, rising).double().diff()
        assert (slope >= -1e-6 * apply(op, rising).abs().double()[1:]).all(), op


@types
def test_small_numbers_keep_their_digits(dtype):
    small = torch.tensor([1e-30, -1e-30, 1e-20, -3e-12, 1e-8], dtype=torch.float64).to(dtype)
    torch.testing.assert_close(apply("tanh", small), small, rtol=2e-7 if dtype == torch.float32 else 3e-16, atol=0)
    far = torch.tensor([-40.0, -60.0, -80.0], dtype=dtype)
    torch.testing.assert_close(apply("softplus", far), far.exp(), rtol=3 * torch.finfo(dtype).eps, atol=0)


# powers


def truth_of_power(a, b):
    with mpmath.workprec(150):
        return [mpmath.power(mpmath.mpf(x), mpmath.mpf(b)) for x in a.tolist()]


@types
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 0.5, -1.0])
def test_powers_with_simple_exponents(exponent, dtype):
    size = torch.empty(200, dtype=torch.float64).uniform_(-3, 3).exp().to(dtype)
    x = size if exponent == 0.5 else torch.cat([size, -size])
    got = applied(f"power {exponent}", lambda code, v: power(code, v[0], code.constant(exponent), exponent), x)
    assert units_off(got, truth_of_power(x, exponent), dtype).max() <= max(1.0, exponent)


@types
@pytest.mark.parametrize("exponent", [1.5, -2.0, -0.5, 9.0, 0.1, -3.7, INF])
def test_powers_with_other_exponents(exponent, dtype):
    x = torch.empty(200, dtype=torch.float64).uniform_(-3, 3).exp().to(dtype)
    got = applied(f"power {exponent}", lambda code, v: power(code, v[0], code.constant(exponent), exponent), x)
    if math.isinf(exponent):
        assert got.equal(torch.where(x > 1, INF, 0.0).to(dtype))
    else:
        with mpmath.workprec(150):
            rounded = torch.tensor(exponent, dtype=dtype).item()
        assert units_off(got, truth_of_power(x, rounded), dtype).max() <= 1.0


@types
def test_powers_of_two_values(dtype):
    a, b = torch.meshgrid(
        torch.tensor([-INF, -2.5, -1.0, -0.0, 0.0, 0.3, 1.0, 7.0, INF, NAN], dtype=dtype),
        torch.tensor([-INF, -3.0, -2.0, -0.7, 0.0, 0.5, 1.0, 2.0, 3.0, INF, NAN], dtype=dtype),
        indexing="ij",
    )
    got = applied("power", lambda code, v: power(code, v[0], v[1]), a.flatten(), b.flatten())
    torch.testing.assert_close(got, torch.pow(a, b).flatten(), rtol=2e-7, atol=0, equal_nan=True)


# operations on two and more


@types
@pytest.mark.parametrize("op", sorted(op for op in ARITY if ARITY[op] == 2 and op != "power"))
def test_of_two_values(op, dtype):
    """As torch has it, bit for bit, with everything that a number can be on either side."""
    numbers = torch.tensor([-INF, -2.5, -1.0, -0.0, 0.0, 0.3, 1.0, 7.0, INF, NAN], dtype=dtype)
    a, b = (side.flatten() for side in torch.meshgrid(numbers, numbers, indexing="ij"))
    torch.testing.assert_close(apply(op, a, b), TORCH[op](a, b).to(dtype), rtol=0, atol=0, equal_nan=True)


@types
def test_where(dtype):
    a = torch.tensor([1.0, -1.0, NAN, 0.0, INF], dtype=dtype)
    got = applied("where", lambda code, v: POINTWISE["where"](code, [v[0].compare("<", 0.5), v[1], v[2]]), a, a + 1, -a)
    torch.testing.assert_close(got, torch.where(a < 0.5, a + 1, -a), rtol=0, atol=0, equal_nan=True)


def test_every_operation_is_there():
    assert {*POINTWISE, "power"} == set(ARITY)


@types
def test_every_lane_is_its_own(dtype):
    """The place of a number in its vector plays no part."""
    x = torch.empty(64, dtype=torch.float64).uniform_(-3, 3).to(dtype)
    for op in CURVES:
        use = partial(apply, op)
        given = x.abs() if op in {"log", "sqrt"} else x
        assert use(given.roll(5)).equal(use(given).roll(5)), op
