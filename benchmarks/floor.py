"""The least that a full grid can cost: for every weight, what is at or downstream of it, once for each level.

Finds its own way through the graph, with nothing of onnxsens in it, since it judges that.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import helper, shape_inference

Shapes = Mapping[str, list[int]]


def suffix_shares(path: Path, macs: Mapping[str, int]) -> dict[str, float]:
    """By weight: MACs of all nodes at or downstream of it, over all MACs of the model; in order of the walk.

    Args:
        macs: measured, per sample, by weight. MACs of products that have no weight (of attention) come from shapes.
    Raises:
        SystemExit: a weight is stored where this simple walk does not see it, such as in a body.
    """
    proto = onnx.load(path, load_external_data=False)
    nodes = list(proto.graph.node)
    reads = [set(node.input) | captured(node) for node in nodes]
    counted = node_macs(proto, reads, macs)
    total = sum(counted)
    shares = {}
    for weight in macs:
        reached = {weight}
        inside = 0
        for node, names, cost in zip(nodes, reads, counted, strict=True):  # sorted, as ONNX demands
            if names & reached:
                reached.update(name for name in node.output if name)
                inside += cost
        shares[weight] = inside / total
    first = {name: position for position in reversed(range(len(nodes))) for name in reads[position]}
    return dict(sorted(shares.items(), key=lambda item: first[item[0]]))


def captured(node: onnx.NodeProto) -> set[str]:
    """Names that the bodies of a Loop, If or Scan may take from outside; more than they do take does no harm."""
    bodies = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    return {name for body in bodies for inner in body.node for name in set(inner.input) | captured(inner)}


def node_macs(proto: onnx.ModelProto, reads: list[set[str]], macs: Mapping[str, int]) -> list[int]:
    """Per sample, by node. A weight that several nodes read is shared out evenly between them."""
    readers = {weight: sum(weight in names for names in reads) for weight in macs}
    hidden = [weight for weight in macs if not readers[weight]]
    if hidden:
        raise SystemExit(f"weights {hidden[:3]} are not read by a node of the main graph; this model has no floor here")
    shapes = inferred(proto)
    counted = []
    for node, names in zip(proto.graph.node, reads, strict=True):
        weights = [weight for weight in macs if weight in names]
        if weights:
            counted.append(sum(macs[weight] // readers[weight] for weight in weights))
        elif node.op_type == "MatMul":
            rows, output = shapes[node.input[0]], shapes[node.output[0]]
            counted.append(product(output) * rows[-1])
        else:
            counted.append(0)
    return counted


def inferred(proto: onnx.ModelProto) -> Shapes:
    """Shapes of all tensors for a batch of one."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in [*copy.graph.input, *copy.graph.output]:
        shape = value.type.tensor_type.shape
        dims = [dim.dim_value or 1 for dim in shape.dim]
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, dims))
    graph = shape_inference.infer_shapes(copy, data_prop=True).graph
    found = [*graph.value_info, *graph.input, *graph.output]
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in found}


def product(shape: list[int]) -> int:
    """Elements of a tensor."""
    result = 1
    for length in shape:
        result *= length
    return result
