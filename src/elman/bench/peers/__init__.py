"""Who elman is measured against: a row a peer; its code is imported when it runs.

=====================  ==========================================================================
``torch_nn.py``        `torch.nn.LSTM` and its kin, with and without oneDNN, and `torch.nn.LSTMCell`
``torch_loop.py``      the cell as a plain Python loop, and `torch.compile` of it
``jax_scan.py``        the cell in `jax.lax.scan`
``keras_layers.py``    the layers of Keras on TensorFlow, compiled by XLA
``onnx_runtime.py``    the LSTM of ONNX Runtime
``pytorch_crf.py``     the CRF of the package pytorch-crf
``optional.py``        libraries that may not be installed
=====================  ==========================================================================
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from elman.bench.works import Work
from elman.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from elman.bench.example import Example
    from elman.bench.program import Program

__all__ = ["PEERS", "Peer", "select_peers"]

_FUSED: Final = frozenset({"lstm", "gru", "rnn", "rnn-relu"})  # cells that torch.nn has


@dataclass(frozen=True)
class Peer:
    """A library, or a way to use one.

    Attributes:
        name: on the command line and in reports.
        summary: a line.
        home: ``module:function`` beneath `elman.bench.peers`; the function makes a program of an example.
        serves: which works it can do.
        packages: what it imports besides elman's own requirements.
        slow: takes long to compile, so that it is only run when it is asked for.
        warm_up: the size of the work that is run before its memory is measured: ``full`` where it compiles for every
            shape; None where its memory cannot be told, since it keeps what it has freed.
        own_threads: it cannot be told how many threads to use: it takes one a core.
    """

    name: str
    summary: str
    home: str
    serves: Callable[[Work], bool]
    packages: tuple[str, ...] = ()
    slow: bool = False
    warm_up: Literal["tiny", "full"] | None = "tiny"
    own_threads: bool = False

    def missing(self, threads: int) -> str | None:
        """Say why it cannot run here with so many threads; None where it can."""
        absent = [package for package in self.packages if importlib.util.find_spec(package) is None]
        if absent:
            return f"needs {' and '.join(absent)}: pip install 'elman[bench]'"
        if self.name == "torch.compile" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
            return "needs a C++ compiler"
        if self.own_threads and threads != (cores := _cores()):
            return f"takes a thread a core, {cores} here, and cannot be told to take {threads}"
        return None

    def build(self, example: Example, threads: int) -> Program:
        """Make its program for an example."""
        module, _, function = self.home.partition(":")
        program: Program = getattr(importlib.import_module(f"elman.bench.peers.{module}"), function)(example, threads)
        return program


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _of_torch(work: Work) -> bool:
    return (work.cell in _FUSED and work.kind != "tagger") or work.kind == "cross-entropy"


def _scans(work: Work) -> bool:
    return _loops(work) or work.kind == "language-model"


def _loops(work: Work) -> bool:
    return work.kind in {"training", "program"}


def _single_steps(work: Work) -> bool:
    return work.kind in {"inference", "next-word"} and work.cell == "lstm" and not work.bidirectional


PEERS: Final = (
    Peer("torch.nn", "what torch has for it; layers with oneDNN where torch chooses it", "torch_nn:layer", _of_torch),
    Peer("torch.nn-no-onednn", "the same with oneDNN switched off", "torch_nn:layer_without_onednn", _single_steps),
    Peer("torch.LSTMCell", "a torch.nn.LSTMCell for each layer", "torch_nn:cells", _single_steps),
    Peer("loop", "the cell as a plain Python loop in torch operations", "torch_loop:loop", _loops),
    Peer(
        "torch.compile",
        "torch.compile of plain torch operations, of that loop for a cell; takes up to a minute a work to compile",
        "torch_loop:compiled",
        lambda work: work.kind in {"training", "cross-entropy"},
        slow=True,
        warm_up="full",
    ),
    Peer(
        "jax",
        "the cell in jax.lax.scan, compiled by XLA",
        "jax_scan:scan",
        _scans,
        ("jax", "optax"),
        warm_up="full",
        own_threads=True,
    ),
    Peer(
        "keras",
        "the layers of Keras on TensorFlow, compiled by XLA",
        "keras_layers:layers",
        lambda work: _loops(work) and work.cell in _FUSED,
        ("keras", "tensorflow"),
        warm_up=None,
    ),
    Peer("onnxruntime", "ONNX Runtime", "onnx_runtime:session", _single_steps, ("onnx", "onnxruntime")),
    Peer(
        "pytorch-crf",
        "the CRF of the package pytorch-crf; in a tagger behind elman's layer",
        "pytorch_crf:crf",
        lambda work: work.kind in {"crf", "tagger"},
        ("torchcrf",),
    ),
    Peer(
        "torch.nn+pytorch-crf",
        "that CRF behind what torch has for the layer",
        "pytorch_crf:tagger",
        lambda work: work.kind == "tagger" and work.cell in _FUSED,
        ("torchcrf",),
    ),
)


def select_peers(names: Sequence[str]) -> tuple[Peer, ...]:
    """Return the peers of these names, all for ``all``; without names those that are not slow.

    Raises:
        OptionError: there is no such peer; the message names the nearest.

    Example:
        >>> [peer.name for peer in select_peers(["loop"])]
        ['loop']
    """
    if not names:
        return tuple(peer for peer in PEERS if not peer.slow)
    known = {peer.name: peer for peer in PEERS}
    for name in names:
        if name not in known and name != "all":
            raise OptionError(f"There is no peer {name!r}. {did_you_mean(name, [*known, 'all'])}")
    return tuple(peer for peer in PEERS if peer.name in names or "all" in names)
