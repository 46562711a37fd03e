"""Gers, Schmidhuber, Cummins 2000: long short-term memory with a forget gate."""

from __future__ import annotations

import numpy as np


def sigma(a):
    return 1 / (1 + np.exp(-a))


def step(p, x, h, c):
    def net(gate):
        return x @ p[f"{gate}/weight_x"].T + h @ p[f"{gate}/weight_h"].T + p[f"{gate}/bias"]

    memory = sigma(net("f")) * c + sigma(net("i")) * np.tanh(net("g"))
    return sigma(net("o")) * np.tanh(memory), memory
