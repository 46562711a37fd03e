"""Run layers in a forked child: ``python -m backends.llvm.forked warm``, ``locked``, or ``own``, a pool of our own."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

import torch

from backends.llvm.compared import everything, make
from elman.backends.llvm import layout, products, runtime
from elman.cells import LSTMCell, RNNCell


def in_child(work: Callable[[], bool]) -> int:
    """Return how a child left: 0 where it did its work; a signal where it hung."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        signal.alarm(20)
        good = False
        try:
            good = work()
        finally:
            os._exit(0 if good else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def held(lock: threading.Lock | threading.RLock) -> Callable[[], None]:
    """Let another thread hold a lock; return what makes it let go."""
    taken, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            leave.wait()

    threading.Thread(target=hold).start()
    taken.wait()
    return leave.set


def main(mode: str) -> int:
    torch.set_num_threads(2)
    if mode == "own":
        runtime.pool = lambda: None
    torch.manual_seed(1)
    case = make(LSTMCell, 512, 80, 3, 9, masks="lengths resets")  # masks of a size that torch shares among threads
    x, weight, targets = torch.randn(300, 64), torch.randn(500, 64), torch.randint(0, 500, (300,))
    right = everything(case, torch.float32)
    losses, _ = products.cross_entropy(x, weight, None, targets, 1.0, ())
    assert layout.facts(case.graph, 4, 512, 80, 3, 9, ()).threads == 2

    def same() -> bool:
        got = everything(case, torch.float32)
        again, _ = products.cross_entropy(x, weight, None, targets, 1.0, ())
        return again.equal(losses) and all(value.equal(right[name]) for name, value in got.items())

    def another() -> bool:
        new = make(RNNCell, 64, 20, 30, 40)
        return bool(everything(new, torch.float32)["y"].isfinite().all())

    release = [held(lock) for lock in (runtime._LOCK, runtime._TEAM)] if mode == "locked" else []
    ways = [in_child(work) for work in (same, another, lambda: in_child(same) == 0)]
    for let_go in release:
        let_go()
    print("children left with", *ways)
    return 0 if same() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
