"""Asks a network about held-out text: every task, and text that is foreign to it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from . import corpus, held
from .answers import AnyAnswers
from .held import Labels, Texts
from .material import Material
from .settings import Recipe

Parts = dict[str, Labels | Texts]

# Tasks with small sets: what ships is trained on their development splits too, so another network
# answers about those.
SMALL = ("failure-mode", "work-order-ner", "maintie-5")
# Requests to an assistant that failure-mode is asked about: enough to tell 1 % from 3 %.
CHAT_TEXTS = 300


def small(
    answers: AnyAnswers, part: Material, data: Path, recipe: Recipe, tasks: Collection[str]
) -> Parts:
    """About held-out splits. The orders around observations are made of held-out orders alone."""
    makers: dict[str, Callable[[], Parts]] = {
        "failure-mode": lambda: _failure_mode(answers, part, data, recipe),
        "work-order-ner": lambda: {
            "work-order-ner": held.tagged(answers, "work-order-ner", part.orders)
        },
        "maintie-5": lambda: {
            "maintie-5": held.nested_orders(
                answers, "maintie-5", part.nested, recipe.span_words_max
            )
        },
    }
    return _made(makers, tasks)


def large(answers: AnyAnswers, data: Path, tasks: Collection[str]) -> Parts:
    """About the validation parts that no network was trained on."""
    makers: dict[str, Callable[[], Parts]] = {
        "intent-150": lambda: {
            "intent-150": Labels.ask(
                answers, "intent-150", [(r.text, r.label) for r in corpus.requests(data, "val")]
            ),
            "intent-150 foreign": Labels.ask(
                answers, "intent-150", [(text, -1) for text in corpus.chat(data, "oos_val")]
            ),
        },
        "redact": lambda: {
            "redact": held.tagged(answers, "redact", corpus.masked_orders(data, "val"))
        },
    }
    return _made(makers, tasks)


def _made(makers: dict[str, Callable[[], Parts]], tasks: Collection[str]) -> Parts:
    made: Parts = {}
    for task, maker in makers.items():
        if task in tasks:
            made |= maker()
    return made


def _failure_mode(answers: AnyAnswers, part: Material, data: Path, recipe: Recipe) -> Parts:
    observations = part.observations
    chat = corpus.chat(data, "val")
    foreign = [(text, -1) for text in chat[:: max(1, len(chat) // CHAT_TEXTS)]]
    foreign += held.foreign_orders(part.orders)
    whole = held.whole(observations, part.orders, recipe.seed)
    return {
        "failure-mode bare": Labels.ask(answers, "failure-mode", held.bare(observations)),
        "failure-mode whole": Labels.ask(answers, "failure-mode", whole),
        "failure-mode foreign": Labels.ask(answers, "failure-mode", foreign),
    }
