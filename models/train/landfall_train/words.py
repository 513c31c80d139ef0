"""What a word is, the same rule as on the device.

A word is a maximal run of non-whitespace characters. A span runs from the first character
of its first word to the last of its last, less punctuation at its two outer ends.
"""

from __future__ import annotations

import re

TRIMMED = ".,;:!?()\"'"

_WORD = re.compile(r"\S+")


def words(text: str) -> list[tuple[int, int]]:
    """Character offsets `(start, end)` of the words, end exclusive."""
    return [match.span() for match in _WORD.finditer(text)]


def trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The range without outer punctuation; `None` when nothing else is in it."""
    while start < end and text[start] in TRIMMED:
        start += 1
    while end > start and text[end - 1] in TRIMMED:
        end -= 1
    return (start, end) if start < end else None


def first_pieces(
    spans: list[tuple[int, int]], pieces: list[tuple[int, int]]
) -> list[int | None]:
    """For each word, the index of its first word piece.

    `pieces` are character offsets as the tokenizer gives them; special tokens have the
    empty range `(0, 0)`. A word that the tokenizer drops altogether has none.
    """
    result: list[int | None] = []
    at = 0
    for start, end in spans:
        while at < len(pieces) and (pieces[at][0] == pieces[at][1] or pieces[at][0] < start):
            at += 1
        inside = at < len(pieces) and pieces[at][0] < end
        result.append(at if inside else None)
    return result
