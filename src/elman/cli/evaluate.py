"""``elman evaluate``: measure a run on held-out examples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from elman.cli.arguments import RunPath, parse

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run ``elman evaluate RUN``."""
    return parse(evaluate, argv, "evaluate")


def evaluate(
    run: RunPath,
    *,
    split: Literal["test", "validation", "train"] = "test",
    data: str | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Measure the best model of a run; without validation split, the last.

    Args:
        run: The run directory.
        split: Which examples.
        data: Other data of the same make, or where the run's data is now.
        as_json: Print one line of JSON.
    """
    from elman.tasks.runs import evaluate_run

    result = evaluate_run(run, split=split, data=data)
    if as_json:
        print(json.dumps(result))
        return 0
    width = max(map(len, result))
    for name, value in result.items():
        print(f"{name:<{width}}  {f'{value:.4f}' if isinstance(value, float) else value}")
    return 0
