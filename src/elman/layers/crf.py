"""A linear-chain conditional random field, to label sequences with. See `LinearChainCRF`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elman.backends import crf
from elman.backends.chain import Chain, check_values
from elman.errors import OptionError, ShapeError, describe

__all__ = ["LinearChainCRF"]


class LinearChainCRF(nn.Module):
    r"""A linear-chain conditional random field: the probability of a whole sequence of tags, given scores of each.

    A path y of a row of T steps has the score

    .. math::

        s(y) = b_{y_1} + \sum_{t=1}^{T} e_{t y_t} + \sum_{t=2}^{T} A_{y_{t-1} y_t} + f_{y_T}, \qquad
        p(y) = \frac{e^{s(y)}}{Z}, \qquad Z = \sum_{y'} e^{s(y')},

    with emissions e, transitions A, start b and end f. All paths are summed forward over time, and the loss is

    .. math::

        \alpha_{1 j} &= b_j + e_{1 j}, \qquad
        \alpha_{t j} = e_{t j} + \log \sum_i e^{\alpha_{t-1,i} + A_{i j}}, \qquad
        \log Z = \log \sum_j e^{\alpha_{T j} + f_j} \\
        \ell &= -\log p(y) = \log Z - s(y).

    The marginals, the gradient of log Z, come with a pass backward (forward-backward):

    .. math::

        \beta_{T i} = f_i, \qquad
        \beta_{t i} = \log \sum_j e^{A_{i j} + e_{t+1,j} + \beta_{t+1,j}}, \qquad
        p(y_t = i) = e^{\alpha_{t i} + \beta_{t i} - \log Z};

    the gradient of A is what is expected of each move less what the path given has of it. The best path takes the
    maximum where α has the sum, and remembers where it came from (Viterbi); of equal ones, the tag with the lower
    number.

    A score of -inf forbids a move, a first or last tag, or a tag at a step. A row all of whose paths are forbidden has
    log Z = -inf, marginals of 0 and no gradient; a path that is forbidden has the loss inf.

    Args:
        tags: how many.
        device: where the parameters live.
        dtype: their floating-point type.

    Shapes:
        - emissions: ``(batch, time, tags)``, of the parameters' type; under autocast they are converted to it.
        - tags: int64 ``(batch, time)``, 0 to tags - 1.
        - lengths: integers ``(batch,)``, 0 to time, in any order, on any device; None where all rows are full. Nothing
          past a row's end is read. An empty row has one path, of score 0.

    Parameters:
        transitions ``(tags, tags)``: from (row) to (column); start ``(tags,)``; end ``(tags,)``.

    Init:
        0: every path is as likely as its emissions say.

    Cost:
        2 · batch · time · tags² floating-point operations for log Z, twice as many for its gradient.

    Raises:
        OptionError: the number of tags is not positive.

    Source:
        J. Lafferty, A. McCallum and F. Pereira, «Conditional Random Fields», ICML 2001; L. R. Rabiner, «A Tutorial on
        Hidden Markov Models», Proceedings of the IEEE 77 (1989), section III for the recursions.

    Example:
        >>> crf = LinearChainCRF(3)
        >>> emissions, tags = torch.zeros(2, 4, 3), torch.zeros(2, 4, dtype=torch.int64)
        >>> losses = crf(emissions, tags, lengths=torch.tensor([4, 2]))
        >>> losses.exp().round()  # of 3^4 paths, and of 3^2, one is as likely as another
        tensor([81.,  9.], grad_fn=<RoundBackward0>)
        >>> crf.decode(emissions, lengths=torch.tensor([4, 2]))[0]
        tensor([[   0,    0,    0,    0],
                [   0,    0, -100, -100]])
    """

    def __init__(
        self, tags: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        if isinstance(tags, bool) or not isinstance(tags, int) or tags < 1:
            raise OptionError(describe("LinearChainCRF: tags", expected="a positive int", got=repr(tags)))
        self.tags = tags
        self.transitions = nn.Parameter(torch.empty(tags, tags, device=device, dtype=dtype))
        self.start = nn.Parameter(torch.empty(tags, device=device, dtype=dtype))
        self.end = nn.Parameter(torch.empty(tags, device=device, dtype=dtype))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the weights anew, as the class says under Init."""
        for parameter in self.parameters():
            parameter.zero_()

    def forward(self, emissions: Tensor, tags: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return -log p of the tags of each row, ``(batch,)``; 0 of an empty row.

        Raises:
            ShapeError: shapes or types do not fit, or a tag or a length is out of range.
        """
        chain = self._chain(emissions, lengths)
        if tags.shape != emissions.shape[:2] or tags.dtype != torch.int64:
            batch, time, _ = emissions.shape
            cause = "Call tags.long()." if tags.shape == emissions.shape[:2] else ""
            got = f"{tags.dtype} {tuple(tags.shape)}"
            raise ShapeError(
                describe("LinearChainCRF: tags", expected=f"torch.int64 {(batch, time)}", got=got, cause=cause)
            )
        self._check(chain, tags)
        return crf.loss(chain, tags)

    def log_partition(self, emissions: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return log Z of each row, ``(batch,)``; 0 of an empty row.

        Raises:
            ShapeError: shapes or types do not fit, or a length is out of range.
        """
        chain = self._chain(emissions, lengths)
        self._check(chain, None)
        return crf.loss(chain, None)

    def marginals(self, emissions: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the probability of each tag at each step, ``(batch, time, tags)``; 0 past a row's end.

        Raises:
            ShapeError: shapes or types do not fit, or a length is out of range.
        """
        chain = self._chain(emissions, lengths)
        self._check(chain, None)
        return crf.marginals(chain)

    @torch.no_grad()
    def decode(self, emissions: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the tags of the best path, int64 ``(batch, time)``, and its score s(y), ``(batch,)``.

        Past a row's end the tags are -100, which losses ignore. There are no gradients.

        Raises:
            ShapeError: shapes or types do not fit, or a length is out of range.
        """
        chain = self._chain(emissions, lengths)
        self._check(chain, None)
        return crf.viterbi(chain)

    def extra_repr(self) -> str:
        """Return the size, for `print`."""
        return str(self.tags)

    def _chain(self, emissions: Tensor, lengths: Tensor | None) -> Chain:
        """Put together what the recursions read."""
        if emissions.ndim != 3 or emissions.shape[2] != self.tags:
            expected = f"(batch, time, tags={self.tags})"
            got = str(tuple(emissions.shape))
            raise ShapeError(describe("LinearChainCRF: emissions", expected=expected, got=got))
        if torch.is_autocast_enabled(emissions.device.type):
            emissions = emissions.to(self.transitions.dtype)
        if emissions.dtype != self.transitions.dtype:
            expected = f"of the parameters' type {self.transitions.dtype}"
            raise ShapeError(describe("LinearChainCRF: emissions", expected=expected, got=str(emissions.dtype)))
        batch, time, _ = emissions.shape
        if lengths is None:
            lengths = torch.full((batch,), time, device=emissions.device)
        else:
            lengths = torch.as_tensor(lengths, device=emissions.device)
        if lengths.shape != (batch,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
            got = f"{lengths.dtype} {tuple(lengths.shape)}"
            raise ShapeError(describe("LinearChainCRF: lengths", expected=f"integers (batch={batch},)", got=got))
        return Chain(emissions, self.transitions, self.start, self.end, lengths.long())

    def _check(self, chain: Chain, tags: Tensor | None) -> None:
        if not torch.compiler.is_compiling() and not torch._C._are_functorch_transforms_active():
            check_values(tags, chain)
