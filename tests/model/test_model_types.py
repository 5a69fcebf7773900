"""Whatever type a tensor is of, it is planned or listed with a reason, and nothing is counted twice or lost."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxsens.model import Inventory, load_model, take_inventory

TYPES = {name: number for name, number in TensorProto.DataType.items() if number}
PLAIN = {"FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"}
STEPS = {"INT8", "UINT8", "INT16", "UINT16", "INT32"}
SHAPE = (4, 6)
node = helper.make_node


def tensor_of(name: str, shape: tuple[int, ...] = SHAPE, called: str = "weight") -> TensorProto:
    """A tensor of ones, or of bits that stand for some number, in any type there is."""
    number = TYPES[name]
    if name == "STRING":
        return helper.make_tensor(called, number, shape, [b"a"] * int(np.prod(shape)))
    bits = {"2": 2, "4": 4}.get(name.removeprefix("U").removeprefix("INT"), 8)
    if name == "FLOAT4E2M1":
        bits = 4
    elif bits == 8:
        bits = helper.tensor_dtype_to_np_dtype(number).itemsize * 8
    size = -(-int(np.prod(shape)) * bits // 8)
    return TensorProto(name=called, data_type=number, dims=shape, raw_data=bytes([1] * size))


def inventory_of(folder: Path, nodes: list[onnx.NodeProto], *tensors: TensorProto) -> Inventory:
    data = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph(nodes, "one", [data], [helper.make_empty_tensor_value_info("y")], list(tensors))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    inventory = take_inventory(load_model(path))
    assert inventory.parameters == sum(int(np.prod(tensor.dims)) for tensor in tensors)
    return inventory


def outcome(inventory: Inventory) -> str:
    """`planned`, or why not."""
    if any(weight.name == "weight" for weight in inventory.weights):
        return "planned"
    (row,) = (row for row in inventory.skipped if row.name == "weight" or row.parameters >= 24)
    return row.reason


SCALE = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
CAST = [node("Cast", ["weight"], ["w"], to=TensorProto.FLOAT), node("MatMul", ["x", "w"], ["y"])]
DEQUANTIZE = [node("DequantizeLinear", ["weight", "scale"], ["w"]), node("MatMul", ["x", "w"], ["y"])]
INTEGERS = "indices, shapes and integer values are not pruned"


@pytest.mark.parametrize("name", TYPES)
def test_a_weight_that_is_multiplied_as_it_is(name: str, tmp_path: Path) -> None:
    found = outcome(inventory_of(tmp_path, [node("MatMul", ["x", "weight"], ["y"])], tensor_of(name)))
    if name in PLAIN:
        assert found == "planned"
    elif name in STEPS:
        assert found == "MatMul takes its integers without a scale and zero point that are known beforehand"
    else:
        assert found == f"elements of type {name.lower()} are not pruned yet"


@pytest.mark.parametrize("name", TYPES)
def test_a_weight_that_is_dequantized(name: str, tmp_path: Path) -> None:
    found = outcome(inventory_of(tmp_path, DEQUANTIZE, tensor_of(name), SCALE))
    if name in STEPS:
        assert found == "planned"
    elif name in PLAIN:
        assert found == "not the weight of a supported operator (DequantizeLinear input 0)"
    else:
        assert found == f"elements of type {name.lower()} are not pruned yet"


@pytest.mark.parametrize("name", TYPES)
def test_a_weight_that_is_cast(name: str, tmp_path: Path) -> None:
    found = outcome(inventory_of(tmp_path, CAST, tensor_of(name)))
    if name in PLAIN | STEPS:
        assert found == "planned"
    elif name.startswith("FLOAT"):
        assert found == "not the weight of a supported operator (Cast input 0)"
    else:
        assert found == INTEGERS


@pytest.mark.parametrize("name", TYPES)
def test_a_table_that_is_looked_up(name: str, tmp_path: Path) -> None:
    found = outcome(inventory_of(tmp_path, [node("Gather", ["weight", "x"], ["y"])], tensor_of(name)))
    if name in PLAIN:
        assert found == "planned"
    elif name in STEPS:
        reads = "not the weight of a supported operator (Gather input 0)"
        assert found == (reads if name in {"INT8", "UINT8"} else INTEGERS)  # nobody says what they stand for
    else:
        assert found in {INTEGERS, f"elements of type {name.lower()} are not pruned yet"}


@pytest.mark.parametrize("name", TYPES)
def test_a_weight_of_an_operator_that_takes_integers(name: str, tmp_path: Path) -> None:
    found = outcome(inventory_of(tmp_path, [node("MatMulInteger", ["x", "weight"], ["y"])], tensor_of(name)))
    if name in STEPS:
        assert found == "planned"
    elif name in PLAIN:
        assert found == "MatMulInteger takes it quantized with another zero point"
    else:
        assert found == f"elements of type {name.lower()} are not pruned yet"


PACKED_NODES: dict[str, Any] = {
    "MatMulNBits": node(
        "MatMulNBits", ["x", "weight", "scale"], ["y"], domain="com.microsoft", K=32, N=4, bits=4, block_size=32
    ),
    "MatMulBnb4": node("MatMulBnb4", ["x", "weight", "scale"], ["y"], domain="com.microsoft", K=32, N=4),
    "MatMulNBitsMlp": node(
        "MatMulNBitsMlp", ["x", "", "", "weight", "scale", "", "weight", "scale"], ["y"], domain="com.microsoft"
    ),
    "GatherBlockQuantized": node("GatherBlockQuantized", ["weight", "x", "scale"], ["y"], domain="com.microsoft"),
}


@pytest.mark.parametrize("operator", PACKED_NODES)
def test_a_packed_weight_is_listed_with_its_operator(operator: str, tmp_path: Path) -> None:
    inventory = inventory_of(tmp_path, [PACKED_NODES[operator]], tensor_of("UINT8", (4, 1, 16)), SCALE)
    assert outcome(inventory) == f"com.microsoft.{operator} keeps it in a packed form, which is not pruned yet"
