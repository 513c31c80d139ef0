"""The frozen evaluation sets, from their sources beside this package."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from . import own
from .labels import MAINTIE

_SPAN = re.compile(r"\[(\w+):([^\]]+)\]")


@dataclass(frozen=True)
class Labelled:
    """A text and its label; `None` when it has none."""

    text: str
    label: str | None


@dataclass(frozen=True)
class Tagged:
    """A text and its spans as `(start, end, label)`, characters, end exclusive."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def labelled(path: Path) -> list[Labelled]:
    """Lines of `label<TAB>text`."""
    rows = []
    for _, line in own.lines(path):
        label, _, text = line.partition("\t")
        rows.append(Labelled(text, None if label == "-" else label))
    return rows


def tagged(path: Path) -> list[Tagged]:
    """Lines with `[Label:words]` marks."""
    return [unmarked(line) for _, line in own.lines(path)]


def nested(path: Path) -> list[Tagged]:
    """Lines with nested marks, as in the corpus."""
    rows = []
    for order in own.marked(path):
        ends = list(itertools.accumulate(len(word) + 1 for word in order.words))
        spans = (
            (ends[start] - len(order.words[start]) - 1, ends[after - 1] - 1, MAINTIE[label])
            for start, after, label in order.spans
        )
        rows.append(Tagged(order.text, tuple(spans)))
    return rows


def unmarked(line: str) -> Tagged:
    """A marked line as plain text and spans."""
    text, spans, at = "", [], 0
    for match in _SPAN.finditer(line):
        text += line[at : match.start()]
        spans.append((len(text), len(text) + len(match[2]), match[1]))
        text += match[2]
        at = match.end()
    return Tagged(text + line[at:], tuple(spans))
