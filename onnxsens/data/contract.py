"""The laws that every data source keeps, as tests for whoever writes one:

    class TestMine(SourceContract):
        kind = "mine"

        def write(self, folder: Path, samples: AnyArray) -> str:
            ...  # save `samples` and `LABELS` in the folder, and return what to give to --data

Run by pytest, which this module does not import.
"""

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data import Dataset, Preprocessing, open_dataset, sources
from onnxsens.errors import DataError

SAMPLES = np.random.default_rng(7).integers(0, 256, (6, 1, 4, 5), np.uint8)
LABELS = np.array([0, 0, 1, 1, 1, 2])


class SourceContract:
    """What holds for a source that can deliver `SAMPLES`, and `LABELS` where `labelled`."""

    kind: ClassVar[str]
    labelled: ClassVar[bool] = True
    stored: ClassVar[AnyArray] = SAMPLES
    inputs: ClassVar[tuple[TensorSpec, ...]] = (TensorSpec("x", np.dtype(np.float32), ("N", 1, 4, 5)),)
    preprocessing: ClassVar[Preprocessing] = Preprocessing(scale=255.0, mean=(0.25,), std=(0.5,))

    def write(self, folder: Path, samples: AnyArray) -> str:
        """Save `samples` and `LABELS` in `folder`; what to give to `--data`."""
        raise NotImplementedError

    def opened(self, folder: Path, samples: AnyArray = SAMPLES, preprocessing: Preprocessing | None = None) -> Dataset:
        """The data set of what was written."""
        folder.mkdir()
        return open_dataset(self.write(folder, samples), self.inputs, preprocessing or self.preprocessing)

    def test_it_says_which_source_it_is(self, tmp_path: Path) -> None:
        dataset = self.opened(tmp_path / "a")
        assert dataset.source == self.kind
        assert self.kind in sources.names()

    def test_the_length_is_the_number_of_samples(self, tmp_path: Path) -> None:
        assert len(self.opened(tmp_path / "a")) == 6

    def test_samples_stay_as_they_are_stored(self, tmp_path: Path) -> None:
        dataset = self.opened(tmp_path / "a")
        assert dataset.inputs["x"].dtype == self.stored.dtype
        np.testing.assert_array_equal(dataset.inputs["x"], self.stored)

    def test_what_is_stored_cannot_be_written_to(self, tmp_path: Path) -> None:
        dataset = self.opened(tmp_path / "a")
        assert not dataset.inputs["x"].flags.writeable

    def test_a_batch_is_the_formula_on_the_samples_asked_for_in_their_order(self, tmp_path: Path) -> None:
        picked = np.array([4, 0, 0, 5])
        batch = self.opened(tmp_path / "a").batch(picked)
        assert list(batch) == ["x"]
        assert batch["x"].dtype == np.float32
        expected = (self.stored[picked].astype(np.float64) / 255.0 - 0.25) / 0.5
        np.testing.assert_allclose(batch["x"], expected, rtol=1e-6, atol=1e-6)

    def test_more_bytes_than_allowed_are_refused(self, tmp_path: Path) -> None:
        spec = self.write(tmp_path, SAMPLES)
        try:
            open_dataset(spec, self.inputs, self.preprocessing, max_data_bytes=self.stored.nbytes - 1)
        except DataError as error:
            message = str(error)
            assert "--max-data-bytes" in message and "\n" not in message
        else:
            raise AssertionError("the limit was passed over")

    def test_labels_follow_the_samples_asked_for(self, tmp_path: Path) -> None:
        labels = self.opened(tmp_path / "a").labels_at(np.array([5, 2, 0]))
        assert (None if labels is None else labels.tolist()) == ([2, 1, 0] if self.labelled else None)

    def test_two_reads_from_two_places_have_one_fingerprint(self, tmp_path: Path) -> None:
        first, second = self.opened(tmp_path / "a"), self.opened(tmp_path / "b")
        assert first.fingerprint() == second.fingerprint() == first.fingerprint()
        assert len(first.fingerprint()) == 2 * hashlib.sha256().digest_size

    def test_one_changed_value_changes_the_fingerprint(self, tmp_path: Path) -> None:
        changed = SAMPLES.copy()
        changed[3, 0, 2, 1] ^= 1
        assert self.opened(tmp_path / "a").fingerprint() != self.opened(tmp_path / "b", changed).fingerprint()

    def test_other_preprocessing_changes_the_fingerprint(self, tmp_path: Path) -> None:
        other = self.opened(tmp_path / "b", preprocessing=Preprocessing(scale=255.0, mean=(0.25,)))
        assert self.opened(tmp_path / "a").fingerprint() != other.fingerprint()

    def test_it_matches_no_other_sources_texts(self, tmp_path: Path) -> None:
        text = self.write(tmp_path, SAMPLES)
        assert [name for name in sources.names() if sources.get(name)().matches(text)] == [self.kind]
