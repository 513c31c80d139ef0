"""Paths and the recipe: every number that changes the result is here."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

TRAIN_DIR = Path(__file__).resolve().parent.parent
REPOSITORY = TRAIN_DIR.parent.parent

PACKAGE_NAME = "maintenance"
PACKAGE_VERSION = "0.1.0"

# Work orders are short; 128 word pieces hold the longest in the data several times over,
# and the position table is cut to this length.
TOKENS_MAX = 128


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the data and the code."""

    seed: int = 20
    epochs: int = 6
    folds: int = 3
    batch_texts: int = 32
    encoder_rate: float = 2e-4
    head_rate: float = 1e-3
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    label_smoothing: float = 0.05
    # Share of training texts that get shop-floor spelling, and share of their words.
    noisy_texts_share: float = 0.35
    noisy_words_share: float = 0.3
    # Per epoch: machine-labelled work orders for each failure mode, and foreign texts.
    weak_orders_per_label: int = 30
    foreign_chat_texts: int = 250
    foreign_order_texts: int = 150
    # The pooled vector is pulled to at least `near` (cosine) of its own label's centroid,
    # and foreign text is pushed below `far` of all of them.
    near_cosine: float = 0.8
    far_cosine: float = 0.0
    familiarity_weight: float = 1.0
    # Share of in-scope text that may be called unfamiliar.
    unfamiliar_share: float = 0.02

    def fingerprint(self) -> str:
        """Short digest of the recipe; work of another recipe is never reused."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def recipe() -> Recipe:
    """The recipe, with `LANDFALL_EPOCHS` and `LANDFALL_FOLDS` for a quick trial run."""
    default = Recipe()
    return Recipe(
        epochs=int(os.environ.get("LANDFALL_EPOCHS", default.epochs)),
        folds=int(os.environ.get("LANDFALL_FOLDS", default.folds)),
    )


def folds_answered(of: Recipe) -> int:
    """How many folds are trained and asked: `LANDFALL_FOLDS_ANSWERED`, else all.

    Fewer leave fewer calibration scores, each as honest as before.
    """
    return min(of.folds, int(os.environ.get("LANDFALL_FOLDS_ANSWERED", of.folds)))


def data_dir() -> Path:
    """Folder of the data sets: `LANDFALL_DATA`, else `../shared/data` of the repository."""
    return Path(os.environ.get("LANDFALL_DATA", REPOSITORY.parent / "shared" / "data"))


def work_dir() -> Path:
    """Folder of intermediate results: `LANDFALL_WORK`, else `target/train`."""
    return Path(os.environ.get("LANDFALL_WORK", REPOSITORY / "target" / "train"))


def package_dir() -> Path:
    """Folder the package is written to: `LANDFALL_PACKAGE_OUT`, else `models/packages`."""
    default = REPOSITORY / "models" / "packages" / PACKAGE_NAME
    return Path(os.environ.get("LANDFALL_PACKAGE_OUT", default))
