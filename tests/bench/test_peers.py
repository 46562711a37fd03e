"""Every peer does what elman does, with elman's weights; those that are not installed are skipped."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace

import pytest
import torch
from small_works import SMALL

from elman.bench import peers
from elman.bench.example import Example
from elman.bench.parity import wrong
from elman.bench.peers import PEERS, select_peers
from elman.bench.peers.optional import Library
from elman.bench.program import reference_results
from elman.bench.works import Work, select
from elman.errors import MissingExtraError, OptionError

BY_NAME = {peer.name: peer for peer in PEERS}


@pytest.mark.filterwarnings("ignore")  # other libraries' own
@pytest.mark.parametrize("name", [peer.name for peer in PEERS if not peer.slow])
def test_a_peer_does_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = BY_NAME[name]
    monkeypatch.setattr(peers, "_cores", lambda: 1)
    if reason := peer.missing(threads=1):
        pytest.skip(f"{name} {reason}")
    works = [work for work in SMALL.values() if peer.serves(work)]
    assert works
    for work in works:
        example = Example.of(work)
        truth = reference_results(example)
        program = peer.build(example, threads=1)
        with program.setting():
            assert wrong(program.results(), truth) is None, work.name
            program.step()
            program.step()
            if work.kind in {"training", "cross-entropy", "crf"}:
                assert wrong(program.results(), truth) is None, work.name
        assert wrong(reference_results(example), truth) is None  # it has weights of its own


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["training", "cross-entropy"])
def test_torch_compile_does_the_same(kind, monkeypatch) -> None:
    monkeypatch.undo()  # it looks into torch.empty, which tests poison
    peer = BY_NAME["torch.compile"]
    if reason := peer.missing(threads=1):
        pytest.skip(f"{peer.name} {reason}")
    cell = "elman.bench.own_cell:OwnCell" if kind == "training" else ""
    work = Work(name="", kind=kind, cell=cell, input_size=3, hidden_size=5, classes=7, batch=4, steps=2)
    assert peer.serves(work)
    example = Example.of(work)
    assert wrong(peer.build(example, threads=1).results(), reference_results(example)) is None


def test_who_does_what() -> None:
    served = {work.name: [peer.name for peer in PEERS if peer.serves(work)] for work in select([])}
    assert served["lstm"] == ["torch.nn", "loop", "torch.compile", "jax", "keras"]
    assert served["gru"] == served["rnn"] == served["bidirectional"] == served["two-layers-650"] == served["lstm"]
    assert served["peephole"] == served["own-cell"] == ["loop", "torch.compile", "jax"]
    assert served["one-step"] == ["torch.nn", "torch.nn-no-onednn", "torch.LSTMCell", "onnxruntime"]
    assert served["mnist"] == ["torch.nn", "loop", "jax", "keras"]
    assert served["language-model"] == served["language-model-medium"] == ["torch.nn", "jax"]
    assert served["language-model-step"] == served["one-step"]
    assert served["cross-entropy"] == ["torch.nn", "torch.compile"]
    assert served["crf"] == ["pytorch-crf"]
    assert served["crf-tagger"] == ["pytorch-crf", "torch.nn+pytorch-crf"]


def test_selection() -> None:
    assert "torch.compile" not in [peer.name for peer in select_peers([])]
    assert len(select_peers([])) == len(PEERS) - 1
    assert select_peers(["all"]) == PEERS
    assert [peer.name for peer in select_peers(["loop", "torch.nn"])] == ["torch.nn", "loop"]
    with pytest.raises(OptionError, match=r"There is no peer 'kers'\. Did you mean 'keras'\?"):
        select_peers(["torch.nn", "kers"])


def test_what_is_missing_is_said(monkeypatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in {"jax", "optax"} else found(name))
    assert BY_NAME["jax"].missing(threads=1) == "needs jax and optax: pip install 'elman[bench]'"
    here = replace(BY_NAME["jax"], packages=())
    monkeypatch.setattr(peers, "_cores", lambda: 4)
    assert here.missing(threads=4) is None
    assert here.missing(threads=2) == "takes a thread a core, 4 here, and cannot be told to take 2"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert BY_NAME["torch.compile"].missing(threads=1) == "needs a C++ compiler"
    assert BY_NAME["torch.nn"].missing(threads=1) is None


def test_a_library_that_is_not_there() -> None:
    assert Library("torch.nn").LSTM is torch.nn.LSTM
    with pytest.raises(MissingExtraError, match=r"needs the package no_such_library: pip install 'elman\[bench\]'"):
        Library("no_such_library.part").name  # noqa: B018
    with pytest.raises(ModuleNotFoundError, match=r"torch\.no_such_part"):
        Library("torch.no_such_part").name  # noqa: B018


def test_to_look_at_a_library_is_not_to_use_it() -> None:
    assert not hasattr(Library("no_such_library"), "__wrapped__")


def test_onednn_is_off_only_inside() -> None:
    example = Example.of(Work(name="", kind="inference", input_size=3, hidden_size=5, batch=1, steps=1))
    before = torch.backends.mkldnn.enabled
    with BY_NAME["torch.nn-no-onednn"].build(example, threads=1).setting():
        assert not torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled == before
