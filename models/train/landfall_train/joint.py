"""Joint training: both tasks in turn, batch by batch, through one encoder."""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .corpus import Observation, Order
from .encoder import Network, Pooled, pretrained
from .noise import Speller
from .orders import OrderBook
from .settings import Recipe
from .text import TextReader

# Label of text that has no failure mode.
FOREIGN = -1
# Target of a word piece that is not the first of its word.
IGNORED = -100


@dataclass(frozen=True)
class Material:
    """What one network is trained on."""

    observations: Sequence[Observation]
    orders: Sequence[Order]
    excavator: Sequence[Observation]
    chat: Sequence[str]
    spellings: dict[str, list[str]]
    # Weight of each failure mode in the loss.
    class_weights: Sequence[float]


@dataclass(frozen=True)
class Example:
    """Token ids with their targets: one tag per piece, or one label for the text."""

    ids: list[int]
    tags: list[int] | None
    label: int


class Epochs:
    """Draws the examples of each epoch: the same rows, spelt and framed differently."""

    def __init__(self, material: Material, recipe: Recipe, seed: int) -> None:
        self._material = material
        self._recipe = recipe
        self._random = random.Random(seed)
        self._speller = Speller(material.spellings, seed + 1)
        self._book = OrderBook(material.orders)
        self._reader = TextReader()
        self._excavator: dict[int, list[str]] = defaultdict(list)
        for row in material.excavator:
            self._excavator[row.label].append(row.text)

    def batches(self) -> list[list[Example]]:
        """One epoch of batches, both tasks shuffled together."""
        tagged = [self._tagged(order) for order in self._material.orders]
        labelled = [self._labelled(text, label) for text, label in self._failure_texts()]
        batches = self._batched(tagged) + self._batched(labelled)
        self._random.shuffle(batches)
        return batches

    def _failure_texts(self) -> list[tuple[str, int]]:
        recipe, rng = self._recipe, self._random
        texts: list[tuple[str, int]] = []
        for row in self._material.observations:
            texts.append((row.text, row.label))
            texts.append((self._book.whole(row.text, rng), row.label))
        for label, rows in sorted(self._excavator.items()):
            count = min(len(rows), recipe.weak_orders_per_label)
            texts += [(text, label) for text in rng.sample(rows, count)]
        for source, count in (
            (self._material.chat, recipe.foreign_chat_texts),
            (self._book.without_observation, recipe.foreign_order_texts),
        ):
            texts += [(text, FOREIGN) for text in rng.sample(source, min(len(source), count))]
        return texts

    def _labelled(self, text: str, label: int) -> Example:
        if self._random.random() < self._recipe.noisy_texts_share:
            text = self._speller.text(text, self._recipe.noisy_words_share)
        return Example(self._reader.read(text).ids, None, label)

    def _tagged(self, order: Order) -> Example:
        words: Sequence[str] = order.words
        # Real work orders are misspelt already: half as much is added.
        if self._random.random() < self._recipe.noisy_texts_share / 2:
            words = self._speller.words(words, self._recipe.noisy_words_share)
        tokens = self._reader.read(" ".join(words))
        tags = [IGNORED] * len(tokens.ids)
        for first, tag in zip(tokens.firsts, order.tags, strict=True):
            if first is not None:
                tags[first] = tag
        return Example(tokens.ids, tags, FOREIGN)

    def _batched(self, examples: list[Example]) -> list[list[Example]]:
        """Batches of about equal length, so that little is padded."""
        self._random.shuffle(examples)
        examples.sort(key=lambda example: len(example.ids))
        size = self._recipe.batch_texts
        return [examples[at : at + size] for at in range(0, len(examples), size)]


def train(material: Material, recipe: Recipe, seed: int, name: str) -> Network:
    """A network trained from the pretrained encoder; progress goes to standard error."""
    torch.manual_seed(seed)
    network = pretrained(recipe.dropout)
    # Half of all weights, and most words of the shop floor are too rare here to move theirs well.
    network.tokens.weight.requires_grad_(False)
    epochs = Epochs(material, recipe, seed)
    first = epochs.batches()
    steps = len(first) * recipe.epochs
    optimiser, schedule = _optimiser(network, recipe, steps)
    class_weights = torch.tensor(material.class_weights)
    network.train()
    started = time.monotonic()
    for epoch in range(recipe.epochs):
        batches = first if epoch == 0 else epochs.batches()
        total = 0.0
        for batch in batches:
            loss = _loss(network, batch, recipe, class_weights)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        spent = time.monotonic() - started
        left = spent / (epoch + 1) * (recipe.epochs - epoch - 1)
        print(
            f"  {name}: epoch {epoch + 1}/{recipe.epochs}, loss {total / len(batches):.3f}, "
            f"{spent:.0f} s, about {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
    return network.eval()


def _optimiser(
    network: Network, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    heads = ("mode.", "centroids", "fields.")
    groups: dict[tuple[bool, bool], list[Tensor]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        groups[name.startswith(heads), parameter.ndim > 1].append(parameter)
    optimiser = torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": recipe.head_rate if is_head else recipe.encoder_rate,
                "weight_decay": recipe.weight_decay if is_matrix else 0.0,
            }
            for (is_head, is_matrix), parameters in groups.items()
        ],
        fused=True,
    )
    warmup = max(1, int(steps * recipe.warmup_share))

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)


def _loss(
    network: Network, batch: list[Example], recipe: Recipe, class_weights: Tensor
) -> Tensor:
    ids, mask = padded([example.ids for example in batch])
    hidden = network.encode(ids, mask)
    if batch[0].tags is not None:
        width = ids.shape[1]
        rows = [list(e.tags or ()) + [IGNORED] * (width - len(e.ids)) for e in batch]
        logits = network.work_order_fields(hidden)
        return functional.cross_entropy(
            logits.flatten(0, 1), torch.tensor(rows).flatten(), ignore_index=IGNORED
        )
    labels = torch.tensor([example.label for example in batch])
    return _failure_loss(network.failure_mode(hidden, mask), labels, recipe, class_weights)


def _failure_loss(
    pooled: Pooled, labels: Tensor, recipe: Recipe, class_weights: Tensor
) -> Tensor:
    """Cross entropy on known text; even odds on foreign text; centroids near and far."""
    known = labels != FOREIGN
    count = len(labels)
    loss = pooled.logits.new_zeros(())
    if known.any():
        loss = loss + functional.cross_entropy(
            pooled.logits[known],
            labels[known],
            weight=class_weights,
            label_smoothing=recipe.label_smoothing,
            reduction="sum",
        )
        own = pooled.cosines[known].gather(1, labels[known, None])
        loss = loss + recipe.familiarity_weight * (recipe.near_cosine - own).relu().sum()
    if not known.all():
        nearest = pooled.cosines[~known].amax(1)
        loss = loss + recipe.familiarity_weight * (nearest - recipe.far_cosine).relu().sum()
        even = -functional.log_softmax(pooled.logits[~known], -1).mean(1)
        loss = loss + 0.5 * even.sum()
    return loss / count


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [B,S] and the mask of those that are not padding."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(width)[None, :] < lengths[:, None]
