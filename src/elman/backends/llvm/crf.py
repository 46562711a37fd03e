"""The kernels of a linear-chain conditional random field: sums over all paths, their gradients, and the best path.

The tags of a step lie side by side in vectors, padded to whole ones: a *line*. Rows of the batch are independent.

**Sums.** The largest α of a step is taken out and put aside, so that no α is above 0. The sum over the tag before,
Σ_i e^(α(i) + A(i, j)), is a product of p(i) = e^α(i) with the matrix E(i, j) = e^(A(i, j) - c(j)), where c(j) is the
largest number of a column of A, so that nothing overflows: α'(j) = e(j) + c(j) + log Σ_i p(i) E(i, j). What underflows
in p, E or their product is smaller than the smallest normal number; a sum above `_TRUSTED` has lost nothing that its
type could tell. A smaller one, where the best way to a tag leads through a tag that is hopeless until there, is made
anew in logarithms, with the largest of its own terms taken out.

**Gradients.** Backward over time goes γ, the probability of each tag: γ(i) = p(i) Σ_j E(i, j) r(j), where
r(j) = γ'(j) / Σ_i p(i) E(i, j) is at most 1 / `_TRUSTED`. There is no difference of large numbers in it, and no
exponential but p. What is expected of each move of a row is E(i, j) Σ_t p(i) r(j), a product over the steps. Rows are
summed in chunks that follow from the shapes, the chunks in their order.
"""

from __future__ import annotations

import operator
from typing import Final

from llvmlite import ir

from elman.backends.llvm.chain import ChainKernel
from elman.backends.llvm.functions import exp_of_negative, log
from elman.backends.llvm.gemm import TRANSPOSE, call_tile, tile_height, tile_width
from elman.backends.llvm.vectors import Integer, Pointer, Shape, Vector

__all__ = ["BACKWARD", "BACKWARD_FIELDS", "FORWARD", "FORWARD_FIELDS", "write_backward", "write_forward"]

FORWARD: Final = "crf_forward"
BACKWARD: Final = "crf_backward"

_CHAIN: Final = ("batch", "time", "tags", "line", "transitions", "end", "lengths", "path", "alphas", "sums")
FORWARD_FIELDS: Final = (
    *(*_CHAIN, "emissions", "emissions_row", "emissions_step", "start", "losses"),
    *("largest", "exponentials", "p"),
)
BACKWARD_FIELDS: Final = (
    *(*_CHAIN, "grad", "chunks", "demissions", "dtransitions", "dstart", "dend"),
    *("largest", "exponentials", "exponentials_t", "transitions_t", "expected", "p", "r", "gamma"),
)

#: Sums of p E from which on nothing is missing, by the bytes of a number. Their inverses, times a gradient that comes
#: in, are far from the largest number.
_TRUSTED: Final = {4: 1e-20, 8: 1e-200}


def write_forward(module: ir.Module, shape: Shape) -> None:
    """Write the kernel of the sums into a module."""
    _Forward(module, shape, FORWARD, FORWARD_FIELDS).write()


def write_backward(module: ir.Module, shape: Shape) -> None:
    """Write the kernel of their gradients into a module."""
    _Backward(module, shape, BACKWARD, BACKWARD_FIELDS).write()


class _Forward(ChainKernel):
    """Writes -log p of a path for each row, or log Z; and α and the sums of each step, for the way back."""

    def write(self) -> None:
        self.exponentiate()
        with self.shared(self["batch"]) as row:
            length = self.load_integer(self.pointer("lengths"), row)
            place = self.pointer("losses") + row
            place.store_number(ir.Constant(self.real, 0.0))
            with self.when(length > 0):
                self.first_step(row, self.place("alphas", row, 0))
                with self.loop(1, length, carry=[self._settle(self.place("alphas", row, 0))]) as step:
                    self._step(row, step.index)
                    step.values = [step.values[0] + self._settle(self.place("alphas", row, step.index))]
                top, total = self.ending(self.place("alphas", row, length - 1), self.own("p", 1))
                self._finish_row(row, length, step.values[0] + (top + log(self, total)))
        self.finish()

    def _settle(self, alpha: Pointer) -> Vector:
        """Subtract the largest number of a line, so that none grows with the steps; return it in all lanes."""
        with self.loop(0, self["line"], self.lanes, carry=[self.lowest]) as k:
            k.values = [self.larger((alpha + k.index).load(), k.values[0])]
        top = self.splat(self.across(k.values[0], self.larger))
        with self.loop(0, self["line"], self.lanes) as k:
            (alpha + k.index).store((alpha + k.index).load() - top)
        return top

    def _step(self, row: Integer, step: Integer) -> None:
        """Write α and the sums of a step; those that were made anew are 0."""
        before, p = self.place("alphas", row, step - 1), self.own("p", 1)
        with self.loop(0, self["line"], self.lanes) as k:
            (p + k.index).store(exp_of_negative(self, (before + k.index).load()))
        sums = self.place("sums", row, step)
        self.product(p, "exponentials", sums)
        with self.loop(0, self.vectors(self["tags"])) as v:
            place = v.index * self.lanes
            emission = (self.emission(row, step) + place).load(self.used(self["tags"], v.index))
            alpha, total = self.place("alphas", row, step) + place, (sums + place).load()
            small = self.some(total.compare("<", _TRUSTED[self.shape.size]))
            with self.builder.if_else(small) as (then, otherwise):
                with then:
                    (sums + place).store(self.constant(0.0))
                    alpha.store(emission + self._in_logarithms(before, v.index))
                with otherwise:
                    alpha.store(emission + ((self.pointer("largest") + place).load() + log(self, total)))

    def _in_logarithms(self, before: Pointer, v: Integer) -> Vector:
        """Return log Σ_i e^(α(i) + A(i, j))."""
        with self.loop(0, self["tags"], carry=[self.lowest]) as i:
            i.values = [self.larger((before + i.index).broadcast() + self.moves(i.index, v), i.values[0])]
        top = i.values[0]
        with self.loop(0, self["tags"], carry=[self.constant(0.0)]) as i:
            score = (before + i.index).broadcast() + self.moves(i.index, v)
            i.values = [i.values[0] + exp_of_negative(self, score - top)]
        return top + log(self, i.values[0])

    def _finish_row(self, row: Integer, length: Integer, partition: Vector) -> None:
        """Write log Z, less the score of a path where one is given; a forbidden path has the loss inf in any case."""
        place, result = self.pointer("losses") + row, self.finite(partition)
        place.store_number(self.builder.extract_element(partition.value, self.zero.value))
        with self.when(self.given("path")):
            number = self.builder.extract_element(result.value, self.zero.value)
            place.store_number(self.builder.fsub(number, self._score(row, length)))

    def _score(self, row: Integer, length: Integer) -> ir.Value:
        """Return the score of the given path."""
        first, last = self.tag(row, 0), self.tag(row, length - 1)
        ends = (self.pointer("start") + first, self.pointer("end") + last, self.emission(row, 0) + first)
        start, end, emission = (Vector(self, place.load_number()) for place in ends)
        with self.loop(1, length, carry=[start + emission]) as step:
            here = self.tag(row, step.index)
            move = self.pointer("transitions") + (self.tag(row, step.index - 1) * self["tags"] + here)
            emission = Vector(self, (self.emission(row, step.index) + here).load_number())
            step.values = [step.values[0] + Vector(self, move.load_number()) + emission]
        return (step.values[0] + end).value


class _Backward(ChainKernel):
    """Writes the gradients of Σ grad · loss. Those of the parameters may not be wanted.

    What is expected of a chunk of rows are as many lines as there are tags, and two more: first and last tags.
    """

    def write(self) -> None:
        self.exponentiate()
        self._transpose("exponentials", self["line"], "exponentials_t")
        self._transpose("transitions", self["tags"], "transitions_t")
        self.barrier()
        with self.shared(self["chunks"]) as chunk:
            self._clear(chunk)
            first, last = (self["batch"] * k // self["chunks"] for k in (chunk, chunk + 1))
            with self.loop(first, last) as row:
                length = self.load_integer(self.pointer("lengths"), row.index)
                with self.when(length > 0):
                    self._row(chunk, row.index, length)
        with self.when(self.given("dtransitions")):
            self.barrier()
            self._sum_chunks()
        self.finish()

    def _transpose(self, source: str, row: Integer, to: str) -> None:
        tags, lanes = self["tags"], self.lanes
        with self.shared(self.vectors(tags)) as across, self.loop(0, tags, lanes) as down:
            call_tile(
                self,
                TRANSPOSE,
                source=self.pointer(source) + (down.index * row + across * lanes),
                row=row,
                rows=tags - down.index,
                columns=tags - across * lanes,
                to=self.pointer(to) + (across * lanes * self["line"] + down.index),
                to_row=self["line"],
            )

    def _expected(self, chunk: Integer, line: Integer | int) -> Pointer:
        return self.pointer("expected") + (chunk * (self["tags"] + 2) + line) * self["line"]

    def _clear(self, chunk: Integer) -> None:
        with self.loop(0, (self["tags"] + 2) * self["line"], self.lanes) as k:
            (self._expected(chunk, 0) + k.index).store(self.constant(0.0))

    def _row(self, chunk: Integer, row: Integer, length: Integer) -> None:
        """Go through the steps of a row backward. Line t of p is p of the step before t, times the row's gradient."""
        gamma, grad = self.own("gamma", 2), (self.pointer("grad") + row).broadcast()
        _, total = self.ending(self.place("alphas", row, length - 1), gamma)
        share = self.blend(total.compare("==", 0.0), 0.0, 1.0 / total)
        with self.loop(0, self["line"], self.lanes) as k:
            (gamma + k.index).store((gamma + k.index).load() * share)
        self._write_emissions(row, length - 1, grad)
        self._add_gamma(self._expected(chunk, self["tags"] + 1), grad)
        with self.loop(1, length) as back:
            step = length - back.index
            self._step(chunk, row, step, grad)
            self._write_emissions(row, step - 1, grad)
        self._add_gamma(self._expected(chunk, self["tags"]), grad)
        with self.when(self.given("dtransitions")):
            self._count(chunk, length)
        with self.when(self.given("path")):
            self._subtract_path(chunk, row, length)

    def _write_emissions(self, row: Integer, step: Integer, grad: Vector) -> None:
        """Write γ as the gradient of the emissions of a step."""
        to = self.pointer("demissions") + (row * self["time"] + step) * self["tags"]
        with self.loop(0, self.vectors(self["tags"])) as v:
            value = (self.own("gamma", 2) + v.index * self.lanes).load() * grad
            (to + v.index * self.lanes).store(value, self.used(self["tags"], v.index))

    def _add_gamma(self, to: Pointer, grad: Vector) -> None:
        """Add γ to what is expected of first or last tags."""
        with self.loop(0, self["line"], self.lanes) as k:
            value = (self.own("gamma", 2) + k.index).load()
            (to + k.index).store(value.fma(grad, (to + k.index).load()))

    def _step(self, chunk: Integer, row: Integer, step: Integer, grad: Vector) -> None:
        """Replace γ of a step by that of the step before."""
        gamma, before = self.own("gamma", 2), self.place("alphas", row, step - 1)
        p, r = (self.own(field, self["time"]) + step * self["line"] for field in ("p", "r"))
        passed, sums = gamma + self["line"], self.place("sums", row, step)
        with self.loop(0, self["line"], self.lanes) as k:
            total = (sums + k.index).load()
            value = (gamma + k.index).load() / total
            (r + k.index).store(self.blend(total.compare("==", 0.0), 0.0, value))
        self.product(r, "exponentials_t", passed)
        with self.loop(0, self["line"], self.lanes) as k:
            value = exp_of_negative(self, (before + k.index).load())
            (p + k.index).store(value * grad)
            (passed + k.index).store((passed + k.index).load() * value)
        with self.loop(0, self["line"], self.lanes) as k:
            anew = self.some((sums + k.index).load().compare("==", 0.0))
            with self.when(anew), self.loop(k.index, (k.index + self.lanes).minimum(self["tags"])) as j:
                number = (gamma + j.index).load_number()
                with self.when(self.builder.fcmp_unordered("!=", number, ir.Constant(self.real, 0.0))):
                    self._in_logarithms(chunk, before, j.index, grad)
        with self.loop(0, self["line"], self.lanes) as k:
            (gamma + k.index).store((passed + k.index).load())

    def _in_logarithms(self, chunk: Integer, before: Pointer, tag: Integer, grad: Vector) -> None:
        """Pass γ of a tag, whose sum was made in logarithms, to the tags before."""
        gamma, moves = self.own("gamma", 2), self.pointer("transitions_t") + tag * self["line"]
        passed = gamma + self["line"]

        def score(k: Integer) -> Vector:
            return (before + k).load() + (moves + k).load()

        with self.loop(0, self["line"], self.lanes, carry=[self.lowest]) as k:
            k.values = [self.larger(score(k.index), k.values[0])]
        top = self.splat(self.across(k.values[0], self.larger))
        with self.loop(0, self["line"], self.lanes, carry=[self.constant(0.0)]) as k:
            k.values = [k.values[0] + exp_of_negative(self, score(k.index) - top)]
        share = (gamma + tag).broadcast() / self.splat(self.across(k.values[0], operator.add))
        with self.loop(0, self["line"], self.lanes) as k:
            value = exp_of_negative(self, score(k.index) - top) * share
            (passed + k.index).store((passed + k.index).load() + value)
        with self.loop(0, self["tags"]) as i:  # the column of a tag
            value = exp_of_negative(self, (before + i.index).broadcast() + (moves + i.index).broadcast() - top) * share
            number = self.builder.extract_element((value * grad).value, self.zero.value)
            self.add_to(self._expected(chunk, i.index) + tag, number)

    def _count(self, chunk: Integer, length: Integer) -> None:
        """Add what is expected of the moves of a row: E pᵀ r."""
        height, across, line = tile_height(self.shape), tile_width(self.shape), self["line"]
        p, r = (self.own(field, self["time"]) + line for field in ("p", "r"))
        with (
            self.when(length > 1),
            self.loop(0, self.vectors(self["tags"]), across) as panel,
            self.loop(0, self["tags"], height) as i,
        ):
            first, width = panel.index * self.lanes, (self.vectors(self["tags"]) - panel.index).minimum(across)
            self.multiply_transposed(width, length - 1, (p + i.index, line), (r + first, line), self.lanes)
            with self.each_result((self["tags"] - i.index).minimum(height), width) as (u, v, value):
                place = (i.index + u) * line + (first + v * self.lanes)
                to = self._expected(chunk, 0) + place
                to.store(value.fma((self.pointer("exponentials") + place).load(), to.load()))

    def _subtract_path(self, chunk: Integer, row: Integer, length: Integer) -> None:
        """Subtract what the given path has."""
        number = self.builder.fneg((self.pointer("grad") + row).load_number())
        with self.loop(0, length) as step:
            here = self.tag(row, step.index)
            emission = (row * self["time"] + step.index) * self["tags"] + here
            self.add_to(self.pointer("demissions") + emission, number)
            with self.when(step.index > 0):
                self.add_to(self._expected(chunk, self.tag(row, step.index - 1)) + here, number)
        self.add_to(self._expected(chunk, self["tags"]) + self.tag(row, 0), number)
        self.add_to(self._expected(chunk, self["tags"] + 1) + self.tag(row, length - 1), number)

    def _sum_chunks(self) -> None:
        """Write the gradients of the parameters."""
        tags = self["tags"]
        with self.shared(tags + 2) as line, self.loop(0, self.vectors(tags)) as v:
            place = v.index * self.lanes
            with self.loop(0, self["chunks"], carry=[self.constant(0.0)]) as chunk:
                chunk.values = [chunk.values[0] + (self._expected(chunk.index, line) + place).load()]
            ends = self.builder.select(line.equals(tags), self.pointer("dstart").value, self.pointer("dend").value)
            move = self.pointer("dtransitions") + line * tags
            to = Pointer(self, self.builder.select(line < tags, move.value, ends))
            (to + place).store(chunk.values[0], self.used(tags, v.index))
