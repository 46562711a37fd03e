"""A language model word by word: one call of compiled code for a step. See `Stream`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elman.backends import dispatch
from elman.backends.llvm.memory import whole
from elman.backends.selection import fall_back, wanted
from elman.errors import OptionError, ShapeError, describe
from elman.layers.losses import LinearCrossEntropy
from elman.layers.recurrent import Recurrent
from elman.layers.step_plan import Plan, Ready

__all__ = ["Stream"]


class Stream:
    r"""Run a model step by step: embedding, layers, readout and log-softmax as one call of compiled code.

    ``log_probabilities, state = stream(words, state=None)``

    It has no weights of its own: it reads those of its modules as they are at each step, in place, and computes what
    they do, without gradients,

    .. math::

        x = E_w, \qquad h, s' = \operatorname{recurrent}(x, s), \qquad
        z = W h + b, \qquad p_v = z_v - \log \sum_u e^{z_u}.

    The states have the bits that ``recurrent`` gives in evaluation mode, on any number of threads.

    Where one call cannot do it (another type or device, a layer in training mode, hooks on a module, an embedding with
    ``max_norm``, modules of other classes, ...) the modules themselves are called, and the log says why.

    Args:
        embedding: from words to x; None where x is given.
        recurrent: the layers, in one direction.
        readout: from the outputs to logits, `LinearCrossEntropy`, `Linear` or any other; None for the outputs
            themselves.

    Shapes:
        - words: int64 ``(batch,)``; without an embedding x, ``(batch, input_size)``.
        - state: that of ``recurrent``, a named tuple with each ``(batch, layers, 1, hidden_size)``; None for zeros.
        - log_probabilities: ``(batch, vocabulary)``; without a readout the outputs ``(batch, hidden_size)``.
        - returned state: as ``state``; pass it to the next step. Nothing that was returned is written to again.

    Raises:
        OptionError: ``recurrent`` is no `Recurrent`, or runs in both directions.
        ShapeError: the sizes of the modules do not fit each other, an input has another shape or type, or a word is not
            in the vocabulary.
        BackendError: inside ``elman.backend("llvm")``, compiled code cannot run this step.

    Example:
        >>> from elman import LSTM
        >>> embedding, layers, readout = nn.Embedding(100, 8), LSTM(8, 16, num_layers=2), LinearCrossEntropy(16, 100)
        >>> stream = Stream(embedding, layers.eval(), readout)
        >>> word, state = torch.tensor([7]), None
        >>> for _ in range(3):
        ...     log_probabilities, state = stream(word, state)
        ...     word = log_probabilities.argmax(dim=1)
        >>> log_probabilities.shape, state.c.shape
        (torch.Size([1, 100]), torch.Size([1, 2, 1, 16]))
    """

    def __init__(self, embedding: nn.Module | None, recurrent: Recurrent, readout: nn.Module | None = None) -> None:
        if not isinstance(recurrent, Recurrent):
            got = type(recurrent).__name__
            raise OptionError(describe("Stream: recurrent", expected="an elman.Recurrent", got=got))
        if recurrent.bidirectional:
            cause = "A step does not know what follows."
            raise OptionError(describe("Stream: recurrent", expected="one direction", got="both", cause=cause))
        self._check_sizes(embedding, recurrent, readout)
        self.embedding = embedding
        self.recurrent = recurrent
        self.readout = readout
        self._ready: Ready | None = None

    def __call__(self, inputs: Tensor, state: Sequence[Tensor] | None = None) -> tuple[Tensor, Any]:
        """Do a step; see the class for shapes."""
        if torch.compiler.is_compiling():
            return self._by_modules(inputs, state)
        ready = self._ready
        if ready is None or not ready.serves(inputs, state):
            self._check_inputs(inputs)
            if wanted() == "reference":
                return self._by_modules(inputs, state)
            found = self._prepared(inputs, state)
            if isinstance(found, str):
                fall_back(found, instead="the modules of the stream run one by one")
                return self._by_modules(inputs, state)
            ready, inputs, state = found
        self._check_words(inputs, ready.plan)
        outputs, final = ready.step(inputs, cast(Sequence[Tensor], state))
        return outputs, self.recurrent.cell.State(*final)

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what belongs to these modules alone: a copy is one of other modules."""
        return {**vars(self), "_ready": None}

    def __repr__(self) -> str:
        return f"Stream({self.embedding}, {self.recurrent}, {self.readout})"

    def _by_modules(self, inputs: Tensor, state: Sequence[Tensor] | None) -> tuple[Tensor, Any]:
        with torch.no_grad():
            x = inputs if self.embedding is None else self.embedding(inputs)
            outputs, state = self.recurrent(x[:, None], state)
            if self.readout is None:
                return outputs[:, 0], state
            logits = self.readout.logits if isinstance(self.readout, LinearCrossEntropy) else self.readout
            return F.log_softmax(logits(outputs[:, 0]), dim=1), state

    def _prepared(self, inputs: Tensor, state: Sequence[Tensor] | None) -> tuple[Ready, Tensor, Sequence[Tensor]] | str:
        """Return how to do a step as one call, with its inputs and state in one piece; or why it cannot be done so."""
        ready, self._ready = self._ready, None
        plan = ready.plan if ready is not None and ready.plan.holds() else Plan.of(vars(self))
        if isinstance(plan, str):
            return plan
        state = self.recurrent.initial_state(len(inputs)) if state is None else state
        self._check_state(inputs, state, plan)
        if (reason := dispatch.step_refusal(inputs, state, plan.dtype, words=plan.sizes.embedding)) is not None:
            return reason
        inputs, state = whole(inputs), [whole(s) for s in state]
        self._ready = ready = Ready(plan, inputs, state)
        return ready, inputs, state

    # checks

    def _check_sizes(self, embedding: nn.Module | None, recurrent: Recurrent, readout: nn.Module | None) -> None:
        if isinstance(embedding, nn.Embedding) and embedding.embedding_dim != recurrent.input_size:
            expected = f"of input_size={recurrent.input_size}"
            raise ShapeError(describe("Stream: embedding", expected=expected, got=str(embedding.embedding_dim)))
        features = getattr(readout, "features", getattr(readout, "in_features", recurrent.hidden_size))
        if features != recurrent.hidden_size:
            expected = f"of hidden_size={recurrent.hidden_size} features"
            raise ShapeError(describe("Stream: readout", expected=expected, got=str(features)))

    def _check_inputs(self, inputs: Tensor) -> None:
        if self.embedding is not None:
            if inputs.ndim != 1 or inputs.dtype is not torch.int64:
                cause = "For one word, pass torch.tensor([word])." if inputs.ndim == 0 else ""
                got = f"{inputs.dtype} {tuple(inputs.shape)}"
                raise ShapeError(describe("Stream: words", expected="torch.int64 (batch,)", got=got, cause=cause))
        elif inputs.ndim != 2 or inputs.shape[1] != self.recurrent.input_size:
            cause = "One step of a sequence is x[:, t]." if inputs.ndim == 3 else ""
            expected, got = f"(batch, input_size={self.recurrent.input_size})", str(tuple(inputs.shape))
            raise ShapeError(describe("Stream: x", expected=expected, got=got, cause=cause))

    def _check_state(self, inputs: Tensor, state: Sequence[Tensor], plan: Plan) -> None:
        shape = (inputs.shape[0], plan.sizes.layers, 1, plan.sizes.hidden)
        if len(state) == len(plan.graph.states):
            for s in state:
                if s.shape != shape:
                    break
            else:
                return
        self.recurrent._checked_state(state, torch.empty(shape[0], 0, dtype=plan.dtype))  # which says what does not fit

    def _check_words(self, words: Tensor, plan: Plan) -> None:
        if plan.words is not None:
            for word in words.tolist():
                if not 0 <= word < plan.words:
                    raise ShapeError(describe("Stream: words", expected=f"0 to {plan.words - 1}", got=str(word)))
