"""What a worker says reaches the user once."""

from pathlib import Path

from engines import levels_of
from networks import of_the_batch, samples_file, saved

from onnxsens.engine import KeptRoutes
from onnxsens.engine.serving import Said
from onnxsens.native import stationed
from onnxsens.options import Options
from onnxsens.scan import Nobody
from onnxsens.workforce import hear


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
    opening = True

    def tell(message: object) -> None:
        if isinstance(message, Said):
            hear(observer, Said(message.kind, message.text, opening))

    with stationed(model, options, {}, routes=KeptRoutes(), tell=tell) as station:
        assert observer.notes == []  # opening it ran out of memory, there as here
        opening = False
        station.runner.fitting.most = 3  # as if memory had been there, and others had taken it since
        [asked] = levels_of("last", (0, 30), ("dense-mse",), (0.5,))
        station.evaluator.answer(asked)
    assert [note[:37] for note in observer.notes] == ["out of memory with 3 samples at once;"]
    assert len(observer.details) == 1
