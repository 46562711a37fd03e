"""Greff et al. 2017, CIFG: the input gate is what the forget gate leaves."""

from __future__ import annotations

import numpy as np


def sigma(a):
    return 1 / (1 + np.exp(-a))


def step(p, x, h, c):
    def net(gate):
        return x @ p[f"{gate}/weight_x"].T + h @ p[f"{gate}/weight_h"].T + p[f"{gate}/bias"]

    kept = sigma(net("f"))
    memory = kept * c + (1 - kept) * np.tanh(net("g"))
    return sigma(net("o")) * np.tanh(memory), memory
