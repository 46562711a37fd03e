"""What the training loop and the batching cost a step, beside the network's own work.

    python benchmarks/training_loop.py

The same steps are done by a bare PyTorch loop and by `elman.training.train`, in turn, in one thread, in processor time,
which other programs on the machine disturb less than the clock. What a run does once (graph, histograms, the first and
the last checkpoint) is left out by taking the difference of a long and a short run. The loop's own cost does not depend
on the size of the layers, so they are small; batching is compared with a step of the ``mnist`` preset as it stands.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from elman.data import LabelledData, LabelledSequences
from elman.tasks.classification.task import Classification
from elman.tasks.configuration import to_mapping
from elman.tasks.registry import find_preset, find_task
from elman.tasks.runs import train_run
from elman.training import PlainReporter, RunDirectory, prepare

SHORT, LONG, ROUNDS = 100, 400, 9
SMALL = 16  # hidden units


def random_images() -> LabelledData:
    """As many images as the long run reads, of MNIST's size."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (LONG * 128, 28, 28), dtype=torch.uint8, generator=generator)
    y = torch.randint(0, 10, (len(x),), generator=generator)
    sequences = LabelledSequences(x, y)
    return LabelledData("random", sequences, None, sequences.select(slice(0, 1000)), tuple("0123456789"), 1 / 255)


def make_task(data: LabelledData, steps: int, hidden_size: int) -> Classification:
    """The ``mnist`` preset, on this data, for so many steps."""
    _, config = find_preset("mnist")
    training = replace(config.training.with_length(steps=steps), threads=1)
    model = replace(config.model, hidden_size=hidden_size, input_projection=hidden_size)
    prepare(training)
    return Classification(replace(config, data="random", validation=0, model=model, training=training), data)


def bare(data: LabelledData, steps: int, hidden_size: int = SMALL) -> float:
    """Seconds of the loop that one would write by hand."""
    task = make_task(data, steps, hidden_size)
    optimizer = torch.optim.Adam(task.model.parameters(), lr=1e-3, fused=True)
    start = time.process_time()
    for step in range(steps):
        optimizer.zero_grad()
        task.loss(task.model, task.batch(step)).loss.backward()
        optimizer.step()
    return time.process_time() - start


def looped(data: LabelledData, steps: int) -> float:
    """Seconds of `elman.training.train`."""
    task = make_task(data, steps, SMALL)
    with tempfile.TemporaryDirectory() as folder:
        mapping = to_mapping(find_task(task.name), task.config)
        run = RunDirectory.create(Path(folder) / "run", mapping, title="benchmark")
        start = time.process_time()
        train_run(run, task, PlainReporter(Console(quiet=True)))
        return time.process_time() - start


def batching(data: LabelledData, steps: int) -> float:
    """Seconds of making the batches alone."""
    task = make_task(data, steps, SMALL)
    start = time.process_time()
    for step in range(steps):
        task.batch(step)
    return time.process_time() - start


def main() -> None:
    """Measure in turn and print."""
    data = random_images()
    added, batches, steps = [], [], []
    for _ in range(ROUNDS):
        slopes = [(measure(data, LONG) - measure(data, SHORT)) / (LONG - SHORT) for measure in (bare, looped)]
        added.append((slopes[1] - slopes[0]) * 1e3)
        batches.append(batching(data, SHORT) / SHORT * 1e3)
        steps.append(bare(data, 20, hidden_size=128) / 20 * 1e3)
    low, middle, high = statistics.quantiles(added, n=4)
    print(f"the loop adds {middle:.3f} ms a step (quartiles {low:.3f} and {high:.3f})")
    share = statistics.median(batches) / statistics.median(steps)
    print(f"batching takes {statistics.median(batches):.3f} ms, {share:.2%} of a step of the mnist preset")


if __name__ == "__main__":
    main()
