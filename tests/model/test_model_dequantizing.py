"""What stored integers stand for after a DequantizeLinear, against ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxsens.model.load import load_model
from onnxsens.model.operand import whole
from onnxsens.model.structure import STRUCTURAL, Site, handled


def never(_: Any) -> np.ndarray:
    raise AssertionError("nothing here is read from the file")


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decoded_elements_are_what_the_operator_gives(tmp_path: Path, data: st.DataObject) -> None:
    """For all, along an axis, and in blocks; the tensor may be turned before."""
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    order = list(data.draw(st.permutations(range(len(shape)))))
    turned = tuple(shape[axis] for axis in order)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    block = data.draw(st.integers(1, 3))
    form = data.draw(st.sampled_from(["all", "axis", "blocks"][: 1 + len(shape)]))  # blocks want two axes
    of_scale: dict[str, tuple[int, ...]] = {
        "all": (),
        "axis": (turned[axis],),
        "blocks": tuple(-(-n // block) if i == axis % len(shape) else n for i, n in enumerate(turned)),
    }
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    kind = data.draw(st.sampled_from([np.int8, np.uint8, np.int16, np.uint16]))
    limits = np.iinfo(kind)
    stored = rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
    scale = rng.uniform(0.1, 2, of_scale[form]).astype(np.float32)
    zero_point = rng.integers(limits.min, limits.max, of_scale[form], kind, endpoint=True)
    known = [scale] if data.draw(st.booleans()) else [scale, zero_point]
    attributes = {"axis": axis} | ({"block_size": block} if form == "blocks" else {})

    tensors = {"w": stored} | {f"c{i}": values for i, values in enumerate(known)}
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=order),
        helper.make_node("DequantizeLinear", ["t", *(f"c{i}" for i in range(len(known)))], ["y"], **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, turned)],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    (expected,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {})

    operand = whole(load_model(path).stored["w"])
    for operator, inputs, given_attributes in (
        ("Transpose", [], {"perm": order}),
        ("DequantizeLinear", known, attributes),
    ):
        site = Site(operator, given_attributes, [operand, *inputs], [True] * (1 + len(inputs)), 1, never)
        found = handled(STRUCTURAL["", operator], site)
        assert found is not None
        (operand,) = found
    (coding,) = operand.codings
    assert coding is not None
    decoded = coding.decode(stored)
    assert decoded.shape == stored.shape
    np.testing.assert_allclose(decoded.reshape(-1)[operand.positions()], expected, rtol=1e-6)
    np.testing.assert_array_equal(coding.encode(np.zeros_like(decoded), stored).astype(kind), zeros(stored, operand))


def zeros(stored: np.ndarray, operand: Any) -> np.ndarray:
    """The zero points, seen from where the elements lie."""
    (coding,) = operand.codings
    return np.broadcast_to(coding.zero_point, stored.shape)
