"""``elman predict``: ask a run about files or texts of your own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro

from elman.cli.arguments import RunPath, parse
from elman.errors import OptionError

if TYPE_CHECKING:
    from elman.tasks.base import LabelPrediction, Prediction, Predictor

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run ``elman predict RUN FILE...``."""
    return parse(predict, argv, "predict")


def predict(
    run: RunPath,
    files: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="[FILE...]")]] = (),
    *,
    text: str | None = None,
    examples: int | None = None,
    columns: bool = False,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    conll: bool = False,
) -> int:
    """Ask a trained network about pictures or texts.

    A classifier of images reads PNG or JPEG pictures, brings them into the form of the training images, and says how. A
    tagger reads text: of words a sentence a line, punctuation set off by spaces, and of characters any text.

    Args:
        run: The run directory.
        files: The pictures, or texts; - reads a text from standard input.
        text: Instead of files, this text.
        examples: Instead of files, this many test examples of the run's data.
        columns: The files are CoNLL columns or CoNLL-U as in the training data, with tags or without.
        as_json: Print a JSON list.
        conll: Print the tags in columns, for programs that read those.
    """
    if bool(files) + (text is not None) + (examples is not None) != 1:
        raise OptionError("elman predict needs files, or --text TEXT, or --examples N, and one of them only.")
    if as_json and conll:
        raise OptionError("--json and --conll are two forms of the same: give one of them.")
    if "-" in files and len(files) > 1:
        raise OptionError("- is standard input, which is read alone: give it, or files.")
    if columns and ("-" in files or not files):
        raise OptionError("--columns says what files hold, and none is given.")
    from elman.tasks.base import Labeller, Predictor

    kind: type[Predictor[Any]] = Labeller if conll else Predictor
    predictions = _answers(run, kind, files, text, examples, columns)
    if as_json:
        print(json.dumps([prediction.as_json() for prediction in predictions]))
    elif conll:
        for prediction in cast("Iterable[LabelPrediction]", predictions):
            print(prediction.as_conll(), end="")
    else:
        _show(predictions)
    return 0


def _answers(
    run: RunPath,
    kind: type[Predictor[Any]],
    files: Sequence[str],
    text: str | None,
    examples: int | None,
    columns: bool,
) -> Iterable[Prediction]:
    from elman.cli.texts import standard_input
    from elman.tasks.base import Labeller
    from elman.tasks.runs import load_run, open_run

    if examples is not None:
        opened = open_run(run, kind)
        return opened.examples(opened.model, examples)
    if files and files != ("-",) and not columns:
        task, model = load_run(run, kind)
        return task.predict(model, files)
    labeller, model = load_run(run, Labeller)
    if columns:
        return labeller.predict_columns(model, files)
    if text is not None:
        return labeller.predict_text(model, text, "text")
    return labeller.predict_text(model, "".join(standard_input()), "standard input")


def _show(predictions: Iterable[Prediction]) -> None:
    from rich.console import Console
    from rich.segment import Segment, Segments

    from elman.cli.texts import visible

    console = Console()
    for prediction in predictions:
        segments = console.render(prediction)
        if console.is_terminal:  # which would obey the control characters of a text
            segments = (Segment(visible(text, keep="\n"), style) for text, style, _ in segments)
        console.print(Segments(segments))
        console.print()
