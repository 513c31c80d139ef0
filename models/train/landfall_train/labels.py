"""The labels of every task, and how the annotations of the data sets map to them."""

from __future__ import annotations

from collections.abc import Iterable

FAILURE_MODES = (
    "Abnormal instrument reading",
    "Breakdown",
    "Contamination",
    "Electrical",
    "Erratic output",
    "Fail to close",
    "Fail to function",
    "Fail to open",
    "Failure to rotate",
    "Failure to start on demand",
    "Failure to stop on demand",
    "High output",
    "Leaking",
    "Low output",
    "Minor in-service problems",
    "Noise",
    "Other",
    "Overheating",
    "Plugged / choked",
    "Spurious stop",
    "Structural deficiency",
    "Vibration",
)

FIELDS = (
    "Activity",
    "Agent",
    "Attribute",
    "Cardinality",
    "Consumable",
    "Item",
    "Location",
    "Observation",
    "Specifier",
    "Time",
)

# MaintIE's top classes: the part of an entity's type before the first `/`.
MAINTIE = ("Activity", "PhysicalObject", "Process", "Property", "State")

# MaintNorm's masks, and the label of what each hides.
MASKS = {"<id>": "identifier", "<num>": "number", "<date>": "date", "<sensitive>": "sensitive"}
REDACT = tuple(MASKS.values())

# What annotators say about the spelling or about their own certainty, not about the thing.
_REMARKS = frozenset(
    {
        "Typo",
        "Unsure",
        "Abbreviation",
        "Spelling_error",
        "Suggest_tag",
        "Identifier/Item_ID",
        "Identifier",
        "Noise",
    }
)

_EXACT = {
    "Observed_state": "Observation",
    "Action/Function": "Observation",
    "Action/Malfunction": "Observation",
    "Consumable_or_commodity": "Consumable",
    "Identifier/Make": "Item",
}

_PREFIXES = {
    "Observation/": "Observation",
    "Location/": "Location",
    "Consumable_or_commodity/": "Consumable",
    "Attribute/": "Attribute",
    "Time/": "Time",
}


def field_of(mention_labels: Iterable[str]) -> str | None:
    """The field a mention counts as: that of its first label which is not a remark.

    `None` for what the task does not have (codes, negations, events).
    """
    first = next((label for label in mention_labels if label not in _REMARKS), None)
    if first is None:
        return None
    mapped = _EXACT.get(first, first)
    for prefix, field in _PREFIXES.items():
        if first.startswith(prefix):
            mapped = field
    return mapped if mapped in FIELDS else None


# `FM` values of the excavator work orders that mean one failure mode and nothing else.
# Left out: "Unspecified", "Missing / Loose", "Fluid Levels", which annotators of the
# failure-mode set spread over several labels.
EXCAVATOR_MODES = {
    "Leak": "Leaking",
    "Over Temp": "Overheating",
    "Fail to Start": "Failure to start on demand",
    "Fail to Start_Unspecified": "Failure to start on demand",
    "Fail to Stop": "Failure to stop on demand",
    "Fail to Stop_Unspecified": "Failure to stop on demand",
    "Noise": "Noise",
    "Contamination": "Contamination",
    "Structural Integrity": "Structural deficiency",
}
