"""From material to the examples of one epoch: the same rows, spelt and framed differently."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .material import Material
from .network import SPELL_TASK
from .noise import Speller, disguise
from .orders import OrderBook, without_edge_masks
from .settings import Recipe
from .text import TextReader

# Label of text that belongs to no label.
FOREIGN = -1
# Target of a word piece that is not the first of its word.
IGNORED = -100
# The piece that hides a word.
MASK_PIECE = 103


@dataclass(frozen=True)
class Example:
    """Token ids, the first piece of every word, and the target of one task.

    The target is the label of a label task, a list with one tag a piece of a tag task and of
    spelling, and `(start, end, label)` spans of words of a span task. Of silver text it is
    probabilities [rows, classes], a row for the text, for each word, or for each candidate span.
    """

    ids: list[int]
    firsts: list[int | None]
    target: int | list[int] | Sequence[tuple[int, int, int]] | np.ndarray


Batch = tuple[str, list[Example]]


class Epochs:
    """Draws the batches of each epoch."""

    def __init__(
        self, material: Material, recipe: Recipe, seed: int, pieces: Sequence[int] = ()
    ) -> None:
        """`pieces` are those that spelling chooses among; without them, those that occur."""
        self._material = material
        self._recipe = recipe
        self._random = random.Random(seed)
        self._speller = Speller(material.spellings, seed + 1)
        self._book = OrderBook(material.orders)
        self._reader = TextReader()
        self._excavator: dict[int, list[str]] = defaultdict(list)
        for row in material.excavator:
            self._excavator[row.label].append(row.text)
        self.pieces = list(pieces) or self._spelling_pieces()
        self._place = {piece: at for at, piece in enumerate(self.pieces)}

    def batches(self, shares: dict[str, float]) -> list[Batch]:
        """One epoch: of each task's examples a share (above 1: repeated), batches shuffled."""
        makers = {
            "failure-mode": self._failure_modes,
            "intent-150": self._intents,
            "work-order-ner": self._fields,
            "redact": self._redacted,
            "maintie-5": self._nested,
            SPELL_TASK: self._spelt,
        }
        batches: list[Batch] = []
        for task, share in shares.items():
            examples: list[Example] = []
            while share > 0:
                made = makers[task]()
                self._random.shuffle(made)
                examples += made[: round(len(made) * min(share, 1.0))]
                share -= 1.0
            self._random.shuffle(examples)
            batches += [(task, batch) for batch in batched(examples, self._recipe.batch_texts)]
        self._random.shuffle(batches)
        return batches

    def _is_noisy(self, factor: float = 1.0) -> bool:
        return self._random.random() < self._recipe.noisy_texts_share * factor

    def _label_example(self, text: str, label: int) -> Example:
        if self._is_noisy():
            text = self._speller.text(text, self._recipe.noisy_words_share)
        tokens = self._reader.read(text)
        return Example(tokens.ids, tokens.firsts, label)

    def _failure_modes(self) -> list[Example]:
        recipe, rng = self._recipe, self._random
        texts: list[tuple[str, int]] = []
        for row in self._material.observations:
            texts.append((row.text, row.label))
            texts.append((self._book.whole(row.text, rng), row.label))
        own = self._material.own_observations
        for row in rng.sample(own, round(len(own) * recipe.own_observations_share)):
            whole = rng.random() < recipe.own_whole_share
            texts.append((self._book.whole(row.text, rng) if whole else row.text, row.label))
        for label, rows in sorted(self._excavator.items()):
            count = min(len(rows), recipe.weak_orders_per_label)
            texts += [(text, label) for text in rng.sample(rows, count)]
        chat = [row.text for row in self._material.requests]
        for source, count in (
            (chat, recipe.foreign_chat_texts),
            (self._book.without_observation, recipe.foreign_order_texts),
        ):
            texts += [(text, FOREIGN) for text in rng.sample(source, min(len(source), count))]
        return [self._label_example(text, label) for text, label in texts]

    def _intents(self) -> list[Example]:
        texts = [(row.text, row.label) for row in self._material.requests]
        texts += [(text, FOREIGN) for text in self._material.strangers]
        orders = [order.text for order in self._material.orders]
        some = self._random.sample(orders, min(len(orders), self._recipe.foreign_chat_texts))
        texts += [(text, FOREIGN) for text in some]
        return [self._label_example(text, label) for text, label in texts]

    def _fields(self) -> list[Example]:
        orders = [*self._material.orders, *self._material.own_orders]
        return [self._tagged(order.words, order.tags, 0.5) for order in orders]

    def _redacted(self) -> list[Example]:
        """Every second identifier is another one: their shape counts, not which they are."""
        rng = self._random
        examples = []
        for order in self._material.masked:
            words = [
                disguise(word, rng) if tag and _has_digit(word) and rng.random() < 0.5 else word
                for word, tag in zip(order.words, order.tags, strict=True)
            ]
            examples.append(self._tagged(words, order.tags, 0.0))
        return examples

    def _tagged(self, words: Sequence[str], tags: Sequence[int], noisy: float) -> Example:
        if self._is_noisy(noisy):
            words = self._speller.words(words, self._recipe.noisy_words_share)
        tokens = self._reader.read(" ".join(words))
        target = [IGNORED] * len(tokens.ids)
        for first, tag in zip(tokens.firsts, tags, strict=True):
            if first is not None:
                target[first] = tag
        return Example(tokens.ids, tokens.firsts, target)

    def _nested(self) -> list[Example]:
        examples = []
        for order in [*self._material.nested, *self._material.own_nested]:
            if self._random.random() < self._recipe.bare_orders_share:
                order = without_edge_masks(order)
            words: Sequence[str] = order.words
            if self._random.random() < self._recipe.raw_orders_share:
                words = [self._raw(word) for word in words]
            if self._is_noisy():
                words = self._speller.words(words, self._recipe.noisy_words_share)
            tokens = self._reader.read(" ".join(words))
            examples.append(Example(tokens.ids, tokens.firsts, order.spans))
        return examples

    def _raw(self, word: str) -> str:
        """What stood where MaintIE has a mask."""
        if word == "<id>":
            return disguise("AB123", self._random)
        return disguise("12", self._random) if word == "<num>" else word

    def _spelling_pieces(self) -> list[int]:
        """First pieces of all normal words, the commonest first."""
        counts: Counter[int] = Counter()
        for order in self._material.masked:
            for word in order.normal:
                tokens = self._reader.read(word)
                if tokens.firsts and tokens.firsts[0] is not None:
                    counts[tokens.ids[tokens.firsts[0]]] += 1
        for row in self._material.orders:
            tokens = self._reader.read(row.text)
            counts.update(tokens.ids[at] for at in tokens.firsts if at is not None)
        return [piece for piece, _ in counts.most_common()]

    def _spelt(self) -> list[Example]:
        """Typed text, some words hidden; the targets are the normal forms' first pieces."""
        rows = [(order.words, order.normal) for order in self._material.masked]
        known = (self._material.orders, self._material.own_orders, self._material.own_nested)
        rows += [(order.words, order.words) for orders in known for order in orders]
        rows += [(words, words) for words in map(str.split, self._material.plain)]
        return [self._spelling(words, normal) for words, normal in rows]

    def _spelling(self, words: Sequence[str], normal: Sequence[str]) -> Example:
        tokens = self._reader.read(" ".join(words))
        ids, target = list(tokens.ids), [IGNORED] * len(tokens.ids)
        ends = [*tokens.firsts[1:], len(ids) - 1]
        for first, end, typed, meant in zip(tokens.firsts, ends, words, normal, strict=True):
            if first is None or meant.startswith("<"):
                continue
            hidden = self._random.random() < self._recipe.hidden_words_share
            if not hidden and typed.lower() == meant.lower():
                continue
            wanted = self._reader.read(meant)
            piece = wanted.ids[wanted.firsts[0]] if wanted.firsts and wanted.firsts[0] else None
            if piece not in self._place:
                continue
            target[first] = self._place[piece]
            if hidden:
                ids[first : end or first + 1] = [MASK_PIECE] * ((end or first + 1) - first)
        return Example(ids, tokens.firsts, target)


def batched(examples: Sequence[Example], size: int) -> list[list[Example]]:
    """Batches of about equal length, so that little is padded."""
    by_length = sorted(examples, key=lambda example: len(example.ids))
    return [by_length[at : at + size] for at in range(0, len(by_length), size)]


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)
