"""Held-out text of every task with what a network said of it, as arrays that can be stored."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import bio, nested
from .answers import AnyAnswers, Pairs
from .corpus import Masked, Nested, Observation, Order
from .familiarity import FIELDS, Judgements
from .orders import OrderBook
from .quantize import Floats


@dataclass(frozen=True)
class Labels:
    """Texts of a label task; the label of foreign text is -1."""

    truth: np.ndarray
    judged: Judgements

    @staticmethod
    def ask(answers: AnyAnswers, task: str, rows: Sequence[tuple[str, int]]) -> Labels:
        """Texts with their labels."""
        judged = answers.label(task, [text for text, _ in rows])
        return Labels(np.array([label for _, label in rows]), judged)

    def arrays(self) -> dict[str, np.ndarray]:
        """For storing."""
        return {"truth": self.truth, **{name: getattr(self.judged, name) for name in FIELDS}}

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> Labels:
        """From stored arrays."""
        return Labels(arrays["truth"], Judgements(*(arrays[name] for name in FIELDS)))


@dataclass(frozen=True)
class Texts:
    """Texts of a task that finds spans: gold spans, and logits of words or pairs of words.

    `rows` are all rows of logits, `counts` how many of them each text has; `places` says of each
    row which words it is about, `(first, last)`; `gold` is `(text, first, after, label)`.
    """

    counts: np.ndarray
    places: np.ndarray
    rows: Floats
    gold: np.ndarray

    @staticmethod
    def of_tags(logits: Sequence[Floats], gold: Sequence[Sequence[bio.WordSpan]]) -> Texts:
        """Of a tag task."""
        pairs = [Pairs([(at, at) for at in range(len(rows))], rows) for rows in logits]
        return Texts.of_pairs(pairs, gold)

    @staticmethod
    def of_pairs(pairs: Sequence[Pairs], gold: Sequence[Sequence[bio.WordSpan]]) -> Texts:
        """Of a span task."""
        spans = [(at, *span) for at, of in enumerate(gold) for span in of]
        return Texts(
            np.array([len(of.words) for of in pairs]),
            np.concatenate([np.array(of.words, int).reshape(-1, 2) for of in pairs]),
            np.concatenate([of.logits for of in pairs]),
            np.array(spans, int).reshape(-1, 4),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """For storing."""
        return dict(counts=self.counts, places=self.places, rows=self.rows, gold=self.gold)

    @staticmethod
    def of(arrays: dict[str, np.ndarray]) -> Texts:
        """From stored arrays."""
        return Texts(**arrays)

    def gold_spans(self) -> list[set[bio.WordSpan]]:
        """Of each text."""
        found: list[set[bio.WordSpan]] = [set() for _ in self.counts]
        for text, start, end, label in self.gold.tolist():
            found[text].add((start, end, label))
        return found

    def spans(self, chances: Floats, decode: Decode) -> list[set[bio.WordSpan]]:
        """What the rows of probabilities say of each text."""
        found, at = [], 0
        for count in self.counts.tolist():
            places = [tuple(place) for place in self.places[at : at + count].tolist()]
            found.append(set(decode(places, chances[at : at + count])))
            at += count
        return found

    def classes(self, of_tags: bool) -> np.ndarray:
        """The true class of every row."""
        truth, at = np.zeros(len(self.rows), int), 0
        for spans, count in zip(self.gold_spans(), self.counts.tolist(), strict=True):
            if of_tags:
                truth[at : at + count] = bio.encode(count, sorted(spans))
            else:
                row_of = {tuple(p): n for n, p in enumerate(self.places[at : at + count].tolist())}
                for start, end, label in spans:
                    if (start, end - 1) in row_of:
                        truth[at + row_of[start, end - 1]] = 1 + label
            at += count
        return truth


Decode = Callable[[Sequence[nested.Pair], Floats], list[bio.WordSpan]]


def decode_tags(_: Sequence[nested.Pair], chances: Floats) -> list[bio.WordSpan]:
    """Spans of rows of tag probabilities."""
    return bio.decode(chances.argmax(axis=1).tolist())


def tagged(answers: AnyAnswers, task: str, orders: Sequence[Order | Masked]) -> Texts:
    """A tag task on orders."""
    gold = [bio.decode(order.tags) for order in orders]
    return Texts.of_tags(answers.tags(task, [order.text for order in orders]), gold)


def nested_orders(answers: AnyAnswers, task: str, orders: Sequence[Nested], words_max: int) -> Texts:
    """A span task on orders."""
    texts = [order.text for order in orders]
    return Texts.of_pairs(answers.spans(task, texts, words_max), [o.spans for o in orders])


def bare(rows: Sequence[Observation]) -> list[tuple[str, int]]:
    """Observations as they are."""
    return [(row.text, row.label) for row in rows]


def whole(
    rows: Sequence[Observation], orders: Sequence[Order], seed: int
) -> list[tuple[str, int]]:
    """One work order around each observation."""
    book, rng = OrderBook(orders), random.Random(seed)
    return [(book.whole(row.text, rng), row.label) for row in rows]


def foreign_orders(orders: Sequence[Order]) -> list[tuple[str, int]]:
    """Work orders in which nobody saw an observation."""
    return [(text, -1) for text in OrderBook(orders).without_observation]


def store(path: Path, parts: dict[str, Labels | Texts]) -> None:
    """All parts in one file, written at once or not at all."""
    arrays = {
        f"{part}/{name}": values for part, of in parts.items() for name, values in of.arrays().items()
    }
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.rename(path)


def load(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of each part."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as stored:
        for key in stored.files:
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = stored[key]
    return parts
