"""Sums over paths, their gradients and the best path in compiled code: against torch's operations in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from backends.llvm.compared import assert_same_bits, numbers
from elman.backends import chain as reference
from elman.backends.chain import PADDING, Chain
from elman.backends.llvm import paths, runtime

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
given_paths = pytest.mark.parametrize("with_path", [True, False], ids=["path", "partition"])
NAMES = ("emissions", "transitions", "start", "end")

#: batch, time, tags: less than a vector, whole ones, several panels and tiles, sums in pieces, more rows than chunks
SIZES = [(1, 1, 1), (7, 1, 17), (1, 9, 5), (7, 4, 16), (33, 25, 45), (3, 5, 130), (2, 300, 3), (70, 3, 9), (2, 3, 300)]


def point(batch: int, time: int, tags: int, *, scale: float = 1.0) -> tuple[Chain, Tensor]:
    """Random scores and paths; the first row is full, the last of several is empty, what is past an end is no number.

    Every number is one of float32, so that both types begin with the same.
    """
    shapes = ((batch, time, tags), (tags, tags), (tags,), (tags,))
    scores = [numbers(*shape, low=-2 * scale, high=2 * scale) for shape in shapes]
    lengths, path = torch.randint(0, time + 1, (batch,)), torch.randint(0, tags, (batch, time))
    lengths[0], lengths[-1] = time, 0 if batch > 1 else time
    chain = Chain(*scores, lengths)
    chain.emissions[~chain.inside] = math.nan
    path[~chain.inside] = 2**40
    return chain, path


def of_type(chain: Chain, dtype: torch.dtype) -> Chain:
    return Chain(*(value.to(dtype) for value in chain[:4]), chain.lengths)


def expected(chain: Chain, path: Tensor | None, grad: Tensor) -> dict[str, Tensor]:
    """What torch says."""
    leaves = [value.clone().requires_grad_() for value in chain[:4]]
    losses = reference.loss(Chain(*leaves, chain.lengths), path)
    found = torch.autograd.grad(losses, leaves, grad, materialize_grads=True)
    return {"losses": losses.detach(), **dict(zip(NAMES, found, strict=True))}


def results(chain: Chain, path: Tensor | None, grad: Tensor) -> dict[str, Tensor]:
    """What compiled code says."""
    losses, kept = paths.forward(*chain, path)
    grad = grad.to(losses.dtype)
    found = paths.backward(chain.transitions, chain.end, chain.lengths, path, kept, grad, wanted=True)
    return {"losses": losses, **dict(zip(NAMES, found, strict=True))}


def assert_near(got: dict[str, Tensor], right: dict[str, Tensor], *, looser: float = 1.0) -> None:
    """Within some units in the last place of the largest number; gradients of a row are of probabilities."""
    assert got.keys() == right.keys()
    for name, value in got.items():
        assert value.shape == right[name].shape, name
        allowed = 16 * looser * torch.finfo(value.dtype).eps * max(1.0, float(right[name].abs().max()))
        difference = float((value.double() - right[name]).abs().max())
        assert difference <= allowed, f"{name}: {difference:.3g}, allowed {allowed:.3g}"


@types
@given_paths
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sums_and_gradients(sizes, with_path, dtype):
    chain, path = point(*sizes)
    path = path if with_path else None
    grad = numbers(sizes[0])
    given = of_type(chain, dtype)
    before = [value.clone() for value in given]
    assert_near(results(given, path, grad), expected(chain, path, grad), looser=2)
    assert all(value.equal(old) or value.isnan().any() for value, old in zip(given, before, strict=True))


@types
def test_gradients_of_the_emissions_alone(dtype):
    chain, path = point(33, 9, 21)
    given, grad = of_type(chain, dtype), numbers(33).to(dtype)
    _, kept = paths.forward(*given, path)
    options = (given.transitions, given.end, given.lengths, path, kept, grad)
    every, alone = (paths.backward(*options, wanted=wanted) for wanted in (True, False))
    assert (len(every), len(alone)) == (4, 1)
    assert alone[0].equal(every[0])
    assert paths.backward(*options, wanted=True)[1].equal(every[1])  # what is kept is not used up


# numbers of every size


@types
@given_paths
@pytest.mark.parametrize("scale", [20.0, 100.0, 1e4])
def test_large_scores(scale, with_path, dtype):
    """Where the best way leads through a tag that was hopeless, sums are made anew; where not, they are not."""
    chain, path = point(33, 12, 21, scale=scale)
    path, grad = path if with_path else None, numbers(33)
    given = of_type(chain, dtype)
    _, kept = paths.forward(*given, None)
    anew = (kept[1][:, 1:][chain.inside[:, 1:]] == 0).any()
    assert anew == (scale == 1e4 or dtype == torch.float32)
    got, right = results(given, path, grad), expected(chain, path, grad)
    assert all(value.isfinite().all() for value in got.values())
    assert_near(got, right, looser=scale)


@types
def test_a_tag_that_was_hopeless(dtype):
    """By more than any exponential can tell: the only way to the tag that the last step wants."""
    tags = 20
    transitions, free = torch.full((tags, tags), -math.inf, dtype=dtype), torch.zeros(tags, dtype=dtype)
    transitions[:, 0] = 0.0
    transitions[3, 5] = -1.0
    emissions = torch.zeros(1, 3, tags, dtype=dtype)
    emissions[0, 0, 3], emissions[0, 1, 5], emissions[0, 2] = -5000.0, 9000.0, 0.0
    chain = Chain(emissions, transitions, free, free, torch.tensor([2]))
    got = results(chain, None, torch.ones(1))
    torch.testing.assert_close(got["losses"], torch.tensor([3999.0], dtype=dtype))
    torch.testing.assert_close(got["transitions"][3, 5], torch.ones((), dtype=dtype))
    assert float(got["transitions"].sum()) == pytest.approx(1.0)
    torch.testing.assert_close(got["emissions"][0, :2, [3, 5]], torch.eye(2, dtype=dtype))
    assert paths.viterbi(*chain, PADDING)[0].tolist() == [[3, 5, PADDING]]


@types
@given_paths
@pytest.mark.parametrize("where", ["moves", "a column", "a row", "start", "end", "emissions"])
def test_forbidden(where, with_path, dtype):
    chain, _ = point(9, 7, 21)
    path = torch.zeros(9, 7, dtype=torch.int64)  # a path that stays allowed
    {
        "moves": chain.transitions[torch.rand(21, 21) < 0.5],
        "a column": chain.transitions[:, 4:18],
        "a row": chain.transitions[4:18],
        "start": chain.start[1:],
        "end": chain.end[1:],
        "emissions": chain.emissions[:, :, 1:],
    }[where][...] = -math.inf
    if where == "moves":
        chain.transitions[torch.rand(21, 21) < 0.5] = -math.inf
        chain.transitions[0, 0] = 0.3
    path, grad = path if with_path else None, numbers(9)
    got = results(of_type(chain, dtype), path, grad)
    assert not any(value.isnan().any() for value in got.values())
    assert_near(got, expected(chain, path, grad), looser=2)


@types
def test_no_path_is_allowed(dtype):
    """A row without any path: log Z is -inf, the loss is inf, there is no gradient; other rows are as they were."""
    chain, path = point(5, 4, 19)
    chain.lengths[:] = 4
    chain = Chain(torch.nan_to_num(chain.emissions), *chain[1:])
    path = path.clamp(max=18)
    given, grad = of_type(chain, dtype), torch.ones(5)
    clean = results(given, path, grad)
    given.emissions[2, 1] = -math.inf
    losses, _ = paths.forward(*given, None)
    assert losses[2] == -math.inf
    got = results(given, None, grad)
    assert not got["emissions"][2].any()
    assert not any(value.isnan().any() for value in got.values())
    broken = results(given, path, grad)
    assert broken["losses"][2] == math.inf
    others = torch.tensor([0, 1, 3, 4])
    assert_same_bits(
        {name: broken[name][others] for name in ("losses", "emissions")},
        {name: clean[name][others] for name in ("losses", "emissions")},
    )


@types
@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("where", [(3, 0, 2), (3, 2, 20)])
def test_what_is_not_a_number_is_seen(where, poison, dtype):
    chain, path = point(5, 4, 21)
    chain.lengths[:] = 4
    given = of_type(Chain(torch.nan_to_num(chain.emissions), *chain[1:]), dtype)
    path = path.clamp(max=20)
    given.emissions[where] = poison
    got = results(given, path, torch.ones(5))
    assert got["losses"].isfinite().tolist() == [True, True, True, False, True]
    assert got["emissions"][3].isnan().any()
    assert got["emissions"][[0, 1, 2, 4]].isfinite().all()
    _, scores = paths.viterbi(*given, PADDING)
    assert scores.isfinite().tolist() == [True, True, True, False, True]


# the best path


@types
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_best_path(sizes, dtype):
    """The same sums in the same order as torch's: the same bits."""
    chain, _ = point(*sizes)
    given = of_type(chain, dtype)
    path, scores = paths.viterbi(*given, PADDING)
    right, best = reference.viterbi(given)
    assert path.equal(right)
    assert scores.equal(best)


@types
def test_of_equal_paths_the_lower_tags(dtype):
    chain, _ = point(3, 5, 40)
    for value in chain[:4]:
        value.zero_()
    assert paths.viterbi(*of_type(chain, dtype), PADDING)[0][0].tolist() == [0] * 5
    chain.emissions[:, 2, [17, 33]] = 1.0
    assert paths.viterbi(*of_type(chain, dtype), PADDING)[0][0].tolist() == [0, 0, 17, 0, 0]
    chain.emissions[:] = -math.inf
    path, scores = paths.viterbi(*of_type(chain, dtype), PADDING)
    assert path[0].tolist() == [0] * 5
    assert scores[0] == -math.inf


# tensors as they lie, and sums in parts


@types
def test_however_tensors_lie(dtype):
    chain, path = point(5, 4, 21)
    given, grad = of_type(chain, dtype), numbers(5).to(dtype)
    wide = torch.full((4, 8, 25), math.nan, dtype=dtype)
    emissions = wide.transpose(0, 1)[1:6, :, 2:23].copy_(given.emissions)
    scattered = [torch.stack([value, -value], dim=-1)[..., 0] for value in given[1:4]]
    lengths, tags = torch.stack([given.lengths, -given.lengths], dim=1)[:, 0], path.T.contiguous().T
    laid = Chain(emissions, *scattered, lengths)
    upstream = torch.stack([grad, -grad], dim=1)[:, 0]
    assert_same_bits(results(laid, tags, upstream), results(given, path, grad))
    for got, right in zip(paths.viterbi(*laid, PADDING), paths.viterbi(*given, PADDING), strict=True):
        assert got.equal(right)
    turned = given.emissions.transpose(1, 2).contiguous().transpose(1, 2)
    assert_same_bits(results(given._replace(emissions=turned), path, grad), results(given, path, grad))
    one = torch.full((1,), 0.3, dtype=dtype)
    assert_same_bits(results(given, path, one.expand(5)), results(given, path, one.repeat(5)))


@types
@pytest.mark.parametrize("chunks", [1, 3, 100])
def test_chunks_of_rows(chunks, dtype, monkeypatch):
    chain, path = point(33, 5, 21)
    given, grad = of_type(chain, dtype), numbers(33)
    usual = results(given, path, grad)
    monkeypatch.setattr(paths, "_CHUNKS", chunks)
    got = results(given, path, grad)
    assert_near(got, {name: value.double() for name, value in usual.items()})
    assert got["emissions"].equal(usual["emissions"])
    monkeypatch.setattr(paths, "_EXPECTED", 1)
    assert_near(results(given, path, grad), {name: value.double() for name, value in usual.items()})


@types
@pytest.mark.parametrize("sizes", [(0, 3, 4), (2, 0, 4)], ids=str)
def test_nothing_to_do(sizes, dtype):
    batch, time, tags = sizes
    scores = (torch.zeros(shape, dtype=dtype) for shape in (sizes, (tags, tags), (tags,), (tags,)))
    chain = Chain(*scores, torch.zeros(batch, dtype=torch.int64))
    got = results(chain, None, torch.ones(batch))
    assert got["emissions"].shape == sizes
    assert not any(value.any() for value in got.values())
    best, scores = paths.viterbi(*chain, PADDING)
    assert best.shape == (batch, time)
    assert not scores.any()


def test_only_what_is_worth_it_is_shared(monkeypatch):
    torch.set_num_threads(2)
    monkeypatch.setattr(runtime, "team", lambda: 2)
    assert paths._threads((32, 25, 45)) == 2
    assert paths._threads((1, 25, 450)) == 1
    assert paths._threads((2, 5, 5)) == 1
