"""Text to token ids, with the tokenizer that ships in the package."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tokenizers import Tokenizer

from . import words
from .encoder import model_dir
from .settings import TOKENS_MAX


@dataclass(frozen=True)
class Tokens:
    """A tokenized text."""

    ids: list[int]
    # Index of the first word piece of each word; `None` for a word without one.
    firsts: list[int | None]


def tokenizer_json() -> str:
    """The tokenizer without truncation and padding: the device cuts and never pads."""
    source = json.loads((model_dir() / "tokenizer.json").read_text(encoding="utf-8"))
    source["truncation"] = None
    source["padding"] = None
    return json.dumps(source, ensure_ascii=False, separators=(",", ":"))


class TextReader:
    """Tokenizes whole texts, and finds the first piece of each word."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer_json())

    def read(self, text: str) -> Tokens:
        """Tokens of a text, at most `TOKENS_MAX` of them, the closing one kept."""
        encoding = self._tokenizer.encode(text)
        ids, offsets = encoding.ids, encoding.offsets
        if len(ids) > TOKENS_MAX:
            ids = ids[: TOKENS_MAX - 1] + ids[-1:]
            offsets = offsets[: TOKENS_MAX - 1] + offsets[-1:]
        return Tokens(ids, words.first_pieces(words.words(text), offsets))
