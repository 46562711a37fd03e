"""Machine code on disk and in memory: nobody else's, nothing damaged, nothing twice; many threads, forked children."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backends.llvm import fresh
from backends.llvm.compared import everything, forget, forward, make
from elman.backends.llvm import runtime
from elman.backends.llvm.team import TEAM_FIELDS, TeamKernel
from elman.cells import Cell, GRUCell, LSTMCell
from elman.errors import BackendError

POSIX = pytest.mark.skipif(not hasattr(os, "getuid"), reason="the system knows no owners and modes of files")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of the test's own, that is not there yet."""
    monkeypatch.setenv("ELMAN_CACHE", str(tmp_path / "cache" / "elman"))
    return tmp_path / "cache" / "elman"


@pytest.fixture
def compiled(monkeypatch):
    """The names of what is compiled."""
    names = []
    compile_ = runtime._compile

    def watched(here, name, size, write):
        names.append(name)
        return compile_(here, name, size, write)

    monkeypatch.setattr(runtime, "_compile", watched)
    return names


@pytest.fixture
def linked(monkeypatch):
    """The code that LLVM is given."""
    codes = []
    link = runtime._link

    def watched(name, code, exports, imports):
        codes.append(code)
        return link(name, code, exports, imports)

    monkeypatch.setattr(runtime, "_link", watched)
    return codes


def write(module, shape):
    code = TeamKernel(module, shape, "tiny", ("y",))
    code.pointer("y").store(code.constant(7.0))
    code.finish()


def answer(key="", size=8):
    """What a tiny kernel writes."""
    library = runtime.load("tiny", key, size, write, ("tiny", "tiny_shared"))
    entry = runtime.Entry(library, "tiny", (*TEAM_FIELDS, "y"))
    y = torch.zeros(16, dtype={4: torch.float32, 8: torch.float64}[size])
    entry(1, entry.numbers({"y": y.data_ptr()}))
    return y[0].item()


# the cache


def test_compiled_once_and_then_read(folder, compiled, linked):
    assert answer() == 7.0
    assert answer() == 7.0
    assert compiled == ["tiny"]
    assert linked[0] == linked[1]
    assert len(list(folder.iterdir())) == 1


@POSIX
def test_files_are_the_users_alone(folder):
    before = os.umask(0)
    try:
        answer()
    finally:
        os.umask(before)
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def change_byte(position):
    def change(file):
        content = bytearray(file.read_bytes())
        content[position] ^= 1
        file.write_bytes(content)

    return change


def swap_for_another(file):
    """Put code of the right form there that is not this user's doing: a link to it."""
    other = file.with_name("elsewhere")
    file.rename(other)
    file.symlink_to(other)


CODE = len(runtime._MAGIC) + 32
DAMAGES = {
    "empty": lambda file: file.write_bytes(b""),
    "truncated by a byte": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "truncated to its head": lambda file: file.write_bytes(file.read_bytes()[: CODE - 5]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "another magic": change_byte(3),
    "another checksum": change_byte(len(runtime._MAGIC) + 1),
    "first byte of the code": change_byte(CODE),
    "a byte of the code": change_byte(CODE + 500),
    "last byte of the code": change_byte(-1),
    "written by the group": lambda file: file.chmod(0o620),
    "written by others": lambda file: file.chmod(0o602),
    "a link": swap_for_another,
}


@POSIX
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_sound_is_compiled_anew(damage, folder, compiled, linked):
    answer()
    (file,) = folder.iterdir()
    DAMAGES[damage](file)
    assert answer() == 7.0
    assert compiled == ["tiny"] * 2
    assert linked[1] == linked[0]  # LLVM saw the new code, not what lay there
    assert answer() == 7.0
    assert compiled == ["tiny"] * 2  # and what lay there has been replaced
    assert not file.is_symlink()


@POSIX
def test_what_belongs_to_another_is_compiled_anew(folder, compiled, linked, monkeypatch):
    answer()
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    assert answer() == 7.0
    assert compiled == ["tiny"] * 2
    assert linked[1] == linked[0]


@POSIX
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_write_is_not_read(mode, folder, compiled):
    answer()
    folder.chmod(mode)
    assert answer() == 7.0
    assert compiled == ["tiny"] * 2


def test_a_folder_that_cannot_be_made(folder, compiled):
    folder.parent.write_text("a file")
    assert [answer(), answer()] == [7.0, 7.0]
    assert compiled == ["tiny"] * 2
    assert folder.parent.read_text() == "a file"


def test_a_disk_that_is_full(folder, compiled, monkeypatch):
    """Nothing half written stays."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert answer() == 7.0
    assert list(folder.iterdir()) == []


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("ELMAN_CACHE", "/somewhere")
    assert runtime.cache_folder() == Path("/somewhere")
    monkeypatch.delenv("ELMAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert runtime.cache_folder() == Path("/caches/elman")
    monkeypatch.delenv("XDG_CACHE_HOME")
    if sys.platform != "win32":
        monkeypatch.setenv("HOME", "/home/someone")
        assert runtime.cache_folder() == Path("/home/someone/.cache/elman")


def test_a_user_without_a_home(monkeypatch, compiled):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for name in ("ELMAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert [answer(), answer()] == [7.0, 7.0]
    assert compiled == ["tiny"] * 2


# the name of a file


def test_a_key_says_what_code_depends_on(monkeypatch):
    here = runtime.host()
    names = [
        runtime._digest(here, "a", 4),
        runtime._digest(here, "b", 4),
        runtime._digest(here, "a", 8),
        runtime._digest(replace(here, processor="other"), "a", 4),
        runtime._digest(replace(here, features=here.features + ",+other"), "a", 4),
        runtime._digest(replace(here, triple="other"), "a", 4),
    ]
    assert runtime._digest(here, "a", 4) == names[0]
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.0")
    names.append(runtime._digest(here, "a", 4))
    monkeypatch.setattr(runtime, "_sources", lambda: b"other")
    names.append(runtime._digest(here, "a", 4))
    assert len(set(names)) == len(names)


def test_every_source_counts(tmp_path, monkeypatch):
    """A change in any file that decides about the code makes other names."""
    package, hashed = Path(runtime.__file__).parents[2], runtime._sources.__wrapped__
    right = hashed()
    for part in ("compiler", "backends"):
        shutil.copytree(package / part, tmp_path / part)
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "backends" / "llvm" / "runtime.py"))
    before = hashed()
    assert before == right
    for name in ("compiler/graph.py", "compiler/adjoint.py", "compiler/plan.py", *kernels(package)):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text + "#")
        assert hashed() != before, name
        (tmp_path / name).write_text(text)
    assert hashed() == before


def kernels(package):
    return sorted(str(path.relative_to(package)) for path in (package / "backends" / "llvm").glob("*.py"))


def test_equal_equations_share_their_code(folder, compiled):
    class OneCell(GRUCell):
        pass

    forget()
    for kind in (GRUCell, OneCell):
        forward(make(kind, 2, 3, 4, 5), torch.float32)
    assert compiled.count("forward") == 1


def test_nothing_is_compiled_for_a_shape(folder, compiled):
    forget()
    everything(make(LSTMCell, 2, 3, 4, 5), torch.float32)
    files, compiled[:] = sorted(folder.iterdir()), []
    for batch in (1, 3, 40):
        for hidden in (1, 16, 17, 64, 65):
            for time in (1, 7):
                everything(make(LSTMCell, batch, time, 3, hidden), torch.float32)
    assert compiled == []
    assert sorted(folder.iterdir()) == files


# hosts without compiled code


def test_a_host_that_is_not_known(monkeypatch):
    monkeypatch.setattr(runtime, "host", lambda: "the processor z80 has none of AVX-512, AVX2 with FMA, and NEON")
    assert runtime.refusal(torch.zeros(1)) == "the processor z80 has none of AVX-512, AVX2 with FMA, and NEON"
    with pytest.raises(BackendError, match="There is no compiled code here: the processor z80 has none"):
        runtime.load("tiny", "", 8, write, ())


def test_without_llvmlite(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    assert runtime.host.__wrapped__() == "llvmlite is not installed"


@pytest.mark.parametrize(
    ("triple", "features", "expected"),
    [
        ("x86_64-unknown-linux-gnu", "avx512f avx512vl avx512dq avx512bw avx2 fma", ("AVX-512", 512, 32)),
        ("x86_64-unknown-linux-gnu", "avx512f avx2 fma", ("AVX2", 256, 16)),
        ("x86_64-unknown-linux-gnu", "avx2 fma", ("AVX2", 256, 16)),
        ("x86_64-unknown-linux-gnu", "avx2", None),
        ("x86_64-unknown-linux-gnu", "avx", None),
        ("aarch64-unknown-linux-gnu", "neon", ("NEON", 128, 32)),
        ("arm64-apple-darwin23.0.0", "neon", ("NEON", 128, 32)),
        ("riscv64-unknown-linux-gnu", "", None),
    ],
)
def test_hosts(triple, features, expected, monkeypatch):
    import llvmlite.binding as llvm

    class Features(dict):
        def flatten(self):
            return ",".join(f"+{name}" for name in self)

    monkeypatch.setattr(llvm, "get_process_triple", lambda: triple)
    monkeypatch.setattr(llvm, "get_host_cpu_name", lambda: "some")
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: Features.fromkeys(features.split(), True))
    found = runtime.host.__wrapped__()
    if expected is None:
        assert found == "the processor some has none of AVX-512, AVX2 with FMA, and NEON"
    else:
        assert (found.instructions, found.bits, found.registers) == expected


@pytest.mark.parametrize("path", ["/nowhere/libgomp.so.1 (deleted)", "libc.so.6"])
def test_libraries_that_cannot_be_entered(path, monkeypatch):
    """Threads of our own serve: a library may have been replaced on disk, or have another form."""
    monkeypatch.setattr(runtime, "_openmp_libraries", lambda: [path])
    assert runtime.pool.__wrapped__() is None


# many at once


def test_threads_of_python(folder):
    """Eight threads that compile and run at once, two for each cell, get what one alone gets."""
    kinds = list(Cell.registry.values())[:4]
    torch.manual_seed(1)
    cases = [make(kind, 5, 4, 6, 18, masks="lengths") for kind in kinds]
    right = [everything(case, torch.float32) for case in cases]
    forget()

    def run(k):
        torch.set_num_threads(1)
        return [everything(cases[k % 4], torch.float32) for _ in range(10)]

    with ThreadPoolExecutor(max_workers=8) as threads:
        for k, results in enumerate(threads.map(run, range(8))):
            for got in results:
                for name, value in got.items():
                    assert value.equal(right[k % 4][name]), (kinds[k % 4].__name__, name)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.parametrize("mode", ["warm", "locked", "own"])
def test_a_forked_child_runs(mode):
    """After the parent has used its threads, and while others of its threads compile; also a child's child."""
    done = fresh.run("forked", mode)
    assert done.stdout == "children left with 0 0 0\n", done.stderr
    assert done.returncode == 0, done.stderr
