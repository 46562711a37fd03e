from __future__ import annotations

import math
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from toy_tasks import Carried, Silent, Softmax, assert_same, curves, events, go_on

from elman.errors import CheckpointError, DivergenceError, OptionError
from elman.training import RunDirectory, StepResult, TrainingConfig, load_checkpoint, prepare, train

Go = Callable[..., tuple[RunDirectory, Any]]
NewRun = Callable[..., RunDirectory]


def weights(run: RunDirectory) -> dict[str, Tensor]:
    return load_checkpoint(run.last).group("model")


# The mathematics


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "adam", "learning_rate": 0.01},
        {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "warmup_steps": 4},
        {"optimizer": "sgd", "learning_rate": 0.5, "momentum": 0.9, "clip_norm": 0.3},
        {"optimizer": "sgd", "learning_rate": 0.3, "weight_decay": 0.01, "schedule": "exponential", "decay": 0.5},
    ],
)
def test_trains_as_a_loop_written_by_hand(go: Go, fields: dict[str, Any]) -> None:
    run, summary = go(epochs=3, **fields)
    config = TrainingConfig(epochs=3, threads=1, **fields)
    prepare(config)
    task = Softmax(config)
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    extra = {"momentum": config.momentum} if config.optimizer == "sgd" else {}
    parameters = list(task.model.parameters())
    optimizer = kinds[config.optimizer](parameters, weight_decay=config.weight_decay, **extra)
    losses = []
    for step in range(15):
        factor = {
            "cosine": 0.5 + 0.5 * math.cos(math.pi * max(0, step - 4) / 11),
            "exponential": 0.5 ** (step // 5 + 1),
        }
        rate = config.learning_rate * factor.get(config.schedule, 1.0)
        rate *= min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        optimizer.param_groups[0]["lr"] = rate
        x, y = task.batch(step)
        optimizer.zero_grad()
        loss = F.cross_entropy(task.model(x), y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm or math.inf)
        optimizer.step()
        losses.append((loss.item(), len(y), norm.item()))
    for name, value in task.model.state_dict().items():
        torch.testing.assert_close(weights(run)[name], value, rtol=1e-5, atol=1e-6)
    assert (summary.outcome, summary.step, summary.epoch, summary.samples) == ("finished", 15, 3.0, 111)
    last = [line for line in curves(run.path) if line["split"] == "train"][-1]  # means since step 12
    expected = sum(loss * count for loss, count, _ in losses[12:]) / sum(count for _, count, _ in losses[12:])
    assert last["loss"] == pytest.approx(expected, rel=1e-4)
    assert last["gradient_norm"] == pytest.approx(losses[-1][2], rel=1e-3)
    assert last["learning_rate"] == pytest.approx(rate)


def test_learns(go: Go) -> None:
    run, summary = go(epochs=30, learning_rate=0.02)
    losses = [line["loss"] for line in curves(run.path) if line["split"] == "train"]
    assert losses[0] > 1.0
    assert losses[-1] < 0.2
    assert summary.validation["accuracy"] > 0.8  # by chance: 0.33


def test_clipping_is_to_the_global_norm(new_run: NewRun) -> None:
    run = new_run(steps=1, optimizer="sgd", learning_rate=1.0, clip_norm=1e-3)
    before = {}

    class Watched(Softmax):
        def batch(self, step: int) -> tuple[Tensor, Tensor]:
            before.update({name: value.clone() for name, value in self.model.state_dict().items()})
            return super().batch(step)

    go_on(run.path, task=Watched)
    moved = torch.cat([(value - before[name]).flatten() for name, value in weights(run).items()])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16)])
def test_precision_resumes_to_the_same_bits(go: Go, precision: str, dtype: torch.dtype) -> None:
    run, _ = go("whole", epochs=2, precision=precision)
    part, _ = go("part", steps=7, precision=precision)
    assert weights(run)["0.weight"].dtype == dtype
    go_on(part.path, steps=None, epochs=2)
    # The first length ended at a point of its own, so that its curves have one more: compare the weights.
    assert all(torch.equal(value, weights(part)[name]) for name, value in weights(run).items())


# Curves


def test_curve_points(go: Go) -> None:
    run, _ = go(epochs=2)
    points = [(line["step"], line["split"]) for line in curves(run.path)]
    train_steps, both = [3, 6, 9], [5, 10]
    expected = sorted([(s, "train") for s in train_steps + both] + [(s, "validation") for s in both])
    assert sorted(points) == expected
    first = curves(run.path)[0]
    assert (first["epoch"], first["samples"]) == (0.6, 24)
    assert curves(run.path)[2].keys() == {"step", "epoch", "samples", "split", "loss", "accuracy", "best"}


def test_tensorboard(go: Go) -> None:
    run, _ = go(epochs=2)
    board = EventAccumulator(str(run.tensorboard), {"histograms": 0, "images": 0})
    board.Reload()
    tags = board.Tags()
    assert tags["graph"]
    assert tags["images"] == ["samples"]
    assert {"loss/train", "loss/validation", "accuracy/train", "accuracy/validation"} < set(tags["scalars"])
    assert {"learning_rate", "gradient_norm", "samples_per_second"} < set(tags["scalars"])
    validation = [line for line in curves(run.path) if line["split"] == "validation"]
    for point, line in zip(board.Scalars("accuracy/validation"), validation, strict=True):
        assert (point.step, point.value) == (line["step"], pytest.approx(line["accuracy"]))
    assert [h.step for h in board.Histograms("weights/0/weight")] == [0, 5, 10]
    assert [h.step for h in board.Histograms("gradients/3/bias")] == [5, 10]
    last = board.Histograms("weights/0/weight")[-1].histogram_value
    assert last.sum == pytest.approx(float(weights(run)["0.weight"].double().sum()))


def test_no_tensorboard(go: Go) -> None:
    run, _ = go(steps=2, tensorboard=False)
    assert list(run.tensorboard.iterdir()) == []


# Evaluation


class Scripted(Softmax):
    """Evaluations come from a list."""

    scores: list[float]

    def evaluate(self, model: nn.Module) -> dict[str, float] | None:
        position = round(float(model.bias_steps))  # the evaluations of a resumed run go on in the list
        return {"accuracy": self.scores[position]}

    def loss(self, model: nn.Module, batch: Any) -> StepResult:
        model.bias_steps += 1 / self.steps_per_epoch
        return super().loss(model, batch)


def scripted(scores: list[float], mode: str = "max") -> type[Scripted]:
    class Task(Scripted):
        monitor = ("accuracy", mode)

        def __init__(self, config: TrainingConfig) -> None:
            super().__init__(config)
            self.scores = [math.nan, *scores]
            self.model.register_buffer("bias_steps", torch.tensor(0.0, dtype=torch.float64))

    return Task


def test_best_checkpoint_and_early_stopping(new_run: NewRun) -> None:
    run = new_run(epochs=10, patience=2)
    summary = go_on(run.path, task=scripted([0.1, 0.5, math.nan, 0.6, 0.6, 0.5, 0.9]))
    assert (summary.outcome, summary.step) == ("stopped early", 30)  # an equal value and NaN are no improvements
    assert (summary.best_step, summary.best_value) == (20, 0.6)
    assert load_checkpoint(run.best).document.progress.step == 20
    assert load_checkpoint(run.last).document.progress.step == 30
    best = [line["step"] for line in curves(run.path) if line.get("best")]
    assert best == [5, 10, 20]
    before = events(run.path)
    again = go_on(run.path, task=scripted([0.1, 0.5, math.nan, 0.6, 0.6, 0.5, 0.9]))
    assert again == summary
    assert events(run.path) == before
    assert go_on(run.path, task=scripted([0.0] * 6 + [0.9] * 4), patience=None).step == 50


def test_lower_can_be_better(new_run: NewRun) -> None:
    run = new_run(epochs=3)
    summary = go_on(run.path, task=scripted([0.5, 0.2, 0.3], mode="min"))
    assert (summary.outcome, summary.best_step, summary.best_value) == ("finished", 10, 0.2)


class Unvalidated(Softmax):
    def evaluate(self, model: nn.Module) -> dict[str, float] | None:
        return None


def test_without_a_validation_split(new_run: NewRun) -> None:
    run = new_run(epochs=1)
    summary = go_on(run.path, task=Unvalidated)
    assert (summary.validation, summary.best_step, run.best.exists()) == ({}, None, False)
    assert {line["split"] for line in curves(run.path)} == {"train"}
    with pytest.raises(OptionError, match=r"--patience .* no validation split"):
        go_on(new_run("other", epochs=1, patience=1).path, task=Unvalidated)


# Stopping and going on


@pytest.mark.parametrize("task", ["softmax", "carried"])
def test_an_interrupted_run_goes_on_to_the_same_bits(new_run: NewRun, task: str) -> None:
    whole = new_run("whole", task=task, epochs=4, checkpoint_seconds=1000)
    go_on(whole.path)
    run = new_run("cut", task=task, epochs=4, checkpoint_seconds=0)  # a checkpoint a step changes nothing
    kind = {"softmax": Softmax, "carried": Carried}[task]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stops = {1: signal.SIGINT, 2: signal.SIGTERM, 9: signal.SIGTERM, 16: signal.SIGINT}
    for step, number in stops.items():

        class Stopping(kind):  # type: ignore[misc, valid-type]
            def batch(self, step: int, stop: int = step, number: int = number) -> Any:
                if step == stop - 1:
                    os.kill(os.getpid(), number)
                return super().batch(step)

        summary = go_on(run.path, task=Stopping)
        assert (summary.outcome, summary.step, summary.signal) == ("interrupted", step, number)
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
        assert load_checkpoint(run.last).document.progress.step == step
    assert go_on(run.path).outcome == "finished"
    assert_same(whole.path, run.path)


def test_a_signal_in_the_last_step_changes_nothing(new_run: NewRun) -> None:
    class Late(Softmax):
        def batch(self, step: int) -> Any:
            if step == 3:
                signal.raise_signal(signal.SIGTERM)
            return super().batch(step)

    summary = go_on(new_run(steps=4).path, task=Late)
    assert (summary.outcome, summary.signal, summary.step) == ("finished", None, 4)


def test_a_second_interrupt_stops_at_once(new_run: NewRun) -> None:
    class Impatient(Softmax):
        def batch(self, step: int) -> Any:
            if step == 2:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return super().batch(step)

    run = new_run(epochs=2)
    with pytest.raises(KeyboardInterrupt):
        go_on(run.path, task=Impatient)
    assert load_checkpoint(run.last).document.progress.step == 0
    assert go_on(run.path).step == 10  # the lock is free


def test_a_failure_between_checkpoints_leaves_no_double_points(new_run: NewRun) -> None:
    whole, run = new_run("whole", epochs=3), new_run("cut", epochs=3)
    go_on(whole.path)

    class Failing(Softmax):
        def batch(self, step: int) -> Any:
            if step == 9:
                raise RuntimeError("the plug was pulled")
            return super().batch(step)

    with pytest.raises(RuntimeError, match="plug"):
        go_on(run.path, task=Failing)
    assert [line["step"] for line in curves(run.path)][-1] == 9  # beyond the checkpoint of step 5
    go_on(run.path)
    assert_same(whole.path, run.path)


def test_a_finished_run_is_extended_and_else_left_alone(go: Go) -> None:
    whole, _ = go("whole", epochs=4)
    run, summary = go("part", epochs=2)
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    assert go_on(run.path) == summary
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == before
    assert go_on(run.path, epochs=4).step == 20
    assert all(torch.equal(value, weights(run)[name]) for name, value in weights(whole).items())
    assert curves(run.path) == curves(whole.path)


def test_threads_of_the_checkpoint_are_used_again(new_run: NewRun) -> None:
    run = new_run(steps=4)
    go_on(run.path, threads=2, steps=2)
    torch.set_num_threads(1)
    reporter = Silent()
    go_on(run.path, threads=None, reporter=reporter)
    assert torch.get_num_threads() == 2
    assert reporter.messages == []
    go_on(run.path, threads=1, steps=5, reporter=reporter)
    assert reporter.messages == ["threads was 2 and is 1 now: the results will not be the same bits."]


def test_what_does_not_fit_is_refused_and_nothing_is_lost(go: Go) -> None:
    run, _ = go(steps=3)
    before = run.last.read_bytes()
    with pytest.raises(CheckpointError, match="seed was 0 and is 1 now"):
        go_on(run.path, steps=5, seed=1)
    with pytest.raises(CheckpointError, match="optimizer was 'adam' and is 'sgd' now"):
        go_on(run.path, steps=5, optimizer="sgd")

    class Longer(Softmax):
        def __init__(self, config: TrainingConfig) -> None:
            super().__init__(config)
            self.steps_per_epoch = 6

        def description(self) -> Mapping[str, Any]:
            return {"classes": ["a", "b"]}

    message = r"steps an epoch was 5 and is 6 now; classes was \['a', 'b', 'c'\] and is \['a', 'b'\] now"
    with pytest.raises(CheckpointError, match=message):
        go_on(run.path, steps=5, task=Longer)

    class Wider(Softmax):
        def __init__(self, config: TrainingConfig) -> None:
            super().__init__(config)
            self.model = nn.Sequential(nn.Linear(6, 17), nn.Tanh(), nn.Dropout(0.3), nn.Linear(17, 3))

    with pytest.raises(CheckpointError, match=r"0.weight has shape \(16, 6\) where the model has \(17, 6\)"):
        go_on(run.path, steps=5, task=Wider)
    assert run.last.read_bytes() == before
    run.last.write_bytes(before[:-5])
    with pytest.raises(CheckpointError, match="cannot be read"):
        go_on(run.path, steps=5)


def test_one_process_at_a_time(new_run: NewRun) -> None:
    run = new_run(steps=1)
    with run.lock(), pytest.raises(CheckpointError, match="another process"):
        go_on(run.path)


# Faults


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_divergence_stops_before_the_weights_are_spoilt(new_run: NewRun, bad: float, clip_norm: float | None) -> None:
    class Diverging(Softmax):
        def loss(self, model: nn.Module, batch: Any) -> StepResult:
            result = super().loss(model, batch)
            self.steps = getattr(self, "steps", 0) + 1
            return StepResult(result.loss * (bad if self.steps == 8 else 1.0), result.count, result.sums)

    run = new_run(epochs=3, clip_norm=clip_norm, learning_rate=0.01)
    message = rf"Step 8: the loss must be a finite number, got {bad}\. .*--learning-rate \(now 0.01\).*--clip-norm\. "
    with pytest.raises(DivergenceError, match=message + rf".*of step 5, is kept: {re.escape(str(run.last))}"):
        go_on(run.path, task=Diverging)
    assert all(value.isfinite().all() for value in weights(run).values())
    assert go_on(run.path).outcome == "finished"


def test_a_gradient_that_is_not_finite(new_run: NewRun) -> None:
    class Sharp(Softmax):
        def loss(self, model: nn.Module, batch: Any) -> StepResult:
            zero = (model(batch[0]) * 0.0).sum()
            return StepResult(zero.sqrt(), 1)  # 0, with an infinite slope

    with pytest.raises(DivergenceError, match=r"Step 1: the gradient's norm must be a finite number, got (nan|inf)"):
        go_on(new_run(steps=3).path, task=Sharp)


def test_a_device_that_is_not_there(new_run: NewRun) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(OptionError, match=r"--device must be one that is here \(auto, cpu.*\), got cuda"):
        go_on(new_run(steps=1).path, device="cuda")


def test_prepare_seeds_and_sets_threads() -> None:
    prepare(TrainingConfig(steps=1, seed=5, threads=1))
    first = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(3))
    assert torch.get_num_threads() == 1


def test_trains_in_a_thread_without_signals(new_run: NewRun) -> None:
    import threading

    run = new_run(steps=2)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(go_on(run.path)))
    thread.start()
    thread.join()
    assert results[0].outcome == "finished"


def test_train_is_public(new_run: NewRun) -> None:
    config = TrainingConfig(steps=1, device="cpu", seed=9)
    prepare(config)
    run: RunDirectory = new_run(steps=1, seed=9)
    assert train(Softmax(config), config, run, reporter=Silent()).step == 1
    assert isinstance(run.path, Path)
