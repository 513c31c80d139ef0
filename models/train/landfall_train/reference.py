"""The arithmetic of a device in plain NumPy: what the golden vectors are made with.

It shares no code with the engine that runs on a device, nor with PyTorch. One text at a
time, no padding. Integer products are exact: they are summed in float64, whose 53 bits hold
127 * 127 * 1536 many times over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .quantize import LEVELS, Floats, Layer, Linear, Model, Norm

HEADS = 12
NORM_EPS = 1e-12


@dataclass(frozen=True)
class LabelView:
    """What a label head says: logits [C], the log-odds of being known, the pooled vector [H]."""

    logits: Floats
    known: float
    pooled: Floats


class Reference:
    """Runs a quantized model.

    With `jitter`, what goes into each linear operator is off by about that share at random:
    how another processor's order of sums would differ. It shows which answers hang on a
    rounding to int8 that could have gone either way.
    """

    def __init__(self, model: Model, jitter: float = 0.0, seed: int = 0) -> None:
        self._model = model
        self._jitter = jitter
        self._random = np.random.default_rng(seed)
        self._exact = {
            id(linear): linear.weight.astype(np.float64)
            for layer in model.layers
            for linear in (layer.qkv, layer.attended, layer.wide, layer.narrow)
        }

    def hidden(self, ids: list[int]) -> Floats:
        """Hidden states [S,H] of one text."""
        model = self._model
        rows = model.words[ids].astype(np.float32) * model.words_scale[ids, None]
        x = _norm(rows + model.positions[: len(ids)], model.norm_embedded)
        for layer in model.layers:
            x = self._layer(x, layer)
        return x

    def label(self, task: str, hidden: Floats) -> LabelView:
        """A label head on the mean hidden state."""
        head = self._model.heads[task]
        pooled = hidden.mean(axis=0)
        logits = head["label.weight"] @ pooled + head["label.bias"]
        known = head["known.weight"] @ pooled + head["known.bias"]
        return LabelView(logits.astype(np.float32), float(known[0]), pooled)

    def tags(self, task: str, hidden: Floats, firsts: list[int | None]) -> Floats:
        """Tag logits [words, 1+2C] at the first piece of each word.

        A word without pieces is outside of every span: its row is zero but for a high
        first entry.
        """
        head = self._model.heads[task]
        logits = hidden @ head["tag.weight"].T + head["tag.bias"]
        outside = np.zeros(logits.shape[1], np.float32)
        outside[0] = 100.0
        rows = [outside if first is None else logits[first] for first in firsts]
        return np.array(rows, np.float32).reshape(len(rows), logits.shape[1])

    def spans(self, task: str, hidden: Floats) -> Floats:
        """Class logits [S,S,1+C] of all pairs of pieces."""
        head = self._model.heads[task]
        start = _gelu(hidden @ head["start.weight"].T + head["start.bias"])
        end = _gelu(hidden @ head["end.weight"].T + head["end.bias"])
        pairs = np.stack([start @ product @ end.T for product in head["product"]], axis=-1)
        of_start = start @ head["of_start.weight"].T + head["of_start.bias"]
        of_end = end @ head["of_end.weight"].T
        return (pairs + of_start[:, None] + of_end[None, :]).astype(np.float32)

    def _layer(self, x: Floats, layer: Layer) -> Floats:
        mixed = _attention(self._linear(x, layer.qkv))
        x = _norm(x + self._linear(mixed, layer.attended), layer.norm_attended)
        wide = _gelu(self._linear(x, layer.wide))
        return _norm(x + self._linear(wide, layer.narrow), layer.norm_out)

    def _linear(self, x: Floats, linear: Linear) -> Floats:
        if self._jitter:
            noise = self._random.standard_normal(x.shape)
            x = (x * (1.0 + self._jitter * noise)).astype(np.float32)
        scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(LEVELS)
        scale = np.where(scale == 0, np.float32(1), scale)
        quantized = np.clip(np.rint(x / scale), -LEVELS, LEVELS).astype(np.float64)
        product = (quantized @ self._exact[id(linear)]).astype(np.float32)
        return product * scale * linear.scale + linear.bias


def _attention(qkv: Floats) -> Floats:
    length, width = qkv.shape
    head = width // 3 // HEADS
    query, key, value = qkv.reshape(length, 3, HEADS, head).transpose(1, 2, 0, 3)
    scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(head))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return (scores @ value).transpose(1, 0, 2).reshape(length, width // 3)


def _norm(x: Floats, norm: Norm) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + np.float32(NORM_EPS)) * norm.gain + norm.bias


def _gelu(x: Floats) -> Floats:
    return (x * 0.5 * (1.0 + _erf(x / np.sqrt(2.0)))).astype(np.float32)


def _erf(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Abramowitz and Stegun 7.1.26; off by at most 1.5e-7."""
    size = np.abs(x).astype(np.float64)
    t = 1.0 / (1.0 + 0.3275911 * size)
    series = t * (
        0.254829592
        + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    return np.sign(x) * (1.0 - series * np.exp(-size * size))
