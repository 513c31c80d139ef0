"""Everything one network is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import corpus, own
from .corpus import Masked, Nested, Observation, Order, Request

@dataclass(frozen=True)
class Material:
    """Labelled text by its source. `own` text was written for this project."""

    observations: Sequence[Observation]
    own_observations: Sequence[Observation]
    excavator: Sequence[Observation]
    orders: Sequence[Order]
    own_orders: Sequence[Order]
    nested: Sequence[Nested]
    own_nested: Sequence[Nested]
    masked: Sequence[Masked]
    requests: Sequence[Request]
    # Requests that belong to no intent.
    strangers: Sequence[str]
    # Work orders without labels, as typed.
    plain: Sequence[str]
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
        own_orders=own.orders(),
        nested=joined(corpus.nested_orders),
        own_nested=own.nested_orders(),
        masked=corpus.masked_orders(data, "train"),
        requests=corpus.requests(data, "train"),
        strangers=[*corpus.chat(data, "oos_train"), *own.strangers()],
        plain=corpus.excavator_texts(data),
        spellings=corpus.spellings(data),
    )


def without(material: Material, held: Material) -> Material:
    """Without own and machine-labelled observations that say the same as a held-out one."""
    texts = {row.text for row in held.observations}
    return replace(
        material,
        own_observations=[row for row in material.own_observations if row.text not in texts],
        excavator=[row for row in material.excavator if row.text not in texts],
    )
