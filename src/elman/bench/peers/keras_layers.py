"""The layers of Keras on TensorFlow, compiled by XLA."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from elman.bench.example import Example, preset
from elman.bench.peers.optional import Library
from elman.bench.program import Program, Results
from elman.cells import Cell, GRUCell, LSTMCell, ReLURNNCell, RNNCell
from elman.tasks.classification.model import SequenceClassifier

__all__ = ["layers"]

keras, tf = map(Library, ("keras", "tensorflow"))

_LAYERS: Final[dict[type[Cell], tuple[str, dict[str, str]]]] = {
    LSTMCell: ("LSTM", {}),
    GRUCell: ("GRU", {}),
    RNNCell: ("SimpleRNN", {}),
    ReLURNNCell: ("SimpleRNN", {"activation": "relu"}),
}


def layers(example: Example, threads: int) -> Program:
    """A program of Keras for an example: a layer, or the whole training step of the classifier."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no greetings
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    return _Classifier(example) if example.work.kind == "program" else _Training(example)


class _Training(Program):
    """A layer forward and backward."""

    def __init__(self, example: Example) -> None:
        self.example = example
        self.model = _model(example)
        self.x, self.target = tf.constant(example.x.numpy()), tf.constant(example.target.numpy())

        def run(x: Any, target: Any) -> Any:
            with tf.GradientTape() as tape:
                outputs = self.model(x, training=True)
            return outputs, tape.gradient(outputs, self.model.trainable_variables, target)

        self.run = tf.function(run, jit_compile=True)

    def step(self) -> None:
        """Run forward and backward, to the end."""
        self.run(self.x, self.target)[0].numpy()

    def results(self) -> Results:
        """Return outputs and gradients."""
        outputs, gradients = self.run(self.x, self.target)
        return {"outputs": _tensor(outputs), **_named(self.example, gradients)}


class _Classifier(Program):
    """A whole training step, with the Adam of Keras."""

    def __init__(self, example: Example) -> None:
        self.example = example
        self.model = _model(example)
        self.x, self.target = tf.constant(example.x.numpy()), tf.constant(example.target.numpy())
        optimizer = keras.optimizers.Adam(preset().training.learning_rate)
        optimizer.build(self.model.trainable_variables)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

        def gradients(x: Any, target: Any, training: bool) -> Any:
            with tf.GradientTape() as tape:
                logits = self.model(x, training=training)
                value = loss(target, logits)
            return logits, tape.gradient(value, self.model.trainable_variables)

        def train(x: Any, target: Any) -> Any:
            logits, found = gradients(x, target, True)
            optimizer.apply(found, self.model.trainable_variables)
            return logits

        self.gradients, self.train = (tf.function(f, jit_compile=True) for f in (gradients, train))

    def step(self) -> None:
        """Train on the batch, to the end."""
        self.train(self.x, self.target).numpy()

    def results(self) -> Results:
        """Return logits and gradients, without dropout."""
        logits, gradients = self.gradients(self.x, self.target, False)
        return {"outputs": _tensor(logits), **_named(self.example, gradients)}


def _model(example: Example) -> Any:
    """Make the model of Keras with the weights of the example."""
    work, layer = example.work, example.layer
    classifier = example.model if isinstance(example.model, SequenceClassifier) else None
    steps = [keras.Input((work.steps, work.input_size), dtype="float32" if classifier is None else "uint8")]
    if classifier is not None:
        steps.append(keras.layers.Rescaling(classifier.specification.scale))
    if layer.projection is not None:
        steps.append(keras.layers.Dense(layer.projection.out_features))
    for k in range(layer.num_layers):
        sequences = classifier is None or k < layer.num_layers - 1
        name, options = _LAYERS[layer.cell]
        made = getattr(keras.layers, name)(layer.hidden_size, return_sequences=sequences, **options)
        steps.append(keras.layers.Bidirectional(made) if layer.bidirectional else made)
    if classifier is not None:
        steps.append(keras.layers.Dropout(classifier.config.output_dropout))
        steps.append(keras.layers.Dense(len(classifier.class_names)))
    model = keras.Sequential(steps)
    model.set_weights([weight for _, module in _modules(example) for weight in _to_keras(module)])
    return model


def _modules(example: Example) -> Iterator[tuple[str, nn.Linear | Cell]]:
    """Yield the modules with weights in the order in which Keras has them, by name."""
    found = [(name, m) for name, m in example.model.named_modules() if isinstance(m, nn.Linear | Cell)]
    return iter(sorted(found, key=lambda item: (item[0] == "readout", isinstance(item[1], Cell))))


def _to_keras(module: nn.Linear | Cell) -> list[Any]:
    """Return a module's weights as Keras has them: transposed, and with a GRU's gates in another order."""
    if isinstance(module, nn.Linear):
        return [module.weight.detach().numpy().T, module.bias.detach().numpy()]
    weight_x, weight_h, bias = (p.detach().numpy() for p in (module.weight_x, module.weight_h, module.bias))
    if not isinstance(module, GRUCell):
        return [weight_x.T, weight_h.T, bias]
    r, z, n_x, n_h = np.split(bias, 4)
    zero = np.zeros_like(r)
    return [_swapped(weight_x).T, _swapped(weight_h).T, np.stack([np.r_[z, r, n_x], np.r_[zero, zero, n_h]])]


def _from_keras(module: nn.Linear | Cell, values: Sequence[Any]) -> dict[str, Any]:
    """Return gradients by elman's names."""
    if isinstance(module, nn.Linear):
        return {"weight": values[0].T, "bias": values[1]}
    weight_x, weight_h, bias = values[0].T, values[1].T, values[2]
    if isinstance(module, GRUCell):
        weight_x, weight_h = _swapped(weight_x), _swapped(weight_h)
        bias = np.r_[_swapped(bias[0]), bias[1][2 * module.hidden_size :]]
    return {"weight_x": weight_x, "weight_h": weight_h, "bias": bias}


def _swapped(blocks: Any) -> Any:
    """Bring the gates of a GRU from r, z, n to z, r, n, or back."""
    first, second, third = np.split(blocks, 3)
    return np.concatenate([second, first, third])


def _named(example: Example, gradients: Sequence[Any]) -> Results:
    values = iter(gradients)
    results = {}
    for place, module in _modules(example):
        arrays = [next(values).numpy() for _ in _to_keras(module)]
        for name, value in _from_keras(module, arrays).items():
            results[f"gradient of {place}.{name}"] = _tensor(value)
    return results


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array))
