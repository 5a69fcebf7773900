"""What a file declares of its inputs, and which axis their samples lie along."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxsens.arrays import TensorSpec
from onnxsens.model.interface import element_dtype, feedable, operand_types, tensor_spec, with_batch_axes

F32 = np.dtype(np.float32)

AXES: dict[str, tuple[list[tuple[Any, ...]], list[int | None]]] = {
    "one input": ([("N", 3)], [0]),
    "all named alike": ([("batch", "seq"), ("batch", "seq")], [0, 0]),
    "state by name": ([("batch", "seq"), (2, "batch", 128)], [0, 1]),
    "state first": ([(2, "batch", 128), ("batch", "seq")], [1, 0]),
    "layers have a name too": ([("layers", "batch", 4), ("batch", "seq"), ("batch", "seq")], [1, 0, 0]),
    "each with a name of its own": ([("N", 3), ("M", 3)], [0, 0]),
    "no names": ([(None, None), (2, None, 128), ()], [0, 1, 0]),
    "no axis for it": ([("N", 3), (10, 4)], [0, None]),
    "sequence first": ([("T", "N", 3), (2, "N", 3)], [0, None]),
    "state of one sample": ([("N", 3), (1, 1, 128)], [0, 0]),
    "all fixed": ([(1, 576), (2, 1, 128)], [0, 1]),
    "all fixed, state first": ([(2, 4, 8), (4, 10)], [1, 0]),
    "either would do": ([(4, 2), (2, 4, 8)], [0, 1]),
    "two axes would do": ([(4, 2), (2, 4, 4)], [0, 0]),
    "no length that all have": ([(1, 2), (4, 3)], [0, 0]),
}


@pytest.mark.parametrize("name", AXES)
def test_the_axis_of_samples_follows_from_all_inputs(name: str) -> None:
    shapes, axes = AXES[name]
    specs = [TensorSpec(str(number), F32, shape) for number, shape in enumerate(shapes)]
    assert [spec.batch_axis for spec in with_batch_axes(specs)] == axes


def test_initializers_that_are_inputs_come_last_and_decide_nothing() -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "made",
        [
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [6, 3]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((6, 3), np.float32), "w")],
    )
    x, w = feedable(graph)
    assert (x.name, x.presence, x.batch_axis) == ("x", "required", 0)
    assert (w.name, w.presence, w.batch_axis) == ("w", "default", None)


def value(kind: onnx.TypeProto) -> TensorSpec:
    return tensor_spec(helper.make_value_info("v", kind))


def tensor(kind: int, shape: Any = ("N", 3)) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(kind, shape)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (tensor(TensorProto.FLOAT), "float32 [N, 3]"),
        (tensor(TensorProto.FLOAT, None), "float32 of any rank"),
        (tensor(TensorProto.FLOAT, [-1, None]), "float32 [?, ?]"),
        (tensor(TensorProto.STRING, []), "string []"),
        (tensor(TensorProto.FLOAT8E5M2), "float8e5m2 [N, 3]"),
        (helper.make_optional_type_proto(tensor(TensorProto.FLOAT)), "optional float32 [N, 3]"),
        (helper.make_sequence_type_proto(tensor(TensorProto.INT64)), "sequence of int64 tensors"),
        (
            helper.make_optional_type_proto(helper.make_sequence_type_proto(tensor(TensorProto.INT64))),
            "optional sequence of int64 tensors",
        ),
        (
            helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, tensor(TensorProto.FLOAT))),
            "sequence of map from int64 to float32s",
        ),
        (helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, ["N"]), "sparse float32 tensor"),
        (onnx.TypeProto(), "of a type that the file does not say"),
    ],
)
def test_every_kind_of_value_has_its_words(kind: onnx.TypeProto, text: str) -> None:
    assert value(kind).text == text


def test_only_types_that_numpy_has_itself_can_be_fed() -> None:
    known = {name for name, number in TensorProto.DataType.items() if number and element_dtype(number) is not None}
    assert known == {
        *("FLOAT", "FLOAT16", "DOUBLE", "BOOL", "COMPLEX64", "COMPLEX128"),
        *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    }


def test_types_of_operands_come_from_what_is_declared_stored_or_cast() -> None:
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [2], [0, 0])
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["a", "b"], ["c"], name="first"),
        helper.make_node("Mul", ["d", "w"], ["e"], name="second"),
    ]
    graph = helper.make_graph(nodes, "made", [], [], [weight])
    assert operand_types(graph, "Mul", "first") == ("float16",)
    assert operand_types(graph, "Mul", "second") == ("bfloat16",)
    assert operand_types(graph, "Mul", "") == operand_types(graph, "Mul", "gone") == ("bfloat16", "float16")
    assert operand_types(graph, "Add", "") == ()
