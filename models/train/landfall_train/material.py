"""Everything one network is trained on, and how it is cut into folds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import corpus, own
from .corpus import Masked, Nested, Observation, Order, Request

# What cross-validation holds out. The other sets have a held-out part of their own.
FOLDED = ("observations", "orders", "nested")


@dataclass(frozen=True)
class Material:
    """Labelled text by its source. `own` text was written for this project."""

    observations: Sequence[Observation]
    own_observations: Sequence[Observation]
    excavator: Sequence[Observation]
    orders: Sequence[Order]
    nested: Sequence[Nested]
    own_nested: Sequence[Nested]
    masked: Sequence[Masked]
    requests: Sequence[Request]
    # Requests that belong to no intent.
    strangers: Sequence[str]
    # Normal word -> how it was typed.
    spellings: dict[str, list[str]]


def load(data: Path, splits: Sequence[str] = ("train", "dev")) -> Material:
    """The material of the named splits of the small sets, and the training part of the others."""

    def joined(read) -> list:
        return [row for split in splits for row in read(data, split)]

    return Material(
        observations=joined(corpus.failure_modes),
        own_observations=own.observations(),
        excavator=corpus.excavator_orders(data),
        orders=joined(corpus.work_orders),
        nested=joined(corpus.nested_orders),
        own_nested=own.nested_orders(),
        masked=corpus.masked_orders(data, "train"),
        requests=corpus.requests(data, "train"),
        strangers=[*corpus.chat(data, "oos_train"), *own.strangers()],
        spellings=corpus.spellings(data),
    )


def fold_of(count: int, folds: int, seed: int) -> list[int]:
    """The fold of each of `count` rows, of equal sizes, shuffled."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    result = [0] * count
    for position, row in enumerate(order):
        result[row] = position % folds
    return result


def split(material: Material, folds: int, fold: int, seed: int) -> tuple[Material, Material]:
    """What to train on, and what is held out of it, in all folded sets at once.

    Own observations that say the same as a held-out one are left out of both.
    """
    kept, held = {}, {}
    for at, name in enumerate(FOLDED):
        rows = getattr(material, name)
        places = fold_of(len(rows), folds, seed + at)
        kept[name] = [row for row, place in zip(rows, places, strict=True) if place != fold]
        held[name] = [row for row, place in zip(rows, places, strict=True) if place == fold]
    texts = {row.text for row in held["observations"]}
    own_rows = [row for row in material.own_observations if row.text not in texts]
    excavator = [row for row in material.excavator if row.text not in texts]
    kept |= {"own_observations": own_rows, "excavator": excavator}
    return replace(material, **kept), replace(material, **held)
