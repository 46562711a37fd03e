"""What is measured: works of fixed shapes, each declared once. Imports no torch until the cells are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from elman.errors import OptionError, did_you_mean

__all__ = ["Work", "catalogue", "select"]


@dataclass(frozen=True, kw_only=True)
class Work:
    """One work.

    Attributes:
        name: on the command line and in reports.
        kind: ``training`` is a layer forward and backward, x wanting no gradient; ``inference`` one step after another,
            state carried, no gradients; ``program`` a whole training step of the classifier: recurrent layer, readout,
            cross-entropy and Adam; ``cross-entropy`` a readout over a vocabulary and its loss, forward and backward,
            where x wants its gradient too; ``language-model`` a whole training step of a language model: embedding,
            recurrent layers, readout, cross-entropy, clipping and SGD, state carried; ``next-word`` the log-probability
            of every next word, one word after another, state carried, no gradients; ``crf`` the loss of a linear-chain
            CRF, forward and backward, where the emissions want their gradient; ``tagger`` a whole training step of
            recurrent layer, readout, CRF and Adam.
        cell: as `elman.cells.find` takes it; empty where there is none.
        input_size: features of x.
        hidden_size: units of each layer and direction.
        num_layers: layers on each other.
        bidirectional: both directions.
        input_projection: size of the linear layer on each step before the first cell; None for none.
        classes: of the readout of a program, the vocabulary, or tags.
        dropout: of a language model: on what the first layer reads, between layers, and on the last one's outputs.
        batch: rows.
        steps: time steps.
        group: works that are only run when they, or this, are named; empty for those that always are.
    """

    name: str
    kind: Literal[
        "training", "inference", "program", "cross-entropy", "language-model", "next-word", "crf", "tagger"
    ] = "training"
    cell: str = "lstm"
    input_size: int = 128
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = False
    input_projection: int | None = None
    classes: int = 10
    dropout: float = 0.0
    batch: int = 128
    steps: int = 28
    group: str = ""

    @property
    def learns(self) -> bool:
        """Whether gradients are taken.

        Example:
            >>> Work(name="step", kind="inference").learns
            False
        """
        return self.kind not in {"inference", "next-word"}

    @property
    def summary(self) -> str:
        """The work in a line.

        Example:
            >>> Work(name="two-layers", hidden_size=200, input_size=200, num_layers=2, batch=20, steps=35).summary
            'training: lstm, 2 x 200 units, input 200, batch 20, 35 steps'
        """
        if self.kind == "cross-entropy":
            return f"{self.kind}: {self.batch} rows of {self.input_size}, vocabulary {self.classes:,}"
        if self.kind == "crf":
            return f"{self.kind}: {self.classes} tags, batch {self.batch}, {self.steps} steps"
        layers = f"{self.num_layers} x {self.hidden_size}" if self.num_layers > 1 else f"{self.hidden_size}"
        directions = " in both directions" if self.bidirectional else ""
        projection = "" if self.input_projection is None else f" to {self.input_projection}"
        vocabulary = f", vocabulary {self.classes:,}" if self.kind in {"language-model", "next-word"} else ""
        tags = f", {self.classes} tags" if self.kind == "tagger" else ""
        dropout = f", dropout {self.dropout:g}" if self.dropout else ""
        return (
            f"{self.kind}: {self.cell}, {layers} units{directions}, input {self.input_size}{projection}, "
            f"batch {self.batch}, {self.steps} step{'s' if self.steps > 1 else ''}{vocabulary}{tags}{dropout}"
        )


def _language_model(name: str, size: int, **options: Any) -> Work:
    """A language model on the 10,000 words of Penn Treebank."""
    shape = {"kind": "language-model", "batch": 20, "steps": 35, "dropout": 0.5, **options}
    return Work(name=name, input_size=size, hidden_size=size, num_layers=2, classes=10_000, **shape)


_OWN: Final = "elman.bench.own_cell:OwnCell"
_FIXED: Final = (
    Work(name="own-cell", cell=_OWN),
    Work(name="bidirectional", input_size=28, hidden_size=256, bidirectional=True),
    Work(name="two-layers-200", input_size=200, hidden_size=200, num_layers=2, batch=20, steps=35),
    Work(name="two-layers-650", input_size=650, hidden_size=650, num_layers=2, batch=20, steps=35),
    Work(name="one-step", kind="inference", input_size=200, hidden_size=200, num_layers=2, batch=1, steps=1),
    Work(name="mnist", kind="program", input_size=28, input_projection=128),
    Work(name="cross-entropy", kind="cross-entropy", cell="", input_size=200, classes=10_000, batch=700, steps=1),
    Work(name="crf", kind="crf", cell="", classes=45, batch=32, steps=25),
    Work(
        name="crf-tagger",
        kind="tagger",
        input_size=150,
        hidden_size=200,
        bidirectional=True,
        classes=45,
        batch=32,
        steps=25,
    ),
    _language_model("language-model", 200),
    _language_model("language-model-small", 200, steps=20, dropout=0.0),
    _language_model("language-model-medium", 650),
    _language_model("language-model-step", 200, kind="next-word", batch=1, steps=1, dropout=0.0),
)


def _powers(first: int, last: int) -> Iterable[int]:
    while first <= last:
        yield first
        first *= 2


_GROWTH: Final = (
    *(Work(name=f"growth-time-{n}", steps=n, batch=16, group="growth-time") for n in _powers(1, 4096)),
    *(Work(name=f"growth-batch-{n}", batch=n, group="growth-batch") for n in _powers(1, 1024)),
    *(
        Work(name=f"growth-hidden-{n}", hidden_size=n, input_size=n, batch=32, group="growth-hidden")
        for n in _powers(16, 2048)
    ),
)


def catalogue() -> tuple[Work, ...]:
    """Return every work that has a name: one for each cell that has one, then the others.

    Example:
        >>> [work.name for work in catalogue()][:3]
        ['coupled', 'gru', 'gru-reset-before']
    """
    from elman.cells import Cell

    return (*(Work(name=name, cell=name) for name in sorted(Cell.registry)), *_FIXED, *_GROWTH)


def select(names: Sequence[str]) -> tuple[Work, ...]:
    """Return the works of these names, in the order of the catalogue; without names those of no group.

    A name is that of a work, of a group (``growth-time``) or what groups begin with (``growth``), or a cell of one's
    own, ``my_module:MyCell``, which is measured as the cells of elman are.

    Raises:
        OptionError: there is no such work; the message names the nearest.

    Example:
        >>> [work.name for work in select(["lstm", "one-step"])]
        ['lstm', 'one-step']
    """
    known = catalogue()
    if not names:
        return tuple(work for work in known if not work.group)
    groups = {group for work in known if (group := work.group)}
    groups |= {group.partition("-")[0] for group in groups}
    by_name = {work.name: work for work in known}
    chosen: dict[str, Work] = {}
    for name in names:
        if name in by_name:
            chosen[name] = by_name[name]
        elif name in groups:
            chosen |= {work.name: work for work in known if work.group == name or work.group.startswith(f"{name}-")}
        elif ":" in name:
            chosen[name] = Work(name=name, cell=name)
        else:
            raise OptionError(f"There is no work {name!r}. {did_you_mean(name, [*by_name, *groups])}")
    return tuple(sorted(chosen.values(), key=lambda work: known.index(work) if work in known else len(known)))
