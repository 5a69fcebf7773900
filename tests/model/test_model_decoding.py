"""Names that are not UTF-8 become text in the working copy, the same everywhere, and no other name."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxsens.model.decoding import decode_names

PLACEHOLDER, BAD = "Abc", b"\xff\xfe\x80"


def model_with(*names: str) -> onnx.ModelProto:
    """A product by a weight of the first name, with a result of the second; the placeholder in a name is no text."""
    first, second = names
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    nodes = [
        helper.make_node("MatMul", ["x", first], [second], name=PLACEHOLDER),
        helper.make_node("Relu", [second], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, PLACEHOLDER, ends[:1], ends[1:], [numpy_helper.from_array(np.eye(2, dtype="f4"), first)]
    )
    made = helper.make_model(graph, producer_name=PLACEHOLDER)
    return onnx.ModelProto.FromString(made.SerializeToString().replace(PLACEHOLDER.encode(), BAD))


def test_a_name_is_the_same_text_everywhere() -> None:
    proto = model_with(f"{PLACEHOLDER}w", f"{PLACEHOLDER}h")
    assert decode_names(proto, [proto.graph]) == 3
    product, relu = proto.graph.node
    assert product.input[1] == proto.graph.initializer[0].name == "\\xff\\xfe\\x80w"
    assert product.output[0] == relu.input[0] == "\\xff\\xfe\\x80h"
    assert product.name == proto.graph.name == proto.producer_name == "\\xff\\xfe\\x80"


def test_it_is_not_the_name_of_another() -> None:
    proto = model_with(f"{PLACEHOLDER}h", "\\xff\\xfe\\x80h")
    decode_names(proto, [proto.graph])
    product, relu = proto.graph.node
    assert product.output[0] == relu.input[0] == "\\xff\\xfe\\x80h"
    assert product.input[1] == proto.graph.initializer[0].name == "\\xff\\xfe\\x80h#"


def test_a_file_of_texts_stays_as_it_is() -> None:
    proto = model_with("w", "h")
    proto.graph.node[0].name, proto.graph.name, proto.producer_name = "n", "g", "p"
    before = proto.SerializeToString(deterministic=True)
    assert decode_names(proto, [proto.graph]) == 0
    assert proto.SerializeToString(deterministic=True) == before
