"""Nested spans of words, the same rules as on the device.

Every run of at most so many words is a candidate with a class; those of a label are spans. Of two
spans that overlap in part, the less certain goes: one may contain the other, not cut it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .bio import WordSpan
from .quantize import Floats

Pair = tuple[int, int]


def candidates(firsts: Sequence[int | None], words_max: int) -> list[Pair]:
    """Pairs of words `(first, last)`, in order; a word without pieces is in none."""
    return [
        (start, last)
        for start in range(len(firsts))
        for last in range(start, min(len(firsts), start + words_max))
        if firsts[start] is not None and firsts[last] is not None
    ]


def decode(pairs: Sequence[Pair], chances: Floats) -> list[WordSpan]:
    """Spans `(first word, word after the last, label)` of pairs with class probabilities."""
    classes = chances.argmax(axis=1) if len(pairs) else np.zeros(0, int)
    found = [
        (-float(chances[at, kind]), start, last + 1, int(kind) - 1)
        for at, ((start, last), kind) in enumerate(zip(pairs, classes, strict=True))
        if kind
    ]
    kept: list[WordSpan] = []
    for _, start, end, label in sorted(found):
        if not any(_cut(start, end, other) for other in kept):
            kept.append((start, end, label))
    return sorted(kept)


def _cut(start: int, end: int, other: WordSpan) -> bool:
    return start < other[0] < end < other[1] or other[0] < start < other[1] < end
