"""``elman explain``: what runs a layer, why, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from elman.cli.arguments import parse
from elman.cli.threads import using_threads
from elman.errors import OptionError, describe

__all__ = ["main"]

_Cell = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="CELL")]]


def main(argv: Sequence[str]) -> int:
    """Run ``elman explain CELL``."""
    return parse(explain, argv, "explain")


def explain(
    cell: _Cell,
    *,
    input_size: int = 128,
    hidden_size: int = 128,
    num_layers: int = 1,
    bidirectional: bool = False,
    batch: int = 128,
    steps: int = 28,
    dtype: Literal["float32", "float64"] = "float32",
    threads: int | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Say which backend runs a layer here, why, and what a training step costs: products, threads, memory.

    Nothing is run: the share of the processor's peak is foreseen, and elman bench measures it. x asks for no gradient.

    Args:
        cell: A name that `elman cells` lists, or my_module:MyCell.
        input_size: Features of x.
        hidden_size: Units of each layer and direction.
        num_layers: Layers on each other.
        bidirectional: Both directions.
        batch: Rows.
        steps: Time steps.
        dtype: Type of the weights and of x.
        threads: CPU threads; none: PyTorch's choice.
        as_json: Print JSON instead of text.
    """
    for flag, value in (("--batch", batch), ("--steps", steps)):
        if value < 1:
            raise OptionError(describe(flag, expected="at least 1", got=str(value)))
    import torch

    from elman.cells import find
    from elman.layers import Recurrent
    from elman.layers.explain import explain as explain_layer

    layer = Recurrent(
        find(cell), input_size, hidden_size, num_layers, bidirectional=bidirectional, dtype=getattr(torch, dtype)
    )
    with using_threads(threads):
        explanation = explain_layer(layer, (batch, steps, input_size))
    print(json.dumps(explanation.as_dict(), indent=2) if as_json else explanation)
    return 0
