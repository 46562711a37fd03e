"""The memory that a training step takes, measured in a process of its own.

The process (``python -m elman.bench.memory``) loads everything and warms it up on a tiny work of the same kind, so that
libraries, machine code and threads are there; then it takes the resident memory, does one step of the work, and looks
at the peak. Memory that a library keeps for its next step is counted like any other.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from elman.bench.peers import Peer, select_peers
from elman.bench.works import Work

if TYPE_CHECKING:
    from elman.bench.program import Program

__all__ = ["main", "step_megabytes"]

_STATUS: Final = Path("/proc/self/status")
_PEAK: Final = Path("/proc/self/clear_refs")  #: writing 5 sets the peak to what is resident now
#: A buffer goes back to the system when it is freed, so that nothing is hidden in what is free already.
_ENVIRONMENT: Final = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def step_megabytes(work: Work, peer: Peer | None, threads: int) -> float | None:
    """Return the megabytes (10⁶ bytes) that a step of a peer, or of elman, takes at its peak beside weights and inputs.

    None for a work without gradients, which keeps nothing, and where it cannot be told: only Linux tells, and some
    peers keep for later what they have freed.
    """
    if not work.learns or not _STATUS.exists() or (peer is not None and peer.warm_up is None):
        return None
    name = "" if peer is None else peer.name
    command = [sys.executable, "-m", "elman.bench.memory", json.dumps(asdict(work)), name, str(threads)]
    done = subprocess.run(command, env={**os.environ, **_ENVIRONMENT}, stdout=subprocess.PIPE, text=True, check=True)
    size = json.loads(done.stdout.splitlines()[-1])
    return None if size is None else size / 1e6


def main(argv: Sequence[str]) -> None:
    """Measure in this process, which must be new: arguments are a work in JSON, a peer's name or nothing, threads."""
    import torch

    from elman.bench.example import Example
    from elman.bench.program import elman_program

    work, threads = Work(**json.loads(argv[0])), int(argv[2])
    torch.set_num_threads(threads)
    peer = select_peers([argv[1]])[0] if argv[1] else None

    def build(work: Work) -> Program:
        example = Example.of(work)
        return elman_program(example) if peer is None else peer.build(example, threads)

    program = build(work)
    warm_up = program
    if peer is None or peer.warm_up == "tiny":
        warm_up = build(replace(work, batch=min(work.batch, 2), steps=min(work.steps, 2)))
    for _ in range(2):
        with warm_up.setting():
            warm_up.step()
    del warm_up
    gc.collect()
    print(json.dumps(_extra(program)))


def _extra(program: Program) -> int | None:
    """Return by how many bytes the peak of a step is over what is resident before; None if the peak cannot be reset."""
    try:
        _PEAK.write_text("5", encoding="ascii")
    except OSError:
        return None
    before = _kilobytes("VmRSS")
    with program.setting():
        program.step()
    return 1024 * (_kilobytes("VmHWM") - before)


def _kilobytes(name: str) -> int:
    (line,) = (line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


if __name__ == "__main__":
    main(sys.argv[1:])
