"""Reads the data sets. Missing files stop the build with the place they come from."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import bio
from .labels import EXCAVATOR_MODES, FAILURE_MODES, FIELDS, MAINTIE, MASKS, REDACT, field_of

# Below this the annotators contradict each other; the published counts drop them too.
AGREEMENT_MIN = 0.5


_MASK = re.compile("|".join(map(re.escape, MASKS)))


class DataError(Exception):
    """A data file is missing or not what it should be."""


@dataclass(frozen=True)
class Observation:
    """One row of the failure-mode set: a few words and the label they mean."""

    text: str
    label: int


@dataclass(frozen=True)
class Order:
    """One work order with a tag per word."""

    words: tuple[str, ...]
    tags: tuple[int, ...]

    @property
    def text(self) -> str:
        """The words with one space between."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Masked:
    """One work order as typed: a mask label (or none) and the normal form of every word."""

    words: tuple[str, ...]
    tags: tuple[int, ...]
    normal: tuple[str, ...]

    @property
    def text(self) -> str:
        """The words with one space between."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Nested:
    """One work order with spans of words that may contain each other: (start, end, label)."""

    words: tuple[str, ...]
    spans: tuple[bio.WordSpan, ...]

    @property
    def text(self) -> str:
        """The words with one space between."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Request:
    """What somebody says to an assistant, and the index of its intent."""

    text: str
    label: int


def failure_modes(data: Path, split: str) -> list[Observation]:
    """`observation,failure mode`, split at the last comma."""
    rows = []
    path = _existing(data / "failure_modes" / f"{split}.csv")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text, _, label = line.rpartition(",")
        if label not in FAILURE_MODES:
            raise DataError(f"{path}:{number}: unknown failure mode {label!r}")
        rows.append(Observation(text.strip().lower(), FAILURE_MODES.index(label)))
    return rows


def work_orders(data: Path, split: str) -> list[Order]:
    """Work orders whose annotators agree, lower-cased, with flat tags."""
    orders = []
    path = _existing(data / "work_order_ner" / f"{split}.jsonl")
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["annotator_agreement"] < AGREEMENT_MIN:
            continue
        mentions = []
        for mention in row["mentions"]:
            field = field_of(mention["labels"])
            if field is not None:
                mentions.append((mention["start"], mention["end"], FIELDS.index(field)))
        tokens = tuple(token.lower() for token in row["tokens"])
        orders.append(Order(tokens, tuple(bio.encode(len(tokens), mentions))))
    return orders


def excavator_orders(data: Path) -> list[Observation]:
    """Excavator work orders whose rule-made `FM` value means one failure mode.

    Cracks only for structural deficiency: the rules put every kind of breakage there.
    """
    rows = []
    for text, found in _excavators(data):
        mode = EXCAVATOR_MODES.get(found)
        if mode is None or (mode == "Structural deficiency" and "crack" not in text):
            continue
        rows.append(Observation(text, FAILURE_MODES.index(mode)))
    return sorted(set(rows), key=lambda row: (row.label, row.text))


def excavator_texts(data: Path) -> list[str]:
    """All different excavator work orders, as typed but lower-cased."""
    return sorted({text for text, _ in _excavators(data)})


def _excavators(data: Path) -> Iterator[tuple[str, str]]:
    """Text and rule-made failure mode of every excavator work order."""
    path = _existing(data / "work_orders" / "work_orders.csv")
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield " ".join(row["OriginalShorttext"].lower().split()), row["FM"]


def chat(data: Path, split: str) -> list[str]:
    """What people say to an assistant: text from another world than maintenance."""
    path = _existing(data / "clinc150" / f"{split}.json")
    return [text for text, _ in json.loads(path.read_text(encoding="utf-8"))]


def spellings(data: Path) -> dict[str, list[str]]:
    """Normal word -> how it was really typed, each spelling as often as it occurred."""
    path = _existing(data / "maintnorm" / "train.norm")
    found: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        typed, _, normal = line.partition("\t")
        typed, normal = typed.lower(), normal.lower()
        is_word = normal and not normal.startswith("<") and " " not in normal
        if is_word and typed != normal and not any(c.isdigit() for c in typed):
            found[normal].append(typed)
    return dict(found)


def masked_orders(data: Path, split: str) -> list[Masked]:
    """MaintNorm: a line per word, `typed<TAB>normal`; a blank line ends a text.

    A word is labelled by the first mask in its normal form: `500hr` becomes `<num> hour`.
    """
    orders: list[Masked] = []
    rows: list[tuple[str, str]] = []
    path = _existing(data / "maintnorm" / f"{split}.norm")
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        typed, _, normal = line.partition("\t")
        if typed:
            rows.append((typed, normal))
        elif rows:
            orders.append(_masked(rows))
            rows = []
    return orders


def _masked(rows: list[tuple[str, str]]) -> Masked:
    mentions = []
    for at, (_, normal) in enumerate(rows):
        found = _MASK.search(normal)
        if found:
            mentions.append((at, at + 1, REDACT.index(MASKS[found[0]])))
    tags = bio.encode(len(rows), mentions)
    return Masked(tuple(t for t, _ in rows), tuple(tags), tuple(n for _, n in rows))


def nested_orders(data: Path, split: str) -> list[Nested]:
    """MaintIE: the top class of every entity, nested ones too."""
    path = _existing(data / "maintie" / f"{split}.jsonl")
    orders = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        spans = {
            (entity["start"], entity["end"], MAINTIE.index(entity["type"].partition("/")[0]))
            for entity in row["entities"]
        }
        orders.append(Nested(tuple(row["tokens"]), tuple(sorted(spans))))
    return orders


def intents(data: Path) -> tuple[str, ...]:
    """The names of CLINC150's intents, sorted."""
    path = _existing(data / "clinc150" / "train.json")
    return tuple(sorted({intent for _, intent in json.loads(path.read_text(encoding="utf-8"))}))


def requests(data: Path, split: str) -> list[Request]:
    """CLINC150's in-scope requests."""
    names = {name: at for at, name in enumerate(intents(data))}
    path = _existing(data / "clinc150" / f"{split}.json")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Request(text, names[intent]) for text, intent in rows]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(
            f"{path} is missing; set LANDFALL_DATA to the folder of the data sets "
            "(models/train/README.md names their upstream repositories)"
        )
    return path
