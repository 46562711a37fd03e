"""``elman predict``: ask a run about files of your own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import tyro

from elman.cli.arguments import RunPath, parse
from elman.errors import OptionError

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run ``elman predict RUN FILE...``."""
    return parse(predict, argv, "predict")


def predict(
    run: RunPath,
    files: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="[FILE...]")]] = (),
    *,
    examples: int | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Ask a trained network: PNG or JPEG pictures are brought into the form of the training images, and it says how.

    Args:
        run: The run directory.
        files: The pictures.
        examples: Instead of files, this many test examples of the run's data.
        as_json: Print a JSON list.
    """
    if bool(files) == (examples is not None):
        raise OptionError("elman predict needs files, or --examples N, and not both.")
    from elman.tasks.base import Predictor
    from elman.tasks.runs import load_run, open_run

    if examples is not None:
        opened = open_run(run, Predictor)
        predictions = opened.examples(opened.model, examples)
    else:
        task, model = load_run(run, Predictor)
        predictions = task.predict(model, files)
    if as_json:
        print(json.dumps([prediction.as_json() for prediction in predictions]))
        return 0
    from rich.console import Console

    console = Console()
    for prediction in predictions:
        console.print(prediction)
        console.print()
    return 0
