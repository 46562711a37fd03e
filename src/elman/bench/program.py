"""What is measured: programs that do a work once."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from elman.bench.example import Example, preset
from elman.bench.language import NextWord, Streamed
from elman.bench.plain import plain
from elman.training.clipping import clip_in_step

__all__ = [
    "LanguageModelProgram",
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
        torch.autograd.backward(outputs, self.target)
        return outputs


class _Inference(TorchProgram):
    """A layer step after step, its state carried."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.frames = torch.split(self.x, 1, dim=self.time)
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
        rate = preset().training.learning_rate
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=rate, fused=True)

    def step(self) -> None:
        self.optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(self.module(self.x), self.target))
        self.optimizer.step()

    def results(self) -> Results:
        self.module.eval()  # without dropout
        self.optimizer.zero_grad()
        logits = self.module(self.x)
        torch.autograd.backward(F.cross_entropy(logits, self.target))
        self.module.train()
        return {"outputs": logits, **self.gradients()}


class _Loss(TorchProgram):
    """A readout with its loss, or a CRF, forward and backward, also to x."""

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
        loss: Tensor = self.module(self.x, self.target).mean()  # a CRF gives that of each row
        torch.autograd.backward(loss)
        return loss


class _Tagger(TorchProgram):
    """A whole training step of a tagger."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.optimizer = torch.optim.Adam(self.module.parameters(), fused=True)

    def step(self) -> None:
        self._backward()
        self.optimizer.step()

    def results(self) -> Results:
        return {"outputs": self._backward(), **self.gradients()}

    def _backward(self) -> Tensor:
        self.optimizer.zero_grad()
        loss: Tensor = self.module(self.x, self.target)
        torch.autograd.backward(loss)
        return loss


class LanguageModelProgram(TorchProgram):
    """A whole training step of a language model, state carried, as Zaremba et al. (2014) train theirs.

    The gradient is that of the loss summed over time and averaged over the batch; its norm is clipped at 5.
    """

    clip_norm: Final = 5.0
    learning_rate: Final = 1.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=self.learning_rate, fused=True)
        self.state: Any = None

    def step(self) -> None:
        """Train on the window."""
        self.update(self._forward())

    def update(self, loss: Tensor) -> None:
        """Go back, clip the gradients and take the step, as the training loop does."""
        torch.autograd.backward(loss)
        norm = get_total_norm([p.grad for p in self.module.parameters() if p.grad is not None])
        clip_in_step(self.optimizer, norm, self.clip_norm, factor=self.x.shape[self.time])
        self.optimizer.step()

    def results(self) -> Results:
        """Return the loss and the gradients, without dropout."""
        self.module.eval()
        loss, self.state = self._forward(), None
        torch.autograd.backward(loss)
        self.module.train()
        return {"outputs": loss, **self.gradients()}

    def _forward(self) -> Tensor:
        self.optimizer.zero_grad()
        loss, state = self.module(self.x, self.target, self.state)
        self.state = [s.detach() for s in state]
        return cast(Tensor, loss)


_KINDS: Final[dict[str, type[TorchProgram]]] = {
    "training": _Training,
    "inference": _Inference,
    "program": _Classifier,
    "cross-entropy": _Loss,
    "language-model": LanguageModelProgram,
    "next-word": _Inference,
    "crf": _Loss,
    "tagger": _Tagger,
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
    module = Streamed(model) if isinstance(model, NextWord) else model
    return torch_program(example, module, own_gradients(model))


def plain_program(example: Example, *, compiled: bool = False) -> TorchProgram:
    """Return the work in plain torch operations, a layer as a loop over its steps; by `torch.compile` if asked for."""
    model = plain(example.model)
    module = cast(nn.Module, torch.compile(model, dynamic=False)) if compiled else model
    return torch_program(example, module, own_gradients(model))


def reference_results(example: Example) -> Results:
    """Return what is right: the results in plain torch operations in float64."""
    program = plain_program(example.double())
    with program.setting():
        return program.results()
