"""Relative errors, by hand and against outputs that ONNX Runtime makes of pruned weights."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from benches import bench_of
from networks import convolutional, model_of, normal, smallest_zeroed
from onnx import helper

from onnxsens.engine.calibration import Sampling
from onnxsens.engine.grams import GramBuilder
from onnxsens.engine.prediction import Prediction, Unpredicted, predict, relative_errors
from onnxsens.model.features import input_sources
from onnxsens.station import Station
from onnxsens.techniques import make_technique

LEVELS = (0.0, 0.25, 0.5, 0.9, 1.0)


def predictions_of(bench: Station, technique: str = "magnitude") -> dict[str, Prediction | Unpredicted]:
    sources = input_sources(bench.model, bench.inventory)
    indices = np.arange(20)
    # As the commands do: the evaluator's runner is the one that has the working copy.
    runner = bench.runner
    made = predict(runner, sources, make_technique(technique), LEVELS, indices, Sampling(10**6, 2**30))
    return {each.weight: each for each in made}


def test_an_error_is_the_share_of_the_outputs_squares_that_is_lost() -> None:
    """Inputs (1, 0) and (0, 2); of the weight (3, 1) the 1 goes: of 9 + 4 the 4."""
    builder = GramBuilder(1, 2)
    builder.add(np.array([[[1, 0], [0, 2]]], np.float32), 2)
    dense = np.array([[3, 1]], np.float32)
    prepared = make_technique("magnitude").prepare(dense)
    errors = relative_errors(builder.made(), dense, prepared, [0, 0.5, 1])
    assert errors is not None
    np.testing.assert_allclose(errors, [0, 4 / 13, 1], rtol=1e-12)


def test_an_output_that_is_always_zero_has_no_error() -> None:
    builder = GramBuilder(1, 2)
    builder.add(np.array([[[1, 0]]], np.float32), 1)
    dense = np.array([[0, 1]], np.float32)
    assert relative_errors(builder.made(), dense, make_technique("magnitude").prepare(dense), [0.5]) is None


def test_errors_are_those_of_the_first_outputs(tmp_path: Path) -> None:
    """The first Conv without its bias, alone in a model."""
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        found = predictions_of(bench)
        x = bench.dataset.batch(np.arange(20))["x"]
    assert list(found) == ["first", "depthwise", "up", "head"]
    first = found["first"]
    assert isinstance(first, Prediction)
    assert first.steps == (0, 18, 36, 65, 72)
    assert first.rows == 20 * 64
    weight = normal(np.random.default_rng(0), 4, 2, 3, 3)

    def output(values: np.ndarray) -> np.ndarray:
        node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
        proto = model_of([node], {"x": ["N", 2, 8, 8]}, {"y": ["N", 4, 8, 8]}, {"w": values})
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0].astype(np.float64)

    dense = output(weight)
    for zeros, error in zip(first.steps, first.errors, strict=True):
        lost = output(smallest_zeroed(weight, zeros)) - dense
        assert error == pytest.approx((lost**2).sum() / (dense**2).sum(), rel=1e-4, abs=1e-12)


def test_all_of_a_weight_is_all_of_its_output(tmp_path: Path) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        for technique in ("magnitude", "random@1"):
            for found in predictions_of(bench, technique).values():
                assert isinstance(found, Prediction)
                assert found.technique == technique
                assert (found.errors[0], found.errors[-1]) == (0, 1)
                assert all(0 <= error < 3 for error in found.errors)


def test_what_cannot_be_predicted_says_why(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["a"]),
        helper.make_node("MatMul", ["a", "silent"], ["b"]),
        helper.make_node("Mul", ["x", "huge"], ["c"]),
        helper.make_node("MatMul", ["c", "loud"], ["d"]),
        helper.make_node("ArgMax", ["x"], ["ids"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Sum", ["b", "e"], ["f"]),
        helper.make_node("Add", ["f", "d"], ["logits"]),
    ]
    weights = {name: normal(rng, 6, 3) for name in ("silent", "loud", "table")}
    scales = {"zero": np.zeros(1, np.float32), "huge": np.full(1, 1e30, np.float32)}
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights | scales)
    with bench_of(proto, tmp_path, (6,), classes=None, metrics=("dense-mse",)) as bench:
        found = predictions_of(bench)
    reasons = {name: each.reason for name, each in found.items() if isinstance(each, Unpredicted)}
    assert reasons == {
        "silent": "its output is 0 on these samples",
        "table": "the inputs of Gather are not read yet",
    }
    assert isinstance(found["loud"], Prediction)  # squares of 1e60 are within a double
