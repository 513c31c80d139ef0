"""Calibration from answers about held-out text: temperature, scores, reliability, familiarity.

The answers are those of a network in device arithmetic that was not trained on the text. Where that
is not the one that ships, it has seen less data, so its errors are, if anything, more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import familiarity, metrics
from .familiarity import Judgements
from .held import Decode, Labels, Texts
from .quantize import Floats

# Temperatures tried, in equal ratios: fine enough that the loss no longer changes.
TEMPERATURES = np.geomspace(0.25, 4.0, 161)
# Bins of equal counts for the expected calibration error.
BINS = 10
# Points of the coverage curve.
CURVE_POINTS = 50


@dataclass(frozen=True)
class Calibration:
    """The content of a calibration file, what to tell about it, and what its head needs."""

    content: dict[str, Any]
    summary: dict[str, Any]
    # Of a label task: the familiarity score chosen, and the unit mean vector of every label.
    score: str = ""
    centroids: Floats | None = None


def probabilities(logits: Floats, temperature: float) -> Floats:
    """Softmax of each row after division by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers = np.exp(scaled)
    return powers / powers.sum(axis=1, keepdims=True)


def temperature(logits: Floats, truth: np.ndarray) -> float:
    """The temperature under which the true classes are most likely (Guo et al. 2017)."""
    rows = np.arange(len(truth))

    def loss(value: float) -> float:
        chosen = probabilities(logits, value)[rows, truth]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    return float(min(TEMPERATURES, key=loss))


def labels(known: Labels, foreign: Judgements, classes: int, unfamiliar_share: float) -> Calibration:
    """A label task. `known` text is in scope, `foreign` text is not."""
    value = temperature(known.judged.logits, known.truth)
    chances = probabilities(known.judged.logits, value)
    answers = chances.argmax(axis=1)
    right = answers == known.truth
    confidence = chances[np.arange(len(answers)), answers]
    centroids = familiarity.centroids(known.judged.pooled, known.truth, classes)
    compared = {}
    for name, score in familiarity.SCORES.items():
        of_known, of_foreign = score(known.judged, centroids), score(foreign, centroids)
        limit = float(np.quantile(of_known, unfamiliar_share))
        compared[name] = {
            "auroc": familiarity.auroc(of_known, of_foreign),
            "limit": limit,
            "foreign_caught": float((of_foreign < limit).mean()),
            "right_and_kept": float((right & (of_known >= limit)).mean()),
        }
    best = max(compared, key=lambda name: compared[name]["auroc"])
    return Calibration(
        {
            "temperature": round(value, 4),
            "familiarity_min": round(compared[best]["limit"], 4),
            "scores": _scores(confidence, right, answers),
            **reliability(confidence, right),
        },
        {
            "n": len(answers),
            "accuracy": float(right.mean()),
            "weighted_f1": metrics.weighted_f1(known.truth.tolist(), answers.tolist()),
            "familiarity": compared,
            "familiarity_score": best,
            "foreign_n": len(foreign.known),
        },
        best,
        centroids,
    )


def spans(texts: Texts, decode: Decode, of_tags: bool) -> Calibration:
    """A task that finds spans: one score a text, its least certain row; right if all of it is."""
    value = temperature(texts.rows, texts.classes(of_tags))
    chances = probabilities(texts.rows, value)
    found, gold = texts.spans(chances, decode), texts.gold_spans()
    right = np.array([f == g for f, g in zip(found, gold, strict=True)])
    ends = np.cumsum(texts.counts)
    best = np.append(chances.max(axis=1), 1.0)
    least = np.minimum.reduceat(best, ends - texts.counts)
    confidence = np.where(texts.counts > 0, least, 1.0)
    low, high = metrics.bootstrap_f1(gold, found)
    return Calibration(
        {
            "temperature": round(value, 4),
            "scores": _scores(confidence, right, np.zeros(len(right), int)),
            **reliability(confidence, right),
        },
        {
            "n": len(right),
            "spans": sum(map(len, gold)),
            "micro_f1": metrics.micro_f1(gold, found),
            "micro_f1_low": low,
            "micro_f1_high": high,
            "whole_right": float(right.mean()),
        },
    )


def reliability(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Expected calibration error over bins of equal counts, Brier score, and coverage against error.

    The Brier score is that of "the answer is right" against its confidence.
    """
    order = np.argsort(confidence)
    bins = []
    for rows in np.array_split(order, BINS):
        if len(rows):
            bins.append([float(confidence[rows].mean()), float(right[rows].mean()), len(rows)])
    gap = sum(abs(sure - true) * count for sure, true, count in bins) / len(confidence)
    downwards = order[::-1]
    errors = np.cumsum(~right[downwards]) / np.arange(1, len(right) + 1)
    points = np.unique(np.linspace(1, len(right), CURVE_POINTS).round().astype(int))
    return {
        "reliability": {
            "n": len(right),
            "ece": round(float(gap), 5),
            "brier": round(float(((confidence - right) ** 2).mean()), 5),
            "bins": [[round(sure, 5), round(true, 5), count] for sure, true, count in bins],
        },
        "curve": [[round(n / len(right), 5), round(float(errors[n - 1]), 5)] for n in points],
    }


def _scores(confidence: np.ndarray, right: np.ndarray, answers: np.ndarray) -> list[list[float]]:
    return [
        [round(float(sure), 5), int(true), int(answer)]
        for sure, true, answer in zip(confidence, right, answers, strict=True)
    ]
