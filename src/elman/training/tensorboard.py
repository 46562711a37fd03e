"""TensorBoard: curves, histograms, the model's graph, sample pictures, hyper-parameters with results.

The events are built by torch's functions and framed by TensorBoard's own record writer, straight into the file and
without its background thread: the size of the file is then known at every checkpoint, and a full disk is an error.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.versions_pb2 import VersionDef
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard import summary

from elman.training.measurement import Measurement
from elman.training.run import GrowingFile
from elman.training.trainable import GraphNode

__all__ = ["Board", "graph_def"]

_BINS = 64  # TensorBoard draws about 30


class Board:
    """One event file, for one session of training; resuming opens another.

    Args:
        folder: The run's folder of event files.
        step: Steps done before this session. TensorBoard forgets points after it that it may have seen.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        # Readers take the files in order of their names, so that the time comes first.
        self._file = GrowingFile(folder / f"events.out.tfevents.{time.time_ns():019d}.elman")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"), step)
        if step:
            self._write(Event(session_log=SessionLog(status=SessionLog.START)), step + 1)

    def log(self, point: Measurement) -> None:
        """One point of every curve: ``loss/train``, ``loss/validation``, ``learning_rate``, ..."""
        curves = {f"{name}/{point.split}": value for name, value in point.metrics.items()} | dict(point.speed)
        values = [Summary.Value(tag=tag, simple_value=number) for tag, number in curves.items()]
        self._write(Event(summary=Summary(value=values)), point.step)

    def histograms(self, parameters: Iterable[tuple[str, Tensor, Tensor | None]], step: int) -> None:
        """The distributions of all weights (``weights/...``) and of their gradients where they have one."""
        tensors: dict[str, Tensor] = {}
        for name, weight, gradient in parameters:
            tensors[f"weights/{name}"] = weight
            if gradient is not None:
                tensors[f"gradients/{name}"] = gradient
        values = [Summary.Value(tag=tag, histo=_histogram(tensor)) for tag, tensor in tensors.items()]
        self._write(Event(summary=Summary(value=values)), step)

    def images(self, pictures: Mapping[str, Tensor]) -> None:
        """Grids of pictures by title, each ``(N, C, H, W)`` of dtype uint8."""
        for title, pixels in pictures.items():
            grid = summary.image(title, pixels.cpu().numpy(), dataformats="NCHW")  # type: ignore[no-untyped-call]
            self._write(Event(summary=grid), 0)

    def graph(self, nodes: Sequence[GraphNode]) -> None:
        """The picture of the model."""
        self._write(Event(graph_def=graph_def(nodes).SerializeToString()), 0)

    def hyperparameters(self, config: Mapping[str, Any]) -> None:
        """The configuration, for TensorBoard's table of runs; the results in it are the curves' last points."""
        _, start, _ = summary.hparams(_flat(config), {})  # type: ignore[no-untyped-call]
        self._write(Event(summary=start), 0)

    def finish(self, step: int) -> None:
        """Mark the run as done in the table of runs."""
        _, _, end = summary.hparams({}, {})  # type: ignore[no-untyped-call]
        self._write(Event(summary=end), step)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event, step: int) -> None:
        event.wall_time, event.step = time.time(), step
        self._records.write(event.SerializeToString())


def graph_def(nodes: Sequence[GraphNode]) -> GraphDef:
    """The graph in TensorBoard's form. Slashes in names make the boxes that open and close.

    Raises:
        ValueError: If a name comes twice, or an input is the name of no node.

    Example:
        >>> graph = graph_def([GraphNode("images", "Input", shape=(-1, 28, 28)),
        ...                    GraphNode("readout/logits", "MatMul", ["images"])])
        >>> [(node.name, node.op, list(node.input)) for node in graph.node]
        [('images', 'Input', []), ('readout/logits', 'MatMul', ['images'])]
    """
    names = {node.name for node in nodes}
    if len(names) < len(nodes):
        raise ValueError("Two nodes of the graph have the same name.")
    unknown = sorted({name for node in nodes for name in node.inputs} - names)
    if unknown:
        raise ValueError(f"The graph has no node {unknown[0]!r}, which another one reads.")
    protos = [NodeDef(name=node.name, op=node.op, input=list(node.inputs), attr=_attributes(node)) for node in nodes]
    return GraphDef(node=protos, versions=VersionDef(producer=22))


def _attributes(node: GraphNode) -> dict[str, AttrValue]:
    attributes = {key: AttrValue(s=text.encode()) for key, text in node.attributes.items()}
    if node.shape is not None:
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in node.shape])
        attributes["_output_shapes"] = AttrValue(list=AttrValue.ListValue(shape=[shape]))
    return attributes


def _histogram(tensor: Tensor) -> HistogramProto:
    """Equal bins between the least and the greatest finite number; one bin where they are the same."""
    numbers = tensor.detach().double().cpu().numpy().ravel()
    numbers = numbers[np.isfinite(numbers)]
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)
    counts, edges = np.histogram(numbers, bins=_BINS if high > low else 1, range=(low, high) if high > low else None)
    limits = [*edges[1:-1], high]  # NumPy widens an empty range
    return HistogramProto(
        min=low,
        max=high,
        num=numbers.size,
        sum=float(numbers.sum()),
        sum_squares=float(numbers @ numbers),
        bucket_limit=limits,
        bucket=counts.tolist(),
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | float]:
    """The configuration without nesting: ``training.batch_size``."""
    flat: dict[str, str | float] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            plain = isinstance(value, str | float | int) and not isinstance(value, bool)
            flat[prefix + key] = value if plain else str(value)
    return flat
