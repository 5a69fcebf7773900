"""Put seeded numbers in the place of weights that a model makes by ConstantOfShape, to keep its file small."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


def fill(model: onnx.ModelProto, rng: np.random.Generator) -> int:
    """Replace every ConstantOfShape of a stored shape by an initializer of the same name; how many there were.

    Values let a signal through at its own size: He's scale for what is multiplied by, around 1 for what scales, small
    for what is added.
    """
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    replaced = [node for node in graph.node if node.op_type == "ConstantOfShape" and node.input[0] in shapes]
    roles = {name: (node.op_type, index) for node in reversed(graph.node) for index, name in enumerate(node.input)}
    for node in replaced:
        shape = tuple(int(length) for length in shapes[node.input[0]])
        operator, index = behind(node.output[0], graph, roles)
        values = draw(shape, operator, index, rng).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        if model.ir_version < 4:  # initializers had to be listed as inputs then
            graph.input.append(helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, shape))
        graph.node.remove(node)
    drop_unread(graph)
    return len(replaced)


def drop_unread(graph: onnx.GraphProto) -> None:
    """Take out stored tensors that no node reads any more: the shapes."""
    read = {name for node in graph.node for name in node.input}
    unread = {tensor.name for tensor in graph.initializer} - read
    for stored in (graph.initializer, graph.input):
        kept = [item for item in stored if item.name not in unread]
        del stored[:]
        stored.extend(kept)


def behind(name: str, graph: onnx.GraphProto, roles: dict[str, tuple[str, int]]) -> tuple[str, int]:
    """The operator that reads a tensor, and as which input; behind an Unsqueeze, who reads that."""
    role = roles.get(name, ("", 0))
    if role[0] != "Unsqueeze":
        return role
    output = next(node.output[0] for node in graph.node if name in node.input)
    return roles.get(output, ("", 0))


def draw(shape: tuple[int, ...], operator: str, index: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers for one role."""
    noise = rng.standard_normal(shape, np.float32)
    if len(shape) >= 2 and operator in ("Conv", "Gemm", "MatMul"):
        fan_in = shape[0] if operator == "MatMul" else int(np.prod(shape[1:]))
        return noise * np.float32(np.sqrt(2 / fan_in))
    if operator == "Mul" or (operator == "BatchNormalization" and index in (1, 4)):
        return 1 + 0.1 * np.clip(noise, -4, 4)
    return 0.1 * noise
