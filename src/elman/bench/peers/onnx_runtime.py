"""The LSTM of ONNX Runtime."""

from __future__ import annotations

from typing import Any, Final, cast

import numpy as np
import torch

from elman.bench.example import Example
from elman.bench.language import NextWord
from elman.bench.peers.optional import Library
from elman.bench.program import Program, Results
from elman.layers import Recurrent

__all__ = ["session"]

onnx, onnxruntime = map(Library, ("onnx", "onnxruntime"))

_OPSET: Final = 17
_STATES: Final = ("h", "c")


def session(example: Example, threads: int) -> Program:
    """A session that does one step of a stack of LSTMs, or says the next word, its state carried by the caller."""
    return _Inference(example, threads)


class _Inference(Program):
    def __init__(self, example: Example, threads: int) -> None:
        layer, options = example.layer, onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        language = example.model if isinstance(example.model, NextWord) else None
        model = _model(layer, language).SerializeToString()
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.frames = [frame.numpy() for frame in torch.split(example.x.transpose(0, 1), 1)]  # (1, batch, ...)
        zero = np.zeros((1, example.work.batch, layer.hidden_size), np.float32)
        self.state = {f"{name}{k}": zero for k in range(layer.num_layers) for name in _STATES}

    def step(self) -> None:
        """Do one step."""
        self._run(self.frames[0])

    def results(self) -> Results:
        """Return the outputs of some steps."""
        outputs = np.concatenate([self._run(frame) for frame in self.frames])
        return {"outputs": torch.from_numpy(outputs).transpose(0, 1)}

    def _run(self, frame: Any) -> Any:
        output, *state = self.session.run(None, {"x": frame, **self.state})
        self.state = dict(zip(self.state, state, strict=True))
        return output


def _model(layer: Recurrent, language: NextWord | None) -> Any:
    """Write the graph: x and the states in, the output and the new states out."""
    hidden = layer.hidden_size
    state = (1, "batch", hidden)
    names = [f"{name}{k}" for k in range(layer.num_layers) for name in _STATES]
    words = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT64, (1, "batch"))
    x = _value("x", (1, "batch", layer.input_size)) if language is None else words
    inputs = [x, *(_value(name, state) for name in names)]
    nodes, weights, below = [], [], "x"
    if language is not None:
        weights.append(_constant("embedding", language.embedding.weight))
        nodes.append(onnx.helper.make_node("Gather", ["embedding", below], ["embedded"]))
        below = "embedded"
    for k in range(layer.num_layers):
        cell = layer.cell_at(k, 0)
        bias = torch.cat([_reordered(cell.bias), torch.zeros(4 * hidden)])
        for name, value in {"W": _reordered(cell.weight_x), "R": _reordered(cell.weight_h), "B": bias}.items():
            weights.append(_constant(f"{name}{k}", value[None]))
        read = [below, f"W{k}", f"R{k}", f"B{k}", "", f"h{k}", f"c{k}"]
        nodes.append(onnx.helper.make_node("LSTM", read, ["", f"new_h{k}", f"new_c{k}"], hidden_size=hidden))
        below = f"new_h{k}"
    width = hidden
    if language is not None:
        width = language.readout.vocabulary
        weights += [
            _constant("V", language.readout.weight.T),
            _constant("d", cast(torch.Tensor, language.readout.bias)),
        ]
        for kind, read, name in (("MatMul", [below, "V"], "products"), ("Add", ["products", "d"], "logits")):
            nodes.append(onnx.helper.make_node(kind, read, [name]))
        below = "log_probabilities"
        nodes.append(onnx.helper.make_node("LogSoftmax", ["logits"], [below], axis=-1))
    nodes.append(onnx.helper.make_node("Identity", [below], ["output"]))
    outputs = [_value("output", (1, "batch", width)), *(_value(f"new_{name}", state) for name in names)]
    graph = onnx.helper.make_graph(nodes, "lstm", inputs, outputs, weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _constant(name: str, value: torch.Tensor) -> Any:
    return onnx.numpy_helper.from_array(value.detach().numpy().copy(), name)


def _value(name: str, shape: tuple[int | str, ...]) -> Any:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _reordered(blocks: torch.Tensor) -> torch.Tensor:
    """Bring the gates from i, f, g, o to ONNX's order, i, o, f, g."""
    i, f, g, o = blocks.chunk(4)
    return torch.cat([i, o, f, g])
