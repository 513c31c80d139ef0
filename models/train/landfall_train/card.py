"""The model and data card of a package, from the numbers of the build."""

from __future__ import annotations

from typing import Any

from .network import LABEL_TASKS
from .package import SOURCES, SPLITS

Report = dict[str, Any]

HEADINGS = {
    "failure-mode": "An observation, bare or in a work order, to one of 22 failure modes after "
    "ISO 14224.",
    "intent-150": "A request to an assistant to one of 150 intents, or to none: the benchmark of "
    "knowing when to escalate.",
    "work-order-ner": "Ten kinds of flat spans in a work order. Ships a second time as "
    "`work-order-fields`.",
    "maintie-5": "Nested entities of five classes in a work order.",
    "redact": "Words that should not leave the site: identifiers, numbers, dates, names.",
}


def card(report: Report, manifest: dict[str, Any]) -> str:
    """Markdown text of `CARD.md`."""
    megabytes = sum(file["bytes"] for file in manifest["files"].values()) / 1e6
    sources = "\n".join(f"| {s['name']} | {s['licence']} | {s['use']} |" for s in SOURCES)
    tasks = [task for task in HEADINGS if task in report]
    sections = "\n".join(_section(task, report[task]) for task in tasks)
    quantizing = "\n".join(_quantizing(task, report[task]) for task in tasks)
    return f"""# Model and data card: {manifest["name"]} {manifest["version"]}

{manifest["description"]}

Licence: {manifest["licence"]}. Size: {megabytes:.1f} MB in {len(manifest["files"])} files. \
English, lower-cased; at most {manifest["encoder"]["tokens_max"]} word pieces in one pass, longer \
text in windows. Made by `models/train/build`; the recipe is in `models/train/README.md`.

## For what

Sorting and reading short maintenance texts (a few words to a few lines) as typed on a shop \
floor, with a person or a stronger model behind it for what is not certain. Not for texts in \
other languages, not for judging people, and not as the only reader of anything whose being \
missed endangers someone.

## Data

| source | licence | use |
|---|---|---|
{sources}

No text of the public sets is in the package: it holds weights, a vocabulary, label names, numbers, \
and texts written for this project. No openly licensed corpus of warehouse or logistics \
incidents was found; everything learnt about maintenance is industrial, mostly mobile mining \
equipment. Ship and warehouse texts are read as far as they resemble it. The synthetic text was \
written with the training splits in view and follows their labelling.

## How good

Int8, in the arithmetic of a device, on text that the network was not trained on. Intervals are \
95 %: Wilson for shares, bootstrap over texts for F1. For failure-mode, work-order-ner and maintie-5 \
the development splits, answered by a network trained without them by the same recipe; the network \
that ships has seen them too. For the others the validation splits, answered by what ships. The \
published test splits were not available to this build.

{sections}
### Quantizing

| task | measure | float | int8 |
|---|---|---|---|
{quantizing}

## Limits

* Rare failure modes (open, close, rotate: one or two annotated rows each) rest on synthetic text.
* "Minor in-service problems", "Breakdown" and "Other" overlap in the annotated data, and \
annotators disagree about them; so does the model. A text with two failures gets one label.
* Work orders without any failure are only partly recognised as such.
* Calibration holds for text like the training data: mining equipment, one operator's style. \
Measure again on your own text before trusting a small `error_max`.
* `redact` finds what looks like the masks it learnt. It stands beside patterns, not in their place.
"""


def _section(task: str, report: Report) -> str:
    scores = report["int8"]
    lines = [f"### {task}", "", HEADINGS[task], "", f"Measured on: {SPLITS[task]}.", ""]
    if task in LABEL_TASKS:
        lines += ["| text | n | accuracy | interval | weighted F1 |", "|---|---|---|---|---|"]
        lines += [
            f"| {name} | {s['n']} | {s['accuracy']:.3f} | {s['accuracy_low']:.3f}–"
            f"{s['accuracy_high']:.3f} | {s['weighted_f1']:.3f} |"
            for name, s in scores.items()
        ]
        lines += ["", *_rejection(report)]
    else:
        whole = scores["all"]
        lines += [
            f"Micro F1, exact span and label: **{whole['micro_f1']:.3f}** "
            f"({whole['micro_f1_low']:.3f}–{whole['micro_f1_high']:.3f}), {whole['spans']} spans "
            f"in {whole['n']} texts; all spans of a text right in "
            f"{report['calibration']['whole_right']:.1%}.",
            "",
            "| label | spans | F1 |",
            "|---|---|---|",
        ]
        lines += [
            f"| {name} | {s['spans']} | {s['f1']:.3f} |" if s["spans"] else f"| {name} | 0 | |"
            for name, s in whole["by_label"].items()
        ]
        if "by_word" in whole:
            lines += ["", *_by_word(whole["by_word"])]
    measured = report["calibration"]["reliability"]
    lines += [
        "",
        f"Calibration (temperature, {measured['n']} held-out texts): expected calibration error "
        f"{measured['ece']:.3f}, Brier score {measured['brier']:.3f}.",
        "",
    ]
    return "\n".join(lines)


def _rejection(report: Report) -> list[str]:
    shipped, compared = report["rejection"], report["calibration"]["familiarity"]
    lines = [
        f"At the shipped familiarity limit {shipped['in_scope_rejected']:.1%} of "
        f"{shipped['in_scope_n']} in-scope texts are called unfamiliar and "
        f"{shipped['foreign_recall']:.1%} of {shipped['foreign_n']} foreign ones; in-scope "
        f"accuracy with the rejected counted as wrong is {shipped['in_scope_accuracy']:.3f}. "
        "The limit is a quantile of the same in-scope texts. Scores compared:",
        "",
        "| score | AUROC | foreign caught at the same share rejected |",
        "|---|---|---|",
    ]
    for name, row in compared.items():
        chosen = " (ships)" if name == shipped["score"] else ""
        lines.append(f"| {name}{chosen} | {row['auroc']:.4f} | {row['foreign_caught']:.1%} |")
    return lines


def _by_word(rows: Report) -> list[str]:
    lines = ["| words | n | recall | interval | precision |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        precision = "" if row["precision"] is None else f"{row['precision']:.3f}"
        lines.append(
            f"| {name} | {row['n']} | {row['recall']:.3f} | {row['recall_low']:.3f}–"
            f"{row['recall_high']:.3f} | {precision} |"
        )
    return lines


def _quantizing(task: str, report: Report) -> str:
    lines = []
    for part, in_int8 in report["int8"].items():
        in_float = report["float"][part]
        measure = "accuracy" if task in LABEL_TASKS else "micro_f1"
        name = measure.replace("_", " ") + ("" if part == "all" else f", {part}")
        lines.append(f"| {task} | {name} | {in_float[measure]:.4f} | {in_int8[measure]:.4f} |")
    return "\n".join(lines)
