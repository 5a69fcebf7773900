"""Large payloads left out of a file's bytes, and other bytes put in their place, against protobuf itself."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import convolutional, model_of, normal
from onnx import TensorProto, helper, numpy_helper

from onnxsens.errors import ModelError
from onnxsens.model import messages, wire
from onnxsens.model.messages import TensorPath
from onnxsens.model.wire import INSIDE, NewPayload, NewTensor, rewritten, skeleton

MESSAGES = {
    "Model": onnx.ModelProto,
    "TrainingInfo": onnx.TrainingInfoProto,
    "Function": onnx.FunctionProto,
    "Graph": onnx.GraphProto,
    "Node": onnx.NodeProto,
    "Attribute": onnx.AttributeProto,
    "SparseTensor": onnx.SparseTensorProto,
    "Tensor": TensorProto,
}


def everywhere(size: int = 400) -> onnx.ModelProto:
    """Float32 tensors of `size` elements wherever ONNX has room for one."""
    rng = np.random.default_rng(3)

    def tensor(name: str) -> TensorProto:
        return numpy_helper.from_array(normal(rng, size), name)

    def sparse(name: str) -> onnx.SparseTensorProto:
        return helper.make_sparse_tensor(tensor(name), numpy_helper.from_array(np.arange(size)), [2 * size])

    def body(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
        graph = helper.make_graph(list(nodes), name, [], [], [tensor(f"{name}.w")])
        graph.sparse_initializer.append(sparse(f"{name}.s"))
        return graph

    constant = helper.make_node("Constant", [], ["c"], value=tensor("inner"))
    held = helper.make_node("If", ["cond"], ["deep"], then_branch=body("inner", constant), else_branch=body("other"))
    nodes = [
        helper.make_node("If", ["cond"], ["out"], then_branch=body("then", held), else_branch=body("else", constant)),
        helper.make_node("Constant", [], ["sc"], sparse_value=sparse("sv")),
        helper.make_node(
            "Odd", [], ["odd"], domain="d", many=[tensor("0"), tensor("1")], graphs=[body("a"), body("b")]
        ),
        helper.make_node("Odd", [], ["odd2"], domain="d", sparse=[sparse("x"), sparse("y")]),
    ]
    proto = model_of(nodes, {"x": [1]}, {"out": [1]}, {"w": normal(rng, size), "small": normal(rng, 3)})
    proto.graph.sparse_initializer.append(sparse("s"))
    function = helper.make_function("d", "F", [], ["c"], [constant], [helper.make_opsetid("", 17)])
    function.attribute_proto.append(helper.make_attribute("default", tensor("default")))
    proto.functions.append(function)
    info = proto.training_info.add()
    info.initialization.CopyFrom(body("init"))
    info.algorithm.CopyFrom(body("algorithm"))
    proto.doc_string = "after the tensors"
    return proto


def tensors_of(message: Any, path: TensorPath = ()) -> Iterator[tuple[TensorPath, TensorProto]]:
    """Every tensor message and its path, from protobuf's reflection."""
    if isinstance(message, TensorProto):
        yield path, message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for ordinal, item in enumerate([value] if hasattr(value, "ListFields") else value):
            yield from tensors_of(item, (*path, (field.name, ordinal)))


def test_every_way_to_a_tensor_is_in_the_table_with_its_number() -> None:
    kinds = onnx.ModelProto.DESCRIPTOR.file.message_types_by_name.values()
    leading = {"TensorProto"}
    while True:  # until no further kind of message holds one that leads to a tensor
        more = {k.name for k in kinds for f in k.fields if f.message_type and f.message_type.name in leading}
        if more <= leading:
            break
        leading |= more
    names = {message.DESCRIPTOR.name: kind for kind, message in MESSAGES.items()}
    assert leading == names.keys()
    for kind, message in MESSAGES.items():
        assert messages.CHILDREN[kind] == {
            field.number: (field.name, names[field.message_type.name], field.is_repeated)
            for field in message.DESCRIPTOR.fields
            if field.message_type and field.message_type.name in names
        }


def test_the_fields_of_a_tensor_have_their_numbers() -> None:
    numbers = TensorProto.DESCRIPTOR.fields_by_name
    assert {numbers[n].number for n in numbers if n.endswith("_data") and n != "external_data"} == messages.DATA_FIELDS
    for name in ("DATA_TYPE", "SEGMENT", "RAW_DATA", "FLOAT_DATA", "DOUBLE_DATA", "EXTERNAL_DATA", "DATA_LOCATION"):
        assert getattr(messages, name) == numbers[name.lower()].number
    assert messages.STRING_TYPE == TensorProto.STRING
    assert {TensorProto.FLOAT, TensorProto.COMPLEX64} == messages.PLAIN_TYPES[messages.FLOAT_DATA]
    assert {TensorProto.DOUBLE, TensorProto.COMPLEX128} == messages.PLAIN_TYPES[messages.DOUBLE_DATA]


def filled(content: bytes, thin: bytes) -> onnx.ModelProto:
    """The model that `thin` is the skeleton of, with the bytes taken back from the file."""
    proto = onnx.ModelProto.FromString(thin)
    for _, tensor in tensors_of(proto):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries.get("location") == INSIDE:
            start = int(entries["offset"])
            tensor.raw_data = content[start : start + int(entries["length"])]
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return proto


class TestSkeleton:
    def test_it_is_small_and_has_all_but_the_payloads(self) -> None:
        proto = everywhere()
        content = proto.SerializeToString()
        thin = skeleton(content)
        places = [tensor for _, tensor in tensors_of(onnx.ModelProto.FromString(thin)) if tensor.external_data]
        assert len(places) == len([t for _, t in tensors_of(proto) if t.raw_data and len(t.raw_data) >= 1024]) > 30
        assert len(thin) < len(content) / 10
        assert filled(content, thin) == proto

    @pytest.mark.parametrize("size", [0, 1, 255])
    def test_small_payloads_stay_where_they_are(self, size: int) -> None:
        proto = everywhere(size)
        for _, tensor in tensors_of(proto):
            if tensor.data_type == TensorProto.INT64:
                tensor.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64)))
        content = proto.SerializeToString()
        assert skeleton(content) == content

    @pytest.mark.parametrize(("dtype", "field"), [(np.float32, "float_data"), (np.float64, "double_data")])
    def test_packed_numbers_are_left_out_too(self, dtype: type, field: str) -> None:
        values = np.arange(300).astype(dtype)
        proto = convolutional()
        tensor = proto.graph.initializer.add(
            name="p", dims=[300], data_type=helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        )
        getattr(tensor, field).extend(values.tolist())
        content = proto.SerializeToString()
        found = next(t for t in filled(content, skeleton(content)).graph.initializer if t.name == "p")
        assert not getattr(found, field)
        assert numpy_helper.to_array(found).tobytes() == values.tobytes()

    def stays(self, change: Callable[[TensorProto], None]) -> None:
        tensor = numpy_helper.from_array(np.ones(500, np.float32), "w")
        change(tensor)
        proto = model_of([], {}, {}, {})
        proto.graph.initializer.append(tensor)
        assert skeleton(proto.SerializeToString()) == proto.SerializeToString()

    def test_what_is_no_single_plain_field_stays(self) -> None:
        def twice(tensor: TensorProto) -> None:
            tensor.float_data.extend([1.0] * 500)

        def coded(tensor: TensorProto) -> None:
            tensor.ClearField("raw_data")
            tensor.int32_data.extend([1] * 2000)

        def wrong_type(tensor: TensorProto) -> None:
            tensor.ClearField("raw_data")
            tensor.float_data.extend([1.0] * 500)
            tensor.data_type = TensorProto.DOUBLE

        def strings(tensor: TensorProto) -> None:
            tensor.data_type = TensorProto.STRING

        def outside(tensor: TensorProto) -> None:
            tensor.data_location = TensorProto.EXTERNAL

        def placed(tensor: TensorProto) -> None:
            tensor.external_data.add(key="location", value="w.bin")

        for change in (twice, coded, wrong_type, strings, outside, placed):
            self.stays(change)

    def test_a_payload_that_comes_in_two_fields_stays(self) -> None:
        tensor = messages.sized(9, b"\1" * 2000) + messages.sized(9, b"\2" * 2000)
        content = messages.sized(7, messages.sized(5, tensor))
        assert skeleton(content) == content

    def test_the_reserved_location_is_refused_in_a_file(self) -> None:
        proto = convolutional()
        proto.graph.initializer[0].external_data.add(key="location", value=INSIDE)
        with pytest.raises(ModelError, match="reserved location"):
            skeleton(proto.SerializeToString())

    def test_a_second_graph_is_refused(self) -> None:
        content = everywhere().SerializeToString()
        with pytest.raises(ModelError, match="a second graph in one Model"):
            skeleton(content + messages.sized(7, b""))

    def test_bodies_nested_too_deep_are_refused(self) -> None:
        content = messages.sized(5, messages.sized(9, b"\0" * 2000))
        for _ in range(40):
            content = messages.sized(1, messages.sized(5, messages.sized(6, content)))
        with pytest.raises(ModelError, match="more than 100 messages deep"):
            skeleton(messages.sized(7, content))

    @pytest.mark.parametrize(
        "content",
        [
            b"\x3a\x05abc",  # graph of 5 bytes, of which 3 are there
            b"\x3a" + b"\xff" * 11,  # a length that does not end
            b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of 2^63 - 1
            b"\x3b\x01\x3c",  # a group
            b"\x02\x01a",  # field 0
            b"\x3d\x01",  # four bytes, of which one is there
            b"\x80",
        ],
    )
    def test_nonsense_is_damage_in_one_line(self, content: bytes) -> None:
        with pytest.raises(ModelError, match=r"^damaged at byte [0-9]+: [^\n]+$"):
            skeleton(content)

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def test_what_protobuf_can_read_is_read_the_same_or_refused(self, data: st.DataObject) -> None:
        content = bytearray(everywhere(300).SerializeToString())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        try:
            thin = skeleton(bytes(content))
        except ModelError as error:
            assert "\n" not in str(error)
            return
        try:
            expected = onnx.ModelProto.FromString(bytes(content))
        except DecodeError:
            return
        assert filled(bytes(content), thin) == expected


class TestRewritten:
    def test_without_edits_it_is_the_file(self) -> None:
        content = everywhere().SerializeToString()
        assert b"".join(rewritten(content, {})) == content

    def test_any_tensor_gets_other_bytes_in_its_place(self) -> None:
        proto = everywhere()
        content = proto.SerializeToString()
        for path, tensor in list(tensors_of(proto)):
            old = tensor.raw_data
            tensor.raw_data = bytes(byte ^ 255 for byte in old)
            new = b"".join(rewritten(content, {path: NewPayload(tensor.raw_data)}))
            assert new == proto.SerializeToString()
            assert len(new) == len(content)
            tensor.raw_data = old

    @pytest.mark.parametrize("size", [0, 1, 100, 20_000])
    def test_whole_tensors_of_another_size_fit_in(self, size: int) -> None:
        proto = everywhere()
        content = proto.SerializeToString()
        edits = {}
        for number, (path, tensor) in enumerate(tensors_of(proto)):
            if number % 2:
                tensor.CopyFrom(numpy_helper.from_array(np.full(size, number, np.float32), f"t{number}"))
                edits[path] = NewTensor(tensor.SerializeToString())
        assert b"".join(rewritten(content, edits)) == proto.SerializeToString()

    def test_lengths_keep_their_way_of_writing_where_nothing_grows(self) -> None:
        tensor = messages.sized(9, b"\1\2\3\4")
        graph = b"\x2a" + bytes([0x80 | len(tensor), 0x00]) + tensor  # the length in two bytes, one of them needless
        content = messages.sized(7, graph)
        path = (("graph", 0), ("initializer", 0))
        assert b"".join(rewritten(content, {path: NewPayload(b"\5\6\7\x08")})) == content.replace(
            b"\1\2\3\4", b"\5\6\7\x08"
        )

    def test_pieces_are_small(self) -> None:
        proto = everywhere()
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros(3_000_000, np.float32), "large"))
        edits = {(("graph", 0), ("initializer", 1)): NewTensor(b"")}
        pieces = list(rewritten(proto.SerializeToString(), edits))
        assert max(map(len, pieces)) <= wire.PIECE

    @pytest.mark.parametrize(
        "path", [(("graph", 0), ("initializer", 9)), (("graph", 0), ("node", 0), ("attribute", 0), ("t", 0))]
    )
    def test_a_place_that_is_not_there_is_damage(self, path: TensorPath) -> None:
        with pytest.raises(ModelError, match="holds no tensor at"):
            list(rewritten(everywhere().SerializeToString(), {path: NewTensor(b"")}))

    def test_a_payload_of_another_size_is_damage(self) -> None:
        path = (("graph", 0), ("initializer", 0))
        with pytest.raises(ModelError, match="has no data field of 3 bytes"):
            list(rewritten(everywhere().SerializeToString(), {path: NewPayload(b"abc")}))
