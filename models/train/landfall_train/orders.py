"""Work orders put together and taken apart: above all for the failure-mode task, whose own data
are bare observations.

Three sources: real work orders whose only observation is a labelled one; invented ones that
put an observation between a real item, location and activity; and, as foreign text, work
orders in which no annotator saw an observation.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

from . import bio
from .corpus import Nested, Order
from .labels import FIELDS

_OBSERVATION = FIELDS.index("Observation")

_PATTERNS = (
    ("Item", "Observation"),
    ("Item", "Observation"),
    ("Location", "Item", "Observation"),
    ("Item", "Location", "Observation"),
    ("Observation", "Item"),
    ("Activity", "Observation", "Item"),
    ("Item", "Observation", "Activity"),
    ("Location", "Item", "Observation", "Activity"),
    ("Activity", "Item", "Observation"),
)


class OrderBook:
    """Work orders by the observation in them, and the parts to make more of."""

    def __init__(self, orders: Iterable[Order]) -> None:
        self._by_observation: dict[str, list[str]] = defaultdict(list)
        self._parts: dict[str, list[str]] = defaultdict(list)
        self.without_observation: list[str] = []
        for order in orders:
            spans = bio.decode(order.tags)
            seen = []
            for start, end, label in spans:
                phrase = " ".join(order.words[start:end])
                if label == _OBSERVATION:
                    seen.append(phrase)
                else:
                    self._parts[FIELDS[label]].append(phrase)
            if not seen:
                self.without_observation.append(order.text)
            elif len(seen) == 1:
                self._by_observation[seen[0]].append(order.text)

    def real(self, observation: str) -> Sequence[str]:
        """Real work orders whose only observation is this one."""
        return self._by_observation.get(observation, ())

    def whole(self, observation: str, rng: random.Random) -> str:
        """A work order with this observation: a real one where there is one."""
        real = self.real(observation)
        if real and rng.random() < 0.6:
            return rng.choice(real)
        return self.invented(observation, rng)

    def invented(self, observation: str, rng: random.Random) -> str:
        """The observation among parts of real work orders."""
        chosen = [
            observation if part == "Observation" else rng.choice(self._parts[part])
            for part in rng.choice(_PATTERNS)
        ]
        return " ".join(chosen)


def without_edge_masks(order: Nested) -> Nested:
    """Without the `<id>` that most of MaintIE's orders begin or end with, where it is in no span.

    The set is in alphabetical order, so that its training part is full of them and the later
    parts have none.
    """
    start, end = 0, len(order.words)
    while start < end - 1 and order.words[start] == "<id>" and not _covered(order, start):
        start += 1
    while end > start + 1 and order.words[end - 1] == "<id>" and not _covered(order, end - 1):
        end -= 1
    spans = tuple((first - start, after - start, label) for first, after, label in order.spans)
    return Nested(order.words[start:end], spans)


def _covered(order: Nested, word: int) -> bool:
    return any(start <= word < end for start, end, _ in order.spans)
