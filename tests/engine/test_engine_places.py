"""Tensors held where sessions run: what stays there, what comes back, and the same answers as from arrays.

Runs on the host, in the memory of the host, and once more on a GPU where there is one (marker `gpu`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from benches import bench_of
from engines import PLENTY, OneWay, assert_alike, evaluator_over, levels_of
from networks import convolutional, model_of, normal, of_the_batch, tied
from onnx import helper

from onnxsens.engine import Change, Question
from onnxsens.engine.devices import HOST, Device, Held
from onnxsens.engine.places import OnDevice, OnHost, place_of
from onnxsens.engine.providers import CUDA, why_not_started
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.runtime import runtime
from onnxsens.engine.sessions import Session
from onnxsens.station import Station

METRIC = ("dense-mse",)
CUDA_STARTS = CUDA in runtime().get_available_providers() and why_not_started(CUDA) is None
GPU = Device("cuda")
on_each_device = pytest.mark.parametrize(
    "device",
    [
        HOST,
        pytest.param(
            GPU, marks=[pytest.mark.gpu, pytest.mark.skipif(not CUDA_STARTS, reason="no CUDA provider starts here")]
        ),
    ],
    ids=["host", "gpu"],
)
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def shaped(seed: int = 0) -> onnx.ModelProto:
    """A frontier of a float and of an int64 shape tensor; two outputs, of which one is large and read by no metric."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Shape", ["b"], ["shape"]),
        helper.make_node("MatMul", ["b", "second"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("MatMul", ["d", "head"], ["logits"]),
        helper.make_node("MatMul", ["d", "wide"], ["aside"]),
    ]
    weights = {"first": normal(rng, 6, 6), "second": normal(rng, 6, 6), "head": normal(rng, 6, 3)}
    weights["wide"] = normal(rng, 6, 64)
    return model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3], "aside": ["N", 64]}, weights)


class Watched(Session):
    """Notes of every run what was fed as an array, what came back, and what was held."""

    def __init__(self, session: Session, runs: list[tuple[set[str], set[str], set[str]]]) -> None:
        self.__dict__ = session.__dict__
        self._runs = runs

    def run(self, names: Any, feed: Any) -> Any:
        self._runs.append((set(feed), set(names), set()))
        return super().run(names, feed)

    def run_held(self, to_host: Any, to_hold: Any, feed: Any) -> Any:
        arrays = {name for name, value in feed.items() if not isinstance(value, Held)}
        self._runs.append((arrays, set(to_host), set(to_hold)))
        return super().run_held(to_host, to_hold, feed)


@contextmanager
def watched(bench: Station) -> Iterator[list[tuple[set[str], set[str], set[str]]]]:
    """The runs of parts from here on."""
    runs: list[tuple[set[str], set[str], set[str]]] = []

    class Runner(ModelRunner):
        def opened(self, copy: Any, changes: Any, provider: Any, recipe: Any, profile: Any = None) -> Session:
            session = super().opened(copy, changes, provider, recipe, profile)
            return Watched(session, runs) if copy.path.name == "part.onnx" else session

    bench.runner.close()
    bench.runner = Runner(bench.model, bench.inventory, bench.dataset, bench.provider, bench.recipe)
    bench.closing.callback(bench.runner.close)
    yield runs


def provider_of(device: Device) -> str:
    return "cpu" if device == HOST else "cuda"


def test_arrays_are_fed_on_the_host_and_held_tensors_elsewhere() -> None:
    assert isinstance(place_of(HOST, held=None), OnHost)
    assert isinstance(place_of(GPU, held=None), OnDevice)
    assert isinstance(place_of(HOST, held=True), OnDevice)
    assert OnHost().take(X) is X
    assert OnHost().changing("w", X) is X


class TestOnDevice:
    def test_a_weight_is_copied_once_and_then_overwritten(self) -> None:
        place = OnDevice(HOST)
        first = place.changing("w", X)
        assert isinstance(first, Held)
        assert place.changing("w", X) is first
        second = place.changing("w", other := -X)
        assert second is first
        np.testing.assert_array_equal(first.numpy(), other)
        assert place.changing("v", X) is not first
        place.rest()
        assert place.changing("w", X) is not first

    def test_what_cannot_be_held_is_fed_as_it_is(self) -> None:
        words = np.array(["a", "b"])
        assert OnDevice(HOST).take(words) is words
        held = OnDevice(HOST).take(X)
        assert isinstance(held, Held)
        np.testing.assert_array_equal(held.numpy(), X)


@on_each_device
class TestEvaluation:
    def test_only_what_metrics_read_comes_back_and_everything_fed_is_held(self, tmp_path: Path, device: Device) -> None:
        options: dict[str, Any] = {"metrics": METRIC, "batch_size": 8, "output": "logits"}
        with (
            bench_of(shaped(), tmp_path, (6,), 3, provider=provider_of(device), **options) as bench,
            watched(bench) as runs,
            evaluator_over(bench, "held input") as evaluator,
        ):
            for weight in ("first", "second", "head"):
                for answer in evaluator.answers(levels_of(weight, (0, 30), METRIC)):
                    assert not answer.failures
            assert "shape" in evaluator._holding.bytes_of  # type: ignore[attr-defined]
            held = [value for found in evaluator._holding._held.values() for value in found.values()]  # type: ignore[attr-defined]
            assert {value.device for value in held} == {device}
        assert runs
        for arrays, read, _ in runs:
            assert arrays == set()
            assert read <= {"logits"}

    def test_held_bytes_stay_within_the_budget(self, tmp_path: Path, device: Device) -> None:
        frontier = 8 * 6 * 4
        with (
            bench_of(tied(), tmp_path, (6,), 3, metrics=METRIC, batch_size=8, provider=provider_of(device)) as bench,
            evaluator_over(bench, "held input", cache_bytes=2 * frontier, spill=tmp_path / "spill") as evaluator,
        ):
            for weight in ("shared", "head", "shared"):
                for answer in evaluator.answers(levels_of(weight, (0, 30), METRIC)):
                    assert not answer.failures
                holding = evaluator._holding  # type: ignore[attr-defined]
                values = [value for found in holding._held.values() for value in found.values()]
                assert all(isinstance(value, Held) for value in values)
                assert holding.held_bytes == sum(value.nbytes for value in values) <= 2 * frontier
        assert not (tmp_path / "spill").exists()

    def test_inputs_are_held_too(self, tmp_path: Path, device: Device) -> None:
        with (
            bench_of(tied(), tmp_path, (6,), 3, metrics=METRIC, batch_size=8, provider=provider_of(device)) as bench,
            watched(bench) as runs,
            evaluator_over(bench, "held input") as evaluator,
        ):
            list(evaluator.answers(levels_of("shared", (0, 30), METRIC)))
            assert set(evaluator._holding._held) == {"x"}  # type: ignore[attr-defined]
            assert len(evaluator._holding._held["x"]) == 4  # type: ignore[attr-defined]
        assert all(arrays == set() for arrays, _, _ in runs)

    def test_many_weights_at_once_are_held_and_overwritten(self, tmp_path: Path, device: Device) -> None:
        names = ("shared", "head")
        with bench_of(tied(), tmp_path, (6,), 3, metrics=METRIC, batch_size=8, provider=provider_of(device)) as bench:
            questions = [
                Question(
                    tuple(Change(name, "magnitude", level) for name in names), "search", (0, 30), METRIC, values=True
                )
                for level in (0.5, 0.2)
            ]
            with watched(bench) as runs, evaluator_over(bench, "held input", routes=AllOneWay("input")) as evaluator:
                found = [evaluator.answer(question) for question in questions]
            with evaluator_over(bench, "reference") as reference:
                expected = [reference.answer(question) for question in questions]
        assert runs
        for arrays, read, held in runs:
            assert (arrays, read, held) == (set(), {"logits"}, set())
        for one, other in zip(found, expected, strict=True):
            assert one.engine == "suffix (inputs)"
            assert_alike(one.measurements["dense-mse"], other.measurements["dense-mse"], tolerance_on(device))


class AllOneWay(OneWay):
    """Many weights together too."""

    def known(self, weight: str) -> Any:
        return super().known(weight or "all")


def tolerance_on(device: Device) -> float:
    """Of a drop, in parts of the largest. A GPU may round what it multiplies to 10 bits (TF32)."""
    return 1e-4 if device == HOST else 2e-2


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA_STARTS, reason="no CUDA provider starts here")
class TestOnAGpu:
    @pytest.mark.parametrize("engine", ["reference", "split", "input", "rebuilt", "chosen"])
    @pytest.mark.parametrize("made", ["convolutional", "shaped"])
    def test_answers_are_those_of_the_cpu(self, tmp_path: Path, engine: str, made: str) -> None:
        proto, shape = (convolutional(), (2, 8, 8)) if made == "convolutional" else (shaped(), (6,))
        options: dict[str, Any] = {"metrics": METRIC, "batch_size": 8, "output": "logits"}
        answers = {}
        for provider in ("cpu", "cuda"):
            (tmp_path / provider).mkdir()
            with (
                bench_of(proto, tmp_path / provider, shape, 3, provider=provider, **options) as bench,
                evaluator_over(bench, engine, cache_bytes=PLENTY) as evaluator,
            ):
                answers[provider] = {
                    weight.name: list(evaluator.answers(levels_of(weight.name, (0, 30), METRIC)))
                    for weight in bench.inventory.weights
                }
                effects = {evaluator.effect(weight.name, 30) for weight in bench.inventory.weights}
                assert effects <= {"effective", "other outputs"}
        for name, found in answers["cuda"].items():
            for one, other in zip(found, answers["cpu"][name], strict=True):
                assert_alike(one.measurements["dense-mse"], other.measurements["dense-mse"], tolerance_on(GPU))

    def test_the_budget_is_of_the_gpus_memory(self, tmp_path: Path) -> None:
        with bench_of(tied(), tmp_path, (6,), 3, provider="cuda", metrics=METRIC) as bench:
            assert bench.cache_bytes > 0
            with evaluator_over(bench, "input") as evaluator:
                assert evaluator._place.holds  # type: ignore[attr-defined]

    def test_a_batch_that_the_gpu_has_no_room_for_is_halved(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"metrics": METRIC, "batch_size": 8, "provider": "cuda"}
        with bench_of(of_the_batch(memory_for=2), tmp_path, (6,), 3, **options) as bench:
            assert bench.runner.batch_size == 2
            with evaluator_over(bench, "input") as evaluator:
                bench.runner.fitting.most = 8
                for answer in evaluator.answers(levels_of("last", (0, 30), METRIC)):
                    assert not answer.failures
            assert bench.runner.batch_size == 2
