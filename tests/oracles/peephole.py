"""Gers, Schraudolph, Schmidhuber 2002: input and forget gate see the old memory, the output gate the new one."""

from __future__ import annotations

import numpy as np


def sigma(a):
    return 1 / (1 + np.exp(-a))


def step(p, x, h, c):
    def net(gate):
        return x @ p[f"{gate}/weight_x"].T + h @ p[f"{gate}/weight_h"].T + p[f"{gate}/bias"]

    taken_in = sigma(net("i") + p["p_i"] * c)
    kept = sigma(net("f") + p["p_f"] * c)
    memory = taken_in * np.tanh(net("g")) + kept * c
    shown = sigma(net("o") + p["p_o"] * memory)
    return shown * np.tanh(memory), memory
