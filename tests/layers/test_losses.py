"""Linear and cross-entropy as one: loss and every gradient against torch's two operations in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functional_call, grad, hessian, jvp, vmap

from elman.backends import cross_entropy
from elman.backends.selection import backend
from elman.cells import RNNCell
from elman.errors import BackendError, OptionError, ShapeError
from elman.layers import LinearCrossEntropy, linear_cross_entropy
from elman.testing import places

# torch's own, when forward mode is first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

close = torch.testing.assert_close
NAMES = ("x", "weight", "bias")
SIZES = [(1, 1, 1), (1, 3, 2), (2, 5, 7), (7, 4, 33), (17, 6, 10), (33, 15, 101), (130, 3, 5)]
SIZES += [(31, 17, 480), (65, 33, 481), (3, 130, 997)]  # about the chunks of compiled code
LLVM = places(RNNCell, backends=["llvm"], devices=["cpu"], dtypes=[torch.float64])


@pytest.fixture(params=["llvm", "reference"])
def each_backend(request):
    """Run a test with compiled code, where it can run, and with torch's operations."""
    (refusal,) = LLVM.values()
    if request.param == "llvm" and refusal:
        pytest.skip(refusal)
    with backend(request.param):
        yield


@pytest.fixture
def small_blocks(monkeypatch):
    """So that a few rows are many blocks."""
    monkeypatch.setattr(cross_entropy, "_LOGITS", 40)
    monkeypatch.setattr(cross_entropy, "_ROWS", 7)


def point(rows, features, vocabulary, *, bias=True, dtype=torch.float64):
    """Random x, weight, bias (None without) and targets."""
    x, weight = torch.randn(rows, features, dtype=dtype), torch.randn(vocabulary, features, dtype=dtype)
    offset = torch.randn(vocabulary, dtype=dtype) if bias else None
    return x, weight, offset, torch.randint(0, vocabulary, (rows,))


def by_torch(x, weight, bias, targets, **options):
    logits = F.linear(x, weight, bias)
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), **options)


def results(function, x, weight, bias, targets, *, factor=1.0, needed=NAMES, **options):
    """The loss and its gradients by name."""
    given = dict(zip(NAMES, (x, weight, bias), strict=True))
    leaves = {n: v if v is None else v.detach().clone().requires_grad_(n in needed) for n, v in given.items()}
    loss = function(*leaves.values(), targets, **options)
    (factor * loss).backward()
    return {"loss": loss.detach(), **{n: v.grad for n, v in leaves.items() if v is not None}}


def same(got, expected, **tolerance):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if value is None:
            assert got[name] is None, name
        else:
            close(got[name], value, msg=lambda message, name=name: f"{name}: {message}", **tolerance)


def compare(x, weight, bias, targets, **options):
    same(
        results(linear_cross_entropy, x, weight, bias, targets, **options),
        results(by_torch, x, weight, bias, targets, **options),
        rtol=1e-12,
        atol=1e-13,
    )


@pytest.mark.usefixtures("small_blocks", "each_backend")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_equals_torch(sizes, bias, reduction):
    *operands, targets = point(*sizes, bias=bias)
    for ignored in (0, (sizes[0] + 1) // 2, sizes[0]):
        targets[torch.randperm(len(targets))[:ignored]] = -100
        if not (ignored == sizes[0] and reduction == "mean"):
            compare(*operands, targets, reduction=reduction)
            compare(*operands, targets, reduction=reduction, factor=-1.7)


def test_equals_torch_in_blocks_of_the_usual_size(each_backend):
    x, weight, bias, targets = point(650, 8, 5000)
    targets[200:260] = -100
    compare(x, weight, bias, targets)


@pytest.mark.parametrize("limit", [1, 5, 12, 100, 10**6])
def test_the_size_of_blocks_changes_nothing(monkeypatch, limit):
    monkeypatch.setattr(cross_entropy, "_LOGITS", limit)
    *operands, targets = point(13, 4, 5)
    targets[3] = -100
    with backend("reference"):
        compare(*operands, targets)


def test_no_features(each_backend):
    """Only the bias is left."""
    compare(*point(5, 0, 4))


@pytest.mark.usefixtures("small_blocks", "each_backend")
def test_any_leading_dimensions_strides_and_ignored_index():
    x = torch.randn(6, 5, 3, 4, dtype=torch.float64).permute(2, 0, 1, 3)
    weight, bias = torch.randn(4, 9, dtype=torch.float64).T, torch.randn(1, dtype=torch.float64).expand(9)
    targets = torch.randint(0, 9, (5, 6, 3)).permute(2, 1, 0)
    assert not x.is_contiguous()
    compare(x, weight, bias, targets, ignore_index=4)
    compare(x.expand(3, 6, 5, 4), weight, bias, targets, ignore_index=-1)
    close(
        linear_cross_entropy(x[0, 0, 0], weight, bias, targets[0, 0, 0]),
        by_torch(x[0, 0, :1], weight, bias, targets[0, 0, :1]),
    )


@pytest.mark.usefixtures("small_blocks", "each_backend")
@pytest.mark.parametrize(
    "needed", [names for count in range(1, 4) for names in itertools.combinations(NAMES, count)], ids="+".join
)
def test_gradients_of_some(needed):
    *operands, targets = point(17, 4, 6)
    targets[::2] = -100
    compare(*operands, targets, needed=needed)
    expected = results(by_torch, *operands, targets, needed=needed)
    assert [name for name in NAMES if expected[name] is not None] == list(needed)


def test_nothing_of_an_ignored_row_is_read(each_backend):
    x, weight, bias, targets = point(8, 3, 5)
    targets[2:5] = -100
    expected = results(linear_cross_entropy, x, weight, bias, targets)
    for poison in (torch.nan, torch.inf):
        x[2:5] = poison
        same(results(linear_cross_entropy, x, weight, bias, targets), expected, rtol=0, atol=0)
        x32 = tuple(value.bfloat16() for value in (x, weight, bias))
        assert all(value.isfinite().all() for value in results(linear_cross_entropy, *x32, targets).values())


@pytest.mark.usefixtures("each_backend")
@pytest.mark.parametrize("rows", [0, 3])
def test_no_row_counts(rows):
    """As in torch: 0 / 0 for the mean, 0 for the sum, and no gradient."""
    x, weight, bias, _ = point(rows, 3, 5)
    targets = torch.full((rows,), -100)
    for reduction in ("mean", "sum"):
        got = results(linear_cross_entropy, x, weight, bias, targets, reduction=reduction)
        same(got, results(by_torch, x, weight, bias, targets, reduction=reduction), equal_nan=True)
        assert bool(got["loss"].isnan()) == (reduction == "mean")
        assert not got["weight"].any()


def test_large_logits_do_not_overflow(each_backend):
    x, weight, bias, targets = point(9, 4, 6)
    compare(x * 1e4, weight, bias, targets)
    got = results(linear_cross_entropy, x.float() * 1e4, weight.float(), bias.float(), targets)
    assert all(value.isfinite().all() for value in got.values())


def test_float32_is_as_near_to_float64_as_torch_is(each_backend):
    operands = point(300, 40, 1000)
    exact = results(by_torch, *operands)
    x, weight, bias = (value.float() for value in operands[:3])
    ours = results(linear_cross_entropy, x, weight, bias, operands[3])
    theirs = results(by_torch, x, weight, bias, operands[3])
    for name, value in exact.items():
        errors = [float((r[name] - value).abs().max() / value.abs().max()) for r in (ours, theirs)]
        assert ours[name].dtype == torch.float32
        assert errors[0] <= max(2e-6, 2 * errors[1]), name


def test_rows_of_one_block_of_logits_are_all_the_memory(each_backend):
    """Beside the gradients: under a third of what torch takes."""

    def peak(function):
        x, weight, _, targets = point(700, 200, 10_000, bias=False, dtype=torch.float32)
        leaves = x.requires_grad_(), weight.requires_grad_()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            function(*leaves, None, targets).backward()
        events = profile.profiler.kineto_results.events()  # allocations in their order, also those outside of operators
        return max(itertools.accumulate(event.nbytes() for event in events if event.name() == "[memory]"))

    gradients = 4 * (700 * 200 + 10_000 * 200)
    ours, theirs = peak(linear_cross_entropy), peak(by_torch)
    assert gradients < ours < theirs / 3


def test_backward_twice(each_backend):
    """The gradients that the forward pass made are scaled in place; another pass must not see that."""
    x, weight, bias, targets = (
        value if not value.is_floating_point() else value.requires_grad_() for value in point(9, 4, 6)
    )
    for function in (linear_cross_entropy, by_torch):
        loss = function(x, weight, bias, targets)
        first = torch.autograd.grad(3 * loss, (x, weight, bias), retain_graph=True)
        kept = [value.clone() for value in first]
        second = torch.autograd.grad(-2 * loss, (x, weight, bias), retain_graph=True)
        one = torch.autograd.grad(loss, (x, weight, bias))
        close(list(first), kept, rtol=0, atol=0)
        close([-2 / 3 * value for value in first], list(second))
        close([value / 3 for value in first], list(one))


def test_weights_changed_between_the_passes_are_noticed():
    x, weight, bias, targets = point(9, 4, 6)
    loss = linear_cross_entropy(x, weight.requires_grad_(), bias, targets)
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# every derivative that torch can take


def as_function(targets, **options):
    return lambda *operands: linear_cross_entropy(*operands, targets, **options)


def small_point(**options):
    *operands, targets = point(5, 2, 4, **options)
    targets[1] = -100
    return tuple(value.requires_grad_() for value in operands), targets


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradcheck(small_blocks, each_backend, reduction):
    operands, targets = small_point()
    function = as_function(targets, reduction=reduction)
    assert gradcheck(function, operands)
    assert gradcheck(function, operands, check_forward_ad=True, check_batched_grad=True, fast_mode=True)
    assert gradgradcheck(function, operands)
    assert gradgradcheck(function, operands, check_batched_grad=True, check_fwd_over_rev=True, fast_mode=True)


def test_second_derivatives_where_x_depends_on_the_weights():
    """As in a language model that shares its embedding with its readout."""
    _, weight, bias, targets = point(5, 3, 6)
    words = torch.tensor([0, 2, 2, 5, 1])

    def norm(function, weight):
        loss = function(torch.tanh(weight[words]), weight, bias, targets)
        (first,) = torch.autograd.grad(loss, weight, create_graph=True)
        return torch.autograd.grad(first.square().sum() + loss, weight)[0]

    weight.requires_grad_()
    close(norm(linear_cross_entropy, weight), norm(by_torch, weight))


def test_functional_transforms():
    operands, targets = small_point()
    x, weight, bias = (value.detach() for value in operands)

    def ours(x, weight, bias):
        return linear_cross_entropy(x, weight, bias, targets)

    def theirs(x, weight, bias):
        return by_torch(x, weight, bias, targets)

    everything = (0, 1, 2)
    close(grad(ours, everything)(x, weight, bias), grad(theirs, everything)(x, weight, bias))
    tangents = tuple(torch.randn_like(value) for value in (x, weight, bias))
    close(jvp(ours, (x, weight, bias), tangents), jvp(theirs, (x, weight, bias), tangents))
    close(hessian(ours, (0, 1))(x, weight, bias), hessian(theirs, (0, 1))(x, weight, bias))
    many = torch.randn(3, *x.shape, dtype=x.dtype)
    in_dims = (0, None, None)
    close(vmap(ours, in_dims)(many, weight, bias), torch.stack([theirs(one, weight, bias) for one in many]))
    got = vmap(grad(ours, everything), in_dims)(many, weight, bias)
    close(got, vmap(grad(theirs, everything), in_dims)(many, weight, bias))
    per_row = vmap(grad(linear_cross_entropy, 1), (0, None, None, 0))(
        x[:, None], weight, bias, targets[:, None].abs() % 4
    )
    close(per_row.mean(0), grad(by_torch, 1)(x, weight, bias, targets.abs() % 4))


def test_forward_mode_inside_a_recorded_pass():
    """A dual gradient comes in: what the forward pass made must not hide its tangent."""
    operands, targets = small_point()
    loss = linear_cross_entropy(*operands, targets)
    with forward_ad.dual_level():
        one = torch.ones((), dtype=torch.float64)
        dual = forward_ad.make_dual(one, 3 * one)
        (first, *_) = torch.autograd.grad(loss, operands, dual, create_graph=True)
        value, tangent = forward_ad.unpack_dual(first)
    close(tangent, 3 * value)
    assert value.any()


# torch.compile and torch.export


def compiled(function, **options):
    torch.compiler.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True, **options)


@pytest.mark.parametrize("needed", [NAMES, ("x",), ("weight",)], ids="+".join)
def test_compile(needed):
    *operands, targets = point(9, 4, 6)
    targets[2] = -100
    expected = results(by_torch, *operands, targets, factor=1.7, needed=needed)
    same(results(compiled(linear_cross_entropy), *operands, targets, factor=1.7, needed=needed), expected)
    without = *operands[:2], None, targets
    same(
        results(compiled(linear_cross_entropy), *without, reduction="sum"), results(by_torch, *without, reduction="sum")
    )


def test_compile_holds_the_blocks():
    """One node, whatever the shapes, not torch's logits."""
    graphs = []

    def keep(module, _):
        graphs.append([str(node.target) for node in module.graph.nodes if node.op == "call_function"])
        return module

    torch.compiler.reset()
    function = torch.compile(linear_cross_entropy, backend=keep, fullgraph=True, dynamic=True)
    for rows in (5, 9, 11):
        operands = point(rows, 4, 6)
        close(function(*operands), by_torch(*operands))
    assert len(graphs) == 1
    assert [target for target in graphs[0] if "elman" in target] == ["elman.linear_cross_entropy.default"]
    assert not [target for target in graphs[0] if "linear " in target or "cross_entropy_loss" in target]


def test_compile_checks_targets():
    x, weight, bias, _ = point(3, 4, 6)
    with pytest.raises(ShapeError, match="got 6"):
        compiled(linear_cross_entropy)(x, weight, bias, torch.tensor([0, 6, 1]))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_code_gives_no_silent_zeros(backend):
    operands, targets = small_point()
    torch.compiler.reset()
    function = torch.compile(linear_cross_entropy, backend=backend)
    (first,) = torch.autograd.grad(function(*operands, targets), operands[0], create_graph=True)
    with pytest.raises(RuntimeError, match=r"Second derivatives|double backward"):
        first.square().sum().backward()
    x, weight, bias = (value.detach() for value in operands)
    got = jvp(lambda x: function(x, weight, bias, targets), (x,), (x,))  # torch leaves its compiled code
    close(got, jvp(lambda x: by_torch(x, weight, bias, targets), (x,), (x,)))


def test_the_operator_gives_no_silent_zeros():
    """As it stands in a graph that was compiled, called from outside."""
    operands, targets = small_point()
    x, weight, bias = (value.detach() for value in operands)
    with pytest.raises(BackendError, match="Forward-mode derivatives"):
        jvp(
            lambda x: torch.ops.elman.linear_cross_entropy(x, weight, bias, targets, -100, True, [True] * 3)[0],
            (x,),
            (x,),
        )


def test_transforms_inside_of_compiled_code():
    operands, targets = small_point()
    x, weight, bias = (value.detach() for value in operands)

    def derivatives(function, x):
        tangent = jvp(lambda w: function(x, w, bias, targets), (weight,), (torch.ones_like(weight),))[1]
        return tangent, grad(lambda w: function(x, w, bias, targets))(weight)

    got = compiled(lambda x: derivatives(linear_cross_entropy, x))(x)
    close(got, derivatives(by_torch, x))


def test_operator_is_as_torch_wants_it():
    """Its gradients, which this check would differentiate too, are those of the tests above."""
    operands, targets = small_point()
    for bias, wanted in ((operands[2], [True, True, True]), (None, [False, True, False])):
        given = *operands[:2], bias, targets, -100, True, wanted
        operator = torch.ops.elman.linear_cross_entropy
        torch.library.opcheck(
            operator, given, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
        )
        plain = tuple(value.detach() if isinstance(value, torch.Tensor) else value for value in given)
        torch.library.opcheck(operator, plain)


def test_export():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.readout = LinearCrossEntropy(4, 6, dtype=torch.float64)

        def forward(self, x, targets):
            return self.readout(x, targets)

    x, *_, targets = point(5, 4, 6)
    loss = Loss()
    program = torch.export.export(loss, (x, targets))
    close(program.module()(x, targets), loss(x, targets))
    assert "elman" not in str(program.graph)


# types


def test_autocast_is_torchs():
    operands = tuple(value.float() if value.is_floating_point() else value for value in point(9, 4, 6))
    with torch.autocast("cpu", torch.bfloat16):
        got, expected = results(linear_cross_entropy, *operands), results(by_torch, *operands)
    same(got, expected, rtol=0, atol=0)
    x = operands[0].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        (first,) = torch.autograd.grad(linear_cross_entropy(x, *operands[1:]), x)
    close(first, expected["x"], rtol=0, atol=0)


def test_half_precision_is_torchs():
    operands = tuple(value.bfloat16() if value.is_floating_point() else value for value in point(9, 4, 6))
    same(results(linear_cross_entropy, *operands), results(by_torch, *operands), rtol=0, atol=0)


# errors

X, WEIGHT, BIAS, TARGETS = torch.zeros(2, 3, 4), torch.zeros(5, 4), torch.zeros(5), torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(2, 3, 5)}, r"x must be \(..., features=4\), got \(2, 3, 5\). Are these logits already\?"),
        ({"x": torch.zeros(())}, r"x must be \(..., features=4\), got \(\)"),
        ({"weight": torch.zeros(4)}, r"weight must be \(vocabulary, features\), got \(4,\)"),
        ({"bias": torch.zeros(4)}, r"bias must be \(vocabulary=5,\), got \(4,\)"),
        ({"bias": torch.zeros(5).double()}, r"bias must be of the weights' type torch.float32, got torch.float64"),
        ({"x": X.double()}, r"x must be of the weights' type torch.float32, got torch.float64"),
        ({"targets": TARGETS[0]}, r"targets must be torch.int64 \(2, 3\), got torch.int64 \(3,\)"),
        ({"targets": TARGETS.int()}, r"targets must be torch.int64 \(2, 3\), got torch.int32 .* Call targets.long"),
        ({"targets": TARGETS + 5}, r"0 to 4 \(vocabulary=5\), or ignore_index=-100, got 5. Do targets count from 1\?"),
        ({"targets": TARGETS - 1}, r"targets must be 0 to 4 \(vocabulary=5\), or ignore_index=-100, got -1\.$"),
    ],
)
def test_wrong_shapes(changed, message):
    given = {"x": X, "weight": WEIGHT, "bias": BIAS, "targets": TARGETS, **changed}
    with pytest.raises(ShapeError, match=message):
        linear_cross_entropy(**given)


def test_wrong_targets_are_found_on_torchs_way_too():
    with pytest.raises(ShapeError, match="got 7"):
        linear_cross_entropy(X.bfloat16(), WEIGHT.bfloat16(), None, TARGETS + 7)


def test_wrong_options():
    with pytest.raises(OptionError, match=r"linear_cross_entropy: reduction must be 'mean' or 'sum', got 'none'"):
        linear_cross_entropy(X, WEIGHT, BIAS, TARGETS, reduction="none")
    with pytest.raises(OptionError, match=r"LinearCrossEntropy: reduction must be"):
        LinearCrossEntropy(4, 5, reduction="none")
    for sizes, name in (((0, 5), "features"), ((4, 2.0), "vocabulary"), ((True, 5), "features")):
        with pytest.raises(OptionError, match=f"LinearCrossEntropy: {name} must be a positive int"):
            LinearCrossEntropy(*sizes)


# the module


@pytest.mark.parametrize("bias", [True, False])
def test_module_is_a_linear_layer_and_its_loss(bias):
    linear = nn.Linear(4, 6, bias=bias, dtype=torch.float64)
    readout = LinearCrossEntropy(4, 6, bias, ignore_index=2, reduction="sum", dtype=torch.float64)
    readout.load_state_dict(linear.state_dict())
    x, targets = torch.randn(3, 5, 4, dtype=torch.float64), torch.randint(0, 6, (3, 5))
    close(readout.logits(x), linear(x))
    loss = readout(x, targets)
    expected = F.cross_entropy(linear(x).flatten(0, 1), targets.flatten(), ignore_index=2, reduction="sum")
    close(loss, expected)
    close(functional_call(readout, dict(linear.named_parameters()), (x, targets)), expected)
    for ours, theirs in zip(
        torch.autograd.grad(loss, list(readout.parameters())),
        torch.autograd.grad(expected, list(linear.parameters())),
        strict=True,
    ):
        close(ours, theirs)
    assert repr(readout) == f"LinearCrossEntropy(4, 6, bias={bias})"


def test_module_shares_weights_with_an_embedding():
    embedding, readout = nn.Embedding(6, 4, dtype=torch.float64), LinearCrossEntropy(4, 6, dtype=torch.float64)
    readout.weight = embedding.weight
    words, targets = torch.randint(0, 6, (7,)), torch.randint(0, 6, (7,))
    (got,) = torch.autograd.grad(readout(embedding(words), targets), embedding.weight)
    expected = F.cross_entropy(F.linear(embedding(words), embedding.weight, readout.bias), targets)
    close(got, *torch.autograd.grad(expected, embedding.weight))


def test_initial_weights_lie_within_their_bound():
    readout = LinearCrossEntropy(25, 400)
    for parameter in readout.parameters():
        assert 0.19 < float(parameter.detach().abs().max()) <= 0.2
        assert abs(float(parameter.detach().mean())) < 0.02
