"""Shop-floor spelling: how a tired hand writes a work order."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

# Shorter words are left alone: one changed letter makes another word of them.
TYPO_LETTERS_MIN = 4


class Speller:
    """Writes words as people type them: seen spellings first, else a slip of the hand."""

    def __init__(self, spellings: Mapping[str, Sequence[str]], seed: int) -> None:
        self._spellings = spellings
        self._random = random.Random(seed)

    def words(self, words: Sequence[str], share: float) -> list[str]:
        """Each word misspelt with probability `share`; the number of words stays."""
        return [self._word(w) if self._random.random() < share else w for w in words]

    def text(self, text: str, share: float) -> str:
        """The same over the words of a text."""
        return " ".join(self.words(text.split(), share))

    def _word(self, word: str) -> str:
        seen = self._spellings.get(word)
        if seen and self._random.random() < 0.7:
            return self._random.choice(seen)
        return slip(word, self._random)


def slip(word: str, rng: random.Random) -> str:
    """One typing slip: a letter dropped, doubled, or swapped with its neighbour."""
    if len(word) < TYPO_LETTERS_MIN or not word.isalpha():
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def disguise(word: str, rng: random.Random) -> str:
    """Another word of the same shape: every letter and digit another one, case kept."""
    letters, digits = "abcdefghijklmnopqrstuvwxyz", "0123456789"
    made = []
    for character in word:
        if character.isdigit():
            made.append(rng.choice(digits))
        elif character.isascii() and character.isalpha():
            letter = rng.choice(letters)
            made.append(letter.upper() if character.isupper() else letter)
        else:
            made.append(character)
    return "".join(made)
