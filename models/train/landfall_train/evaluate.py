"""What the shipped network scores: on the development splits, and on our own frozen sets.

Twice: as trained, in float, and quantized, in the arithmetic of a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import bio, corpus, folds, frozen, metrics, words
from .encoder import Network
from .joint import padded
from .labels import FAILURE_MODES, FIELDS
from .orders import OrderBook
from .quantize import Floats
from .settings import TRAIN_DIR
from .text import TextReader

FROZEN_DIR = TRAIN_DIR / "evaluation"

Span = tuple[int, int, str]


class FloatAnswers:
    """Like `folds.Answers`, by the network as it was trained."""

    def __init__(self, network: Network) -> None:
        self._network = network.eval()
        self._reader = TextReader()

    def modes(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Failure-mode logits [N,C] and familiarities [N]."""
        logits, familiar = [], []
        with torch.no_grad():
            for text in texts:
                ids, mask = padded([self._reader.read(text).ids])
                pooled = self._network.failure_mode(self._network.encode(ids, mask), mask)
                logits.append(pooled.logits[0].numpy())
                familiar.append(float(pooled.cosines.max()))
        return np.array(logits), np.array(familiar, np.float32)

    def fields(self, texts: Sequence[str]) -> list[Floats]:
        """Tag logits [words, 1+2C] of each text."""
        result = []
        with torch.no_grad():
            for text in texts:
                tokens = self._reader.read(text)
                ids, mask = padded([tokens.ids])
                hidden = self._network.encode(ids, mask)
                rows = self._network.work_order_fields(hidden)[0].numpy()
                result.append(np.array([rows[first or 0] for first in tokens.firsts]))
        return result


Model = FloatAnswers | folds.Answers


def spans_of(text: str, logits: Floats) -> set[Span]:
    """Spans in characters, as a device decodes them."""
    offsets = words.words(text)
    found = set()
    for start, end, label in bio.decode(logits.argmax(axis=1).tolist()):
        trimmed = words.trim(text, offsets[start][0], offsets[end - 1][1])
        if trimmed:
            found.add((*trimmed, FIELDS[label]))
    return found


def development(model: Model, data: Path, limit: float, seed: int) -> dict[str, Any]:
    """Scores on the development splits; `limit` is the least familiarity of known text."""
    observations = corpus.failure_modes(data, "dev")
    orders = corpus.work_orders(data, "dev")
    labels = [row.label for row in observations]
    bare, bare_familiar = model.modes([row.text for row in observations])
    whole, whole_familiar = model.modes(folds.whole_orders(observations, orders, seed))
    tagged = model.fields([order.text for order in orders])
    answers = [bio.decode(rows.argmax(axis=1).tolist()) for rows in tagged]
    truth = [set(bio.decode(order.tags)) for order in orders]
    right = sum(set(a) == t for a, t in zip(answers, truth, strict=True))

    def unfamiliar(texts: Sequence[str]) -> dict[str, Any]:
        below = model.modes(texts)[1] < limit
        return {"n": len(texts), "unfamiliar": float(below.mean())}

    return {
        "failure-mode": {
            "bare": _labels(labels, bare),
            "whole": _labels(labels, whole),
            "unfamiliar": {
                "observations": _below(bare_familiar, limit),
                "work orders around them": _below(whole_familiar, limit),
                "work orders without an observation": unfamiliar(
                    OrderBook(orders).without_observation
                ),
                "requests to an assistant (CLINC150 val)": unfamiliar(
                    corpus.chat(data, "val")[::30]
                ),
                "out-of-scope requests (CLINC150 oos_val)": unfamiliar(
                    corpus.chat(data, "oos_val")
                ),
            },
        },
        "work-order-fields": {
            "micro_f1": metrics.micro_f1(truth, [set(answer) for answer in answers]),
            "whole_right": right / len(orders),
            "n": len(orders),
            "spans": sum(map(len, truth)),
            "per_label": _per_field(truth, [set(answer) for answer in answers]),
        },
    }


def own(model: Model, limit: float) -> dict[str, Any]:
    """Scores on the frozen sets."""
    labelled = frozen.labelled(FROZEN_DIR / "failure-mode.tsv")
    tagged = frozen.tagged(FROZEN_DIR / "work-order-fields.txt")
    logits, familiar = model.modes([row.text for row in labelled])
    is_known = np.array([row.label is not None for row in labelled])
    truth = [FAILURE_MODES.index(row.label) for row in labelled if row.label is not None]
    rejected = familiar < limit
    spans = [
        spans_of(row.text, rows)
        for row, rows in zip(tagged, model.fields([row.text for row in tagged]), strict=True)
    ]
    return {
        "failure-mode": {
            **_labels(truth, logits[is_known]),
            "in_scope_rejected": float(rejected[is_known].mean()),
            "oos_recall": float(rejected[~is_known].mean()),
            "oos_n": int((~is_known).sum()),
        },
        "work-order-fields": {
            "micro_f1": metrics.micro_f1([set(row.spans) for row in tagged], spans),
            "n": len(tagged),
        },
    }


def _labels(truth: Sequence[int], logits: Floats) -> dict[str, Any]:
    answers = logits.argmax(axis=1).tolist()
    return {
        "accuracy": metrics.accuracy(truth, answers),
        "weighted_f1": metrics.weighted_f1(truth, answers),
        "n": len(truth),
    }


def _below(familiar: Floats, limit: float) -> dict[str, Any]:
    return {"n": len(familiar), "unfamiliar": float((familiar < limit).mean())}


def _per_field(truth: list[set], answers: list[set]) -> dict[str, Any]:
    def only(label: int) -> Callable[[set], set]:
        return lambda spans: {span for span in spans if span[2] == label}

    result = {}
    for label, name in enumerate(FIELDS):
        kept = only(label)
        of_truth = [kept(spans) for spans in truth]
        result[name] = {
            "f1": metrics.micro_f1(of_truth, [kept(spans) for spans in answers]),
            "spans": sum(map(len, of_truth)),
        }
    return result
