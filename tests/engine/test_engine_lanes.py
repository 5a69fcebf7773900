"""Jobs side by side: in order, never more than asked for, and none left behind."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from benches import bench_of
from engines import evaluator_over, levels_of
from networks import convolutional, noisy

from onnxsens.engine.lanes import MOST_LANES, QUICK, Lanes, lanes_for
from onnxsens.engine.sessions import Session
from onnxsens.errors import OutOfMemoryError


class Counting:
    """Jobs that know how many of them are at work."""

    def __init__(self) -> None:
        self.running = self.most = self.ended = 0
        self._lock = threading.Lock()

    def job(self, number: int) -> Callable[[], int]:
        def work() -> int:
            with self._lock:
                self.running += 1
                self.most = max(self.most, self.running)
            time.sleep(0.01 if number % 2 else 0.002)
            with self._lock:
                self.running -= 1
                self.ended += 1
            if number == 13:
                raise ValueError("thirteen")
            return number

        return work


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order_from_no_more_than_so_many_at_once(count: int) -> None:
    counting, lanes = Counting(), Lanes(count)
    assert list(lanes.results(map(counting.job, range(12)))) == list(range(12))
    assert counting.most <= count
    lanes.close()


def test_an_error_comes_out_and_nothing_is_at_work_any_more() -> None:
    counting, lanes = Counting(), Lanes(4)
    with pytest.raises(ValueError, match="thirteen"):
        list(lanes.results(map(counting.job, range(40))))
    ended = counting.ended
    assert counting.running == 0
    assert ended < 40
    time.sleep(0.03)
    assert counting.ended == ended
    lanes.close()


def test_jobs_are_made_in_the_callers_thread_and_few_of_them_ahead() -> None:
    made: list[int] = []

    def jobs() -> Iterator[Callable[[], int]]:
        for number in range(20):
            assert threading.current_thread() is threading.main_thread()
            made.append(number)
            yield lambda number=number: number  # type: ignore[misc]

    lanes = Lanes(2)
    for number in lanes.results(jobs()):
        assert len(made) - number <= 4
    lanes.close()


def test_only_what_is_quick_is_run_side_by_side() -> None:
    assert lanes_for(4, QUICK / 2) == 4
    assert lanes_for(64, QUICK / 2) == MOST_LANES
    assert lanes_for(4, QUICK * 2) == 1
    assert lanes_for(1, 0) == 1


def test_points_are_the_same_to_the_bit_however_many_batches_are_run_at_once(tmp_path: Path) -> None:
    found = []
    with bench_of(convolutional(), tmp_path, (2, 8, 8), metrics=("dense-mse",), batch_size=4) as bench:
        for count in (1, 3):
            bench.runner.run_side_by_side(count)
            with evaluator_over(bench, "split") as evaluator:
                for weight in bench.inventory.weights:
                    answers = evaluator.answers(levels_of(weight.name, (0, 30), ("dense-mse",)))
                    found += [answer.measurements["dense-mse"].drops for answer in answers]
    half = len(found) // 2
    for one, other in zip(found[:half], found[half:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_that_draws_random_numbers_runs_one_batch_after_the_other(tmp_path: Path) -> None:
    onnxruntime.set_seed(1)
    with bench_of(noisy(), tmp_path, (6,), 3, metrics=("dense-mse",), batch_size=4) as bench:
        assert bench.runner.random is not None
        assert bench.runner.lanes_for(0.0) == 1
        assert bench.runner.lanes.count == 1


@pytest.mark.parametrize("engine", ["reference", "chosen"])
def test_memory_that_runs_out_side_by_side_first_means_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """Also for a model that fixes its batch, whose points would fail otherwise."""
    running: list[int] = []
    overlapped = threading.Event()
    plain = Session.run

    def crowded(self: Session, *arguments: object) -> object:
        running.append(1)
        try:
            if len(running) > 1:
                overlapped.set()
                raise OutOfMemoryError("no room for two")
            time.sleep(0.01)
            return plain(self, *arguments)
        finally:
            running.pop()

    proto = convolutional()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    with bench_of(proto, tmp_path, (2, 8, 8), threads=2) as bench, evaluator_over(bench, engine) as evaluator:
        bench.runner.run_side_by_side(2)
        monkeypatch.setattr(Session, "run", crowded)
        weight = bench.inventory.weights[0].name
        answers = list(evaluator.answers(levels_of(weight, (0, 16), tuple(bench.metrics))))
        assert overlapped.is_set()
        assert bench.runner.lanes.count == 1
        assert not any(answer.failures for answer in answers)


@pytest.mark.parametrize("threads", range(1, 40))
def test_no_thread_is_left_idle_that_need_not_be(threads: int) -> None:
    lanes = lanes_for(threads, 0.0)
    assert 1 <= lanes <= MOST_LANES
    assert threads - lanes * (threads // lanes) < threads // lanes + 1
