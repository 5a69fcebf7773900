"""What every evaluator has to keep: the same tests over all of them, and over each way that a weight can take."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from benches import bench_of
from engines import ENGINES, assert_alike, evaluator_over, levels_of
from networks import (
    convolutional,
    model_of,
    noisy,
    normal,
    oracle,
    smallest_zeroed,
    tied,
    tied_embedding,
    with_dead_weight,
    with_external_data,
    with_idle_branch,
)
from onnx import TensorProto, helper, numpy_helper
from twins import TWINS

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.engine import Change, Evaluator, Question
from onnxsens.engine.runner import ModelRunner, Outputs
from onnxsens.engine.sessions import Session
from onnxsens.errors import EngineBugError
from onnxsens.options import Options
from onnxsens.station import Station

pytestmark = pytest.mark.parametrize("engine", ENGINES)


def weight_values(path: Path, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer if t.name == name)


def squared(path: Path, x: np.ndarray, changes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean squared difference of the first output for each sample, by the oracle."""
    dense, after = oracle(path, {}, {"x": x})[0], oracle(path, changes, {"x": x})[0]
    result: np.ndarray = ((dense.astype(np.float64) - after) ** 2).reshape(len(x), -1).mean(1)
    return result


def drops(evaluator: Evaluator, change: Change, samples: tuple[int, int], metric: str = "dense-mse") -> Any:
    return evaluator.answer(Question((change,), "search", samples, (metric,), values=True)).measurements[metric].drops


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_level_is_what_the_oracle_says(tmp_path: Path, engine: str, size: int) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=("dense-mse",), batch_size=size) as bench:
        x = np.load(tmp_path / "d.npz")["x"][bench.split.search[4:30]]
        with evaluator_over(bench, engine) as evaluator:
            for name in ("first", "depthwise", "up", "head"):
                values = weight_values(tmp_path / "m.onnx", name)
                expected = squared(tmp_path / "m.onnx", x, {name: smallest_zeroed(values, round(0.6 * values.size))})
                found = drops(evaluator, Change(name, "magnitude", 0.6), (4, 30))
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("twin", ["int8 per tensor", "uint8 per axis", "float16", "constants", "transposed", "sparse"])
def test_weights_kept_in_other_ways_are_what_the_reference_says(tmp_path: Path, engine: str, twin: str) -> None:
    names = ("first", "up", "head") if twin != "transposed" else ("head",)
    proto = TWINS[twin](convolutional(), names).twin
    metrics = ("dense-mse", "accuracy")
    with (
        bench_of(proto, tmp_path, (2, 8, 8), metrics=metrics, batch_size=8) as bench,
        evaluator_over(bench, engine) as evaluator,
    ):
        for weight in bench.inventory.weights:
            asked = levels_of(weight.name, (0, 30), metrics)
            for found, expected in zip(evaluator.answers(asked), bench.evaluator.answers(asked), strict=True):
                assert not found.failures
                assert_alike(found.measurements["dense-mse"], expected.measurements["dense-mse"])


def test_external_data_is_found(tmp_path: Path, engine: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = with_external_data(convolutional(), folder / "e.onnx")
    np.savez(tmp_path / "d.npz", x=normal(np.random.default_rng(1), 20, 2, 8, 8))
    options = Options(str(tmp_path / "d.npz"), provider="cpu", threads=1, metrics=("dense-mse",), batch_size=4)
    with Station(path, options) as bench, evaluator_over(bench, engine) as evaluator:
        for weight in bench.inventory.weights:
            [asked] = levels_of(weight.name, (0, 10), ("dense-mse",), (0.5,))
            assert_alike(
                evaluator.answer(asked).measurements["dense-mse"],
                bench.evaluator.answer(asked).measurements["dense-mse"],
            )


def test_a_tied_weight_is_changed_everywhere_at_once(tmp_path: Path, engine: str) -> None:
    with bench_of(tied(), tmp_path, (6,), 3, metrics=("dense-mse",)) as bench:
        x = np.load(tmp_path / "d.npz")["x"][bench.split.search]
        with evaluator_over(bench, engine) as evaluator:
            found = drops(evaluator, Change("shared", "magnitude", 0.5), (0, 30))
    pruned = smallest_zeroed(weight_values(tmp_path / "m.onnx", "shared"), 18)
    expected = squared(tmp_path / "m.onnx", x, {"shared": pruned})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_copies_of_a_weight_are_changed_with_it(tmp_path: Path, engine: str) -> None:
    x = np.random.default_rng(1).integers(0, 40, (60, 6))
    np.savez(tmp_path / "words.npz", x=x)
    data = str(tmp_path / "words.npz")
    with bench_of(tied_embedding(), tmp_path, (6,), None, data=data, metrics=("dense-mse",), batch_size=8) as bench:
        x = x[bench.split.search]
        with evaluator_over(bench, engine) as evaluator:
            found = drops(evaluator, Change("table", "magnitude", 0.5), (0, 30))
    pruned = smallest_zeroed(weight_values(tmp_path / "m.onnx", "table"), 320)
    expected = squared(tmp_path / "m.onnx", x, {"table": pruned, "onnx::MatMul_9": pruned.T.copy()})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_copies_without_effect_are_no_bug_of_the_engine(tmp_path: Path, engine: str) -> None:
    """A saved model is asked too, in which the copy is stored once more, transposed."""
    rng = np.random.default_rng(0)
    dead = normal(rng, 6, 16)
    weights = {"live": normal(rng, 6, 3), "dead": dead, "again": dead.T.copy(), "last": normal(rng, 6, 3)}
    nodes = [
        helper.make_node("MatMul", ["x", "live"], ["a"]),
        helper.make_node("MatMul", ["x", "dead"], ["b"]),
        helper.make_node("MatMul", ["b", "again"], ["c"]),
        helper.make_node("MatMul", ["c", "last"], ["d"]),
        helper.make_node("Mul", ["d", "zero"], ["e"]),
        helper.make_node("Add", ["a", "e"], ["logits"]),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights | {"zero": np.zeros(1, np.float32)})
    with (
        bench_of(proto, tmp_path, (6,), 3, metrics=("dense-mse",)) as bench,
        evaluator_over(bench, engine) as evaluator,
    ):
        assert bench.inventory.copies
        assert [evaluator.effect(name, 20) for name in ("live", "dead")] == ["effective", "no effect"]


def test_a_level_that_changes_nothing_costs_nothing(tmp_path: Path, engine: str) -> None:
    with (
        bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=("dense-mse", "kl"), batch_size=7) as bench,
        evaluator_over(bench, engine) as evaluator,
    ):
        for weight in bench.inventory.weights:
            [asked] = levels_of(weight.name, (0, 30), ("dense-mse", "kl"), (0.0,))
            for measured in evaluator.answer(asked).measurements.values():
                assert measured.total == 0
                assert measured.squares == 0


def test_blocks_add_up_to_the_whole(tmp_path: Path, engine: str) -> None:
    metrics = ("accuracy", "kl")
    with (
        bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=metrics, batch_size=4) as bench,
        evaluator_over(bench, engine) as evaluator,
    ):

        def ask(start: int, stop: int) -> Any:
            [asked] = levels_of("depthwise", (start, stop), metrics, (0.7,))
            return evaluator.answer(asked).measurements

        first, second, third, whole = ask(0, 8), ask(8, 16), ask(16, 30), ask(0, 30)
        for name in metrics:
            joined = first[name].extended(second[name]).extended(third[name])
            assert joined.samples == 30
            assert joined.total == pytest.approx(whole[name].total, rel=1e-6)
            assert joined.squares == pytest.approx(whole[name].squares, rel=1e-6)


def test_a_fixed_batch_with_an_odd_last_one_is_padded(tmp_path: Path, engine: str) -> None:
    with (
        bench_of(convolutional(batch=8), tmp_path, (2, 8, 8), metrics=("dense-mse",)) as bench,
        evaluator_over(bench, engine) as evaluator,
    ):
        x = np.load(tmp_path / "d.npz")["x"][bench.split.search]
        found = drops(evaluator, Change("up", "magnitude", 0.5), (0, 30))
    values = weight_values(tmp_path / "m.onnx", "up")
    dense, after = (
        np.concatenate(
            [
                oracle(tmp_path / "m.onnx", changes, {"x": np.resize(x[at : at + 8], (8, 2, 8, 8))})[0][: 30 - at]
                for at in range(0, 30, 8)
            ]
        )
        for changes in ({}, {"up": smallest_zeroed(values, values.size // 2)})
    )
    np.testing.assert_allclose(found, ((dense - after) ** 2).mean(1), rtol=1e-4, atol=1e-9)


def several() -> onnx.ModelProto:
    """Two inputs, three outputs; one weight in a body of If, one whose output no metric reads, a shared middle."""
    rng = np.random.default_rng(0)
    info = helper.make_tensor_value_info
    then = helper.make_graph(
        [helper.make_node("MatMul", ["a", "inner"], ["t"])],
        "then",
        [],
        [info("t", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(normal(rng, 6, 6), "inner")],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["e"])], "else", [], [info("e", TensorProto.FLOAT, None)]
    )
    nodes = [
        helper.make_node("MatMul", ["x", "left"], ["l"]),
        helper.make_node("MatMul", ["z", "right"], ["r"]),
        helper.make_node("Tanh", ["l"], ["side"]),
        helper.make_node("Add", ["side", "r"], ["a"]),
        helper.make_node("ReduceSum", ["z"], ["sum"], keepdims=0),
        helper.make_node("Less", ["sum", "far"], ["holds"]),
        helper.make_node("If", ["holds"], ["b"], then_branch=then, else_branch=other),
        helper.make_node("MatMul", ["b", "head"], ["y"]),
        helper.make_node("MatMul", ["a", "boxes"], ["boxed"]),
    ]
    weights = {
        "left": normal(rng, 6, 6),
        "right": normal(rng, 4, 6),
        "head": normal(rng, 6, 3),
        "boxes": normal(rng, 6, 4),
        "far": np.float32([1e9]).reshape(()),
    }
    outputs = {"y": ["N", 3], "boxed": ["N", 4], "side": ["N", 6]}
    return model_of(nodes, {"x": ["N", 6], "z": ["N", 4]}, outputs, weights)


@pytest.fixture
def two_inputs(tmp_path: Path) -> Iterator[Station]:
    rng = np.random.default_rng(1)
    arrays = {"x": normal(rng, 60, 6), "z": normal(rng, 60, 4), "labels": rng.integers(0, 3, 60)}
    np.savez(tmp_path / "two.npz", **arrays)
    options: dict[str, Any] = {"metrics": ("dense-mse", "accuracy"), "batch_size": 8, "output": "y"}
    with bench_of(several(), tmp_path, (), data=str(tmp_path / "two.npz"), **options) as bench:
        yield bench


def test_several_inputs_outputs_and_bodies_are_what_the_reference_says(two_inputs: Station, engine: str) -> None:
    metrics = ("dense-mse", "accuracy")
    names = {weight.name for weight in two_inputs.inventory.weights}
    assert len(names) == 5
    with evaluator_over(two_inputs, engine) as evaluator:
        for name in sorted(names, reverse=True):
            asked = levels_of(name, (0, 30), metrics)
            for found, expected in zip(evaluator.answers(asked), two_inputs.evaluator.answers(asked), strict=True):
                assert not found.failures
                assert_alike(found.measurements["dense-mse"], expected.measurements["dense-mse"])
                assert found.measurements["accuracy"] == expected.measurements["accuracy"]


def test_weights_are_told_apart_by_what_zeroing_them_does(two_inputs: Station, engine: str) -> None:
    with evaluator_over(two_inputs, engine) as evaluator:
        found = {weight.name: evaluator.effect(weight.name, 30) for weight in two_inputs.inventory.weights}
    assert found.pop("boxes") == "other outputs"
    assert set(found.values()) == {"effective"}


def test_a_metric_that_sees_all_outputs_is_given_all(tmp_path: Path, engine: str) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n\n"
        "def score(outputs, dense, labels):\n"
        "    return sum(((outputs[n] - dense[n]) ** 2).mean(1) for n in sorted(dense))\n"
    )
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "two.npz", x=normal(rng, 40, 6), z=normal(rng, 40, 4), labels=rng.integers(0, 3, 40))
    spec, data = f"{tmp_path / 'mine.py'}:score", str(tmp_path / "two.npz")
    with bench_of(several(), tmp_path, (), data=data, metrics=(spec,), batch_size=8, output="y") as bench:
        name = next(iter(bench.metrics))
        with evaluator_over(bench, engine) as evaluator:
            for weight in bench.inventory.weights:
                [asked] = levels_of(weight.name, (0, 20), (name,), (0.7,))
                found = evaluator.answer(asked).measurements[name]
                assert found.drop != 0
                assert_alike(found, bench.evaluator.answer(asked).measurements[name])


def test_a_whole_set_metric_is_taken_of_all_samples(tmp_path: Path, engine: str) -> None:
    with (
        bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=("f1", "sqnr"), batch_size=7) as bench,
        evaluator_over(bench, engine) as evaluator,
    ):
        question = Question((Change("first", "magnitude", 0.7),), "search", (0, 30), ("f1", "sqnr"))
        found, expected = (each.answer(question).measurements for each in (evaluator, bench.evaluator))
        assert found["f1"] == expected["f1"]
        assert found["sqnr"].drop == pytest.approx(expected["sqnr"].drop, rel=1e-4)


def test_many_weights_at_once_are_one_variant(tmp_path: Path, engine: str) -> None:
    names = ("first", "up", "head")
    with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=("dense-mse",), batch_size=8) as bench:
        changes = tuple(Change(name, "magnitude", 0.5) for name in names)
        x = np.load(tmp_path / "d.npz")["x"][bench.split.holdout]
        with evaluator_over(bench, engine) as evaluator:
            parts = [
                evaluator.answer(Question(changes, "holdout", block, ("dense-mse",), values=True))
                for block in ((0, 16), (16, 30))
            ]
    pruned = {
        name: smallest_zeroed(value, round(0.5 * value.size))
        for name, value in ((name, weight_values(tmp_path / "m.onnx", name)) for name in names)
    }
    found = np.concatenate([part.measurements["dense-mse"].drops for part in parts])  # type: ignore[misc]
    np.testing.assert_allclose(found, squared(tmp_path / "m.onnx", x, pruned), rtol=1e-4, atol=1e-9)


def test_the_dense_model_run_again_differs_only_where_it_draws_random_numbers(tmp_path: Path, engine: str) -> None:
    for proto, shape, classes, steady in ((noisy(), (6,), 3, False), (convolutional(), (2, 8, 8), 5, True)):
        with (
            bench_of(proto, tmp_path, shape, classes, metrics=("kl",)) as bench,
            evaluator_over(bench, engine) as evaluator,
        ):
            answer = evaluator.answer(Question((), "search", (0, 30), ("kl",)))
            assert (answer.measurements["kl"].squares == 0) is steady


def test_a_model_that_draws_random_numbers_is_the_references(tmp_path: Path, engine: str) -> None:
    with bench_of(noisy(), tmp_path, (6,), 3, metrics=("kl",)) as bench, evaluator_over(bench, engine) as evaluator:
        asked = levels_of("w", (0, 30), ("kl",))
        found = list(evaluator.answers(asked))
        expected = list(bench.evaluator.answers(asked))
    assert [answer.engine for answer in found] == ["reference"] * 2
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.measurements["kl"].drops, other.measurements["kl"].drops)


class TestCanary:
    def test_a_weight_without_effect_is_told_from_one_with(self, tmp_path: Path, engine: str) -> None:
        with (
            bench_of(with_dead_weight(), tmp_path, (6,), 3) as bench,
            evaluator_over(bench, engine) as evaluator,
        ):
            assert evaluator.effect("live", 30) == "effective"
            assert evaluator.effect("dead", 30) == "no effect"

    def test_a_weight_that_no_output_depends_on_is_not_executed(self, tmp_path: Path, engine: str) -> None:
        with (
            bench_of(with_idle_branch(), tmp_path, (6,), 3, metrics=("kl",)) as bench,
            evaluator_over(bench, engine) as evaluator,
        ):
            assert evaluator.effect("live", 30) == "effective"
            assert evaluator.effect("idle", 30) == "not executed"
            [asked] = levels_of("idle", (0, 30), ("kl",), (0.5,))
            assert evaluator.answer(asked).measurements["kl"].squares == 0

    def test_only_the_last_sample_may_tell(self, tmp_path: Path, engine: str) -> None:
        rng = np.random.default_rng(0)
        nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["logits"])]
        proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, {"w": np.abs(normal(rng, 6, 3))})
        x = -np.ones((60, 6), np.float32)
        options: dict[str, Any] = {"metrics": ("dense-mse",), "batch_size": 4}
        with bench_of(proto, tmp_path, (6,), None, **options) as bench:
            x[int(bench.split.search[29])] = 1
        np.savez(tmp_path / "one.npz", x=x)
        with (
            bench_of(proto, tmp_path, (6,), None, data=str(tmp_path / "one.npz"), **options) as bench,
            evaluator_over(bench, engine) as evaluator,
        ):
            assert evaluator.effect("w", 30) == "effective"
            assert evaluator.effect("w", 29) == "no effect"

    def test_an_engine_that_ignores_changes_is_caught(self, tmp_path: Path, engine: str) -> None:
        class Deaf(ModelRunner):
            """As `add_initializer` would be, once a Conv has been fused; and what is fed as a weight is not used."""

            def outputs(self, changes: Mapping[str, AnyArray], indices: IntArray) -> Iterator[Outputs]:
                return super().outputs({}, indices)

            def all_outputs(self, changes: Mapping[str, AnyArray], indices: IntArray) -> Iterator[Outputs]:
                return super().all_outputs({}, indices)

            def opened(self, copy: Any, changes: Any, provider: Any, recipe: Any, profile: Any = None) -> Session:
                return Stubborn(super().opened(copy, {}, provider, recipe, profile), self.dense)

            @property
            def dense(self) -> dict[str, AnyArray]:
                return {weight.name: self.model.array(weight.name) for weight in self.inventory.weights}

        with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
            bench.runner.close()
            bench.runner = Deaf(bench.model, bench.inventory, bench.dataset, bench.provider, bench.recipe)
            with (
                evaluator_over(bench, engine) as evaluator,
                pytest.raises(EngineBugError, match="freshly saved model"),
            ):
                evaluator.effect("first", 30)
            bench.runner.close()


class Stubborn(Session):
    """Runs with the dense weights, whatever it is fed."""

    def __init__(self, session: Session, dense: Mapping[str, AnyArray]) -> None:
        self.__dict__ = session.__dict__
        self._dense = dense

    def run(self, names: Any, feed: Mapping[str, AnyArray]) -> list[AnyArray]:
        return super().run(names, dict(feed) | {name: self._dense[name] for name in feed if name in self._dense})

    def run_held(self, to_host: Any, to_hold: Any, feed: Mapping[str, Any]) -> Any:
        stubborn = {name: self._dense[name] for name in feed if name in self._dense}
        return super().run_held(to_host, to_hold, dict(feed) | stubborn)
