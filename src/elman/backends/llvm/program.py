"""Kernels that run one after another as one call: the team of threads starts once, and nothing goes back to Python.

The numbers of all kernels lie in one block. What a call gives, its *operands* (addresses, mostly), stand at the end of
it; before the first kernel runs they are filled in where the kernels look for them.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from elman.backends.llvm import runtime

if TYPE_CHECKING:
    from llvmlite import ir

    from elman.backends.llvm.vectors import Shape

__all__ = ["Part", "Place", "Program"]

Place = tuple[str | None, int]  #: an operand by name and what is added to it; without a name, a number as it is

_OWN: Final = "own"  #: the operand that is the address of the block itself
_NAME: Final = "program"
_FIELDS: Final = ("kernels", "first_kernel", "fills", "first_fill", "first_operand")
_SPARE: Final = 16  #: numbers behind those of a kernel, in the middle of which its barrier counts


@dataclass(frozen=True, slots=True)
class Part:
    """A kernel of a program.

    Attributes:
        entry: the kernel.
        threads: how many it runs on.
        numbers: its numbers, as `runtime.Entry.numbers` makes them.
        given: those of them that are to be filled in.
    """

    entry: runtime.Entry
    threads: int
    numbers: Sequence[int]
    given: Mapping[str, Place]


class Program:
    """Kernels as one call.

    Args:
        parts: the kernels in their order; each begins when all threads are done with the one before.
        operands: names of what a call gives, in its order.

    Attributes:
        threads: how many it runs on, those of the widest part.
    """

    def __init__(self, parts: Sequence[Part], operands: Sequence[str]) -> None:
        self._entry, self._parts = _kernel(), parts
        self.threads = max(part.threads for part in parts)
        position = {name: k for k, name in enumerate((_OWN, *operands))}
        block, kernels, fills = self._entry.numbers({}), array("q"), array("q")
        for part in parts:
            at, start = part.entry.at, len(block)
            kernels.extend((part.entry.address, 8 * start, part.threads))
            block.extend(part.numbers)
            block[start + at["threads"]] = part.threads
            places = {**part.given, "barrier": (_OWN, 8 * (start + len(at) + _SPARE // 2))}
            for name, (operand, number) in places.items():
                if operand is None:
                    block[start + at[name]] = number
                else:
                    fills.extend((start + at[name], position[operand], number))
        ends = (len(block), len(block) + len(kernels), len(block) + len(kernels) + len(fills))
        for name, value in zip(_FIELDS, (len(parts), ends[0], len(fills) // 3, ends[1], ends[2]), strict=True):
            block[self._entry.at[name]] = value
        self._block = block + kernels + fills + array("q", [0])

    def __call__(self, operands: Sequence[int]) -> None:
        """Run with these operands."""
        self._entry(self.threads, self._block + array("q", operands))


@functools.cache
def _kernel() -> runtime.Entry:
    from elman.backends.llvm.team import TEAM_FIELDS

    library = runtime.load(_NAME, "", 4, _write, (_NAME, f"{_NAME}_shared"))
    return runtime.Entry(library, _NAME, (*TEAM_FIELDS, *_FIELDS))


def _write(module: ir.Module, shape: Shape) -> None:
    """Write the kernel that fills in the operands and calls the others."""
    from llvmlite import ir

    from elman.backends.llvm.team import TeamKernel
    from elman.backends.llvm.vectors import INT, POINTER, Integer

    code = TeamKernel(module, shape, _NAME, _FIELDS)
    numbers, b = code.arguments["numbers"], code.builder

    def place(index: Integer) -> ir.Value:
        return b.gep(numbers.value, [index.value], source_etype=INT)

    with code.when(code.thread.equals(0)):
        b.store(b.ptrtoint(numbers.value, INT), place(code["first_operand"]))
        with code.loop(0, code["fills"]) as loop:
            slot, operand, added = (
                code.load_integer(numbers, code["first_fill"] + loop.index * 3 + k) for k in range(3)
            )
            value = code.load_integer(numbers, code["first_operand"] + operand) + added
            b.store(value.value, place(slot))
    kind = ir.FunctionType(ir.VoidType(), [POINTER, INT, INT])
    with code.loop(0, code["kernels"]) as loop:
        code.barrier()
        entry = code["first_kernel"] + loop.index * 3
        address, start, asked = (code.load_integer(numbers, entry + k) for k in range(3))
        threads = asked.minimum(code.threads)
        with code.when(code.thread < threads):
            function = b.inttoptr(address.value, kind.as_pointer())
            own = b.gep(numbers.value, [start.value], source_etype=ir.IntType(8))
            b.call(function, [own, code.thread.value, threads.value])
    code.finish()
