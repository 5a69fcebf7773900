"""Every way to keep a weight is found, read, changed and written as the operator sees it."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from networks import normal, saved
from stored_ways import ENCODINGS, IN, OUT, Encoding

from onnxsens.model import dense_matrix, load_model, stored_values, take_inventory, write_model

X = normal(np.random.default_rng(3), 5, IN)


def run(path: Path) -> np.ndarray:
    """As the file says: optimised, a DequantizeLinear becomes part of a product that quantizes x too."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": X})[0]


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    return ENCODINGS[request.param]()


def test_the_weight_is_found_where_it_is_stored(encoding: Encoding, tmp_path: Path) -> None:
    model = load_model(saved(encoding.proto, tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    known = {weight.name for weight in inventory.weights} - {"nothing", "start"}
    assert known == set(encoding.names)


def test_planned_and_skipped_are_all_elements_of_the_file(encoding: Encoding, tmp_path: Path) -> None:
    model = load_model(saved(encoding.proto, tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    assert inventory.parameters == sum(int(np.prod(stored.shape)) for stored in model.stored.values())


def test_its_rows_are_the_outputs_it_makes(encoding: Encoding, tmp_path: Path) -> None:
    model = load_model(saved(encoding.proto, tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    matrices = [dense_matrix(model, inventory.weight(name)) for name in encoding.names]
    assert all(matrix.dtype == np.float32 for matrix in matrices)
    together = np.concatenate(matrices, axis=1 if len(matrices[0]) == OUT else 0)
    np.testing.assert_array_equal(np.sort(together, axis=None), np.sort(encoding.weight, axis=None))
    if len(encoding.names) == 1:
        assert sorted(map(tuple, matrices[0])) == sorted(map(tuple, encoding.weight.T))


def test_nothing_changed_is_the_same_file(encoding: Encoding, tmp_path: Path) -> None:
    model = load_model(saved(encoding.proto, tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    same = {
        name: stored_values(model, inventory.weight(name), dense_matrix(model, inventory.weight(name)))
        for name in encoding.names
    }
    write_model(model, same, tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_zeros_in_the_matrix_are_zeros_to_the_operator(encoding: Encoding, tmp_path: Path) -> None:
    model = load_model(saved(encoding.proto, tmp_path / "m.onnx"))
    dense = run(model.path)
    np.testing.assert_allclose(dense, X @ encoding.weight, rtol=1e-5, atol=1e-5)
    inventory = take_inventory(model)
    seen = set()
    for name in encoding.names:
        weight = inventory.weight(name)
        matrix = dense_matrix(model, weight)
        for number in range(len(matrix)):
            without = matrix.copy()
            without[number] = 0
            write_model(model, {name: stored_values(model, weight, without)}, tmp_path / "new.onnx")
            lost = dense - run(tmp_path / "new.onnx")
            (column,) = np.flatnonzero(np.abs(lost).max(axis=0) > 1e-5)
            inputs = [i for i in range(IN) if encoding.weight[i, column] in matrix[number]]
            np.testing.assert_allclose(
                lost[:, column], X[:, inputs] @ encoding.weight[inputs, column], rtol=1e-4, atol=1e-4
            )
            seen.add(column)
    assert seen == set(range(OUT))
