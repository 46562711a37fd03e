"""What a language model knows of a text that it has read so far, as an object that is passed, kept and branched."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from elman.errors import CheckpointError, DivergenceError, OptionError, describe
from elman.tasks.language_model.model import LanguageModel
from elman.training.checkpoint import replace_file

__all__ = ["Reading", "checked_numbers", "checked_words", "read", "require_ready"]

_FORMAT = "elman reading"
_VERSION = "1"
_STATE = "state."  # before the name of a state in a file


@dataclass(frozen=True, eq=False)
class Reading:
    """A text as a language model remembers it: nothing of it is hidden in the model, and none of it changes.

    Any number of texts can go on from one reading. All words are read one at a time, so that a text gives the same bits
    in one piece and in several, kept on disk in between or not.

    Attributes:
        state: Of the recurrent layers, as `elman.layers.Recurrent` has it, for a batch of 1.
        log_probabilities: Of each word that the vocabulary has, to come next: ``(vocabulary,)``, natural logarithms.
        word: The id of the last word.

    Example:
        >>> from elman.data import Vocabulary
        >>> from elman.tasks.language_model.config import NetworkConfig
        >>> vocabulary = Vocabulary("word", ("the", "cat", "<eos>", "<unk>"))
        >>> model = LanguageModel(NetworkConfig(hidden_size=8), vocabulary).eval()
        >>> the = Reading.begin(model).after(model, [0])
        >>> one, other = the.after(model, [1]), the.after(model, [2])
        >>> one.state.h.shape, one.log_probabilities.shape
        (torch.Size([1, 2, 1, 8]), torch.Size([4]))
        >>> torch.equal(one.log_probabilities, read(model, "the cat").log_probabilities)
        True
    """

    state: Any
    log_probabilities: Tensor
    word: int

    @classmethod
    def begin(cls, model: LanguageModel) -> Reading:
        r"""The beginning of a text: the model has read the end of a line, and nothing before it.

        That is what ``model.vocabulary.encode("\n")`` is: ``<eos>``, or at character level ``"\n"``, or ``<unk>`` where
        no line of the training text had an end.
        """
        (end,) = model.vocabulary.encode("\n")
        return _step(model, int(end), None)

    def after(self, model: LanguageModel, words: Sequence[int] | NDArray[np.integer[Any]]) -> Reading:
        """Read more words, by their ids.

        Raises:
            OptionError: An id that the vocabulary does not have, or a model that is in training mode.
            DivergenceError: The model gives no numbers.
        """
        reading = self
        for word in checked_words(model, words).tolist():
            reading = _step(model, word, reading.state)
        return reading

    def save(self, path: str | os.PathLike[str], model: LanguageModel) -> None:
        """Write it to a safetensors file; whatever happens meanwhile, the file is the old or the new one.

        Args:
            path: The file.
            model: The model that has read; `load` takes no other.

        Raises:
            CheckpointError: The file cannot be written.
        """
        path = Path(path)
        # Copies: a state may be a view, and safetensors keeps whole storages.
        tensors = {name: value.detach().cpu().clone() for name, value in self._tensors().items()}
        metadata = {"format": _FORMAT, "version": _VERSION, "model": _fingerprint(model), "word": str(self.word)}
        metadata["checksum"] = _checksum(metadata, tensors)
        try:
            replace_file(path, safetensors.torch.save(tensors, metadata))
        except OSError as error:
            raise CheckpointError(f"{path} cannot be written: {error.strerror or error}.") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: LanguageModel) -> Reading:
        """Read what `save` wrote.

        Raises:
            CheckpointError: The file is missing, damaged, of another kind, or of a model with another vocabulary, other
                layers or other weights.
        """
        path = Path(path)
        layers = model.recurrent
        wanted = cls(layers.initial_state(1), layers.initial_state(1)[0].new_zeros(len(model.vocabulary)), 0)._tensors()
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                _require_kind(path, metadata)
                found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (not a dict)
                _require_shapes(path, found, wanted)
                tensors = {name: file.get_tensor(name) for name in wanted}
        except FileNotFoundError as error:
            raise CheckpointError(describe(str(path), expected="a saved reading", got="nothing there")) from error
        except (OSError, SafetensorError) as error:
            got = f"a file that cannot be read ({error})"
            raise CheckpointError(describe(str(path), expected="a saved reading (safetensors)", got=got)) from error
        word = _checked_content(path, metadata, tensors, wanted, len(model.vocabulary))
        if metadata.get("model") != _fingerprint(model):
            cause = "Has the run been trained further since, or is it another run?"
            raise CheckpointError(describe(str(path), expected="of this model", got="that of another", cause=cause))
        device = layers.initial_state(1)[0].device
        state = (tensors[_STATE + name].to(device) for name in layers.cell.states)
        return cls(layers.cell.State(*state), tensors["log_probabilities"].to(device), word)

    def _tensors(self) -> dict[str, Tensor]:
        """By the names that they have in a file."""
        named = {_STATE + name: value for name, value in self.state._asdict().items()}
        return {**named, "log_probabilities": self.log_probabilities}


def read(model: LanguageModel, text: str, reading: Reading | None = None) -> Reading:
    """Read a text.

    Args:
        model: The model, in evaluation mode.
        text: As people write it; at word level whitespace sets the words apart, also from punctuation.
        reading: What was read before; None for nothing.
    """
    return (reading or Reading.begin(model)).after(model, model.vocabulary.encode(text))


def checked_words(model: LanguageModel, words: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return ids as an array, if the vocabulary has them all.

    Raises:
        OptionError: It does not.
    """
    ids = np.asarray(words)
    size = len(model.vocabulary)
    if ids.ndim != 1 or (ids.size and (ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= size)):
        got = f"{ids.dtype} of shape {ids.shape}" if ids.ndim != 1 or ids.dtype.kind not in "iu" else ids.tolist()
        raise OptionError(describe("words", expected=f"a sequence of ids, 0 to {size - 1}", got=f"{got}"))
    return ids.astype(np.int64)


def require_ready(model: LanguageModel) -> None:
    """Refuse a model that would drop units at random.

    Raises:
        OptionError: It is in training mode.
    """
    if model.training:
        expected, cause = "in evaluation mode", "Call model.eval(): dropout is for training."
        raise OptionError(describe("The language model", expected=expected, got="in training mode", cause=cause))


def checked_numbers(log_probabilities: Tensor) -> Tensor:
    """Return log-probabilities, if they are numbers.

    Raises:
        DivergenceError: They are not.
    """
    if not bool(log_probabilities.isfinite().all()):
        expected, cause = "finite", "Has its training diverged?"
        raise DivergenceError(describe("The model's log-probabilities", expected=expected, got="others", cause=cause))
    return log_probabilities


@torch.no_grad()
def _step(model: LanguageModel, word: int, state: Any) -> Reading:
    require_ready(model)
    words = torch.tensor([word], device=model.embedding.weight.device)
    log_probabilities, state = model.step(words, state)
    return Reading(state, checked_numbers(log_probabilities[0]), word)


def _require_kind(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != _FORMAT:
        got = "a safetensors file of another kind"
        raise CheckpointError(describe(str(path), expected="a saved reading", got=got))
    if metadata.get("version") != _VERSION:
        got, cause = f"version {metadata.get('version')}", "It was written by another elman; a newer one may read it."
        raise CheckpointError(describe(f"{path}: the format", expected=f"version {_VERSION}", got=got, cause=cause))


def _require_shapes(path: Path, found: Mapping[str, Sequence[int]], wanted: Mapping[str, Tensor]) -> None:
    """Compare what the header promises, before anything is read."""
    shapes = {name: list(value.shape) for name, value in wanted.items()}
    if {name: list(shape) for name, shape in found.items()} != shapes:
        cause = "Was it saved by a model with another vocabulary, cell or size?"
        raise CheckpointError(
            describe(str(path), expected=f"of this model: {shapes}", got=f"{dict(found)}", cause=cause)
        )


def _checked_content(
    path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], size: int
) -> int:
    """Check the values; return the last word."""
    if metadata.get("checksum") != _checksum(metadata, tensors):
        raise CheckpointError(f"{path} is damaged: its checksum does not match its content.")
    for name, value in tensors.items():
        if value.dtype != wanted[name].dtype:
            what, expected = f"{path}: {name}", f"of the model's type {wanted[name].dtype}"
            raise CheckpointError(describe(what, expected=expected, got=str(value.dtype)))
        if not bool(value.isfinite().all()):
            raise CheckpointError(describe(f"{path}: {name}", expected="finite", got="values that are not"))
    word = metadata.get("word", "")
    if not (word.isascii() and word.isdecimal() and len(word) < 10 and int(word) < size):
        raise CheckpointError(describe(f"{path}: the last word", expected=f"0 to {size - 1}", got=repr(word[:20])))
    return int(word)


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Of all but itself: safetensors has none of its own."""
    digest = hashlib.sha256(json.dumps([metadata.get("model"), metadata.get("word")]).encode())
    _add(digest, tensors)
    return digest.hexdigest()


def _fingerprint(model: LanguageModel) -> str:
    """What tells a model from all others: its vocabulary, its cell and its weights."""
    cell = model.recurrent.cell
    digest = hashlib.sha256(json.dumps([model.vocabulary.to_json(), cell.__module__, cell.__qualname__]).encode())
    _add(digest, model.state_dict())
    return digest.hexdigest()


def _add(digest: Any, tensors: Mapping[str, Tensor]) -> None:
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
