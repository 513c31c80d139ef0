"""Writes the quantized network as ONNX: the encoder in our fused operators, heads in standard ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx import NodeProto, TensorProto as Tensor

from .quantize import Floats, Linear, Model, Norm
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

    def dense(self, x: str, name: str, head: dict[str, Floats], output: str) -> str:
        """A float linear layer, with its bias if it has one."""
        weight = self.constant(f"{name}.weight", head[f"{name}.weight"].T)
        if f"{name}.bias" not in head:
            return self.node("MatMul", [x, weight], output)
        self.node("MatMul", [x, weight], f"{output}_product")
        bias = self.constant(f"{name}.bias", head[f"{name}.bias"])
        return self.node("Add", [f"{output}_product", bias], output)

    def gelu(self, x: str, output: str) -> str:
        """`x * (1 + erf(x / sqrt 2)) / 2`."""
        scalar = {"half": 0.5, "one": 1.0, "root": float(np.sqrt(0.5))}
        names = {
            name: self.constant(f"{output}.{name}", np.array(value, np.float32))
            for name, value in scalar.items()
        }
        self.node("Mul", [x, names["root"]], f"{output}_scaled")
        self.node("Erf", [f"{output}_scaled"], f"{output}_erf")
        self.node("Add", [f"{output}_erf", names["one"]], f"{output}_share")
        self.node("Mul", [x, f"{output}_share"], f"{output}_twice")
        return self.node("Mul", [f"{output}_twice", names["half"]], output)

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


def label_head(model: Model, task: str, score: str, centroids: Floats) -> bytes:
    """`hidden` -> `logits` [1,C] of the mean, and `familiarity` [1] by the chosen score.

    The scores are those of `familiarity.SCORES`; `centroids` [C,H] are unit vectors.
    """
    graph, head = _Graph(), model.heads[task]
    count, width = head["label.weight"].shape
    graph.node("ReduceMean", ["hidden"], "pooled", axes=[1], keepdims=0)
    graph.dense("pooled", "label", head, "logits")
    if score == "softmax":
        graph.node("Softmax", ["logits"], "chances", axis=1)
        graph.node("ReduceMax", ["chances"], "familiarity", axes=[1], keepdims=0)
    elif score == "energy":
        graph.node("ReduceLogSumExp", ["logits"], "familiarity", axes=[1], keepdims=0)
    elif score == "known":
        graph.dense("pooled", "known", head, "log_odds")
        graph.node("ReduceMax", ["log_odds"], "familiarity", axes=[1], keepdims=0)
    elif score == "known energy":
        graph.dense("pooled", "known", head, "log_odds")
        graph.node("ReduceLogSumExp", ["logits"], "energy", axes=[1], keepdims=1)
        graph.node("Add", ["log_odds", "energy"], "both")
        graph.node("ReduceMax", ["both"], "familiarity", axes=[1], keepdims=0)
    elif score == "cosine":
        graph.node("Mul", ["pooled", "pooled"], "squares")
        graph.node("ReduceMean", ["squares"], "square", axes=[1], keepdims=1)
        graph.node("Sqrt", ["square"], "size")
        graph.node("Div", ["pooled", "size"], "unit")
        # `unit` has length sqrt(width), for its mean square is 1: the centroids make up for it.
        turned = centroids.T / np.float32(np.sqrt(width))
        graph.node("MatMul", ["unit", graph.constant("centroids", turned)], "cosines")
        graph.node("ReduceMax", ["cosines"], "familiarity", axes=[1], keepdims=0)
    else:
        raise ValueError(f"no familiarity score {score!r}")
    return graph.model(
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "S", width])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, count]),
            helper.make_tensor_value_info("familiarity", TensorProto.FLOAT, [1]),
        ],
        {"": OPSET},
    )


def tag_head(model: Model, task: str) -> bytes:
    """`hidden` -> tag `logits` [1,S,1+2C]."""
    graph, head = _Graph(), model.heads[task]
    count, width = head["tag.weight"].shape
    graph.dense("hidden", "tag", head, "logits")
    return graph.model(
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "S", width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "S", count])],
        {"": OPSET},
    )


def span_head(model: Model, task: str) -> bytes:
    """`hidden` -> class `logits` [1,S,S,1+C] of the spans from a piece to a piece."""
    graph, head = _Graph(), model.heads[task]
    classes, width = len(head["product"]), head["start.weight"].shape[1]
    for side in ("start", "end"):
        graph.dense("hidden", side, head, f"{side}_linear")
        graph.gelu(f"{side}_linear", side)
    # [1,S,D] by [C,D,D] is [C,S,D], by [1,D,S] is [C,S,S].
    graph.node("MatMul", ["start", graph.constant("product", head["product"])], "turned")
    graph.node("Transpose", ["end"], "end_turned", perm=[0, 2, 1])
    graph.node("MatMul", ["turned", "end_turned"], "pairs_first")
    graph.node("Transpose", ["pairs_first"], "pairs", perm=[1, 2, 0])
    graph.dense("start", "of_start", head, "from_start")
    graph.dense("end", "of_end", head, "from_end")
    axes = {name: graph.constant(f"axis_{name}", np.array([n])) for name, n in (("1", 1), ("2", 2))}
    graph.node("Unsqueeze", ["from_start", axes["2"]], "from_start_wide")
    graph.node("Unsqueeze", ["from_end", axes["1"]], "from_end_wide")
    graph.node("Add", ["from_start_wide", "from_end_wide"], "from_both")
    graph.node("Add", ["pairs", "from_both"], "logits")
    return graph.model(
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "S", width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "S", "S", classes])],
        {"": OPSET},
    )
