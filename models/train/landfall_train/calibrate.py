"""Calibration from out-of-fold answers: temperatures, scores, and the familiarity limit.

The answers are those of the fold networks in device arithmetic. A fold network has seen less
data than the one that ships, so its errors are, if anything, more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import bio, metrics
from .quantize import Floats

Answers = dict[str, np.ndarray]

# Temperatures tried, in equal ratios: fine enough that the loss no longer changes.
TEMPERATURES = np.geomspace(0.25, 4.0, 321)


@dataclass(frozen=True)
class Calibration:
    """The content of a calibration file, and what to tell about it."""

    content: dict[str, Any]
    summary: dict[str, Any]


def probabilities(logits: Floats, temperature: float) -> Floats:
    """Softmax of each row after division by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers = np.exp(scaled)
    return powers / powers.sum(axis=1, keepdims=True)


def temperature(logits: Floats, labels: np.ndarray) -> float:
    """The temperature under which the labels are most likely."""
    rows = np.arange(len(labels))

    def loss(value: float) -> float:
        chosen = probabilities(logits, value)[rows, labels]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    return float(min(TEMPERATURES, key=loss))


def failure_mode(folds: Sequence[Answers], unfamiliar_share: float) -> Calibration:
    """One score per observation: every second one bare, the others in a work order.

    One text of an observation, not both: scores must be independent for a bound to hold.
    """
    joined = {key: np.concatenate([fold[key] for fold in folds]) for key in folds[0]}
    labels = joined["labels"]
    is_bare = np.arange(len(labels)) % 2 == 0
    logits = np.where(is_bare[:, None], joined["bare_logits"], joined["whole_logits"])
    value = temperature(logits, labels)
    chances = probabilities(logits, value)
    answers = chances.argmax(axis=1)
    scores = [
        [round(float(row[answer]), 5), int(answer == label), int(answer)]
        for row, answer, label in zip(chances, answers, labels, strict=True)
    ]
    familiarity = np.concatenate([joined["bare_familiarity"], joined["whole_familiarity"]])
    limit = float(np.quantile(familiarity, unfamiliar_share))
    bare = joined["bare_logits"].argmax(axis=1)
    return Calibration(
        {
            "temperature": round(value, 4),
            "familiarity_min": round(limit, 4),
            "scores": scores,
        },
        {
            "n": len(labels),
            "accuracy_bare": _share(bare == labels),
            "weighted_f1": metrics.weighted_f1(labels.tolist(), bare.tolist()),
            "accuracy_whole": _share(joined["whole_logits"].argmax(axis=1) == labels),
        },
    )


def work_order_fields(folds: Sequence[Answers]) -> Calibration:
    """One score per work order: its least certain word, and whether its spans are exactly right."""
    logits = np.concatenate([fold["word_logits"] for fold in folds])
    tags = np.concatenate([fold["word_tags"] for fold in folds])
    counts = np.concatenate([fold["word_counts"] for fold in folds])
    value = temperature(logits, tags)
    best = probabilities(logits, value).max(axis=1)
    chosen = logits.argmax(axis=1)
    ends = np.cumsum(counts)
    starts = ends - counts
    confidence = np.minimum.reduceat(best, starts)
    correct = [
        bio.decode(chosen[start:end].tolist()) == bio.decode(tags[start:end].tolist())
        for start, end in zip(starts, ends, strict=True)
    ]
    scores = [
        [round(float(least), 5), int(whole), 0]
        for least, whole in zip(confidence, correct, strict=True)
    ]
    return Calibration(
        {"temperature": round(value, 4), "scores": scores},
        {"n": len(counts), "whole_right": _share(correct), "words_right": _share(chosen == tags)},
    )


def _share(flags: np.ndarray | list[bool]) -> float:
    return float(np.mean(flags))
