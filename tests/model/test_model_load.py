"""Opening a file: what is wrong with it, in one line."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import convolutional, saved, with_external_data
from onnx import numpy_helper

from onnxsens.arrays import TensorSpec
from onnxsens.errors import ModelError
from onnxsens.model import load_model


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer; run 'git lfs pull'"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"PK\x03\x04 and so on", "a zip archive"),
        (b'{"model": 1}', "a JSON text"),
        (b"just some words\nabout a model\n", "a text file"),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "check that the download or export finished"),
    ],
    ids=["empty", "lfs", "html", "zip", "json", "text", "damaged"],
)
def test_what_is_no_model_is_told_by_what_it_looks_like(tmp_path: Path, content: bytes, fragment: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=fragment) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_model(tmp_path / "nowhere.onnx")
    with pytest.raises(ModelError, match="is not a file"):
        load_model(tmp_path)


def test_a_file_over_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.write(b"\x08\x08")
        file.truncate(2**31 + 10)
    with pytest.raises(ModelError, match="one ONNX file holds at most 2 GiB"):
        load_model(path)


def test_every_truncation_of_a_model_is_an_error_or_a_smaller_model_never_a_crash(tmp_path: Path) -> None:
    content = convolutional().SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(1, len(content), 37):
        path.write_bytes(content[:length])
        try:
            load_model(path)
        except ModelError as error:
            assert "\n" not in str(error)


def test_an_initializer_stored_twice_is_ambiguous(tmp_path: Path) -> None:
    proto = convolutional()
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((5, 6), np.float32), "head"))
    with pytest.raises(ModelError, match="'head' is stored twice"):
        load_model(saved(proto, tmp_path / "m.onnx"))


def test_a_negative_dimension_is_refused(tmp_path: Path) -> None:
    proto = convolutional()
    proto.graph.initializer[0].dims[0] = -1
    with pytest.raises(ModelError, match="has the shape"):
        load_model(saved(proto, tmp_path / "m.onnx"))


def test_inputs_are_those_that_have_to_be_fed(tmp_path: Path) -> None:
    proto = convolutional()
    proto.graph.input.append(onnx.helper.make_tensor_value_info("head", onnx.TensorProto.FLOAT, [5, 6]))
    model = load_model(saved(proto, tmp_path / "m.onnx"))
    assert model.inputs == (TensorSpec("x", np.dtype(np.float32), ("N", 2, 8, 8)),)
    assert model.inputs[0].text == "float32 [N, 2, 8, 8]"


def test_the_fingerprint_of_one_file_is_its_sha256(models: Path) -> None:
    path = models / "fashion_cnn.onnx"
    assert load_model(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


class TestExternalData:
    def test_it_is_read(self, tmp_path: Path) -> None:
        plain = load_model(saved(convolutional(), tmp_path / "plain.onnx"))
        model = load_model(with_external_data(convolutional(), tmp_path / "m.onnx"))
        for name in plain.initializers:
            np.testing.assert_array_equal(model.array(name), plain.array(name))

    def test_it_is_part_of_the_fingerprint(self, tmp_path: Path) -> None:
        path = with_external_data(convolutional(), tmp_path / "m.onnx")
        before = load_model(path).sha256
        data = tmp_path / "m.bin"
        content = bytearray(data.read_bytes())
        content[10] ^= 1
        data.write_bytes(bytes(content))
        assert load_model(path).sha256 != before

    def test_a_missing_data_file_is_named(self, tmp_path: Path) -> None:
        path = with_external_data(convolutional(), tmp_path / "m.onnx")
        (tmp_path / "m.bin").unlink()
        with pytest.raises(ModelError, match=r"'m\.bin' is missing"):
            load_model(path)

    @pytest.mark.parametrize("location", ["../m.bin", "/etc/passwd", "a/../../m.bin", "", "C:\\m.bin"])
    def test_a_location_outside_the_folder_is_refused(self, tmp_path: Path, location: str) -> None:
        inner = tmp_path / "inner"
        inner.mkdir()
        path = with_external_data(convolutional(), inner / "m.onnx")
        (inner / "m.bin").rename(tmp_path / "m.bin")
        proto = onnx.load(str(path), load_external_data=False)
        for tensor in proto.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        with pytest.raises(ModelError, match="outside the model's folder"):
            load_model(saved(proto, path))

    def test_a_data_file_that_is_too_short_is_an_error_when_read(self, tmp_path: Path) -> None:
        path = with_external_data(convolutional(), tmp_path / "m.onnx")
        (tmp_path / "m.bin").write_bytes(b"short")
        model = load_model(path)
        with pytest.raises(ModelError, match="cannot be read"):
            model.array("head")
