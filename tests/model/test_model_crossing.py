"""Head and tail of what is downstream of a weight: the weight is in the head alone, and little crosses."""

import numpy as np
import onnx
import pytest
from networks import convolutional, model_of, normal, tied
from onnx import TensorProto, helper

from onnxsens.model.crossing import crossing, stored_behind
from onnxsens.model.cutting import Wiring


def crossings(proto: onnx.ModelProto, weights: list[str], wanted: tuple[str, ...] = ("logits",)) -> list[list[str]]:
    wiring = Wiring(proto)
    behind = stored_behind(wiring, weights)
    return [list(crossing(wiring, weight, behind, wanted)) for weight in weights]


def residual() -> onnx.ModelProto:
    """Conv, then a block of two Convs beside a shortcut, with a norm and a Relu after each; MatMul."""
    rng = np.random.default_rng(0)
    weights = {name: normal(rng, 4, 4, 3, 3) for name in ("first", "one", "two")} | {"head": normal(rng, 4, 3)}
    scales = dict.fromkeys(("scale", "variance"), np.ones(4, np.float32))
    shifts = dict.fromkeys(("shift", "mean"), np.zeros(4, np.float32))
    norm = ["scale", "shift", "mean", "variance"]
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", *norm], ["an"]),
        helper.make_node("Relu", ["an"], ["ar"]),
        helper.make_node("Conv", ["ar", "one"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("Conv", ["br", "two"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "ar"], ["d"]),
        helper.make_node("Relu", ["d"], ["dr"]),
        helper.make_node("ReduceMean", ["dr"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["m", "head"], ["logits"]),
    ]
    return model_of(nodes, {"x": ["N", 4, 6, 6]}, {"logits": ["N", 3]}, weights | scales | shifts)


def test_the_head_takes_along_what_an_optimiser_fuses_with_its_weight() -> None:
    assert crossings(residual(), ["first", "one", "two", "head"]) == [["ar"], ["br"], ["m"], []]


def test_the_last_of_the_narrowest_places_is_taken() -> None:
    """A norm's input goes on beside it: after the norm two tensors would cross."""
    rng = np.random.default_rng(0)
    weights = {"w": normal(rng, 6, 6), "v": normal(rng, 6, 6), "gamma": np.ones(6, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "x"], ["b"]),
        helper.make_node("LayerNormalization", ["b", "gamma"], ["c"]),
        helper.make_node("MatMul", ["c", "v"], ["d"]),
        helper.make_node("Add", ["b", "d"], ["logits"]),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 6]}, weights)
    assert crossings(proto, ["w", "v"]) == [["b"], []]


def test_a_weight_that_is_read_again_beyond_another_one_has_no_tail() -> None:
    rng = np.random.default_rng(0)
    weights = {"shared": normal(rng, 6, 6), "between": normal(rng, 6, 6), "head": normal(rng, 6, 3)}
    nodes = [
        helper.make_node("MatMul", ["x", "shared"], ["a"]),
        helper.make_node("MatMul", ["a", "between"], ["b"]),
        helper.make_node("MatMul", ["b", "shared"], ["c"]),
        helper.make_node("MatMul", ["c", "head"], ["logits"]),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights)
    assert crossings(proto, ["shared", "between", "head"]) == [[], ["b"], []]
    assert crossings(tied(), ["shared", "head"]) == [["d"], []]  # twice in a row is one head


def test_constants_made_of_a_weight_stay_with_it() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "steps": np.arange(36, dtype=np.int8).reshape(6, 6),
        "scale": np.float32(0.01).reshape(()),
        "w": normal(rng, 6, 6),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["steps", "scale"], ["made"]),
        helper.make_node("Transpose", ["made"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["logits"]),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 6]}, weights)
    assert crossings(proto, ["steps", "w"]) == [["b"], []]
    assert stored_behind(Wiring(proto), ["steps", "w"])["turned"] == {"steps"}


def test_outputs_are_all_in_the_tail() -> None:
    proto = residual()
    proto.graph.output.append(helper.make_tensor_value_info("an", TensorProto.FLOAT, ["N", 4, 6, 6]))
    assert crossings(proto, ["first", "one", "two"], ("logits", "an"))[0] == ["a"]
    assert crossings(proto, ["first", "one", "two"])[0] == ["ar"]


@pytest.mark.parametrize("make", [convolutional, residual])
def test_head_and_tail_share_no_weight_and_have_all_of_them(make: object) -> None:
    proto = make()  # type: ignore[operator]
    wiring = Wiring(proto)
    names = [tensor.name for tensor in proto.graph.initializer if len(tensor.dims) > 1]
    behind = stored_behind(wiring, names)
    for name in names:
        over = crossing(wiring, name, behind, ("logits",))
        numbers = wiring.changed_nodes(name, ("logits",))
        head = wiring.leading_to(over) & set(numbers)
        tail = wiring.leading_to(("logits",), over) & set(numbers)
        assert (head | tail if over else set(numbers)) == set(numbers)
        if over:
            assert not head & tail
            assert all(name not in wiring.reads[number] for number in tail)
