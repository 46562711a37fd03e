"""Several gradient flows as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from elman.insight.gradient_flow import GradientFlow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

_STYLES: Final = ("-", "--", ":", "-.")
_DEEPEST: Final = 1e-16  # of the largest norm: what is less is nothing beside it in double precision


def draw(flows: Mapping[str, GradientFlow], path: Path) -> None:
    """Draw norms over time on a logarithmic scale: a panel for each layer and direction, a colour for each flow.

    Needs matplotlib (``pip install 'elman[bench]'``).

    Args:
        flows: by name, one at least.
        path: to write; the ending says in which form.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    places = list(dict.fromkeys(curve.place for flow in flows.values() for curve in flow.curves()))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "elman"}):  # the same flows, the same file
        figure = Figure(figsize=(7, 0.6 + 3.2 * len(places)), layout="constrained")
        for k, place in enumerate(places):
            axes = figure.add_subplot(len(places), 1, k + 1)
            _panel(axes, flows, place)
            if len(places) > 1:
                axes.set_title(place.replace("_", " ").replace("/", ", "), fontsize=9)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Axes, flows: Mapping[str, GradientFlow], place: str) -> None:
    """Draw the curves of a layer and direction."""
    top = 0.0
    for k, (name, flow) in enumerate(flows.items()):
        curves = [curve for curve in flow.curves() if curve.place == place]
        for style, curve in zip(_STYLES, curves, strict=False):
            norms = curve.norms.tolist()
            top = max([top, *(norm for norm in norms if norm < float("inf"))])
            label = rf"{name}: $\|\partial L/\partial {curve.state}_t\|$"
            axes.plot(range(1, len(norms) + 1), norms, style, color=f"C{k % 10}", linewidth=1.5, label=label)
    axes.set_yscale("log", nonpositive="mask")
    axes.set_ylim(bottom=max(axes.get_ylim()[0], top * _DEEPEST))
    axes.set_xlabel("step t", fontsize=9)
    axes.set_ylabel("norm of the gradient", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
