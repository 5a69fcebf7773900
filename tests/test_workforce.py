"""What a worker says reaches the user once."""

from pathlib import Path
from typing import Any

from engines import levels_of
from networks import of_the_batch, samples_file, saved

from onnxsens.engine import KeptRoutes
from onnxsens.options import Options
from onnxsens.scan import Nobody
from onnxsens.workforce import hear, measuring


class Heard(Nobody):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.details: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)


def test_of_a_worker_only_what_the_first_process_could_not_know_is_told(tmp_path: Path) -> None:
    model = saved(of_the_batch(memory_for=2), tmp_path / "m.onnx")
    data = str(samples_file(tmp_path / "d.npz", (6,), 3))
    options = Options(data, provider="cpu", threads=1, metrics=("dense-mse",), batch_size=8)
    observer = Heard()

    def say(text: str) -> None:
        hear(observer, text)

    evaluator: Any = measuring(str(model), options, (), None, 1, routes=KeptRoutes(), say=say)
    assert observer.notes == []  # opening it ran out of memory, there as here
    evaluator._runner.fitting.most = 3  # as if memory had been there, and others had taken it since
    [asked] = levels_of("last", (0, 30), ("dense-mse",), (0.5,))
    evaluator.answer(asked)
    evaluator.close()
    assert [note[:37] for note in observer.notes] == ["out of memory with 3 samples at once;"]
    assert len(observer.details) == 1
