"""`Stream`: every step against the modules, by name; what it reads is what is there; nothing returned changes."""

from __future__ import annotations

import copy
import logging
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.func import vmap
from torch.nn.utils import parametrize

from elman import LSTM, Recurrent
from elman.backends import selection
from elman.backends.llvm.readout import CHUNK
from elman.backends.selection import backend
from elman.cells import Cell, LSTMCell, PeepholeLSTMCell, RNNCell
from elman.errors import BackendError, OptionError, ShapeError
from elman.layers import Linear, LinearCrossEntropy, Stream
from elman.testing import places
from handwritten import ComputedOperandsCell, NoBiasCell, TwoStatesCell

# torch's own, when forward mode is first used
FORWARD_MODE = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
LLVM = places(RNNCell, backends=["llvm"], devices=["cpu"], dtypes=[torch.float64])
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-14}

close = torch.testing.assert_close
types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@pytest.fixture(autouse=True)
def compiled():
    """Compiled code alone: what goes another way raises."""
    (refusal,) = LLVM.values()
    if refusal:
        pytest.skip(refusal)
    with backend("llvm"):
        yield


def model(kind=LSTMCell, hidden=18, layers=2, features=7, words=13, vocabulary=29, dtype=torch.float32, **options):
    """An embedding, layers in evaluation mode and a readout."""
    recurrent = Recurrent(kind, features, hidden, layers, dtype=dtype, **options).eval()
    return nn.Embedding(words, features, dtype=dtype), recurrent, LinearCrossEntropy(hidden, vocabulary, dtype=dtype)


def random_state(recurrent, batch):
    return recurrent.cell.State(*(torch.rand_like(s) for s in recurrent.initial_state(batch)))


def by_hand(embedding, recurrent, readout, inputs, state):
    """The same in float64, with the equations in torch's operations."""
    with torch.no_grad(), backend("reference"):
        x = inputs if embedding is None else embedding.weight[inputs]
        twin = Recurrent(
            recurrent.cell,
            recurrent.input_size,
            recurrent.hidden_size,
            recurrent.num_layers,
            input_projection=None if recurrent.projection is None else recurrent.projection.out_features,
            zoneout=recurrent.zoneout,
            dtype=torch.float64,
        ).eval()
        twin.load_state_dict(recurrent.state_dict())
        outputs, state = twin(x.double()[:, None], [s.double() for s in state])
        outputs = outputs[:, 0]
        if readout is not None:
            bias = None if readout.bias is None else readout.bias.double()
            outputs = F.log_softmax(F.linear(outputs, readout.weight.double(), bias), dim=1)
    return {"outputs": outputs, **state._asdict()}


def assert_right(parts, inputs, state, dtype):
    stream = Stream(*parts)
    for _ in range(2):
        right = by_hand(*parts, inputs, state)
        outputs, state = stream(inputs, state)
        for name, value in {"outputs": outputs, **state._asdict()}.items():
            assert value.dtype == dtype, name
            close(value.double(), right[name], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], msg=name)


CELLS = [*Cell.registry.values(), NoBiasCell, TwoStatesCell, ComputedOperandsCell]


@types
@pytest.mark.parametrize("batch", [1, 3, 11])
@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_every_result_of_every_cell(kind, batch, dtype):
    parts = model(kind, dtype=dtype)
    assert_right(parts, torch.randint(0, 13, (batch,)), random_state(parts[1], batch), dtype)


@types
@pytest.mark.parametrize("vocabulary", [1, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 33])
@pytest.mark.parametrize("layers", [1, 3, 4])
def test_layers_and_vocabularies(layers, vocabulary, dtype):
    parts = model(hidden=33, layers=layers, vocabulary=vocabulary, dtype=dtype)
    assert_right(parts, torch.tensor([12, 0, 12]), random_state(parts[1], 3), dtype)


@types
@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("without", ["embedding", "readout", "embedding readout", "bias"])
@pytest.mark.parametrize("projection", [None, 5])
def test_parts_that_are_not_there(projection, without, batch, dtype):
    embedding, recurrent, readout = model(PeepholeLSTMCell, dtype=dtype, input_projection=projection)
    inputs = torch.randint(0, 13, (batch,))
    if "embedding" in without:
        embedding, inputs = None, torch.randn(batch, 7, dtype=dtype)
    if without == "bias":
        readout = Linear(18, 29, bias=False, dtype=dtype)
    parts = (embedding, recurrent, None if "readout" in without else readout)
    assert_right(parts, inputs, random_state(recurrent, batch), dtype)


@pytest.mark.parametrize("options", [{"zoneout": {"h": 0.3, "c": 0.6}}, {"zoneout": 0.4, "recurrent_dropout": 0.5}])
def test_what_is_random_in_training_is_its_mean(options):
    parts = model(PeepholeLSTMCell, **options)
    assert_right(parts, torch.tensor([12, 0, 12]), random_state(parts[1], 3), torch.float32)


def test_a_copy_reads_its_own_weights():
    embedding, recurrent, readout = model()
    words = torch.tensor([3])
    stream = Stream(embedding, recurrent, readout)
    before, _ = stream(words)
    other = copy.deepcopy(stream)
    with torch.no_grad():
        other.embedding.weight.zero_()
    assert stream(words)[0].equal(before)
    assert not other(words)[0].equal(before)


@types
@pytest.mark.parametrize("batch", [1, 8, 9])
def test_states_have_the_bits_of_the_layer(batch, dtype):
    embedding, recurrent, readout = model(hidden=35, layers=3, dtype=dtype)
    words, state = torch.randint(0, 13, (batch,)), random_state(recurrent, batch)
    _, got = Stream(embedding, recurrent, readout)(words, state)
    with torch.no_grad():
        _, expected = recurrent(embedding(words)[:, None], state)
    for name, value in got._asdict().items():
        assert value.equal(getattr(expected, name)), name


def test_the_first_step_begins_with_zeros():
    parts = model()
    words = torch.tensor([3, 4])
    outputs, state = Stream(*parts)(words)
    expected, final = Stream(*parts)(words, parts[1].initial_state(2))
    assert outputs.equal(expected)
    assert state.h.equal(final.h)
    assert state.c.equal(final.c)


@types
@pytest.mark.parametrize("far", [1e4, -1e4, 1e38])
def test_large_logits(far, dtype):
    parts = model(vocabulary=CHUNK + 5, dtype=dtype)
    with torch.no_grad():
        parts[2].bias += far
    outputs, _ = Stream(*parts)(torch.tensor([1]))
    assert outputs.isfinite().all()
    close(outputs.exp().sum(), torch.ones((), dtype=dtype), rtol=0, atol=1e-2)


@types
@pytest.mark.parametrize("batch", [1, 9])
@pytest.mark.parametrize("steps", [5.0, -5.0])
def test_logits_that_rise_and_fall(steps, batch, dtype):
    parts = model(vocabulary=CHUNK + 35, dtype=dtype)
    with torch.no_grad():
        parts[2].bias += steps * torch.arange(CHUNK + 35)
    words, state = torch.arange(batch), random_state(parts[1], batch)
    right = by_hand(*parts, words, state)["outputs"]
    allowed = 4 * right.abs().max().item() * torch.finfo(dtype).eps
    close(Stream(*parts)(words, state)[0].double(), right, rtol=0, atol=allowed)


@types
@pytest.mark.parametrize("forbidden", [slice(3, 4), slice(0, CHUNK), slice(CHUNK, CHUNK + 40)], ids=str)
def test_forbidden_words(forbidden, dtype):
    """A bias of -inf takes words out, also a whole chunk."""
    parts = model(vocabulary=CHUNK + 40, dtype=dtype)
    with torch.no_grad():
        parts[2].bias[forbidden] = -math.inf
    assert (Stream(*parts)(torch.tensor([1]))[0][0, forbidden] == -math.inf).all()
    assert_right(parts, torch.tensor([1, 2]), random_state(parts[1], 2), dtype)


@pytest.mark.parametrize("word", [0, CHUNK - 1, CHUNK, CHUNK + 39])
def test_what_is_not_a_number_is_seen(word):
    """In its row alone."""
    parts = model(vocabulary=CHUNK + 40)
    state = random_state(parts[1], 3)
    clean, _ = Stream(*parts)(torch.tensor([1, 2, 3]), state)
    state.h[1] = torch.nan
    outputs, _ = Stream(*parts)(torch.tensor([1, 2, 3]), state)
    assert outputs[1].isnan().all()
    assert outputs[[0, 2]].equal(clean[[0, 2]])
    with torch.no_grad():
        parts[2].bias[word] = torch.nan
    assert Stream(*parts)(torch.tensor([1]))[0].isnan().all()


# what was returned


def test_nothing_that_was_returned_changes():
    parts = model()
    stream, state, returned = Stream(*parts), None, []
    for word in (3, 5, 7, 9):
        outputs, state = stream(torch.tensor([word]), state)
        returned += [(value, value.clone()) for value in (outputs, *state)]
    for value, then in returned:
        assert value.equal(then)
    assert len({value.data_ptr() for value, _ in returned}) == len(returned)


def test_a_state_can_be_continued_twice():
    parts = model()
    stream, word = Stream(*parts), torch.tensor([4])
    _, branch = stream(word)
    first, end = stream(word, branch)
    stream(torch.tensor([9]), end)
    again, _ = stream(word, branch)
    assert first.equal(again)


def test_no_gradients():
    parts = model()
    state = [s.requires_grad_() for s in random_state(parts[1], 1)]
    outputs, final = Stream(*parts)(torch.tensor([1]), state)
    assert not any(value.requires_grad for value in (outputs, *final))


def test_however_inputs_lie():
    parts = model(layers=2)
    words, state = torch.tensor([[3, -1], [5, -1]])[:, 0], random_state(parts[1], 2)
    scattered = [torch.stack([s, torch.full_like(s, torch.nan)], dim=-1)[..., 0] for s in state]
    negated = [torch.complex(torch.zeros_like(s), -s).conj().imag for s in state]
    outputs, final = Stream(*parts)(torch.tensor([3, 5]), state)
    for other in (scattered, negated):
        got, end = Stream(*parts)(words, other)
        assert got.equal(outputs)
        assert end.h.equal(final.h)
        assert end.c.equal(final.c)


# weights that change


def _in_place(embedding, recurrent, readout):
    with torch.no_grad():
        recurrent.cell_at(1, 0).weight_h.mul_(1.5)


def _in_place_unseen(embedding, recurrent, readout):
    readout.weight.data.mul_(1.5)  # counts no version


def _other_data(embedding, recurrent, readout):
    embedding.weight.data = embedding.weight.data * 1.5


def _turned_data(embedding, recurrent, readout):
    recurrent.cell_at(1, 0).weight_h.data = recurrent.cell_at(1, 0).weight_h.data.t()  # the same address


def _loaded(embedding, recurrent, readout):
    recurrent.load_state_dict({name: value * 1.5 for name, value in recurrent.state_dict().items()})


def _assigned(embedding, recurrent, readout):
    recurrent.load_state_dict({name: value * 1.5 for name, value in recurrent.state_dict().items()}, assign=True)


def _optimised(embedding, recurrent, readout):
    optimizer = torch.optim.SGD([*embedding.parameters(), *recurrent.parameters()], lr=1.0)
    for parameter in recurrent.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def _other_parameter(embedding, recurrent, readout):
    readout.bias = nn.Parameter(torch.randn(len(readout.bias)))


def _no_bias(embedding, recurrent, readout):
    readout.bias = None


def _more_words(embedding, recurrent, readout):
    embedding.weight.data = torch.randn(40, embedding.weight.shape[1])


def _other_cell(embedding, recurrent, readout):
    recurrent.cells[1][0] = recurrent.cell(recurrent.hidden_size, recurrent.hidden_size)


def _other_layer(embedding, recurrent, readout):
    recurrent.cells[0] = nn.ModuleList([recurrent.cell(recurrent.input_size, recurrent.hidden_size)])


def _other_cells(embedding, recurrent, readout):
    recurrent.cells = model(RNNCell, hidden=16, features=16)[1].cells


CHANGES = [
    *(_in_place, _in_place_unseen, _other_data, _turned_data, _loaded, _assigned, _optimised),
    *(_other_parameter, _no_bias, _more_words, _other_cell, _other_layer, _other_cells),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.lstrip("_"))
def test_changed_weights_are_seen(change):
    parts = model(RNNCell, hidden=16, features=16)
    stream, word, state = Stream(*parts), torch.tensor([4]), random_state(parts[1], 1)
    before, _ = stream(word, state)
    change(*parts)
    with backend("auto"):  # one that lies otherwise is read by the modules
        outputs, final = stream(word, state)
        expected, right = stream._by_modules(word, state)
    assert not outputs.equal(before)
    close(outputs, expected, rtol=1e-5, atol=1e-5)
    close(final.h, right.h, rtol=1e-5, atol=1e-5)


def test_other_types_and_modules_are_seen():
    parts = model()
    stream, word = Stream(*parts), torch.tensor([4])
    before, _ = stream(word)
    for part in parts:
        part.double()
    outputs, state = stream(word)
    assert outputs.dtype == state.h.dtype == torch.float64
    close(outputs.float(), before, rtol=1e-4, atol=1e-4)
    stream.readout = Linear(18, 5, dtype=torch.float64)
    assert stream(word)[0].shape == (1, 5)
    stream.embedding = None
    assert stream(torch.randn(1, 7, dtype=torch.float64))[0].shape == (1, 5)


def test_a_weight_of_two_modules():
    parts = model(features=18, words=29)
    parts[2].weight = parts[0].weight
    assert_right(parts, torch.tensor([28, 3]), random_state(parts[1], 2), torch.float32)


# where the modules run


class Louder(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class OwnForward(LSTM):
    def forward(self, x, state=None, **options):
        return super().forward(2 * x, state, **options)


def _dropout(embedding, recurrent, readout):
    recurrent.train()
    return embedding, recurrent, readout


def _hook(embedding, recurrent, readout):
    recurrent.register_forward_hook(lambda module, inputs, results: (3 * results[0], results[1]))
    return embedding, recurrent, readout


def _early_hook(embedding, recurrent, readout):
    embedding.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 0,))
    return embedding, recurrent, readout


def _renormalised(embedding, recurrent, readout):
    embedding.max_norm = 0.5
    return embedding, recurrent, readout


def _parametrized(embedding, recurrent, readout):
    parametrize.register_parametrization(recurrent.cell_at(0, 0), "weight_x", Doubled())
    return embedding, recurrent, readout


def _louder(embedding, recurrent, readout):
    return embedding, recurrent, Louder(readout.features, readout.vocabulary)


def _own_forward(embedding, recurrent, readout):
    return embedding, OwnForward(recurrent.input_size, recurrent.hidden_size).eval(), readout


def _scattered(embedding, recurrent, readout):
    readout.weight = nn.Parameter(readout.weight.detach().t().contiguous().t())
    return embedding, recurrent, readout


def _half(embedding, recurrent, readout):
    return tuple(part.bfloat16() for part in (embedding, recurrent, readout))


OTHERWISE = {
    _dropout: "training mode",
    _hook: "has hooks",
    _early_hook: "has hooks",
    _renormalised: "max_norm",
    _parametrized: "are computed",
    _louder: "Louder is a module of another kind",
    _own_forward: "OwnForward has a forward of its own",
    _scattered: "weight of a LinearCrossEntropy does not lie in one piece",
    _half: "bfloat16",
}


@pytest.mark.parametrize("planned", [False, True], ids=["at once", "after a step"])
@pytest.mark.parametrize("change", OTHERWISE, ids=lambda change: change.__name__.lstrip("_"))
def test_where_the_modules_run(change, planned):
    """With what they give; and the backend llvm says why it cannot."""
    parts = model(dropout=0.5)
    stream, word = Stream(*parts), torch.tensor([4])
    if planned:
        stream(word)
    stream.embedding, stream.recurrent, stream.readout = parts = change(*parts)
    with pytest.raises(BackendError, match=OTHERWISE[change]):
        stream(word)
    with backend("auto"):
        torch.manual_seed(5)
        outputs, state = stream(word)
        torch.manual_seed(5)
        with torch.no_grad():
            raw, right = parts[1](parts[0](word)[:, None])
            logits = parts[2](raw[:, 0]) if isinstance(parts[2], nn.Linear) else parts[2].logits(raw[:, 0])
    assert outputs.equal(F.log_softmax(logits, dim=1))
    assert state.h.equal(right.h)
    assert not outputs.requires_grad


@FORWARD_MODE
def test_what_torch_must_see():
    parts = model()
    stream, words = Stream(*parts), torch.tensor([4, 5])
    expected, _ = stream(words)
    with torch.autocast("cpu"), pytest.raises(BackendError, match="autocast is on"):
        stream(words)
    with pytest.raises(BackendError, match=r"torch\.func is at work"):
        vmap(lambda word: stream(word)[0])(words[:, None])
    with forward_ad.dual_level(), pytest.raises(BackendError, match="forward mode"):
        stream(words)
    with backend("auto"):
        close(vmap(lambda word: stream(word)[0])(words[:, None])[:, 0], expected)
    with backend("reference"):
        close(stream(words)[0], expected)


X, WORDS = torch.zeros(2, 7), torch.tensor([1, 2])
BAD_PARTS = {
    "Stream: recurrent must be an elman.Recurrent, got LSTM": lambda e, r, o: (e, nn.LSTM(7, 18), o),
    "Stream: recurrent must be one direction, got both": lambda e, r, o: (e, LSTM(7, 18, bidirectional=True), o),
    "Stream: embedding must be of input_size=7, got 6": lambda e, r, o: (nn.Embedding(4, 6), r, o),
    "Stream: readout must be of hidden_size=18 features, got 9": lambda e, r, o: (e, r, LinearCrossEntropy(9, 5)),
    "Stream: readout must be of hidden_size=18 features, got 8": lambda e, r, o: (e, r, nn.Linear(8, 5)),
}
BAD_INPUTS = {
    r"Stream: words must be torch.int64 \(batch,\), got torch.int64 \(\)\. For one word": (torch.tensor(1), None),
    r"Stream: words must be torch.int64 \(batch,\), got torch.float32 \(2, 7\)": (X, None),
    r"Stream: words must be torch.int64 \(batch,\), got torch.int32 \(2,\)": (WORDS.int(), None),
    r"Stream: words must be 0 to 12, got 13": (torch.tensor([0, 13]), None),
    r"Stream: words must be 0 to 12, got -1": (torch.tensor([-1, 0]), None),
    r"Recurrent\(LSTMCell\): state must be a sequence of states \(h, c\), got one tensor": (WORDS, X),
    r"Recurrent\(LSTMCell\): state must be a sequence of states \(h, c\), got 1": (WORDS, [X]),
    r"Recurrent\(LSTMCell\): state h must be .*, got \(3, 2, 1, 18\)": (WORDS, [torch.zeros(3, 2, 1, 18)] * 2),
}


# steps after others, of the same kind or another


def after_steps(**options):
    """A stream that has done steps, and the words and the state of the next."""
    parts = model(**options)
    stream, words, state = Stream(*parts), torch.tensor([4, 5]), random_state(parts[1], 2)
    for _ in range(2):
        _, state = stream(words, state)
    return stream, words, state


@FORWARD_MODE
def test_a_later_step_sees_what_torch_must_see():
    stream, words, state = after_steps()
    expected, _ = stream(words, state)
    for on, reason in {torch.autocast("cpu"): "autocast is on", forward_ad.dual_level(): "forward mode"}.items():
        with on, pytest.raises(BackendError, match=reason):
            stream(words, state)
        assert stream(words, state)[0].equal(expected)
    with pytest.raises(BackendError, match=r"torch\.func is at work"):
        vmap(lambda word: stream(words, state)[0])(words)
    stream(words, state)
    with backend("reference"):
        outputs, _ = stream(words, state)
    assert not outputs.equal(expected)  # other code, other bits
    close(outputs, expected)


@pytest.mark.parametrize("message", BAD_INPUTS)
def test_a_later_step_sees_what_does_not_fit(message):
    stream, words, state = after_steps()
    inputs, given = BAD_INPUTS[message]
    with pytest.raises(ShapeError, match=message):
        stream(inputs, state if given is None and inputs.shape == words.shape else given)
    stream(words, state)


def test_later_steps_of_another_kind():
    stream, words, state = after_steps()
    right, final = stream(words, state)
    one, _ = stream(words[:1], [s[:1] for s in state])
    close(one, right[:1])
    scattered = [s.transpose(1, 3).contiguous().transpose(1, 3) for s in state]
    assert stream(words, scattered)[0].equal(right)
    assert stream(words, [torch._neg_view(-s) for s in state])[0].equal(right)
    assert stream(words, [s.clone().requires_grad_() for s in state])[0].equal(right)
    with torch.inference_mode():
        assert stream(words, state)[0].equal(right)
    with pytest.raises(BackendError, match="differ in type or device"):
        stream(words, [s.double() for s in state])
    with pytest.raises(BackendError, match="differ in type or device"):
        stream(words, [s.to("meta") for s in state])
    assert stream(words, state)[1].c.equal(final.c)


def test_the_number_of_threads_between_steps():
    stream, words, state = after_steps(hidden=200, vocabulary=3 * CHUNK + 1)  # which several threads are worth
    expected, before = stream(words, state), torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            outputs, final = stream(words, state)
            assert outputs.equal(expected[0])
            assert final.h.equal(expected[1].h)
    finally:
        torch.set_num_threads(before)


def test_a_step_in_the_midst_of_another(monkeypatch):
    """As another thread may do one: each has working memory of its own."""
    stream, words, state = after_steps()
    step, memories = stream._ready.step, []
    program = step._program

    def in_the_midst(addresses):
        memories.append(addresses[2])
        if len(memories) == 1:
            stream(words, state)
        program(addresses)

    monkeypatch.setattr(step, "_program", in_the_midst)
    stream(words, state)
    assert len(set(memories)) == 2


def test_steps_at_the_same_time():
    """Each in a thread of Python's, from its own state: none writes where another works."""
    parts = model(hidden=70, vocabulary=300)
    stream, starts = Stream(*parts), [random_state(parts[1], 2) for _ in range(4)]

    def run(state):
        with backend("llvm"):
            for word in range(40):
                outputs, state = stream(torch.tensor([word % 13, 1]), state)
        return outputs, state

    expected = [run(state) for state in starts]
    with ThreadPoolExecutor(4) as threads:
        for (outputs, state), (right, final) in zip(threads.map(run, starts), expected, strict=True):
            assert outputs.equal(right)
            assert state.c.equal(final.c)


def test_compiled_by_torch():
    parts = model()
    stream, words = Stream(*parts), torch.tensor([4, 5])
    compiled = torch.compile(lambda words: stream(words)[0], backend="eager")
    close(compiled(words), stream(words)[0])


def test_no_rows():
    stream = Stream(*model())
    with pytest.raises(BackendError, match="x has no rows"):
        stream(torch.zeros(0, dtype=torch.int64))
    with backend("auto"):
        outputs, state = stream(torch.zeros(0, dtype=torch.int64))
    assert outputs.shape == (0, 29)
    assert state.c.shape == (0, 2, 1, 18)


def test_another_device():
    stream = Stream(*(part.to("meta") for part in model()))
    words = torch.zeros(3, dtype=torch.int64, device="meta")
    with pytest.raises(BackendError, match="meta"):
        stream(words)
    with backend("auto"):
        outputs, state = stream(words)
    assert outputs.is_meta
    assert outputs.shape == (3, 29)
    assert state.h.shape == (3, 2, 1, 18)
    stream = Stream(*model())
    with pytest.raises(BackendError, match="words are on meta"):
        stream(words)


def test_the_log_says_why(caplog, monkeypatch):
    monkeypatch.setattr(selection, "_said", set())
    stream = Stream(*_renormalised(*model()))
    with caplog.at_level(logging.INFO, "elman"), backend("auto"):
        stream(torch.tensor([1]))
        stream(torch.tensor([1]))
    said = "the modules of the stream run one by one, not compiled code: the embedding has max_norm"
    assert [record.getMessage() for record in caplog.records] == [said]


# errors


@pytest.mark.parametrize("message", BAD_PARTS)
def test_parts_that_do_not_fit(message):
    with pytest.raises((OptionError, ShapeError), match=message):
        Stream(*BAD_PARTS[message](*model()))


@pytest.mark.parametrize("message", BAD_INPUTS)
def test_inputs_that_do_not_fit(message):
    inputs, state = BAD_INPUTS[message]
    with pytest.raises(ShapeError, match=message):
        Stream(*model())(inputs, state)


@pytest.mark.parametrize("x", [torch.zeros(7), torch.zeros(2, 6), torch.zeros(2, 1, 7)], ids=lambda x: str(x.shape))
def test_x_that_does_not_fit(x):
    with pytest.raises(ShapeError, match=r"Stream: x must be \(batch, input_size=7\), got \("):
        Stream(None, model()[1])(x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.float16], ids=str)
def test_a_state_of_another_type(dtype):
    parts = model()
    state = [s.to(dtype) for s in parts[1].initial_state(2)]
    with pytest.raises(BackendError, match="differ in type or device"):
        Stream(*parts)(WORDS, state)
    with backend("auto"), pytest.raises(ShapeError, match=r"state h must be of the type of x torch\.float32"):
        Stream(*parts)(WORDS, state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64], ids=str)
def test_x_of_another_type(dtype):
    with pytest.raises(BackendError, match="differ in type or device"):
        Stream(None, model()[1])(X.to(dtype))
    with backend("auto"), pytest.raises(ShapeError, match=r"x must be of the weights' type torch\.float32"):
        Stream(None, model()[1])(X.to(dtype))
