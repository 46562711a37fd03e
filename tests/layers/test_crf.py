"""A linear-chain CRF: against every path, on both backends, with every derivative; what it reads and refuses."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functional_call, grad, hessian, jvp, vmap

from elman.backends import chain as reference
from elman.backends.chain import Chain
from elman.backends.selection import backend
from elman.cells import RNNCell
from elman.errors import BackendError, OptionError, ShapeError
from elman.layers import LinearChainCRF
from elman.testing import places
from oracles import crf as oracle

# torch's own, when forward mode is first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

close = torch.testing.assert_close
PARAMETERS = ("transitions", "start", "end")
LLVM = places(RNNCell, backends=["llvm"], devices=["cpu"], dtypes=[torch.float64])
SMALL = [(1, 1, 1), (2, 1, 4), (3, 5, 2), (4, 4, 3), (1, 6, 1), (3, 3, 5)]


@pytest.fixture(params=["llvm", "reference"])
def each_backend(request):
    """Run a test with compiled code, where it can run, and with torch's operations."""
    (refusal,) = LLVM.values()
    if request.param == "llvm" and refusal:
        pytest.skip(refusal)
    with backend(request.param):
        yield request.param


def make(tags, dtype=torch.float64):
    """A CRF of random weights."""
    crf = LinearChainCRF(tags, dtype=dtype)
    for parameter in crf.parameters():
        nn.init.normal_(parameter)
    return crf


def data(batch, time, tags, dtype=torch.float64):
    """Emissions, a path, and lengths in no order, of which the last of several is 0."""
    lengths = torch.randint(0, time + 1, (batch,))
    lengths[batch // 2], lengths[-1] = time, 0 if batch > 1 else time
    return torch.randn(batch, time, tags, dtype=dtype), torch.randint(0, tags, (batch, time)), lengths


def results(crf, emissions, path, lengths, weights=None):
    """Losses, their gradients, and everything else, by name."""
    emissions = emissions.detach().clone().requires_grad_()
    losses = crf(emissions, path, lengths)
    partition = crf.log_partition(emissions, lengths)
    weights = torch.ones_like(losses) if weights is None else weights
    leaves = {"emissions": emissions, **dict(crf.named_parameters())}
    found = torch.autograd.grad(losses, list(leaves.values()), weights, materialize_grads=True)
    total = torch.autograd.grad(partition, list(leaves.values()), weights, materialize_grads=True)
    best, scores = crf.decode(emissions, lengths)
    return {
        "losses": losses.detach(),
        "partition": partition.detach(),
        "marginals": crf.marginals(emissions, lengths).detach(),
        "best": best,
        "scores": scores,
        **{f"loss by {name}": value for name, value in zip(leaves, found, strict=True)},
        **{f"partition by {name}": value for name, value in zip(leaves, total, strict=True)},
    }


def same(got, expected, **tolerance):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        close(got[name], value, msg=lambda message, name=name: f"{name}: {message}", **tolerance)


# every path


@pytest.mark.parametrize("forbidden", [False, True], ids=["", "moves forbidden"])
@pytest.mark.parametrize("sizes", SMALL, ids=str)
def test_equals_every_path(sizes, forbidden, each_backend):
    crf, (emissions, path, lengths) = make(sizes[2]), data(*sizes)
    if forbidden:
        with torch.no_grad():
            crf.transitions[torch.rand(sizes[2], sizes[2]) < 0.3] = -torch.inf
            crf.transitions[:, 1:2], crf.transitions[0, 0] = -torch.inf, 0.5  # a tag that only begins, one that stays
            crf.start[1:2], crf.end[2:3] = -torch.inf, -torch.inf
    p = {name: value.detach().numpy() for name, value in crf.named_parameters()}
    got = results(crf, emissions, path, lengths)
    for row, length in enumerate(lengths.tolist()):
        scores = emissions[row, :length].numpy()
        partition = oracle.log_partition(p, scores)
        assert float(got["partition"][row]) == pytest.approx(partition, rel=1e-12)
        loss = partition - oracle.score(p, scores, path[row, :length].tolist())
        assert float(got["losses"][row]) == pytest.approx(loss, rel=1e-12, abs=1e-13)
        close(got["marginals"][row, :length], torch.from_numpy(oracle.marginals(p, scores)), rtol=1e-11, atol=1e-13)
        assert not got["marginals"][row, length:].any()
        best, score = oracle.best(p, scores)
        assert got["best"][row].tolist() == best + [-100] * (sizes[1] - length)
        assert float(got["scores"][row]) == pytest.approx(score, rel=1e-12)
    close(got["partition by emissions"], got["marginals"])
    assert not any(value.isnan().any() for value in got.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("sizes", list(itertools.product((1, 7, 33), (1, 25), (1, 17, 45))), ids=str)
def test_both_backends_say_the_same(sizes, dtype):
    crf, point, weights = make(sizes[2], dtype), data(*sizes, dtype), torch.randn(sizes[0], dtype=dtype)
    with backend("llvm"):
        got = results(crf, *point, weights)
    with backend("reference"):
        expected = results(crf, *point, weights)
    tolerance = {"rtol": 1e-4, "atol": 5e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    same(got, expected, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_extreme_emissions(scale, dtype, each_backend):
    """As in float64 on torch's way: to the digits that float32 has of the scores."""
    crf, (emissions, path, lengths) = make(9, torch.float32), data(7, 12, 9, torch.float32)
    emissions *= scale
    with backend("reference"):
        expected = results(copy.deepcopy(crf).double(), emissions.double(), path, lengths)
    got = results(crf.to(dtype), emissions.to(dtype), path, lengths)
    assert all(value.isfinite().all() for value in got.values())
    assert got.pop("best").equal(expected.pop("best"))
    same({k: v.double() for k, v in got.items()}, expected, rtol=2e-6, atol=2e-6 * max(scale, 1.0))


# rows, and what lies past their ends


def test_padding_is_not_read(each_backend):
    """A batch is its rows one by one, whatever stands past their ends: losses, gradients and labels."""
    crf, (emissions, path, lengths), weights = make(6), data(9, 5, 6), torch.randn(9, dtype=torch.float64)
    parts = [
        results(crf, emissions[row : row + 1, :length], path[row : row + 1, :length], None, weights[row : row + 1])
        for row, length in enumerate(lengths.tolist())
    ]
    past = torch.arange(5) >= lengths[:, None]
    for poison in (torch.nan, torch.inf, 1e300):
        emissions[past], path[past] = poison, 10**12
        got = results(crf, emissions, path, lengths, weights)
        for row, (length, part) in enumerate(zip(lengths.tolist(), parts, strict=True)):
            for name in ("losses", "partition", "scores"):
                close(got[name][row], part[name][0], msg=f"{name} of row {row}")
            for name in ("marginals", "best", "loss by emissions", "partition by emissions"):
                close(got[name][row, :length], part[name][0], msg=f"{name} of row {row}")
                assert (got[name][row, length:] == (-100 if name == "best" else 0)).all(), name
        for name in (f"{what} by {parameter}" for what in ("loss", "partition") for parameter in PARAMETERS):
            close(got[name], sum(part[name] for part in parts), msg=name)


def test_an_empty_row_is_certain(each_backend):
    crf, (emissions, path, _) = make(3), data(4, 3, 3)
    got = results(crf, emissions, path, torch.zeros(4, dtype=torch.int64))
    assert (got.pop("best") == -100).all()
    assert not any(value.any() for value in got.values())
    empty = results(crf, emissions[:, :0], path[:, :0], None)
    assert empty["losses"].tolist() == [0.0] * 4
    assert empty["best"].shape == (4, 0)
    assert results(crf, emissions[:0], path[:0], None)["losses"].shape == (0,)


def test_lengths_of_any_kind(each_backend):
    crf, (emissions, path, lengths) = make(4), data(5, 6, 4)
    expected = results(crf, emissions, path, lengths)
    for other in (lengths.int(), lengths.to(torch.uint8), lengths.tolist(), lengths.numpy()):
        same(results(crf, emissions, path, other), expected, rtol=0, atol=0)
    full = torch.full((5,), 6)
    same(results(crf, emissions, path, None), results(crf, emissions, path, full), rtol=0, atol=0)


def test_backward_twice(each_backend):
    crf, (emissions, path, lengths) = make(4), data(5, 6, 4)
    loss = crf(emissions.requires_grad_(), path, lengths).mean()
    first = torch.autograd.grad(3 * loss, emissions, retain_graph=True)[0]
    close(torch.autograd.grad(loss, emissions)[0], first / 3)


def test_weights_changed_between_the_passes_are_noticed():
    crf, (emissions, path, lengths) = make(4), data(5, 6, 4)
    loss = crf(emissions, path, lengths).sum()
    with torch.no_grad():
        crf.transitions.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# every derivative that torch can take


def functions(tags=3):
    """A CRF, a point, and the differentiable functions of (emissions, transitions, start, end) by name."""
    crf, (emissions, path, lengths) = make(tags), data(4, 3, tags)

    def called(method, *arguments):
        def function(emissions, *parameters):
            weights = dict(zip(PARAMETERS, parameters, strict=True))
            return functional_call(
                _Calls(crf, method), {f"crf.{k}": v for k, v in weights.items()}, (emissions, *arguments)
            )

        return function

    operands = tuple(value.detach().clone().requires_grad_() for value in (emissions, *crf.parameters()))
    return operands, {
        "forward": called("forward", path, lengths),
        "log_partition": called("log_partition", lengths),
        "marginals": called("marginals", lengths),
    }


class _Calls(nn.Module):
    """A module whose call is a method of another's."""

    def __init__(self, crf, method):
        super().__init__()
        self.crf, self.method = crf, method

    def forward(self, *arguments):
        return getattr(self.crf, self.method)(*arguments)


@pytest.mark.parametrize("name", ["forward", "log_partition"])
def test_gradcheck(name, each_backend):
    operands, by_name = functions()
    assert gradcheck(by_name[name], operands)


@pytest.mark.parametrize("name", ["forward", "log_partition", "marginals"])
@pytest.mark.parametrize("how", ["auto", "reference"])
def test_further_derivatives(how, name):
    """Where compiled code alone must not run, torch's operations do."""
    operands, by_name = functions()
    with backend(how):
        assert gradcheck(by_name[name], operands, check_forward_ad=True, check_batched_grad=True)
        assert gradgradcheck(by_name[name], operands)
        assert gradgradcheck(by_name[name], operands, check_fwd_over_rev=True, fast_mode=True)


def test_forbidden_moves_have_second_derivatives():
    crf, (emissions, path, lengths) = make(4), data(5, 6, 4)
    path.zero_()
    with torch.no_grad():
        crf.transitions[:, 2] = -torch.inf
        crf.transitions[2] = -torch.inf
        crf.start[3] = -torch.inf
    loss = crf(emissions.requires_grad_(), path, lengths).sum()
    first = torch.autograd.grad(loss, (emissions, *crf.parameters()), create_graph=True)
    second = torch.autograd.grad(sum(value.square().sum() for value in first), (emissions, *crf.parameters()))
    assert all(value.isfinite().all() for value in (*first, *second))
    assert not second[1][2].any()


def test_compiled_code_alone_says_what_it_has_not():
    operands, by_name = functions()
    with backend("llvm"):
        with pytest.raises(BackendError, match="derivatives of gradients are wanted"):
            torch.autograd.grad(by_name["forward"](*operands).sum(), operands, create_graph=True)
        with pytest.raises(BackendError, match="derivatives of marginals are wanted"):
            by_name["marginals"](*operands).sum().backward()
        with pytest.raises(BackendError, match=r"torch\.func transforms"):
            grad(lambda e: by_name["forward"](e, *operands[1:]).sum())(operands[0])


def test_functional_transforms():
    operands, by_name = functions()
    point = tuple(value.detach() for value in operands)
    for name, function in by_name.items():
        with backend("reference"):
            value = function(*operands)
            first = torch.autograd.grad(value.square().sum(), operands, materialize_grads=True)
        close(grad(lambda *p, f=function: f(*p).square().sum(), (0, 1, 2, 3))(*point), first, msg=name)
        got, tangent = jvp(function, point, point)
        close(got, value.detach())
        small = 1e-6
        moved = function(*(p * (1 + small) for p in point)) - function(*(p * (1 - small) for p in point))
        close(tangent, moved / (2 * small), rtol=1e-6, atol=1e-7, msg=name)
        many = torch.randn(3, *point[0].shape, dtype=torch.float64)
        got = vmap(function, (0, None, None, None))(many, *point[1:])
        close(got, torch.stack([function(one, *point[1:]) for one in many]), msg=name)
    second = hessian(lambda e: by_name["log_partition"](e, *point[1:]).sum())(point[0])
    moved = hessian(lambda e: reference.log_partition(Chain(e, *point[1:], torch.full((4,), 3))).sum())(point[0])
    assert second.shape == moved.shape
    close(second[1, 0, 0].sum(), torch.zeros((), dtype=torch.float64))  # probabilities add up to one


def test_gradients_of_each_row():
    """As differential privacy takes them."""
    crf, (emissions, path, _) = make(4), data(5, 6, 4)
    weights = {name: value.detach() for name, value in crf.named_parameters()}

    def loss(weights, emissions, path):
        return functional_call(crf, weights, (emissions[None], path[None])).sum()

    got = vmap(grad(loss), (None, 0, 0))(weights, emissions, path)
    for row in range(5):
        expected = torch.autograd.grad(crf(emissions[row : row + 1], path[row : row + 1]).sum(), list(crf.parameters()))
        for name, value in zip(PARAMETERS, expected, strict=True):
            close(got[name][row], value, msg=name)


def test_forward_mode_inside_a_recorded_pass():
    operands, by_name = functions()
    losses = by_name["forward"](*operands)
    with forward_ad.dual_level():
        one = torch.ones_like(losses)
        dual = forward_ad.make_dual(one, 3 * one)
        (first, *_) = torch.autograd.grad(losses, operands, dual, create_graph=True)
        value, tangent = forward_ad.unpack_dual(first)
    close(tangent, 3 * value)
    assert value.any()


def test_decode_and_labels_want_no_gradient(each_backend):
    crf, (emissions, _, lengths) = make(4), data(5, 6, 4)
    tags, score = crf.decode(emissions.requires_grad_(), lengths)
    assert tags.dtype == torch.int64
    assert not score.requires_grad
    with torch.inference_mode():
        assert crf.decode(emissions, lengths)[0].equal(tags)
        close(crf.marginals(emissions, lengths).sum(2), (torch.arange(6) < lengths[:, None]).double())


# torch.compile and torch.export


def compiled(function, **options):
    torch.compiler.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True, **options)


def everything(crf, emissions, path, lengths):
    emissions = emissions.detach().requires_grad_()
    losses = compiled(crf)(emissions, path, lengths)
    found = torch.autograd.grad(losses.square().sum(), (emissions, *crf.parameters()))
    with torch.no_grad():
        partition = compiled(crf.log_partition)(emissions, lengths)
        return (
            losses.detach(),
            found,
            partition,
            compiled(crf.marginals)(emissions, lengths),
            compiled(crf.decode)(emissions, lengths),
        )


def test_compile(each_backend):
    crf, (emissions, path, lengths) = make(6), data(9, 5, 6)
    emissions[torch.arange(5) >= lengths[:, None]] = torch.nan
    losses, found, partition, marginals, best = everything(crf, emissions, path, lengths)
    leaf = emissions.clone().requires_grad_()
    expected = crf(leaf, path, lengths)
    close(losses, expected.detach())
    close(found, torch.autograd.grad(expected.square().sum(), (leaf, *crf.parameters())))
    close(partition, crf.log_partition(emissions, lengths).detach())
    close(marginals, crf.marginals(leaf, lengths).detach())
    with backend("auto"):
        found = [
            torch.autograd.grad(function(leaf, lengths).square().sum(), (leaf, *crf.parameters()))
            for function in (compiled(crf.marginals), crf.marginals)
        ]
    close(*found)
    close(best, crf.decode(emissions, lengths))


def test_compile_holds_an_operator():
    """One node, whatever the shapes, not a loop over time."""
    graphs = []

    def keep(module, _):
        graphs.append([str(node.target) for node in module.graph.nodes if node.op == "call_function"])
        return module

    torch.compiler.reset()
    crf = make(5)
    function = torch.compile(crf, backend=keep, fullgraph=True, dynamic=True)
    for batch, time in ((3, 4), (5, 7), (9, 2)):
        emissions, path, lengths = data(batch, time, 5)
        close(function(emissions, path, lengths), crf(emissions, path, lengths))
    assert len(graphs) == 1
    assert [target for target in graphs[0] if "elman" in target] == ["elman.crf.default"]
    assert not [target for target in graphs[0] if "exp" in target or "log" in target]


def test_compile_checks_values():
    crf, (emissions, path, _) = make(6), data(3, 4, 6)
    with pytest.raises(ShapeError, match="lengths must be 0 to time=4, got 0 to 5"):
        compiled(crf)(emissions, path, torch.tensor([0, 5, 1]))
    with pytest.raises(ShapeError, match="tags must be 0 to 5, got 6"):
        compiled(crf)(emissions, path.clamp(min=1, max=1) * 6, None)


def test_compiled_code_gives_no_silent_zeros():
    crf, (emissions, path, lengths) = make(4), data(5, 6, 4)
    losses = compiled(crf)(emissions.requires_grad_(), path, lengths)
    (first,) = torch.autograd.grad(losses.sum(), emissions, create_graph=True)
    with pytest.raises(RuntimeError, match=r"Second derivatives|double backward"):
        first.square().sum().backward()
    chain = (emissions.detach(), *(p.detach() for p in crf.parameters()), lengths)
    for operator in (torch.ops.elman.crf_marginals, lambda *given: torch.ops.elman.crf(*given, path)[0]):
        with pytest.raises(BackendError, match="Forward-mode derivatives"):
            jvp(lambda e, operator=operator: operator(e, *chain[1:]), chain[:1], chain[:1])


def test_transforms_inside_of_compiled_code():
    crf, (emissions, path, lengths) = make(4), data(5, 3, 4)

    def derivative(emissions):
        return grad(lambda e: crf(e, path, lengths).sum())(emissions)

    close(compiled(derivative)(emissions), derivative(emissions))


@pytest.mark.parametrize("how", ["llvm", "reference"])
def test_operators_are_as_torch_wants_them(how):
    operands, _ = functions()
    _, path, lengths = data(4, 3, 3)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    with backend(how):
        for tags in (path, None):
            torch.library.opcheck(torch.ops.elman.crf, (*operands, lengths, tags), test_utils=tests)
            plain = tuple(value.detach() for value in operands)
            losses, kept, flag = torch.ops.elman.crf(*plain, lengths, tags)
            assert bool(flag) == (how == "llvm")
            if how == "llvm":  # the reference takes its gradients by torch.func, into which this check cannot look
                given = (*plain, lengths, tags, kept, flag, losses)
                torch.library.opcheck(torch.ops.elman.crf_backward, given, test_utils=tests)
        for operator in (torch.ops.elman.crf_marginals, torch.ops.elman.crf_viterbi):
            torch.library.opcheck(operator, (*plain, lengths), test_utils=tests)


def test_export():
    crf, (emissions, path, lengths) = make(4), data(5, 3, 4)
    program = torch.export.export(crf, (emissions, path, lengths))
    close(program.module()(emissions, path, lengths), crf(emissions, path, lengths))
    assert "elman" not in str(program.graph)


# types


def test_under_autocast_emissions_are_converted(each_backend):
    crf, (emissions, path, lengths) = make(6, torch.float32), data(5, 4, 6, torch.float32)
    half = emissions.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        losses = crf(half, path, lengths)
        best, _ = crf.decode(half, lengths)
    losses.sum().backward()
    close(losses, crf(half.float(), path, lengths))
    assert best.equal(crf.decode(half.float(), lengths)[0])
    assert half.grad.dtype == torch.bfloat16


def test_half_precision_is_torchs():
    crf, (emissions, path, lengths) = make(6).bfloat16(), data(5, 4, 6, torch.bfloat16)
    expected = copy.deepcopy(crf).double()(emissions.double(), path, lengths)
    close(crf(emissions, path, lengths).double(), expected, rtol=0.05, atol=0.05)
    with backend("llvm"), pytest.raises(BackendError, match="the compiled code is for float32 and float64"):
        crf(emissions, path, lengths)


def test_a_tensor_of_a_class_of_its_own_is_torchs():
    class Marked(torch.Tensor):
        pass

    crf, (emissions, path, lengths) = make(4), data(5, 3, 4)
    got = crf(emissions.as_subclass(Marked), path, lengths)
    assert type(got) is Marked
    close(got.as_subclass(torch.Tensor), crf(emissions, path, lengths))


# errors

E, TAGS = torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"emissions": E[0]}, r"emissions must be \(batch, time, tags=4\), got \(3, 4\)"),
        ({"emissions": E[:, :, 1:]}, r"emissions must be \(batch, time, tags=4\), got \(2, 3, 3\)"),
        ({"emissions": E.double()}, r"emissions must be of the parameters' type torch.float32, got torch.float64"),
        ({"tags": TAGS[0]}, r"tags must be torch.int64 \(2, 3\), got torch.int64 \(3,\)\.$"),
        ({"tags": TAGS.int()}, r"tags must be torch.int64 \(2, 3\), got torch.int32 \(2, 3\)\. Call tags.long\(\)\."),
        ({"tags": TAGS + 4}, r"tags must be 0 to 3, got 4\. Do tags count from 1\?"),
        ({"tags": TAGS - 100}, r"tags must be 0 to 3, got -100\. Pass lengths, so that padding is not read\."),
        ({"lengths": torch.tensor([1])}, r"lengths must be integers \(batch=2,\), got torch.int64 \(1,\)"),
        ({"lengths": torch.tensor([1.0, 2.0])}, r"lengths must be integers \(batch=2,\), got torch.float32 \(2,\)"),
        ({"lengths": torch.tensor([True, False])}, r"lengths must be integers \(batch=2,\), got torch.bool"),
        ({"lengths": torch.tensor([1, 4])}, r"lengths must be 0 to time=3, got 1 to 4"),
        ({"lengths": torch.tensor([-1, 3])}, r"lengths must be 0 to time=3, got -1 to 3"),
    ],
)
def test_wrong_shapes(changed, message):
    given = {"emissions": E, "tags": TAGS, "lengths": None, **changed}
    crf = LinearChainCRF(4)
    with pytest.raises(ShapeError, match=f"LinearChainCRF: {message}"):
        crf(**given)
    if "tags" not in changed:
        for method in (crf.log_partition, crf.marginals, crf.decode):
            with pytest.raises(ShapeError, match=f"LinearChainCRF: {message}"):
                method(given["emissions"], given["lengths"])


@pytest.mark.parametrize("tags", [0, -1, 2.0, True, "4"])
def test_wrong_options(tags):
    with pytest.raises(OptionError, match="LinearChainCRF: tags must be a positive int"):
        LinearChainCRF(tags)


# the module


def test_the_module():
    crf = LinearChainCRF(5, dtype=torch.float64)
    shapes = {name: tuple(value.shape) for name, value in crf.state_dict().items()}
    assert shapes == {"transitions": (5, 5), "start": (5,), "end": (5,)}
    assert not any(value.any() for value in crf.parameters())
    assert crf.transitions.dtype == torch.float64
    assert repr(crf) == "LinearChainCRF(5)"
    assert LinearChainCRF(5, device="meta").transitions.device.type == "meta"
    other = make(5)
    crf.load_state_dict(other.state_dict())
    point = data(3, 4, 5)
    close(crf(*point), other(*point))
    other.reset_parameters()
    assert not any(value.any() for value in other.parameters())


def test_transitions_go_from_row_to_column(each_backend):
    crf = LinearChainCRF(3)
    with torch.no_grad():
        crf.transitions[0, 2] = 5.0
        crf.start[0] = 1.0
        crf.end[2] = 1.0
    tags, score = crf.decode(torch.zeros(1, 2, 3))
    assert tags.tolist() == [[0, 2]]
    assert float(score) == 7.0


def test_it_learns():
    """Tags that follow each other in turn, which emissions alone cannot tell."""
    crf, path = LinearChainCRF(3), torch.arange(12).remainder(3).expand(4, 12)
    emissions = torch.zeros(4, 12, 3)
    emissions[:, 0, 0] = 3.0
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.3)
    for _ in range(40):
        optimizer.zero_grad()
        crf(emissions, path).mean().backward()
        optimizer.step()
    assert crf.decode(emissions)[0].equal(path)
