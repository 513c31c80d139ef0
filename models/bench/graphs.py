"""Writes an encoder of landfall operators as graphs that other engines can run.

All of them hold the very same int8 weights and scales:

plain-int8.onnx  standard operators, quantised as ONNX Runtime's `quantize_dynamic` does it
fused-int8.onnx  the operators that ONNX Runtime adds for quantised transformers
fp32.onnx        standard operators, weights turned back into fp32
"""

from pathlib import Path
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
MICROSOFT = "com.microsoft"


class Graph:
    """A graph under construction. Each method adds nodes and returns an output's name."""

    def __init__(self):
        self.nodes, self.constants, self.names = [], {}, 0

    def constant(self, value, name=None):
        if name is None:
            name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def node(self, op, inputs, outputs=1, domain="", **attributes):
        names = [f"t{self.names + at}" for at in range(outputs)]
        self.names += outputs
        self.nodes.append(
            helper.make_node(op, inputs, names, domain=domain, **attributes)
        )
        return names[0] if outputs == 1 else names

    def save(self, path, output, width):
        fact = helper.make_tensor_value_info
        self.nodes.append(helper.make_node("Identity", [output], ["hidden"]))
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [fact("input_ids", TensorProto.INT64, [1, "S"])],
            [fact("hidden", TensorProto.FLOAT, [1, "S", width])],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        if not any(node.domain == MICROSOFT for node in self.nodes):
            opsets.pop()
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


class Plain:
    """Standard operators only; weights in int8 or turned back into fp32."""

    def __init__(self, quantised):
        self.graph, self.quantised = Graph(), quantised

    def embed(self, ids, words, scales, positions, gain, bias, eps):
        graph = self.graph
        if self.quantised:
            rows = graph.node("Gather", [graph.constant(words), ids])
            rows = graph.node("Cast", [rows], to=TensorProto.FLOAT)
            factors = graph.node("Gather", [graph.constant(scales[:, None]), ids])
            rows = graph.node("Mul", [rows, factors])
        else:
            rows = graph.node("Gather", [graph.constant(words * scales[:, None]), ids])
        length = graph.node("Shape", [ids])
        length = graph.node("Slice", [length, *(graph.constant(np.array([i])) for i in (1, 2))])
        start, axis = graph.constant(np.array([0])), graph.constant(np.array([0]))
        places = graph.node("Slice", [graph.constant(positions), start, length, axis])
        return self.norm(graph.node("Add", [rows, places]), gain, bias, eps)

    def norm(self, x, gain, bias, eps):
        graph = self.graph
        constants = graph.constant(gain), graph.constant(bias)
        return graph.node("LayerNormalization", [x, *constants], axis=-1, epsilon=eps)

    def linear(self, x, weight, scales, bias, activation):
        graph = self.graph
        if self.quantised:
            quantised, scale, zero = graph.node("DynamicQuantizeLinear", [x], outputs=3)
            zeros = graph.constant(np.zeros(len(scales), np.int8))
            sums = graph.node(
                "MatMulInteger", [quantised, graph.constant(weight), zero, zeros]
            )
            sums = graph.node("Cast", [sums], to=TensorProto.FLOAT)
            y = graph.node(
                "Mul", [sums, graph.node("Mul", [scale, graph.constant(scales)])]
            )
        else:
            y = graph.node("MatMul", [x, graph.constant(weight * scales)])
        y = graph.node("Add", [y, graph.constant(bias)])
        return self.gelu(y) if activation == "gelu" else y

    def gelu(self, x):
        graph = self.graph
        number = lambda value: graph.constant(np.array(value, np.float32))
        y = graph.node("Div", [x, number(np.sqrt(2.0))])
        y = graph.node("Add", [graph.node("Erf", [y]), number(1.0)])
        return graph.node("Mul", [graph.node("Mul", [x, y]), number(0.5)])

    def attention(self, x, width, heads):
        graph = self.graph
        shape = graph.constant(np.array([0, 0, heads, width // heads]))
        sizes = graph.constant(np.array([width] * 3))
        parts = graph.node("Split", [x, sizes], outputs=3, axis=2)
        queries, keys, values = (graph.node("Reshape", [part, shape]) for part in parts)
        queries = graph.node("Transpose", [queries], perm=[0, 2, 1, 3])
        keys = graph.node("Transpose", [keys], perm=[0, 2, 3, 1])
        values = graph.node("Transpose", [values], perm=[0, 2, 1, 3])
        root = graph.constant(np.array(np.sqrt(width / heads), np.float32))
        scores = graph.node("Div", [graph.node("MatMul", [queries, keys]), root])
        weights = graph.node("Softmax", [scores], axis=-1)
        mixed = graph.node("Transpose", [graph.node("MatMul", [weights, values])], perm=[0, 2, 1, 3])
        return graph.node("Reshape", [mixed, graph.constant(np.array([0, 0, width]))])

    def add_norm(self, x, y, gain, bias, eps):
        return self.norm(self.graph.node("Add", [x, y]), gain, bias, eps)


class Fused(Plain):
    """ONNX Runtime's own operators where it has them."""

    def __init__(self):
        super().__init__(quantised=True)

    def linear(self, x, weight, scales, bias, activation):
        graph = self.graph
        inputs = [x, graph.constant(weight), graph.constant(scales), ""]
        if activation == "gelu":
            y = graph.node("DynamicQuantizeMatMul", inputs[:3], domain=MICROSOFT)
            return graph.node("BiasGelu", [y, graph.constant(bias)], domain=MICROSOFT)
        inputs.append(graph.constant(bias))
        return graph.node("DynamicQuantizeMatMul", inputs, domain=MICROSOFT)

    def attend(self, x, weight, scales, bias, heads):
        """The product that makes queries, keys and values, and the attention after it."""
        graph = self.graph
        quantised, scale, zero = graph.node("DynamicQuantizeLinear", [x], outputs=3)
        zeros = graph.constant(np.zeros(len(scales), np.int8))
        constants = [graph.constant(value) for value in (weight, bias, scales)]
        inputs = [quantised, constants[0], constants[1], scale, constants[2], "", zero, zeros]
        return graph.node("QAttention", inputs, domain=MICROSOFT, num_heads=heads)

    def add_norm(self, x, y, gain, bias, eps):
        graph = self.graph
        constants = graph.constant(gain), graph.constant(bias)
        inputs = [x, y, *constants]
        return graph.node("SkipLayerNormalization", inputs, domain=MICROSOFT, epsilon=eps)


def convert(encoder, to):
    """Adds an encoder's nodes to `to`; returns its output and that output's width."""
    constants = {item.name: numpy_helper.to_array(item) for item in encoder.initializer}
    names, waiting = {"input_ids": "input_ids"}, {}
    for node in encoder.node:
        x = node.input[0]
        values = [constants[name] for name in node.input if name in constants]
        settings = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "LfEmbed":
            width = values[0].shape[1]
            out = to.embed(names[x], *values, settings["eps"])
        elif node.op_type == "LfLinear":
            if isinstance(to, Fused) and values[0].shape[1] == 3 * width:
                waiting[node.output[0]] = names[x], *values
                continue
            out = to.linear(names[x], *values, settings["activation"].decode())
        elif node.op_type == "LfAttention":
            if x in waiting:
                out = to.attend(*waiting.pop(x), settings["heads"])
            else:
                out = to.attention(names[x], width, settings["heads"])
        elif node.op_type == "LfAddNorm":
            out = to.add_norm(names[x], names[node.input[1]], *values, settings["eps"])
        else:
            sys.exit(f"error: the encoder has an operator {node.op_type}")
        names[node.output[0]] = out
    return names[encoder.output[0].name], width


def write(encoder_path, directory):
    encoder = onnx.load(encoder_path).graph
    graphs = {"plain-int8": Plain(True), "fused-int8": Fused(), "fp32": Plain(False)}
    paths = {}
    for name, to in graphs.items():
        out, width = convert(encoder, to)
        paths[name] = Path(directory) / f"{name}.onnx"
        to.graph.save(paths[name], out, width)
    return paths
