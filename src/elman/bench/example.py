"""The weights and inputs of a work, the same for all programs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Self, cast

import torch
from torch import Tensor, nn

from elman.bench.language import NextWord
from elman.bench.tagger import Tagger
from elman.bench.works import Work
from elman.cells import find
from elman.data import Vocabulary
from elman.layers import LinearChainCRF, LinearCrossEntropy, Recurrent
from elman.tasks.classification.model import SequenceClassifier, Specification
from elman.tasks.language_model.config import NetworkConfig
from elman.tasks.language_model.model import LanguageModel
from elman.tasks.registry import find_preset

__all__ = ["FRAMES", "Example", "preset"]

FRAMES: Final = 4  #: steps of an inference whose outputs are compared


@dataclass(frozen=True)
class Example:
    """The weights and inputs of a work, for all programs the same.

    Attributes:
        work: the work.
        model: the layer, the classifier, the readout with its loss, the language model, the CRF or the tagger; never
            run itself.
        x: ``(batch, steps, input_size)``; of a classifier whole numbers to 255, of a readout ``(batch, input_size)``,
            of a language model words ``(batch, steps)``, of a CRF emissions ``(batch, steps, classes)``.
        target: the gradient of the outputs; of a classifier or a readout the labels ``(batch,)``, of a language model
            the words, of a CRF or a tagger the tags ``(batch, steps)``.
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
    if work.kind in {"crf", "tagger"}:
        tags, features = (work.batch, work.steps), work.classes if work.kind == "crf" else work.input_size
        return torch.randn(*tags, features), torch.randint(0, work.classes, tags)
    frames = work.steps if work.learns else FRAMES
    if work.kind in {"language-model", "next-word"}:
        words, targets = torch.randint(0, work.classes, (2, work.batch, frames))
        return words, targets
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


def preset() -> Any:
    """Return the preset whose training step is measured."""
    return find_preset("mnist")[1]


def _classifier(work: Work) -> SequenceClassifier:
    config = replace(
        preset().model,
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


def _language_model(work: Work, kind: type[LanguageModel] = LanguageModel) -> LanguageModel:
    config = NetworkConfig(
        cell=work.cell,
        hidden_size=work.hidden_size,
        num_layers=work.num_layers,
        embedding_size=work.input_size,
        input_dropout=work.dropout,
        dropout=work.dropout if work.num_layers > 1 else 0.0,
        output_dropout=work.dropout,
    )
    words = (f"word{k}" for k in range(work.classes - 2))
    return kind(config, Vocabulary("word", (*words, "<eos>", "<unk>")))


def _crf(work: Work) -> LinearChainCRF:
    crf = LinearChainCRF(work.classes)
    with torch.no_grad():
        for parameter in crf.parameters():  # which begin with 0, where all places are equal
            parameter.normal_()
    return crf


def _tagger(work: Work) -> Tagger:
    layer = _layer(work)
    return Tagger(layer, nn.Linear(layer.directions * work.hidden_size, work.classes), _crf(work))


_MODELS: Final[dict[str, Callable[[Work], nn.Module]]] = {
    "training": _layer,
    "inference": _layer,
    "program": _classifier,
    "cross-entropy": _readout,
    "language-model": _language_model,
    "next-word": partial(_language_model, kind=NextWord),
    "crf": _crf,
    "tagger": _tagger,
}
