"""Training: one loop for every task.

==================  ================================================================================
``config.py``       what people tune: length, batch, optimiser, schedule, device (imports no torch)
``schedule.py``     the learning rate of a step
``trainable.py``    what the loop asks of a task
``loop.py``         the loop: steps, evaluation, early stopping, resuming
``clipping.py``     clipping in the optimiser's own pass over the gradients
``checkpoint.py``   one safetensors file with all that resuming needs
``run.py``          the run directory and its journals
``measurement.py``  a point of the curves
``progress.py``     the live line, or plain lines; bars
``tensorboard.py``  curves, histograms, graph, pictures, hyper-parameters
``interruption.py`` Ctrl-C and SIGTERM between steps
==================  ================================================================================

The names below are loaded when they are first used: importing this package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elman.lazy import exports

if TYPE_CHECKING:
    from elman.training.checkpoint import Checkpoint, Progress, load_checkpoint
    from elman.training.config import TrainingConfig
    from elman.training.loop import Summary, prepare, train
    from elman.training.measurement import Measurement
    from elman.training.progress import LiveReporter, PlainReporter, Reporter, byte_bars, reporter_for
    from elman.training.run import RunDirectory
    from elman.training.schedule import learning_rate
    from elman.training.tensorboard import Board, graph_def
    from elman.training.trainable import GraphNode, StepResult, Trainable

_HOME = {
    "elman.training.checkpoint": (
        "Checkpoint",
        "Progress",
        "load_checkpoint",
    ),
    "elman.training.config": ("TrainingConfig",),
    "elman.training.loop": (
        "Summary",
        "prepare",
        "train",
    ),
    "elman.training.measurement": ("Measurement",),
    "elman.training.progress": (
        "LiveReporter",
        "PlainReporter",
        "Reporter",
        "byte_bars",
        "reporter_for",
    ),
    "elman.training.run": ("RunDirectory",),
    "elman.training.schedule": ("learning_rate",),
    "elman.training.tensorboard": (
        "Board",
        "graph_def",
    ),
    "elman.training.trainable": (
        "GraphNode",
        "StepResult",
        "Trainable",
    ),
}
__getattr__, __dir__ = exports(__name__, _HOME)

__all__ = [
    "Board",
    "Checkpoint",
    "GraphNode",
    "LiveReporter",
    "Measurement",
    "PlainReporter",
    "Progress",
    "Reporter",
    "RunDirectory",
    "StepResult",
    "Summary",
    "Trainable",
    "TrainingConfig",
    "byte_bars",
    "graph_def",
    "learning_rate",
    "load_checkpoint",
    "prepare",
    "reporter_for",
    "train",
]
