from __future__ import annotations

import io
import re

from rich.console import Console

from elman.training.measurement import Measurement
from elman.training.progress import LiveReporter, PlainReporter, reporter_for


def measured(step: int, split: str = "train", best: bool | None = None) -> Measurement:
    speed = {"samples_per_second": 12345.6, "learning_rate": 0.1} if split == "train" else {}
    return Measurement(
        step=step, epoch=step / 10, samples=8 * step, seconds=1.0, split=split,  # type: ignore[arg-type]
        metrics={"loss": 0.5, "accuracy": 0.75}, speed=speed, best=best,
    )  # fmt: skip


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=150, _environ={"TERM": "xterm"}), out


def test_plain_lines() -> None:
    where, out = console(terminal=False)
    reporter = reporter_for(where)
    assert type(reporter) is PlainReporter
    reporter.start(0, 25, 10, "words")
    reporter.update(measured(3))
    reporter.log(measured(5), None)
    reporter.log(measured(10), measured(10, "validation", best=True))
    reporter.log(measured(25), measured(25, "validation", best=False))
    reporter.message("[a note]")
    reporter.close()
    lines = re.sub(r"\d+:\d\d left", "T left", out.getvalue()).splitlines()
    assert lines == [
        "epoch 1/3  step  5/25  loss 0.5000  accuracy 0.7500  12,346 words/s  T left",
        "epoch 1/3  step 10/25  loss 0.5000  accuracy 0.7500  validation loss 0.5000  accuracy 0.7500 (best)"
        "  12,346 words/s  T left",
        "epoch 3/3  step 25/25  loss 0.5000  accuracy 0.7500  validation loss 0.5000  accuracy 0.7500"
        "  12,346 words/s  T left",
        "[a note]",
    ]


def test_live_line_and_lines_of_epochs() -> None:
    where, out = console(terminal=True)
    reporter = reporter_for(where)
    assert type(reporter) is LiveReporter
    reporter.start(0, 25, 10, "words")
    reporter.update(measured(3))
    assert "step  3/25" in out.getvalue()
    assert "12,346 words/s" in out.getvalue()
    reporter.log(measured(5), None)
    assert "step  5/25" in out.getvalue()
    reporter.log(measured(10), measured(10, "validation"))
    reporter.close()
    assert "validation loss 0.5000" in out.getvalue()


def test_dumb_terminal_gets_plain_lines() -> None:
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert type(reporter_for(dumb)) is PlainReporter


def test_time_left_goes_by_this_session() -> None:
    where, out = console(terminal=False)
    reporter = PlainReporter(where)
    reporter.start(90, 100, 10, "samples")
    reporter.log(measured(90), None)
    assert "0:00 left" in out.getvalue()
