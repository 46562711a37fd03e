"""The cell in `jax.lax.scan`, its graph evaluated in JAX's operations, compiled by XLA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from elman.bench.example import Example, preset
from elman.bench.peers.optional import Library
from elman.bench.program import LanguageModelProgram, Program, Results
from elman.compiler.graph import Graph
from elman.compiler.schedule import schedule
from elman.layers import Recurrent
from elman.tasks.classification.model import SequenceClassifier
from elman.tasks.language_model.model import LanguageModel

__all__ = ["scan"]

jax, jnp, optax = map(Library, ("jax", "jax.numpy", "optax"))

Parameters = Mapping[str, Any]  # arrays by elman's names


def scan(example: Example, threads: int) -> Program:
    """A program of JAX for an example: a layer, or the whole training step of the classifier or the language model."""
    del threads  # one a core, whatever one asks for
    kinds: dict[str, Callable[[Example], Program]] = {"program": _Classifier, "language-model": _LanguageModel}
    return kinds.get(example.work.kind, _Training)(example)


class _Training(Program):
    """A layer forward and backward."""

    def __init__(self, example: Example) -> None:
        layer = example.layer
        self.parameters = _arrays(layer)
        self.x, self.target = (jnp.asarray(v.transpose(0, 1).numpy()) for v in (example.x, example.target))

        def run(parameters: Parameters, x: Any, target: Any) -> Any:
            outputs, pull = jax.vjp(lambda p: _layer(layer, p, "", x, _zeros(layer, x))[0], parameters)
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
        optimizer = optax.adam(preset().training.learning_rate)
        self.state = optimizer.init(self.parameters)

        def loss(parameters: Parameters, x: Any, target: Any, key: Any, dropout: float) -> Any:
            inputs = (x.astype(jnp.float32) * model.specification.scale).transpose(1, 0, 2)
            zeros = _zeros(model.recurrent, inputs)
            _, final = _layer(model.recurrent, parameters, "recurrent.", inputs, zeros)
            seen = _dropped(jnp.concatenate([states[0] for states in final[-1]], axis=1), key, dropout)
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


class _LanguageModel(Program):
    """A whole training step, with optax's clipping and SGD, state carried."""

    def __init__(self, example: Example) -> None:
        model, rule = cast(LanguageModel, example.model), LanguageModelProgram
        layer = model.recurrent
        self.parameters = _arrays(model)
        self.words, self.targets = (jnp.asarray(v.t().contiguous().numpy()) for v in (example.x, example.target))
        self.key = jax.random.key(0)
        self.zeros = self.states = _zeros(layer, jnp.zeros((1, example.work.batch, 1), jnp.float32))
        optimizer = optax.chain(optax.clip_by_global_norm(rule.clip_norm), optax.sgd(rule.learning_rate))
        self.optimizer = optimizer.init(self.parameters)

        def loss(parameters: Parameters, words: Any, targets: Any, states: Any, key: Any, dropout: float) -> Any:
            first, between, last = jax.random.split(key, 3)
            inputs = _dropped(parameters["embedding.weight"][words], first, dropout)
            outputs, final = _layer(layer, parameters, "recurrent.", inputs, states, (between, dropout))
            logits = _dropped(outputs, last, dropout) @ parameters["readout.weight"] + parameters["readout.bias"]
            mean = optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()
            return mean * len(words), (mean, final)

        run = jax.grad(loss, has_aux=True)

        def step(parameters: Parameters, state: Any, words: Any, targets: Any, states: Any, key: Any) -> Any:
            key, now = jax.random.split(key)
            found, (_, states) = run(parameters, words, targets, states, now, layer.input_dropout)
            updates, state = optimizer.update(found, state)
            return optax.apply_updates(parameters, updates), state, states, key

        self.run, self.train = jax.jit(run, static_argnums=5), jax.jit(step, donate_argnums=(0, 1))

    def step(self) -> None:
        """Train on the window, to the end."""
        done = self.train(self.parameters, self.optimizer, self.words, self.targets, self.states, self.key)
        self.parameters, self.optimizer, self.states, self.key = jax.block_until_ready(done)

    def results(self) -> Results:
        """Return loss and gradients, without dropout."""
        gradients, (loss, _) = self.run(self.parameters, self.words, self.targets, self.zeros, self.key, 0.0)
        of_mean = {name: gradient / len(self.words) for name, gradient in gradients.items()}
        return {"outputs": _tensor(loss), **_named(of_mean)}


def _dropped(values: Any, key: Any, dropout: float) -> Any:
    """Apply dropout."""
    if not dropout:
        return values
    return jnp.where(jax.random.bernoulli(key, 1 - dropout, values.shape), values / (1 - dropout), 0)


def _zeros(layer: Recurrent, x: Any) -> Any:
    """Return zero states for x ``(time, batch, features)``: layer by layer, direction by direction, state by state."""
    zero = jnp.zeros((x.shape[1], layer.hidden_size), x.dtype)
    return [[[zero] * len(layer.cell.states) for _ in range(layer.directions)] for _ in range(layer.num_layers)]


def _layer(
    layer: Recurrent, parameters: Parameters, prefix: str, x: Any, states: Any, dropout: tuple[Any, float] = (None, 0.0)
) -> tuple[Any, Any]:
    """Run a layer over x ``(time, batch, features)``; return its outputs and final states, shaped as the initial ones.

    Args:
        layer: its sizes.
        parameters: by name.
        prefix: of the names.
        x: the inputs.
        states: the initial states, as `_zeros` gives them.
        dropout: between layers: the key and the probability.
    """
    if layer.projection is not None:
        x = x @ parameters[f"{prefix}projection.weight"] + parameters[f"{prefix}projection.bias"]
    final: list[Any] = []
    for k in range(layer.num_layers):
        runs = []
        for direction in range(layer.directions):
            cell = layer.cell_at(k, direction)
            place = f"{prefix}cells.{k}.{direction}."
            own = {name: parameters[place + name] for name, _ in cell.named_parameters()}
            initial = tuple(states[k][direction])
            runs.append(jax.lax.scan(_Step(cell.graph, own), initial, x, reverse=direction == 1))
        final.append([list(run[0]) for run in runs])
        x = jnp.concatenate([run[1] for run in runs], axis=2)
        if k < layer.num_layers - 1:
            x = _dropped(x, *dropout)
    return x, final


class _Step:
    """A step of a graph. The product with x stays inside: XLA is slower with one product for all steps before."""

    def __init__(self, graph: Graph, parameters: Parameters) -> None:
        plan = schedule(graph)
        self.graph = graph
        self.readers = dict(plan.hidden_gates)
        self.weights = {
            operand: _columns(parameters["weight_h"], graph.hidden_blocks, [(gate, operand) for gate in gates])
            for operand, gates in plan.hidden_gates.items()
        }
        if plan.input_gates:
            k = next(k for k, node in enumerate(graph.nodes) if node.op == "input")
            self.readers[k] = plan.input_gates
            self.weights[k] = _columns(parameters["weight_x"], graph.input_blocks, plan.input_gates)
        self.bias = {gate: _columns(parameters["bias"], graph.biases, [gate]) for gate in graph.biases}
        self.diagonals = {name: parameters["diagonal"][:, k] for k, name in enumerate(graph.diagonals)}

    def __call__(self, states: Sequence[Any], x: Any) -> tuple[Any, Any]:
        """Return the new states, and the output."""
        values: list[Any] = []
        waiting = iter(states)
        gates = dict(self.bias)
        for k, node in enumerate(self.graph.nodes):
            operands = [values[operand] for operand in node.operands]
            if node.op == "input":
                value = x
            elif node.op == "state":
                value = next(waiting)
            elif node.op == "constant":
                value = node.value
            elif node.op == "diagonal":
                value = operands[0] * self.diagonals[node.name]
            elif node.op == "affine":
                value = gates[node.name]
            else:
                value = _word(node.op)(*operands)
            values.append(value)
            if k in self.weights:  # one product for all gates that read the value
                products = jnp.split(value @ self.weights[k], len(self.readers[k]), axis=1)
                for gate, product in zip(self.readers[k], products, strict=True):
                    gates[gate] = gates.get(gate, 0.0) + product
        new = tuple(values[k] for k in self.graph.outputs)
        return new, new[0]


def _word(op: str) -> Any:
    """Return JAX's function for an operation of a graph."""
    home = jax.nn if op in {"relu", "sigmoid", "softplus"} else jnp
    return getattr(home, {"negate": "negative"}.get(op, op))


def _columns(packed: Any, blocks: Sequence[Any], wanted: Sequence[Any]) -> Any:
    """Take blocks of H columns out of a packed parameter, in this order."""
    if tuple(blocks) == tuple(wanted):
        return packed
    parts = dict(zip(blocks, jnp.split(packed, len(blocks), axis=-1), strict=True))
    return jnp.concatenate([parts[block] for block in wanted], axis=-1)


def _arrays(module: torch.nn.Module) -> dict[str, Any]:
    return {name: jnp.asarray(_turned(name, p.detach().numpy()).copy()) for name, p in module.named_parameters()}


def _turned(name: str, value: Any) -> Any:
    """Turn a matrix as JAX multiplies with it; an embedding is only read row by row."""
    return value if name == "embedding.weight" else value.T


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _named(gradients: Mapping[str, Any]) -> Results:
    return {f"gradient of {name}": _tensor(_turned(name, value)) for name, value in gradients.items()}
