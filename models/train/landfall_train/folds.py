"""Splits into folds, and what a network says about text it was not trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .corpus import Observation, Order
from .joint import Material
from .orders import OrderBook
from .quantize import Floats, Model
from .reference import Reference
from .text import TextReader


def fold_of(count: int, folds: int, seed: int) -> list[int]:
    """The fold of each of `count` rows, of equal sizes, shuffled."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    result = [0] * count
    for position, row in enumerate(order):
        result[row] = position % folds
    return result


def split(material: Material, folds: int, fold: int, seed: int) -> tuple[Material, Material]:
    """What to train on, and what is held out of it, in both tasks at once."""
    observations = fold_of(len(material.observations), folds, seed)
    orders = fold_of(len(material.orders), folds, seed + 1)
    excavator = fold_of(len(material.excavator), folds, seed + 2)

    def part(held: bool) -> Material:
        def rows(source: Sequence, of: list[int]) -> list:
            return [row for row, at in zip(source, of, strict=True) if (at == fold) == held]

        return replace(
            material,
            observations=rows(material.observations, observations),
            orders=rows(material.orders, orders),
            excavator=rows(material.excavator, excavator),
        )

    return part(False), part(True)


class Answers:
    """Runs a quantized model over texts, with the arithmetic of a device."""

    def __init__(self, model: Model, jitter: float = 0.0, seed: int = 0) -> None:
        self._reference = Reference(model, jitter, seed)
        self._reader = TextReader()

    def modes(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Failure-mode logits [N,C] and familiarities [N]."""
        views = [
            self._reference.mode(self._reference.hidden(self._reader.read(text).ids))
            for text in texts
        ]
        logits = np.array([view.logits for view in views], np.float32)
        return logits, np.array([view.familiarity for view in views], np.float32)

    def fields(self, texts: Sequence[str]) -> list[Floats]:
        """Tag logits [words, 1+2C] of each text."""
        result = []
        for text in texts:
            tokens = self._reader.read(text)
            result.append(self._reference.fields(self._reference.hidden(tokens.ids), tokens.firsts))
        return result


def held_out_answers(model: Model, held: Material, seed: int) -> dict[str, np.ndarray]:
    """Answers about a held-out part: bare observations, whole orders, and tagged words.

    The whole orders of an observation are made from the held-out work orders alone.
    """
    answers = Answers(model)
    whole = whole_orders(held.observations, held.orders, seed)
    bare_logits, bare_familiarity = answers.modes([row.text for row in held.observations])
    whole_logits, whole_familiarity = answers.modes(whole)
    fields = answers.fields([order.text for order in held.orders])
    return {
        "labels": np.array([row.label for row in held.observations]),
        "bare_logits": bare_logits,
        "bare_familiarity": bare_familiarity,
        "whole_logits": whole_logits,
        "whole_familiarity": whole_familiarity,
        "word_counts": np.array([len(order.words) for order in held.orders]),
        "word_tags": np.concatenate([np.array(order.tags) for order in held.orders]),
        "word_logits": np.concatenate(fields),
    }


def whole_orders(
    observations: Sequence[Observation], orders: Sequence[Order], seed: int
) -> list[str]:
    """One work order around each observation."""
    book, rng = OrderBook(orders), random.Random(seed)
    return [book.whole(row.text, rng) for row in observations]
