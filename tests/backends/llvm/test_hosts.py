"""Code for other processors than this one: run where this one can, else compiled and looked at."""

from __future__ import annotations

from dataclasses import replace

import llvmlite.binding as llvm
import pytest
import torch
import torch.nn.functional as F
from llvmlite import ir

from backends.llvm import compared, test_paths, tiles
from backends.llvm.applied import applied
from backends.llvm.compared import assert_right, everything, make, numbers
from differentiated import EveryOperationCell
from elman.backends.llvm import crf, products, runtime
from elman.backends.llvm.backward import write_backward
from elman.backends.llvm.cross_entropy import write_cross_entropy
from elman.backends.llvm.forward import write_forward
from elman.backends.llvm.functions import POINTWISE
from elman.backends.llvm.gemm import write_tiles
from elman.backends.llvm.linear import write_linear
from elman.backends.llvm.vectors import Shape
from elman.backends.llvm.viterbi import write_viterbi
from elman.cells import LSTMCell, PeepholeLSTMCell, ResetBeforeGRUCell, RNNCell
from elman.compiler.plan import plan

types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])

HERE = runtime.host()
X86 = isinstance(HERE, runtime.Host) and HERE.triple.startswith("x86_64") and HERE.bits >= 256


def without_avx512(features):
    return ",".join("-" + f[1:] if "avx512" in f or "evex512" in f else f for f in features.split(","))


@pytest.fixture(params=["AVX2", "tiles of NEON"])
def other(request, monkeypatch):
    """A processor that this one can stand for: its vectors are shorter."""
    if not X86:
        pytest.skip("this processor has none of the instructions")
    if request.param == "AVX2":
        host = replace(HERE, processor="haswell", features=without_avx512(HERE.features), bits=256, registers=16)
    else:
        host = replace(HERE, processor="x86-64-v3", features=without_avx512(HERE.features), bits=128, registers=32)
    monkeypatch.setattr(runtime, "host", lambda: host)
    caches = (runtime.shape, runtime._linker)

    def forget():
        compared.forget()
        for cache in caches:
            cache.cache_clear()

    forget()
    yield host
    monkeypatch.undo()
    forget()


@types
@pytest.mark.parametrize(
    "kind", [LSTMCell, ResetBeforeGRUCell, PeepholeLSTMCell, EveryOperationCell], ids=lambda cell: cell.__name__
)
def test_cells(kind, dtype, other):
    for sizes, masks, reverse in (
        ((1, 2, 1, 1), "", False),
        ((2, 3, 9, 7), "resets", True),
        ((7, 5, 20, 17), "lengths", False),
        ((20, 3, 5, 33), "holes resets", True),
    ):
        case = make(kind, *sizes, masks=masks, reverse=reverse)
        assert_right(case, everything(case, dtype))


@types
def test_same_bits_on_any_number_of_threads(dtype, other):
    case = make(RNNCell, 40, 12, 40, 66)
    alone = everything(case, dtype)
    torch.set_num_threads(3)
    compared.assert_same_bits(everything(case, dtype), alone)


@types
def test_tiles(dtype, other):
    for check, cases in tiles.CASES.items():
        for case in cases(dtype.itemsize):
            check(dtype, *case, lambda value: value)


@types
def test_products(dtype, other):
    for rows, features, words in ((7, 5, 3), (33, 17, 65), (70, 9, 481)):
        x, weight, bias = numbers(rows, features), numbers(words, features), numbers(words)
        targets = torch.randint(0, words, (rows,))
        leaves = [value.clone().requires_grad_() for value in (x, weight, bias)]
        losses = F.cross_entropy(F.linear(*leaves), targets, reduction="none")
        right = torch.autograd.grad(losses.sum(), leaves)
        got, gradients = products.cross_entropy(
            *(v.to(dtype) for v in (x, weight, bias)), targets, 1.0, ("x", "weight", "bias")
        )
        tolerance = 1e-5 if dtype == torch.float32 else 1e-13
        torch.testing.assert_close(got.double(), losses.detach(), rtol=tolerance, atol=tolerance)
        for name, expected in zip(("x", "weight", "bias"), right, strict=True):
            torch.testing.assert_close(gradients[name].double(), expected, rtol=tolerance, atol=tolerance, msg=name)
        y = products.linear(*(v.to(dtype) for v in (x, weight, bias)))
        torch.testing.assert_close(y.double(), F.linear(x, weight, bias), rtol=tolerance, atol=tolerance)


@types
def test_paths_of_tags(dtype, other):
    for sizes in ((1, 1, 1), (7, 5, 3), (9, 4, 17), (3, 3, 45)):
        for with_path in (True, False):
            test_paths.test_sums_and_gradients(sizes, with_path, dtype)
        test_paths.test_the_best_path(sizes, dtype)
    test_paths.test_a_tag_that_was_hopeless(dtype)


@types
def test_functions(dtype, other):
    x = torch.linspace(-30, 30, 1001, dtype=torch.float64).to(dtype)
    for op, right in (("exp", torch.exp), ("sigmoid", torch.sigmoid), ("tanh", torch.tanh)):
        got = applied(op, POINTWISE[op], x)
        torch.testing.assert_close(got.double(), right(x.double()), rtol=4 * torch.finfo(dtype).eps, atol=0)
    got = applied("log", POINTWISE["log"], x.abs())
    torch.testing.assert_close(got.double(), x.double().abs().log(), rtol=2 * torch.finfo(dtype).eps, atol=1e-9)


def test_the_code_has_the_instructions_it_is_for(other):
    """No AVX-512, and fused multiply-adds on vectors of the length that was asked for."""
    assembly = compiled(other.triple, other.processor, other.features, Shape.of(other.bits, other.registers, 4))
    assert "zmm" not in assembly
    register = "ymm" if other.bits == 256 else "xmm"
    assert any("vfmadd" in line and register in line and "ps" in line for line in assembly.splitlines())


# NEON


def compiled(triple, processor, features, shape):
    """The assembly of all kernels for a target."""
    module = ir.Module("everything")
    target = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, features=features, opt=3, reloc="pic")
    module.triple, module.data_layout = triple, str(target.target_data)
    for write in (write_tiles, write_linear, write_cross_entropy, crf.write_forward, crf.write_backward, write_viterbi):
        write(module, shape)
    for write in (write_forward, write_backward):
        write(module, shape, plan(EveryOperationCell(2, 3).graph))
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    return target.emit_assembly(parsed)


@pytest.mark.parametrize("size", [4, 8])
def test_neon(size):
    triple = "aarch64-unknown-linux-gnu"
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        llvm.Target.from_triple(triple)
    except RuntimeError as error:
        pytest.skip(f"this LLVM does not write code for {triple}: {error}")
    assembly = compiled(triple, "cortex-a76", "", Shape.of(128, 32, size))
    lanes = {4: "4s", 8: "2d"}[size]
    products_by_number = [line for line in assembly.splitlines() if "fmla" in line and f"v0.{lanes}" in line]
    assert products_by_number
    assert "fpcr" in assembly.lower()  # numbers too small to be normal
    tile = assembly.partition("rows_6_4:")[2].partition("rows_")[0]
    assert tile.count("fmla") >= 24, "the tile of 6 rows and 4 vectors"
    assert not [line for line in tile.splitlines() if "str\tq" in line and "[sp" in line], (
        "its sums leave the registers"
    )
