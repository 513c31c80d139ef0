"""What a network says about texts: in device arithmetic, or in float as it was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import nested
from .familiarity import Judgements
from .network import Network, padded
from .quantize import Floats, Model
from .reference import Reference
from .text import TextReader


@dataclass(frozen=True)
class Pairs:
    """Class logits [N,1+C] of the candidate spans of one text."""

    words: list[nested.Pair]
    logits: Floats


class Answers:
    """A quantized model, with the arithmetic of a device."""

    def __init__(self, model: Model, jitter: float = 0.0, seed: int = 0) -> None:
        self._reference = Reference(model, jitter, seed)
        self._reader = TextReader()

    def label(self, task: str, texts: Sequence[str]) -> Judgements:
        """Of a label task."""
        views = [
            self._reference.label(task, self._reference.hidden(self._reader.read(text).ids))
            for text in texts
        ]
        return Judgements(
            np.array([view.logits for view in views], np.float32),
            np.array([view.known for view in views], np.float32),
            np.array([view.pooled for view in views], np.float32),
        )

    def tags(self, task: str, texts: Sequence[str]) -> list[Floats]:
        """Of a tag task: logits [words, 1+2C] of each text."""
        result = []
        for text in texts:
            tokens = self._reader.read(text)
            hidden = self._reference.hidden(tokens.ids)
            result.append(self._reference.tags(task, hidden, tokens.firsts))
        return result

    def spans(self, task: str, texts: Sequence[str], words_max: int) -> list[Pairs]:
        """Of a span task."""
        result = []
        for text in texts:
            tokens = self._reader.read(text)
            logits = self._reference.spans(task, self._reference.hidden(tokens.ids))
            result.append(_pairs(logits, tokens.firsts, words_max))
        return result


class FloatAnswers:
    """The same of a network as it was trained, one text at a time."""

    def __init__(self, network: Network) -> None:
        self._network = network.eval()
        self._reader = TextReader()

    @torch.no_grad()
    def label(self, task: str, texts: Sequence[str]) -> Judgements:
        """Of a label task."""
        views = []
        for text in texts:
            ids, mask = padded([self._reader.read(text).ids])
            views.append(self._network.heads[task](self._network.encoder(ids, mask), mask))
        return Judgements(
            np.array([view.logits[0].numpy() for view in views]),
            np.array([float(view.known[0]) for view in views], np.float32),
            np.array([view.pooled[0].numpy() for view in views]),
        )

    def tags(self, task: str, texts: Sequence[str]) -> list[Floats]:
        """Of a tag task: logits [words, 1+2C] of each text."""
        result = []
        for text, logits, firsts in self._run(task, texts):
            assert firsts and None not in firsts, f"a word of {text!r} has no piece"
            result.append(logits[firsts])
        return result

    def spans(self, task: str, texts: Sequence[str], words_max: int) -> list[Pairs]:
        """Of a span task."""
        runs = self._run(task, texts)
        return [_pairs(logits, firsts, words_max) for _, logits, firsts in runs]

    @torch.no_grad()
    def _run(self, task: str, texts: Sequence[str]) -> list[tuple[str, Floats, list[int | None]]]:
        runs = []
        for text in texts:
            tokens = self._reader.read(text)
            ids, mask = padded([tokens.ids])
            logits = self._network.heads[task](self._network.encoder(ids, mask))[0].numpy()
            runs.append((text, logits, tokens.firsts))
        return runs


AnyAnswers = Answers | FloatAnswers


def _pairs(logits: Floats, firsts: list[int | None], words_max: int) -> Pairs:
    pairs = nested.candidates(firsts, words_max)
    starts = [firsts[start] for start, _ in pairs]
    lasts = [firsts[last] for _, last in pairs]
    return Pairs(pairs, logits[starts, lasts])


def moved(run: Callable[[Answers], Sequence[Floats]], exact: Answers, trials: list[Answers]) -> float:
    """How far jitter moves any number of a run."""
    wanted = run(exact)
    return max(
        float(np.abs(got - want).max())
        for trial in trials
        for got, want in zip(run(trial), wanted, strict=True)
        if want.size
    )
