"""Writes the quantized network as ONNX: the encoder in our fused operators, heads in standard ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx import NodeProto, TensorProto as Tensor

from .quantize import Linear, Model, Norm
from .reference import HEADS, NORM_EPS

DOMAIN = "landfall"
OPSET = 17
# Oldest file format that carries this operator set: readers of any age take it.
IR_VERSION = 8


class _Graph:
    """Nodes and constants of one graph, named as they are made."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[Tensor] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(
        self, op: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: object
    ) -> str:
        self.nodes.append(
            helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes)
        )
        return output

    def linear(self, x: str, name: str, weights: Linear, activation: str = "none") -> str:
        inputs = [
            x,
            self.constant(f"{name}.weight_q", weights.weight),
            self.constant(f"{name}.weight_scale", weights.scale),
            self.constant(f"{name}.bias", weights.bias),
        ]
        return self.node("LfLinear", inputs, name, DOMAIN, activation=activation)

    def add_norm(self, x: str, y: str, name: str, norm: Norm) -> str:
        inputs = [
            x,
            y,
            self.constant(f"{name}.gain", norm.gain),
            self.constant(f"{name}.bias", norm.bias),
        ]
        return self.node("LfAddNorm", inputs, name, DOMAIN, eps=NORM_EPS)

    def model(
        self,
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
        opsets: dict[str, int],
    ) -> bytes:
        graph = helper.make_graph(self.nodes, "landfall", inputs, outputs, self.constants)
        made = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, n) for domain, n in opsets.items()],
            ir_version=IR_VERSION,
            producer_name="landfall-train",
        )
        return made.SerializeToString(deterministic=True)


def encoder(model: Model) -> bytes:
    """`input_ids` int64 [1,S] -> `hidden` float32 [1,S,H]."""
    graph = _Graph()
    x = graph.node(
        "LfEmbed",
        [
            "input_ids",
            graph.constant("embed.words_q", model.words),
            graph.constant("embed.words_scale", model.words_scale),
            graph.constant("embed.positions", model.positions),
            graph.constant("embed.ln_gain", model.norm_embedded.gain),
            graph.constant("embed.ln_bias", model.norm_embedded.bias),
        ],
        "embed",
        DOMAIN,
        eps=NORM_EPS,
    )
    for n, layer in enumerate(model.layers):
        is_last = n + 1 == len(model.layers)
        name = f"layer{n}"
        qkv = graph.linear(x, f"{name}.qkv", layer.qkv)
        mixed = graph.node("LfAttention", [qkv], f"{name}.mixed", DOMAIN, heads=HEADS)
        attended = graph.linear(mixed, f"{name}.attended", layer.attended)
        x = graph.add_norm(x, attended, f"{name}.norm_attended", layer.norm_attended)
        wide = graph.linear(x, f"{name}.wide", layer.wide, "gelu")
        narrow = graph.linear(wide, f"{name}.narrow", layer.narrow)
        output = "hidden" if is_last else f"{name}.norm_out"
        x = graph.add_norm(x, narrow, output, layer.norm_out)
    width = model.positions.shape[1]
    return graph.model(
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "S"])],
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "S", width])],
        {"": OPSET, DOMAIN: 1},
    )


def mode_head(model: Model) -> bytes:
    """`hidden` -> `logits` [1,C] of the mean, `familiarity` [1] its best cosine to a centroid."""
    graph = _Graph()
    count, width = model.mode_weight.shape
    graph.node("ReduceMean", ["hidden"], "pooled", axes=[1], keepdims=0)
    graph.node("MatMul", ["pooled", graph.constant("weight", model.mode_weight.T)], "scores")
    graph.node("Add", ["scores", graph.constant("bias", model.mode_bias)], "logits")
    graph.node("Mul", ["pooled", "pooled"], "squares")
    graph.node("ReduceMean", ["squares"], "square", axes=[1], keepdims=1)
    graph.node("Sqrt", ["square"], "size")
    graph.node("Div", ["pooled", "size"], "unit")
    # `unit` has length sqrt(width), for its mean square is 1: the centroids make up for it.
    centroids = model.centroids.T / np.float32(np.sqrt(width))
    graph.node("MatMul", ["unit", graph.constant("centroids", centroids)], "cosines")
    graph.node("ReduceMax", ["cosines"], "familiarity", axes=[1], keepdims=0)
    return graph.model(
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "S", width])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, count]),
            helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, [1]),
        ],
        {"": OPSET},
    )


def fields_head(model: Model) -> bytes:
    """`hidden` -> tag `logits` [1,S,1+2C]."""
    graph = _Graph()
    count, width = model.fields_weight.shape
    graph.node("MatMul", ["hidden", graph.constant("weight", model.fields_weight.T)], "scores")
    graph.node("Add", ["scores", graph.constant("bias", model.fields_bias)], "logits")
    return graph.model(
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "S", width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "S", count])],
        {"": OPSET},
    )
