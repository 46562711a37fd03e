"""Linear-chain conditional random fields in compiled code on plain tensors. Nothing here knows of autograd."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from elman.backends.llvm import products, runtime
from elman.backends.llvm.memory import rows_together, whole
from elman.backends.untraced import untraced

if TYPE_CHECKING:
    from llvmlite import ir

    from elman.backends.llvm.vectors import Shape

__all__ = ["backward", "forward", "kept_shape", "viterbi"]

#: Chunks of rows whose gradients are summed apart: at most so many, and so many numbers in all of them.
_CHUNKS: Final = 32
_EXPECTED: Final = 2**22


@functools.cache
def _kernels(size: int) -> Mapping[str, runtime.Entry]:
    """Return the compiled kernels by name."""
    from elman.backends.llvm import crf
    from elman.backends.llvm import viterbi as best
    from elman.backends.llvm.gemm import tiles
    from elman.backends.llvm.team import TEAM_FIELDS

    def write(module: ir.Module, shape: Shape) -> None:
        crf.write_forward(module, shape)
        crf.write_backward(module, shape)
        best.write_viterbi(module, shape)

    fields = {
        crf.FORWARD: crf.FORWARD_FIELDS,
        crf.BACKWARD: crf.BACKWARD_FIELDS,
        best.VITERBI: best.VITERBI_FIELDS,
    }
    exports = [*fields, *(f"{name}_shared" for name in fields)]
    library = runtime.load("crf", "", size, write, exports, tiles(size))
    return {name: runtime.Entry(library, name, (*TEAM_FIELDS, *own)) for name, own in fields.items()}


def kept_shape(size: int, batch: int, time: int, tags: int) -> tuple[int, ...]:
    """Return the shape of what `forward` keeps: α and the sums of every step."""
    return 2, batch, time, _line(size, tags)


def _line(size: int, tags: int) -> int:
    lanes = runtime.shape(size).lanes
    return -(-tags // lanes) * lanes


@untraced
def forward(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, tags: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return -log p of the tags of each row, log Z where there are none, and what is kept for `backward`.

    Args:
        emissions: ``(batch, time, tags)``.
        transitions: ``(tags, tags)``.
        start: ``(tags,)``.
        end: ``(tags,)``.
        lengths: int64 ``(batch,)``, from 0 to time: not checked here.
        tags: int64 ``(batch, time)``, before the end of its row from 0 to tags - 1: not checked here; or None.
    """
    emissions, transitions, start, end = rows_together(emissions), whole(transitions), whole(start), whole(end)
    lengths, tags = lengths.contiguous(), None if tags is None else tags.contiguous()
    losses = emissions.new_empty(emissions.shape[0])
    kept = emissions.new_empty(kept_shape(emissions.element_size(), *emissions.shape))
    threads = _threads(emissions.shape)
    line, count = kept.shape[3], transitions.shape[0]
    _run(
        "crf_forward",
        kept,
        threads,
        {
            **_given(emissions.shape, line, transitions, lengths, tags, end),
            **_strided(emissions),
            "alphas": kept[0].data_ptr(),
            "sums": kept[1].data_ptr(),
            "start": start.data_ptr(),
            "losses": losses.data_ptr(),
        },
        {"largest": line, "exponentials": count * line, "p": threads * line},
    )
    return losses, kept


@untraced
def backward(
    transitions: Tensor,
    end: Tensor,
    lengths: Tensor,
    tags: Tensor | None,
    kept: Tensor,
    grad: Tensor,
    *,
    wanted: bool,
) -> tuple[Tensor, ...]:
    """Return the gradients of Σ grad · losses: of the emissions, and where wanted of transitions, start and end."""
    _, batch, time, line = kept.shape
    count = transitions.shape[0]
    transitions, end, grad = whole(transitions), whole(end), whole(grad)
    lengths, tags = lengths.contiguous(), None if tags is None else tags.contiguous()
    found = {"demissions": kept.new_zeros(batch, time, count)}
    if wanted:
        shapes = {"dtransitions": (count, count), "dstart": (count,), "dend": (count,)}
        found |= {name: kept.new_empty(shape) for name, shape in shapes.items()}
    chunks = max(1, min(batch, _CHUNKS, _EXPECTED // ((count + 2) * line)))
    threads = min(_threads((batch, time, count)), chunks)
    _run(
        "crf_backward",
        kept,
        threads,
        {
            **_given((batch, time, count), line, transitions, lengths, tags, end),
            "alphas": kept[0].data_ptr(),
            "sums": kept[1].data_ptr(),
            "grad": grad.data_ptr(),
            "chunks": chunks,
            **{name: gradient.data_ptr() for name, gradient in found.items()},
        },
        {
            "largest": line,
            "exponentials": count * line,
            "exponentials_t": count * line,
            "transitions_t": count * line,
            "expected": chunks * (count + 2) * line,
            "p": threads * time * line,
            "r": threads * time * line,
            "gamma": threads * 2 * line,
        },
    )
    return tuple(found.values())


@untraced
def viterbi(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, padding: int
) -> tuple[Tensor, Tensor]:
    """Return the tags of the best path of each row, int64 ``(batch, time)``, and its score."""
    emissions, transitions, start, end = rows_together(emissions), whole(transitions), whole(start), whole(end)
    lengths = lengths.contiguous()
    batch, time, count = emissions.shape
    line, threads = _line(emissions.element_size(), count), _threads(emissions.shape)
    path = torch.full((batch, time), padding, dtype=torch.int64)
    scores = emissions.new_empty(batch)
    _run(
        "viterbi",
        scores,
        threads,
        {
            **_given(emissions.shape, line, transitions, lengths, path, end),
            **_strided(emissions),
            "start": start.data_ptr(),
            "scores": scores.data_ptr(),
        },
        {"best": threads * 2 * line, "origins": threads * time * line},
    )
    return path, scores


def _threads(shape: tuple[int, ...]) -> int:
    batch, time, tags = shape
    return min(products.threads(2 * batch * time * tags**2, runtime.team()), max(1, batch))


def _given(
    shape: tuple[int, ...], line: int, transitions: Tensor, lengths: Tensor, path: Tensor | None, end: Tensor
) -> dict[str, int]:
    """Return the numbers that all kernels read."""
    return {
        **dict(zip(("batch", "time", "tags"), shape, strict=True)),
        "line": line,
        "transitions": transitions.data_ptr(),
        "end": end.data_ptr(),
        "lengths": lengths.data_ptr(),
        "path": 0 if path is None else path.data_ptr(),
    }


def _strided(emissions: Tensor) -> dict[str, int]:
    row, step, _ = emissions.stride()
    return {"emissions": emissions.data_ptr(), "emissions_row": row, "emissions_step": step}


def _run(name: str, like: Tensor, threads: int, given: Mapping[str, int], parts: Mapping[str, int]) -> None:
    """Run a kernel; the parts of its working memory lie one after the other."""
    size = like.element_size()
    work = like.new_empty(sum(parts.values()))
    ends = itertools.accumulate(parts.values(), initial=0)
    addresses = {name: work.data_ptr() + end * size for name, end in zip(parts, ends, strict=False)}
    entry = _kernels(size)[name]
    entry(threads, entry.numbers({**given, **addresses}))
