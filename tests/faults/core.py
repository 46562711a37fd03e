"""Faults of compiler, cells, backends, layers and interop."""

from __future__ import annotations

from faults.seeding import Fault

BPTT = "tests/backends/test_bptt.py"
EQUATIONS = "tests/compiler/test_equations.py"
CONFORMANCE = "tests/cells/test_conformance.py"
CELL = "tests/cells/test_cell.py"
TRACE = "tests/compiler/test_trace.py"
REFERENCE = "tests/backends/test_reference.py"
RECURRENT = "tests/layers/test_recurrent.py"
PROJECTION = "tests/layers/test_projection.py"
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
        "the rectifier passes what it should stop",
        "cells/rnn_relu.py",
        "relu(self.n(x, h))",
        "-relu(-self.n(x, h))",
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
        f"{TORCH} -k gru-1",
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
        f"{CELL} -k initial_values",
    ),
    Fault(
        "initial biases are forgotten",
        "cells/cell.py",
        "values.fill_(self.initial_bias[part.gate])",
        "values.zero_()",
        f"{CELL} -k initial_bias",
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
        f"{CONFORMANCE} -k LSTMCell-reference-steps",
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
        f"{REFERENCE} -k reset",
    ),
    Fault(
        "outputs of padding are not zero",
        "backends/reference.py",
        "(stacked if valid is None else torch.where(valid[:, :, None], stacked, zero))",
        "stacked",
        f"{REFERENCE} -k valid",
    ),
    Fault(
        "the final state is that of the last step, not of the row's end",
        "backends/reference.py",
        "torch.where(valid[:, t, None], n, s)",
        "torch.where(valid[:, t, None], n, n)",
        f"{REFERENCE} -k valid",
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
        "names = self._schedule.input_gates; total = self._columns(inputs + self._biases(names), names, group)",
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
        f"{RECURRENT} -k final_states",
    ),
    Fault(
        "the backward direction starts from the forward one's state",
        "layers/recurrent.py",
        "s.flatten(1, 2).unbind(1)",
        "s[:, :, :1].expand_as(s).flatten(1, 2).unbind(1)",
        f"{CONFORMANCE} -k LSTMCell-",
    ),
    Fault(
        "final states of the layers are turned round",
        "layers/recurrent.py",
        "torch.cat(s, dim=1).view(shape)",
        "torch.cat(s[::-1], dim=1).view(shape)",
        f"{RECURRENT} -k final_states",
    ),
    Fault(
        "weights are kept from the first call",
        "layers/recurrent.py",
        "return held if tuple(held) == self._packed else",
        "return vars(self).setdefault(id(cell), dict(held)) if tuple(held) == self._packed else",
        f"{CONFORMANCE} -k LSTMCell-llvm-weights",
    ),
    Fault(
        "padding is multiplied by zero",
        "layers/recurrent.py",
        "x = torch.where(valid[:, :, None], x, x.new_zeros(()))",
        "x = x * valid[:, :, None]",
        f"{CONFORMANCE} -k LSTMCell-llvm-padding",
    ),
    Fault(
        "a row is one step too long",
        "layers/recurrent.py",
        "[None, :] < lengths[:, None]",
        "[None, :] <= lengths[:, None]",
        f"{RECURRENT} -k lengths_of",
    ),
    Fault(
        "resets in the padding count",
        "layers/recurrent.py",
        "else reset & valid",
        "else reset",
        f"{CONFORMANCE} -k LSTMCell-llvm-resets",
    ),
    Fault(
        "dropout on the input stays on in eval mode",
        "layers/recurrent.py",
        "if probability and self.training else values",
        "if probability else values",
        f"{RECURRENT} -k dropout",
    ),
    Fault(
        "dropout of the output and between layers change places",
        "layers/recurrent.py",
        "self.output_dropout if last else self.dropout",
        "self.dropout if last else self.output_dropout",
        f"{RECURRENT} -k dropout",
    ),
    Fault(
        "the input projection has no bias",
        "layers/recurrent.py",
        "linear(x, self.projection.weight, self.projection.bias)",
        "linear(x, self.projection.weight)",
        PROJECTION,
    ),
    Fault(
        "folding forgets the bias of the projection",
        "layers/projection.py",
        "index_add(0, places, shift)",
        "index_add(0, places, 0 * shift)",
        PROJECTION,
    ),
    Fault(
        "states of another shape pass",
        "layers/recurrent.py",
        "if tuple(s.shape) != shape:",
        "if s.ndim != len(shape):",
        f"{RECURRENT} -k wrong_arguments",
    ),
    # interop
    Fault(
        "one of torch's two biases is dropped",
        "interop/torch.py",
        "return from_x + from_h",
        "return from_x",
        f"{TORCH} -k lstm-1",
    ),
    Fault(
        "the biases of the GRU's candidate change places",
        "interop/torch.py",
        "from_x[size:], from_h[size:]])",
        "from_h[size:], from_x[size:]])",
        f"{TORCH} -k gru-1",
    ),
    Fault(
        "the backward direction gets the forward weights",
        "interop/torch.py",
        "{'_reverse' if direction else ''}",
        "",
        f"{TORCH} -k lstm-1",
    ),
    Fault(
        "torch's rectifier becomes tanh",
        "interop/torch.py",
        'module.nonlinearity == "relu"',
        'module.nonlinearity == "ReLU"',
        f"{TORCH} -k relu-1",
    ),
    # the derivation
    Fault(
        "the derivative of tanh forgets its square",
        "compiler/adjoint.py",
        "_one_minus(b, b.times(b.forward(r), b.forward(r)))",
        "_one_minus(b, b.forward(r))",
        f"{BPTT} -k RNNCell",
    ),
    Fault(
        "the gradient of a value read twice is the last one",
        "compiler/adjoint.py",
        'gradient = self.node("add", self._gradients[position], gradient)',
        "pass",
        f"{BPTT} -k LSTMCell",
    ),
    Fault(
        "a computed operand meets the weights of the state",
        "backends/bptt.py",
        "graph.hidden_operands(node.name)[int(node.value)]",
        "graph.hidden_operands(node.name)[0]",
        f"{BPTT} -k equals_autograd",
    ),
    Fault(
        "the outputs' gradient enters at the last step alone",
        "backends/bptt.py",
        "wanted[0] = wanted[0] + outputs[:, t]",
        "wanted[0] = wanted[0] + outputs[:, t] * (t == time - 1)",
        f"{BPTT} -k GRUCell",
    ),
    # the printed equations
    Fault(
        "the step after is the step itself in print",
        "compiler/equations.py",
        '_NEXT: Final = {"t−1": "t", "t": "t+1"}',
        '_NEXT: Final = {"t−1": "t−1", "t": "t"}',
        f"{EQUATIONS}",
    ),
    Fault(
        "the printed weights of a gate's values change places",
        "compiler/equations.py",
        "hidden.index(operand) + 1 if len(hidden) > 1 else 0",
        "len(hidden) - hidden.index(operand) if len(hidden) > 1 else 0",
        f"{EQUATIONS}",
    ),
    # the conformance kit
    Fault(
        "the conformance kit finds everything good",
        "testing/subject.py",
        "if not good:",
        "if good is None:",
        f"{CONFORMANCE} -k kit",
    ),
    Fault(
        "the conformance kit compares no gradient",
        "testing/subject.py",
        "for name in expected:\n",
        "for name in list(expected)[:1]:\n",
        f"{CONFORMANCE} -k kit",
    ),
)
