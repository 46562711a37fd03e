"""What is public: pinned by name, documented, and where `elman` says it is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import elman

#: A name that comes or goes here is a change that users see: it belongs in the CHANGELOG.
PUBLIC = {
    "elman": """
        GRU LSTM RNN Affine Cell CoupledLSTM CoupledLSTMCell Diagonal GRUCell LSTMCell PeepholeLSTM PeepholeLSTMCell
        RNNCell ReLURNN ReLURNNCell Recurrent ResetBeforeGRU ResetBeforeGRUCell
        backend exp explain from_torch log maximum minimum relu sigmoid softplus sqrt tanh where
    """,
    "elman.errors": """
        BackendError CheckpointError DataError DivergenceError DownloadError ElmanError MissingExtraError OptionError
        ShapeError TraceError describe did_you_mean
    """,
    "elman.cells": """
        Affine Cell CoupledLSTMCell Diagonal GRUCell GateParameter LSTMCell PeepholeLSTMCell RNNCell ReLURNNCell
        ResetBeforeGRUCell find
    """,
    "elman.layers": """
        GRU LSTM RNN CoupledLSTM Linear LinearChainCRF LinearCrossEntropy PeepholeLSTM ReLURNN Recurrent ResetBeforeGRU
        Stream linear linear_cross_entropy
    """,
    "elman.layers.explain": "explain",
    "elman.interop": "from_torch",
    "elman.insight": "Curve GradientFlow fresh_flow gradient_flow",
    "elman.data": """
        BucketedBatches Columns Corpus Entry FileStatus ImageFormat LabelledData LabelledSequences Level RemoteFile
        Scheme Sentence ShuffledBatches Streams TaggedData Vocabulary Window WordVectors by_length cache_directory
        complete convert cut_text detect fetch hold_out in_order load_corpus load_digits load_idx load_image_folder
        load_labelled load_npz load_tagged read_idx read_picture read_sentences read_vectors spans verify write_idx
    """,
    "elman.tasks": """
        Generated Reading Sampling ScoredWord Scores TagPrediction Totals generate label_sentences label_text
        load_language_model load_tagger most_surprising read score score_stream
    """,
    "elman.training": """
        Board Checkpoint GraphNode LiveReporter Measurement PlainReporter Progress Reporter RunDirectory StepResult
        Summary Trainable TrainingConfig byte_bars graph_def learning_rate load_checkpoint prepare reporter_for train
    """,
    "elman.testing": """
        CASES TOLERANCES Case Comparison GradientCheck Place assert_cell_conforms check_gradients compare_backends
        places properties
    """,
    "elman.cli": "main",
}
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(elman.__path__, "elman.") if "__main__" not in module.name
)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_pinned(name):
    module = importlib.import_module(name)
    assert sorted(module.__all__) == sorted(PUBLIC[name].split())
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("name", ["elman", *MODULES])
def test_public_names_are_there_and_documented(name):
    module = importlib.import_module(name)
    assert inspect.getdoc(module), f"{name} has no docstring"
    for public in getattr(module, "__all__", []):
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert (value.__doc__ or "").strip(), f"{name}.{public} has no docstring"
        if inspect.isclass(value) and value.__module__ == name:
            for member, method in vars(value).items():
                if inspect.isfunction(method) and not member.startswith("_"):
                    assert inspect.getdoc(getattr(value, member)), f"{name}.{public}.{member} has no docstring"


def test_names_of_the_top_have_a_home():
    homes = {name: module for module, names in elman._HOME.items() for name in names}
    assert set(homes) == set(elman.__all__)
    assert sum(len(names) for names in elman._HOME.values()) == len(homes)
    for name, module in homes.items():
        assert getattr(elman, name) is getattr(importlib.import_module(module), name)
        assert name in importlib.import_module(module).__all__


def test_the_top_lists_its_names_and_no_others():
    assert set(elman.__all__) <= set(dir(elman))
    with pytest.raises(AttributeError, match=r"module 'elman' has no attribute 'LSTN'"):
        elman.LSTN  # noqa: B018
    assert elman.__version__.startswith("0.1.0")
