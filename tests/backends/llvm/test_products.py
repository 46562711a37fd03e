"""Linear layers, alone and with cross-entropy, in compiled code: against torch in float64, by name."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from backends.llvm.compared import assert_same_bits, numbers
from elman.backends.llvm import products
from elman.backends.llvm.vectors import Shape

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
NAMES = ("x", "weight", "bias")
SUBSETS = [subset for count in range(4) for subset in itertools.combinations(NAMES, count)]

#: rows, features, outputs: less than a vector, a vector and a bit, several tiles and panels
SIZES = [
    (1, 1, 1),
    (7, 5, 3),
    (6, 16, 64),
    (13, 17, 65),
    (128, 128, 10),
    (130, 33, 500),
    (2, 200, 9),
    (1000, 3, 2),
    (5, 48, 100),
    (37, 8, 8),
    (20, 515, 40),
]


def operands(rows, features, outputs):
    return numbers(rows, features), numbers(outputs, features), numbers(outputs)


def assert_near(got, right, dtype, **parts):
    """Within some units in the last place of the sum of the sizes of what was summed."""
    for name, value in got.items():
        assert value.shape == right[name].shape, name
        allowed = 4 * torch.finfo(dtype).eps * max(1.0, float(parts.get(name, right[name]).abs().max()))
        difference = float((value.double() - right[name]).abs().max())
        assert difference <= allowed, f"{name}: {difference:.3g}, allowed {allowed:.3g}"


# linear


def linear_by_torch(x, weight, bias, dy):
    leaves = [value.clone().requires_grad_() for value in (x, weight, bias)]
    y = F.linear(*leaves)
    return {"y": y.detach(), **dict(zip(NAMES, torch.autograd.grad(y, leaves, dy), strict=True))}


@types
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_linear(sizes, dtype):
    x, weight, bias = operands(*sizes)
    dy = numbers(sizes[0], sizes[2])
    right = linear_by_torch(x, weight, bias, dy)
    sums = linear_by_torch(x.abs(), weight.abs(), bias.abs(), dy.abs())
    xt, wt, bt, dt = (value.to(dtype) for value in (x, weight, bias, dy))
    got = {"y": products.linear(xt, wt, bt), **products.linear_backward(xt, wt, dt, NAMES)}
    assert_near(got, right, dtype, **sums)
    bare = products.linear(xt, wt, None)
    assert_near({"y": bare}, {"y": right["y"] - bias}, dtype, **sums)
    for value, before in zip((xt, wt, bt, dt), (x, weight, bias, dy), strict=True):
        assert value.equal(before.to(dtype))


@types
@pytest.mark.parametrize("wanted", SUBSETS, ids=lambda names: "+".join(names) or "nothing")
def test_linear_gives_only_what_is_wanted(wanted, dtype):
    x, weight, _ = (value.to(dtype) for value in operands(13, 21, 35))
    dy = numbers(13, 35).to(dtype)
    whole = products.linear_backward(x, weight, dy, NAMES)
    assert_same_bits(products.linear_backward(x, weight, dy, wanted), {name: whole[name] for name in wanted})


def scattered(value):
    """The same numbers, each apart from the next."""
    wide = torch.full([2 * size for size in value.shape], torch.nan, dtype=value.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in value.shape)]
    return view.copy_(value)


def turned(value):
    return value.t().contiguous().t()


def negated(value):
    """The same numbers, of which only a mark says that they are negative: the imaginary part of a conjugate."""
    return torch.complex(torch.zeros_like(value), -value).conj().imag


def among_others(value):
    """The same rows, in a wider matrix."""
    wide = torch.full((len(value), value[0].numel() + 3), torch.nan, dtype=value.dtype)
    return wide[:, 1 : 1 + value.shape[-1]].copy_(value) if value.ndim == 2 else scattered(value)


@types
@pytest.mark.parametrize("lay", [scattered, turned, among_others, negated], ids=lambda lay: lay.__name__)
@pytest.mark.parametrize("features", [1, 21])
def test_however_tensors_lie(lay, features, dtype):
    x, weight, bias = (value.to(dtype) for value in operands(9, features, 35))
    dy, targets = numbers(9, 35).to(dtype), torch.randint(0, 35, (9,))
    straight = (
        products.linear(x, weight, bias),
        *products.linear_backward(x, weight, dy, NAMES).values(),
        *flat(products.cross_entropy(x, weight, bias, targets, 0.3, NAMES)),
    )
    x, weight, dy = lay(x), lay(weight), lay(dy)
    bias, targets = negated(bias) if lay is negated else scattered(bias), torch.stack([targets, -targets], dim=1)[:, 0]
    got = (
        products.linear(x, weight, bias),
        *products.linear_backward(x, weight, dy, NAMES).values(),
        *flat(products.cross_entropy(x, weight, bias, targets, 0.3, NAMES)),
    )
    for k, (one, other) in enumerate(zip(got, straight, strict=True)):
        assert one.equal(other), k


@types
def test_one_gradient_for_all_outputs(dtype):
    """As of a sum: a number that stands for the whole of dy."""
    x, weight, _ = (value.to(dtype) for value in operands(9, 21, 35))
    one = torch.full((1, 1), 0.3, dtype=dtype)
    got = products.linear_backward(x, weight, one.expand(9, 35), NAMES)
    assert_same_bits(got, products.linear_backward(x, weight, one.expand(9, 35).contiguous(), NAMES))


# cross-entropy


def flat(result):
    losses, gradients = result
    return (losses, *(gradients[name] for name in NAMES if name in gradients))


def entropy_by_torch(x, weight, bias, targets, scale):
    leaves = [value.clone().requires_grad_() for value in (x, weight, bias)]
    losses = F.cross_entropy(F.linear(*leaves), targets, reduction="none")
    found = torch.autograd.grad(losses.sum() * scale, leaves)
    return {"losses": losses.detach(), **dict(zip(NAMES, found, strict=True))}


@types
@pytest.mark.parametrize(
    "sizes",
    [
        *SIZES,
        *[(63, 9, 239), (64, 9, 240), (65, 9, 241), (127, 20, 479), (128, 20, 480), (300, 20, 481), (257, 33, 1500)],
        *[(33, 1, 1), (50, 650, 7), (35, 200, 10_007)],
    ],
    ids=str,
)
@pytest.mark.parametrize("most", [1, 3, None], ids=["one vector a block", "three", "as it is"])
def test_cross_entropy(sizes, most, dtype, monkeypatch):
    """Blocks of rows and chunks of words, whole and not."""
    monkeypatch.setattr(products, "_BLOCK", products._BLOCK if most is None else most)
    rows, _, words = sizes
    x, weight, bias = operands(*sizes)
    targets = torch.randint(0, words, (rows,))
    targets[0], targets[-1] = words - 1, 0
    losses, got = products.cross_entropy(*(v.to(dtype) for v in (x, weight, bias)), targets, 0.37, NAMES)
    right = entropy_by_torch(x, weight, bias, targets, 0.37)
    logits = float(F.linear(x.abs(), weight.abs(), bias.abs()).max())
    allowed = 8 * torch.finfo(dtype).eps * max(1.0, logits)
    for name, value in {"losses": losses, **got}.items():
        scale = max(1.0, float(right[name].abs().max()))
        difference = float((value.double() - right[name]).abs().max())
        assert difference <= allowed * scale, f"{name}: {difference:.3g}"


@pytest.mark.parametrize(
    ("rows", "vocabulary", "vectors"),
    [(1, 1, 1), (16, 7, 1), (17, 7, 2), (700, 10_000, 22), (400, 10_000, 25), (10**6, 10, 26), (700, 10**6, 1)],
)
def test_rows_of_a_block(rows, vocabulary, vectors):
    """Blocks of about the same size, as large as the caches and memory allow."""
    assert products._block_rows(rows, vocabulary, Shape(4, 16, 6, 4)) == 16 * vectors


@types
def test_blocks_do_not_change_what_a_row_gives(dtype, monkeypatch):
    x, weight, bias = (value.to(dtype) for value in operands(150, 9, 700))
    targets = torch.randint(0, 700, (150,))
    losses, whole = products.cross_entropy(x, weight, bias, targets, 0.3, NAMES)
    monkeypatch.setattr(products, "_LOGITS", 1)
    others, parts = products.cross_entropy(x, weight, bias, targets, 0.3, NAMES)
    assert others.equal(losses)
    assert parts["x"].equal(whole["x"])
    torch.testing.assert_close(parts, whole)


@types
@pytest.mark.parametrize("wanted", SUBSETS, ids=lambda names: "+".join(names) or "nothing")
@pytest.mark.parametrize("with_bias", [True, False])
def test_cross_entropy_gives_only_what_is_wanted(wanted, with_bias, dtype):
    x, weight, bias = (value.to(dtype) for value in operands(150, 21, 700))
    targets = torch.randint(0, 700, (150,))
    bias = bias if with_bias else torch.zeros_like(bias)
    losses, whole = products.cross_entropy(x, weight, bias, targets, 1.0, NAMES)
    got, some = products.cross_entropy(x, weight, bias if with_bias else None, targets, 1.0, wanted)
    assert got.equal(losses)
    assert_same_bits(some, {name: whole[name] for name in wanted})


@types
@pytest.mark.parametrize("far", [1e4, -1e4, 3e38])
def test_large_logits(far, dtype):
    """No e^logit overflows, and none is lost when all are small."""
    x, weight, bias = operands(5, 4, 600)
    bias += far
    bias[[17, 555]] += 5
    targets = torch.tensor([17, 555, 0, 599, 300])
    losses, got = products.cross_entropy(*(v.to(dtype) for v in (x, weight, bias)), targets, 1.0, NAMES)
    bias = bias.to(dtype).double()
    right = entropy_by_torch(x, weight, bias, targets, 1.0)
    assert losses.isfinite().all()
    if abs(far) == 1e4:
        torch.testing.assert_close(losses.double(), right["losses"], rtol=1e-3, atol=0)
    for name, value in got.items():
        assert value.isfinite().all(), name
        if abs(far) == 1e4:
            torch.testing.assert_close(value.double(), right[name], rtol=1e-2, atol=1e-3, msg=name)


@types
@pytest.mark.parametrize("forbidden", [slice(3, 4), slice(0, 240), slice(240, 480), slice(100, 1000)], ids=str)
def test_forbidden_words(forbidden, dtype):
    """A bias of -inf takes a word out, also a whole chunk of words."""
    x, weight, bias = operands(9, 12, 1000)
    bias[forbidden] = -math.inf
    allowed = (bias > -math.inf).nonzero()[:, 0]
    targets = allowed[torch.randint(0, len(allowed), (9,))]
    losses, got = products.cross_entropy(*(v.to(dtype) for v in (x, weight, bias)), targets, 1.0, NAMES)
    right = entropy_by_torch(x, weight, bias, targets, 1.0)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-13
    for name, value in {"losses": losses, **got}.items():
        torch.testing.assert_close(value.double(), right[name], rtol=tolerance, atol=tolerance, msg=name)
    assert not got["weight"][forbidden].any()
    forbidden_target, _ = products.cross_entropy(
        *(v.to(dtype) for v in (x, weight, bias)), torch.full((9,), forbidden.start), 1.0, ()
    )
    assert (forbidden_target == math.inf).all()


@types
@pytest.mark.parametrize("where", ["x", "weight", "bias"])
@pytest.mark.parametrize("word", [0, 239, 240, 699])
def test_what_is_not_a_number_is_seen(where, word, dtype):
    """A row that is not a number has no loss, and touches no other row's."""
    x, weight, bias = (value.to(dtype) for value in operands(150, 9, 700))
    targets = torch.randint(1, 400, (150,))
    clean, _ = products.cross_entropy(x, weight, bias, targets, 1.0, ())
    {"x": x[140], "weight": weight[word], "bias": bias[word : word + 1]}[where].fill_(torch.nan)
    losses, got = products.cross_entropy(x, weight, bias, targets, 1.0, NAMES)
    broken = torch.zeros(150, dtype=torch.bool)
    broken[140 if where == "x" else slice(None)] = True
    assert losses[broken].isnan().all()
    assert losses[~broken].equal(clean[~broken])
    assert got["x"][broken].isnan().all()
    assert got["x"][~broken].isfinite().all()
    assert got["bias"].isnan().all()
