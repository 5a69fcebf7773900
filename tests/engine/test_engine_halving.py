"""Evaluators where memory runs out: they answer what they would have answered with the smaller batch from the start."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import bench_of
from engines import ENGINES, assert_alike, evaluator_over, levels_of
from networks import convolutional, model_of, normal, of_the_batch
from onnx import helper

from onnxsens.arrays import AnyArray
from onnxsens.engine import Change, Question
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.sessions import Session
from onnxsens.errors import OutOfMemoryError
from onnxsens.scan import Nobody
from onnxsens.station import Station

METRIC = ("dense-mse",)
WEIGHTS = ("first", "last")
FEED = frozenset({"x", "a", "g", "b"})


class Noting(Nobody):
    """Keeps notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Tight(Session):
    """Has no room for more rows than two, as a GPU's arena that is full."""

    def __init__(self, session: Session) -> None:
        self.__dict__ = session.__dict__

    def run(self, names: Any, feed: Mapping[str, AnyArray]) -> list[AnyArray]:
        refuse(feed)
        return super().run(names, feed)

    def run_held(self, to_host: Any, to_hold: Any, feed: Mapping[str, Any]) -> Any:
        refuse(feed)
        return super().run_held(to_host, to_hold, feed)


def refuse(feed: Mapping[str, Any]) -> None:
    if any(value.shape[0] > 2 for name, value in feed.items() if name in FEED):
        raise OutOfMemoryError("no room")


def tightened(bench: Station, where: Callable[[Any, Any], bool]) -> None:
    """Let the workbench's runner, from its full batch size on, have no room in sessions of some parts or variants."""

    class Runner(ModelRunner):
        def opened(self, copy: Any, changes: Any, provider: Any, recipe: Any, profile: Any = None) -> Session:
            session = super().opened(copy, changes, provider, recipe, profile)
            return Tight(session) if where(copy, changes) else session

    bench.runner.close()
    bench.runner = Runner(bench.model, bench.inventory, bench.dataset, bench.provider, bench.recipe)
    bench.closing.callback(bench.runner.close)


def answered(bench: Station, engine: str) -> dict[tuple[str, float], Any]:
    """Every weight at three levels, both together, and what zeroing does."""
    found: dict[Any, Any] = {}
    with evaluator_over(bench, engine) as evaluator:
        for name in WEIGHTS:
            asked = levels_of(name, (0, 27), METRIC, (0.0, 0.3, 0.8))
            for question, answer in zip(asked, evaluator.answers(asked), strict=True):
                assert not answer.failures
                found[name, question.changes[0].level] = answer.measurements[METRIC[0]]
        both = tuple(Change(name, "magnitude", 0.5) for name in WEIGHTS)
        answer = evaluator.answer(Question(both, "holdout", (0, 9), METRIC, values=True))
        found["both", 0.5] = answer.measurements[METRIC[0]]
        assert [evaluator.effect(name, 9) for name in WEIGHTS] == ["effective", "effective"]
    return found


def assert_as_with_two(bench: Station, folder: Path, engine: str) -> None:
    found = answered(bench, engine)
    assert bench.runner.batch_size == 2
    (folder / "two").mkdir()
    with bench_of(of_the_batch(), folder / "two", (6,), 3, metrics=METRIC, batch_size=2) as small:
        expected = answered(small, engine)
    for key, measured in expected.items():
        assert_alike(found[key], measured)
    for name in WEIGHTS:
        assert found[name, 0.0].squares == 0  # the dense model beside it was run in the same batches


@pytest.mark.parametrize("engine", ENGINES)
class TestEvaluators:
    def test_whole_models_that_there_is_no_room_for_are_run_in_smaller_batches(
        self, tmp_path: Path, engine: str
    ) -> None:
        with bench_of(of_the_batch(memory_for=2), tmp_path, (6,), 3, metrics=METRIC, batch_size=8) as bench:
            assert bench.runner.batch_size == 2
            bench.runner.fitting.most = 8  # as if there had been room when it was opened
            assert_as_with_two(bench, tmp_path, engine)

    @pytest.mark.parametrize("tight", ["parts", "variants"])
    def test_what_needs_more_than_the_dense_model_is_asked_again_in_smaller_batches(
        self, tmp_path: Path, engine: str, tight: str
    ) -> None:
        if engine == "reference" and tight == "parts":
            pytest.skip("runs no parts")
        if engine.endswith("input") and tight == "variants":
            tight = "parts"  # it makes no session for a variant
        with bench_of(of_the_batch(), tmp_path, (6,), 3, metrics=METRIC, batch_size=8) as bench:
            tightened(
                bench,
                (lambda copy, changes: copy.path.name == "part.onnx")
                if tight == "parts"
                else (lambda copy, changes: bool(changes)),
            )
            assert_as_with_two(bench, tmp_path, engine)
            assert len(bench.runner.notes) == 2  # from 8 to 4 to 2

    def test_a_batch_that_the_model_fixes_is_not_halved(self, tmp_path: Path, engine: str) -> None:
        rng = np.random.default_rng(0)
        nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "v"], ["logits"])]
        weights = {"w": normal(rng, 6, 6), "v": normal(rng, 6, 3)}
        proto = model_of(nodes, {"x": [4, 6]}, {"logits": [4, 3]}, weights)
        with bench_of(proto, tmp_path, (6,), 3, metrics=METRIC) as bench:
            tightened(bench, lambda copy, changes: bool(changes) or copy.path.name == "part.onnx")
            with evaluator_over(bench, engine) as evaluator:
                [answer] = evaluator.answers(levels_of("v", (0, 8), METRIC, (0.5,)))
            if engine != "chosen":  # which takes the way that there is room for, if there is one
                assert "no room" in answer.failures[METRIC[0]]
            assert (bench.runner.batch_size, bench.runner.notes) == (4, [])


def test_memory_that_runs_out_as_a_model_is_opened_is_said(tmp_path: Path) -> None:
    with bench_of(of_the_batch(memory_for=3), tmp_path, (6,), 3, metrics=METRIC, batch_size=8) as bench:
        options = bench.options
    observer = Noting()
    with Station(tmp_path / "m.onnx", options, observer=observer) as bench:
        assert bench.runner.batch_size == 2
        assert bench.recipe.batch_size == 8  # what was asked for is what the run is known by
    told = [note for note in observer.notes if "memory" in note]
    assert [note.split(",")[0] for note in told] == [
        "out of memory with 8 samples at once; from here on 4 are run at once",
        "out of memory with 4 samples at once; from here on 2 are run at once",
    ]


def test_questions_that_were_answered_before_are_not_asked_again(tmp_path: Path) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=METRIC, batch_size=8) as bench:
        with evaluator_over(bench, "input") as evaluator:
            answers = evaluator.answers(levels_of("head", (0, 30), METRIC, (0.2, 0.5, 0.8)))
            found = [next(answers)]
            evaluator._downstream.run = once_tight(evaluator._downstream.run, bench.runner)  # type: ignore[attr-defined]
            found += list(answers)
        with evaluator_over(bench, "input") as evaluator:
            expected = list(evaluator.answers(levels_of("head", (0, 30), METRIC, (0.2, 0.5, 0.8))))
        assert bench.runner.batch_size == 4
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        assert_alike(one.measurements[METRIC[0]], other.measurements[METRIC[0]])


def once_tight(run: Callable[..., Any], runner: ModelRunner) -> Callable[..., Any]:
    """The first call finds no room."""
    called: list[object] = []

    def tight(*given: Any) -> Any:
        called.append(given)
        if len(called) == 1:
            with runner.fitting.room(8):
                raise OutOfMemoryError("no room")
        return run(*given)

    return tight
