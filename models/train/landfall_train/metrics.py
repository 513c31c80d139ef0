"""Counts that say how good an answer is. Standard library only."""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Sequence, Set


def accuracy(truth: Sequence[int], answers: Sequence[int]) -> float:
    """Share of right answers."""
    return sum(t == a for t, a in zip(truth, answers, strict=True)) / len(truth)


def weighted_f1(truth: Sequence[int], answers: Sequence[int]) -> float:
    """F1 of each label that occurs, weighted by how often it occurs."""
    total = 0.0
    for label in set(truth):
        support = sum(t == label for t in truth)
        answered = sum(a == label for a in answers)
        both = sum(t == a == label for t, a in zip(truth, answers, strict=True))
        total += support * 2 * both / (support + answered)
    return total / len(truth)


def micro_f1(truth: Sequence[Set[Hashable]], answers: Sequence[Set[Hashable]]) -> float:
    """F1 over all spans of all texts; exact place and label."""
    both = sum(len(t & a) for t, a in zip(truth, answers, strict=True))
    size = sum(len(t) + len(a) for t, a in zip(truth, answers, strict=True))
    return 2 * both / size if size else 1.0


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson score); of nothing, all of it."""
    if not count:
        return 0.0, 1.0
    z = 1.959964
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = (z / (1 + z * z / count)) * math.sqrt(
        share * (1 - share) / count + z * z / (4 * count * count)
    )
    return middle - half, middle + half


def bootstrap_f1(
    truth: Sequence[Set[Hashable]], answers: Sequence[Set[Hashable]], draws: int = 1000
) -> tuple[float, float]:
    """95 % interval of the micro F1: percentiles over texts drawn with replacement."""
    counts = [(len(t & a), len(t) + len(a)) for t, a in zip(truth, answers, strict=True)]
    rng, results = random.Random(0), []
    for _ in range(draws):
        drawn = rng.choices(counts, k=len(counts))
        size = sum(total for _, total in drawn)
        results.append(2 * sum(both for both, _ in drawn) / size if size else 1.0)
    results.sort()
    return results[int(0.025 * draws)], results[int(0.975 * draws)]
