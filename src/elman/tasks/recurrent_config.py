"""What people choose about recurrent layers, whatever the task. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from elman.errors import OptionError
from elman.training.config import PositiveInt, Probability

if TYPE_CHECKING:
    from elman.layers import Recurrent

__all__ = ["RecurrentConfig"]


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """The recurrent layers of a network; the configuration of a task's network begins with it.

    Raises:
        OptionError: Options that contradict each other, by their flags.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    cell: str = "lstm"
    """Cell: a name that `elman cells` lists, or my_module:MyCell."""

    hidden_size: PositiveInt = 128
    """Units of each recurrent layer and direction."""

    num_layers: PositiveInt = 1
    """Recurrent layers on each other."""

    input_dropout: Probability = 0.0
    """Probability of dropout on what the first recurrent layer reads."""

    dropout: Probability = 0.0
    """Probability of dropout between recurrent layers."""

    output_dropout: Probability = 0.0
    """Probability of dropout on what the readout reads."""

    initial_bias: dict[str, float] = field(default_factory=dict)
    """Initial biases by gate, instead of the cell's own: f 0.0 (the LSTM's own is f 1.0)."""

    def layers(self, input_size: int, **options: Any) -> Recurrent:
        """Make the layers, fresh.

        Args:
            input_size: features of what the first one reads.
            options: those of `elman.layers.Recurrent` that not every task has.
        """
        from elman.cells import find
        from elman.layers import Recurrent

        return Recurrent(
            find(self.cell),
            input_size,
            self.hidden_size,
            self.num_layers,
            input_dropout=self.input_dropout,
            dropout=self.dropout,
            initial_bias=self.initial_bias,
            **options,
        )

    def __post_init__(self) -> None:
        """Name every conflict between fields in one message."""
        if conflicts := list(self._conflicts()):
            raise OptionError(" ".join(conflicts))

    def _conflicts(self) -> Iterator[str]:
        """Say what contradicts what, by the flags."""
        if self.dropout and self.num_layers == 1:
            yield (
                "--dropout acts between layers and --num-layers is 1. Use --input-dropout or --output-dropout, "
                "or more layers."
            )
