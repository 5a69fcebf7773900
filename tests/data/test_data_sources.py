"""Every built-in source keeps the laws of `onnxsens.data.contract`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnxsens.data
from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data import open_dataset, sources
from onnxsens.data.contract import LABELS, SourceContract


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
