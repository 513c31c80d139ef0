"""Symmetric int8: weights once, per output channel; activations on the device, per token.

A row `r` becomes `round(r / s)` with `s = max|r| / 127`, halves rounded to even, so that
zero stays zero and the error of an entry is at most `s / 2`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# -128 is not used: the range is symmetric.
LEVELS = 127


def rows(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Int8 rows of a matrix [R,K], and the scale of each row [R]."""
    scale = np.abs(matrix).max(axis=1) / np.float32(LEVELS)
    scale = np.where(scale == 0, np.float32(1), scale).astype(np.float32)
    quantized = np.clip(np.rint(matrix / scale[:, None]), -LEVELS, LEVELS)
    return quantized.astype(np.int8), scale


@dataclass(frozen=True)
class Linear:
    """Weights of one linear operator: `weight` int8 [K,N], `scale` [N], `bias` [N]."""

    weight: NDArray[np.int8]
    scale: Floats
    bias: Floats

    @staticmethod
    def of(weight: Floats, bias: Floats) -> Linear:
        """From a PyTorch weight [N,K]: one scale for each output channel."""
        quantized, scale = rows(weight)
        return Linear(np.ascontiguousarray(quantized.T), scale, bias)


@dataclass(frozen=True)
class Norm:
    """Gain and bias of a layer norm."""

    gain: Floats
    bias: Floats


@dataclass(frozen=True)
class Layer:
    """One transformer layer."""

    qkv: Linear
    attended: Linear
    norm_attended: Norm
    wide: Linear
    narrow: Linear
    norm_out: Norm


@dataclass(frozen=True)
class Model:
    """The whole network as it ships: int8 encoder, float heads by task and parameter name."""

    words: NDArray[np.int8]
    words_scale: Floats
    positions: Floats
    norm_embedded: Norm
    layers: list[Layer]
    heads: dict[str, dict[str, Floats]]


def model(state: dict[str, Floats], tokens_max: int) -> Model:
    """Quantizes the weights of a trained network (names as in `network.Network`)."""

    def linear(name: str) -> Linear:
        return Linear.of(state[f"encoder.{name}.weight"], state[f"encoder.{name}.bias"])

    def norm(name: str) -> Norm:
        return Norm(state[f"encoder.{name}.weight"], state[f"encoder.{name}.bias"])

    layered = [name for name in state if name.startswith("encoder.layers.")]
    count = 1 + max(int(name.split(".")[2]) for name in layered)
    layers = [
        Layer(
            qkv=linear(f"layers.{n}.qkv"),
            attended=linear(f"layers.{n}.attended"),
            norm_attended=norm(f"layers.{n}.norm_attended"),
            wide=linear(f"layers.{n}.wide"),
            narrow=linear(f"layers.{n}.narrow"),
            norm_out=norm(f"layers.{n}.norm_out"),
        )
        for n in range(count)
    ]
    heads: dict[str, dict[str, Floats]] = {}
    for name, values in state.items():
        if name.startswith("heads."):
            _, task, parameter = name.split(".", 2)
            heads.setdefault(task, {})[parameter] = values
    words, words_scale = rows(state["encoder.tokens.weight"])
    return Model(
        words=words,
        words_scale=words_scale,
        positions=state["encoder.positions.weight"][:tokens_max],
        norm_embedded=norm("norm_embedded"),
        layers=layers,
        heads=heads,
    )
