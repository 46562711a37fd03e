from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.hparams import plugin_data_pb2
from toy_tasks import events

from elman.training.measurement import Measurement
from elman.training.tensorboard import Board, graph_def
from elman.training.trainable import GraphNode


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), {"histograms": 0, "images": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def point(step: int, loss: float) -> Measurement:
    return Measurement(step=step, epoch=0.0, samples=0, seconds=0.0, split="train", metrics={"loss": loss})


def test_a_resumed_session_replaces_points_that_a_reader_has_seen(tmp_path: Path) -> None:
    first = Board(tmp_path)
    for step in (1, 2, 3):
        first.log(point(step, float(step)))
    first.close()
    second = Board(tmp_path, step=1)  # the checkpoint was of step 1; the points 2 and 3 were not cut away
    second.log(point(2, 20.0))
    second.close()
    assert [(s.step, s.value) for s in read(tmp_path).Scalars("loss/train")] == [(1, 1.0), (2, 20.0)]


def test_histogram(tmp_path: Path) -> None:
    board = Board(tmp_path)
    values = torch.tensor([0.0, 1.0, 1.0, 4.0, float("nan"), float("inf")])
    tensors = {"a": values, "same": torch.full((3,), 2.0), "none": torch.empty(0)}
    board.histograms([(name, value, None) for name, value in tensors.items()], 7)
    board.histograms([("a", values, torch.tensor([-1.0, 3.0]))], 8)
    board.close()
    accumulator = read(tmp_path)
    first = accumulator.Histograms("weights/a")[0]
    value = first.histogram_value
    assert (first.step, value.min, value.max, value.num, value.sum, value.sum_squares) == (7, 0.0, 4.0, 4, 6.0, 18.0)
    limits, counts = np.array(value.bucket_limit), np.array(value.bucket)
    assert counts[(limits > 1.0) & (limits < 1.1)].sum() == 2
    assert counts[-1] == 1
    assert limits[-1] == 4.0
    same = accumulator.Histograms("weights/same")[0].histogram_value
    assert (list(same.bucket_limit), list(same.bucket), same.sum) == ([2.0], [3.0], 6.0)
    assert accumulator.Histograms("weights/none")[0].histogram_value.num == 0
    assert accumulator.Histograms("gradients/a")[0].histogram_value.sum == 2.0


def test_graph_and_images(tmp_path: Path) -> None:
    nodes = [
        GraphNode("rows", "Input", shape=(-1, 28, 28)),
        GraphNode("recurrent/step/f", "Sigmoid", ["rows"], attributes={"units": "128"}),
    ]
    board = Board(tmp_path)
    board.graph(nodes)
    board.images({"digits": torch.zeros(3, 1, 8, 8, dtype=torch.uint8)})
    board.close()
    accumulator = read(tmp_path)
    graph = accumulator.Graph()
    assert isinstance(graph, GraphDef)
    assert graph == graph_def(nodes)
    assert [d.size for d in graph.node[0].attr["_output_shapes"].list.shape[0].dim] == [-1, 28, 28]
    assert graph.node[1].attr["units"].s == b"128"
    picture = accumulator.Images("digits")[0]
    assert (picture.width, picture.height) == (24, 8)


def test_graph_faults() -> None:
    with pytest.raises(ValueError, match="same name"):
        graph_def([GraphNode("a", "x"), GraphNode("a", "y")])
    with pytest.raises(ValueError, match="no node 'b'"):
        graph_def([GraphNode("a", "x", ["b"])])


def test_hyperparameters(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.hyperparameters(
        {"cell": "lstm", "training": {"seed": 3, "clip_norm": None, "tensorboard": True}, "size": [1]}
    )
    board.finish(9)
    board.close()
    metadata = {tag: read(tmp_path).SummaryMetadata(tag) for tag in read(tmp_path).PluginTagToContent("hparams")}
    assert metadata.keys() == {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    content = metadata["_hparams_/session_start_info"].plugin_data.content
    given = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert {k: v.string_value or v.number_value for k, v in given.items()} == {
        "cell": "lstm",
        "training.seed": 3.0,
        "training.tensorboard": "True",
        "size": "[1]",
    }


def test_every_event_is_in_the_file_at_once(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    board = Board(tmp_path / "tensorboard")
    sizes = []
    for step in (1, 2):
        board.log(point(step, 0.5))
        sizes.append(sum(file.stat().st_size for file in (tmp_path / "tensorboard").iterdir()))
        assert [step for step, *_ in events(tmp_path)] == list(range(1, step + 1))
    assert sizes[0] < sizes[1]
    board.close()
