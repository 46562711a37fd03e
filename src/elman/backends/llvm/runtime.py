"""From written code to running code: the host, the compiler, the cache on disk and the threads.

Compiled code is kept in ``$ELMAN_CACHE`` (else ``elman`` in the user's cache folder), in files that only the user may
read or write, each with a checksum. A file that belongs to someone else, that others may write or that is damaged is
not touched by LLVM: the code is compiled anew. The name of a file is a hash of everything that the code depends on.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import stat
import sys
import tempfile
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from elman.errors import BackendError

if TYPE_CHECKING:
    from llvmlite import ir
    from torch import Tensor

    from elman.backends.llvm.vectors import Shape

__all__ = ["Host", "Library", "host", "load", "pool", "team"]

_MAGIC: Final = b"elman machine code 1\n"
_LOCK = threading.RLock()
_TEAM = threading.Lock()


@dataclass(frozen=True, slots=True)
class Host:
    """The processor: its name and features as LLVM knows them, bits of a vector and number of vector registers."""

    triple: str
    processor: str
    features: str
    bits: int
    registers: int

    @property
    def instructions(self) -> str:
        """The name of its vector instructions."""
        return {512: "AVX-512", 256: "AVX2", 128: "NEON"}[self.bits]


@functools.cache
def host() -> Host | str:
    """Describe the processor, or say why no code can be compiled for it."""
    try:
        import llvmlite.binding as llvm
    except ModuleNotFoundError:
        return "llvmlite is not installed"
    features = llvm.get_host_cpu_features()
    triple = llvm.get_process_triple()
    described = (triple, llvm.get_host_cpu_name(), features.flatten())
    if triple.startswith("x86_64") and all(features.get(f) for f in ("avx512f", "avx512vl", "avx512dq", "avx512bw")):
        return Host(*described, 512, 32)
    if triple.startswith("x86_64") and features.get("avx2") and features.get("fma"):
        return Host(*described, 256, 16)
    if triple.startswith(("aarch64", "arm64")):
        return Host(*described, 128, 32)
    return f"the processor {described[1]} has none of AVX-512, AVX2 with FMA, and NEON"


def refusal(*tensors: Tensor) -> str | None:
    """Say why compiled code cannot work on these tensors; None where it can."""
    first = tensors[0]
    dtype = first.dtype
    if not first.is_cpu:
        return f"x is on {first.device}; the compiled code is for the CPU"
    if dtype is not torch.float32 and dtype is not torch.float64:
        return f"x is {dtype}; the compiled code is for float32 and float64"
    for tensor in tensors:
        if tensor.dtype is not dtype or not tensor.is_cpu:
            return "x, states and weights differ in type or device"
    here = host()
    return here if isinstance(here, str) else None


@functools.cache
def shape(size: int) -> Shape:
    """Return the vectors and tiles of this host for numbers of a size."""
    from elman.backends.llvm.vectors import Shape

    here = host()
    if not isinstance(here, Host):
        raise BackendError(f"There is no compiled code here: {here}.")
    return Shape.of(here.bits, here.registers, size)


@dataclass(frozen=True, slots=True)
class Library:
    """Machine code in memory: the addresses of its functions; ``owner`` keeps it there, and what it calls."""

    addresses: Mapping[str, int]
    owner: Any


def load(
    name: str,
    key: str,
    size: int,
    write: Callable[[ir.Module, Shape], None],
    exports: Sequence[str],
    imports: Library | None = None,
) -> Library:
    """Load machine code from the cache on disk, or write and compile it.

    Args:
        name: of the library, for people.
        key: what the code depends on besides elman itself, the host and the libraries.
        size: bytes of a number.
        write: writes the code into a module.
        exports: functions to find in it.
        imports: the library whose functions it calls.
    """
    with _LOCK:
        here = host()
        if not isinstance(here, Host):
            raise BackendError(f"There is no compiled code here: {here}.")
        path = cache_folder() / f"{name}-{_digest(here, key, size)}.o"
        code = _read(path)
        if code is None:
            code = _compile(here, name, size, write)
            _write(path, code)
        return _link(path.stem, code, exports, imports)


def cache_folder() -> Path:
    """Return the folder of compiled code."""
    if given := os.environ.get("ELMAN_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None)
    try:
        return (Path(base) if base else Path.home() / ".cache") / "elman"
    except RuntimeError:  # a user without a home: a place where nothing can be kept
        return Path(os.devnull) / "elman"


@functools.cache
def _sources() -> bytes:
    """Hash everything of elman that decides about the code."""
    compiler = Path(__file__).parents[2] / "compiler"
    digest = hashlib.sha256()
    for path in sorted([*Path(__file__).parent.glob("*.py"), *compiler.glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.digest()


def _digest(here: Host, key: str, size: int) -> str:
    version = importlib.metadata.version("llvmlite")
    parts = (_sources().hex(), version, here.triple, here.processor, here.features, str(size), key)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _read(path: Path) -> bytes | None:
    """Read code of this user's own, undamaged; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not _private(os.fstat(file.fileno())) or not _private(path.parent.stat()):
            return None
        magic, checksum, code = file.read(len(_MAGIC)), file.read(32), file.read()
    return code if magic == _MAGIC and hashlib.sha256(code).digest() == checksum else None


def _private(status: os.stat_result) -> bool:
    """Tell whether a file is this user's and nobody else may write it."""
    if not hasattr(os, "getuid"):
        return True  # Windows keeps the folder of a user's own data private
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _write(path: Path, code: bytes) -> None:
    """Write code whole or not at all; without a folder to write to, it is compiled in every process."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    except OSError:
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(code).digest() + code)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)


@functools.cache
def _target(here: Host) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(here.triple)
    return target.create_target_machine(cpu=here.processor, features=here.features, opt=3, reloc="pic", jit=True)


def _compile(here: Host, name: str, size: int, write: Callable[[ir.Module, Shape], None]) -> bytes:
    import llvmlite.binding as llvm
    from llvmlite import ir

    target = _target(here)
    module = ir.Module(name)
    module.triple, module.data_layout = here.triple, str(target.target_data)
    write(module, shape(size))
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    # No passes: kernels are written as they are to run, and the passes took longer than all else to gain nothing.
    return bytes(target.emit_object(parsed))


_numbers = iter(range(2**62))


@functools.cache
def _linker() -> Any:
    import llvmlite.binding as llvm

    here = host()
    assert isinstance(here, Host)
    return llvm.create_lljit_compiler(_target(here))


def _link(name: str, code: bytes, exports: Sequence[str], imports: Library | None) -> Library:
    import llvmlite.binding as llvm

    builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
    for export in exports:
        builder.export_symbol(export)
    for symbol, address in imports.addresses.items() if imports else ():
        builder.import_symbol(symbol, address)
    tracker = builder.link(_linker(), f"{name}-{next(_numbers)}")
    return Library({export: tracker[export] for export in exports}, (tracker, imports))


# threads


@dataclass(frozen=True, slots=True)
class Pool:
    """The threads that kernels run on: torch's own OpenMP pool, or one of our own where it has none that we find."""

    name: str
    parallel: Any
    thread: int
    threads: int


@functools.cache
def pool() -> Pool | None:
    """Find the OpenMP library that torch has loaded; None where there is none that we can enter."""
    for path in _openmp_libraries():
        try:
            library = ctypes.CDLL(path)
            parallel = library.GOMP_parallel
            numbers = [
                ctypes.cast(f, ctypes.c_void_p).value for f in (library.omp_get_thread_num, library.omp_get_num_threads)
            ]
        except (AttributeError, OSError):  # another form of OpenMP, or a file that has been replaced since
            continue
        parallel.restype = None
        parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        return Pool(Path(path).name, parallel, numbers[0] or 0, numbers[1] or 0)
    return None


def _openmp_libraries() -> list[str]:
    """Return the paths of OpenMP libraries in this process, torch's own first."""
    if sys.platform.startswith("linux"):
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        loaded = dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if line.count("/"))
    else:
        loaded = dict.fromkeys(str(path) for path in (Path(torch.__file__).parent / "lib").iterdir())
    found = [p for p in loaded if Path(p).name.startswith(("libgomp", "libomp", "libiomp"))]
    home = str(Path(torch.__file__).parent)
    return sorted(found, key=lambda p: not p.startswith(home))


def team() -> int:
    """Return how many threads a kernel may use: torch's number, and one in a forked child, whose pool is gone."""
    if _forked:
        return 1
    return torch.get_num_threads() if pool() is not None else min(torch.get_num_threads(), os.cpu_count() or 1)


_forked = False


def _after_fork() -> None:
    global _forked, _LOCK, _TEAM
    _forked = True
    _LOCK, _TEAM = threading.RLock(), threading.Lock()  # whoever held them is not here
    torch.set_num_threads(1)  # torch's own operations would wait for its pool for ever


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.cache
def _own_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="elman")


_SINGLE: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Entry:
    """A kernel that can be called on one thread or several.

    Args:
        library: where it is.
        name: the function's.
        fields: names of the numbers that it reads.

    Attributes:
        address: of the function.
        at: position of each of the numbers.
    """

    def __init__(self, library: Library, name: str, fields: Sequence[str]) -> None:
        self._library = library
        self.address = library.addresses[name]
        self._single = _SINGLE(self.address)
        self._shared = library.addresses[f"{name}_shared"]
        self.at = {field: k for k, field in enumerate(fields)}

    def numbers(self, given: Mapping[str, int]) -> array[int]:
        """Return a block of numbers: those that are given, and zeros."""
        block = array("q", bytes(8 * (len(self.at) + 16)))
        for field, number in given.items():
            block[self.at[field]] = number
        for field, number in services().items():
            block[self.at[field]] = number
        return block

    def __call__(self, threads: int, numbers: array[int]) -> None:
        """Run with these numbers, which are used up: the threads count in them."""
        address, _ = numbers.buffer_info()
        if threads == 1:
            self._single(address, 0, 1)
            return
        at = self.at
        numbers[at["threads"]] = threads
        numbers[at["barrier"]] = address + 8 * (len(at) + 8)  # in a line of the cache that nobody else writes
        if (torch_pool := pool()) is not None:
            torch_pool.parallel(self._shared, address, threads, 0)
        else:
            _run_on_own_threads(self._single, address, threads)


def _run_on_own_threads(function: Any, address: int, threads: int) -> None:
    """Run on threads of our own, one team at a time: a team waits for all of its members."""
    with _TEAM:
        rest = [_own_pool().submit(function, address, k, threads) for k in range(1, threads)]
        function(address, 0, threads)
        for other in rest:
            other.result()


@functools.cache
def services() -> Mapping[str, int]:
    """Return the addresses of system functions that kernels call."""
    torch_pool = pool()
    process = ctypes.CDLL(None)
    yielding = ctypes.cast(process.sched_yield, ctypes.c_void_p).value or 0
    return {
        "sched_yield": yielding,
        "omp_get_thread_num": torch_pool.thread if torch_pool else 0,
        "omp_get_num_threads": torch_pool.threads if torch_pool else 0,
    }
