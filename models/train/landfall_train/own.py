"""Training text written for this project, beside this package in `corpus/`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from . import bio
from .corpus import DataError, Nested, Observation, Order
from .labels import FAILURE_MODES, FIELDS, MAINTIE
from .settings import TRAIN_DIR

CORPUS_DIR = TRAIN_DIR / "corpus"

# Letters of the span marks in `nested-orders.txt`.
_CLASSES = {"A": "Activity", "O": "PhysicalObject", "P": "Process", "R": "Property", "S": "State"}

# `[Field:words]`, or a word by itself.
_PART = re.compile(r"\[(?P<name>\w+):(?P<inside>[^\[\]]*)\]|(?P<plain>\S+)")


def observations() -> list[Observation]:
    """`label<TAB>observation`."""
    path = CORPUS_DIR / "failure-modes.tsv"
    rows = []
    for number, line in lines(path):
        label, _, text = line.partition("\t")
        if label not in FAILURE_MODES:
            raise DataError(f"{path}:{number}: unknown failure mode {label!r}")
        rows.append(Observation(text.lower(), FAILURE_MODES.index(label)))
    return rows


def strangers() -> list[str]:
    """Requests that belong to none of CLINC150's intents."""
    return [line for _, line in lines(CORPUS_DIR / "out-of-scope.txt")]


def nested_orders() -> list[Nested]:
    """Work orders with nested marks, `[O air [O filters]]`."""
    return marked(CORPUS_DIR / "nested-orders.txt")


def orders() -> list[Order]:
    """Work orders with flat marks, `[Item:air filter]`."""
    return flat(CORPUS_DIR / "orders.txt")


def flat(path: Path) -> list[Order]:
    """Work orders with flat marks, of one file."""
    return [_order(line, f"{path}:{number}") for number, line in lines(path)]


def _order(line: str, place: str) -> Order:
    words: list[str] = []
    mentions: list[bio.WordSpan] = []
    for piece in _PART.finditer(line.lower()):
        name, inside, plain = piece["name"], piece["inside"], piece["plain"]
        if plain is not None:
            if "[" in plain or "]" in plain:
                raise DataError(f"{place}: a mark is not closed, or closes nothing: {plain!r}")
            words.append(plain)
            continue
        if name.capitalize() not in FIELDS:
            raise DataError(f"{place}: unknown field {name!r}")
        added = inside.split()
        if not added:
            raise DataError(f"{place}: a mark without words")
        mentions.append((len(words), len(words) + len(added), FIELDS.index(name.capitalize())))
        words += added
    return Order(tuple(words), tuple(bio.encode(len(words), mentions)))


def marked(path: Path) -> list[Nested]:
    """Work orders with nested marks, of one file."""
    return [_nested(line, f"{path}:{number}") for number, line in lines(path)]


def _nested(line: str, place: str) -> Nested:
    words: list[str] = []
    spans: set[tuple[int, int, int]] = set()
    opened: list[tuple[int, str]] = []
    for token in line.split():
        if token.startswith("[") and token[1:] in _CLASSES:
            opened.append((len(words), token[1:]))
            continue
        word = token.rstrip("]")
        if not word:
            raise DataError(f"{place}: a mark closes after no word")
        words.append(word)
        for _ in range(len(token) - len(word)):
            if not opened:
                raise DataError(f"{place}: a mark closes that was not opened")
            start, letter = opened.pop()
            spans.add((start, len(words), MAINTIE.index(_CLASSES[letter])))
    if opened:
        raise DataError(f"{place}: a mark is not closed")
    return Nested(tuple(words), tuple(sorted(spans)))


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are neither empty nor comments."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line
