"""Cho et al. 2014, version 1: the reset gate acts on h before the product."""

from __future__ import annotations

import numpy as np


def sigma(a):
    return 1 / (1 + np.exp(-a))


def step(p, x, h):
    reset = sigma(x @ p["r/weight_x"].T + h @ p["r/weight_h"].T + p["r/bias"])
    update = sigma(x @ p["z/weight_x"].T + h @ p["z/weight_h"].T + p["z/bias"])
    candidate = np.tanh(x @ p["n/weight_x"].T + (reset * h) @ p["n/weight_h"].T + p["n/bias"])
    return (update * h + (1 - update) * candidate,)
