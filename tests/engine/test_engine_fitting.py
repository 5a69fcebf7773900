"""Out of memory: recognised, told in one line, and answered by running fewer samples at once."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import greedy, model_of, saved

from onnxsens.engine import Recipe, Session, choose_provider, open_session
from onnxsens.engine.fitting import Fitting, is_out_of_memory
from onnxsens.errors import ModelError, OutOfMemoryError
from onnxsens.model import load_model


class Batches:
    """Runs samples in batches where there is room for so many; notes what was run, and when room was made."""

    def __init__(self, room: int, most: int, *, fixed: bool = False) -> None:
        self.room = room
        self.said: list[str] = []
        self.ran: list[tuple[int, int] | str] = []
        self.fitting = Fitting(most, fixed=fixed, say=self.said.append)

    def __call__(self, samples: int) -> list[int]:
        return self.fitting.fitted(lambda: self._work(samples), self._relieve)

    def _work(self, samples: int) -> list[int]:
        done: list[int] = []
        size = self.fitting.most
        for start in range(0, samples, size):
            stop = min(start + size, samples)
            self.ran.append((start, stop))
            with self.fitting.room(stop - start):
                if stop - start > self.room:
                    raise OutOfMemoryError(f"no room for {stop - start}")
            done += range(start, stop)
        return done

    def _relieve(self) -> None:
        assert sys.exc_info() == (None, None, None)  # what the error holds on to is gone
        self.ran.append("room")


class TestBatches:
    @pytest.mark.parametrize("room", range(1, 9))
    @pytest.mark.parametrize("samples", range(9))
    def test_every_sample_is_run_and_in_order(self, samples: int, room: int) -> None:
        run = Batches(room, 8)
        for _ in range(2):
            assert run(samples) == list(range(samples))
        assert bool(run.said) == (samples > room)

    def test_a_batch_that_fits_is_run_whole(self) -> None:
        run = Batches(8, 8)
        run(8)
        assert (run.ran, run.fitting.most, run.said) == ([(0, 8)], 8, [])

    def test_all_batches_of_what_is_asked_again_have_the_new_size_and_it_is_remembered(self) -> None:
        run = Batches(4, 4)
        run(8)
        run.room = 2
        run.ran.clear()
        assert run(6) == list(range(6))
        assert run.ran == [(0, 4), "room", (0, 2), (2, 4), (4, 6)]
        run.ran.clear()
        run(4)
        assert run.ran == [(0, 2), (2, 4)]

    def test_each_halving_is_said_with_what_to_ask_for(self) -> None:
        run = Batches(2, 9)
        run(9)
        assert [text.split(" (")[0] for text in run.said] == [
            f"out of memory with {size} samples at once; from here on {half} are run at once, "
            f"as with --batch-size {half}"
            for size, half in ((9, 5), (5, 3), (3, 2))
        ]

    def test_what_was_run_is_halved_not_what_might_have_been(self) -> None:
        run = Batches(5, 64)
        run(10)
        assert run.ran == [(0, 10), "room", (0, 5), (5, 10)]

    @pytest.mark.parametrize(("room", "fixed"), [(0, False), (3, True)])
    def test_a_sample_or_a_fixed_batch_that_does_not_fit_is_an_error(self, room: int, fixed: bool) -> None:
        run = Batches(room, 4, fixed=fixed)
        with pytest.raises(OutOfMemoryError, match="no room for"):
            run(4)
        assert run.fitting.most == (4 if fixed else 1)

    def test_other_errors_are_not_answered(self) -> None:
        fitting = Fitting(4, fixed=False, say=pytest.fail)
        with pytest.raises(ModelError, match="broken"), fitting.room(4):
            raise ModelError("broken")


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 8"), True),
        (RuntimeError("Available memory of 1048576 is smaller than requested bytes of 67108864"), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);"), True),
        (RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0"), True),
        (RuntimeError("CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR ; GPU=0"), False),
        (RuntimeError("Got invalid dimensions for input: x"), False),
    ],
)
def test_native_errors_of_too_little_memory_are_told_apart(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


def opened(folder: Path) -> Session:
    """y = x, with memory for two rows."""
    path = saved(model_of(greedy("x", "y", 2), {"x": ["N", 2]}, {"y": ["N", 2]}, {}), folder / "m.onnx")
    cpu = choose_provider("cpu")
    return open_session(path, load_model(path), cpu, Recipe(cpu.name, 1, 4))


class TestSessions:
    @pytest.mark.parametrize("way", ["run", "run_held"])
    def test_a_run_that_memory_is_too_small_for_says_so(self, way: str, tmp_path: Path) -> None:
        session = opened(tmp_path)
        feed: dict[str, Any] = {"x": np.ones((3, 2), np.float32)}
        with pytest.raises(OutOfMemoryError) as caught:
            session.run(["y"], feed) if way == "run" else session.run_held([], ["y"], feed)
        text = str(caught.value)
        assert text.startswith("onnxruntime runs out of memory with 'm.onnx': operator 'ConstantOfShape' (node 'fill')")
        assert text.endswith("; give a smaller --batch-size")
        assert "\n" not in text

    def test_the_session_goes_on_with_fewer_samples(self, tmp_path: Path) -> None:
        session = opened(tmp_path)
        x = np.arange(18, dtype=np.float32).reshape(9, 2)
        said: list[str] = []
        fitting = Fitting(9, fixed=False, say=said.append)

        def work() -> list[np.ndarray]:
            found = []
            for start in range(0, 9, fitting.most):
                batch = x[start : start + fitting.most]
                with fitting.room(len(batch)):
                    found += session.run_held(["y"], [], {"x": batch})[0]
            return found

        for _ in range(2):
            np.testing.assert_array_equal(np.concatenate(fitting.fitted(work)), x)
        assert (fitting.most, len(said)) == (2, 3)
