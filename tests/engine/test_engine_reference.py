"""The reference evaluator, against a few lines that share no code with it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from benches import bench_of
from networks import (
    convolutional,
    model_of,
    noisy,
    normal,
    oracle,
    smallest_zeroed,
    tied,
    with_dead_weight,
    with_idle_branch,
)
from onnx import helper, numpy_helper

from onnxsens.arrays import FloatArray, IntArray
from onnxsens.engine import Change, Question, ReferenceEvaluator
from onnxsens.engine.runner import ModelRunner, Outputs
from onnxsens.errors import EngineBugError, MetricError, ModelError
from onnxsens.options import Options
from onnxsens.station import Station

METRICS = ("accuracy", "kl", "agreement", "dense-mse", "cross-entropy", "cosine", "sqnr", "top2", "f1")


def reference(bench: Station) -> ReferenceEvaluator:
    """Over the workbench's runner; a new one every time, so that nothing is kept from the last question."""
    metrics = list(bench.metrics.values())
    return ReferenceEvaluator(bench.runner, bench.inventory, bench.split, metrics, bench.binary, bench.outlook.reading)


def weight_values(path: Path, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer if t.name == name)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
    return result


@pytest.mark.parametrize("weight", ["first", "depthwise", "up", "head"])
@pytest.mark.parametrize("level", [0.0, 0.3, 0.77, 1.0])
def test_answers_equal_the_oracles(tmp_path: Path, weight: str, level: float) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=METRICS, batch_size=7) as bench:
        change = Change(weight, "magnitude", level)
        answer = reference(bench).answer(Question((change,), "search", (0, 30), METRICS, values=True))
        chosen = bench.split.search
    assert answer.failures == {}
    data = np.load(tmp_path / "d.npz")
    x, labels = data["x"][chosen], data["labels"][chosen]
    values = weight_values(tmp_path / "m.onnx", weight)
    pruned = smallest_zeroed(values, round(level * values.size))
    [dense_logits] = oracle(tmp_path / "m.onnx", {}, {"x": x})
    [pruned_logits] = oracle(tmp_path / "m.onnx", {weight: pruned}, {"x": x})
    found = answer.measurements
    right, still = dense_logits.argmax(1) == labels, pruned_logits.argmax(1) == labels
    np.testing.assert_array_equal(found["accuracy"].drops, right.astype(float) - still)
    assert found["accuracy"].dense == pytest.approx(right.mean())
    assert found["agreement"].pruned == pytest.approx((dense_logits.argmax(1) == pruned_logits.argmax(1)).mean())
    p, q = softmax(dense_logits), softmax(pruned_logits)
    np.testing.assert_allclose(found["kl"].drops, (p * np.log(p / q)).sum(1), rtol=1e-5, atol=1e-9)
    assert found["dense-mse"].drop == pytest.approx(((dense_logits - pruned_logits) ** 2).mean(), rel=1e-5)
    assert found["cross-entropy"].pruned == pytest.approx(-np.log(q[np.arange(30), labels]).mean(), rel=1e-5)


def test_a_tied_weight_is_changed_everywhere_at_once(tmp_path: Path) -> None:
    with bench_of(tied(), tmp_path, (6,), 3, metrics=("dense-mse",)) as bench:
        question = Question((Change("shared", "magnitude", 0.5),), "search", (0, 30), ("dense-mse",), values=True)
        answer = reference(bench).answer(question)
        chosen = bench.split.search
    x = np.load(tmp_path / "d.npz")["x"][chosen]
    pruned = smallest_zeroed(weight_values(tmp_path / "m.onnx", "shared"), 18)
    [dense] = oracle(tmp_path / "m.onnx", {}, {"x": x})
    [after] = oracle(tmp_path / "m.onnx", {"shared": pruned}, {"x": x})
    np.testing.assert_allclose(answer.measurements["dense-mse"].drops, ((dense - after) ** 2).mean(1), rtol=1e-5)


def test_many_weights_at_once_are_one_variant(tmp_path: Path) -> None:
    names = ("first", "head")
    with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=("kl",)) as bench:
        changes = tuple(Change(name, "magnitude", 0.5) for name in names)
        answer = reference(bench).answer(Question(changes, "holdout", (0, 30), ("kl",)))
        chosen = bench.split.holdout
    x = np.load(tmp_path / "d.npz")["x"][chosen]
    values = {name: weight_values(tmp_path / "m.onnx", name) for name in names}
    pruned = {name: smallest_zeroed(value, round(0.5 * value.size)) for name, value in values.items()}
    p = softmax(oracle(tmp_path / "m.onnx", {}, {"x": x})[0])
    q = softmax(oracle(tmp_path / "m.onnx", pruned, {"x": x})[0])
    assert answer.measurements["kl"].drop == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-5)


def test_the_batch_size_changes_nothing_not_even_with_a_last_partial_batch(tmp_path: Path) -> None:
    drops = []
    for size in (1, 7, 30, 64):
        with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=("kl",), batch_size=size) as bench:
            question = Question((Change("up", "magnitude", 0.5),), "search", (0, 30), ("kl",), values=True)
            drops.append(reference(bench).answer(question).measurements["kl"].drops)
    for other in drops[1:]:
        np.testing.assert_allclose(other, drops[0], rtol=1e-6, atol=1e-12)


def test_a_model_with_a_fixed_batch_gives_what_a_free_one_gives(tmp_path: Path) -> None:
    answers = []
    for batch in ("N", 8):
        folder = tmp_path / str(batch)
        folder.mkdir()
        with bench_of(convolutional(batch=batch), folder, (2, 8, 8), metrics=("accuracy", "kl")) as bench:
            change = Change("first", "magnitude", 0.6)
            answers.append(reference(bench).answer(Question((change,), "search", (0, 30), ("accuracy", "kl"))))
    assert answers[0].measurements["accuracy"] == answers[1].measurements["accuracy"]
    assert answers[0].measurements["kl"].drop == pytest.approx(answers[1].measurements["kl"].drop, rel=1e-6)


def test_samples_in_parts_add_up_to_all_of_them(tmp_path: Path) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=("accuracy", "kl")) as bench:

        def ask(start: int, stop: int) -> dict[str, object]:
            change = Change("head", "magnitude", 0.7)
            answer = reference(bench).answer(Question((change,), "search", (start, stop), ("accuracy", "kl")))
            return dict(answer.measurements)

        whole, first, rest = ask(0, 30), ask(0, 11), ask(11, 30)
    for name in ("accuracy", "kl"):
        joined = first[name].extended(rest[name])
        assert joined.samples == 30
        assert joined.total == pytest.approx(whole[name].total)
        assert joined.standard_error == pytest.approx(whole[name].standard_error)
        assert joined.dense == pytest.approx(whole[name].dense)


class TestCanary:
    def test_a_weight_without_effect_is_told_from_one_with(self, tmp_path: Path) -> None:
        with bench_of(with_dead_weight(), tmp_path, (6,), 3) as bench:
            assert reference(bench).effect("live", 30) == "effective"
            assert reference(bench).effect("dead", 30) == "no effect"

    def test_a_weight_that_no_output_depends_on_is_not_executed(self, tmp_path: Path) -> None:
        with bench_of(with_idle_branch(), tmp_path, (6,), 3) as bench:
            assert reference(bench).effect("live", 30) == "effective"
            assert reference(bench).effect("idle", 30) == "not executed"

    def test_a_weight_of_an_output_that_no_metric_reads_is_told_apart(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        nodes = [
            helper.make_node("MatMul", ["x", "scores"], ["y"]),
            helper.make_node("MatMul", ["x", "boxes"], ["z"]),
            helper.make_node("ReduceMax", ["x"], ["largest"], axes=[0], keepdims=0),
            helper.make_node("Einsum", ["largest", "total"], ["t"], equation="i,ij->j"),
        ]
        weights = {"scores": normal(rng, 6, 3), "boxes": normal(rng, 6, 4), "total": normal(rng, 6, 2)}
        proto = model_of(nodes, {"x": ["N", 6]}, {"y": ["N", 3], "z": ["N", 4], "t": [2]}, weights)
        with bench_of(proto, tmp_path, (6,), 3, metrics=("accuracy",)) as bench:
            assert bench.outlook.reading.output == "y"
            effects = {name: reference(bench).effect(name, 30) for name in weights}
        assert effects == {"scores": "effective", "boxes": "other outputs", "total": "other outputs"}

    def test_nodes_that_share_a_name_are_no_hindrance_to_the_saved_model(self, tmp_path: Path) -> None:
        proto = with_dead_weight()
        for node in proto.graph.node:
            node.name = "all the same"
        with bench_of(proto, tmp_path, (6,), 3, metrics=("kl",)) as bench:
            assert reference(bench).effect("dead", 30) == "no effect"

    def test_only_the_last_sample_may_tell(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Relu", ["a"], ["logits"]),
        ]
        proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, {"w": np.abs(normal(rng, 6, 3))})
        x = -np.ones((60, 6), np.float32)
        with bench_of(proto, tmp_path, (6,), None, metrics=("dense-mse",), batch_size=4) as bench:
            last = int(bench.split.search[29])
        x[last] = 1
        np.savez(tmp_path / "one.npz", x=x)
        with bench_of(
            proto, tmp_path, (6,), None, data=str(tmp_path / "one.npz"), metrics=("dense-mse",), batch_size=4
        ) as bench:
            assert reference(bench).effect("w", 30) == "effective"
            assert reference(bench).effect("w", 29) == "no effect"

    def test_an_engine_that_ignores_changes_is_caught(self, tmp_path: Path) -> None:
        class Deaf(ModelRunner):
            """As `add_initializer` would be, once a Conv has been fused."""

            def outputs(self, changes: Mapping[str, FloatArray], indices: IntArray) -> Iterator[Outputs]:
                return super().outputs({}, indices)

            def all_outputs(self, changes: Mapping[str, FloatArray], indices: IntArray) -> Iterator[Outputs]:
                return super().all_outputs({}, indices)

        with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
            runner = Deaf(bench.model, bench.inventory, bench.dataset, bench.provider, bench.recipe)
            reading = bench.outlook.reading
            metrics = [*bench.metrics.values()]
            evaluator = ReferenceEvaluator(runner, bench.inventory, bench.split, metrics, bench.binary, reading)
            with pytest.raises(EngineBugError, match="freshly saved model"):
                evaluator.effect("first", 30)
            evaluator.close()


def test_a_model_that_is_not_deterministic_differs_from_itself(tmp_path: Path) -> None:
    with bench_of(noisy(), tmp_path, (6,), 3, metrics=("kl",)) as bench:
        answer = reference(bench).answer(Question((), "search", (0, 30), ("kl",)))
        assert answer.measurements["kl"].drop > 0
    with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=("kl",)) as bench:
        answer = reference(bench).answer(Question((), "search", (0, 30), ("kl",)))
        assert answer.measurements["kl"].squares == 0


def user_metric(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(f"import numpy as np\n\ndef score(outputs, dense, labels):\n    {body}\n")
    return f"{folder / 'mine.py'}:score"


class TestMetricsThatFail:
    def test_nan_on_a_pruned_model_fails_that_point_only(self, tmp_path: Path) -> None:
        spec = user_metric(
            tmp_path,
            "same = np.array_equal(outputs['logits'], dense['logits']); "
            "return np.full(len(labels), 1.0 if same else np.nan)",
        )
        with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=(spec, "kl")) as bench:
            name = next(name for name in bench.metrics if name != "kl")
            question = Question((Change("head", "magnitude", 0.5),), "search", (0, 30), (name, "kl"))
            answer = reference(bench).answer(question)
        assert set(answer.measurements) == {"kl"}
        assert "NaN or infinite for 30 of 30 values" in answer.failures[name]

    def test_one_that_cannot_be_computed_at_all_is_refused_at_once(self, tmp_path: Path) -> None:
        spec = user_metric(tmp_path, "return outputs['nothing']")
        with pytest.raises(MetricError, match="KeyError"):
            bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=(spec,))

    def test_a_number_is_taken_as_a_metric_of_the_whole_set(self, tmp_path: Path) -> None:
        spec = user_metric(tmp_path, "return float((outputs['logits'].argmax(1) == labels).mean())")
        with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=(spec, "accuracy")) as bench:
            name = next(name for name in bench.metrics if name not in ("kl", "accuracy"))
            question = Question((Change("head", "magnitude", 0.8),), "search", (0, 30), (name, "accuracy"), values=True)
            found = reference(bench).answer(question).measurements
        assert found[name].drop == pytest.approx(found["accuracy"].drop)
        assert found[name].standard_error == pytest.approx(found["accuracy"].standard_error, rel=0.2)
        assert not found[name].extendable


def test_an_output_without_a_batch_axis_is_named(tmp_path: Path) -> None:
    proto = convolutional()
    proto.graph.node.append(onnx.helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0, 1], keepdims=0))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, []))
    with bench_of(proto, tmp_path, (2, 8, 8)) as bench:
        assert bench.outlook.reading.output == "logits"
    del proto.graph.output[0]
    with pytest.raises(ModelError, match="no output whose first axis is the batch"):
        bench_of(proto, tmp_path, (2, 8, 8))


def test_a_model_that_onnxruntime_cannot_load_is_one_line(tmp_path: Path) -> None:
    proto = convolutional()
    proto.graph.node[0].op_type = "Convolve"
    with pytest.raises(ModelError, match="cannot load") as caught:
        bench_of(proto, tmp_path, (2, 8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["fashion_cnn", "jv_gru", "jv_lstm", "jv_transformer"])
def test_shipped_models_agree_with_the_oracle_on_every_weight(models: Path, name: str) -> None:
    path = models / f"{name}.onnx"
    image = name == "fashion_cnn"
    data = models / ("fashion_mnist_test.npz" if image else "japanese_vowels_test.npz")
    numbers = {"scale": 255, "mean": "0.2860", "std": "0.3530"} if image else {}
    with Station(path, Options(data=str(data), metrics=("kl",), provider="cpu", **numbers)) as bench:
        x = bench.dataset.batch(bench.split.search[:40])
        [dense] = oracle(path, {}, x)
        for weight in bench.inventory.weights:
            question = Question((Change(weight.name, "magnitude", 0.6),), "search", (0, 40), ("kl",), values=True)
            found = reference(bench).answer(question).measurements["kl"].drops
            pruned = smallest_zeroed(weight_values(path, weight.name), round(0.6 * weight.size))
            [after] = oracle(path, {weight.name: pruned}, x)
            p, q = softmax(dense), softmax(after)
            np.testing.assert_allclose(found, (p * np.log(p / q)).sum(1), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("samples", [(0, 8), (8, 16), (5, 13)])
def test_noise_is_the_same_for_both_models_whatever_block_is_asked_for(
    tmp_path: Path, samples: tuple[int, int]
) -> None:
    with bench_of(noisy(), tmp_path, (6,), 3, metrics=("kl",)) as bench:
        evaluator = reference(bench)
        weight = bench.inventory.weights[0].name
        question = Question((Change(weight, "magnitude", 0.0),), "search", samples, ("kl",))
        for _ in range(2):
            assert evaluator.answer(question).measurements["kl"].squares == 0
