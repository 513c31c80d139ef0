"""The model card, from the numbers of the build."""

from __future__ import annotations

from typing import Any

from .labels import FAILURE_MODES, FIELDS
from .metrics import wilson
from .package import SOURCES

Report = dict[str, Any]


def card(report: Report, manifest: dict[str, Any]) -> str:
    """Markdown text of `CARD.md`."""
    megabytes = sum(file["bytes"] for file in manifest["files"].values()) / 1e6
    sources = "\n".join(
        f"| {row['name']} | {row['licence']} | {row['use']} |" for row in SOURCES
    )
    return f"""# Model card: {manifest["name"]} {manifest["version"]}

{manifest["description"]}

Licence: {manifest["licence"]}. Size: {megabytes:.1f} MB in {len(manifest["files"])} files. \
English, lower-cased; at most {manifest["encoder"]["tokens_max"]} word pieces at a time.

Written by `models/train/build`; the recipe is in `models/train/README.md`.

## Made from

| source | licence | use |
|---|---|---|
{sources}

No text of these sets is in the package: it holds weights, a vocabulary, label names, numbers, \
and texts written for this project. No openly licensed corpus of warehouse or logistics \
incidents was found; everything learnt here is industrial maintenance, mostly of mobile mining \
equipment. Ship and warehouse texts are read as far as they resemble it.

## For what

Sorting and reading short maintenance texts (a few words to a few lines) as typed on a shop \
floor, with a person or a stronger model behind it for what is not certain. Not for texts in \
other languages, not for judging people, and not as the only reader of anything whose being \
missed endangers someone.

## How good

Intervals are 95 % (Wilson). The development splits took no part in training; the recipe was \
looked at on them while it was made, so expect slightly less elsewhere. Out of fold: \
{report["folds_answered"]} of {report["folds"]} folds of the training split, answered by a network \
trained on the rest with the same recipe, in device arithmetic.

### failure-mode ({len(FAILURE_MODES)} labels)

{_mode_table(report)}

Familiarity: a text under {report["familiarity_min"]:.3f} is called unfamiliar. The share called so \
on development text (should be low for the first two, high for the rest; requests to an \
assistant of the same collection, none of the same text, were shown as foreign in training):

| text | n | called unfamiliar |
|---|---|---|
{_unfamiliar_table(report)}

### work-order-fields ({len(FIELDS)} labels)

{_fields_table(report)}

By label, on the development split:

| label | spans | F1 |
|---|---|---|
{_field_rows(report)}

### Quantizing

| | float | int8 |
|---|---|---|
{_quantized_rows(report)}

## Limits

* Rare failure modes (fewer than ten training rows: {_rare(report)}) are mostly missed.
* "Minor in-service problems", "Breakdown" and "Other" overlap in the training data, and \
annotators disagree about them; so does the model.
* Work orders without any failure are only partly recognised as such.
* A text with two failures gets one label.
* Calibration holds for text like the training data: mining equipment, one operator's style. \
Measure again on your own text before trusting a small `error_max`.
"""


def _mode_table(report: Report) -> str:
    fold, dev = report["out_of_fold"]["failure-mode"], report["int8"]["failure-mode"]
    own = report["own_int8"]["failure-mode"]
    rows = [
        ("out of fold, bare observations", fold["accuracy_bare"], fold["weighted_f1"], fold["n"]),
        ("out of fold, in a work order", fold["accuracy_whole"], None, fold["n"]),
        ("development, bare observations", *_scores(dev["bare"])),
        ("development, in a work order", *_scores(dev["whole"])),
        ("our frozen set (ships, warehouses)", *_scores(own)),
    ]
    lines = ["| text | n | accuracy | interval | weighted F1 |", "|---|---|---|---|---|"]
    for name, accuracy, f1, count in rows:
        low, high = wilson(round(accuracy * count), count)
        shown = "" if f1 is None else f"{f1:.3f}"
        lines.append(f"| {name} | {count} | {accuracy:.3f} | {low:.3f}–{high:.3f} | {shown} |")
    return "\n".join(lines) + (
        f"\n\nOf {own['oos_n']} foreign texts of the frozen set, {own['oos_recall']:.0%} are called "
        f"unfamiliar; of the others {own['in_scope_rejected']:.0%}."
    )


def _scores(part: Report) -> tuple[float, float, int]:
    return part["accuracy"], part["weighted_f1"], part["n"]


def _unfamiliar_table(report: Report) -> str:
    rows = report["int8"]["failure-mode"]["unfamiliar"]
    return "\n".join(
        f"| {name} | {row['n']} | {row['unfamiliar']:.1%} |" for name, row in rows.items()
    )


def _fields_table(report: Report) -> str:
    dev, fold = report["int8"]["work-order-fields"], report["out_of_fold"]["work-order-fields"]
    own = report["own_int8"]["work-order-fields"]
    lines = [
        "| text | n | micro F1 (exact span and label) | whole text right | interval |",
        "|---|---|---|---|---|",
        _whole_row("out of fold", fold["n"], None, fold["whole_right"]),
        _whole_row("development", dev["n"], dev["micro_f1"], dev["whole_right"]),
        f"| our frozen set (ships, warehouses) | {own['n']} | {own['micro_f1']:.3f} | | |",
    ]
    return "\n".join(lines)


def _whole_row(name: str, count: int, f1: float | None, share: float) -> str:
    low, high = wilson(round(share * count), count)
    shown = "" if f1 is None else f"{f1:.3f}"
    return f"| {name} | {count} | {shown} | {share:.3f} | {low:.3f}–{high:.3f} |"


def _field_rows(report: Report) -> str:
    rows = report["int8"]["work-order-fields"]["per_label"]
    return "\n".join(
        f"| {name} | {row['spans']} | {row['f1']:.3f} |"
        if row["spans"]
        else f"| {name} | 0 | not measured |"
        for name, row in rows.items()
    )


def _quantized_rows(report: Report) -> str:
    def row(name: str, *path: str) -> str:
        values = []
        for kind in ("float", "int8"):
            part = report[kind]
            for key in path:
                part = part[key]
            values.append(f"{part:.3f}")
        return f"| {name} | {values[0]} | {values[1]} |"

    return "\n".join(
        [
            row("failure-mode, development accuracy, bare", "failure-mode", "bare", "accuracy"),
            row(
                "failure-mode, development accuracy, in a work order",
                "failure-mode",
                "whole",
                "accuracy",
            ),
            row("work-order-fields, development micro F1", "work-order-fields", "micro_f1"),
        ]
    )


def _rare(report: Report) -> str:
    counts = report["training_rows"]
    return ", ".join(label for label in FAILURE_MODES if counts[label] < 10)
