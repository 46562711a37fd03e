"""Write machine code on vectors: functions, loops, integers, addresses and vectors of numbers.

A thin layer over llvmlite's builder, so that kernels read like the loops they are. Every integer is of 64 bits; an
offset counts numbers, not bytes. Python integers are constants, and arithmetic on them is done while writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from llvmlite import ir

__all__ = ["Code", "Integer", "Loop", "Pointer", "Shape", "Vector"]

INT: Final = ir.IntType(64)
POINTER: Final = ir.PointerType()
_REALS: Final = {4: ir.FloatType(), 8: ir.DoubleType()}

Index = "Integer | int"


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers and registers that code is written for.

    Attributes:
        size: bytes of a number, 4 or 8.
        lanes: numbers in a vector.
        rows: rows of a tile of a matrix product.
        columns: vectors in a row of such a tile; rows · columns accumulators, a row of the other factor and one
            broadcast number fill the registers.
    """

    size: int
    lanes: int
    rows: int
    columns: int

    @classmethod
    def of(cls, bits: int, registers: int, size: int) -> Shape:
        """Return the shape for vectors of so many bits: a tile takes three quarters of the registers."""
        rows, columns = (6, 4) if registers >= 32 else (6, 2)
        return cls(size, bits // (8 * size), rows, columns)


class Integer:
    """A 64-bit integer of the running code."""

    __slots__ = ("_code", "value")

    def __init__(self, code: Code, value: ir.Value) -> None:
        self._code = code
        self.value = value

    def __add__(self, other: Integer | int) -> Integer:
        return self._do("add", other)

    __radd__ = __add__

    def __sub__(self, other: Integer | int) -> Integer:
        return self._do("sub", other)

    def __rsub__(self, other: int) -> Integer:
        return Integer(self._code, self._code.builder.sub(INT(other), self.value))

    def __mul__(self, other: Integer | int) -> Integer:
        return self._do("mul", other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Integer | int) -> Integer:
        """Divide integers that are not negative."""
        return self._do("udiv", other)

    def __mod__(self, other: Integer | int) -> Integer:
        return self._do("urem", other)

    def __and__(self, other: int) -> Integer:
        return self._do("and_", other)

    def __lt__(self, other: Integer | int) -> ir.Value:
        return self._compare("<", other)

    def __gt__(self, other: Integer | int) -> ir.Value:
        return self._compare(">", other)

    def equals(self, other: Integer | int) -> ir.Value:
        """Tell whether two are equal."""
        return self._compare("==", other)

    def differs(self, other: Integer | int) -> ir.Value:
        """Tell whether two differ."""
        return self._compare("!=", other)

    def minimum(self, other: Integer | int) -> Integer:
        """Return the smaller of two."""
        return self._code.choose(self < other, self, other)

    def _do(self, operation: str, other: Integer | int) -> Integer:
        return Integer(self._code, getattr(self._code.builder, operation)(self.value, self._code.integer(other)))

    def _compare(self, operator: str, other: Integer | int) -> ir.Value:
        return self._code.builder.icmp_signed(operator, self.value, self._code.integer(other))


class Vector:
    """A vector of numbers in a register (or one number, which arithmetic treats alike)."""

    __slots__ = ("_code", "value")

    def __init__(self, code: Code, value: ir.Value) -> None:
        self._code = code
        self.value = value

    def __add__(self, other: Vector | float) -> Vector:
        return self._do("fadd", other)

    __radd__ = __add__

    def __sub__(self, other: Vector | float) -> Vector:
        return self._do("fsub", other)

    def __rsub__(self, other: float) -> Vector:
        return self._code.constant(other) - self

    def __mul__(self, other: Vector | float) -> Vector:
        return self._do("fmul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Vector | float) -> Vector:
        return self._do("fdiv", other)

    def __rtruediv__(self, other: float) -> Vector:
        return self._code.constant(other) / self

    def __neg__(self) -> Vector:
        return Vector(self._code, self._code.builder.fneg(self.value))

    def fma(self, factor: Vector | float, term: Vector | float) -> Vector:
        """Return self · factor + term, rounded once."""
        return self._code.call("fma", self, factor, term)

    def compare(self, operator: str, other: Vector | float) -> ir.Value:
        """Compare lane by lane; false where either is not a number (true for ``!=``)."""
        compare = self._code.builder.fcmp_unordered if operator == "!=" else self._code.builder.fcmp_ordered
        return compare(operator, self.value, self._code.vector(other).value)

    def _do(self, operation: str, other: Vector | float) -> Vector:
        operate = getattr(self._code.builder, operation)
        return Vector(self._code, operate(self.value, self._code.vector(other).value))


class Pointer:
    """The address of numbers."""

    __slots__ = ("_code", "value")

    def __init__(self, code: Code, value: ir.Value) -> None:
        self._code = code
        self.value = value

    def __add__(self, offset: Integer | int) -> Pointer:
        if isinstance(offset, int) and offset == 0:
            return self
        code = self._code
        return Pointer(code, code.builder.gep(self.value, [code.integer(offset)], source_etype=code.real))

    def load(self, mask: ir.Value | None = None) -> Vector:
        """Read a vector; lanes that the mask leaves out are 0."""
        code = self._code
        if mask is None:
            return Vector(code, code.builder.load(self.value, align=code.shape.size, typ=code.wide))
        arguments = [self.value, mask, ir.Constant(code.wide, None)]
        return Vector(code, code.intrinsic("masked.load", code.wide, arguments))

    def store(self, vector: Vector, mask: ir.Value | None = None) -> None:
        """Write a vector; lanes that the mask leaves out stay."""
        code = self._code
        if mask is None:
            code.builder.store(vector.value, self.value, align=code.shape.size)
        else:
            code.intrinsic("masked.store", ir.VoidType(), [vector.value, self.value, mask])

    def broadcast(self) -> Vector:
        """Read one number into all lanes."""
        code = self._code
        return code.splat(code.builder.load(self.value, align=code.shape.size, typ=code.real))

    def prefetch(self, *, write: bool = False) -> None:
        """Have the memory bring what lies here into the nearest cache; nothing need lie here."""
        code, flag = self._code, ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [POINTER, flag, flag, flag])
        known = code.module.globals.get("llvm.prefetch.p0")
        function = known if known is not None else ir.Function(code.module, kind, "llvm.prefetch.p0")
        code.builder.call(function, [self.value, flag(int(write)), flag(3), flag(1)])

    def load_number(self) -> ir.Value:
        """Read one number."""
        return self._code.builder.load(self.value, align=self._code.shape.size, typ=self._code.real)

    def store_number(self, value: ir.Value) -> None:
        """Write one number."""
        self._code.builder.store(value, self.value, align=self._code.shape.size)


@dataclass
class Loop:
    """A loop that is being written: its index, and the values it carries from round to round.

    Assign the values of the next round to ``values``; after the loop they are those that it ended with.
    """

    index: Integer
    values: list[Vector] = field(default_factory=list)


class Code:
    """Writes one function.

    Args:
        module: where the function goes.
        shape: the vectors it works on.
        name: the function's name.
        arguments: its arguments by name, each ``"int"`` or ``"pointer"``.
        public: whether it is called from outside of the module.
    """

    def __init__(
        self, module: ir.Module, shape: Shape, name: str, arguments: dict[str, str], *, public: bool = False
    ) -> None:
        self.module = module
        self.shape = shape
        self.lanes = shape.lanes
        self.real = _REALS[shape.size]
        self.wide = ir.VectorType(self.real, shape.lanes)
        self.bits = ir.VectorType(ir.IntType(8 * shape.size), shape.lanes)
        types = [INT if kind == "int" else POINTER for kind in arguments.values()]
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
        self.function.attributes.add("nounwind")
        if not public:
            self.function.linkage = "internal"
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        for argument, kind in zip(self.function.args, arguments, strict=True):
            argument.name = kind
        self.arguments: dict[str, Any] = {
            name: (Integer if kind == "int" else Pointer)(self, argument)
            for (name, kind), argument in zip(arguments.items(), self.function.args, strict=True)
        }

    def integer(self, value: Integer | int) -> ir.Value:
        """Return an integer as the builder wants it."""
        return value.value if isinstance(value, Integer) else INT(value)

    def constant(self, value: float) -> Vector:
        """Return a vector of one number in all lanes."""
        return Vector(self, ir.Constant(self.wide, [float(value)] * self.lanes))

    def vector(self, value: Vector | float) -> Vector:
        """Return a vector, also of a Python number."""
        return value if isinstance(value, Vector) else self.constant(value)

    def splat(self, number: ir.Value) -> Vector:
        """Put one number into all lanes."""
        single = self.builder.insert_element(ir.Constant(self.wide, ir.Undefined), number, INT(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return Vector(self, self.builder.shuffle_vector(single, ir.Constant(self.wide, ir.Undefined), lanes))

    def choose(self, condition: ir.Value, yes: Integer | int, no: Integer | int) -> Integer:
        """Return one of two integers."""
        return Integer(self, self.builder.select(condition, self.integer(yes), self.integer(no)))

    def blend(self, mask: ir.Value, yes: Vector | float, no: Vector | float) -> Vector:
        """Return one of two vectors, lane by lane (all lanes, where the mask is one truth value)."""
        return Vector(self, self.builder.select(mask, self.vector(yes).value, self.vector(no).value))

    def only_if(self, condition: ir.Value, mask: ir.Value) -> ir.Value:
        """Return a mask under a condition, else one that leaves all lanes out."""
        return self.builder.select(condition, mask, ir.Constant(mask.type, None))

    def mask(self, count: Integer) -> ir.Value:
        """Return the mask of the first lanes; all of them where the count is larger."""
        lane = ir.Constant(ir.VectorType(INT, self.lanes), list(range(self.lanes)))
        single = self.builder.insert_element(ir.Constant(lane.type, ir.Undefined), count.value, INT(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        spread = self.builder.shuffle_vector(single, ir.Constant(lane.type, ir.Undefined), zeros)
        return self.builder.icmp_signed("<", lane, spread)

    def call(self, name: str, *operands: Vector | float) -> Vector:
        """Call an operation of LLVM on vectors: ``fma``, ``sqrt``, ``fabs``, ``floor``, ..."""
        return Vector(self, self.intrinsic(name, self.wide, [self.vector(v).value for v in operands]))

    def intrinsic(self, name: str, returns: ir.Type, arguments: Sequence[ir.Value]) -> ir.Value:
        """Call an intrinsic function of LLVM."""
        suffix = f"v{self.lanes}f{8 * self.shape.size}"
        full = f"llvm.{name}.{suffix}" + (".p0" if name.startswith("masked") else "")
        kind = ir.FunctionType(returns, [argument.type for argument in arguments])
        known = self.module.globals.get(full)
        return self.builder.call(known if known is not None else ir.Function(self.module, kind, full), arguments)

    def stack(self, numbers: int) -> Pointer:
        """Reserve memory for vectors that lasts as long as the function runs."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(self.real, INT(numbers))
            place.align = 64
        return Pointer(self, place)

    @contextmanager
    def loop(
        self, start: Integer | int, stop: Integer | int, step: Integer | int = 1, carry: Sequence[Vector] = ()
    ) -> Iterator[Loop]:
        """Write a loop: the body of the ``with`` runs for start, start + step, ... while under stop."""
        b = self.builder
        before = b.block
        head, body, end = (b.append_basic_block(name) for name in ("head", "body", "end"))
        b.branch(head)
        b.position_at_end(head)
        index = b.phi(INT)
        index.add_incoming(self.integer(start), before)
        carried = [b.phi(vector.value.type) for vector in carry]
        for phi, vector in zip(carried, carry, strict=True):
            phi.add_incoming(vector.value, before)
        b.cbranch(b.icmp_signed("<", index, self.integer(stop)), body, end)
        b.position_at_end(body)
        loop = Loop(Integer(self, index), [Vector(self, phi) for phi in carried])
        yield loop
        last = b.block
        index.add_incoming(b.add(index, self.integer(step)), last)
        for phi, vector in zip(carried, loop.values, strict=True):
            phi.add_incoming(vector.value, last)
        b.branch(head)
        b.position_at_end(end)
        loop.values = [Vector(self, phi) for phi in carried]

    @contextmanager
    def when(self, condition: ir.Value) -> Iterator[None]:
        """Write code that runs only under a condition."""
        with self.builder.if_then(condition):
            yield

    def finish(self) -> ir.Function:
        """End the function."""
        self.builder.ret_void()
        return self.function
