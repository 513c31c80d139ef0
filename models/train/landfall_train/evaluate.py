"""The report: what each task scores on text that the network did not see, int8 beside float."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import calibrate, corpus, familiarity, metrics, nested
from .calibrate import Calibration
from .held import Decode, Labels, Texts, decode_tags
from .labels import FAILURE_MODES, FIELDS, MAINTIE, REDACT
from .network import LABEL_TASKS, SPAN_TASKS
from .settings import Recipe, data_dir

Stored = dict[str, dict[str, np.ndarray]]


def names(task: str) -> tuple[str, ...]:
    """The labels of a task."""
    if task == "intent-150":
        return corpus.intents(data_dir())
    return {
        "failure-mode": FAILURE_MODES,
        "work-order-ner": FIELDS,
        "redact": REDACT,
        "maintie-5": MAINTIE,
    }[task]


def calibrated(task: str, parts: Stored, recipe: Recipe) -> Calibration:
    """The calibration of one task from all stored answers about it."""
    if task == "failure-mode":
        known, foreign = mixed_modes(parts), _labels(parts, "failure-mode foreign")
        return calibrate.labels(
            known, foreign.judged, len(FAILURE_MODES), recipe.unfamiliar_share
        )
    if task in LABEL_TASKS:
        known, foreign = _labels(parts, task), _labels(parts, f"{task} foreign")
        return calibrate.labels(known, foreign.judged, len(names(task)), recipe.intent_unfamiliar)
    return calibrate.spans(_texts(parts, task), decoder(task), task not in SPAN_TASKS)


def mixed_modes(parts: Stored) -> Labels:
    """Every second observation bare, the others in a work order.

    One text of an observation, not both: scores must be independent for a bound to hold.
    """
    bare, whole = _labels(parts, "failure-mode bare"), _labels(parts, "failure-mode whole")
    is_bare = np.arange(len(bare.truth)) % 2 == 0
    mixed = {
        name: np.where(
            is_bare.reshape(-1, *[1] * (getattr(bare.judged, name).ndim - 1)),
            getattr(bare.judged, name),
            getattr(whole.judged, name),
        )
        for name in familiarity.FIELDS
    }
    return Labels(bare.truth, familiarity.Judgements(**mixed))


def decoder(task: str) -> Decode:
    """How rows of probabilities of a task become spans."""
    return nested.decode if task in SPAN_TASKS else decode_tags


def scores(task: str, parts: Stored) -> dict[str, Any]:
    """Plain scores of one task, for int8 beside float and for the card."""
    if task in LABEL_TASKS:
        found = {}
        for name in ("bare", "whole") if task == "failure-mode" else ("",):
            of = _labels(parts, f"{task} {name}".strip())
            answers = of.judged.logits.argmax(axis=1)
            right = int((answers == of.truth).sum())
            low, high = metrics.wilson(right, len(answers))
            found[name or "all"] = {
                "n": len(answers),
                "accuracy": right / len(answers),
                "accuracy_low": low,
                "accuracy_high": high,
                "weighted_f1": metrics.weighted_f1(of.truth.tolist(), answers.tolist()),
            }
        return found
    texts = _texts(parts, task)
    gold = texts.gold_spans()
    answers = texts.spans(calibrate.probabilities(texts.rows, 1.0), decoder(task))
    low, high = metrics.bootstrap_f1(gold, answers)
    result: dict[str, Any] = {
        "n": len(gold),
        "spans": sum(map(len, gold)),
        "micro_f1": metrics.micro_f1(gold, answers),
        "micro_f1_low": low,
        "micro_f1_high": high,
        "by_label": _by_label(names(task), gold, answers),
    }
    if task == "redact":
        result["by_word"] = _by_word(texts)
    return {"all": result}


def rejection(task: str, parts: Stored, made: Calibration) -> dict[str, Any]:
    """What the shipped familiarity limit does: kept and right in scope, caught out of scope."""
    prefix = "failure-mode bare" if task == "failure-mode" else task
    known, foreign = _labels(parts, prefix), _labels(parts, f"{task} foreign")
    assert made.centroids is not None
    score, limit = familiarity.SCORES[made.score], made.content["familiarity_min"]
    kept = score(known.judged, made.centroids) >= limit
    right = known.judged.logits.argmax(axis=1) == known.truth
    return {
        "score": made.score,
        "limit": limit,
        "in_scope_accuracy": float((kept & right).mean()),
        "in_scope_rejected": float((~kept).mean()),
        "in_scope_n": len(kept),
        "foreign_recall": float((score(foreign.judged, made.centroids) < limit).mean()),
        "foreign_n": len(foreign.truth),
    }


def _by_label(labels: tuple[str, ...], gold: list[set], answers: list[set]) -> dict[str, Any]:
    result = {}
    for label, name in enumerate(labels):
        of_gold = [{span for span in spans if span[2] == label} for spans in gold]
        of_answers = [{span for span in spans if span[2] == label} for spans in answers]
        result[name] = {
            "f1": metrics.micro_f1(of_gold, of_answers),
            "spans": sum(map(len, of_gold)),
        }
    return result


def _by_word(texts: Texts) -> dict[str, Any]:
    """Precision and recall of each mask over words."""
    truth, answers = (texts.classes(True) + 1) // 2, (texts.rows.argmax(axis=1) + 1) // 2
    result = {}
    for at, name in enumerate(REDACT, 1):
        both = int(((truth == at) & (answers == at)).sum())
        n, said = int((truth == at).sum()), int((answers == at).sum())
        low, high = metrics.wilson(both, n)
        result[name] = {
            "n": n,
            "recall": both / n if n else 0.0,
            "recall_low": low,
            "recall_high": high,
            "precision": both / said if said else None,
        }
    return result


def _labels(parts: Stored, name: str) -> Labels:
    return Labels.of(parts[name])


def _texts(parts: Stored, name: str) -> Texts:
    return Texts.of(parts[name])
