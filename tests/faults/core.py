"""Faults of compiler, cells, backends, layers and interop."""

from __future__ import annotations

from seeding import Fault

CONFORMANCE = "tests/cells/test_conformance.py"
CELL = "tests/cells/test_cell.py"
TRACE = "tests/compiler/test_trace.py"
REFERENCE = "tests/backends/test_reference.py"
RECURRENT = "tests/layers/test_recurrent.py"
TORCH = "tests/interop/test_torch.py"

FAULTS = (
    # cells
    Fault(
        "input and forget gate of the LSTM change places",
        "cells/lstm.py",
        "c = f * c + i * tanh(self.g(x, h))",
        "c = i * c + f * tanh(self.g(x, h))",
        f"{CONFORMANCE} -k LSTMCell-",
    ),
    Fault("the forget gate starts closed", "cells/lstm.py", "Affine(bias=1.0)", "Affine()", CELL),
    Fault(
        "the rectifier is a tanh",
        "cells/rnn_relu.py",
        "relu(self.n(x, h))",
        "tanh(self.n(x, h))",
        f"{CONFORMANCE} -k ReLU",
    ),
    Fault(
        "the output gate's peephole sees the old memory",
        "cells/peephole.py",
        "        c = f * c + i * tanh(self.g(x, h))\n        o = sigmoid(self.o(x, h) + self.p_o(c))\n",
        "        o = sigmoid(self.o(x, h) + self.p_o(c))\n        c = f * c + i * tanh(self.g(x, h))\n",
        f"{CONFORMANCE} -k Peephole",
    ),
    Fault(
        "the coupled input gate is f",
        "cells/coupled.py",
        "(1 - f) * tanh(self.g(x, h))",
        "f * tanh(self.g(x, h))",
        "tests/layers/test_identities.py",
    ),
    Fault(
        "the update gate of the GRU is turned round",
        "cells/gru.py",
        "return (1 - z) * n + z * h",
        "return z * n + (1 - z) * h",
        TORCH,
    ),
    Fault(
        "the reset gate of the GRU acts on nothing",
        "cells/gru_reset_before.py",
        "tanh(self.n(x, r * h))",
        "tanh(self.n(x, h) + r)",
        f"{CONFORMANCE} -k ResetBefore",
    ),
    Fault(
        "the larger is the smaller",
        "cells/words.py",
        "_of_tensors(torch.maximum)",
        "_of_tensors(torch.minimum)",
        "tests/cells/test_words.py",
    ),
    Fault(
        "the names of the gates stand at the wrong blocks",
        "cells/cell.py",
        "for k, gate in enumerate(gates)\n        ]",
        "for k, gate in enumerate(reversed(gates))\n        ]",
        CELL,
    ),
    Fault(
        "Glorot takes all gates for one matrix",
        "cells/cell.py",
        "nn.init.xavier_uniform_(values)",
        "nn.init.xavier_uniform_(self.weight_x)",
        CELL,
    ),
    Fault(
        "initial biases are forgotten",
        "cells/cell.py",
        "values.fill_(self.initial_bias[part.gate])",
        "values.zero_()",
        CELL,
    ),
    Fault(
        "the step of a gate drops its bias",
        "cells/cell.py",
        "iter(self.weights_h), self.bias",
        "iter(self.weights_h), None",
        f"{CONFORMANCE} -k RNNCell",
    ),
    Fault(
        "a gate may be called like a method of modules",
        "cells/cell.py",
        "if declared in _RESERVED:",
        "if declared in ():",
        CELL,
    ),
    Fault(
        "a cell of the user is not found",
        "cells/find.py",
        'name.partition(":")\n',
        'name.partition(".")\n',
        "tests/cells/test_find.py",
    ),
    # compiler
    Fault(
        "a number minus a value is a value minus a number",
        "compiler/trace.py",
        'Symbol.apply("subtract", other, self)',
        'Symbol.apply("subtract", self, other)',
        TRACE,
    ),
    Fault(
        "larger is smaller",
        "compiler/trace.py",
        'Symbol.apply("less", other, self)',
        'Symbol.apply("less", self, other)',
        TRACE,
    ),
    Fault(
        "a gate whose value goes nowhere passes",
        "compiler/trace.py",
        "if found[0] not in alive:",
        "if not alive:",
        TRACE,
    ),
    Fault(
        "a gate called twice differently passes",
        "compiler/trace.py",
        "other.name == node.name and other != node",
        "other is None",
        TRACE,
    ),
    Fault(
        "the blocks of the gates stand in another order",
        "compiler/graph.py",
        "for gate in self.gates for operand in self.hidden_operands(gate))",
        "for gate in sorted(self.gates) for operand in self.hidden_operands(gate))",
        CELL,
    ),
    Fault(
        "gates that read other values are taken for a group",
        "compiler/schedule.py",
        "tuple(sorted(graph.hidden_operands(gate)))",
        "tuple(sorted(graph.hidden_operands(gate)))[:1]",
        "tests/compiler/test_schedule.py",
    ),
    # backends
    Fault(
        "the second state stays old",
        "backends/reference.py",
        "states = new[0], new",
        "states = new[0], (new[0], *states[1:])",
        TORCH,
    ),
    Fault(
        "the backward direction is off by one",
        "backends/reference.py",
        "None if inputs is None else inputs[t], states",
        "None if inputs is None else inputs[max(t - reverse, 0)], states",
        REFERENCE,
    ),
    Fault(
        "the backward direction meets a reset on the wrong side",
        "backends/reference.py",
        "    if not reverse:\n",
        "    if True:\n",
        REFERENCE,
    ),
    Fault(
        "outputs of padding are not zero",
        "backends/reference.py",
        "(stacked if valid is None else torch.where(valid[:, :, None], stacked, zero))",
        "stacked",
        REFERENCE,
    ),
    Fault(
        "the final state is that of the last step, not of the row's end",
        "backends/reference.py",
        "torch.where(valid[:, t, None], n, s)",
        "torch.where(valid[:, t, None], n, n)",
        REFERENCE,
    ),
    Fault(
        "the bias of gates that read x is dropped",
        "backends/reference.py",
        "bias = self._biases(self._schedule.input_gates)",
        "bias = None",
        REFERENCE,
    ),
    Fault(
        "the bias is added twice",
        "backends/reference.py",
        "total = self._columns(inputs, self._schedule.input_gates, group)",
        "total = self._columns(inputs, self._schedule.input_gates, group) + (self._biases(group.gates) or 0)",
        REFERENCE,
    ),
    Fault(
        "every group takes the first columns of a product",
        "backends/reference.py",
        "start = gates.index(group.gates[0]) * self._hidden",
        "start = 0",
        REFERENCE,
    ),
    # layers
    Fault(
        "the two directions stand side by side the wrong way round",
        "layers/recurrent.py",
        "torch.cat([run[0] for run in runs], dim=2)",
        "torch.cat([run[0] for run in runs[::-1]], dim=2)",
        RECURRENT,
    ),
    Fault(
        "the backward direction starts from the forward one's state",
        "layers/recurrent.py",
        "[s[:, layer, direction] for s in initial]",
        "[s[:, layer, 0] for s in initial]",
        f"{CONFORMANCE} -k LSTMCell-",
    ),
    Fault(
        "final states of the layers are turned round",
        "layers/recurrent.py",
        "for layer in final], dim=1)",
        "for layer in final[::-1]], dim=1)",
        RECURRENT,
    ),
    Fault(
        "weights are kept from the first call",
        "layers/recurrent.py",
        "dict(self.cell_at(layer, direction).named_parameters()),",
        "vars(self).setdefault((layer, direction), dict(self.cell_at(layer, direction).named_parameters())),",
        f"{CONFORMANCE} -k weights",
    ),
    Fault(
        "padding is multiplied by zero",
        "layers/recurrent.py",
        "x = torch.where(valid[:, :, None], x, x.new_zeros(()))",
        "x = x * valid[:, :, None]",
        f"{CONFORMANCE} -k padding",
    ),
    Fault(
        "a row is one step too long",
        "layers/recurrent.py",
        "[None, :] < lengths[:, None]",
        "[None, :] <= lengths[:, None]",
        RECURRENT,
    ),
    Fault(
        "resets in the padding count",
        "layers/recurrent.py",
        "else reset & valid",
        "else reset",
        f"{CONFORMANCE} -k resets",
    ),
    Fault(
        "dropout on the input stays on in eval mode",
        "layers/recurrent.py",
        "F.dropout(x, self.input_dropout, self.training)",
        "F.dropout(x, self.input_dropout)",
        RECURRENT,
    ),
    Fault(
        "dropout of the output and between layers change places",
        "layers/recurrent.py",
        "self.output_dropout if last else self.dropout",
        "self.dropout if last else self.output_dropout",
        RECURRENT,
    ),
    Fault(
        "the input projection has no bias",
        "layers/recurrent.py",
        "x = self.projection(x)",
        "x = F.linear(x, self.projection.weight)",
        RECURRENT,
    ),
    Fault(
        "states of another shape pass",
        "layers/recurrent.py",
        "if tuple(s.shape) != shape:",
        "if s.ndim != len(shape):",
        RECURRENT,
    ),
    # interop
    Fault("one of torch's two biases is dropped", "interop/torch.py", "return from_x + from_h", "return from_x", TORCH),
    Fault(
        "the biases of the GRU's candidate change places",
        "interop/torch.py",
        "from_x[size:], from_h[size:]])",
        "from_h[size:], from_x[size:]])",
        TORCH,
    ),
    Fault(
        "the backward direction gets the forward weights",
        "interop/torch.py",
        "{'_reverse' if direction else ''}",
        "",
        TORCH,
    ),
    Fault(
        "torch's rectifier becomes tanh",
        "interop/torch.py",
        'module.nonlinearity == "relu"',
        'module.nonlinearity == "ReLU"',
        TORCH,
    ),
    # the conformance kit
    Fault(
        "the conformance kit finds everything good",
        "testing.py",
        "if not good:",
        "if good is None:",
        f"{CONFORMANCE} -k kit",
    ),
    Fault(
        "the conformance kit compares no gradient",
        "testing.py",
        "for name in expected:\n",
        "for name in list(expected)[:1]:\n",
        f"{CONFORMANCE} -k kit",
    ),
)
