"""Sessions: what they are given, and what a model that cannot be loaded or run is told, on one line."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from networks import IR_VERSION, model_of, normal, saved, with_external_data
from numpy._core import _multiarray_umath
from onnx import TensorProto, helper, numpy_helper

from onnxsens.data import open_dataset
from onnxsens.engine import ModelRunner, Recipe, Session, choose_provider, open_session
from onnxsens.engine.failures import explained
from onnxsens.errors import InputError, ModelError, OnnxsensError
from onnxsens.model import load_model, take_inventory
from onnxsens.model.interface import feedable
from onnxsens.model.working import write_working_copy

CPU = choose_provider("cpu")
RECIPE = Recipe(CPU.name, 1, 4)
VERSION = f"onnxruntime {onnxruntime.__version__}"


def opened(path: Path, **given: Any) -> Session:
    return open_session(path, load_model(path), CPU, RECIPE, **given)


def refusal(proto: onnx.ModelProto, folder: Path, feed: dict[str, np.ndarray] | None = None) -> str:
    """What a session, or a run where there is a feed, is refused with."""
    path = saved(proto, folder / "m.onnx")
    with pytest.raises(ModelError) as caught:
        session = opened(path)
        assert feed is not None
        session.run(session.readable, feed)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def product(
    kind: int = TensorProto.FLOAT, opset: int = 17, ir_version: int = IR_VERSION, name: str = "mm"
) -> onnx.ModelProto:
    """y = x w, in the type `kind`, between casts."""
    weight = helper.make_tensor("w", kind, [4, 3], np.arange(12, dtype=np.float32) / 4)
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=kind),
        helper.make_node("MatMul", ["a", "w"], ["b"], name=name),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]
    return graph_of(nodes, [weight], opset, ir_version)


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
    ir_version: int = IR_VERSION,
    kind: int = TensorProto.FLOAT,
    domains: Sequence[tuple[str, int]] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info("x", kind, ["N", 4])],
        [helper.make_tensor_value_info("y", kind, None)],
        list(weights),
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(*domain) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


X = np.arange(8, dtype=np.float32).reshape(2, 4)


class TestWhatASessionIsGiven:
    @pytest.mark.parametrize(
        ("kind", "dtype"),
        [
            (TensorProto.FLOAT, np.float32),
            (TensorProto.FLOAT16, np.float16),
            (TensorProto.DOUBLE, np.float64),
            (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
            (TensorProto.INT8, np.int8),
            (TensorProto.UINT8, np.uint8),
        ],
    )
    def test_an_initializer_takes_other_values_of_its_type(self, kind: int, dtype: Any, tmp_path: Path) -> None:
        stored = numpy_helper.from_array(np.zeros(4, dtype), "w")
        assert stored.data_type == kind
        nodes = [
            helper.make_node("Cast", ["w"], ["a"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "a"], ["y"]),
        ]
        copy = with_external_data(graph_of(nodes, [stored]), tmp_path / "m.onnx")
        model = load_model(copy)
        values = np.array([1, 2, 3, 100]).astype(dtype)
        session = open_session(copy, model, CPU, RECIPE, {"w": values})
        [found] = session.run(["y"], {"x": X})
        np.testing.assert_array_equal(found, X + np.array([1, 2, 3, 100], np.float32))
        [dense] = open_session(copy, model, CPU, RECIPE).run(["y"], {"x": X})
        np.testing.assert_array_equal(dense, X)

    def test_external_data_may_lie_in_another_folder(self, tmp_path: Path) -> None:
        model = load_model(saved(product(), tmp_path / "m.onnx"))
        for name in ("data", "model"):
            (tmp_path / name).mkdir()
        copy = write_working_copy(model, take_inventory(model), tmp_path / "data")
        moved = Path(shutil.move(copy.path, tmp_path / "model" / "other.onnx"))
        session = open_session(moved, model, CPU, RECIPE, data_folder=tmp_path / "data")
        np.testing.assert_allclose(session.run(["y"], {"x": X})[0], X @ (np.arange(12).reshape(4, 3) / 4))

    def test_without_optimisation_every_node_is_run_as_it_is_written(self, tmp_path: Path) -> None:
        nodes = [
            helper.make_node("Identity", ["x"], ["a"]),
            helper.make_node("Relu", ["a"], ["y"]),
        ]
        path = saved(graph_of(nodes), tmp_path / "m.onnx")
        session = open_session(path, load_model(path), CPU, Recipe(CPU.name, 1, 1, "none"))
        np.testing.assert_array_equal(session.run(["y"], {"x": X})[0], X)


class TestModelsThatTheRuntimeIsTooOldFor:
    def test_the_opset_is_named_with_the_newest_that_it_takes(self, tmp_path: Path) -> None:
        text = refusal(product(opset=99), tmp_path)
        assert f"the model is opset 99 of ai.onnx, and {VERSION} takes up to " in text
        assert "export it with opset" in text

    def test_other_domains_have_opsets_too(self, tmp_path: Path) -> None:
        proto = product()
        proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 77))
        assert "the model is opset 77 of ai.onnx.ml, and " in refusal(proto, tmp_path)

    def test_the_ir_version_is_named_with_the_newest_that_it_takes(self, tmp_path: Path) -> None:
        text = refusal(product(ir_version=99), tmp_path)
        assert f"the model is IR version 99, and {VERSION} takes up to " in text

    def test_a_working_copy_is_given_an_older_ir_version_with_a_note(self, tmp_path: Path) -> None:
        model = load_model(saved(product(ir_version=99), tmp_path / "m.onnx"))
        np.save(tmp_path / "x.npy", X)
        dataset = open_dataset(str(tmp_path / "x.npy"), feedable(model.proto.graph))
        runner = ModelRunner(model, take_inventory(model), dataset, CPU, RECIPE)
        changed = np.ones((4, 3), np.float32)
        for _ in range(2):
            [found] = runner.outputs({"w": changed}, np.arange(2))
            np.testing.assert_allclose(found["y"], X @ changed)
        [found] = runner.saved_outputs({"w": changed}, np.arange(2))
        np.testing.assert_allclose(found["y"], X @ changed)
        [note] = runner.notes
        assert note.startswith("the model is IR version 99; run as ")
        runner.close()


class TestOperatorsThatCannotBeRun:
    def test_a_custom_domain_asks_for_its_library(self, tmp_path: Path) -> None:
        proto = graph_of([helper.make_node("Foo", ["x"], ["y"], domain="my.ops")], domains=[("my.ops", 1)])
        text = refusal(proto, tmp_path)
        assert text.endswith(
            f"operator 'Foo' of domain 'my.ops' has no kernel in {VERSION}; give its library with --custom-op-lib"
        )

    def test_a_domain_that_is_not_imported_is_named(self, tmp_path: Path) -> None:
        proto = graph_of([helper.make_node("Foo", ["x"], ["y"], domain="my.ops")])
        assert "operator 'Foo' of domain 'my.ops' is of a domain that the model does not import" in refusal(
            proto, tmp_path
        )

    def test_an_operator_of_a_built_in_domain_asks_for_no_library(self, tmp_path: Path) -> None:
        node = helper.make_node("Foo", ["x"], ["y"], domain="com.microsoft")
        text = refusal(graph_of([node], domains=[("com.microsoft", 1)]), tmp_path)
        assert "operator 'Foo' of domain 'com.microsoft' has no kernel" in text
        assert "custom-op-lib" not in text

    def test_an_operator_that_the_opset_does_not_have_is_named(self, tmp_path: Path) -> None:
        text = refusal(graph_of([helper.make_node("Convolve", ["x"], ["y"], name="bad")]), tmp_path)
        assert "operator 'Convolve' of domain 'ai.onnx' does not exist in opset 17 (node 'bad')" in text

    @pytest.mark.parametrize("name", ["mm", "", "it's\n(odd)"])
    def test_a_type_without_a_kernel_is_shown_with_node_and_provider(self, name: str, tmp_path: Path) -> None:
        text = refusal(product(TensorProto.BFLOAT16, name=name), tmp_path)
        node = f" (node '{' '.join(name.split())}')" if name else ""
        assert (
            f"operator 'MatMul' of opset 13{node} has no kernel for bfloat16 on CPUExecutionProvider in {VERSION}"
            in text
        )

    def test_a_type_that_the_operator_is_not_defined_for_is_named(self, tmp_path: Path) -> None:
        proto = graph_of([helper.make_node("Relu", ["x"], ["y"], name="r")], opset=13, kind=TensorProto.INT32)
        assert "operator 'Relu' (node 'r') does not take int32 for 'x'" in refusal(proto, tmp_path)

    def test_a_kernel_that_gives_up_is_named_without_its_source_file(self, tmp_path: Path) -> None:
        shape = numpy_helper.from_array(np.array([7, 3]), "shape")
        proto = graph_of([helper.make_node("Reshape", ["x", "shape"], ["y"], name="r")], [shape])
        text = refusal(proto, tmp_path, {"x": X})
        assert "cannot run 'm.onnx': operator 'Reshape' (node 'r') failed: " in text
        assert "requested shape:{7,3}" in text
        assert "onnxruntime_src" not in text

    def test_a_name_that_is_not_utf_8_is_one_line_and_prints_nothing(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        proto = graph_of([helper.make_node("Foo", ["x"], ["y"], name="abcd", domain="my.ops")])
        path = tmp_path / "m.onnx"
        path.write_bytes(proto.SerializeToString().replace(b"abcd", b"\xff\xfe\xfd\xfc"))
        with pytest.raises(ModelError, match=r"cannot load 'm.onnx': a name in the model is not UTF-8"):
            opened(path)
        captured = capfd.readouterr()
        assert (captured.out, captured.err) == ("", "")

    @pytest.mark.parametrize("name", ["n" * 3000, "/a.h:1 " * 300_000])
    def test_long_names_leave_room_for_the_rest(self, name: str, tmp_path: Path) -> None:
        text = refusal(product(TensorProto.BFLOAT16, name=name), tmp_path)
        assert "MatMul" in text

    def test_what_no_pattern_knows_is_passed_on_in_one_line(self, tmp_path: Path) -> None:
        model = load_model(saved(product(), tmp_path / "m.onnx"))
        error = RuntimeError("[ONNXRuntimeError] : 1 : FAIL : something\n  quite new " + "x" * 1000)
        text = explained(error, model, CPU.name)
        assert text.startswith("something quite new xxx")
        assert len(text) == 300


class TestCustomOperatorLibraries:
    def test_one_that_is_missing_is_named(self, tmp_path: Path) -> None:
        path = saved(product(), tmp_path / "m.onnx")
        with pytest.raises(InputError, match=r"--custom-op-lib 'no\.so' is not a file; check the path"):
            opened(path, libraries=["no.so"])

    @pytest.mark.parametrize("kind", ["text", "module"])
    def test_a_file_that_is_none_is_refused_in_one_line(self, kind: str, tmp_path: Path) -> None:
        path = saved(product(), tmp_path / "m.onnx")
        library = tmp_path / "ops.so"
        library.write_text("no library")
        if kind == "module":  # a shared library, but of something else
            library = Path(_multiarray_umath.__file__)
        with pytest.raises(InputError, match="is no library of custom operators for onnxruntime") as caught:
            opened(path, libraries=[library])
        assert isinstance(caught.value, OnnxsensError)
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)


def test_outputs_are_told_apart_by_whether_they_can_be_read(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Cast", ["y"], ["t"], to=TensorProto.STRING),
    ]
    proto = model_of(nodes, {"x": ["N", 4]}, {"y": ["N", 3]}, {"w": normal(np.random.default_rng(0), 4, 3)})
    proto.graph.output.append(helper.make_tensor_value_info("t", TensorProto.STRING, None))
    session = opened(saved(proto, tmp_path / "m.onnx"))
    assert session.readable == ["y"]
    assert session.unreadable == {"t": "tensor(string)"}
