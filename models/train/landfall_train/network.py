"""The network that is trained: one encoder, a head for each task, and one for spelling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from . import bio
from .encoder import HIDDEN, pretrained
from .heads import LabelHead, SpanHead, SpellHead, TagHead
from .labels import FAILURE_MODES, FIELDS, MAINTIE, REDACT

# Tasks by what their head is. `work-order-fields` is `work-order-ner` under its product name.
LABEL_TASKS = ("failure-mode", "intent-150")
TAG_TASKS = ("work-order-ner", "redact")
SPAN_TASKS = ("maintie-5",)
TASKS = LABEL_TASKS + TAG_TASKS + SPAN_TASKS
# Only trained with: it teaches the encoder how words are really written.
SPELL_TASK = "spelling"


class Network(nn.Module):
    """`pieces` are the word pieces that the spelling head chooses among."""

    def __init__(self, dropout: float, intents: int, pieces: Sequence[int]) -> None:
        super().__init__()
        self.encoder = pretrained(dropout)
        self.register_buffer("pieces", torch.tensor(list(pieces)))
        heads: dict[str, nn.Module] = {
            "failure-mode": LabelHead(HIDDEN, len(FAILURE_MODES), dropout),
            "intent-150": LabelHead(HIDDEN, intents, dropout),
            "work-order-ner": TagHead(HIDDEN, bio.tag_count(len(FIELDS)), dropout),
            "redact": TagHead(HIDDEN, bio.tag_count(len(REDACT)), dropout),
            "maintie-5": SpanHead(HIDDEN, len(MAINTIE), dropout),
            SPELL_TASK: SpellHead(HIDDEN, len(pieces)),
        }
        self.heads = nn.ModuleDict(heads)

    def spellings(self, words: Tensor) -> Tensor:
        """Logits [N, pieces] of the normal form of words [N,H]."""
        return self.heads[SPELL_TASK](words, self.encoder.tokens.weight[self.pieces])


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [B,S] and the mask of those that are not padding."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(width)[None, :] < lengths[:, None]
