"""Flat BIO tags over words: `O, B-l0, I-l0, B-l1, I-l1, …`, by index.

Decoding takes any sequence: an `I` that does not continue a span of its own label
starts a new one.
"""

from __future__ import annotations

from collections.abc import Sequence

OUTSIDE = 0

# (first word, word after the last, label index)
WordSpan = tuple[int, int, int]


def begin(label: int) -> int:
    """Tag of the first word of a span."""
    return 1 + 2 * label


def inside(label: int) -> int:
    """Tag of the later words of a span."""
    return 2 + 2 * label


def tag_count(label_count: int) -> int:
    """Number of tags over that many labels."""
    return 1 + 2 * label_count


def encode(word_count: int, mentions: Sequence[WordSpan]) -> list[int]:
    """Tags of a text; a later mention overwrites an earlier one, word by word."""
    tags = [OUTSIDE] * word_count
    for start, end, label in mentions:
        for at in range(start, end):
            tags[at] = begin(label) if at == start else inside(label)
    return tags


def decode(tags: Sequence[int]) -> list[WordSpan]:
    """Spans of a tag sequence, in order."""
    spans: list[WordSpan] = []
    for at, tag in enumerate(tags):
        if tag == OUTSIDE:
            continue
        label = (tag - 1) // 2
        last = spans[-1] if spans else None
        continues = tag == inside(label) and last and last[1] == at and last[2] == label
        if last and continues:
            spans[-1] = (last[0], at + 1, label)
        else:
            spans.append((at, at + 1, label))
    return spans
