"""Derivatives of compiled code of every kind: the numbers of the reference, or an error."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from elman.backends.dispatch import backend
from elman.backends.llvm import recurrence
from elman.cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from elman.errors import BackendError
from handwritten import DelayCell, EveryWordCell, ThreeStatesCell
from runs import Case, close, loss

# torch's own, when forward mode is first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

TOLERANCE = {"rtol": 1e-8, "atol": 1e-10}


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """How often compiled code ran, forward and back; it sees plain tensors alone."""
    counts = {"forward": 0, "backward": 0}

    def watched(name):
        function = getattr(recurrence, name)

        def watch(*args, **kwargs):
            counts[name] += 1
            for value in (*args, *kwargs.values()):
                for tensor in (
                    value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
                ):
                    if isinstance(tensor, torch.Tensor):
                        assert not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
                        tensor.data_ptr()
            return function(*args, **kwargs)

        monkeypatch.setattr(recurrence, name, watch)

    watched("forward")
    watched("backward")
    return counts


def small(cell=GRUCell, **options):
    return Case(cell, **{"batch": 2, "time": 3, "inputs": 2, "hidden": 2, **options})


def both(case, make, *names):
    """What a transformation gives of the loss by compiled code, and by the reference."""
    values = [case.tensors[name] for name in names]
    return [
        make(case.function(lambda tensors, run=run: loss(run(tensors)), *names))(*values)
        for run in (case.run, case.expected)
    ]


@pytest.mark.parametrize("masks", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("cell", [RNNCell, PeepholeLSTMCell, DelayCell, EveryWordCell, ThreeStatesCell])
def test_gradcheck_and_gradgradcheck(cell, masks, compiled):
    case = small(cell, masks=masks, reverse=masks)
    leaves = case.leaves()
    function = case.function(case.run, *leaves)
    assert gradcheck(function, tuple(leaves.values()), check_batched_grad=True, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(function, tuple(leaves.values()), check_batched_grad=True, fast_mode=True)
    assert compiled["forward"]
    assert compiled["backward"]


def test_derivatives_to_the_fourth():
    case = small(LSTMCell)
    values = []
    for run in (case.run, case.expected):
        leaves = case.leaves("x", "weight_h")
        value, orders = loss(run(leaves)), []
        for _ in range(4):
            first, second = torch.autograd.grad(value, [leaves["x"], leaves["weight_h"]], create_graph=True)
            orders.append((first.detach(), second.detach()))
            value = (first**2).sum() + (second**3).sum()
        values.append(orders)
    close(*values, **TOLERANCE)


def test_mixed_second_derivatives():
    """The gradient of x alone is asked for, and differentiated by the weights and by the gradient that came in."""
    case, values = small(PeepholeLSTMCell, masks=True), []
    incoming = torch.randn(2, 3, 2, dtype=torch.float64)
    for run in (case.run, case.expected):
        leaves, weight = case.leaves(), incoming.clone().requires_grad_()
        (first,) = torch.autograd.grad(run(leaves)[0], leaves["x"], weight, create_graph=True)
        others = [leaf for name, leaf in leaves.items() if name != "x"]
        values.append(torch.autograd.grad((first**2).sum(), [weight, leaves["x"], *others]))
    close(*values, **TOLERANCE)


@pytest.mark.parametrize(
    "make",
    [
        lambda f: grad(f, argnums=(0, 1, 2)),
        lambda f: lambda *v: grad(lambda x: grad(lambda x: f(x, *v[1:]))(x).square().sum())(v[0]),
        lambda f: lambda *v: grad(lambda w: grad(lambda x: f(x, w, v[2]))(v[0]).square().sum())(v[1]),
        lambda f: grad(lambda *v: grad(lambda *u: grad(f)(*u).sin().sum())(*v).square().sum()),
        lambda f: lambda *v: vjp(f, *v)[1](torch.tensor(2.0, dtype=torch.float64)),
        lambda f: jacrev(f, argnums=(0, 1)),
        lambda f: jacfwd(f, argnums=(0, 1)),
        lambda f: hessian(f, argnums=(0, 2)),
        lambda f: jacrev(jacrev(f)),
        lambda f: jacrev(jacfwd(f)),
        lambda f: lambda *v: jvp(f, v, tuple(torch.ones_like(value) for value in v)),
        lambda f: lambda *v: jvp(grad(f), v, tuple(torch.ones_like(value) for value in v)),
        lambda f: lambda *v: jvp(lambda x: jvp(lambda x: f(x, *v[1:]), (x,), (x,))[1], (v[0],), (v[0],)),
        lambda f: lambda *v: grad(lambda x: jvp(lambda x: f(x, *v[1:]), (x,), (x,))[1])(v[0]),
    ],
)
def test_transformations(make):
    case = small(LSTMCell, masks=True)
    close(*both(case, make, "x", "weight_h", "state:c"), **TOLERANCE)


def test_plain_gradients_below_a_transformation():
    """A transformation over x, with weights that autograd watches from outside."""
    case, values = small(LSTMCell), []
    for run in (case.run, case.expected):
        leaves = case.leaves("weight_h", "bias")
        first = grad(lambda x, run=run, leaves=leaves: loss(run({**leaves, "x": x})))(case.tensors["x"])
        values.append(
            (first.detach(), *torch.autograd.grad(first.square().sum(), [leaves["weight_h"], leaves["bias"]]))
        )
    close(*values, **TOLERANCE)


# vmap

MAPPED = [("x",), ("state:h",), ("x", "state:c"), ("weight_h",), ("bias", "x"), ("diagonal",)]


@pytest.mark.parametrize("names", MAPPED, ids=lambda names: "+".join(names))
@pytest.mark.parametrize("dim", [0, 1])
def test_vmap(names, dim, compiled):
    case = small(PeepholeLSTMCell, masks=True)
    stacks = [torch.stack([case.tensors[n], case.tensors[n] * 0.5, -case.tensors[n]], dim) for n in names]
    got = vmap(case.function(case.run, *names), in_dims=dim)(*stacks)
    assert compiled["forward"] == (1 if {"x", "state:h"} & set(names) and "bias" not in names else 3)
    rows = [case.function(case.expected, *names)(*(s.select(dim, k) for s in stacks)) for k in range(3)]
    close(got, tuple(torch.stack(values) for values in zip(*rows, strict=True)), **TOLERANCE)


def test_vmap_over_masks():
    case = small(LSTMCell, masks=True, batch=3)
    reset = torch.stack([case.masked["reset"], ~case.masked["reset"] & case.masked["valid"]])

    def function(run):
        def masked(mask):
            case.masked = {**case.masked, "reset": mask}
            return run(case.tensors)

        return masked

    close(vmap(function(case.run))(reset), vmap(function(case.expected))(reset), **TOLERANCE)


@pytest.mark.parametrize("wanted", [("x",), ("state:h",), ("weight_h",), ("x", "weight_x", "bias", "state:c")])
def test_gradients_of_each_sample(wanted):
    case = small(PeepholeLSTMCell, masks=True)
    samples = torch.randn(4, *case.tensors["x"].shape, dtype=torch.float64)

    def per_sample(run):
        names = [name for name in wanted if name != "x"]

        def one(x, *others):
            return loss(run({**case.tensors, "x": x, **dict(zip(names, others, strict=True))}))

        every = grad(one, argnums=tuple(range(1 + len(names))))
        found = vmap(every, in_dims=(0, *(None for _ in names)))(samples, *(case.tensors[n] for n in names))
        return found if "x" in wanted else found[1:]

    close(per_sample(case.run), per_sample(case.expected), **TOLERANCE)


def test_rows_of_a_mapped_dimension_go_back_together(compiled):
    case = small(LSTMCell)
    samples = torch.randn(4, *case.tensors["x"].shape, dtype=torch.float64)
    got = vmap(grad(case.function(lambda t: loss(case.run(t)), "x")))(samples)
    assert compiled == {"forward": 2, "backward": 1}  # nothing is kept: the backward pass runs forward again
    close(
        got, torch.stack([grad(case.function(lambda t: loss(case.expected(t)), "x"))(x) for x in samples]), **TOLERANCE
    )


def test_vmap_of_vmap():
    case = small(GRUCell)
    x = torch.randn(3, 2, *case.tensors["x"].shape, dtype=torch.float64)
    weights = torch.stack([case.tensors["weight_h"], -case.tensors["weight_h"]])

    def nested(run):
        def function(x, weight):
            return loss(run({**case.tensors, "x": x, "weight_h": weight}))

        return vmap(vmap(grad(function, argnums=(0, 1)), in_dims=(0, None)), in_dims=(1, 0))(x, weights)

    close(nested(case.run), nested(case.expected), **TOLERANCE)


def test_batched_gradients_of_a_plain_tape():
    case, values = small(PeepholeLSTMCell, masks=True), []
    incoming = torch.randn(5, 2, 3, 2, dtype=torch.float64)
    for run in (case.run, case.expected):
        leaves = case.leaves()
        outputs = run(leaves)[0]
        both_ways = [
            torch.autograd.grad(outputs, list(leaves.values()), incoming, is_grads_batched=True, retain_graph=True),
            vmap(lambda g, o=outputs, v=leaves: torch.autograd.grad(o, list(v.values()), g, retain_graph=True))(
                incoming
            ),
        ]
        values.append(both_ways)
    close(*values, **TOLERANCE)


def test_forward_mode_over_a_backward_pass():
    """The forward pass was compiled code, before anyone spoke of forward mode."""
    case, values = small(LSTMCell), []
    incoming, tangent = torch.randn(2, 2, 3, 2, dtype=torch.float64)
    for run in (case.run, case.expected):
        leaves = case.leaves()
        outputs = run(leaves)[0]
        with forward_ad.dual_level():
            weight = forward_ad.make_dual(incoming, tangent)
            (first,) = torch.autograd.grad(outputs, leaves["x"], weight)
            values.append(tuple(forward_ad.unpack_dual(first)))
    assert values[0][1].any()
    close(*values, **TOLERANCE)


def test_dual_numbers_without_gradients():
    case, values = small(LSTMCell), []
    with forward_ad.dual_level(), torch.no_grad():
        for run in (case.run, case.expected):
            dual = forward_ad.make_dual(case.tensors["weight_h"], torch.ones_like(case.tensors["weight_h"]))
            values.append(tuple(forward_ad.unpack_dual(run({**case.tensors, "weight_h": dual})[0])))
    assert values[0][1].any()
    close(*values, **TOLERANCE)


def test_what_the_reference_does_is_refused_where_compiled_code_is_asked_for():
    case = small(LSTMCell)
    function = case.function(lambda tensors: loss(case.run(tensors)), "x")
    x = case.tensors["x"]
    with backend("llvm"):
        grad(function)(x)
        vmap(grad(function))(x[None])
        for make, reason in (
            (lambda: jvp(function, (x,), (x,)), "derivatives are taken in forward mode"),
            (lambda: hessian(function)(x), "derivatives are taken in forward mode"),
            (lambda: grad(lambda x: grad(function)(x).sum())(x), "second derivatives are taken"),
        ):
            with pytest.raises(BackendError, match=f"^The backend llvm cannot run this: {reason}"):
                make()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
def test_compiled_code_below_a_compiled_function(compiled):
    """torch.compile goes on with what is called after a graph break, and must not enter compiled code."""
    case = small(LSTMCell, batch=16, time=4)
    expected = [g.clone() for g in gradients(case, case.expected)]

    def function(value):
        torch._dynamo.graph_break()
        value.backward()

    leaves = case.leaves()
    value = loss(case.run(leaves))
    torch.compile(function, backend="eager")(value)
    close([leaf.grad for leaf in leaves.values()], expected, **TOLERANCE)
    assert compiled == {"forward": 1, "backward": 1}


def gradients(case, run):
    leaves = case.leaves()
    return torch.autograd.grad(loss(run(leaves)), list(leaves.values()))
