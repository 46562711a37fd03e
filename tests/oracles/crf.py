"""Lafferty, McCallum, Pereira 2001: a linear-chain conditional random field, by looking at every path."""

from __future__ import annotations

import itertools

import numpy as np


def score(p, emissions, path):
    """The score of a path of a row, 0 of the empty one."""
    if not path:
        return 0.0
    moves = sum(p["transitions"][i, j] for i, j in itertools.pairwise(path))
    return p["start"][path[0]] + sum(emissions[range(len(path)), path]) + moves + p["end"][path[-1]]


def every_path(p, emissions):
    """All paths of a row ``(time, tags)``, in the order of their tags, and their scores."""
    time, tags = emissions.shape
    paths = list(itertools.product(range(tags), repeat=time))
    return paths, np.array([score(p, emissions, path) for path in paths])


def log_partition(p, emissions):
    _, scores = every_path(p, emissions)
    return np.logaddexp.reduce(scores)


def marginals(p, emissions):
    """The probability of each tag at each step."""
    paths, scores = every_path(p, emissions)
    weights = np.exp(scores - log_partition(p, emissions))
    found = np.zeros_like(emissions)
    for path, weight in zip(paths, weights, strict=True):
        found[range(len(path)), path] += weight
    return found


def best(p, emissions):
    """The path of the largest score, and the score."""
    paths, scores = every_path(p, emissions)
    return list(paths[scores.argmax()]), scores.max()
