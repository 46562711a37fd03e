from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

import elman.tasks.language_model.reading as module
from elman.data import Vocabulary
from elman.errors import CheckpointError, DivergenceError, OptionError
from elman.tasks.language_model.config import NetworkConfig
from elman.tasks.language_model.model import LanguageModel
from elman.tasks.language_model.reading import Reading, read

MakeModel = Callable[..., LanguageModel]

THE, CAT, SAT, END, UNKNOWN = 0, 1, 3, 5, 6


def assert_same_bits(found: Reading, expected: Reading) -> None:
    assert found.word == expected.word
    assert torch.equal(found.log_probabilities, expected.log_probabilities)
    assert type(found.state) is type(expected.state)
    for name, value in expected.state._asdict().items():
        assert torch.equal(getattr(found.state, name), value), name


def assert_close(found: Reading, model: LanguageModel, words: list[int]) -> None:
    """A reading is what the model makes of all words at once, from zero states."""
    log_p, state = model.log_probabilities(torch.tensor([words]))
    torch.testing.assert_close(found.log_probabilities, log_p[0, -1].detach())
    for name, value in state._asdict().items():
        torch.testing.assert_close(getattr(found.state, name), value.detach())
    assert found.word == words[-1]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_reading_is_what_the_model_makes_of_the_text(make_model: MakeModel, cell: str) -> None:
    model = make_model(cell=cell)
    begun = Reading.begin(model)
    assert_close(begun, model, [END])
    assert_close(begun.after(model, [THE, CAT, SAT]), model, [END, THE, CAT, SAT])
    assert_close(read(model, "the zebra\nsat"), model, [END, THE, UNKNOWN, END, SAT])


def test_what_a_text_of_characters_begins_with(make_model: MakeModel) -> None:
    model = make_model("character")
    assert_close(Reading.begin(model), model, [5])
    assert_close(read(model, "ab!"), model, [5, 0, 1, 6])
    one_line = LanguageModel(NetworkConfig(hidden_size=4), Vocabulary("character", ("a", "<unk>", "b"))).eval()
    assert_close(Reading.begin(one_line), one_line, [1])


def test_a_text_in_pieces_gives_the_same_bits(make_model: MakeModel) -> None:
    model = make_model()
    whole = read(model, "the cat sat\nthe dog ran")
    assert_same_bits(read(model, "sat\nthe dog ran", read(model, "the cat")), whole)
    assert_same_bits(whole.after(model, []), whole)


def test_texts_branch(make_model: MakeModel) -> None:
    model = make_model()
    the = read(model, "the")
    kept = [value.clone() for value in (*the.state, the.log_probabilities)]
    cat, dog = the.after(model, [CAT]), the.after(model, np.array([2]))
    assert_close(cat, model, [END, THE, CAT])
    assert_close(dog, model, [END, THE, 2])
    assert all(torch.equal(*pair) for pair in zip(kept, (*the.state, the.log_probabilities), strict=True))


def test_no_gradient_is_kept(make_model: MakeModel) -> None:
    reading = read(make_model(), "the cat")
    assert not any(value.requires_grad for value in (*reading.state, reading.log_probabilities))


def test_dropout_would_spoil_it(make_model: MakeModel) -> None:
    model = make_model(dropout=0.5).train()
    with pytest.raises(OptionError, match=r"must be in evaluation mode, got in training mode. Call model.eval\(\)"):
        Reading.begin(model)


@pytest.mark.parametrize(("words", "got"), [([0, 7], r"\[0, 7\]"), ([-1], r"\[-1\]"), ([0.5], "float64"), (3, "int64")])
def test_ids_are_checked(make_model: MakeModel, words: Any, got: str) -> None:
    model = make_model()
    with pytest.raises(OptionError, match=rf"words must be a sequence of ids, 0 to 6, got {got}"):
        Reading.begin(model).after(model, words)


def test_a_model_that_has_diverged(make_model: MakeModel) -> None:
    model = make_model()
    with torch.no_grad():
        model.readout.bias[2] = torch.nan
    with pytest.raises(DivergenceError, match=r"log-probabilities must be finite, got others\. Has its training"):
        Reading.begin(model)


@pytest.mark.parametrize("options", [{}, {"cell": "gru", "num_layers": 1}])
def test_a_saved_text_goes_on_with_the_same_bits(
    make_model: MakeModel, tmp_path: Path, options: dict[str, Any]
) -> None:
    model = make_model(**options)
    reading = read(model, "the cat")
    reading.save(tmp_path / "x", model)
    loaded = Reading.load(str(tmp_path / "x"), model)
    assert_same_bits(loaded, reading)
    assert_same_bits(loaded.after(model, [SAT, END]), reading.after(model, [SAT, END]))
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_double_precision(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model().double()
    reading = read(model, "the cat")
    assert reading.log_probabilities.dtype == torch.float64
    reading.save(tmp_path / "x", model)
    assert_same_bits(Reading.load(tmp_path / "x", model), reading)
    with pytest.raises(
        CheckpointError, match=r"x: state\.h must be of the model's type torch.float32, got torch.float64"
    ):
        Reading.load(tmp_path / "x", model.float())


@pytest.fixture
def saved(make_model: MakeModel, tmp_path: Path) -> tuple[LanguageModel, Path]:
    """A model, and a file of what it has read."""
    model = make_model()
    read(model, "the cat").save(tmp_path / "x", model)
    return model, tmp_path / "x"


def refusal(saved: tuple[LanguageModel, Path], model: LanguageModel | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        Reading.load(saved[1], saved[0] if model is None else model)
    return str(caught.value)


def altered(path: Path, *, metadata: dict[str, str] | None = None, signed: bool = True, **tensors: Any) -> None:
    """Write a file anew, with some things changed (None leaves a tensor out), and a checksum that fits."""
    with safe_open(path, framework="pt") as file:
        said = {**file.metadata(), **(metadata or {})}
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    held |= {name.replace("__", "."): value for name, value in tensors.items()}
    held = {name: value for name, value in held.items() if value is not None}
    if signed:
        said["checksum"] = module._checksum(said, held)
    safetensors.torch.save_file(held, path, said)


def test_a_text_of_another_model_is_refused(saved, make_model: MakeModel) -> None:
    other = "x must be of this model, got that of another. Has the run been trained further since"
    trained_further = make_model()
    with torch.no_grad():
        trained_further.readout.bias += 1e-6
    assert other in refusal(saved, trained_further)
    words = LanguageModel(
        saved[0].config, Vocabulary("word", ("a", "cat", "dog", "sat", "ran", "<eos>", "<unk>"))
    ).eval()
    words.load_state_dict(saved[0].state_dict())
    assert other in refusal(saved, words)


@pytest.mark.parametrize("options", [{"hidden_size": 5}, {"num_layers": 1}, {"cell": "gru"}])
def test_a_text_of_other_layers_is_refused(saved, make_model: MakeModel, options: dict[str, Any]) -> None:
    message = refusal(saved, make_model(**options))
    assert "x must be of this model: {'state.h': [1, " in message
    assert "got {'log_probabilities': [7], 'state.c': [1, 2, 1, 6], 'state.h': [1, 2, 1, 6]}" in message


def test_cells_of_the_same_shapes_are_told_apart(make_model: MakeModel, tmp_path: Path) -> None:
    model, other = make_model(cell="rnn"), make_model(cell="rnn-relu")
    other.load_state_dict(model.state_dict())
    read(model, "the cat").save(tmp_path / "x", model)
    assert "got that of another" in refusal((other, tmp_path / "x"))


def test_nothing_there_and_no_such_file(saved, tmp_path: Path) -> None:
    model, path = saved
    assert "none must be a saved reading, got nothing there" in refusal((model, tmp_path / "none"))
    path.write_bytes(b"no safetensors")
    assert "must be a saved reading (safetensors), got a file that cannot be read" in refusal(saved)
    safetensors.torch.save_file({"state.h": torch.zeros(1)}, path, {"format": "elman checkpoint"})
    assert "must be a saved reading, got a safetensors file of another kind" in refusal(saved)
    safetensors.torch.save_file({"state.h": torch.zeros(1)}, path)
    assert "got a safetensors file of another kind" in refusal(saved)


def test_a_damaged_file(saved) -> None:
    model, path = saved
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refusal(saved)
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refusal(saved)
    path.write_bytes(whole)
    assert Reading.load(path, model).word == CAT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": {"version": "2"}}, "the format must be version 1, got version 2"),
        ({"log_probabilities": torch.zeros(8)}, "'log_probabilities': [7]"),
        ({"state__c": None}, "must be of this model"),
        ({"state__other": torch.zeros(1)}, "must be of this model"),
        ({"state__h": torch.zeros(2, 2, 1, 6)}, "must be of this model"),
        ({"state__h": torch.zeros(1, 2, 1, 6, dtype=torch.float16)}, "of the model's type torch.float32"),
        ({"state__h": torch.full((1, 2, 1, 6), torch.inf)}, "state.h must be finite"),
        ({"log_probabilities": torch.full((7,), torch.nan)}, "log_probabilities must be finite"),
        ({"metadata": {"word": "7"}}, "the last word must be 0 to 6, got '7'"),
        ({"metadata": {"word": "-1"}}, "the last word must be 0 to 6, got '-1'"),
        ({"metadata": {"word": "9" * 5000}}, "the last word must be 0 to 6, got '99999999999999999999'"),
        ({"metadata": {"word": "²"}}, "the last word must be 0 to 6"),
        ({"metadata": {"model": "0" * 64}}, "got that of another"),
        ({"metadata": {"word": "2"}, "signed": False}, "is damaged: its checksum does not match"),
        ({"log_probabilities": torch.zeros(7), "signed": False}, "is damaged: its checksum does not match"),
    ],
)
def test_a_hostile_file(saved, change: dict[str, Any], message: str) -> None:
    altered(saved[1])
    Reading.load(saved[1], saved[0])
    altered(saved[1], **change)
    assert message in refusal(saved)


def test_a_disk_that_is_full(saved, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = saved
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match=r"x cannot be written: No space left on device\."):
        Reading.begin(model).save(path, model)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
