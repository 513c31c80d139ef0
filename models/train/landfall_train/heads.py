"""What each kind of task puts on the encoder: a few linear layers on its hidden states.

A label task reads the mean of all hidden states; a tag task reads every word at its first piece;
a span task scores every pair of words with a biaffine product (Dozat and Manning 2017; Yu, Bohnet
and Poesio 2020 for nested entities).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Width of the two views of a word in the span head: below 64 nested spans get worse, above 128
# nothing is gained.
SPAN_WIDTH = 128


@dataclass
class Judged:
    """What a label head says of a batch."""

    # Logits [B,C].
    logits: Tensor
    # Log-odds [B] that the text belongs to any of the labels.
    known: Tensor
    # The vectors [B,H] it judged by.
    pooled: Tensor


class LabelHead(nn.Module):
    """One label of a whole text, and whether the text belongs to any."""

    def __init__(self, hidden: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.label = nn.Linear(hidden, labels)
        self.known = nn.Linear(hidden, 1)

    def forward(self, hidden: Tensor, mask: Tensor) -> Judged:
        """`hidden` [B,S,H], `mask` [B,S]."""
        weight = mask.unsqueeze(-1).float()
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        dropped = self.dropout(pooled)
        return Judged(self.label(dropped), self.known(dropped).squeeze(-1), pooled)


class TagHead(nn.Module):
    """A tag of every word piece; those of first pieces count."""

    def __init__(self, hidden: int, tags: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.tag = nn.Linear(hidden, tags)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [B,S,T]."""
        return self.tag(self.dropout(hidden))


class SpanHead(nn.Module):
    """A class of every pair of word pieces: 0 for no span, else 1 + label."""

    def __init__(self, hidden: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.classes = 1 + labels
        self.dropout = nn.Dropout(dropout)
        self.start = nn.Linear(hidden, SPAN_WIDTH)
        self.end = nn.Linear(hidden, SPAN_WIDTH)
        self.product = nn.Parameter(torch.zeros(self.classes, SPAN_WIDTH, SPAN_WIDTH))
        self.of_start = nn.Linear(SPAN_WIDTH, self.classes)
        self.of_end = nn.Linear(SPAN_WIDTH, self.classes, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [B,S,S,1+C] of the spans from a piece to a piece."""
        hidden = self.dropout(hidden)
        start = self.dropout(nn.functional.gelu(self.start(hidden)))
        end = self.dropout(nn.functional.gelu(self.end(hidden)))
        pairs = torch.einsum("bid,cde,bje->bijc", start, self.product, end)
        return pairs + self.of_start(start)[:, :, None] + self.of_end(end)[:, None]


class SpellHead(nn.Module):
    """The normal spelling of a word, as the first piece of it: for training alone."""

    def __init__(self, hidden: int, pieces: int) -> None:
        super().__init__()
        self.turn = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.bias = nn.Parameter(torch.zeros(pieces))

    def forward(self, words: Tensor, table: Tensor) -> Tensor:
        """`words` [N,H] against the `table` [P,H] of word vectors: logits [N,P]."""
        return self.norm(nn.functional.gelu(self.turn(words))) @ table.T + self.bias
