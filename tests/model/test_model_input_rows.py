"""The law of input rows, with ONNX Runtime as the judge: rows times the matrix are what the operator puts out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx_cases import STANDARD
from operator_case import Case, real
from runtime_cases import RUNTIME

from onnxsens.model import dense_matrix, load_model, take_inventory
from onnxsens.model.features import MAKERS, Source, input_sources
from onnxsens.model.input_rows import NoRowsError

ALL = STANDARD | RUNTIME


def opened(proto: onnx.ModelProto, folder: Path) -> tuple[tuple[Source, ...] | str, np.ndarray]:
    """What is said of `weight`, and its matrix."""
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    model = load_model(path)
    inventory = take_inventory(model)
    return input_sources(model, inventory)["weight"], dense_matrix(model, inventory.weight("weight"))


def run(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y0"], feed)[0].astype(np.float64)


def arrays_of(source: Source, inputs: Sequence[np.ndarray | None], output: np.ndarray | None = None) -> list[Any]:
    found = [inputs[port.index] if port.kind == "input" else output for port in source.rows.ports]
    assert all(values is not None for values in found)
    return found


def all_rows(source: Source, arrays: Sequence[np.ndarray]) -> np.ndarray:
    rows = source.rows.take(arrays, np.arange(source.rows.places(arrays)))
    return rows.astype(np.float64)


def products(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`[out, places]`, each group's rows with its own part of the matrix."""
    parts = np.split(matrix.astype(np.float64), len(rows))
    return np.concatenate([part @ own.T for part, own in zip(parts, rows, strict=True)])


def leaky(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, 0.1 * values)


# What stands between the product and the output.
AFTER: dict[str, Callable[[np.ndarray, Case], np.ndarray]] = {
    "FusedConv": lambda z, case: np.maximum(z + case.inputs[2][:, None], 0),
    "FusedGemm": lambda z, case: leaky(z + case.inputs[2][:, None]),
    "FusedGemm, A": lambda z, case: np.tanh(z),
    "Gemm, both turned": lambda z, case: z + case.inputs[2][:, None],
}
STATEFUL = {"RNN", "LSTM", "GRU", "Attention"}  # have tests of their own
READ = [
    name
    for name, case in ALL.items()
    if case.weight in MAKERS.get((case.domain, case.operator), {}) and case.operator not in STATEFUL
]


@pytest.mark.parametrize("name", READ)
def test_rows_times_the_matrix_are_the_output(name: str, tmp_path: Path) -> None:
    case = ALL[name]
    found, matrix = opened(case.proto(), tmp_path)
    assert not isinstance(found, str), found
    arrays = arrays_of(found[0], case.inputs)
    rows = all_rows(found[0], arrays)
    assert rows.shape == (found[0].rows.groups, found[0].rows.places(arrays), matrix.shape[1])
    expected = run(case.proto(), case.feed())
    assert case.channels is not None
    expected = np.moveaxis(expected, case.channels, range(len(case.channels))).reshape(len(matrix), -1)
    made = AFTER.get(name, lambda z, case: z)(products(rows, matrix), case)
    np.testing.assert_allclose(made, expected, atol=2e-2 if arrays[0].dtype == np.float16 else 2e-5)


@pytest.mark.parametrize("name", READ)
def test_some_rows_are_those_of_all(name: str, tmp_path: Path) -> None:
    case = ALL[name]
    found, _ = opened(case.proto(), tmp_path)
    arrays = arrays_of(found[0], case.inputs)
    everything = found[0].rows.take(arrays, np.arange(found[0].rows.places(arrays)))
    chosen = np.arange(everything.shape[1])[1::3]
    before = [values.copy() for values in arrays]
    np.testing.assert_array_equal(found[0].rows.take(arrays, chosen), everything[:, chosen], strict=True)
    assert found[0].rows.take(arrays, chosen[:0]).shape == (everything.shape[0], 0, everything.shape[2])
    for values, kept in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(values, kept)


def test_operators_that_are_not_read_say_so(tmp_path: Path) -> None:
    for name in ALL.keys() - READ:
        case = ALL[name]
        if case.operator in STATEFUL:
            continue
        found, _ = opened(case.proto(), tmp_path)
        assert isinstance(found, str)
        assert case.operator in found


def test_every_operator_that_is_read_has_its_case() -> None:
    tested = {(ALL[name].domain, ALL[name].operator, ALL[name].weight) for name in READ}
    listed = {(*key, index) for key, makers in MAKERS.items() for index in makers if key[1] not in STATEFUL}
    assert tested == listed - {("com.microsoft", "TransposeMatMul", 0)}  # FusedMatMul under its older name


def one(operator: str, data: np.ndarray, weight: np.ndarray, index: int = 1, **attributes: object) -> Case:
    inputs = [data, weight] if index == 1 else [weight, data]
    return Case(operator, inputs, 0, weight=index, data=1 - index, attributes=attributes)


def random_conv(rng: np.random.Generator) -> Case:
    """A Conv or ConvTranspose in 1 to 3 dimensions, of any attributes that ONNX Runtime takes."""
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    transposed = bool(rng.integers(2))
    kernel, strides, dilations = (rng.integers(1, 4, rank).tolist() for _ in range(3))
    size = [int(rng.integers(7, 10)) for _ in range(rank)]
    each = int(rng.integers(1, 3))
    attributes: dict[str, object] = {"group": groups, "strides": strides, "dilations": dilations}
    pads = str(rng.choice(["explicit", "none", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if pads == "explicit":
        attributes["pads"] = rng.integers(0, 3, 2 * rank).tolist()
    elif pads != "none":
        attributes["auto_pad"] = pads
    if pads.startswith("SAME"):
        del attributes["dilations"]
    if transposed:
        if pads in {"explicit", "none", "VALID"} and max(strides) > 1:
            attributes["output_padding"] = [stride - 1 for stride in strides]
        weight = real(each * groups, 2, *kernel)
    else:
        weight = real(2 * groups, each, *kernel)
    return one("ConvTranspose" if transposed else "Conv", real(2, each * groups, *size), weight, **attributes)


@pytest.mark.parametrize("seed", range(80))
def test_convolutions_of_all_attributes_keep_the_law(seed: int, tmp_path: Path) -> None:
    case = random_conv(np.random.default_rng(seed))
    found, matrix = opened(case.proto(), tmp_path)
    assert not isinstance(found, str), found
    expected = run(case.proto(), case.feed()).swapaxes(0, 1).reshape(len(matrix), -1)
    rows = all_rows(found[0], case.inputs[:1])
    np.testing.assert_allclose(products(rows, matrix), expected, atol=5e-5, err_msg=str(case))


@pytest.mark.parametrize("output_shape", [[11, 12], [12, 14], [10, 9], [14, 16]])
@pytest.mark.parametrize("auto_pad", [None, "SAME_UPPER", "SAME_LOWER"])
def test_a_transposed_convolution_of_given_shape_keeps_the_law(
    output_shape: list[int], auto_pad: str | None, tmp_path: Path
) -> None:
    more = {"auto_pad": auto_pad} if auto_pad else {}
    case = one(
        "ConvTranspose", real(2, 4, 6, 5), real(4, 3, 3, 3), strides=[2, 3], group=2, output_shape=output_shape, **more
    )
    found, matrix = opened(case.proto(), tmp_path)
    expected = run(case.proto(), case.feed())
    assert list(expected.shape[2:]) == output_shape
    rows = all_rows(found[0], case.inputs[:1])
    np.testing.assert_allclose(products(rows, matrix), expected.swapaxes(0, 1).reshape(6, -1), atol=5e-5)


PRODUCTS = {
    "a vector": (one("MatMul", real(4), real(4, 6)), (-1,)),
    "a vector on the right": (one("MatMul", real(4), real(6, 4), 0), (-1,)),
    "data for each of many matrices": (one("MatMul", real(3, 4), real(2, 5, 4, 6)), (0, 1, 3)),
    "batches that are broadcast both ways": (one("MatMul", real(7, 1, 3, 4), real(2, 4, 6)), (1, 3)),
    "a batch of one": (one("MatMul", real(5, 7, 3, 4), real(1, 1, 4, 6)), (-1,)),
    "a matrix for each, one of them for all": (one("MatMul", real(2, 5, 3, 4), real(2, 1, 4, 6)), (0, 3)),
    "many on the left": (one("MatMul", real(4, 3), real(2, 5, 4), 0), (0, 1)),
    "alpha": (one("Gemm", real(3, 4), real(4, 6), alpha=0.5), (-1,)),
    "alpha on the left": (one("Gemm", real(3, 4), real(6, 4), 0, alpha=-2.0, transB=1), (0,)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_all_shapes_keep_the_law(name: str, tmp_path: Path) -> None:
    case, channels = PRODUCTS[name]
    found, matrix = opened(case.proto(), tmp_path)
    assert not isinstance(found, str), found
    expected = run(case.proto(), case.feed())
    expected = np.moveaxis(expected, channels, range(len(channels))).reshape(len(matrix), -1)
    rows = all_rows(found[0], [case.inputs[case.data]])
    np.testing.assert_allclose(products(rows, matrix), expected, atol=2e-5)


SUMS = {
    "ij,jk->ki": (real(3, 4), real(4, 6), 1, (0,)),
    "bij,kj->ik": (real(2, 3, 4), real(6, 4), 1, (-1,)),  # b is summed over in the data alone
    "hjk,bhj->bhk": (real(2, 3, 4), real(3, 4, 5), 0, (1, 2)),
    "hb,hk->bhk": (real(3, 2), real(3, 5), 1, (1, 2)),  # nothing is summed over
    "jk,j->k": (real(4), real(4, 6), 0, (0,)),
}


@pytest.mark.parametrize("equation", SUMS)
def test_sums_of_all_kinds_keep_the_law(equation: str, tmp_path: Path) -> None:
    data, weight, index, channels = SUMS[equation]
    case = one("Einsum", data, weight, index, equation=equation)
    found, matrix = opened(case.proto(), tmp_path)
    assert not isinstance(found, str), found
    expected = run(case.proto(), case.feed())
    expected = np.moveaxis(expected, channels, range(len(channels))).reshape(len(matrix), -1)
    np.testing.assert_allclose(products(all_rows(found[0], [data]), matrix), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("equation", "data", "weight", "reason"),
    [
        ("ij,...j->i...", real(3, 4), real(6, 4), "an ellipsis in its equation"),
        ("ij,jk,kl->il", None, None, "one of 3 factors"),
        ("bhj,jkh->bhk", real(2, 3, 4), real(4, 5, 3), "not next to each other"),
        ("ij,jkl->ik", real(3, 4), real(4, 5, 2), "summed over by itself"),
        ("ii,ij->ij", real(4, 4), real(4, 5), "a label twice"),
    ],
)
def test_sums_without_rows_say_why(
    equation: str, data: np.ndarray, weight: np.ndarray, reason: str, tmp_path: Path
) -> None:
    case = one("Einsum", data, weight, equation=equation) if data is not None else None
    if case is None:
        case = Case("Einsum", [real(3, 4), real(4, 5), real(5, 2)], 0, feeds=(2,), attributes={"equation": equation})
    found, _ = opened(case.proto(), tmp_path)
    if not isinstance(found, str):
        with pytest.raises(NoRowsError, match=reason):
            found[0].rows.places([data])
    else:
        assert reason in found


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def step(operator: str, x: np.ndarray, r: np.ndarray, state: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, ...]:
    """State and cell after a step, from what W and R make of its rows `[n, gates * hidden]`; no bias."""
    if operator == "RNN":
        return np.tanh(x + r), cell
    parts = [np.split(each, {"GRU": 3, "LSTM": 4}[operator], axis=1) for each in (x, r)]
    if operator == "GRU":
        update, reset = (sigmoid(parts[0][i] + parts[1][i]) for i in (0, 1))
        new = np.tanh(parts[0][2] + reset * parts[1][2])
        return (1 - update) * new + update * state, cell
    i, o, f, c = (a + b for a, b in zip(*parts, strict=True))
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
    return sigmoid(o) * np.tanh(cell), cell


RECURRENT = [
    (operator, direction, lengths, first)
    for operator in ("RNN", "GRU", "LSTM")
    for direction in ("forward", "reverse", "bidirectional")
    for lengths in (None, [4, 2, 1])
    for first in (False, True)
]


@pytest.mark.parametrize(("operator", "direction", "lengths", "first"), RECURRENT)
def test_recurrent_rows_are_what_makes_the_next_state(
    operator: str, direction: str, lengths: list[int] | None, first: bool, tmp_path: Path
) -> None:
    """Each state that ONNX Runtime puts out follows from the rows of its step; with cells, of all steps before too."""
    rng = np.random.default_rng(3)
    gates, directions = {"RNN": 1, "GRU": 3, "LSTM": 4}[operator], 2 if direction == "bidirectional" else 1
    x = rng.standard_normal((4, 3, 5)).astype(np.float32)
    w = (rng.standard_normal((directions, gates * 2, 5)) / 3).astype(np.float32)
    r = (rng.standard_normal((directions, gates * 2, 2)) / 2).astype(np.float32)
    h0 = rng.standard_normal((directions, 3, 2)).astype(np.float32) if first else None
    ends = np.array(lengths, np.int32) if lengths else None
    more = {"linear_before_reset": 1} if operator == "GRU" else {}
    attributes = {"hidden_size": 2, "direction": direction, **more}
    rows = {}
    inputs = [x, w, r, None, ends, h0]
    for index in (1, 2):
        fed = tuple(i for i in (4, 5) if inputs[i] is not None)
        case = Case(operator, inputs, 0, weight=index, feeds=fed, attributes=attributes)
        (source,), matrix = opened(case.proto(), tmp_path)
        states = run(case.proto(), case.feed())
        arrays = arrays_of(source, inputs, states.astype(np.float32))
        made = all_rows(source, arrays)
        assert len(made) == directions
        parts = np.split(matrix.astype(np.float64), directions)
        rows[index] = np.stack([own @ part.T for own, part in zip(made, parts, strict=True)])
    places = [(t, b) for t in range(4) for b in range(3) if ends is None or t < ends[b]]
    assert rows[1].shape == rows[2].shape == (directions, len(places), gates * 2)
    number = {place: i for i, place in enumerate(places)}
    for d in range(directions):
        backward = direction == "reverse" or d == 1
        for b in range(3):
            end = 4 if ends is None else int(ends[b])
            state, cell = (np.zeros((1, 2)) if h0 is None else h0[d, b][None]), np.zeros((1, 2))
            for t in reversed(range(end)) if backward else range(end):
                at = number[t, b]
                state, cell = step(operator, rows[1][d, at][None], rows[2][d, at][None], state, cell)
                np.testing.assert_allclose(state[0], states[t, d, b], atol=1e-5)
                state = states[t, d, b][None]


def test_batches_first_are_the_same_rows_in_other_axes(tmp_path: Path) -> None:
    """ONNX Runtime has no kernel for that layout on the CPU, so it is held against the other one."""
    rng = np.random.default_rng(4)
    x, states, h0 = rng.standard_normal((4, 3, 5)), rng.standard_normal((4, 2, 3, 2)), rng.standard_normal((2, 3, 2))
    ends = np.array([4, 2, 1], np.int32)
    inputs = [real(4, 3, 5), real(2, 8, 5), real(2, 8, 2), None, ends, real(2, 3, 2)]
    for index, plain, turned in (
        (1, [x, ends], [x.swapaxes(0, 1), ends]),
        (2, [states, h0, ends], [states.transpose(2, 0, 1, 3), h0.swapaxes(0, 1), ends]),
    ):
        made = []
        for layout, arrays in ((0, plain), (1, turned)):
            attributes = {"hidden_size": 2, "direction": "bidirectional", "layout": layout}
            case = Case("LSTM", inputs, 0, weight=index, feeds=(4, 5), attributes=attributes)
            (source,), _ = opened(case.proto(), tmp_path)
            made.append(all_rows(source, arrays))
        np.testing.assert_array_equal(*made)


def test_a_gru_that_resets_before_it_multiplies_goes_without_its_states(tmp_path: Path) -> None:
    case = Case("GRU", [real(3, 2, 5), real(1, 12, 5), real(1, 12, 4)], 0, weight=2, attributes={"hidden_size": 4})
    found, _ = opened(case.proto(), tmp_path)
    assert isinstance(found, str) and "resets the state before it multiplies" in found


def test_attention_projects_its_rows(tmp_path: Path) -> None:
    """Two heads of two, worked out from the projections."""
    case = RUNTIME["Attention"]
    (source,), matrix = opened(case.proto(), tmp_path)
    rows = all_rows(source, case.inputs[:1])
    assert rows.shape == (1, 10, 4)
    projected = (rows[0] @ matrix.T + case.inputs[2]).reshape(2, 5, 3, 2, 2)
    queries, keys, values = (projected[:, :, i].swapaxes(1, 2) for i in range(3))
    scores = np.exp(queries @ keys.swapaxes(-1, -2) / np.sqrt(2))
    expected = (scores / scores.sum(-1, keepdims=True) @ values).swapaxes(1, 2).reshape(2, 5, 4)
    np.testing.assert_allclose(run(case.proto(), case.feed()), expected, atol=1e-5)


def graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3, 4])],
        [helper.make_empty_tensor_value_info("y0")],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_tied_weight_has_a_source_for_each_operator(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["a"]),
        helper.make_node("Transpose", ["weight"], ["turned"], perm=[1, 0]),
        helper.make_node("Gemm", ["a", "turned"], ["y0"], transB=1),
    ]
    found, _ = opened(graph(nodes, {"weight": real(4, 4)}), tmp_path)
    assert not isinstance(found, str) and len(found) == 2


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (
            [("MatMul", ["x", "weight"], "a", {}), ("Gemm", ["a", "weight"], "y0", {"transB": 1})],
            "as different matrices",
        ),
        ([("MatMul", ["x", "weight"], "a", {}), ("Add", ["a", "weight"], "y0", {})], "something else reads it too"),
        (
            [
                ("Slice", ["weight", "zeros", "middle"], "one", {}),
                ("Slice", ["weight", "half", "all"], "other", {}),
                ("MatMul", ["x", "one"], "a", {}),
                ("MatMul", ["x", "other"], "b", {}),
                ("Concat", ["a", "b"], "y0", {"axis": 1}),
            ],
            "in part, or joined",
        ),
        (
            [
                ("ArgMax", ["x"], "ids", {"axis": 1, "keepdims": 0}),
                ("MatMul", ["x", "weight"], "a", {}),
                ("Gather", ["weight", "ids"], "b", {}),
                ("Add", ["a", "b"], "y0", {}),
            ],
            "inputs of Gather are not read yet",
        ),
    ],
)
def test_a_weight_that_is_used_in_another_way_goes_without(
    nodes: list[tuple[str, list[str], str, dict[str, int]]], reason: str, tmp_path: Path
) -> None:
    made = [helper.make_node(kind, inputs, [output], **attributes) for kind, inputs, output, attributes in nodes]
    more = {"zeros": np.array([0, 0]), "middle": np.array([4, 2]), "half": np.array([0, 2]), "all": np.array([4, 4])}
    found, _ = opened(graph(made, {"weight": real(4, 4), **more}), tmp_path)
    assert isinstance(found, str) and reason in found


def test_a_weight_in_a_body_goes_without(tmp_path: Path, models: Path) -> None:
    model = load_model(models / "jv_gru1_loop.onnx")
    found = input_sources(model, take_inventory(model))
    assert found["hh.weight"] == "it is used in the body of another operator"
    assert not isinstance(found["f.weight"], str)
