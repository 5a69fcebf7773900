"""Writing a model with other weights: those, and nothing else."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import convolutional, normal, saved, with_external_data
from onnx import numpy_helper

from onnxsens.errors import ModelError, StorageError
from onnxsens.model import Model, load_model, write_model
from onnxsens.model.messages import sized
from onnxsens.model.stored import every_tensor
from onnxsens.model.values import with_values


def without_initializers(path: Path) -> bytes:
    proto = onnx.load(str(path))
    del proto.graph.initializer[:]
    return bytes(proto.SerializeToString(deterministic=True))


def values(path: Path) -> dict[str, bytes]:
    return {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in onnx.load(str(path)).graph.initializer}


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_only_what_was_replaced_differs(tmp_path: Path, external: bool) -> None:
    proto = convolutional()
    proto.doc_string = "as it was"
    proto.metadata_props.add(key="author", value="somebody")
    proto.producer_name = "a framework"
    source = with_external_data(proto, tmp_path / "m.onnx") if external else saved(proto, tmp_path / "m.onnx")
    model = load_model(source)
    new = np.zeros((5, 6), np.float32)
    write_model(model, {"head": new}, tmp_path / "out.onnx")
    assert without_initializers(tmp_path / "out.onnx") == without_initializers(source)
    before, after = values(source), values(tmp_path / "out.onnx")
    assert list(before) == list(after)
    assert {name for name in before if before[name] != after[name]} == {"head"}
    assert after["head"] == new.tobytes()


def test_values_stay_in_the_field_that_held_them(tmp_path: Path) -> None:
    proto = convolutional()
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == "head")
    numbers = numpy_helper.to_array(tensor).reshape(-1).tolist()
    tensor.ClearField("raw_data")
    tensor.float_data.extend(numbers)
    model = load_model(saved(proto, tmp_path / "m.onnx"))
    write_model(model, {"head": np.ones((5, 6), np.float32)}, tmp_path / "out.onnx")
    written = load_model(tmp_path / "out.onnx").initializers["head"]
    assert not written.HasField("raw_data")
    assert list(written.float_data) == [1.0] * 30


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_a_tensor_inside_a_node_that_has_a_weights_name_is_left_alone(tmp_path: Path, external: bool) -> None:
    proto = convolutional()
    value = numpy_helper.from_array(np.full((5, 6), 7, np.float32), "head")
    proto.graph.node.append(onnx.helper.make_node("Constant", [], ["held"], value=value))
    path = tmp_path / "m.onnx"
    if external:
        onnx.save_model(
            proto, str(path), save_as_external_data=True, location="m.bin", size_threshold=0, convert_attribute=True
        )
    else:
        saved(proto, path)
    write_model(load_model(path), {"head": np.zeros((5, 6), np.float32)}, tmp_path / "out.onnx")
    written = onnx.load(str(tmp_path / "out.onnx"))
    assert (numpy_helper.to_array(written.graph.node[-1].attribute[0].t) == 7).all()


def test_the_model_that_came_in_is_not_changed(tmp_path: Path) -> None:
    source = with_external_data(convolutional(), tmp_path / "m.onnx")
    content = (source.read_bytes(), (tmp_path / "m.bin").read_bytes())
    model = load_model(source)
    before = model.proto.SerializeToString(deterministic=True)
    write_model(model, {"head": np.zeros((5, 6), np.float32)}, tmp_path / "out.onnx")
    assert model.proto.SerializeToString(deterministic=True) == before
    assert (source.read_bytes(), (tmp_path / "m.bin").read_bytes()) == content


def test_two_models_with_external_data_in_one_folder_keep_their_own(tmp_path: Path) -> None:
    model = load_model(with_external_data(convolutional(), tmp_path / "m.onnx"))
    write_model(model, {"head": np.zeros((5, 6), np.float32)}, tmp_path / "out.onnx")
    first = values(tmp_path / "out.onnx")
    write_model(model, {"head": np.ones((5, 6), np.float32)}, tmp_path / "out2.onnx")
    assert values(tmp_path / "out.onnx") == first


def test_a_link_or_a_missing_folder_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    model = load_model(saved(convolutional(), tmp_path / "m.onnx"))
    (tmp_path / "link.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(StorageError, match="symbolic link"):
        write_model(model, {}, tmp_path / "link.onnx")
    with pytest.raises(StorageError, match="cannot write"):
        write_model(model, {}, tmp_path / "nowhere" / "out.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.onnx", "m.onnx"]


def differing(before: bytes, after: bytes) -> tuple[int, int]:
    """First and last position where two files of one size differ."""
    assert len(before) == len(after)
    places = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    return places[0], places[-1]


LARGE = normal(np.random.default_rng(1), 30, 20)


def with_large(*, packed: bool = False, node: bool = False) -> onnx.ModelProto:
    """The network and one more tensor, `large`, whose payload is not parsed."""
    proto = convolutional()
    tensor = numpy_helper.from_array(LARGE, "large")
    if packed:
        tensor.ClearField("raw_data")
        tensor.float_data.extend(LARGE.ravel().tolist())
    if node:
        proto.graph.node.append(onnx.helper.make_node("Constant", [], ["large"], value=tensor))
    else:
        proto.graph.initializer.insert(2, tensor)
    proto.metadata_props.add(key="after", value="the graph")
    return proto


@pytest.mark.parametrize("kind", [{}, {"packed": True}, {"node": True}], ids=["raw", "packed", "constant"])
def test_a_payload_is_replaced_in_its_place_and_no_other_byte_differs(tmp_path: Path, kind: dict[str, bool]) -> None:
    source = saved(with_large(**kind), tmp_path / "m.onnx")
    new = LARGE.copy()
    new[0, 0], new[-1, -1] = 0, 7
    write_model(load_model(source), {"large": new}, tmp_path / "out.onnx")
    before, after = source.read_bytes(), (tmp_path / "out.onnx").read_bytes()
    start = before.index(LARGE.tobytes())
    first, last = differing(before, after)
    assert start <= first < start + 4
    assert start + LARGE.nbytes - 4 <= last < start + LARGE.nbytes
    assert after == before.replace(LARGE.tobytes(), new.tobytes())


def test_a_file_written_by_another_serializer_keeps_its_form(tmp_path: Path) -> None:
    """Fields in reverse order, unknown fields, needlessly long numbers: all that protobuf itself would tidy up."""
    tensor = sized(9, LARGE.tobytes()) + sized(8, b"large") + b"\x10\x81\x00" + b"\x08\x14" * 2 + sized(99, b"unknown")
    tensor = tensor.replace(b"\x08\x14\x08\x14", b"\x08\x1e\x08\x14")
    proto = convolutional()
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    content = sized(7, sized(5, tensor) + graph) + proto.SerializeToString() + sized(98, b"more")
    (tmp_path / "m.onnx").write_bytes(content)
    model = load_model(tmp_path / "m.onnx")
    np.testing.assert_array_equal(model.array("large"), LARGE)
    write_model(model, {"large": LARGE + 1}, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == content.replace(LARGE.tobytes(), (LARGE + 1).tobytes())


def types_that_are_written() -> dict[str, int]:
    return {n: v for n, v in onnx.TensorProto.DataType.items() if n not in ("UNDEFINED", "STRING")}


@pytest.mark.parametrize("form", ["raw", "own field", "external"])
@pytest.mark.parametrize("size", [7, 2051])
@pytest.mark.parametrize("name", types_that_are_written())
def test_every_element_type_is_written_in_the_form_it_had(tmp_path: Path, name: str, size: int, form: str) -> None:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(types_that_are_written()[name])
    ones, mixed = np.ones(size, dtype), (np.arange(size) % 2).astype(dtype)
    tensor = numpy_helper.from_array(ones, "t")
    if form == "own field":
        field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
        tensor = with_values(onnx.TensorProto(name="t", dims=[size], data_type=tensor.data_type), ones)
        assert len(getattr(tensor, field)) > 0
    proto = convolutional()
    proto.graph.initializer.append(tensor)
    path = tmp_path / "m.onnx"
    write_model(
        load_model(with_external_data(proto, path) if form == "external" else saved(proto, path)),
        {"t": mixed},
        tmp_path / "out.onnx",
    )
    written = onnx.load(str(tmp_path / "out.onnx"), load_external_data=False).graph.initializer[-1]
    assert (written.data_location == onnx.TensorProto.EXTERNAL) is (form == "external")
    assert written.HasField("raw_data") is (form == "raw")
    assert numpy_helper.to_array(written, str(tmp_path)).tobytes() == mixed.tobytes()
    assert load_model(tmp_path / "out.onnx").array("t").tobytes() == mixed.tobytes()


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
@pytest.mark.parametrize("size", [3, 400])
def test_constants_bodies_and_functions_are_written_by_name(tmp_path: Path, external: bool, size: int) -> None:
    values = np.ones((2, size), np.float32)
    tensor = numpy_helper.from_array(values, "same name")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    body = onnx.helper.make_graph([constant], "b", [], [], [tensor])
    proto = convolutional()
    proto.graph.initializer.append(tensor)
    proto.graph.node.extend([constant, onnx.helper.make_node("If", ["?"], ["o"], then_branch=body)])
    function = onnx.helper.make_function("d", "F", [], ["c"], [constant], [onnx.helper.make_opsetid("", 17)])
    proto.functions.append(function)
    source = saved(proto, tmp_path / "m.onnx")
    if external:
        for _, found in every_tensor(proto):
            if found.name == "same name":
                (tmp_path / "m.bin").write_bytes(values.tobytes())
                found.ClearField("raw_data")
                found.data_location = onnx.TensorProto.EXTERNAL
                found.external_data.add(key="location", value="m.bin")
        saved(proto, source)
    names = ["same name", "c", "o/then_branch/same name", "o/then_branch/c", "d::F/c"]
    for name in names:
        write_model(load_model(source), {name: values * 2}, tmp_path / "out.onnx")
        written = load_model(tmp_path / "out.onnx")
        assert {n: float(written.array(n).max()) for n in names} == dict.fromkeys(names, 1.0) | {name: 2.0}
        assert written.stored.keys() == load_model(source).stored.keys()


class TestSparse:
    def model(self, folder: Path, count: int) -> Model:
        proto = convolutional()
        tensor = onnx.helper.make_sparse_tensor(
            numpy_helper.from_array(np.arange(1, count + 1, dtype=np.float32), "s"),
            numpy_helper.from_array(np.arange(count, dtype=np.int64) * 2, "i"),
            [2, count],
        )
        proto.graph.sparse_initializer.append(tensor)
        return load_model(saved(proto, folder / "m.onnx"))

    @pytest.mark.parametrize("count", [6, 600])
    def test_values_are_changed_at_the_indices_that_are_stored(self, tmp_path: Path, count: int) -> None:
        model = self.model(tmp_path, count)
        new = np.where(model.array("s") > 3, 0, model.array("s")).astype(np.float32)
        write_model(model, {"s": new}, tmp_path / "out.onnx")
        np.testing.assert_array_equal(load_model(tmp_path / "out.onnx").array("s"), new)
        assert len(load_model(tmp_path / "out.onnx").stored["s"].tensor.dims) == 1
        assert load_model(tmp_path / "out.onnx").stored["s"].tensor.dims[0] == count

    def test_a_value_at_another_index_is_refused(self, tmp_path: Path) -> None:
        model = self.model(tmp_path, 6)
        for value in (1.0, np.nan):
            new = model.array("s").copy()
            new[0, 1] = value
            with pytest.raises(ModelError, match="'s' has no room for values at other indices"):
                write_model(model, {"s": new}, tmp_path / "out.onnx")


@pytest.mark.parametrize("external", [False, True], ids=["inline", "external"])
def test_values_of_another_name_type_or_shape_are_refused_and_nothing_is_written(
    tmp_path: Path, external: bool
) -> None:
    source = (
        with_external_data(with_large(), tmp_path / "m.onnx") if external else saved(with_large(), tmp_path / "m.onnx")
    )
    model = load_model(source)
    before = sorted(tmp_path.iterdir())
    for replacement, fragment in (
        ({"nobody": LARGE}, "stores no tensor 'nobody'"),
        ({"large": LARGE.T}, r"float32 \[20, 30\], and it stores float \[30, 20\]"),
        ({"large": LARGE.astype(np.float64)}, r"float64 \[30, 20\], and it stores float \[30, 20\]"),
    ):
        with pytest.raises(ModelError, match=fragment):
            write_model(model, replacement, tmp_path / "out.onnx")
    assert sorted(tmp_path.iterdir()) == before


def test_no_data_file_is_left_where_the_model_cannot_be_written(tmp_path: Path) -> None:
    model = load_model(with_external_data(convolutional(), tmp_path / "m.onnx"))
    (tmp_path / "link.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(StorageError, match="symbolic link"):
        write_model(model, {}, tmp_path / "link.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.onnx", "m.bin", "m.onnx"]


def test_small_external_tensors_may_have_stood_anywhere_and_get_places_of_their_own(tmp_path: Path) -> None:
    """Shared bytes and odd offsets in, separate and aligned ones out."""
    proto = convolutional()
    (tmp_path / "m.bin").write_bytes(b"abc" + LARGE.tobytes())
    for name in ("large", "twin"):
        tensor = proto.graph.initializer.add(name=name, dims=[30, 20], data_type=1, data_location=1)
        tensor.external_data.add(key="location", value="m.bin")
        tensor.external_data.add(key="offset", value="3")
    model = load_model(saved(proto, tmp_path / "m.onnx"))
    assert len(model.notes) == 2
    write_model(model, {"twin": -LARGE}, tmp_path / "out.onnx")
    written = load_model(tmp_path / "out.onnx")
    assert written.notes == ()
    np.testing.assert_array_equal(written.array("large"), LARGE)
    np.testing.assert_array_equal(written.array("twin"), -LARGE)
