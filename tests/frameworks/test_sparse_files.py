"""Reading masks and weights: both packings, and every way in which a file can contradict itself."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from onnxsens.errors import PlanError
from onnxsens.frameworks import sparse_files
from onnxsens.frameworks.sparse_files import pack, read_aliases, read_masks, read_weights, unpack

MASK = np.random.default_rng(0).random((3, 5)) > 0.5
METADATA = {
    "format": sparse_files.MASKS_FORMAT,
    "packing": "bytes",
    "shapes": json.dumps({"w": [3, 5]}),
    "aliases": json.dumps({"w": ["tied"]}),
}
AS_BYTES = MASK.astype(np.uint8)


def written(path: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> Path:
    safetensors.numpy.save_file(tensors, str(path), metadata)
    return path


@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (3, 5), (0, 4), (2, 3, 4)])
def test_a_packed_mask_comes_back(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(1).random(shape) > 0.5
    bits = pack(mask)
    assert bits.dtype == np.uint8 and bits.shape == (-(-mask.size // 8),)
    assert np.array_equal(unpack(bits, shape), mask)


def test_the_highest_bit_comes_first() -> None:
    assert pack(np.array([True, False, False, False, False, False, False, False, True])).tolist() == [128, 128]


def test_bits_that_belong_to_no_element_are_refused() -> None:
    with pytest.raises(ValueError, match="behind the last"):
        unpack(np.array([255], np.uint8), (3,))
    with pytest.raises(ValueError, match="2 bytes for 3 bits"):
        unpack(np.zeros(2, np.uint8), (3,))


@pytest.mark.parametrize("packing", ["bytes", "bits"])
def test_both_packings_give_the_mask(tmp_path: Path, packing: str) -> None:
    stored = pack(MASK) if packing == "bits" else AS_BYTES
    path = written(tmp_path / "m.safetensors", {"w": stored}, {**METADATA, "packing": packing})
    read = read_masks(path)
    assert list(read) == ["w"]
    assert read["w"].dtype == np.bool_ and np.array_equal(read["w"], MASK)
    assert read_aliases(path) == {"w": ("tied",)}


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"w": AS_BYTES}, {"format": "onnxsens.masks/2"}, "its format is 'onnxsens.masks/2', not 'onnxsens.masks/1'"),
        ({"w": AS_BYTES}, {"packing": "nibbles"}, "packing 'nibbles' is neither"),
        ({"w": AS_BYTES, "v": AS_BYTES}, {}, "its 'shapes' are not those of its tensors"),
        ({"w": AS_BYTES}, {"shapes": "[]"}, "its 'shapes' are no JSON object"),
        ({"w": AS_BYTES}, {"shapes": "{"}, "its 'shapes' are no JSON"),
        ({"w": AS_BYTES}, {"shapes": '{"w": [-3, -5]}'}, "its 'shapes' of 'w' are no shape"),
        ({"w": AS_BYTES}, {"shapes": '{"w": [5, 3]}'}, "shape [3, 5] where [5, 3] is stated"),
        ({"w": AS_BYTES + 1}, {}, "a value that is neither 0 nor 1"),
        ({"w": AS_BYTES.astype(np.float32)}, {}, "mask 'w' is of float32, not uint8"),
        ({"w": pack(MASK)[:1]}, {"packing": "bits"}, "1 bytes for 15 bits"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, tensors: dict[str, Any], metadata: dict[str, str], message: str
) -> None:
    path = written(tmp_path / "m.safetensors", tensors, {**METADATA, **metadata})
    with pytest.raises(PlanError) as raised:
        read_masks(path)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_cut_off_or_missing_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.safetensors", {"w": AS_BYTES}, METADATA)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PlanError, match="beyond the end of the file"):
        read_masks(path)
    with pytest.raises(PlanError, match=r"file of masks '.*none' cannot be read"):
        read_masks(tmp_path / "none")


def test_aliases_are_names_of_names(tmp_path: Path) -> None:
    for text in ('{"v": ["x"]}', '{"w": "x"}', '{"w": [1]}'):
        path = written(tmp_path / "m.safetensors", {"w": AS_BYTES}, {**METADATA, "aliases": text})
        with pytest.raises(PlanError, match="are no names"):
            read_aliases(path)


def test_weights_come_in_their_own_type(tmp_path: Path) -> None:
    values = {"a": np.ones((2, 2), ml_dtypes.bfloat16), "b": np.zeros(3, np.float16)}
    path = written(tmp_path / "w.safetensors", values, {"format": sparse_files.WEIGHTS_FORMAT})
    read = read_weights(path)
    assert {name: array.dtype.name for name, array in read.items()} == {"a": "bfloat16", "b": "float16"}
    with pytest.raises(PlanError, match="is no file of masks"):
        read_masks(path)


def test_masks_in_memory_have_to_be_masks() -> None:
    assert sparse_files.masks_in({"w": [0, 1]})["w"].tolist() == [False, True]
    with pytest.raises(PlanError, match="mask 'w' holds values other than 0 and 1"):
        sparse_files.masks_in({"w": np.array([0.5])})


@pytest.mark.parametrize("module", ["sparse_files", "torch", "keras", "jax", "checkpoints"])
def test_importing_costs_no_framework_and_no_onnx(module: str) -> None:
    code = (
        f"import sys, onnxsens.frameworks.{module}; "
        "heavy = {'onnx', 'onnxruntime', 'torch', 'keras', 'tensorflow', 'jax', 'flax', 'h5py', 'msgspec', 'scipy'}; "
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
