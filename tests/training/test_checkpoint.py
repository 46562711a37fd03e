from __future__ import annotations

import contextlib
import json
import math
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from elman.errors import CheckpointError
from elman.training.checkpoint import (
    Checkpoint,
    Document,
    Progress,
    Window,
    capture,
    load_checkpoint,
    save_checkpoint,
)

CPU = torch.device("cpu")


def document(**changes: Any) -> Document:
    progress = Progress(
        step=7,
        steps_per_epoch=5,
        samples=53,
        seconds=0.1 + 0.2,
        window=Window(count=3, sums={"loss": 1 / 3}, gradient_norm=2 / 3),
        best_value=1e-17,
        best_step=5,
        stale=1,
        validation={"loss": 1e-17},
    )
    plain = Document(
        progress=progress, optimizer="adam", seed=3, threads=2, device="cpu", torch="2.13.0",
        task={"classes": ["a", "b"], "scale": 1 / 255}, journal={"metrics.jsonl": 12},
    )  # fmt: skip
    return replace(plain, **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, document(), {"model.weight": torch.arange(6.0).reshape(2, 3), "random.cpu": torch.ones(2)})
    return path


def trained(optimizer: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2)).to(dtype)
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": lambda p, **kw: torch.optim.SGD(p, momentum=0.9, **kw),
    }
    chosen = kinds[optimizer](model.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        step(model, chosen)
    return model, chosen


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    outputs = model(torch.randn(5, 2, 3, dtype=next(model.parameters()).dtype))
    outputs.square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_model_optimizer_and_random_state_come_back_bit_for_bit(
    tmp_path: Path, optimizer: str, dtype: torch.dtype
) -> None:
    model, stepper = trained(optimizer, dtype)
    save_checkpoint(tmp_path / "x", document(optimizer=optimizer), capture(model, stepper, CPU, {"h": torch.ones(1)}))
    other, other_stepper = trained(optimizer, dtype)
    for _ in range(2):
        step(other, other_stepper)  # now it differs in weights, state and random numbers
    checkpoint = load_checkpoint(tmp_path / "x")
    checkpoint.restore_model(other)
    checkpoint.restore_optimizer(other, other_stepper)
    assert checkpoint.group("task")["h"] == 1
    for module, optim in ((model, stepper), (other, other_stepper)):
        checkpoint.restore_random(CPU)
        step(module, optim)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_capture_draws_no_random_numbers() -> None:
    model, stepper = trained("adam")
    before = torch.get_rng_state()
    capture(model, stepper, CPU, {})
    assert torch.equal(before, torch.get_rng_state())


def test_document_comes_back_exactly(file: Path) -> None:
    checkpoint = load_checkpoint(file)
    assert checkpoint.document == document()
    assert torch.equal(checkpoint.tensors["model.weight"], torch.tensor([[0.0, 1, 2], [3, 4, 5]]))
    assert list(file.parent.iterdir()) == [file]


def test_numbers_that_json_has_no_word_for(tmp_path: Path) -> None:
    progress = Progress(steps_per_epoch=1, validation={"a": math.inf, "b": -math.inf, "c": math.nan})
    save_checkpoint(tmp_path / "x", document(progress=progress), {})
    found = load_checkpoint(tmp_path / "x").document.progress.validation
    assert (found["a"], found["b"]) == (math.inf, -math.inf)
    assert math.isnan(found["c"])


@given(st.lists(st.floats(allow_nan=False), max_size=20))
def test_floats_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("floats") / "x"
    numbers = {str(index): value for index, value in enumerate(values)}
    save_checkpoint(path, document(progress=Progress(steps_per_epoch=1, window=Window(sums=numbers))), {})
    found = load_checkpoint(path).document.progress.window.sums
    assert [value.hex() for value in found.values()] == [value.hex() for value in values]


def test_tied_and_overlapping_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "model.a": base,
        "model.tied": base,
        "model.transposed": base.T,
        "model.part": base[1],
        "model.flat": base.view(12),
        "model.empty": torch.empty(0, 3),
        "model.other_empty": torch.empty(0),
        "model.scalar": torch.tensor(7),
        "model.flag": torch.tensor([True, False]),
    }
    save_checkpoint(tmp_path / "x", document(), tensors)
    loaded = load_checkpoint(tmp_path / "x").tensors
    assert loaded.keys() == tensors.keys()
    for name, value in tensors.items():
        assert loaded[name].dtype == value.dtype, name
        assert torch.equal(loaded[name], value), name
    header = raw_header(tmp_path / "x")
    assert "model.tied" not in header  # kept once


def test_restoring_keeps_weights_tied(tmp_path: Path) -> None:
    def tied() -> nn.ModuleDict:
        model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "readout": nn.Linear(3, 5)})
        model["readout"].weight = model["embedding"].weight
        return model

    model, other = tied(), tied()
    save_checkpoint(tmp_path / "x", document(), capture(model, torch.optim.SGD(model.parameters()), CPU, {}))
    load_checkpoint(tmp_path / "x").restore_model(other)
    assert other["readout"].weight is other["embedding"].weight
    assert torch.equal(other["embedding"].weight, model["embedding"].weight)


def raw_header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    return header


def rewrite(path: Path, change: Callable[[dict[str, str], dict[str, Tensor]], None]) -> None:
    """Change metadata and tensors of a file, as a careless or hostile program would."""
    metadata, tensors = raw_header(path)["__metadata__"], safetensors.torch.load_file(path)
    change(metadata, tensors)
    safetensors.torch.save_file(tensors, path, metadata)


@pytest.mark.parametrize("position", range(0, 1000, 61))
def test_cut_off_anywhere(file: Path, position: int) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: min(position, len(data) - 1)])
    with pytest.raises(CheckpointError, match="must be a checkpoint") as caught:
        load_checkpoint(file)
    assert "\n" not in str(caught.value)


def test_any_changed_bit_is_noticed(file: Path) -> None:
    data = file.read_bytes()
    unnoticed = []
    for position in range(0, len(data), 7):
        file.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with contextlib.suppress(CheckpointError):
            load_checkpoint(file)
            unnoticed.append(position)
    assert unnoticed == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, t: m.clear(), "must be a checkpoint of elman, got a safetensors file of another kind"),
        (lambda m, t: m.update(version="2"), "format must be version 1, got version 2"),
        (lambda m, t: m.update(document=m["document"].replace('"step": 7', '"step": 8')), "checksum does not match"),
        (lambda m, t: t.update({"model.weight": torch.zeros(2, 3)}), "checksum does not match"),
        (lambda m, t: t.pop("random.cpu"), "checksum does not match"),
        (lambda m, t: m.pop("checksum"), "checksum does not match"),
    ],
)
def test_foreign_and_changed_files(file: Path, change: Any, message: str) -> None:
    rewrite(file, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(file)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("step", "7", r"damaged: progress\.step"),
        ("step", -1, r"progress\.step: .*greater than or equal to 0"),
        ("steps_per_epoch", 0, r"progress\.steps_per_epoch"),
        ("window", {"count": 1.5}, r"progress\.window\.count"),
    ],
)
def test_wrong_types_in_the_document(tmp_path: Path, entry: str, value: Any, message: str) -> None:
    progress = Progress(steps_per_epoch=5)
    setattr(progress, entry, value)
    save_checkpoint(tmp_path / "x", document(progress=progress), {})
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="must be a checkpoint, got nothing there"):
        load_checkpoint(tmp_path / "none")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)
    (tmp_path / "text").write_text("hello, this is no checkpoint at all")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "text")


def checkpoint_of(tensors: dict[str, Tensor]) -> Checkpoint:
    return Checkpoint(Path("last.safetensors"), document(), tensors)


def test_a_model_of_another_make_is_refused_whole() -> None:
    saved = nn.LSTM(3, 4).state_dict()
    model = nn.LSTM(3, 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    checkpoint = checkpoint_of({f"model.{name}": value for name, value in saved.items()})
    message = (
        r"weight_ih_l0 has shape \(16, 3\) where the model has \(20, 3\); .*; and 1 more\. .*--cell or --hidden-size"
    )
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore_model(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(CheckpointError, match="weight_ih_l1 is missing"):
        checkpoint.restore_model(nn.LSTM(3, 4, num_layers=2))
    with pytest.raises(CheckpointError, match="bias_ih_l0 is not in the model"):
        checkpoint.restore_model(nn.LSTM(3, 4, bias=False))


def test_an_optimizer_of_another_model_is_refused() -> None:
    model = nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(CheckpointError, match=r"optimizer\.w\.exp_avg belongs to no parameter"):
        checkpoint_of({"optimizer.w.exp_avg": torch.ones(1)}).restore_optimizer(model, optimizer)
    with pytest.raises(CheckpointError, match=r"optimizer\.weight\.exp_avg has shape \(2,\)"):
        checkpoint_of({"optimizer.weight.exp_avg": torch.ones(2)}).restore_optimizer(model, optimizer)


@pytest.mark.parametrize("state", [{}, {"random.cpu": torch.ones(3)}, {"random.cpu": torch.ones(3).byte()}])
def test_a_random_state_that_is_none(state: dict[str, Tensor]) -> None:
    before = torch.get_rng_state()
    with pytest.raises(CheckpointError, match="random numbers cannot be restored"):
        checkpoint_of(state).restore_random(CPU)
    assert torch.equal(before, torch.get_rng_state())


def test_check_names_what_differs() -> None:
    now = document(seed=4, task={"classes": ("a", "b"), "scale": 1 / 255, "rows": 28})
    with pytest.raises(CheckpointError, match="seed was 3 and is 4 now; rows was None and is 28 now") as caught:
        checkpoint_of({}).check(now)
    assert "classes" not in str(caught.value)
    checkpoint_of({}).check(document(threads=1, journal={}))


def test_check_does_not_recite_long_values() -> None:
    vocabulary = [f"word{k}" for k in range(10_000)]
    with pytest.raises(CheckpointError, match="vocabulary is another now") as caught:
        checkpoint_of({}).check(document(task={"vocabulary": vocabulary}))
    assert len(str(caught.value)) < 500


def test_a_description_too_long_for_the_format(tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    with pytest.raises(CheckpointError, match=r"its header must be at most 100 MB .*, got 1[\d,]+ bytes"):
        save_checkpoint(path, document(task={"vocabulary": "w" * 101_000_000}), {"model.weight": torch.zeros(2)})
    assert list(tmp_path.iterdir()) == []


CRASH = """
import sys
from pathlib import Path
import resource
import torch
sys.path.insert(0, {folder!r})
from test_checkpoint import document
from elman.errors import CheckpointError
from elman.training.checkpoint import save_checkpoint, load_checkpoint
path = Path({path!r})
save_checkpoint(path, document(), {{"model.w": torch.ones(10)}})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(path, document(), {{"model.w": torch.ones(100_000)}})
except CheckpointError as error:
    print(error)
assert load_checkpoint(path).tensors["model.w"].shape == (10,)
assert list(path.parent.iterdir()) == [path]
"""


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    code = CRASH.format(folder=str(Path(__file__).parent), path=str(tmp_path / "last.safetensors"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot be written: File too large. The last good checkpoint is kept. Free some space" in done.stdout
