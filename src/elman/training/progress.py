"""What long work says while it runs: training a live line on a terminal, plain lines elsewhere; files a bar each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from elman.training.measurement import Measurement

__all__ = ["LiveReporter", "PlainReporter", "Reporter", "byte_bars", "reporter_for"]


class Reporter(Protocol):
    """Told by the loop what happens."""

    def start(self, step: int, total_steps: int, steps_per_epoch: int, unit: str) -> None:
        """Training begins, or goes on after ``step`` steps; its examples are counted in this unit, ``samples``."""

    def update(self, point: Measurement) -> None:
        """How it stands: at most four times a second."""

    def log(self, train: Measurement, validation: Measurement | None) -> None:
        """A point of the curves; with an evaluation at the end of an epoch and of training."""

    def message(self, text: str) -> None:
        """Something that the user should know."""

    def close(self) -> None:
        """Training is over, however it ended."""


class PlainReporter:
    """A line for each point of the curves, for files, pipes and dumb terminals.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._length = _Length(0, 1, 1, "samples")

    def start(self, step: int, total_steps: int, steps_per_epoch: int, unit: str) -> None:
        """Note the length of training."""
        self._length = _Length(step, total_steps, steps_per_epoch, unit)

    def update(self, point: Measurement) -> None:
        """Nothing: lines that have been printed cannot be refreshed."""

    def log(self, train: Measurement, validation: Measurement | None) -> None:
        """Print one line."""
        parts = [self._length.where(train.step), _metrics(train), self._length.pace(train)]
        if validation is not None:
            parts.insert(2, _validation(validation))
        self.message("  ".join(parts))

    def message(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Nothing to tidy up."""


class LiveReporter(PlainReporter):
    """One line that is kept up to date, under the lines of the epochs.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        columns = (TextColumn("{task.fields[where]}"), BarColumn(), TextColumn("{task.fields[metrics]}"))
        # No thread of its own: it would take processor time from the training at moments of its choice.
        self._bar = Progress(*columns, console=console, auto_refresh=False, transient=True)
        self._task: TaskID | None = None

    def start(self, step: int, total_steps: int, steps_per_epoch: int, unit: str) -> None:
        """Show the line."""
        super().start(step, total_steps, steps_per_epoch, unit)
        where = self._length.where(step)
        self._task = self._bar.add_task("", total=total_steps, completed=step, where=where, metrics="")
        self._bar.start()

    def update(self, point: Measurement) -> None:
        """Refresh the line."""
        assert self._task is not None  # start comes first
        metrics = f"{_metrics(point)}  {self._length.pace(point)}"
        self._bar.update(self._task, completed=point.step, where=self._length.where(point.step), metrics=metrics)
        self._bar.refresh()

    def log(self, train: Measurement, validation: Measurement | None) -> None:
        """Leave a line for an epoch above the live one, which shows step and pace."""
        if validation is None:
            self.update(train)
        else:
            self.message("  ".join([self._length.epoch(train.step), _metrics(train), _validation(validation)]))

    def close(self) -> None:
        """Take the line away."""
        self._bar.stop()


def reporter_for(console: Console | None = None) -> Reporter:
    """A live line where the console is a terminal, plain lines elsewhere.

    Args:
        console: Where to print; standard error by default, so that standard output is left to results.
    """
    console = console or Console(stderr=True)
    return LiveReporter(console) if console.is_terminal and not console.is_dumb_terminal else PlainReporter(console)


@contextmanager
def byte_bars(console: Console | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Give what is to be called with (name, bytes so far, bytes in all); it shows a bar a name from its first call on.

    Args:
        console: Where to show them; standard error by default.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bars = Progress(*columns, console=console or Console(stderr=True))
    tasks: dict[str, TaskID] = {}
    with ExitStack() as shown:

        def progress(name: str, done: int, total: int) -> None:
            if not tasks:
                shown.enter_context(bars)
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield progress


class _Length:
    """How far training is, in words."""

    def __init__(self, step: int, total_steps: int, steps_per_epoch: int, unit: str) -> None:
        self._first, self._total, self._per_epoch, self._unit = step, total_steps, steps_per_epoch, unit
        self._started = time.perf_counter()

    def where(self, step: int) -> str:
        """``epoch 2/10  step 431/4300``: the epoch that the last step belongs to."""
        return f"{self.epoch(step)}  step {step:>{len(str(self._total))}}/{self._total}"

    def epoch(self, step: int) -> str:
        """``epoch 2/10``."""
        epochs = -(-self._total // self._per_epoch)
        epoch = min(max(1, -(-step // self._per_epoch)), epochs)
        return f"epoch {epoch:>{len(str(epochs))}}/{epochs}"

    def pace(self, point: Measurement) -> str:
        """``12,000 samples/s  1:05 left``: the time left goes by this session alone."""
        done = point.step - self._first
        left = (time.perf_counter() - self._started) / done * (self._total - point.step) if done else 0.0
        return f"{point.speed['samples_per_second']:,.0f} {self._unit}/s  {_clock(left)} left"


def _metrics(point: Measurement) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in point.metrics.items())


def _validation(point: Measurement) -> str:
    return f"validation {_metrics(point)}{' (best)' if point.best else ''}"


def _clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    Example:
        >>> _clock(65.4), _clock(7265)
        ('1:05', '2:01:05')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
