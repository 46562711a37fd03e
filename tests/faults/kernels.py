"""Faults of compiled code: plans, kernels, functions on vectors, threads, the cache on disk."""

from __future__ import annotations

from faults.seeding import Fault

PLAN = "tests/compiler/test_plan.py"
RECURRENCE = "tests/backends/llvm/test_recurrence.py"
FUNCTIONS = "tests/backends/llvm/test_functions.py"
GEMM = "tests/backends/llvm/test_gemm.py"
PRODUCTS = "tests/backends/llvm/test_products.py"
NOISE = "tests/backends/llvm/test_noise.py"
PHILOX = "tests/backends/test_philox.py"
TEAM = "tests/backends/llvm/test_team.py"
PROGRAM = "tests/backends/llvm/test_program.py"
STREAM = "tests/layers/test_stream.py"
RUNTIME = "tests/backends/llvm/test_runtime.py"

LSTM = f"{RECURRENCE} -k 'every_result[LSTMCell-float32]'"

FAULTS = (
    # plans
    Fault(
        "a product on the way back waits for one of its gates alone",
        "compiler/plan.py",
        "1 + max(0, *(levels[delta[gate]] for gate in readers[operand]))",
        "1 + max(0, levels[delta[readers[operand][0]]])",
        PLAN,
    ),
    Fault(
        "what follows from what is kept is kept as well",
        "compiler/plan.py",
        "if position in needed and not follows:",
        "if position in needed:",
        PLAN,
    ),
    Fault(
        "values of an early phase are forgotten",
        "compiler/plan.py",
        "crossing=tuple(k for k in here if k in crossing and k not in kept),",
        "crossing=(),",
        PLAN,
    ),
    # forward
    Fault(
        "the first gate's bias is dropped",
        "backends/llvm/forward.py",
        "if gate in self.plan.graph.biases:",
        "if gate in self.plan.graph.biases[1:]:",
        LSTM,
    ),
    Fault(
        "the gates of a product change places",
        "backends/llvm/forward.py",
        "product.gates.index(gate)",
        "product.gates[::-1].index(gate)",
        LSTM,
    ),
    Fault(
        "a value that is to be kept is not",
        "backends/llvm/forward.py",
        "for k in phase.kept:",
        "for k in phase.kept[1:]:",
        LSTM,
    ),
    Fault(
        "where nothing is kept, states are overwritten while they are read",
        "backends/llvm/layout.py",
        '"history_mask": -1 if keep else 1',
        '"history_mask": -1 if keep else 0',
        LSTM,
    ),
    Fault(
        "a reset before the first step is not seen",
        "backends/llvm/forward.py",
        "self._reset(zero, range(len(self.plan.graph.states)), tile)",
        "pass",
        LSTM,
    ),
    Fault(
        "a reset comes a step late",
        "backends/llvm/forward.py",
        "self._reset(step + 1, phase.states, tile)",
        "self._reset(step, phase.states, tile)",
        LSTM,
    ),
    Fault(
        "outputs of padding are not zero in compiled code",
        "backends/llvm/forward.py",
        "                if 0 in states:\n",
        "                if None in states:\n",
        f"{RECURRENCE} -k padding",
    ),
    Fault(
        "masks are not turned round for the backward direction",
        "backends/llvm/recurrence.py",
        "flags.flip(1) if reverse else flags",
        "flags",
        LSTM,
    ),
    Fault(
        "every layer of a stack is laid out as the first",
        "backends/llvm/draft.py",
        "layouts[layer > 0]",
        "layouts[0]",
        "tests/backends/llvm/test_stack.py",
    ),
    # backward
    Fault(
        "rows that are over go on backward",
        "backends/llvm/backward.py",
        "self.where_marked(step, 1, tile, hold)",
        "pass",
        LSTM,
    ),
    Fault(
        "gradients flow across a reset",
        "backends/llvm/backward.py",
        "self.where_marked(step, 2, tile, cut)",
        "pass",
        LSTM,
    ),
    Fault(
        "the outputs' gradient goes to the last state",
        "backends/llvm/backward.py",
        "            if s == 0:\n",
        "            if s == len(self.plan.graph.states) - 1:\n",
        LSTM,
    ),
    Fault(
        "a product of several gates counts for each of them",
        "backends/llvm/backward.py",
        "if k != self._first_share[operand]:",
        "if False:",
        LSTM,
    ),
    Fault(
        "lanes that are no units spoil the sums",
        "backends/llvm/backward.py",
        "(self.delta(position) + in_chunk).store(self.blend(mask, values[derived.gates[g]], 0.0))",
        "(self.delta(position) + in_chunk).store(values[derived.gates[g]])",
        f"{RECURRENCE} -k lanes_that_are_no_units",
    ),
    Fault(
        "a value that is computed again is not written down",
        "backends/llvm/backward.py",
        "operands = {k: forward(k) for k in phase.operands}",
        "operands = {k: forward(k) for k in phase.operands[1:]}",
        f"{RECURRENCE} -k 'every_result[ResetBeforeGRUCell-float32]'",
    ),
    Fault(
        "the second chunk begins the gradients again",
        "backends/llvm/chunk.py",
        "self.only_if(chunk > 0, mask)",
        "self.only_if(chunk > 1, mask)",
        f"{RECURRENCE} -k 'chunks_of_every_length[float32-LSTMCell]'",
    ),
    Fault(
        "gradients of the input weights stand at the wrong gates",
        "backends/llvm/chunk.py",
        "for block, gate in enumerate(graph.input_blocks):",
        "for block, gate in enumerate(reversed(graph.input_blocks)):",
        LSTM,
    ),
    Fault(
        "the last rows are left out of the bias's gradient",
        "backends/llvm/chunk.py",
        "with self.loop(whole, rows, carry=[(a + b) + (c + d)]) as rest:",
        "with self.loop(whole, whole, carry=[(a + b) + (c + d)]) as rest:",
        LSTM,
    ),
    # noise
    Fault(
        "the way back reads the noise of the step after",
        "backends/llvm/backward.py",
        "return self.noise(node, step, rows, vector)",
        "return self.noise(node, step + 1, rows, vector)",
        f"{NOISE} -k 'every_result and LSTMCell-both'",
    ),
    Fault(
        "noise of another state is read",
        "backends/llvm/kernel.py",
        'self["hidden"] * int(node.value) + vector * self.lanes',
        'self["hidden"] * 0 + vector * self.lanes',
        f"{NOISE} -k 'every_result and LSTMCell-both'",
    ),
    Fault(
        "in reverse, noise runs forward",
        "backends/llvm/recurrence.py",
        "layout.strided(*_place(noise), reverse)",
        "layout.strided(*_place(noise), False)",
        f"{NOISE} -k 'every_result and LSTMCell-both'",
    ),
    Fault(
        "the kernel's random words have a step of the key wrong",
        "backends/llvm/philox.py",
        'self[f"key_{k}"] + step * turn',
        'self[f"key_{k}"] + step * turn * turn',
        f"{PHILOX} -k two_numbers",
    ),
    Fault(
        "a vector of random words begins where the one before began",
        "backends/llvm/philox.py",
        "counter = b.add(self._spread(first), lane)",
        "counter = b.add(self._spread(self.zero), lane)",
        f"{PHILOX} -k two_numbers",
    ),
    # what both share
    Fault(
        "a row of a tile too few",
        "backends/llvm/kernel.py",
        "yield row + first, rows * (loop.index + 1) // count - row",
        "yield row + first, rows // count",
        LSTM,
    ),
    Fault(
        "the last of an odd number of rows is left out",
        "backends/llvm/kernel.py",
        "with self.loop(pairs, tile.rows) as loop:",
        "with self.loop(pairs, pairs) as loop:",
        LSTM,
    ),
    Fault(
        "a row is written one number too far",
        "backends/llvm/kernel.py",
        'return self.mask(self["hidden"] - vector * self.lanes)',
        'return self.mask(self["hidden"] + 1 - vector * self.lanes)',
        f"{GEMM} -k beyond_an_array",
    ),
    Fault(
        "the pieces of a long sum replace each other",
        "backends/llvm/kernel.py",
        "accumulate=first if k == 0 else 1,",
        "accumulate=int(k > 0),",
        f"{RECURRENCE} -k 'long_sums[LSTMCell-float32]'",
    ),
    # tiles
    Fault(
        "the sixth row of a tile is the fifth",
        "backends/llvm/gemm.py",
        "rows = [a + (block * a_block + i * a_row) for i in range(m)]",
        "rows = [a + (block * a_block + min(i, 4) * a_row) for i in range(m)]",
        f"{GEMM} -k every_tile",
    ),
    Fault(
        "a tile that sums over rows reads past the end of the last",
        "backends/llvm/gemm.py",
        "(right + (j * b_vector + k * b_row)).load(tail if j == n - 1 else None)",
        "(right + (j * b_vector + k * b_row)).load()",
        f"{GEMM} -k every_tile",
    ),
    Fault(
        "the last number of a row is left out of its product",
        "backends/llvm/gemm.py",
        'mask = code.mask(arguments["rest"])',
        'mask = code.mask(arguments["rest"] - 1)',
        f"{GEMM} -k every_tile",
    ),
    Fault(
        "weights are turned round by halves and not by quarters",
        "backends/llvm/gemm.py",
        "        width *= 2\n",
        "        width *= 4\n",
        f"{GEMM} -k every_tile",
    ),
    # functions
    Fault(
        "the polynomial of exp is a term short",
        "backends/llvm/functions.py",
        "for k in range(2, terms)]",
        "for k in range(2, terms - 1)]",
        f"{FUNCTIONS} -k curves",
    ),
    Fault(
        "the logarithm is off by its second part of ln 2",
        "backends/llvm/functions.py",
        "tail = s.fma(z * p - f, n * kind.ln2[1])",
        "tail = s * (z * p - f)",
        f"{FUNCTIONS} -k curves",
    ),
    Fault(
        "the larger of a number and none is the number",
        "backends/llvm/functions.py",
        'return code.blend(a.compare("!=", a), a, chosen)',
        "return chosen",
        f"{FUNCTIONS} -k two_values",
    ),
    # linear layers
    Fault(
        "the last output has no weight gradient",
        "backends/llvm/linear.py",
        "with self.when(rest > 0), ",
        "with self.when(rest > 1), ",
        f"{PRODUCTS} -k test_linear",
    ),
    Fault(
        "sums of chunks with different maxima are added as they are",
        "backends/llvm/cross_entropy.py",
        'self._stored("sums", chunk.index, group).load().fma(part, chunk.values[0])',
        'self._stored("sums", chunk.index, group).load() + chunk.values[0]',
        f"{PRODUCTS} -k cross_entropy",
    ),
    Fault(
        "rows beyond the last add to the bias's gradient",
        "backends/llvm/cross_entropy.py",
        "self.blend(used, place.load() * factor, 0.0)",
        "place.load() * factor",
        f"{PRODUCTS} -k cross_entropy",
    ),
    Fault(
        "a chunk of forbidden words makes all losses no numbers",
        "backends/llvm/dense.py",
        "self.lowest = self.constant(-sys.float_info.max if shape.size == 8 else -(2.0 - 2.0**-23) * 2.0**127)",
        'self.lowest = self.constant(-float("inf"))',
        f"{PRODUCTS} -k forbidden",
    ),
    # programs and steps
    Fault(
        "a kernel begins before the one in front of it is done",
        "backends/llvm/program.py",
        "        code.barrier()\n",
        "        with code.when(loop.index.equals(0)):\n            code.barrier()\n",
        PROGRAM,
    ),
    Fault(
        "what is added to an operand is lost",
        "backends/llvm/program.py",
        "+ operand) + added",
        "+ operand) + added * 0",
        PROGRAM,
    ),
    Fault(
        "every layer of a step has the states of the first",
        "backends/llvm/draft.py",
        '(f"{when}_{state}", k * hidden * size)',
        '(f"{when}_{state}", 0)',
        f"{STREAM} -k every_cell",
    ),
    Fault(
        "the backward direction of a stack begins with the first step",
        "backends/llvm/recurrence.py",
        "(time - 1) * step * size",
        "time * step * size - time * step * size",
        "tests/backends/llvm/test_stack.py",
    ),
    Fault(
        "few rows of a linear layer have no bias",
        "backends/llvm/linear.py",
        '.load(self.only_if(self.given("bias"), mask))',
        '.load(self.only_if(self["direct"].equals(0), mask))',
        f"{PRODUCTS} -k test_linear",
    ),
    Fault(
        "lanes beyond the vocabulary count in log-softmax",
        "backends/llvm/readout.py",
        "self.blend(mask, value, 0.0)",
        "value",
        f"{STREAM} -k vocabularies",
    ),
    Fault(
        "chunks of a vocabulary with different maxima are added as they are",
        "backends/llvm/readout.py",
        ".broadcast().fma(part, loop.values[0])",
        ".broadcast() + loop.values[0]",
        f"{STREAM} -k vocabularies",
    ),
    Fault(
        "a stream does not see that a weight lies otherwise at the same address",
        "layers/step_plan.py",
        "            and all(map(Tensor.is_contiguous, weights))\n",
        "",
        f"{STREAM} -k changed_weights",
    ),
    Fault(
        "a stream does not see other modules",
        "layers/step_plan.py",
        "if there.get(name) is not part:",
        "if False:",
        f"{STREAM} -k changed_weights",
    ),
    Fault(
        "a stream passes hooks by",
        "layers/step_plan.py",
        "if any(self.hooks):",
        "if False:",
        f"{STREAM} -k modules_run",
    ),
    Fault(
        "the word behind the last is looked up",
        "layers/stream.py",
        "if not 0 <= word < plan.words:",
        "if not 0 <= word <= plan.words:",
        f"{STREAM} -k inputs_that_do_not_fit",
    ),
    Fault(
        "a second block of rows begins the weights' gradient again",
        "backends/llvm/cross_entropy.py",
        "self.multiply(*operands, lanes, (to, features), add_to=first)",
        "self.multiply(*operands, lanes, (to, features))",
        f"{PRODUCTS} -k test_cross_entropy",
    ),
    Fault(
        "a chunk's gradient of the logits forgets its own maximum",
        "backends/llvm/cross_entropy.py",
        "maximum.store(own * (totals + self.lanes).load())",
        "maximum.store((totals + self.lanes).load())",
        f"{PRODUCTS} -k test_cross_entropy",
    ),
    Fault(
        "e^-inf is no number",
        "backends/llvm/functions.py",
        'code.blend(a.compare("<", -kind.smallest), 0.0, scale.fma(p, scale))',
        "scale.fma(p, scale)",
        f"{FUNCTIONS} -k not_positive",
    ),
    Fault(
        "a sum that goes on replaces what was there",
        "backends/llvm/gemm.py",
        "place.store(place.load() + total)",
        "place.store(total)",
        f"{PRODUCTS} -k test_linear",
    ),
    Fault(
        "the last block has the rows that are left",
        "backends/llvm/products.py",
        "return -(-vectors // -(-vectors // most)) * shape.lanes",
        "return min(vectors, most) * shape.lanes",
        f"{PRODUCTS} -k rows_of_a_block",
    ),
    # threads
    Fault(
        "whoever comes first passes a barrier",
        "backends/llvm/team.py",
        "goal = b.mul(passed, self.threads.value)",
        "goal = passed",
        f"{TEAM} -k barrier",
    ),
    Fault(
        "the last round of a shared loop is left out",
        "backends/llvm/team.py",
        "count * (self.thread + 1) // self.threads) as loop:",
        "(count - 1) * (self.thread + 1) // self.threads) as loop:",
        f"{TEAM} -k round",
    ),
    Fault(
        "results too small to be normal are kept",
        "backends/llvm/team.py",
        "ir.IntType(32)(0x8040)",
        "ir.IntType(32)(0x0040)",
        f"{TEAM} -k too_small",
    ),
    Fault(
        "threads go on taking small numbers for zeros",
        "backends/llvm/team.py",
        "self._control_function(name, ir.VoidType(), [self._control])",
        "pass",
        f"{TEAM} -k left_as_they_were",
    ),
    Fault(
        "a forked child waits for a lock that nobody holds",
        "backends/llvm/runtime.py",
        "    _LOCK, _TEAM = threading.RLock(), threading.Lock()  # whoever held them is not here\n",
        "",
        f"{RUNTIME} -k 'child_runs[locked]'",
    ),
    # the cache on disk
    Fault(
        "the checksum is not looked at",
        "backends/llvm/runtime.py",
        "if magic == _MAGIC and hashlib.sha256(code).digest() == checksum else None",
        "if magic == _MAGIC else None",
        f"{RUNTIME} -k 'sound and longer'",
    ),
    Fault(
        "another user's code is run",
        "backends/llvm/runtime.py",
        "return status.st_uid == os.getuid() and not status",
        "return not status",
        f"{RUNTIME} -k belongs_to_another",
    ),
    Fault(
        "code that others may write is run",
        "backends/llvm/runtime.py",
        "status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)",
        "status.st_mode & stat.S_IWOTH",
        f"{RUNTIME} -k sound",
    ),
    Fault(
        "a link to code is followed",
        "backends/llvm/runtime.py",
        'getattr(os, "O_NOFOLLOW", 0)',
        "0",
        f"{RUNTIME} -k sound",
    ),
    Fault(
        "code for another processor is found",
        "backends/llvm/runtime.py",
        "here.processor, here.features, str(size), key)",
        "str(size), key)",
        f"{RUNTIME} -k key",
    ),
)
