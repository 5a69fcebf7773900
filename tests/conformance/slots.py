"""Where weights stand: which inputs of which operators, and what may lie between a stored tensor and such an input.

The sweep's own table, so that it knows what the tool should have found. Shares nothing with onnxsens.
"""

from collections.abc import Container, Mapping, Sequence

import onnx

from tests.conformance.counting import bodies

WEIGHTS: Mapping[str, Sequence[int]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "DeformConv": (1,),
    "Gemm": (1,),
    "MatMul": (1,),
    "Einsum": (1,),
    "Gather": (0,),
    "GRU": (1, 2),
    "LSTM": (1, 2),
    "RNN": (1, 2),
    "QLinearConv": (3,),
    "QLinearMatMul": (3,),
    "ConvInteger": (1,),
    "MatMulInteger": (1,),
}

# Scales and zero points, without which it is not known what stands for zero.
COMPANIONS: Mapping[str, Sequence[int]] = {
    "QLinearConv": (4, 5),
    "QLinearMatMul": (4, 5),
    "ConvInteger": (3,),
    "MatMulInteger": (3,),
    "DequantizeLinear": (1, 2),
}

BETWEEN = {
    *("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand"),
    *("Cast", "CastLike", "Slice", "Split", "Concat", "DequantizeLinear"),
}

Makers = Mapping[str, onnx.NodeProto]


def weight_inputs(graph: onnx.GraphProto) -> dict[str, str]:
    """Graph inputs of two or more dimensions that stand at a weight's place, with the operator."""
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.input}
    makers = {output: node for node in graph.node for output in node.output}
    found: dict[str, str] = {}
    for node in graph.node:
        for name, _ in reached(node, ranks.keys(), makers):
            if ranks[name] >= 2:
                found.setdefault(name, node.op_type)
    return found


def companions(graph: onnx.GraphProto) -> list[str]:
    """Graph inputs that are scales or zero points of a weight, in order of use."""
    inputs = {value.name for value in graph.input}
    makers = {output: node for node in graph.node for output in node.output}
    found: dict[str, None] = {}
    for node in graph.node:
        for _, nodes in reached(node, inputs, makers):
            for passed in nodes:
                found |= dict.fromkeys(
                    passed.input[index]
                    for index in COMPANIONS.get(passed.op_type, ())
                    if index < len(passed.input) and passed.input[index] in inputs
                )
    return list(found)


def stored_weights(graph: onnx.GraphProto, around: Mapping[str, int] | None = None) -> dict[str, str]:
    """Stored tensors of two or more dimensions at a weight's place, with the operator; those of bodies too.

    Args:
        around: ranks of what graphs around this one store.
    """
    ranks = dict(around or {})
    ranks |= {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    ranks |= {sparse.values.name: len(sparse.dims) for sparse in graph.sparse_initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                ranks[node.output[0]] = len(attribute.t.dims or attribute.sparse_tensor.dims)
    makers = {output: node for node in graph.node for output in node.output if node.op_type != "Constant"}
    found: dict[str, str] = {}
    for node in graph.node:
        for name, _ in reached(node, ranks.keys(), makers):
            if ranks[name] >= 2:
                found.setdefault(name, node.op_type)
        for body in bodies(node):
            found |= stored_weights(body, ranks)
    return found


def reached(node: onnx.NodeProto, ends: Container[str], makers: Makers) -> list[tuple[str, list[onnx.NodeProto]]]:
    """What of `ends` lies behind the weight inputs of a node, with the nodes from there to it."""
    found = []
    for index in WEIGHTS.get(node.op_type, ()):
        name = node.input[index] if index < len(node.input) else ""
        passed = [node]
        while name not in ends:
            maker = makers.get(name)
            if maker is None or maker.op_type not in BETWEEN or not maker.input:
                break
            passed.append(maker)
            name = maker.input[0]
        if name in ends:
            found.append((name, passed))
    return found
