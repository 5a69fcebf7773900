"""Every tensor of a file under a name of its own, and its values, against onnx's own reading."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from networks import convolutional, model_of, normal, saved, with_external_data
from onnx import TensorProto, helper, numpy_helper

from onnxsens.errors import ModelError
from onnxsens.model import Model, ReadLimits, load_model
from onnxsens.model.stored import every_tensor, stored_tensors

LARGE = 30  # rows of a [30, 20] tensor, whose payload is not parsed


def dense(name: str = "", rows: int = 2, seed: int = 0) -> TensorProto:
    return numpy_helper.from_array(normal(np.random.default_rng(seed), rows, 20), name)


def sparse(
    name: str, indices: list[int] | list[list[int]], dims: tuple[int, ...], count: int | None = None
) -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(np.arange(1, (count or len(indices)) + 1, dtype=np.float32), name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(indices, np.int64), "i"), list(dims))


def graph_of(name: str, nodes: list[onnx.NodeProto], *tensors: TensorProto) -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [], list(tensors))


def everywhere(rows: int = 2) -> onnx.ModelProto:
    """A tensor in each kind of place."""
    constant = helper.make_node("Constant", [], ["c"], value=dense("ignored", rows, 1))
    odd = helper.make_node(
        "Odd", [], ["o"], domain="d", t=dense("", rows, 2), more=[dense("", rows, 3), dense("", rows, 4)]
    )
    deep = helper.make_node("If", ["c"], ["deep"], then_branch=graph_of("g", [constant], dense("w", rows, 5)))
    loop = helper.make_node("Loop", ["", ""], ["", "out"], body=graph_of("g", [deep, odd], dense("w", rows, 6)))
    graphs = helper.make_node(
        "Odd", [], ["p"], domain="d", all=[graph_of("g", [], dense("a", rows, 7)), graph_of("g", [constant])]
    )
    nodes = [
        constant,
        helper.make_node("Constant", [], ["s"], sparse_value=sparse("ignored", [1, 5], (2, 3))),
        helper.make_node("Constant", [], ["other"], domain="d", value=dense("", rows, 8)),
        helper.make_node("ConstantOfShape", ["x"], ["filled"], value=numpy_helper.from_array(np.ones(1, np.float32))),
        loop,
        graphs,
    ]
    proto = model_of(nodes, {"x": [1]}, {"out": [1]}, {})
    proto.graph.initializer.append(dense("w", rows, 9))
    proto.graph.sparse_initializer.append(sparse("sw", [[0, 2], [1, 0]], (2, 3), 2))
    for overload in ("", "half"):
        function = helper.make_function("pkg", "Block", [], ["c"], [constant, deep], [helper.make_opsetid("", 17)])
        function.overload = overload
        function.attribute_proto.append(helper.make_attribute("default", dense("", rows, 10)))
        proto.functions.append(function)
    proto.training_info.add().algorithm.CopyFrom(graph_of("g", [], dense("w", rows, 11)))
    return proto


EXPECTED = {
    "w": ("initializer", ""),
    "sw": ("sparse initializer", ""),
    "c": ("constant", ""),
    "s": ("sparse constant", ""),
    "other/value": ("attribute", ""),
    "filled/value": ("attribute", ""),
    "out/body/w": ("initializer", "body of Loop 'out'"),
    "out/body/deep/then_branch/w": ("initializer", "body of If 'deep' in body of Loop 'out'"),
    "out/body/deep/then_branch/c": ("constant", "body of If 'deep' in body of Loop 'out'"),
    "out/body/o/more[0]": ("attribute", "body of Loop 'out'"),
    "out/body/o/more[1]": ("attribute", "body of Loop 'out'"),
    "out/body/o/t": ("attribute", "body of Loop 'out'"),
    "p/all[0]/a": ("initializer", "body of Odd 'p'"),
    "p/all[1]/c": ("constant", "body of Odd 'p'"),
    "pkg::Block/default": ("attribute", "function 'pkg::Block'"),
    "pkg::Block/c": ("constant", "function 'pkg::Block'"),
    "pkg::Block/deep/then_branch/w": ("initializer", "body of If 'deep' in function 'pkg::Block'"),
    "pkg::Block/deep/then_branch/c": ("constant", "body of If 'deep' in function 'pkg::Block'"),
    "pkg::Block:half/default": ("attribute", "function 'pkg::Block:half'"),
    "pkg::Block:half/c": ("constant", "function 'pkg::Block:half'"),
    "pkg::Block:half/deep/then_branch/w": ("initializer", "body of If 'deep' in function 'pkg::Block:half'"),
    "pkg::Block:half/deep/then_branch/c": ("constant", "body of If 'deep' in function 'pkg::Block:half'"),
    "training 0 algorithm/w": ("initializer", "training algorithm"),
}


def test_each_place_has_its_name_kind_and_owner() -> None:
    found = stored_tensors(everywhere())
    assert {stored.name: (stored.kind, stored.owner) for stored in found} == EXPECTED
    assert len(found) == len(EXPECTED)
    assert [stored.name for stored in found][:2] == ["w", "sw"]


def at(message: object, path: tuple[tuple[str, int], ...]) -> object:
    for field, ordinal in path:
        value = getattr(message, field)
        message = value if hasattr(value, "ListFields") else value[ordinal]
    return message


def test_the_path_leads_to_the_tensor() -> None:
    proto = everywhere()
    for path, tensor in every_tensor(proto):
        assert at(proto, path) == tensor
    assert len(list(every_tensor(proto))) == len(EXPECTED) + 2  # two of them sparse, with indices


@pytest.mark.parametrize("rows", [2, LARGE], ids=["parsed", "mapped"])
def test_all_are_read_by_name(tmp_path: Path, rows: int) -> None:
    proto = everywhere(rows)
    model = load_model(saved(proto, tmp_path / "m.onnx"))
    assert model.stored.keys() == EXPECTED.keys()
    for name, stored in model.stored.items():
        assert model.array(name).shape == stored.shape
        assert not model.array(name).flags.writeable
        if stored.indices is None:
            original = at(proto, stored.path)
            assert isinstance(original, TensorProto)
            np.testing.assert_array_equal(model.array(name), numpy_helper.to_array(original))
    np.testing.assert_array_equal(model.array("sw"), [[0, 0, 1], [2, 0, 0]])
    np.testing.assert_array_equal(model.array("s"), [[0, 1, 0], [0, 0, 2]])


def test_names_that_are_taken_get_a_number() -> None:
    nodes = [helper.make_node("Constant", [], [name], value=dense()) for name in ("w", "w", "w#2", "v")]
    proto = model_of(nodes, {"x": [1]}, {"v": [1]}, {})
    proto.graph.initializer.extend([dense("w"), dense("v")])
    assert [stored.name for stored in stored_tensors(proto)] == ["w", "v", "w#2", "w#3", "w#2#2", "v#2"]


def test_a_node_without_outputs_goes_by_its_operator() -> None:
    proto = model_of([helper.make_node("Constant", [], [], value=dense())], {"x": [1]}, {}, {})
    assert [stored.name for stored in stored_tensors(proto)] == ["Constant"]


def test_a_name_that_is_no_utf8_is_escaped(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "NAME"], ["y"]),
        helper.make_node("Constant", [], ["NODE"], value=dense()),
    ]
    proto = model_of(nodes, {"x": [1, 2]}, {"y": [1, 20]}, {})
    proto.graph.initializer.append(dense("NAME", LARGE))
    content = proto.SerializeToString().replace(b"NAME", b"\xff\xfe\n\0").replace(b"NODE", b"\xffode")
    (tmp_path / "m.onnx").write_bytes(content)
    model = load_model(tmp_path / "m.onnx")
    assert list(model.stored) == ["\\xff\\xfe\n\0", "\\xffode"]
    assert model.array("\\xff\\xfe\n\0").shape == (LARGE, 20)
    proto.graph.initializer[0].dims[0] = -1
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString().replace(b"NAME", b"\xff\xfe\n\0"))
    with pytest.raises(ModelError, match=r"'\\xff\\xfe\\n\\x00' has the shape") as caught:
        load_model(tmp_path / "m.onnx")
    assert str(caught.value).isprintable()


def of_type(name: str, values: np.ndarray, form: str, folder: Path) -> Model:
    """A model that stores `values` under the name of their type, in one of the ways there are."""
    tensor = numpy_helper.from_array(values, "w")
    if form == "own field":
        field = helper.tensor_dtype_to_field(tensor.data_type)
        numbers: list[float] = []
        if (field == "int32_data" and values.dtype.kind not in "biu") or "int4" in name or "int2" in name:
            packed = np.frombuffer(tensor.raw_data, np.uint16 if values.dtype.itemsize == 2 else np.uint8)
            numbers = values.view(np.uint8).ravel().tolist() if "float6" in name else packed.tolist()
        elif values.dtype.kind == "c":
            numbers = values.ravel().view(values.real.dtype).tolist()
        else:
            numbers = values.ravel().view(np.uint8 if values.dtype == bool else values.dtype).tolist()
        tensor.ClearField("raw_data")
        getattr(tensor, field).extend(numbers)
    proto = convolutional()
    proto.graph.initializer.append(tensor)
    if form == "external":
        return load_model(with_external_data(proto, folder / "m.onnx"))
    return load_model(saved(proto, folder / "m.onnx"))


def every_type() -> dict[str, np.dtype]:
    known = {}
    for name, number in TensorProto.DataType.items():
        if name not in ("UNDEFINED", "STRING"):
            known[name] = helper.tensor_dtype_to_np_dtype(number)
    return known


@pytest.mark.parametrize("form", ["raw", "own field", "external"])
@pytest.mark.parametrize("size", [7, 2051])
@pytest.mark.parametrize("name", every_type())
def test_every_element_type_is_read_in_every_form(tmp_path: Path, name: str, size: int, form: str) -> None:
    dtype = every_type()[name]
    drawn = np.random.default_rng(0).integers(0, 2 if name == "BOOL" else 4, size)
    values = drawn.astype(dtype)
    model = of_type(dtype.name, values, form, tmp_path)
    assert model.array("w").dtype == dtype
    assert model.array("w").tobytes() == values.tobytes()


def test_bfloat16_comes_as_the_type_of_ml_dtypes(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0]] * 600, ml_dtypes.bfloat16)
    assert of_type("bfloat16", values, "external", tmp_path).array("w")[0].astype(np.float32).tolist() == [1.5, -2.0]


class TestSparse:
    def model(self, folder: Path, tensor: onnx.SparseTensorProto, most_bytes: int = 64 << 30) -> Model:
        proto = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 4]}, {"y": ["N", 5]}, {})
        proto.graph.sparse_initializer.append(tensor)
        return load_model(saved(proto, folder / "m.onnx"), ReadLimits(max_model_bytes=most_bytes))

    @pytest.mark.parametrize("indices", [[0, 7, 19], [[0, 0], [1, 2], [3, 4]]], ids=["flat", "coordinates"])
    def test_both_forms_of_indices_are_read_as_onnxruntime_reads_them(self, tmp_path: Path, indices: list[int]) -> None:
        model = self.model(tmp_path, sparse("w", indices, (4, 5)))
        session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
        expected = session.run(None, {"x": np.eye(4, dtype=np.float32)})[0]
        np.testing.assert_array_equal(model.array("w"), expected)
        assert model.array("w")[3, 4] == 3

    @pytest.mark.parametrize(
        ("indices", "fragment"),
        [
            ([0, 7, 20], r"an index outside of its shape \[4, 5\]"),
            ([-1, 7, 8], r"an index outside of its shape \[4, 5\]"),
            ([[0, 0], [1, 5], [3, 4]], r"an index outside of its shape"),
            ([[0, 0], [4, 0], [3, 4]], r"an index outside of its shape"),
            ([7, 7, 8], "two values at one index"),
            ([0, 1], r"int64 indices \[2\]"),
            ([[0, 1, 2], [1, 2, 3], [0, 0, 0]], r"int64 indices \[3, 3\]"),
        ],
    )
    def test_indices_that_make_no_sense_are_refused(self, tmp_path: Path, indices: list[int], fragment: str) -> None:
        model = self.model(tmp_path, sparse("w", indices, (4, 5), 3))
        with pytest.raises(ModelError, match=fragment):
            model.array("w")

    def test_a_shape_that_no_memory_holds_is_refused(self, tmp_path: Path) -> None:
        huge = sparse("w", [0], (10**9, 10**8))
        with pytest.raises(ModelError, match="does not fit into memory"):
            self.model(tmp_path, huge, 10**18).array("w")
        with pytest.raises(ModelError, match="take 400,000,000,000,000,000 bytes when written out, and at most"):
            self.model(tmp_path, huge)
        with pytest.raises(ModelError, match="has the shape"):
            self.model(tmp_path, sparse("w", [0], (10**18, 10**18)))
