"""The laws that every checkpoint format keeps, as tests for whoever writes one:

    class TestMine(CheckpointContract):
        @pytest.fixture
        def path(self, tmp_path: Path) -> Path:
            ...  # of a file of this format, in which the last bytes matter

        @pytest.fixture
        def expected(self) -> Mapping[str, AnyArray]:
            ...  # every tensor in it

The format has to be in the table, or registered under the entry point `onnxsens.checkpoints`. Run by pytest, which this
module does not import.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints import checkpoints, open_checkpoint


class CheckpointContract:
    """Subclass it with fixtures `path` and `expected`."""

    def test_exactly_one_format_recognises_the_file(self, path: Path) -> None:
        with path.open("rb") as file:
            head = file.read(4096)
        found = [name for name in checkpoints.names() if checkpoints.get(name).recognises(path, head)]
        assert found == [open_checkpoint(path).format]

    def test_content_counts_and_not_the_name(self, path: Path, tmp_path: Path) -> None:
        other = tmp_path / "renamed"
        other.write_bytes(path.read_bytes())
        assert open_checkpoint(other).format == open_checkpoint(path).format

    def test_every_tensor_is_there_to_the_bit(self, path: Path, expected: Mapping[str, AnyArray]) -> None:
        parameters = {parameter.name: parameter for parameter in open_checkpoint(path).parameters}
        assert set(parameters) == set(expected)
        for name, values in expected.items():
            read = parameters[name].read()
            assert read.dtype == values.dtype == np.dtype(read.dtype.name)
            assert parameters[name].dtype == values.dtype.name
            assert parameters[name].shape == read.shape == values.shape
            assert read.tobytes() == values.tobytes()

    def test_what_was_read_is_the_callers(self, path: Path) -> None:
        for parameter in open_checkpoint(path).parameters:
            first = parameter.read()
            before = first.tobytes()
            if first.flags.writeable:
                first[...] = 1 - first
            assert parameter.read().tobytes() == before

    def test_names_stand_for_one_tensor_each(self, path: Path) -> None:
        opened = open_checkpoint(path)
        names = [name for parameter in opened.parameters for name in (parameter.name, *parameter.aliases)]
        assert len(set(names)) == len(names)
        assert all(names)

    def test_notes_are_one_line_each(self, path: Path) -> None:
        assert all(note and "\n" not in note for note in open_checkpoint(path).notes)

    def test_a_file_that_was_cut_off_is_refused_in_one_line(self, path: Path, tmp_path: Path) -> None:
        content = path.read_bytes()
        cut = tmp_path / f"cut{path.suffix}"
        for length in (1, len(content) // 3, len(content) // 2, len(content) - 1):
            cut.write_bytes(content[:length])
            try:
                for parameter in open_checkpoint(cut).parameters:
                    parameter.read()
            except CheckpointError as error:
                message = str(error)
                assert str(cut) in message and "\n" not in message and ";" in message
            else:
                raise AssertionError(f"{length} of {len(content)} bytes were taken for a whole file")
