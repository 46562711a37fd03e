"""The cell in `jax.lax.scan`, its graph evaluated in JAX's operations, compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from elman.bench.program import Example, Program, Results
from elman.cells import Cell
from elman.compiler.graph import Graph
from elman.compiler.schedule import schedule
from elman.layers import Recurrent
from elman.tasks.classification.model import SequenceClassifier
from elman.tasks.registry import find_preset

__all__ = ["scan"]

Parameters = Mapping[str, Any]  # arrays by elman's names

_WORDS: Final[dict[str, Callable[..., Any]]] = {
    "add": jnp.add,
    "subtract": jnp.subtract,
    "multiply": jnp.multiply,
    "divide": jnp.divide,
    "power": jnp.power,
    "negate": jnp.negative,
    "abs": jnp.abs,
    "exp": jnp.exp,
    "log": jnp.log,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "sqrt": jnp.sqrt,
    "tanh": jnp.tanh,
    "less": jnp.less,
    "less_equal": jnp.less_equal,
    "where": jnp.where,
}


def scan(example: Example, threads: int) -> Program:
    """A program of JAX for an example: a layer, or the whole training step of the classifier."""
    del threads  # one a core, whatever one asks for
    return _Classifier(example) if example.work.kind == "program" else _Training(example)


class _Training(Program):
    """A layer forward and backward."""

    def __init__(self, example: Example) -> None:
        layer = example.layer
        self.parameters = _arrays(layer)
        self.x, self.target = (jnp.asarray(v.transpose(0, 1).numpy()) for v in (example.x, example.target))

        def run(parameters: Parameters, x: Any, target: Any) -> Any:
            outputs, pull = jax.vjp(lambda p: _layer(layer, p, "", x)[0], parameters)
            return outputs, pull(target)[0]

        self.run = jax.jit(run)

    def step(self) -> None:
        """Run forward and backward, to the end."""
        jax.block_until_ready(self.run(self.parameters, self.x, self.target))

    def results(self) -> Results:
        """Return outputs and gradients."""
        outputs, gradients = self.run(self.parameters, self.x, self.target)
        return {"outputs": _tensor(outputs).transpose(0, 1), **_named(gradients)}


class _Classifier(Program):
    """A whole training step, with optax's Adam."""

    def __init__(self, example: Example) -> None:
        model = cast(SequenceClassifier, example.model)
        self.parameters = _arrays(model)
        self.x, self.target = jnp.asarray(example.x.numpy()), jnp.asarray(example.target.numpy())
        self.key = jax.random.key(0)
        optimizer = optax.adam(find_preset("mnist")[1].training.learning_rate)
        self.state = optimizer.init(self.parameters)

        def loss(parameters: Parameters, x: Any, target: Any, key: Any, dropout: float) -> Any:
            inputs = (x.astype(jnp.float32) * model.specification.scale).transpose(1, 0, 2)
            _, final = _layer(model.recurrent, parameters, "recurrent.", inputs)
            seen = jnp.concatenate(final, axis=1)
            if dropout:
                seen = jnp.where(jax.random.bernoulli(key, 1 - dropout, seen.shape), seen / (1 - dropout), 0)
            logits = seen @ parameters["readout.weight"] + parameters["readout.bias"]
            return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean(), logits

        def step(parameters: Parameters, state: Any, x: Any, target: Any, key: Any) -> Any:
            key, now = jax.random.split(key)
            gradients, _ = jax.grad(loss, has_aux=True)(parameters, x, target, now, model.config.output_dropout)
            updates, state = optimizer.update(gradients, state)
            return optax.apply_updates(parameters, updates), state, key

        self.loss, self.train = loss, jax.jit(step, donate_argnums=(0, 1))

    def step(self) -> None:
        """Train on the batch, to the end."""
        done = self.train(self.parameters, self.state, self.x, self.target, self.key)
        self.parameters, self.state, self.key = jax.block_until_ready(done)

    def results(self) -> Results:
        """Return logits and gradients, without dropout."""
        run = jax.jit(jax.grad(self.loss, has_aux=True), static_argnums=4)
        gradients, logits = run(self.parameters, self.x, self.target, self.key, 0.0)
        return {"outputs": _tensor(logits), **_named(gradients)}


def _layer(layer: Recurrent, parameters: Parameters, prefix: str, x: Any) -> tuple[Any, list[Any]]:
    """Run a layer over x ``(time, batch, features)``; also return the last output of each direction of the top."""
    if layer.projection is not None:
        x = x @ parameters[f"{prefix}projection.weight"] + parameters[f"{prefix}projection.bias"]
    final: list[Any] = []
    for k in range(layer.num_layers):
        final, outputs = [], []
        for direction in range(layer.directions):
            cell = layer.cell_at(k, direction)
            place = f"{prefix}cells.{k}.{direction}."
            own = {name: parameters[place + name] for name, _ in cell.named_parameters()}
            last, over_time = _scan(cell, own, x, reverse=direction == 1)
            final.append(last)
            outputs.append(over_time)
        x = jnp.concatenate(outputs, axis=2)
    return x, final


def _scan(cell: Cell, parameters: Parameters, x: Any, *, reverse: bool) -> tuple[Any, Any]:
    """Run a cell over time; return its last output and all of them."""
    graph, hidden = cell.graph, cell.hidden_size
    plan = schedule(graph)
    from_hidden = {
        operand: _columns(parameters["weight_h"], [graph.hidden_blocks.index((gate, operand)) for gate in gates])
        for operand, gates in plan.hidden_gates.items()
    }
    biases = dict(zip(graph.biases, jnp.split(parameters["bias"], len(graph.biases)), strict=True))
    products = x @ _columns(parameters["weight_x"], [graph.input_blocks.index(gate) for gate in plan.input_gates])
    products = products + jnp.concatenate([biases.pop(gate) for gate in plan.input_gates])

    def step(states: Sequence[Any], products: Any) -> tuple[Any, Any]:
        gates: dict[str, Any] = {**biases}
        _add(gates, plan.input_gates, products, hidden)
        new = _evaluate(graph, parameters, states, gates, from_hidden, plan.hidden_gates)
        return new, new[0]

    zero = jnp.zeros((x.shape[1], hidden), x.dtype)
    states, outputs = jax.lax.scan(step, (zero,) * len(graph.states), products, reverse=reverse)
    return states[0], outputs


def _evaluate(
    graph: Graph,
    parameters: Parameters,
    states: Sequence[Any],
    gates: dict[str, Any],
    weights: Mapping[int, Any],
    readers: Mapping[int, Sequence[str]],
) -> tuple[Any, ...]:
    """Evaluate the nodes of a graph; ``gates`` holds W x + b, and each value is multiplied once for all its readers."""
    values: list[Any] = []
    waiting = iter(states)
    for k, node in enumerate(graph.nodes):
        operands = [values[operand] for operand in node.operands]
        if node.op == "input":
            value = None
        elif node.op == "state":
            value = next(waiting)
        elif node.op == "constant":
            value = node.value
        elif node.op == "diagonal":
            value = operands[0] * parameters["diagonal"][graph.diagonals.index(node.name)]
        elif node.op == "affine":
            value = gates[node.name]
        else:
            value = _WORDS[node.op](*operands)
        values.append(value)
        if k in weights:
            _add(gates, readers[k], value @ weights[k], weights[k].shape[0])
    return tuple(values[k] for k in graph.outputs)


def _add(gates: dict[str, Any], names: Sequence[str], products: Any, hidden: int) -> None:
    for k, gate in enumerate(names):
        gates[gate] = gates.get(gate, 0.0) + products[:, k * hidden : (k + 1) * hidden]


def _columns(weight: Any, order: Sequence[int]) -> Any:
    """Take blocks of H columns out of a packed weight, in this order."""
    hidden = weight.shape[1] // (max(order) + 1)
    if list(order) == list(range(weight.shape[1] // hidden)): return weight
    return jnp.concatenate([weight[:, k * hidden : (k + 1) * hidden] for k in order], axis=1)


def _arrays(module: torch.nn.Module) -> dict[str, Any]:
    return {name: jnp.asarray(p.detach().numpy().T.copy()) for name, p in module.named_parameters()}


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _named(gradients: Mapping[str, Any]) -> Results:
    return {f"gradient of {name}": _tensor(value).T for name, value in gradients.items()}
