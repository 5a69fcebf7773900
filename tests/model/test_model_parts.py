"""Tensors that operators see in parts."""

from pathlib import Path

import numpy as np
from networks import model_of, normal, saved
from onnx import helper

from onnxsens.model import Weight, dense_matrix, load_model, take_inventory

RNG = np.random.default_rng(0)


def weights_of(path: Path) -> tuple[Weight, ...]:
    return take_inventory(load_model(path)).weights


def test_the_order_of_operators_side_by_side_does_not_order_the_rows(tmp_path: Path) -> None:
    values = normal(RNG, 3, 4)
    products = [
        helper.make_node("MatMul", ["x", "a"], ["ya"]),
        helper.make_node("MatMul", ["x", "b"], ["yb"]),
    ]
    split = helper.make_node("Split", ["w"], ["a", "b"], axis=1)
    join = helper.make_node("Concat", ["ya", "yb"], ["y"], axis=1)
    for number, middle in enumerate((products, products[::-1])):
        proto = model_of([split, *middle, join], {"x": ["N", 3]}, {"y": None}, {"w": values})
        model = load_model(saved(proto, tmp_path / f"{number}.onnx"))
        (weight,) = take_inventory(model).weights
        np.testing.assert_array_equal(dense_matrix(model, weight), values.T)


def test_an_operator_that_a_cut_leaves_nothing_of_a_tensor_is_none_of_its_consumers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Concat", ["v", "w"], ["both"], axis=1),
        helper.make_node("Split", ["both"], ["a", "b"], axis=1),
        helper.make_node("MatMul", ["x", "a"], ["ya"]),
        helper.make_node("MatMul", ["x", "b"], ["yb"]),
        helper.make_node("Sub", ["ya", "yb"], ["y"]),
    ]
    proto = model_of(nodes, {"x": ["N", 3]}, {"y": None}, {"v": normal(RNG, 3, 2), "w": normal(RNG, 3, 2)})
    found = {
        weight.name: [each.node for each in weight.consumers] for weight in weights_of(saved(proto, tmp_path / "m"))
    }
    assert found == {"v": ["ya"], "w": ["yb"]}
