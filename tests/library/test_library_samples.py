"""Arrays as samples."""

import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxsens.arrays import TensorSpec
from onnxsens.data import open_dataset
from onnxsens.errors import DataError, RunMismatchError, StorageError, UsageError
from onnxsens.files import TemporaryFolder
from onnxsens.library.samples import spec_for_now, spec_of

X = np.arange(12, dtype=np.float32).reshape(3, 4)
Y = np.array([0, 1, 1])


@settings(deadline=None)
@given(
    st.dictionaries(
        # Names of options of numpy's own among them; not such as look like paths.
        st.sampled_from(["x", "file", "args", "allow_pickle", "a/b", "näme", "x:0", "labels"]),
        arrays.arrays(
            st.sampled_from([np.float32, np.int64, np.bool_, np.float16, np.complex64, np.uint8]),
            arrays.array_shapes(min_dims=0, max_dims=3, max_side=3),
        ),
        min_size=1,
    )
)
def test_what_is_written_is_what_numpy_reads(given_arrays: dict[str, Any]) -> None:
    with TemporaryFolder() as folder, np.load(spec_of(given_arrays, folder)) as read:
        assert sorted(read.files) == sorted(given_arrays)
        for name, values in given_arrays.items():
            assert read[name].dtype == values.dtype
            np.testing.assert_array_equal(read[name], values)


@pytest.mark.parametrize("data", [({"x": X}, Y), {"x": X, "labels": Y}, (X, Y), ({"x": X}, Y.tolist())])
def test_each_form_is_the_same_samples(data: Any, tmp_path: Path) -> None:
    spec = TensorSpec("x", np.dtype(np.float32), ("N", 4))
    dataset = open_dataset(spec_of(data, tmp_path), [spec])
    np.testing.assert_array_equal(dataset.batch(np.array([2, 0]))["x"], X[[2, 0]])
    labels = dataset.labels_at(np.array([2, 0]))
    assert labels is not None and labels.tolist() == [1, 0]


def test_a_text_or_a_path_stays_what_it_is(tmp_path: Path) -> None:
    assert spec_of("random:8", tmp_path / "no") == "random:8"
    assert spec_of(tmp_path / "a.npz", tmp_path / "no") == str(tmp_path / "a.npz")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        ((X, Y, Y), UsageError, "data is a tuple of 3; give (arrays, labels)"),
        (({"x": X, "labels": Y}, Y), UsageError, "data has labels twice"),
        (lambda: X, UsageError, "data is a function of this process; put it into a file"),
        ({3: X}, UsageError, "data has an array under 3; name arrays like the model's inputs"),
        ({"x": np.array(["a"])}, DataError, "data: 'x' is of type <U1; give an array of numbers"),
        ([X, Y], DataError, "; give (x, y) or {'x': x, 'labels': y}"),
        ({"x": [[1.0], [1.0, 2.0]]}, DataError, "data: 'x' is not one array (setting an array element"),
        ({"x": np.ma.array(X, mask=X > 4)}, DataError, "data: 'x' is a masked array, and samples have no mask"),
        ((X, np.ma.array(Y, mask=[0, 0, 1])), DataError, "data: 'labels' is a masked array"),
        ({"x": np.array([{}])}, DataError, "data: 'x' is of type object; give an array of numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(data: Any, kind: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(kind) as caught:
        spec_of(data, tmp_path)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_types_that_numpy_has_from_others_are_kept(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0]], ml_dtypes.bfloat16)
    with np.load(spec_of({"x": values}, tmp_path)) as read:
        assert read["x"].tobytes() == values.tobytes()


def test_before_a_run_is_there_other_samples_take_the_place_and_then_no_more(tmp_path: Path) -> None:
    first = Path(spec_of({"x": X}, tmp_path)).read_bytes()
    assert Path(spec_of({"x": X + 1}, tmp_path)).read_bytes() != first
    assert Path(spec_of({"x": X}, tmp_path)).read_bytes() == first
    (tmp_path / "scan.db").touch()
    spec_of({"x": X.copy()}, tmp_path)
    with pytest.raises(RunMismatchError, match="was made on other samples; choose another folder as out"):
        spec_of({"x": X + 1}, tmp_path)
    assert (tmp_path / "samples.npz").read_bytes() == first
    assert sorted(os.listdir(tmp_path)) == ["samples.npz", "scan.db"]  # noqa: PTH208 - names, no paths


def test_a_file_of_somebody_elses_stays(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=X)
    before = (tmp_path / "samples.npz").read_bytes()
    with pytest.raises(StorageError, match="onnxsens did not write it; choose another folder as out"):
        spec_of({"x": X}, tmp_path)
    assert (tmp_path / "samples.npz").read_bytes() == before
    (tmp_path / "samples.npz").write_text("no archive")
    with pytest.raises(StorageError, match="onnxsens did not write it"):
        spec_of({"x": X}, tmp_path)


def test_samples_for_now_are_gone_afterwards() -> None:
    with spec_for_now({"x": X}) as spec:
        assert Path(spec).is_file()
    assert not Path(spec).parent.exists()
    with spec_for_now("random:8") as spec:
        assert spec == "random:8"
