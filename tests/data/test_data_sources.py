"""The laws that every source of samples keeps; subclass `SourceContract` for one more."""

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

import onnxsens.data
from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data import Dataset, Preprocessing, open_dataset, sources

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
        folder.mkdir()
        return open_dataset(self.write(folder, samples), self.inputs, preprocessing or self.preprocessing)

    def test_it_says_which_source_it_is(self, tmp_path: Path) -> None:
        dataset = self.opened(tmp_path / "a")
        assert dataset.source == self.kind
        assert self.kind in sources.table

    def test_the_length_is_the_number_of_samples(self, tmp_path: Path) -> None:
        assert len(self.opened(tmp_path / "a")) == 6

    def test_samples_stay_as_they_are_stored(self, tmp_path: Path) -> None:
        dataset = self.opened(tmp_path / "a")
        assert dataset.inputs["x"].dtype == self.stored.dtype
        np.testing.assert_array_equal(dataset.inputs["x"], self.stored)

    def test_what_is_stored_cannot_be_written_to(self, tmp_path: Path) -> None:
        dataset = self.opened(tmp_path / "a")
        with pytest.raises(ValueError, match="read-only"):
            dataset.inputs["x"][0] = 0

    def test_a_batch_is_the_formula_on_the_samples_asked_for_in_their_order(self, tmp_path: Path) -> None:
        picked = np.array([4, 0, 0, 5])
        batch = self.opened(tmp_path / "a").batch(picked)
        assert list(batch) == ["x"]
        assert batch["x"].dtype == np.float32
        expected = (self.stored[picked].astype(np.float64) / 255.0 - 0.25) / 0.5
        np.testing.assert_allclose(batch["x"], expected, rtol=1e-6, atol=1e-6)

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


class TestNpz(SourceContract):
    kind = "npz"

    def write(self, folder: Path, samples: AnyArray) -> str:
        np.savez_compressed(folder / "samples.npz", x=samples, labels=LABELS)
        return str(folder / "samples.npz")


class TestNpy(SourceContract):
    kind = "npy"
    labelled = False

    def write(self, folder: Path, samples: AnyArray) -> str:
        np.save(folder / "samples.npy", samples)
        return str(folder / "samples.npy")


class TestShards(SourceContract):
    kind = "shards"

    def write(self, folder: Path, samples: AnyArray) -> str:
        # Written last first: the names decide the order.
        np.savez(folder / "part-1.npz", x=samples[4:], labels=LABELS[4:])
        np.savez(folder / "part-0.npz", x=samples[:4], labels=LABELS[:4])
        (folder / "README.txt").write_text("not a shard")
        return str(folder)


class TestFunction(SourceContract):
    kind = "function"

    def write(self, folder: Path, samples: AnyArray) -> str:
        np.save(folder / "all.npy", samples)
        (folder / "mine.py").write_text(
            "from pathlib import Path\n"
            "import numpy as np\n"
            "def batches():\n"
            "    samples = np.load(Path(__file__).parent / 'all.npy')\n"
            f"    labels = np.array({LABELS.tolist()})\n"
            "    for start in (0, 4):\n"
            "        yield {'x': samples[start:start + 4]}, labels[start:start + 4]\n"
        )
        return f"{folder / 'mine.py'}:batches"


class TestImages(SourceContract):
    kind = "images"

    def write(self, folder: Path, samples: AnyArray) -> str:
        for index, (label, pixels) in enumerate(zip(LABELS, samples, strict=True)):
            (folder / f"class-{label}").mkdir(exist_ok=True)
            Image.fromarray(pixels[0]).save(folder / f"class-{label}" / f"{index}.png")
        return str(folder)


class TestRandom(SourceContract):
    kind = "random"
    labelled = False
    stored = np.random.default_rng(0).standard_normal((6, 1, 4, 5), np.float32)

    def write(self, folder: Path, samples: AnyArray) -> str:
        return "random:6"

    def test_one_changed_value_changes_the_fingerprint(self, tmp_path: Path) -> None:
        first, second = (open_dataset("random:6", self.inputs, seed=seed) for seed in (0, 1))
        assert first.fingerprint() != second.fingerprint()

    @pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int64", "uint16", "bool"])
    def test_each_type_gets_its_own_kind_of_noise(self, dtype: str) -> None:
        spec = TensorSpec("x", np.dtype(dtype), (1, 50))
        values = open_dataset("random:40", [spec]).inputs["x"]
        assert (values.dtype, values.shape) == (np.dtype(dtype), (40, 50))
        if values.dtype.kind == "f":
            assert abs(float(values.mean(dtype=np.float64))) < 0.1
        else:
            assert np.unique(values).tolist() == [0, 1]


def test_every_built_in_source_is_under_contract() -> None:
    assert {case.kind for case in SourceContract.__subclasses__()} == set(sources.table)


def test_the_fingerprint_does_not_care_how_samples_were_packed(tmp_path: Path) -> None:
    cases = (TestNpz(), TestShards(), TestFunction(), TestImages())
    assert len({case.opened(tmp_path / case.kind).fingerprint() for case in cases}) == 1


def test_the_room_exports_what_it_lists() -> None:
    exported = onnxsens.data.__all__
    assert exported == sorted(exported)
    assert all(getattr(onnxsens.data, name) is not None for name in exported)
