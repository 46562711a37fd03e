"""What the training loop asks of a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["GraphNode", "StepResult", "Trainable"]


@dataclass(frozen=True)
class StepResult:
    """What came of one batch.

    Attributes:
        loss: Scalar, a mean over ``count`` examples.
        count: Examples (or words) in the batch; the weight of this batch in running means.
        sums: Further metrics as sums over the batch, scalars; their running means are ``sum / count``.
        factor: What the gradient of the loss is multiplied by, also before it is clipped; the curves show the loss
            itself.
    """

    loss: Tensor
    count: int
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    factor: float = 1.0


@dataclass(frozen=True)
class GraphNode:
    """A node of the graph that TensorBoard draws.

    Attributes:
        name: Name with scopes: ``recurrent/layer_0/step/sigmoid``.
        op: Kind of operation, as shown: ``MatMul``.
        inputs: Names of the nodes that it reads.
        shape: Shape of its value; -1 where it varies.
        attributes: Whatever else is worth showing.
    """

    name: str
    op: str
    inputs: Sequence[str] = ()
    shape: Sequence[int] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


class Trainable(Protocol):
    """A model with its data, as the training loop sees it.

    The loop puts ``model`` on its device; moving batches there is up to ``loss`` and ``evaluate``. Random numbers come
    from torch's generators alone: their state is what a checkpoint keeps.
    """

    @property
    def model(self) -> nn.Module:
        """The network to train."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training data."""

    @property
    def samples_per_step(self) -> int:
        """Examples in a full batch."""

    @property
    def unit(self) -> str:
        """What the examples are, in the plural: ``samples``, ``words``."""

    @property
    def monitor(self) -> tuple[str, Literal["max", "min"]]:
        """The metric of ``evaluate`` that tells the best checkpoint, and whether more or less is better."""

    def batch(self, step: int) -> Any:
        """The training batch of a step, counted from 0 over all epochs: a pure function of the step."""

    def loss(self, model: nn.Module, batch: Any) -> StepResult:
        """Run ``model`` (in training mode, wrapped for device and precision) on a batch."""

    def evaluate(self, model: nn.Module) -> Mapping[str, float] | None:
        """Metrics of ``model`` (in evaluation mode, without gradients) on the validation split; None without one."""

    def metrics(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """The metrics to show for running means of ``loss`` and the step's sums."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """What a step hands to the next besides the model: a carried hidden state; usually nothing."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state_dict`` gave; tensors come on the CPU. Empty means the start of training."""

    def description(self) -> Mapping[str, Any]:
        """JSON for the checkpoint: what must be the same when it is used again, such as class names and shapes."""

    def graph(self) -> Sequence[GraphNode] | None:
        """The model as TensorBoard draws it; None: no picture."""

    def images(self) -> Mapping[str, Tensor]:
        """Sample pictures by title, each ``(N, C, H, W)`` of dtype uint8; usually from the training data."""

    def parameters_by_name(self) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """Name, value and gradient of each weight as the equations know it: a gate, not a packed block."""
