"""Elman 1990, with tanh."""

from __future__ import annotations

import numpy as np


def step(p, x, h):
    return (np.tanh(x @ p["n/weight_x"].T + h @ p["n/weight_h"].T + p["n/bias"]),)
