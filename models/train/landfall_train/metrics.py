"""Counts that say how good an answer is. Standard library only."""

from __future__ import annotations

import math
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
    """95 % interval of a share (Wilson score)."""
    z = 1.959964
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = (z / (1 + z * z / count)) * math.sqrt(
        share * (1 - share) / count + z * z / (4 * count * count)
    )
    return middle - half, middle + half
