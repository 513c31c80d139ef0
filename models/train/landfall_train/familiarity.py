"""Scores that tell text of a task from text that is foreign to it: higher is more familiar.

All are computed by a label head on the device. Which one ships is measured, not assumed:

* `softmax`: the largest probability (Hendrycks and Gimpel 2017);
* `energy`: log-sum-exp of the logits (Liu et al. 2020);
* `cosine`: to the nearest label's mean vector, a distance in feature space;
* `known`: log-odds of a linear layer trained on foreign text (outlier exposure);
* `known energy`: the sum of the two before last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .quantize import Floats


@dataclass(frozen=True)
class Judgements:
    """What a label head said of N texts."""

    logits: Floats
    known: Floats
    pooled: Floats


FIELDS = ("logits", "known", "pooled")


def energy(logits: Floats) -> Floats:
    """Log-sum-exp of each row."""
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).sum(axis=1))


def _softmax(judged: Judgements, _: Floats) -> Floats:
    return np.exp(judged.logits.max(axis=1) - energy(judged.logits))


def _cosine(judged: Judgements, centroids: Floats) -> Floats:
    return (unit(judged.pooled) @ centroids.T).max(axis=1)


SCORES: dict[str, Callable[[Judgements, Floats], Floats]] = {
    "softmax": _softmax,
    "energy": lambda judged, _: energy(judged.logits),
    "cosine": _cosine,
    "known": lambda judged, _: judged.known,
    "known energy": lambda judged, _: judged.known + energy(judged.logits),
}


def unit(vectors: Floats) -> Floats:
    """Rows of length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def centroids(pooled: Floats, labels: np.ndarray, count: int) -> Floats:
    """Unit mean vector of each label; of a label without text, the mean of all."""
    everywhere = pooled.mean(axis=0)
    means = [
        pooled[labels == label].mean(axis=0) if (labels == label).any() else everywhere
        for label in range(count)
    ]
    return unit(np.array(means, np.float32))


def auroc(known: Floats, foreign: Floats) -> float:
    """How often a known text scores above a foreign one (Mann-Whitney), ties half."""
    order = np.sort(foreign)
    below = np.searchsorted(order, known, "left")
    not_above = np.searchsorted(order, known, "right")
    return float((below + not_above).mean() / (2 * len(foreign)))
