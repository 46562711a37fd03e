"""Cho et al. 2014, version 3, as cuDNN writes it: the reset gate acts on the product U h + b."""

from __future__ import annotations

import numpy as np


def sigma(a):
    return 1 / (1 + np.exp(-a))


def step(p, x, h):
    reset = sigma(x @ p["r/weight_x"].T + h @ p["r/weight_h"].T + p["r/bias"])
    update = sigma(x @ p["z/weight_x"].T + h @ p["z/weight_h"].T + p["z/bias"])
    from_x = x @ p["n_x/weight_x"].T + p["n_x/bias"]
    from_h = h @ p["n_h/weight_h"].T + p["n_h/bias"]
    return ((1 - update) * np.tanh(from_x + reset * from_h) + update * h,)
