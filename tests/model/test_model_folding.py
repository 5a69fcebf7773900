"""Integer arithmetic of a node, against ONNX's reference implementation; the shapes that follow; what is left alone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import model_of, normal, saved
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxsens.model import load_model, take_inventory
from onnxsens.model.folding import MAX_ELEMENTS, Shaped, folded, folds
from onnxsens.model.structure import Site
from onnxsens.model.tracing import value_of

ROWS = np.array([[7, -7, 3], [-3, 5, 0]])
FLAGS = ROWS > 0


def site_of(operator: str, inputs: list[Any], attributes: dict[str, Any]) -> Site:
    given = [entry is not None for entry in inputs]
    return Site(operator, attributes, inputs, given, 1, lambda operand: np.zeros(0))


def by_hand(operator: str, *inputs: Any, **attributes: Any) -> Any:
    made = folded(site_of(operator, list(inputs), attributes), list(inputs))
    return None if made is None else made[0]


def by_reference(operator: str, inputs: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    names = [f"i{number}" for number in range(len(inputs))]
    made = helper.make_node(operator, names, ["o"], **attributes)
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(names, inputs, strict=True)
    ]
    graph = helper.make_graph([made], "g", values, [helper.make_tensor_value_info("o", TensorProto.UNDEFINED, None)])
    session = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CASES: list[tuple[str, list[np.ndarray], dict[str, Any]]] = [
    ("Shape", [ROWS], {}),
    ("Shape", [ROWS], {"start": -1}),
    ("Shape", [ROWS], {"start": -9, "end": 1}),
    ("Size", [ROWS], {}),
    ("Identity", [ROWS], {}),
    ("Cast", [ROWS], {"to": TensorProto.INT32}),
    ("Cast", [ROWS], {"to": TensorProto.BOOL}),
    ("Cast", [FLAGS], {"to": TensorProto.INT64}),
    ("Squeeze", [ROWS[None], whole(0)], {}),
    ("Squeeze", [ROWS[None]], {}),
    ("Unsqueeze", [np.array(5), whole(0)], {}),
    ("Concat", [ROWS, ROWS], {"axis": -1}),
    ("Gather", [ROWS, np.array(-1)], {"axis": 1}),
    ("Gather", [whole(4, 5, 6), np.array(2)], {}),
    ("Slice", [ROWS, whole(-1), whole(9), whole(1)], {}),
    ("Slice", [whole(1, 2, 3), whole(2), whole(-9), whole(0), whole(-1)], {}),
    ("Reshape", [ROWS, whole(3, -1)], {}),
    ("Reshape", [ROWS, whole(0, -1, 1)], {}),
    ("Flatten", [ROWS], {"axis": 0}),
    ("Transpose", [ROWS], {}),
    ("Transpose", [ROWS[None]], {"perm": [2, 0, 1]}),
    ("Expand", [whole(3), whole(2, 1)], {}),
    ("Range", [np.array(9), np.array(-1), np.array(-3)], {}),
    ("Range", [np.array(3), np.array(1), np.array(1)], {}),
    ("Where", [FLAGS, ROWS, whole(-1)], {}),
    ("Add", [ROWS, whole(1, 2, 3)], {}),
    ("Sub", [ROWS, whole(1)], {}),
    ("Mul", [ROWS, np.array(2)], {}),
    ("Mod", [ROWS, whole(-4)], {}),
    ("Mod", [ROWS, whole(-4)], {"fmod": 1}),
    ("Neg", [ROWS], {}),
    ("Abs", [ROWS], {}),
    ("Min", [ROWS, whole(0), whole(2)], {}),
    ("Max", [ROWS, whole(1)], {}),
    ("Equal", [ROWS, whole(0)], {}),
    ("Equal", [FLAGS, ~FLAGS], {}),
    ("Less", [ROWS, whole(0)], {}),
    ("Greater", [ROWS, whole(0)], {}),
    ("LessOrEqual", [ROWS, whole(0)], {}),
    ("GreaterOrEqual", [ROWS, whole(0)], {}),
    ("And", [FLAGS, FLAGS], {}),
    ("Or", [FLAGS, ~FLAGS], {}),
    ("Not", [FLAGS], {}),
]


@pytest.mark.parametrize(("operator", "inputs", "attributes"), CASES, ids=lambda part: part if part is str else None)
def test_it_is_what_onnx_says(operator: str, inputs: list[np.ndarray], attributes: dict[str, Any]) -> None:
    assert folds(operator, "") and folds(operator, "ai.onnx") and not folds(operator, "own")
    found, expected = by_hand(operator, *inputs, **attributes), by_reference(operator, inputs, attributes)
    np.testing.assert_array_equal(found, expected, strict=True)


def test_integers_are_divided_towards_zero_as_the_runtime_does() -> None:
    assert by_hand("Div", whole(7, -7, 7, -7, 6, -6), whole(2, 2, -2, -2, 3, 3)).tolist() == [3, -3, -3, 3, 2, -2]


class TestWhatIsNotKnownBeforehandEndsTheWay:
    def test_an_input_that_is_computed(self) -> None:
        assert by_hand("Add", Shaped((1,)), whole(1)) is None

    def test_floating_point(self) -> None:
        assert by_hand("Add", np.ones(1, np.float32), np.ones(1, np.float32)) is None
        assert by_hand("Cast", whole(1), to=TensorProto.FLOAT) is None

    @pytest.mark.parametrize(
        ("operator", "inputs", "attributes"),
        [
            ("Div", [whole(1), whole(0)], {}),
            ("Mod", [whole(1), whole(0)], {}),
            ("Add", [whole(1), np.ones(1, np.int32)], {}),
            ("Add", [whole(1, 2), whole(1, 2, 3)], {}),
            ("Add", [FLAGS, FLAGS], {}),
            ("Range", [np.array(0), np.array(9), np.array(0)], {}),
            ("Reshape", [whole(1, 2, 3), whole(2, 2)], {}),
            ("Gather", [whole(1), whole(5)], {}),
            ("Concat", [whole(1), whole(2)], {}),
            ("Concat", [whole(1), whole(2)], {"axis": 4}),
            ("Where", [whole(1), whole(1), whole(2)], {}),
            ("Expand", [whole(1), whole(-1)], {}),
            ("Add", [], {}),
            ("Shape", [], {}),
        ],
    )
    def test_a_node_that_the_runtime_refuses(
        self, operator: str, inputs: list[np.ndarray], attributes: dict[str, Any]
    ) -> None:
        assert by_hand(operator, *inputs, **attributes) is None

    @pytest.mark.parametrize(
        ("operator", "inputs"),
        [
            ("Neg", [np.zeros(MAX_ELEMENTS + 1, np.int64)]),
            ("Mul", [np.ones((MAX_ELEMENTS, 1), np.int64), np.ones((1, 2), np.int64)]),
            ("Range", [np.array(0), np.array(2**62), np.array(1)]),
            ("Gather", [np.ones((1, 2), np.int64), np.zeros(MAX_ELEMENTS, np.int64)]),
        ],
    )
    def test_what_is_long(self, operator: str, inputs: list[np.ndarray]) -> None:
        assert by_hand(operator, *inputs) is None


class TestShapes:
    def test_many_equal_elements_have_a_shape_and_take_no_memory(self) -> None:
        assert by_hand("Expand", whole(1), whole(2**40, 3)) == Shaped((2**40, 3))
        assert by_hand("ConstantOfShape", whole(2**40)) == Shaped((2**40,))

    def test_floating_point_that_is_expanded_has_a_shape(self) -> None:
        assert by_hand("Expand", Shaped((3, 1)), whole(2, 1, 4)) == Shaped((2, 3, 4))
        assert by_hand("Shape", Shaped((2, 3, 4)), start=2).tolist() == [4]
        assert by_hand("Size", Shaped((2, 3, 4))).tolist() == 24

    def test_a_constant_of_a_shape_has_its_value(self) -> None:
        assert by_hand("ConstantOfShape", whole(2), value=whole(7)).tolist() == [7, 7]
        assert by_hand("ConstantOfShape", whole(2)) == Shaped((2,))


def test_the_shape_of_a_weight_is_no_reader_of_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Shape", ["w"], ["lengths"]),
        helper.make_node("Size", ["w"], ["many"]),
        helper.make_node("Cast", ["lengths"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["p", "numbers"], ["y"]),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"y": None}, {"w": normal(np.random.default_rng(0), 6, 2)})
    weight = take_inventory(load_model(saved(proto, tmp_path / "m.onnx"))).weight("w")
    assert weight.readers == ()


def test_an_empty_list_of_integers_is_integers(tmp_path: Path) -> None:
    attribute = helper.make_attribute("value_ints", [], attr_type=onnx.AttributeProto.INTS)
    assert value_of(attribute) == []
    proto = model_of(
        [
            helper.make_node("Constant", [], ["none"], name="c"),
            helper.make_node("Concat", ["none", "rest"], ["shape"], axis=0),
            helper.make_node("Reshape", ["w", "shape"], ["v"]),
            helper.make_node("MatMul", ["x", "v"], ["y"]),
        ],
        {"x": ["N", 6]},
        {"y": None},
        {"w": np.ones(12, np.float32)},
    )
    proto.graph.node[0].attribute.append(attribute)
    proto.graph.initializer.append(numpy_helper.from_array(whole(6, 2), "rest"))
    inventory = take_inventory(load_model(saved(proto, tmp_path / "m.onnx")))
    assert [weight.name for weight in inventory.weights] == ["w"]
