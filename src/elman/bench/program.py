"""What is measured: programs that do a work once, and the numbers that they all work on."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.bench.plain import plain
from elman.bench.works import Work
from elman.cells import find
from elman.layers import LinearCrossEntropy, Recurrent
from elman.tasks.classification.model import SequenceClassifier, Specification
from elman.tasks.registry import find_preset

__all__ = [
    "Example",
    "Program",
    "Results",
    "TorchProgram",
    "elman_program",
    "own_gradients",
    "plain_program",
    "reference_results",
    "torch_program",
]

Results = dict[str, Tensor]
_FRAMES = 4  # steps of an inference whose outputs are compared


class Program(ABC):
    """One side of a measurement."""

    def setting(self) -> AbstractContextManager[object]:
        """In which its steps run; entered outside of the time taken."""
        return nullcontext()

    @abstractmethod
    def step(self) -> None:
        """Do the work once."""

    @abstractmethod
    def results(self) -> Results:
        """Values and gradients of the first step, by the names that they have in elman; asked for before any step."""


@dataclass(frozen=True)
class Example:
    """The weights and inputs of a work, for all programs the same.

    Attributes:
        work: the work.
        model: the layer, the classifier, or the readout with its loss; never run itself.
        x: ``(batch, steps, input_size)``; of a classifier whole numbers to 255, of a readout ``(batch, input_size)``.
        target: the gradient of the outputs; of a classifier or a readout the labels ``(batch,)``.
    """

    work: Work
    model: nn.Module
    x: Tensor
    target: Tensor

    @classmethod
    def of(cls, work: Work, *, seed: int = 1990) -> Self:
        """Draw random numbers, the same in every run."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = _MODELS[work.kind](work)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim == 1:  # biases begin equal, so that one in another's place would not be seen
                        parameter.add_(torch.empty_like(parameter).uniform_(-0.1, 0.1))
            return cls(work, model, *_data(work))

    @property
    def layer(self) -> Recurrent:
        """The recurrent layer."""
        return self.model if isinstance(self.model, Recurrent) else cast(Recurrent, self.model.recurrent)

    def double(self) -> Self:
        """Return the same in float64."""
        x, target = (v.double() if v.is_floating_point() else v for v in (self.x, self.target))
        return replace(self, model=copy.deepcopy(self.model).double(), x=x, target=target)


def _data(work: Work) -> tuple[Tensor, Tensor]:
    """Draw x and the target."""
    if work.kind == "cross-entropy":
        return torch.randn(work.batch, work.input_size), torch.randint(0, work.classes, (work.batch,))
    frames = _FRAMES if work.kind == "inference" else work.steps
    shape = (work.batch, frames, work.input_size)
    if work.kind == "program":
        labels = torch.randint(0, work.classes, (work.batch,))
        return torch.randint(0, 256, shape, dtype=torch.uint8), labels
    features = work.hidden_size * (2 if work.bidirectional else 1)
    return torch.randn(shape), torch.randn(work.batch, frames, features)


def _layer(work: Work) -> Recurrent:
    return Recurrent(
        find(work.cell),
        work.input_size,
        work.hidden_size,
        work.num_layers,
        bidirectional=work.bidirectional,
        input_projection=work.input_projection,
    )


def _preset() -> Any:
    return find_preset("mnist")[1]


def _classifier(work: Work) -> SequenceClassifier:
    config = replace(
        _preset().model,
        cell=work.cell,
        hidden_size=work.hidden_size,
        num_layers=work.num_layers,
        bidirectional=work.bidirectional,
        input_projection=work.input_projection,
    )
    classes = tuple(str(k) for k in range(work.classes))
    return SequenceClassifier(config, Specification(classes, work.steps, work.input_size, scale=1 / 255, image=None))


def _readout(work: Work) -> LinearCrossEntropy:
    return LinearCrossEntropy(work.input_size, work.classes)


_MODELS: Final[dict[str, Callable[[Work], nn.Module]]] = {
    "training": _layer,
    "inference": _layer,
    "program": _classifier,
    "cross-entropy": _readout,
}


class TorchProgram(Program):
    """A torch module at work.

    Args:
        module: called as elman's layer is, or as the classifier is; it has the weights of the example already.
        example: the inputs.
        gradients: gives the gradients after a backward pass, by elman's names.
        time_first: x and the outputs of the module are ``(time, batch, features)``.
        setting: in which it runs.
    """

    def __init__(
        self,
        module: nn.Module,
        example: Example,
        gradients: Callable[[], Results],
        *,
        time_first: bool = False,
        setting: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.module, self.x, self.target = module, example.x, example.target
        self.gradients, self._setting = gradients, setting
        self.time = 0 if time_first else 1
        if time_first:
            self.x, self.target = (v.transpose(0, 1).contiguous() for v in (self.x, self.target))

    def setting(self) -> AbstractContextManager[object]:
        """In which its steps run."""
        return self._setting()


class _Training(TorchProgram):
    """A layer forward and backward."""

    def step(self) -> None:
        self._run()

    def results(self) -> Results:
        return {"outputs": self._run().transpose(self.time, 1), **self.gradients()}

    def _run(self) -> Tensor:
        self.module.zero_grad()
        outputs: Tensor = self.module(self.x)[0]
        outputs.backward(self.target)  # type: ignore[no-untyped-call]
        return outputs


class _Inference(TorchProgram):
    """A layer step after step, its state carried."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.frames = self.x.split(1, dim=self.time)
        self.state: Any = None

    @contextmanager
    def setting(self) -> Iterator[None]:
        with super().setting(), torch.inference_mode():
            yield

    def step(self) -> None:
        _, self.state = self.module(self.frames[0], self.state)

    def results(self) -> Results:
        outputs = []
        for frame in self.frames:
            output, self.state = self.module(frame, self.state)
            outputs.append(output)
        return {"outputs": torch.cat(outputs, dim=self.time).transpose(self.time, 1)}


class _Classifier(TorchProgram):
    """A whole training step of a classifier."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        rate = _preset().training.learning_rate
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=rate, fused=True)

    def step(self) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(self.module(self.x), self.target).backward()
        self.optimizer.step()

    def results(self) -> Results:
        self.module.eval()  # without dropout
        self.optimizer.zero_grad()
        logits = self.module(self.x)
        F.cross_entropy(logits, self.target).backward()
        self.module.train()
        return {"outputs": logits, **self.gradients()}


class _CrossEntropy(TorchProgram):
    """A readout and its loss, forward and backward, also to x."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.x = self.x.clone().requires_grad_()

    def step(self) -> None:
        self._run()

    def results(self) -> Results:
        loss = self._run()
        assert self.x.grad is not None
        return {"outputs": loss, "gradient of x": self.x.grad.clone(), **self.gradients()}

    def _run(self) -> Tensor:
        self.module.zero_grad()
        self.x.grad = None
        loss: Tensor = self.module(self.x, self.target)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss


_KINDS: Final = {
    "training": _Training,
    "inference": _Inference,
    "program": _Classifier,
    "cross-entropy": _CrossEntropy,
}


def torch_program(
    example: Example, module: nn.Module, gradients: Callable[[], Results], **options: Any
) -> TorchProgram:
    """Put a torch module to the work of an example; arguments as `TorchProgram` has them."""
    return _KINDS[example.work.kind](module, example, gradients, **options)


def own_gradients(module: nn.Module) -> Callable[[], Results]:
    """Read the gradients of a module whose parameters have elman's names."""
    return lambda: {
        f"gradient of {name}": p.grad.clone() for name, p in module.named_parameters() if p.grad is not None
    }


def elman_program(example: Example) -> TorchProgram:
    """Return elman's side."""
    model = copy.deepcopy(example.model)
    return torch_program(example, model, own_gradients(model))


def plain_program(example: Example, compile: Callable[[nn.Module], nn.Module] = lambda module: module) -> TorchProgram:
    """Return the work in plain torch operations, a layer as a loop over its steps; compiled if that is asked for."""
    model = plain(example.model)
    return torch_program(example, compile(model), own_gradients(model))


def reference_results(example: Example) -> Results:
    """Return what is right: the results in plain torch operations in float64."""
    program = plain_program(example.double())
    with program.setting():
        return program.results()
