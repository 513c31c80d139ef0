"""Chooses class weights by cross-validation, cheaply: a linear head on the frozen encoder.

The candidates weigh a label by its frequency to a power: 0 leaves the rows as they are,
-0.5 and -1 favour the rare labels half or fully. The plainest candidate within one standard
error of the best is taken: smaller differences are noise.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .corpus import Observation
from .encoder import pretrained
from .joint import padded
from .labels import FAILURE_MODES
from .metrics import accuracy, weighted_f1
from .text import TextReader

POWERS = (0.0, -0.5, -1.0)
FOLDS = 5


def weights(observations: Sequence[Observation], power: float) -> list[float]:
    """A weight per label, one on average over the rows."""
    counts = Counter(row.label for row in observations)
    raw = [max(counts[label], 1) ** power for label in range(len(FAILURE_MODES))]
    mean = sum(raw[row.label] for row in observations) / len(observations)
    return [value / mean for value in raw]


def choose(observations: Sequence[Observation], seed: int) -> dict[str, object]:
    """Out-of-fold scores of each power, and the power to use."""
    features = _features(observations)
    labels = [row.label for row in observations]
    order = list(range(len(labels)))
    random.Random(seed).shuffle(order)
    scores = []
    for power in POWERS:
        answers = [0] * len(labels)
        for fold in range(FOLDS):
            held = order[fold::FOLDS]
            kept = sorted(set(order) - set(held))
            class_weights = torch.tensor(weights([observations[i] for i in kept], power))
            head = _fit(features[kept], torch.tensor([labels[i] for i in kept]), class_weights)
            for i, answer in zip(held, head(features[held]).argmax(1).tolist(), strict=True):
                answers[i] = answer
        scores.append(
            {
                "power": power,
                "accuracy": accuracy(labels, answers),
                "weighted_f1": weighted_f1(labels, answers),
            }
        )
    best = max(score["accuracy"] for score in scores)
    error = math.sqrt(best * (1 - best) / len(labels))
    power = next(score["power"] for score in scores if score["accuracy"] >= best - error)
    return {"power": power, "scores": scores, "n": len(labels)}


def _features(observations: Sequence[Observation]) -> Tensor:
    network, reader = pretrained(0.0).eval(), TextReader()
    rows = []
    with torch.no_grad():
        for row in observations:
            ids, mask = padded([reader.read(row.text).ids])
            rows.append(network.encode(ids, mask)[0].mean(0))
    return functional.normalize(torch.stack(rows), dim=1)


def _fit(features: Tensor, labels: Tensor, class_weights: Tensor) -> torch.nn.Linear:
    torch.manual_seed(0)
    head = torch.nn.Linear(features.shape[1], len(FAILURE_MODES))
    optimiser = torch.optim.AdamW(head.parameters(), lr=0.05, weight_decay=0.05)
    for _ in range(200):
        loss = functional.cross_entropy(head(features), labels, weight=class_weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.requires_grad_(False)
