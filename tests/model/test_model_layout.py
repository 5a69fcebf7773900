"""Matrix views, judged by what a model does with them."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import model_of, normal
from onnx import helper

from onnxsens.model.layout import OPERATORS, Layout, slot_of

# operator, weight's input, weight shape, shape of the other factor, attributes, axis of the output's channels
CASES = [
    ("Conv", 1, (4, 3, 3, 2), (2, 3, 7, 6), {}, 1),
    ("Conv", 1, (6, 2, 3, 3), (2, 4, 7, 7), {"group": 2, "strides": [2, 2]}, 1),
    ("Conv", 1, (4, 1, 3, 3), (1, 4, 5, 5), {"group": 4, "pads": [1, 1, 1, 1]}, 1),
    ("Conv", 1, (5, 3, 3), (2, 3, 9), {}, 1),
    ("ConvTranspose", 1, (3, 4, 2, 2), (2, 3, 5, 5), {"strides": [2, 2]}, 1),
    ("ConvTranspose", 1, (4, 3, 2, 2), (2, 4, 5, 5), {"group": 2}, 1),
    ("Gemm", 1, (4, 6), (3, 4), {"transB": 0}, 1),
    ("Gemm", 1, (6, 4), (3, 4), {"transB": 1}, 1),
    ("Gemm", 1, (6, 4), (4, 3), {"transA": 1, "transB": 1}, 1),
    ("Gemm", 0, (5, 4), (4, 3), {}, 0),
    ("Gemm", 0, (4, 5), (4, 3), {"transA": 1}, 0),
    ("MatMul", 1, (4, 6), (2, 3, 4), {}, 2),
    ("MatMul", 0, (5, 4), (4, 3), {}, 0),
    ("MatMul", 0, (5, 4), (2, 4, 3), {}, 1),
]


def one_node(operator: str, index: int, weight: np.ndarray, data: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    inputs = ["x", "w"] if index == 1 else ["w", "x"]
    node = helper.make_node(operator, inputs, ["y"], **attributes)
    proto = model_of([node], {"x": data.shape}, {"y": None}, {"w": weight})
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": data})[0]
    return result


def view(operator: str, index: int, shape: tuple[int, ...], attributes: dict[str, Any]) -> Layout:
    slot = slot_of(operator, "", index)
    assert slot is not None and slot.fits(shape, attributes)
    return slot.view(shape, attributes)


@pytest.mark.parametrize(("operator", "index", "shape", "data_shape", "attributes", "axis"), CASES)
class TestMatrixView:
    def test_a_row_makes_one_output_channel_and_no_other(
        self, operator: str, index: int, shape: Any, data_shape: Any, attributes: Any, axis: int
    ) -> None:
        rng = np.random.default_rng(0)
        weight, data = normal(rng, *shape), normal(rng, *data_shape)
        layout = view(operator, index, shape, attributes)
        dense = one_node(operator, index, weight, data, attributes)
        assert layout.rows == dense.shape[axis]
        for row in range(layout.rows):
            matrix = layout.to_matrix(weight).copy()
            matrix[row] = 0
            pruned = one_node(operator, index, layout.from_matrix(matrix), data, attributes)
            np.testing.assert_array_equal(np.take(pruned, row, axis), np.zeros_like(np.take(dense, row, axis)))
            others = [other for other in range(layout.rows) if other != row]
            np.testing.assert_allclose(np.take(pruned, others, axis), np.take(dense, others, axis), atol=1e-6)

    def test_macs_are_the_products_that_a_run_makes(
        self, operator: str, index: int, shape: Any, data_shape: Any, attributes: Any, axis: int
    ) -> None:
        """Without padding, a run on ones with a weight of ones adds up one for every product."""
        plain = {name: value for name, value in attributes.items() if name != "pads"}
        output = one_node(operator, index, np.ones(shape, np.float32), np.ones(data_shape, np.float32), plain)
        slot = slot_of(operator, "", index)
        assert slot is not None
        layout = view(operator, index, shape, plain)
        assert slot.macs(layout, data_shape, output.shape) == round(float(output.sum()))


@pytest.mark.parametrize("operator", ["GRU", "LSTM", "RNN"])
def test_a_recurrent_row_belongs_to_one_gate_of_one_hidden_unit(operator: str) -> None:
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[operator]
    for index, width in ((1, 5), (2, 3)):
        layout = view(operator, index, (2, gates * 3, width), {})
        assert layout.rows == 2 * gates * 3
        weight = np.arange(2 * gates * 3 * width, dtype=np.float32).reshape(2, gates * 3, width)
        np.testing.assert_array_equal(layout.to_matrix(weight)[gates * 3], weight[1, 0])


def test_recurrent_macs_count_every_step() -> None:
    slot = slot_of("GRU", "", 1)
    assert slot is not None
    layout = slot.view((1, 6, 5), {})
    assert slot.macs(layout, (7, 2, 5), (7, 1, 2, 2)) == 6 * 5 * 7 * 2


@given(st.sampled_from(sorted(OPERATORS)), st.data())
def test_from_matrix_is_the_exact_inverse_of_to_matrix_for_every_operator(operator: str, data: st.DataObject) -> None:
    slot = data.draw(st.sampled_from(OPERATORS[operator]))
    side = st.integers(1, 5)
    rank = slot.rank or data.draw(st.integers(3, 5) if "Conv" in operator else st.integers(2, 4))
    shape = tuple(data.draw(side) for _ in range(rank))
    attributes: dict[str, Any] = {"transA": data.draw(st.integers(0, 1)), "transB": data.draw(st.integers(0, 1))}
    if operator == "ConvTranspose":
        attributes["group"] = data.draw(st.sampled_from([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
    weight = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    layout = slot.view(shape, attributes)
    matrix = layout.to_matrix(weight)
    assert matrix.shape == (layout.rows, weight.size // layout.rows)
    np.testing.assert_array_equal(layout.from_matrix(matrix), weight)


def test_input_channels_are_fastest_in_a_convolution() -> None:
    weight = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    matrix = view("Conv", 1, weight.shape, {}).to_matrix(weight)
    np.testing.assert_array_equal(matrix[0, :3], weight[0, :, 0, 0])


def test_an_operator_of_another_domain_is_not_taken_for_ours() -> None:
    assert slot_of("Conv", "com.example", 1) is None
    assert slot_of("Conv", "", 2) is None
