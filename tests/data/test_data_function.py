"""Samples from the user's own code, which may do anything."""

import sys
from pathlib import Path

import numpy as np
import pytest

from onnxsens.arrays import TensorSpec
from onnxsens.data import open_dataset
from onnxsens.data.function import Function
from onnxsens.errors import DataError

X = TensorSpec("x", np.dtype(np.float32), ("N", 2))
TOP = "import numpy as np\nones = np.ones((2, 2), np.float32)\n"


def written(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(TOP + body)
    return f"{folder / 'mine.py'}:batches"


def test_a_plain_array_does_for_a_single_input_model(tmp_path: Path) -> None:
    dataset = open_dataset(written(tmp_path, "def batches():\n    yield ones, None\n    yield ones[:1], None"), [X])
    assert len(dataset) == 3
    assert dataset.labels is None


def test_a_list_of_batches_does_too(tmp_path: Path) -> None:
    assert len(open_dataset(written(tmp_path, "batches = lambda: [(ones, np.arange(2))]"), [X])) == 2


def test_one_buffer_filled_again_and_again_keeps_each_batch(tmp_path: Path) -> None:
    body = "def batches():\n    for i in range(3):\n        ones[:] = i\n        yield ones, None"
    dataset = open_dataset(written(tmp_path, body), [X])
    assert dataset.inputs["x"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_what_the_code_prints_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_dataset(written(tmp_path, "print('hello')\ndef batches():\n    print('there')\n    yield ones, None"), [X])
    assert capsys.readouterr() == ("", "hello\nthere\n")


def test_the_file_replaces_no_module_and_leaves_no_cache(tmp_path: Path) -> None:
    before = set(sys.modules)
    body = (
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: 'int' = 1\ndef batches():\n    yield ones, None"
    )
    open_dataset(written(tmp_path, body), [X])
    assert all(name.startswith("onnxsens_user_file_") for name in set(sys.modules) - before if "mine" in name)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    first = open_dataset(written(tmp_path, "def batches(): yield ones * 1, None"), [X])
    second = open_dataset(written(tmp_path, "def batches(): yield ones * 2, None"), [X])
    assert first.fingerprint() != second.fingerprint()


def test_endless_batches_stop_at_the_size_limit(tmp_path: Path) -> None:
    source = Function(max_data_bytes=1000)
    with pytest.raises(DataError, match="more than the limit"):
        source.read(
            written(tmp_path, "def batches():\n    while True: yield ones, None"), [X], np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("batches = 3", "has no function 'batches'"),
        ("", "has no function 'batches'"),
        ("def batches(:", "failed with SyntaxError"),
        ("1 / 0", "failed with ZeroDivisionError: division by zero at line 3; mend it there"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(0)", "failed with SystemExit: 0 at line 3"),
        (
            "def batches():\n    yield ones, None\n    raise ValueError('one\\ntwo')",
            "failed with ValueError: one two at line 5;",
        ),
        ("def batches(path): yield ones, None", "TypeError: batches() missing 1 required"),
        ("def batches(): return 3", "TypeError: 'int' object is not iterable"),
        ("def batches(): return\n", "TypeError: 'NoneType' object is not iterable"),
        ("def batches(): return []", "has 0 samples"),
        ("def batches(): yield ones", "batch 1 is a 'ndarray'; yield a pair of inputs and labels"),
        ("def batches(): return {'x': ones}, None", "batch 1 is a 'dict'; yield a pair"),
        ("def batches(): yield ones, ones, ones", "batch 1 is a 'tuple' of 3; yield a pair"),
        ("def batches(): yield [[1.0, 2.0]], None", "has a 'list' of 1 for input 'x'; yield a numpy array"),
        ("def batches(): yield ones, [1, 2]", "has a 'list' of 2 for labels; yield a numpy array"),
        ("def batches(): yield {3: ones}, None", "has a name that is no str"),
        ("def batches(): yield {'x': ones, 'y': ones}, None", "has 'y', which the model has no input for"),
        ("def batches(): yield {'x': ones, 'labels': ones}, None", "has 'labels' among its inputs"),
        ("def batches(): yield {}, None", "has no array for the model's 'x' (it has nothing)"),
        ("def batches(): yield np.ma.masked_equal(ones, 1), None", "has a 'MaskedArray' for input 'x'"),
        ("def batches(): yield ones.astype(object), None", "array of Python objects for input 'x'"),
        ("def batches(): yield ones, np.arange(3)", "labels has 3 entries for 2 samples"),
        ("def batches(): yield ones, np.array(3)", "labels has 1 entries for 2 samples"),
        ("def batches(): yield np.float32(1)[...], None", "has a single number for input 'x'"),
        ("def batches(): return [(ones, None), (ones, np.arange(2))]", "batch 2 has labels, but"),
        ("def batches(): return [(ones, None), (ones * 1j, None)]", "batch 2 as complex64 [n, 2]; make them alike"),
        ("def batches(): yield ones * 1j, None", "save it as float32"),
    ],
)
def test_code_that_fails_or_yields_nonsense_is_one_clear_line(body: str, message: str, tmp_path: Path) -> None:
    spec = written(tmp_path, body)
    with pytest.raises(DataError) as caught:
        open_dataset(spec, [X])
    assert message in str(caught.value)
    assert "mine.py" in str(caught.value)
    assert "\n" not in str(caught.value)
