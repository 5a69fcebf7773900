"""Writing a model with other weights: those, and nothing else."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import convolutional, saved, with_external_data
from onnx import numpy_helper

from onnxsens.errors import StorageError
from onnxsens.model import load_model, write_model
from onnxsens.model.surgery import trivial_model, write_working_copy


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
    folder = tmp_path / "copy"
    folder.mkdir()
    working = onnx.load(str(write_working_copy(load_model(path), folder, {"head"})))
    assert (numpy_helper.to_array(working.graph.node[-1].attribute[0].t) == 7).all()


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


def test_a_working_copy_gives_the_same_model_with_probed_weights_outside(tmp_path: Path) -> None:
    source = saved(convolutional(), tmp_path / "m.onnx")
    folder = tmp_path / "copy"
    folder.mkdir()
    path = write_working_copy(load_model(source), folder, {"head", "first"}, ["b"])
    proto = onnx.load(str(path), load_external_data=False)
    outside = {t.name for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    assert outside == {"head", "first"}
    assert [value.name for value in proto.graph.output] == ["logits", "b"]
    assert values(path) == values(source)


def test_the_trivial_model_is_valid() -> None:
    onnx.checker.check_model(onnx.load_from_string(trivial_model()))
