"""Elman's side of every work, against the reference, and what a step does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_works import SMALL

from elman.bench.example import Example
from elman.bench.parity import wrong
from elman.bench.peers import select_peers
from elman.bench.plain import plain
from elman.bench.program import elman_program, plain_program, reference_results, torch_program
from elman.bench.works import Work

every_work = pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)


@every_work
def test_an_example_is_the_same_in_every_run(small: Work) -> None:
    torch.manual_seed(1)
    first = Example.of(small)
    torch.manual_seed(2)
    second = Example.of(small)
    torch.testing.assert_close(first.model.state_dict(), second.model.state_dict(), rtol=0, atol=0)
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.target, second.target)


@every_work
def test_every_bias_is_another(small: Work) -> None:
    biases = torch.cat([p for p in Example.of(small).model.parameters() if p.ndim == 1])
    assert len(biases.unique()) == len(biases)


@every_work
def test_elman_is_right(small: Work) -> None:
    example = Example.of(small)
    truth, program = reference_results(example), elman_program(example)
    assert all(value.dtype == torch.float64 for value in truth.values())
    names = {f"gradient of {name}" for name, _ in example.model.named_parameters()} if small.learns else set()
    assert names <= truth.keys()
    with program.setting():
        results = program.results()
    assert results.keys() == truth.keys()
    assert wrong(results, truth) is None


@every_work
def test_a_fault_in_any_weight_is_seen(small: Work) -> None:
    example = Example.of(small)
    truth = reference_results(example)
    for name, _ in example.model.named_parameters():
        program = plain_program(example)
        parameter = dict(program.module.named_parameters())[name]
        read = parameter[example.x.flatten()[0]] if name == "embedding.weight" else parameter.view(-1)
        with torch.no_grad():
            read[-1] += 0.01
        with program.setting():
            assert wrong(program.results(), truth) is not None, name


def test_steps_of_a_layer_leave_its_gradients() -> None:
    program = elman_program(Example.of(SMALL["deep"]))
    expected = program.results()
    program.step()
    program.step()
    for name, value in program.gradients().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_a_step_of_inference_carries_the_state_and_records_nothing() -> None:
    example = Example.of(SMALL["step"])
    program = elman_program(example)
    with program.setting():
        program.step()
        program.step()
    frame = example.x[:, :1]
    expected = example.layer(torch.cat([frame, frame], dim=1))[1]
    torch.testing.assert_close(program.state.c, expected.c)
    assert program.state.c.is_inference()


def test_a_step_of_a_program_is_a_step_of_adam() -> None:
    work = Work(name="", kind="program", input_size=3, hidden_size=5, batch=6, steps=3)
    example = Example.of(work)
    program = elman_program(example)
    for module in (program.module, example.model):
        module.config = module.config.__class__(hidden_size=5)  # without dropout
    optimizer = torch.optim.Adam(example.model.parameters(), lr=1e-3)
    for _ in range(3):
        program.step()
        optimizer.zero_grad()
        F.cross_entropy(example.model(example.x), example.target).backward()
        optimizer.step()
    torch.testing.assert_close(program.module.state_dict(), example.model.state_dict())


@pytest.mark.parametrize("far", [1.0, 30.0])
def test_a_step_of_a_language_model_is_one_of_sgd(far: float) -> None:
    """With the state carried and the norm clipped, also where it is under the clip."""
    example = Example.of(SMALL["language-one"])
    with torch.no_grad():
        example.model.readout.weight.mul_(far)
    program, model = elman_program(example), plain(example.model)
    optimizer, state, norms = torch.optim.SGD(model.parameters(), lr=1.0), None, []
    for _ in range(3):
        program.step()
        optimizer.zero_grad()
        loss, state = model(example.x, example.target, state)
        state = [s.detach() for s in state]
        (3 * loss).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)))
        optimizer.step()
    assert (max(norms) > 5) == (far > 1)
    torch.testing.assert_close(program.module.state_dict(), model.state_dict(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(list(program.state), list(state), rtol=1e-4, atol=1e-5)


def test_elman_and_torch_clip_alike() -> None:
    """At a rate of 1 the weights move by as much as the norm is clipped at."""
    example = Example.of(SMALL["language-one"])
    with torch.no_grad():
        example.model.readout.weight.mul_(30.0)
    (peer,) = select_peers(["torch.nn"])
    for program in (elman_program(example), peer.build(example, threads=1)):
        before = torch.cat([p.detach().flatten() for p in program.module.parameters()])
        program.step()
        after = torch.cat([p.detach().flatten() for p in program.module.parameters()])
        torch.testing.assert_close(float((after - before).norm()), 5.0, rtol=1e-5, atol=0)


def test_results_of_a_program_have_no_dropout_and_steps_have() -> None:
    work = Work(name="", kind="program", input_size=3, hidden_size=50, batch=60, steps=3)
    program = elman_program(Example.of(work))
    torch.testing.assert_close(program.results(), program.results(), rtol=0, atol=0)
    assert program.module.training
    logits = [program.module(program.x) for _ in range(2)]
    assert not torch.equal(*logits)


def test_the_gradient_of_x_is_new_in_every_step() -> None:
    program = elman_program(Example.of(Work(name="", kind="cross-entropy", cell="", input_size=3, classes=5, batch=4)))
    expected = program.results()["gradient of x"]
    program.step()
    torch.testing.assert_close(program.x.grad, expected, rtol=0, atol=0)


def test_time_first_is_another_layout_of_the_same() -> None:
    class TimeFirst(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            outputs, state = self.layer(x.transpose(0, 1))
            return outputs.transpose(0, 1), state

    example = Example.of(Work(name="", input_size=3, hidden_size=5, batch=4, steps=3))
    truth = reference_results(example)
    layer = example.layer
    gradients = lambda: {f"gradient of {name}": p.grad.clone() for name, p in layer.named_parameters()}  # noqa: E731
    program = torch_program(example, TimeFirst(layer), gradients, time_first=True)
    assert program.x.shape == (3, 4, 3)
    assert wrong(program.results(), truth) is None
