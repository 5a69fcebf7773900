from pathlib import Path

import pytest

from onnxsens.engine import ModelRunner
from onnxsens.engine.sharing import START_SECONDS, choose_workers, compared, shares
from onnxsens.options import Options
from onnxsens.station import Station


@pytest.fixture(scope="module")
def runner(models: Path) -> ModelRunner:
    with Station(models / "jv_gru1.onnx", Options(str(models / "japanese_vowels_test.npz"), threads=1)) as bench:
        yield bench.runner


@pytest.mark.parametrize(("threads", "workers", "each"), [(8, 1, 8), (8, 3, 2), (2, 2, 1), (1, 4, 1)])
def test_workers_share_threads_and_have_at_least_one(threads: int, workers: int, each: int) -> None:
    assert shares(threads, workers) == each


@pytest.mark.parametrize(
    ("together", "apart", "work_seconds", "workers"),
    [
        (10, 20, 100, 4),  # twice as fast: saves 50 s
        (10, 11, 1000, 1),  # not clearly faster
        (10, 20, 1.5 * START_SECONDS, 1),  # saves less than starting takes
        (10, 20, 2.5 * START_SECONDS, 4),
        (20, 10, 1000, 1),
    ],
)
def test_many_workers_must_be_clearly_faster_and_pay_for_their_start(
    together: float, apart: float, work_seconds: float, workers: int
) -> None:
    chosen = compared(4, together, apart, work_seconds)
    assert chosen.workers == workers
    assert chosen.why.startswith("4 workers: " if workers == 4 else "one worker: ")


@pytest.mark.parametrize(("threads", "work_seconds"), [(1, 1e6), (2, START_SECONDS)])
def test_nothing_is_run_where_one_worker_is_right_anyway(
    runner: ModelRunner, threads: int, work_seconds: float
) -> None:
    chosen = choose_workers(runner, threads, work_seconds)
    assert (chosen.workers, chosen.together, chosen.apart) == (1, None, None)


def test_both_ways_are_measured_where_the_work_is_long(runner: ModelRunner) -> None:
    chosen = choose_workers(runner, 2, 1000.0)
    assert chosen.together is not None
    assert chosen.apart is not None
    assert chosen == compared(2, chosen.together, chosen.apart, 1000.0)
