"""``elman check --flow``: do gradients vanish or explode on their way back through time?"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from elman.cli.arguments import parse
from elman.errors import OptionError, describe

if TYPE_CHECKING:
    from torch import Tensor

    from elman.insight import GradientFlow

__all__ = ["main"]

_WIDTH = 20  # characters of a curve
_LEVELS = "·▁▂▃▄▅▆▇█"  # a power of ten each, the last is the largest norm of the row
_OVERFLOWN = "∞"

_Names = tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="CELL|RUN ...")]]


def main(argv: Sequence[str]) -> int:
    """Run ``elman check --flow CELL|RUN ...``."""
    return parse(flow, argv, "check --flow")


def flow(
    names: _Names,
    *,
    steps: int = 100,
    hidden_size: int = 128,
    seed: int = 0,
    examples: int = 100,
    plot: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Measure the norm of ∂L/∂h_t, and of every other state, for every step t, where L depends on the last step alone.

    A cell is not trained: its weights are fresh and x is noise. A run is measured with what it has learned, on its
    first test examples, L being the loss of the answer at the last step.

    Args:
        names: Names that `elman cells` lists, my_module:MyCell, or run directories of classifiers and memory problems.
        steps: T, of cells.
        hidden_size: Units, of cells.
        seed: Of weights and noise, of cells.
        examples: Test examples, of runs.
        plot: Draw all of them as one picture: a file that ends in .svg or .png or .pdf.
        as_json: Print JSON instead of a table.
    """
    for flag, value in (("--steps", steps), ("--hidden-size", hidden_size), ("--examples", examples)):
        if value < 1:
            raise OptionError(describe(flag, expected="at least 1", got=str(value)))
    if not names:
        raise OptionError("elman check --flow needs the name of a cell, or a run directory.")
    if plot is not None:
        from elman.bench.plot import check_target

        check_target(plot)
    flows = {
        name: _of_run(Path(name), examples) if _is_run(name) else _of_cell(name, steps, hidden_size, seed)
        for name in names
    }
    if plot is not None:
        from elman.insight.plot import draw

        draw(flows, plot)
    if as_json:
        print(json.dumps(_as_json(flows)))
    else:
        _show(flows)
    return 0


def _is_run(name: str) -> bool:
    return "/" in name or (Path(name) / "config.yaml").is_file()


def _of_run(path: Path, examples: int) -> GradientFlow:
    from elman.tasks.runs import open_run
    from elman.tasks.sequence.task import SequenceTask

    return open_run(path, SequenceTask).gradient_flow(examples)


def _of_cell(name: str, steps: int, hidden_size: int, seed: int) -> GradientFlow:
    from elman import insight
    from elman.cells import find

    return insight.fresh_flow(find(name), steps=steps, hidden_size=hidden_size, seed=seed)


def _as_json(flows: Mapping[str, GradientFlow]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "place": curve.place,
            "state": curve.state,
            "norms": [_finite(norm) for norm in curve.norms.tolist()],
            "rate": _finite(curve.rate),
            "verdict": curve.verdict,
        }
        for name, found in flows.items()
        for curve in found.curves()
    ]


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _show(flows: Mapping[str, GradientFlow]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", "first → last", "", box=None)
    for title in ("first", "last", "a step"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, found in flows.items():
        stacked = next(iter(found.norms.values())).shape[:2] != (1, 1)
        for curve in found.curves():
            what = f"∂L/∂{curve.state}" + (f" {curve.place}" if stacked else "")
            first, last = (f"{curve.norms[k]:.1e}" for k in (0, -1))
            colour = "green" if curve.verdict == "flows" else "red"
            bars, verdict = Text(_bars(curve.norms), no_wrap=True), Text(curve.verdict, colour)
            table.add_row(name, what, bars, verdict, first, last, f"x {curve.rate:.3g}")
    table.caption = "a level is a factor of 10; · is less than 1e-7 of the largest"
    Console().print(table)


def _bars(norms: Tensor) -> str:
    """Draw norms on a logarithmic scale: a character for a few steps, by the largest of them."""
    finite = norms[norms.isfinite()]
    top = float(finite.max()) if len(finite) else 0.0
    return "".join(_sign(float(part.max()), top) for part in norms.tensor_split(min(len(norms), _WIDTH)))


def _sign(norm: float, top: float) -> str:
    """Draw a norm beside the largest finite one."""
    if not math.isfinite(norm):
        return _OVERFLOWN
    lowest = 1 - len(_LEVELS)
    return _LEVELS[max(lowest, math.floor(math.log10(norm / top))) - 1] if norm / (top or 1.0) else _LEVELS[0]
