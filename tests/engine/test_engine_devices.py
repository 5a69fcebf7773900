"""Held tensors: the same code on the host as on a GPU. What only a GPU can show carries the marker `gpu`."""

import gc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from networks import IR_VERSION, saved
from onnx import TensorProto, helper, numpy_helper

from onnxsens.engine import Recipe, Session, choose_provider, open_session
from onnxsens.engine.devices import HOST, Device, Held, device_of, hold
from onnxsens.engine.providers import CPU, CUDA, TENSORRT, Provider, why_not_started
from onnxsens.engine.runtime import runtime
from onnxsens.errors import ModelError, OutOfMemoryError, ProviderError
from onnxsens.model import load_model

CUDA_STARTS = CUDA in runtime().get_available_providers() and why_not_started(CUDA) is None
GPU = Device("cuda")
BFLOAT16 = ml_dtypes.bfloat16
# Every test that takes a device runs on the host, and once more on a GPU where there is one.
on_each_device = pytest.mark.parametrize(
    "device",
    [
        HOST,
        pytest.param(
            GPU, marks=[pytest.mark.gpu, pytest.mark.skipif(not CUDA_STARTS, reason="no CUDA provider starts here")]
        ),
    ],
    ids=["host", "gpu"],
)
NUMBERS = [
    np.float32, np.float64, np.float16, np.bool_,
    np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
]  # fmt: skip
X = np.arange(12, dtype=np.float32).reshape(3, 4) - 5


def session_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, Any]],
    outputs: dict[str, int],
    folder: Path,
    device: Device = HOST,
    weights: dict[str, np.ndarray] | None = None,
) -> Session:
    """Inputs are a type and a shape; outputs a type."""
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in (weights or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=IR_VERSION)
    return opened(proto, folder, device)


def opened(proto: onnx.ModelProto, folder: Path, device: Device = HOST) -> Session:
    path = saved(proto, folder / "m.onnx")
    provider = choose_provider(device.kind)
    return open_session(path, load_model(path), provider, Recipe(provider.name, 1, 4))


def small(folder: Path, device: Device = HOST) -> Session:
    """From x `[n, 4]` and w `[4, 2]`: y = x w, h = relu(x), and of x the shape, the sum, signs and bfloat16."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["h"], ["positive"], to=TensorProto.BOOL),
        helper.make_node("Cast", ["x"], ["short"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["x"], ["text"], to=TensorProto.STRING),
    ]
    kinds = {"y": TensorProto.FLOAT, "h": TensorProto.FLOAT, "shape": TensorProto.INT64, "sum": TensorProto.FLOAT}
    kinds |= {"positive": TensorProto.BOOL, "short": TensorProto.BFLOAT16, "text": TensorProto.STRING}
    inputs = {"x": (TensorProto.FLOAT, ["N", 4]), "w": (TensorProto.FLOAT, [4, 2])}
    return session_of(nodes, inputs, kinds, folder, device)


W = np.arange(8, dtype=np.float32).reshape(4, 2)


class TestHolding:
    @on_each_device
    @pytest.mark.parametrize("shape", [(2, 3), (), (0, 4), (1,)], ids=str)
    @pytest.mark.parametrize("dtype", NUMBERS)
    def test_what_is_held_comes_back(self, dtype: Any, shape: tuple[int, ...], device: Device) -> None:
        values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        held = hold(values, device)
        found = held.numpy()
        assert (found.dtype, found.shape) == (values.dtype, shape)
        np.testing.assert_array_equal(found, values)
        assert (held.dtype, held.shape, held.nbytes, held.device) == (values.dtype, shape, values.nbytes, device)

    @pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)], ids=str)
    def test_bfloat16_keeps_its_bits(self, shape: tuple[int, ...]) -> None:
        values = (np.arange(np.prod(shape, dtype=int)) / 3).reshape(shape).astype(BFLOAT16)
        held = hold(values, HOST)
        assert (held.dtype, held.nbytes) == (BFLOAT16, values.nbytes)
        np.testing.assert_array_equal(held.numpy().view(np.uint16), values.view(np.uint16))
        held.update(-values)
        np.testing.assert_array_equal(held.numpy(), -values)

    @on_each_device
    def test_neither_array_nor_copy_shares_memory_with_what_is_held(self, device: Device) -> None:
        values = X.copy()
        held = hold(values, device)
        values[:] = 7
        held.numpy()[:] = 8
        held.update(X + 1)
        np.testing.assert_array_equal(held.numpy(), X + 1)
        np.testing.assert_array_equal(values, np.full_like(X, 7))

    @on_each_device
    @pytest.mark.parametrize("order", [np.asfortranarray, lambda values: np.repeat(values, 2, 1)[:, ::2]])
    def test_elements_may_lie_in_any_order(self, order: Any, device: Device) -> None:
        held = hold(order(X), device)
        np.testing.assert_array_equal(held.numpy(), X)
        held.update(order(-X))
        np.testing.assert_array_equal(held.numpy(), -X)

    @on_each_device
    @pytest.mark.parametrize("other", [X.astype(np.float64), X.view(np.int32), X[:2], X.reshape(4, 3), X[None]])
    def test_an_update_of_another_type_or_shape_is_refused(self, other: np.ndarray, device: Device) -> None:
        held = hold(X, device)
        with pytest.raises(ValueError, match=r"a held tensor is float32 \[3, 4\], and cannot become"):
            held.update(other)
        np.testing.assert_array_equal(held.numpy(), X)

    @pytest.mark.parametrize(
        "values", [np.array(["a"]), np.array([1j]), X.astype(">f4"), X.astype(ml_dtypes.float8_e4m3fn)]
    )
    def test_a_type_that_cannot_be_held_is_refused_by_name(self, values: np.ndarray) -> None:
        with pytest.raises(ValueError, match=r"an array of type \S+ cannot be held; hold one of numbers"):
            hold(values, HOST)

    @pytest.mark.skipif(CUDA_STARTS, reason="CUDA starts here")
    def test_a_device_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ProviderError, match=r"cuda:0 cannot hold tensors: .*; see 'onnxsens doctor'"):
            hold(X, GPU)

    @on_each_device
    def test_what_there_is_no_room_for_is_refused_with_its_size(self, device: Device) -> None:
        values = np.broadcast_to(np.float32(1), (2**46,))  # one element in memory; held, more than can be addressed
        with pytest.raises(OutOfMemoryError, match=r"has no room for a tensor of 281,474,976\.7 MB; give a smaller"):
            hold(values, device)


def test_a_gpu_providers_tensors_are_on_the_gpu() -> None:
    assert [device_of(Provider(name, "")) for name in (CPU, CUDA, TENSORRT)] == [HOST, GPU, GPU]
    assert [str(HOST), str(Device("cuda", 1))] == ["the host", "cuda:1"]


class TestRuns:
    @on_each_device
    @pytest.mark.parametrize("rows", [3, 1, 0])
    def test_outputs_are_those_of_a_plain_run(self, rows: int, device: Device, tmp_path: Path) -> None:
        session = small(tmp_path, device)
        x = X[:rows]
        names = ["y", "h", "shape", "sum", "positive"]
        plain = dict(zip(names, session.run(names, {"x": x, "w": W}), strict=True))
        for feed in (
            {"x": x, "w": W},
            {"x": hold(x, device), "w": W},
            {"x": hold(x, device), "w": hold(W, device)},
        ):
            for to_host in (["sum", "y"], [], names):
                to_hold = [name for name in names if name not in to_host]
                read, held = session.run_held(to_host, to_hold, feed)
                found = dict(zip(to_host, read, strict=True)) | {name: value.numpy() for name, value in held.items()}
                assert list(held) == to_hold
                assert {value.device for value in held.values()} <= {device}
                for name in names:
                    assert (found[name].dtype, found[name].shape) == (plain[name].dtype, plain[name].shape)
                    np.testing.assert_array_equal(found[name], plain[name])

    @on_each_device
    def test_what_one_session_leaves_another_takes_up(self, device: Device, tmp_path: Path) -> None:
        session = small(tmp_path, device)
        _, held = session.run_held([], ["h", "shape"], {"x": X, "w": W})
        [y], _ = session.run_held(["y"], [], {"x": held["h"], "w": W})
        np.testing.assert_allclose(y, np.maximum(X, 0) @ W)
        nodes = [helper.make_node("Expand", ["one", "shape"], ["z"])]
        inputs = {"one": (TensorProto.FLOAT, []), "shape": (TensorProto.INT64, [2])}
        other = session_of(nodes, inputs, {"z": TensorProto.FLOAT}, tmp_path, device)
        # A shape is read by the host's code, wherever it is held.
        [z], _ = other.run_held(["z"], [], {"one": np.float32(2), "shape": held["shape"]})
        np.testing.assert_array_equal(z, np.full((3, 4), 2, np.float32))

    @on_each_device
    def test_a_held_input_is_read_anew_by_each_run_and_written_by_none(self, device: Device, tmp_path: Path) -> None:
        session = small(tmp_path, device)
        x, w = hold(X, device), hold(W, device)
        for factor in (1, 2, 0):
            w.update(W * factor)
            [y], held = session.run_held(["y"], ["h"], {"x": x, "w": w})
            np.testing.assert_allclose(y, X @ W * factor)
            held["h"].update(np.zeros_like(X))
        np.testing.assert_array_equal(x.numpy(), X)

    @on_each_device
    def test_a_held_output_outlives_its_session(self, device: Device, tmp_path: Path) -> None:
        held = []
        for number in range(3):
            session = small(tmp_path, device)
            held.append(session.run_held([], ["y", "h", "sum"], {"x": np.full((500, 4), number, "f4"), "w": W})[1])
            del session
            gc.collect()
        waste = [np.full(2000, 9, np.float32) for _ in range(1000)]
        for number, values in enumerate(held):
            np.testing.assert_array_equal(values["h"].numpy(), np.full((500, 4), number))
            np.testing.assert_array_equal(values["y"].numpy(), np.full((500, 4), number) @ W)
            assert values["sum"].numpy() == 2000 * number
        del waste

    @on_each_device
    def test_an_array_that_is_read_outlives_the_session_and_later_runs(self, device: Device, tmp_path: Path) -> None:
        session = small(tmp_path, device)
        reads = [session.run_held(["h"], [], {"x": np.full((500, 4), number, "f4"), "w": W})[0] for number in range(9)]
        del session
        gc.collect()
        waste = [np.full(2000, 9, np.float32) for _ in range(1000)]
        for number, [h] in enumerate(reads):
            np.testing.assert_array_equal(h, np.full((500, 4), number))
        del waste

    def test_bfloat16_can_be_fed_held_and_read(self, tmp_path: Path) -> None:
        session = small(tmp_path)
        [short], _ = session.run_held(["short"], [], {"x": X / 3, "w": W})
        np.testing.assert_array_equal(short, (X / 3).astype(BFLOAT16))
        _, held = session.run_held([], ["short"], {"x": X / 3, "w": W})
        nodes = [helper.make_node("Cast", ["b"], ["f"], to=TensorProto.FLOAT)]
        back = session_of(nodes, {"b": (TensorProto.BFLOAT16, ["N", 4])}, {"f": TensorProto.FLOAT}, tmp_path)
        for value in (held["short"], short, np.asfortranarray(short)):
            [found], _ = back.run_held(["f"], [], {"b": value})
            np.testing.assert_array_equal(found, short.astype(np.float32))

    @on_each_device
    def test_an_input_that_is_an_output_does_not_lend_its_memory(self, device: Device, tmp_path: Path) -> None:
        nodes = [helper.make_node("Relu", ["x"], ["y"])]
        inputs = {"x": (TensorProto.FLOAT, ["N", 4])}
        session = session_of(nodes, inputs, {"x": TensorProto.FLOAT, "y": TensorProto.FLOAT}, tmp_path, device)
        array = X.copy()
        fed = hold(X, device)
        outputs = [session.run_held([], ["x"], {"x": value})[1]["x"] for value in (array, fed)]
        [read], _ = session.run_held(["x"], [], {"x": array})
        array[:] = 0
        fed.update(array)
        for found in (read, outputs[0].numpy(), outputs[1].numpy()):
            np.testing.assert_array_equal(found, X)

    @on_each_device
    def test_a_stored_value_that_is_an_output_outlives_its_session(self, device: Device, tmp_path: Path) -> None:
        nodes = [helper.make_node("Relu", ["x"], ["y"])]
        weight = np.arange(30000, dtype=np.float32)
        kinds = {"y": TensorProto.FLOAT, "w": TensorProto.FLOAT}
        session = session_of(nodes, {"x": (TensorProto.FLOAT, ["N"])}, kinds, tmp_path, device, {"w": weight})
        _, held = session.run_held([], ["w"], {"x": X[0]})
        held["w"].update(-weight)  # and is not the session's own
        [again], _ = session.run_held(["w"], [], {"x": X[0]})
        del session
        gc.collect()
        np.testing.assert_array_equal(held["w"].numpy(), -weight)
        np.testing.assert_array_equal(again, weight)

    @on_each_device
    def test_an_optional_input_may_be_left_out_or_held(self, device: Device, tmp_path: Path) -> None:
        kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [3, 4]))
        graph = helper.make_graph(
            [helper.make_node("OptionalHasElement", ["o"], ["has"])],
            "made",
            [helper.make_value_info("o", kind)],
            [helper.make_tensor_value_info("has", TensorProto.BOOL, None)],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=IR_VERSION)
        session = opened(proto, tmp_path, device)
        for feed, expected in (({}, False), ({"o": X}, True), ({"o": hold(X, device)}, True)):
            assert session.run_held(["has"], [], feed)[0] == [expected]

    @pytest.mark.parametrize(
        ("to_host", "to_hold"), [(["nope"], []), ([], ["nope"]), (["y"], ["y"]), (["text"], []), ([], ["text"])]
    )
    def test_outputs_are_the_models_each_once_and_numbers(
        self, to_host: list[str], to_hold: list[str], tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="each has to be there once, and be a tensor of numbers"):
            small(tmp_path).run_held(to_host, to_hold, {"x": X, "w": W})

    @pytest.mark.parametrize(
        ("feed", "why"),
        [
            ({"x": X}, r"\['w'\] not fed"),
            ({"x": X, "w": W, "v": W}, "'?v'?"),
            ({"x": X.astype(int), "w": W}, "int64"),
            ({"x": X[0], "w": W}, "Invalid rank for input: x"),
            ({"x": X[:, :3], "w": W}, "Got invalid dimensions for input: x"),
            ({"x": np.array([["a"] * 4]), "w": W}, "non-string"),
        ],
    )
    def test_what_a_model_does_not_take_is_refused_in_one_line(
        self, feed: dict[str, np.ndarray], why: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ModelError, match=rf"^onnxruntime cannot run 'm.onnx': .*{why}") as caught:
            small(tmp_path).run_held(["y"], [], feed)
        assert not isinstance(caught.value, OutOfMemoryError)
        assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA_STARTS, reason="no CUDA provider starts here")
class TestOnAGpu:
    def test_what_is_held_is_there(self, tmp_path: Path) -> None:
        assert hold(X, GPU).native.device_name() == "cuda"
        session = small(tmp_path, GPU)
        _, held = session.run_held([], ["y", "shape", "short"], {"x": hold(X, GPU), "w": W})
        assert {name: value.native.device_name() for name, value in held.items()} == dict.fromkeys(held, "cuda")

    def test_bfloat16_is_read_by_asking_for_it_on_the_host(self, tmp_path: Path) -> None:
        [short], held = small(tmp_path, GPU).run_held(["short"], ["h"], {"x": X / 3, "w": W})
        np.testing.assert_array_equal(short, (X / 3).astype(BFLOAT16))
        with pytest.raises(ValueError, match="a bfloat16 tensor on cuda:0 cannot be read"):
            hold(short, GPU).numpy()
        assert isinstance(held["h"], Held)
