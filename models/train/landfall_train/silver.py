"""Silver text: work orders without labels, and what trained networks say of them.

A network that learns from the mean of several others does better than each of them (Hinton,
Vinyals and Dean 2015), above all where little is labelled but much is written: there are ten times
more work orders without labels here than with.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import bio, nested
from .examples import Batch, Example, batched
from .labels import FIELDS
from .material import Material
from .network import LABEL_TASKS, TAG_TASKS, Network, padded
from .text import TextReader

# Of each task: texts, and what is said of them.
Silver = dict[str, tuple[Sequence[str], Sequence[Example]]]

# Texts that a teacher reads at once.
_BATCH = 64

_OBSERVATION = FIELDS.index("Observation")


@dataclass(frozen=True)
class Places:
    """Where the words or pairs of words of a batch are in what a head says: text, piece(s)."""

    index: tuple[Tensor, ...]

    @staticmethod
    def of(task: str, examples: Sequence[Example], words_max: int) -> Places:
        """Of all examples, in order."""
        if task in LABEL_TASKS:
            return Places((torch.arange(len(examples)),))
        places: list[tuple[int, ...]] = []
        for row, example in enumerate(examples):
            if task in TAG_TASKS:
                places += [(row, first) for first in example.firsts if first is not None]
                continue
            firsts = example.firsts
            pairs = nested.candidates(firsts, words_max)
            places += [(row, firsts[start], firsts[last]) for start, last in pairs]
        return Places(tuple(torch.tensor(places, dtype=torch.long).T))


def logits(head: nn.Module, task: str, hidden: Tensor, mask: Tensor, places: Places) -> Tensor:
    """Logits [N,C] of the head at the places."""
    if task in LABEL_TASKS:
        return head(hidden, mask).logits
    return head(hidden)[places.index]


@torch.no_grad()
def labelled(
    teachers: Sequence[Network], task: str, texts: Sequence[str], words_max: int
) -> list[Example]:
    """The texts with the mean of what the teachers say: probabilities [rows, classes] each."""
    reader = TextReader()
    examples = []
    for text in texts:
        tokens = reader.read(text)
        examples.append(Example(tokens.ids, tokens.firsts, np.zeros((0, 0), np.float32)))
    by_length = sorted(range(len(examples)), key=lambda at: len(examples[at].ids))
    for start in range(0, len(by_length), _BATCH):
        rows = by_length[start : start + _BATCH]
        batch = [examples[at] for at in rows]
        ids, mask = padded([example.ids for example in batch])
        places = Places.of(task, batch, words_max)
        said = [
            logits(net.heads[task], task, net.encoder(ids, mask), mask, places).softmax(-1)
            for net in teachers
        ]
        mean = torch.stack(said).mean(0).numpy()
        owner = places.index[0].numpy()
        for row, (at, example) in enumerate(zip(rows, batch, strict=True)):
            examples[at] = replace(example, target=mean[owner == row])
    return examples


def made(
    material: Material,
    held: Collection[str],
    teachers: Sequence[Network],
    tasks: Collection[str],
    words_max: int,
) -> Silver:
    """Silver text of each task that has few labels; observations are read from work orders.

    Those of `held` are left out: answers about them must be of text never seen.
    """
    typed = sorted({order.text for order in material.masked} | set(material.plain))
    normal = {" ".join(word for word in order.normal if word) for order in material.masked}
    # The same without the identifier that half of them begin with: not every site has one.
    normal |= {text.removeprefix("<id>").strip() for text in normal}
    observed = {
        " ".join(order.words[start:end])
        for order in material.orders
        for start, end, label in bio.decode(order.tags)
        if label == _OBSERVATION
    }
    found: Silver = {}

    def label(task: str, texts: Sequence[str]) -> None:
        if task in tasks:
            print(f"  silver: {len(texts)} texts of {task}", file=sys.stderr, flush=True)
            found[task] = (texts, labelled(teachers, task, texts, words_max))

    label("work-order-ner", typed)
    if "work-order-ner" in found:
        observed |= set(_observations(found["work-order-ner"][1], typed))
    known = {row.text for row in material.observations}
    label("maintie-5", sorted(normal - {""}))
    label("failure-mode", sorted(observed - known - set(held)))
    return found


def _observations(examples: Sequence[Example], texts: Sequence[str]) -> Iterator[str]:
    for example, text in zip(examples, texts, strict=True):
        words = text.lower().split()
        if None in example.firsts or len(words) != len(example.target):
            continue
        for start, end, label in bio.decode(example.target.argmax(1).tolist()):
            if label == _OBSERVATION:
                yield " ".join(words[start:end])


class Pool:
    """Silver examples of every task, drawn anew each epoch."""

    def __init__(self, examples: dict[str, list[Example]], seed: int) -> None:
        self._examples = examples
        self._random = random.Random(seed)

    @staticmethod
    def load(path: Path, seed: int) -> Pool:
        """Of a file that `store` made."""
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        reader = TextReader()
        examples: dict[str, list[Example]] = {}
        for task in sorted({name.partition("/")[0] for name in arrays}):
            texts = arrays[f"{task}/texts"].tobytes().decode().split("\n")
            ends = arrays[f"{task}/counts"].cumsum()
            rows = np.split(arrays[f"{task}/rows"].astype(np.float32), ends[:-1])
            read = [reader.read(text) for text in texts]
            examples[task] = [
                Example(tokens.ids, tokens.firsts, said)
                for tokens, said in zip(read, rows, strict=True)
            ]
        return Pool(examples, seed)

    def batches(self, counts: dict[str, int], size: int) -> list[Batch]:
        """So many examples of each task."""
        made: list[Batch] = []
        for task, count in counts.items():
            known = self._examples.get(task, [])
            drawn = self._random.sample(known, min(count, len(known)))
            made += [(task, batch) for batch in batched(drawn, size)]
        return made


def store(path: Path, said: Silver) -> None:
    """Texts of each task with the probabilities of their rows; texts without any are left out."""
    arrays: dict[str, np.ndarray] = {}
    for task, (texts, examples) in said.items():
        kept = [(text, e.target) for text, e in zip(texts, examples, strict=True) if len(e.target)]
        arrays[f"{task}/texts"] = np.frombuffer("\n".join(t for t, _ in kept).encode(), np.uint8)
        arrays[f"{task}/counts"] = np.array([len(rows) for _, rows in kept])
        arrays[f"{task}/rows"] = np.concatenate([rows for _, rows in kept]).astype(np.float16)
    part = path.with_name(path.name + ".part.npz")
    np.savez_compressed(part, **arrays)
    part.rename(path)


def is_silver(examples: Sequence[Example]) -> bool:
    """Whether a batch has probabilities as its target."""
    return isinstance(examples[0].target, np.ndarray)
