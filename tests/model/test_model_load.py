"""Opening a file: what is wrong with it, in one line."""

import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import convolutional, saved, with_external_data
from onnx import TensorProto, helper, numpy_helper

from onnxsens.arrays import TensorSpec
from onnxsens.errors import ModelError, UsageError
from onnxsens.model import ReadLimits, load_model, messages
from onnxsens.model.messages import sized


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

    def test_a_data_file_that_is_too_short_is_an_error_before_anything_is_read(self, tmp_path: Path) -> None:
        path = with_external_data(convolutional(), tmp_path / "m.onnx")
        (tmp_path / "m.bin").write_bytes(b"short")
        with pytest.raises(ModelError, match=r"of 'first' at 'm\.bin' cannot be read: it ends at byte 288 of"):
            load_model(path)


def changed(folder: Path, change: Callable[[TensorProto], None]) -> Path:
    """The model with its `head` changed."""
    proto = convolutional()
    change(next(tensor for tensor in proto.graph.initializer if tensor.name == "head"))
    return saved(proto, folder / "m.onnx")


class TestLimits:
    def test_a_file_over_the_limit_is_not_read(self, models: Path) -> None:
        path = models / "fashion_cnn.onnx"
        size = path.stat().st_size
        assert load_model(path, ReadLimits(max_model_bytes=size)).path == path
        with pytest.raises(
            ModelError, match=f"has {size:,} bytes, and at most {size - 1:,} are read; give --max-model"
        ):
            load_model(path, ReadLimits(max_model_bytes=size - 1))

    def test_a_limit_of_nothing_is_refused(self) -> None:
        with pytest.raises(UsageError, match="--max-model-bytes 0 is not a number of bytes; give 1 or more"):
            ReadLimits(max_model_bytes=0)

    def test_sparse_tensors_count_as_they_are_written_out(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.sparse_initializer.add(
            values=numpy_helper.from_array(np.ones(1, np.float32), "wide"),
            indices=numpy_helper.from_array(np.zeros(1, np.int64), "i"),
            dims=[1 << 20, 1 << 20],
        )
        path = saved(proto, tmp_path / "m.onnx")
        with pytest.raises(
            ModelError, match=r"sparse tensors of 'm\.onnx' take 4,398,046,511,104 bytes when written out"
        ):
            load_model(path)
        assert load_model(path, ReadLimits(max_model_bytes=1 << 43)).stored["wide"].shape == (1 << 20, 1 << 20)

    def test_a_file_of_tiny_fields_ends_soon(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(messages, "MOST_FIELDS", 1000)
        content = convolutional().SerializeToString()
        (tmp_path / "m.onnx").write_bytes(content + sized(8, b"") * 500)
        assert load_model(tmp_path / "m.onnx").proto.graph.node
        (tmp_path / "m.onnx").write_bytes(content + sized(8, b"") * 1000)
        with pytest.raises(ModelError, match="has more than 1,000 fields outside of its tensors"):
            load_model(tmp_path / "m.onnx")

    def test_a_long_name_is_not_held_once_for_each_tensor_below_it(self, tmp_path: Path) -> None:
        """5 MB of name over 1000 tensors of a body, and over as many in a list."""
        long = "n" * 5_000_000
        small = [numpy_helper.from_array(np.zeros(1, np.float32), f"t{number}") for number in range(1000)]
        body = helper.make_graph([helper.make_node("Identity", ["t0"], ["o"])], "b", [], [], small)
        proto = convolutional()
        proto.graph.node.append(helper.make_node("If", ["c"], [long], then_branch=body))
        proto.graph.node.append(helper.make_node("Odd", ["c"], ["p"], **{long: small}))
        path = saved(proto, tmp_path / "m.onnx")
        tracemalloc.start()
        try:
            stored = load_model(path).stored
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(stored) > 2000
        assert max(len(name) for name in stored) < 1100
        assert peak < 150e6


class TestMalformed:
    @pytest.mark.parametrize(
        "dims",
        [[1] * 33, [2**62] * 10**6, [1] * 10**6],
        ids=["one more than numpy has", "a million large ones", "a million"],
    )
    def test_more_axes_than_any_array_has_are_refused_before_they_are_multiplied(
        self, tmp_path: Path, dims: list[int]
    ) -> None:
        def reshape(tensor: TensorProto) -> None:
            tensor.ClearField("dims")
            tensor.dims.extend(dims)

        with pytest.raises(ModelError, match=f"'head' has {len(dims)} axes, and at most 32 are read"):
            load_model(changed(tmp_path, reshape))

    def test_an_empty_tensor_of_an_impossible_shape_is_refused(self, tmp_path: Path) -> None:
        def empty(tensor: TensorProto) -> None:
            tensor.ClearField("dims")
            tensor.dims.extend([2**40, 0, 2**40])
            tensor.raw_data = b""

        with pytest.raises(ModelError, match=r"'head' has the shape \[1099511627776, 0, 1099511627776\]"):
            load_model(changed(tmp_path, empty))

    @pytest.mark.parametrize("dims", [[-1, 3], [5, -6], [2**62, 4], [2**40, 2**40], [2**63 - 1]])
    def test_a_shape_that_no_tensor_has_is_refused(self, tmp_path: Path, dims: list[int]) -> None:
        def reshape(tensor: TensorProto) -> None:
            tensor.ClearField("dims")
            tensor.dims.extend(dims)

        with pytest.raises(ModelError, match="'head' has the shape"):
            load_model(changed(tmp_path, reshape))

    @pytest.mark.parametrize("dims", [[5, 5], [5, 7], [30, 2], [10**6, 10**6], []])
    def test_a_shape_that_the_bytes_do_not_fill_is_an_error_when_read(self, tmp_path: Path, dims: list[int]) -> None:
        for form in ("raw_data", "float_data", "neither"):

            def reshape(tensor: TensorProto, form: str = form) -> None:
                tensor.ClearField("dims")
                tensor.dims.extend(dims)
                if form != "raw_data":
                    tensor.ClearField("raw_data")
                if form == "float_data":
                    tensor.float_data.extend([1.0] * 30)

            path = changed(tmp_path, reshape)
            with pytest.raises(ModelError, match=r"'head'.*; check that the download or export finished"):
                load_model(path).array("head")  # one that claims to be large is refused before that

    def test_a_large_payload_that_does_not_fill_its_shape_is_refused(self, tmp_path: Path) -> None:
        def grow(tensor: TensorProto) -> None:
            tensor.raw_data = bytes(4000)

        with pytest.raises(ModelError, match="data of 'head' has 4000 bytes where its shape and type take 120"):
            load_model(changed(tmp_path, grow))

    @pytest.mark.parametrize(("form", "number"), [("unknown", 99), ("undefined", 0)])
    def test_an_element_type_that_onnx_does_not_have_is_refused(self, tmp_path: Path, form: str, number: int) -> None:
        def retype(tensor: TensorProto) -> None:
            tensor.data_type = number

        with pytest.raises(ModelError, match=f"'head' has the element type {number}"):
            load_model(changed(tmp_path, retype)).array("head")

    def test_segments_are_refused(self, tmp_path: Path) -> None:
        def cut(tensor: TensorProto) -> None:
            tensor.segment.begin = 1

        with pytest.raises(ModelError, match=r"'head' cannot be read: .*segment"):
            load_model(changed(tmp_path, cut)).array("head")

    @pytest.mark.parametrize(("levels", "read"), [(30, True), (45, False), (2000, False)])
    def test_bodies_in_bodies_are_read_as_deep_as_protobuf_reads_them(
        self, tmp_path: Path, levels: int, read: bool
    ) -> None:
        graph = sized(5, sized(8, b"inner") + sized(9, bytes(4)) + b"\x08\x01\x10\x01")
        for _ in range(levels):
            graph = sized(1, sized(2, b"o") + sized(5, sized(1, b"then_branch") + sized(6, graph)))
        (tmp_path / "m.onnx").write_bytes(sized(7, graph))
        if read:
            assert list(load_model(tmp_path / "m.onnx").stored) == ["o/then_branch/" * levels + "inner"]
            return
        with pytest.raises(ModelError, match="nested more than 100 messages deep"):
            load_model(tmp_path / "m.onnx")

    def test_a_second_graph_is_refused(self, tmp_path: Path) -> None:
        content = convolutional().SerializeToString()
        (tmp_path / "m.onnx").write_bytes(content + sized(7, b""))
        with pytest.raises(ModelError, match=r"m\.onnx' is not an ONNX model, or damaged at byte .*: a second graph"):
            load_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("large", [False, True], ids=["parsed", "mapped"])
def test_values_are_what_onnx_reads_and_cannot_be_changed(tmp_path: Path, large: bool) -> None:
    proto = convolutional()
    if large:
        proto.graph.initializer.append(numpy_helper.from_array(np.arange(90_000, dtype=np.float32), "large"))
    model = load_model(saved(proto, tmp_path / "m.onnx"))
    for tensor in proto.graph.initializer:
        np.testing.assert_array_equal(model.array(tensor.name), numpy_helper.to_array(tensor))
        assert not model.array(tensor.name).flags.writeable
    assert len(model.proto.SerializeToString()) < 5000
    assert model.notes == ()


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    """64 MiB of weights; numpy's own allocations are the ones that tracemalloc sees."""
    proto = convolutional()
    for number in range(16):
        proto.graph.initializer.append(numpy_helper.from_array(np.full(1 << 20, number, np.float32), f"w{number}"))
    path = saved(proto, tmp_path / "m.onnx")
    del proto
    tracemalloc.start()
    try:
        model = load_model(path)
        for number in range(16):
            assert model.array(f"w{number}")[-1] == number
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20
