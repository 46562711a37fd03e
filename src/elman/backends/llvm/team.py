"""Kernels that a team of threads runs together: their numbers, their barrier and how they share loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from llvmlite import ir

from elman.backends.llvm.vectors import INT, POINTER, Code, Integer, Pointer, Shape

__all__ = ["TEAM_FIELDS", "TeamKernel"]

_ARGUMENTS: Final = {"numbers": "pointer", "thread": "int", "threads": "int"}

#: Numbers that every kernel is called with: the threads that were asked for, a counter that begins with 0, and the
#: addresses of functions of the system and of the pool of threads.
TEAM_FIELDS: Final = ("threads", "barrier", "sched_yield", "omp_get_thread_num", "omp_get_num_threads")

_PATIENCE: Final = 2000  #: rounds that a thread waits at a barrier before it lets others run


class TeamKernel(Code):
    """Writes a function of a block of numbers (named by ``fields``), the thread and the number of threads.

    Some numbers are places: they count bytes from an address among the others, as ``bases`` says, place by place.
    """

    def __init__(
        self, module: ir.Module, shape: Shape, name: str, fields: Sequence[str], bases: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(module, shape, name, _ARGUMENTS, public=True)
        self.fields = (*TEAM_FIELDS, *fields)
        self._bases = bases or {}
        self._name = name
        self._loaded: dict[str, ir.Value] = {}
        self._barriers = self._slot(INT)
        self.builder.store(INT(0), self._barriers)
        self.thread: Integer = self.arguments["thread"]
        self.threads: Integer = self.arguments["threads"]
        self.zero = Integer(self, INT(0))
        self._control = self._flush_denormals()

    def __getitem__(self, field: str) -> Integer:
        """Read a number of the block."""
        return Integer(self, self._load(field))

    def pointer(self, field: str) -> Pointer:
        """Read an address of the block."""
        if f"*{field}" not in self._loaded:
            value, base = self._load(field), self._bases.get(field)
            start = None if base is None else self._load(base)
            with self.builder.goto_entry_block():
                address = value if start is None else self.builder.add(start, value)
                self._loaded[f"*{field}"] = self.builder.inttoptr(address, POINTER)
        return Pointer(self, self._loaded[f"*{field}"])

    def given(self, field: str) -> ir.Value:
        """Tell whether an address was given."""
        return self[field].differs(0)

    def load_integer(self, address: Pointer, index: Integer) -> Integer:
        """Read one of the 64-bit integers at an address."""
        place = self.builder.gep(address.value, [index.value], source_etype=INT)
        return Integer(self, self.builder.load(place, typ=INT))

    def store_integer(self, address: Pointer, index: Integer, value: Integer) -> None:
        """Write one of the 64-bit integers at an address."""
        self.builder.store(value.value, self.builder.gep(address.value, [index.value], source_etype=INT))

    def _load(self, field: str) -> ir.Value:
        if field not in self._loaded:
            with self.builder.goto_entry_block():
                b = self.builder
                place = b.gep(self.arguments["numbers"].value, [INT(self.fields.index(field))], source_etype=INT)
                self._loaded[field] = b.load(place, typ=INT)
        return self._loaded[field]

    def _slot(self, kind: ir.Type) -> ir.Value:
        with self.builder.goto_entry_block():
            return self.builder.alloca(kind)

    def barrier(self) -> None:
        """Wait until all threads are here."""
        with self.when(self.threads > 1):
            b = self.builder
            counter = self.pointer("barrier").value
            passed = b.add(b.load(self._barriers, typ=INT), INT(1))
            b.store(passed, self._barriers)
            goal = b.mul(passed, self.threads.value)
            b.atomic_rmw("add", counter, INT(1), "acq_rel")
            self._wait(counter, goal)

    def _wait(self, counter: ir.Value, goal: ir.Value) -> None:
        """Spin, and after a while let others run."""
        b = self.builder
        before = b.block
        spin, patience, give, end = (b.append_basic_block(name) for name in ("spin", "patience", "yield", "through"))
        b.branch(spin)
        b.position_at_end(spin)
        turn = b.phi(INT)
        turn.add_incoming(INT(0), before)
        there = b.load_atomic(counter, "acquire", 8, typ=INT)
        b.cbranch(b.icmp_signed(">=", there, goal), end, patience)
        b.position_at_end(patience)
        after = b.add(turn, INT(1))
        turn.add_incoming(after, patience)
        turn.add_incoming(after, give)
        b.cbranch(b.icmp_signed("<", turn, INT(_PATIENCE)), spin, give)
        b.position_at_end(give)
        kind = ir.FunctionType(ir.IntType(32), [])
        b.call(b.inttoptr(self["sched_yield"].value, kind.as_pointer()), [])
        b.branch(spin)
        b.position_at_end(end)

    def share(self, count: Integer) -> tuple[Integer, Integer]:
        """Return where this thread's part of so many rounds begins and ends."""
        return count * self.thread // self.threads, count * (self.thread + 1) // self.threads

    @contextmanager
    def shared(self, count: Integer) -> Iterator[Integer]:
        """Write a loop whose rounds all threads share."""
        with self.loop(*self.share(count)) as loop:
            yield loop.index

    def _flush_denormals(self) -> ir.Value:
        """Take numbers too small to be normal for zeros; arithmetic with them is slower by a hundred times."""
        b, void = self.builder, ir.VoidType()
        if self.module.triple.startswith("x86"):
            saved, changed = self._slot(ir.IntType(32)), self._slot(ir.IntType(32))
            self._control_function("llvm.x86.sse.stmxcsr", void, [saved])
            b.store(b.or_(b.load(saved, typ=ir.IntType(32)), ir.IntType(32)(0x8040)), changed)
            self._control_function("llvm.x86.sse.ldmxcsr", void, [changed])
            return saved
        saved = self._control_function("llvm.aarch64.get.fpcr", INT, [])
        self._control_function("llvm.aarch64.set.fpcr", void, [b.or_(saved, INT(1 << 24))])
        return saved

    def _control_function(self, name: str, returns: ir.Type, arguments: Sequence[ir.Value]) -> ir.Value:
        kind = ir.FunctionType(returns, [argument.type for argument in arguments])
        known = self.module.globals.get(name)
        return self.builder.call(known if known is not None else ir.Function(self.module, kind, name), arguments)

    def finish(self) -> ir.Function:
        """End the kernel; denormals are again what they were to the thread. Write the entry of an OpenMP team."""
        x86 = self.module.triple.startswith("x86")
        name = "llvm.x86.sse.ldmxcsr" if x86 else "llvm.aarch64.set.fpcr"
        self._control_function(name, ir.VoidType(), [self._control])
        function = super().finish()
        self._write_shared()
        return function

    def _write_shared(self) -> None:
        """Write the function that every thread of an OpenMP team enters: it asks who it is, and runs the kernel."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER])
        entry = ir.Function(self.module, kind, f"{self._name}_shared")
        builder = ir.IRBuilder(entry.append_basic_block("entry"))
        ask = ir.FunctionType(ir.IntType(32), [])

        def asked(field: str) -> ir.Value:
            place = builder.gep(entry.args[0], [INT(self.fields.index(field))], source_etype=INT)
            address = builder.inttoptr(builder.load(place, typ=INT), ask.as_pointer())
            return builder.zext(builder.call(address, []), INT)

        numbers = [asked("omp_get_thread_num"), asked("omp_get_num_threads")]
        builder.call(self.function, [entry.args[0], *numbers])
        builder.ret_void()
