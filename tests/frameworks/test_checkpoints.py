"""Checkpoints that can be written without the framework that they are of: safetensors, npz, msgpack of Flax, HDF5."""

import io
import json
import re
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest
import safetensors.numpy

from onnxsens.arrays import AnyArray
from onnxsens.errors import CheckpointError, MissingPackageError
from onnxsens.frameworks.checkpoints import checkpoints, open_checkpoint
from onnxsens.frameworks.checkpoints import flax as flax_format
from onnxsens.frameworks.checkpoints.contract import CheckpointContract

RNG = np.random.default_rng(0)
TENSORS: Mapping[str, AnyArray] = {
    "enc.weight": RNG.standard_normal((3, 4)).astype(np.float32),
    "enc.half": RNG.standard_normal((2, 2)).astype(np.float16),
    "enc.brain": RNG.standard_normal((2, 5)).astype(ml_dtypes.bfloat16),
    "step": np.array(7, np.int64),
    "empty": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False]),
}


def safetensors_of(path: Path, tensors: Mapping[str, AnyArray]) -> Path:
    safetensors.numpy.save_file(dict(tensors), str(path))
    return path


def by_hand(path: Path, header: object, values: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + values)
    return path


def packed_array(array: AnyArray, code: int = 1) -> msgspec.msgpack.Ext:
    content = msgspec.msgpack.encode((array.shape, array.dtype.name, array.tobytes()))
    return msgspec.msgpack.Ext(code, content)


def flax_of(path: Path, tree: object) -> Path:
    path.write_bytes(msgspec.msgpack.encode(tree))
    return path


def refusal(path: Path, then: Callable[[Any], object] = lambda _: None) -> str:
    """The one line that a file is refused with, when opened or by what is done with it then."""
    with pytest.raises(CheckpointError) as raised:
        then(open_checkpoint(path))
    message = str(raised.value)
    assert "\n" not in message
    return message


def read_all(checkpoint: Any) -> None:
    for parameter in checkpoint.parameters:
        parameter.read()


class TestSafetensorsContract(CheckpointContract):
    @pytest.fixture
    def expected(self) -> Mapping[str, AnyArray]:
        # The package writes 8-bit floats of ml_dtypes and cannot read them.
        return {**TENSORS, "tiny": np.array([0.5, -2], ml_dtypes.float8_e4m3fn), "z": np.ones(3, ml_dtypes.float8_e5m2)}

    @pytest.fixture
    def path(self, tmp_path: Path, expected: Mapping[str, AnyArray]) -> Path:
        return safetensors_of(tmp_path / "model.safetensors", expected)


class TestNpzContract(CheckpointContract):
    @pytest.fixture
    def expected(self) -> Mapping[str, AnyArray]:
        plain = {name: array for name, array in TENSORS.items() if array.dtype != ml_dtypes.bfloat16}
        return {**plain, "params/Dense_0/kernel": np.asfortranarray(RNG.standard_normal((3, 5)))}

    @pytest.fixture
    def path(self, tmp_path: Path, expected: Mapping[str, AnyArray]) -> Path:
        np.savez(tmp_path / "model.npz", allow_pickle=False, **expected)
        return tmp_path / "model.npz"


class TestCompressedNpzContract(TestNpzContract):
    @pytest.fixture
    def path(self, tmp_path: Path, expected: Mapping[str, AnyArray]) -> Path:
        np.savez_compressed(tmp_path / "model.npz", allow_pickle=False, **expected)
        return tmp_path / "model.npz"


class TestFlaxContract(CheckpointContract):
    @pytest.fixture
    def expected(self) -> Mapping[str, AnyArray]:
        return {
            "params/Dense_0/kernel": TENSORS["enc.weight"],
            "params/Dense_0/bias": TENSORS["enc.brain"],
            "params/blocks/0": TENSORS["empty"],
            "step": TENSORS["step"],
        }

    @pytest.fixture
    def path(self, tmp_path: Path, expected: Mapping[str, AnyArray]) -> Path:
        tree: dict[str, Any] = {"params": {"Dense_0": {}, "blocks": {}}}
        tree["params"]["blocks"]["0"] = packed_array(expected["params/blocks/0"])
        tree["params"]["Dense_0"]["kernel"] = packed_array(expected["params/Dense_0/kernel"])
        tree["params"]["Dense_0"]["bias"] = packed_array(expected["params/Dense_0/bias"])
        tree["step"] = packed_array(expected["step"], code=3)
        return flax_of(tmp_path / "model.msgpack", tree)


class TestKerasContract(CheckpointContract):
    """A `.weights.h5` as Keras 3 writes it: numbered variables in groups that have the layers' names."""

    @pytest.fixture
    def expected(self) -> Mapping[str, AnyArray]:
        return {
            "stem/kernel": RNG.standard_normal((3, 3, 1, 2)).astype(np.float32),
            "stem/bias": np.ones(2, np.float32),
            "norm/vars/0": np.ones(2, np.float32),
            "norm/vars/1": np.zeros(2, np.float32),
            "norm/vars/2": np.full(2, 3, np.float32),
            "bi/forward_gru/gru_cell/kernel": np.ones((2, 6), np.float32),
            "bi/forward_gru/gru_cell/recurrent_kernel": np.full((2, 6), 2, np.float32),
            "bi/forward_gru/gru_cell/bias": np.zeros((2, 6), np.float32),
            "odd/vars/0": RNG.standard_normal((2, 2)).astype(ml_dtypes.bfloat16),
        }

    @pytest.fixture
    def path(self, tmp_path: Path, expected: Mapping[str, AnyArray]) -> Path:
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "m.weights.h5", "w") as file:
            fill_keras(file, expected)
        return tmp_path / "m.weights.h5"


class TestKerasArchiveContract(TestKerasContract):
    """A `.keras` archive: the same, with a config that tells what three variables of a normalization are."""

    @pytest.fixture
    def expected(self) -> Mapping[str, AnyArray]:
        found = {
            "stem/kernel": RNG.standard_normal((3, 3, 1, 2)).astype(np.float32),
            "norm/beta": np.ones(2, np.float32),
            "norm/moving_mean": np.zeros(2, np.float32),
            "norm/moving_variance": np.full(2, 3, np.float32),
        }
        return found

    @pytest.fixture
    def path(self, tmp_path: Path, expected: Mapping[str, AnyArray]) -> Path:
        h5py = pytest.importorskip("h5py")
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            fill_keras(file, expected)
        layers = [
            {"class_name": "Conv2D", "config": {"name": "stem"}},
            {"class_name": "BatchNormalization", "config": {"name": "norm", "scale": False, "center": True}},
        ]
        config = {"class_name": "Functional", "config": {"layers": layers}}
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", content.getvalue())
        return tmp_path / "m.keras"


def fill_keras(file: Any, expected: Mapping[str, AnyArray]) -> None:
    """What `save_weights` writes for layers called stem, norm, bi and odd."""
    places = {
        "stem": "layers/conv2d",
        "norm": "layers/batch_normalization",
        "bi/forward_gru/gru_cell": "layers/bidirectional/forward_layer/cell",
        "odd": "layers/mine",
    }
    for layer, place in places.items():
        names = [name for name in expected if name.startswith(f"{layer}/")]
        group = file.require_group(f"{place}/vars")
        group.attrs["name"] = layer.rpartition("/")[2]
        for number, name in enumerate(names):
            array = expected[name]
            if array.dtype == ml_dtypes.bfloat16:
                group.create_dataset(str(number), data=array.view("V2")).attrs["dtype"] = "bfloat16"
            else:
                group[str(number)] = array
    for place, name in (("", "model"), ("layers/bidirectional", "bi"), ("layers/bidirectional/forward_layer", "x")):
        file.require_group(f"{place}/vars").attrs["name"] = name if name != "x" else "forward_gru"
    file.require_group("optimizer/vars").attrs["name"] = "adam"
    file["optimizer/vars/0"] = np.array(3, np.int64)


class TestSafetensors:
    PLAIN = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}  # noqa: RUF012 -- is never changed

    def test_shards_are_one_checkpoint_in_the_order_of_the_index(self, tmp_path: Path) -> None:
        names = list(TENSORS)
        files = {name: f"model-0000{1 + (number % 2)}-of-00002.safetensors" for number, name in enumerate(names)}
        for file in set(files.values()):
            safetensors_of(tmp_path / file, {name: TENSORS[name] for name in names if files[name] == file})
        without = open_checkpoint(tmp_path)
        assert {parameter.name for parameter in without.parameters} == set(names)
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
        for given in (tmp_path, index):
            opened = open_checkpoint(given)
            assert opened.format == "safetensors"
            assert [parameter.name for parameter in opened.parameters] == names
            for parameter in opened.parameters:
                assert parameter.read().tobytes() == TENSORS[parameter.name].tobytes()

    @pytest.mark.parametrize(
        ("weight_map", "message"),
        [
            ({"a": "../one.safetensors"}, "which is not beside it"),
            ({"a": "none.safetensors"}, "No such file"),
            ({"b": "one.safetensors"}, "'b' is not in 'one.safetensors'"),
            ([], "it is no index of shards"),
        ],
    )
    def test_an_index_that_leads_nowhere_is_refused(self, tmp_path: Path, weight_map: object, message: str) -> None:
        safetensors_of(tmp_path / "one.safetensors", {"a": np.ones(2, np.float32)})
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": weight_map}))
        assert message in refusal(index)

    def test_several_files_in_a_folder_are_not_guessed_among(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            safetensors_of(tmp_path / f"{name}.safetensors", {"a": np.ones(2, np.float32)})
        assert "a folder with 2 safetensors files; name one" in refusal(tmp_path)

    @pytest.mark.parametrize(
        ("header", "values", "message"),
        [
            ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, bytes(8), "not what its shape takes"),
            ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12), "does not follow"),
            ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, bytes(8), "does not follow"),
            ({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(8), "beyond the end"),
            ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, bytes(8), "not what the format allows"),
            ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, bytes(4), "not what the format allows"),
            ({"a": {"dtype": "F32", "shape": [0, 2**70], "data_offsets": [0, 0]}}, b"", "no array can have"),
            ({"a": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}, bytes(4), "no array can have"),
            ({"a": 3}, b"", "not what the format allows"),
            (PLAIN, bytes(9), "1 bytes at its end belong to no tensor"),
            (PLAIN, bytes(7), "1 bytes beyond the end of the file"),
            (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":1}', bytes(4), "not what the format allows"),
            (b'{"a":' + b"[" * 100_000, b"", "not what the format allows"),
            ({}, b"", "holds no tensors"),
        ],
    )
    def test_headers_that_lie_are_refused(self, tmp_path: Path, header: object, values: bytes, message: str) -> None:
        assert message in refusal(by_hand(tmp_path / "bad.safetensors", header, values))

    def test_a_header_longer_than_the_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.safetensors"
        path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
        assert "its header ends beyond its 10 bytes" in refusal(path)

    def test_a_number_type_that_is_not_read_is_said(self, tmp_path: Path) -> None:
        header = {**self.PLAIN, "b": {"dtype": "F4", "shape": [4], "data_offsets": [8, 10]}}
        opened = open_checkpoint(by_hand(tmp_path / "m.safetensors", header, bytes(10)))
        assert [parameter.name for parameter in opened.parameters] == ["a"]
        assert opened.notes == ("'b' left out: numbers of a type that is not read",)

    def test_a_file_that_changes_under_us_is_an_error(self, tmp_path: Path) -> None:
        path = safetensors_of(tmp_path / "m.safetensors", {"a": np.ones(9, np.float32)})

        def cut_and_read(checkpoint: Any) -> None:
            path.write_bytes(path.read_bytes()[:-4])
            read_all(checkpoint)

        assert "cannot be read to its end" in refusal(path, cut_and_read)

    def test_values_are_in_memory_one_at_a_time(self, tmp_path: Path) -> None:
        size = 4 << 20
        header = {
            f"layer{number}": {
                "dtype": "F32",
                "shape": [size // 4],
                "data_offsets": [number * size, (number + 1) * size],
            }
            for number in range(24)
        }
        path = by_hand(tmp_path / "large.safetensors", header)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + 24 * size)  # a hole: no disk, no time
        tracemalloc.start()
        read_all(open_checkpoint(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.5 * size


class TestNpz:
    def test_16_bits_without_a_type_are_bfloat16_and_it_is_said(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "m.npz", w=TENSORS["enc.brain"])
        opened = open_checkpoint(tmp_path / "m.npz")
        assert opened.parameters[0].dtype == "bfloat16"
        assert opened.parameters[0].read().tobytes() == TENSORS["enc.brain"].tobytes()
        assert "taken for bfloat16" in opened.notes[0]

    def test_python_objects_are_refused(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "m.npz", w=np.array([{}], object))
        assert "Python objects in 'w.npy', which are not read for safety" in refusal(tmp_path / "m.npz")

    def test_texts_and_records_are_left_out(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "m.npz", w=np.ones(2), names=np.array(["a"]), r=np.zeros(2, "i4,f4"))
        opened = open_checkpoint(tmp_path / "m.npz")
        assert [parameter.name for parameter in opened.parameters] == ["w"]
        assert opened.notes == ("'names', 'r' left out: no plain numbers",)

    def test_a_single_array_has_no_name(self, tmp_path: Path) -> None:
        np.save(tmp_path / "w.npy", np.ones(2))
        assert "a single array without a name; save it with its name: numpy.savez(" in refusal(tmp_path / "w.npy")

    def test_a_shape_that_the_entry_cannot_hold_is_refused_unread(self, tmp_path: Path) -> None:
        content = io.BytesIO()
        np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 9)})
        with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
            archive.writestr("w.npy", content.getvalue() + bytes(4))
        assert "which is not what its shape takes" in refusal(tmp_path / "m.npz")

    def test_big_endian_values_come_in_the_order_of_this_machine(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "m.npz", w=np.arange(3, dtype=">f4"))
        parameter = open_checkpoint(tmp_path / "m.npz").parameters[0]
        assert parameter.dtype == "float32"
        assert parameter.read().dtype == np.dtype("<f4") and parameter.read().tolist() == [0, 1, 2]


class TestFlax:
    def test_an_array_in_pieces_is_one(self, tmp_path: Path) -> None:
        whole = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        pieces = {str(number): packed_array(part) for number, part in enumerate(np.split(whole.ravel(), 6))}
        shape = {"0": 2, "1": 3, "2": 4}
        tree = {"emb": {flax_format.CHUNKED: True, "shape": shape, "chunks": pieces}}
        parameter = open_checkpoint(flax_of(tmp_path / "m.msgpack", tree)).parameters[0]
        assert parameter.name == "emb"
        assert np.array_equal(parameter.read(), whole)
        del pieces["3"]
        assert "pieces of 'emb' do not fit together" in refusal(flax_of(tmp_path / "m.msgpack", tree))

    def test_what_is_no_parameter_is_left_out_and_said(self, tmp_path: Path) -> None:
        tree = {
            "params": {"w": packed_array(np.ones(2, np.float32)), "n": 3, "none": None},
            "opt_state": {"0": {"mu": packed_array(np.ones(2, np.float32))}},
        }
        opened = open_checkpoint(flax_of(tmp_path / "m.msgpack", tree))
        assert [parameter.name for parameter in opened.parameters] == ["params/w"]
        assert opened.notes == (
            "the optimizer's state 'opt_state' is left out",
            "'params/n' left out: no arrays of plain numbers",
        )

    @pytest.mark.parametrize(
        "content",
        [(2, 2), ((2,), "float32", b"1234"), ((-2, -2), "float32", bytes(16)), ((2**40,), "float32", b"")],
    )
    def test_arrays_that_lie_are_refused(self, tmp_path: Path, content: tuple[object, ...]) -> None:
        tree = {"w": msgspec.msgpack.Ext(1, msgspec.msgpack.encode(content))}
        assert "damaged" in refusal(flax_of(tmp_path / "m.msgpack", tree))

    def test_a_tree_without_end_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "m.msgpack"
        path.write_bytes(b"\x81\xa1a" * 100_000)
        assert "damaged" in refusal(path)

    def test_values_are_views_of_the_file(self, tmp_path: Path) -> None:
        size = 4 << 20
        path = flax_of(tmp_path / "m.msgpack", {str(n): packed_array(np.ones(size, np.uint8)) for n in range(8)})
        tracemalloc.start()
        read_all(open_checkpoint(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < size


class TestKeras:
    @pytest.fixture
    def h5py(self) -> ModuleType:
        return pytest.importorskip("h5py")  # type: ignore[no-any-return]  # its stub says Any

    def test_without_h5py_the_install_line_is_given(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "h5py", None)
        path = tmp_path / "m.h5"
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
        with pytest.raises(MissingPackageError, match=re.escape("pip install 'onnxsens[keras]'")):
            open_checkpoint(path)

    def test_an_older_file_lists_its_names(self, tmp_path: Path, h5py: ModuleType) -> None:
        with h5py.File(tmp_path / "m.h5", "w") as file:
            weights = file.create_group("model_weights")
            weights.attrs["layer_names"] = [b"input", b"fc"]
            weights.create_group("input").attrs["weight_names"] = []
            layer = weights.create_group("fc")
            # Too many names for one attribute are cut into several.
            layer.attrs["weight_names0"] = [b"fc/kernel:0"]
            layer.attrs["weight_names1"] = [b"fc/bias:0"]
            layer["fc/kernel:0"] = TENSORS["enc.weight"]
            layer["fc/bias:0"] = np.ones(4, np.float32)
        opened = open_checkpoint(tmp_path / "m.h5")
        assert [parameter.name for parameter in opened.parameters] == ["fc/kernel", "fc/bias"]
        assert np.array_equal(opened.parameters[0].read(), TENSORS["enc.weight"])

    def test_a_file_that_names_no_layer_is_refused(self, tmp_path: Path, h5py: ModuleType) -> None:
        """As tf_keras writes it: layers by class, numbered as they are called."""
        with h5py.File(tmp_path / "m.weights.h5", "w") as file:
            file.require_group("vars")
            for place in ("layers/dense", "layers/dense_1"):
                file[f"{place}/vars/0"] = np.ones((2, 2), np.float32)
        message = refusal(tmp_path / "m.weights.h5")
        assert "does not name its layers, as .weights.h5 of tf_keras (Keras 2) does not" in message
        assert "save it as .keras or .h5 instead: model.save('m.keras'), or model.save_weights('m.h5')" in message

    def test_two_layers_of_one_name_are_called_by_their_places(self, tmp_path: Path, h5py: ModuleType) -> None:
        with h5py.File(tmp_path / "m.weights.h5", "w") as file:
            file.require_group("vars").attrs["name"] = "model"
            for place in ("a/dense", "b/dense"):
                file.require_group(f"{place}/vars").attrs["name"] = "dense"
                file[f"{place}/vars/0"] = np.ones((2, 2), np.float32)
        opened = open_checkpoint(tmp_path / "m.weights.h5")
        assert [parameter.name for parameter in opened.parameters] == ["a/dense/vars/0", "b/dense/vars/0"]
        assert "several variables have this name" in opened.notes[0]

    def test_links_and_values_in_other_files_are_refused(self, tmp_path: Path, h5py: ModuleType) -> None:
        (tmp_path / "secret").write_bytes(bytes(64))
        for number, name in enumerate(("link", "external", "huge")):
            path = tmp_path / f"{name}.weights.h5"
            with h5py.File(path, "w") as file:
                group = file.require_group("layers/dense/vars")
                group.attrs["name"] = "fc"
                if number == 0:
                    group["0"] = h5py.ExternalLink("other.h5", "/w")
                elif number == 1:
                    group.create_dataset("0", (4,), "f4", external=[(str(tmp_path / "secret"), 0, 64)])
                else:
                    group.create_dataset("0", (2**30, 2**10), "f4", chunks=(64, 64))
            assert "its HDF5 is not what Keras writes" in refusal(path)

    def test_a_file_of_something_else_holds_no_tensors(self, tmp_path: Path, h5py: ModuleType) -> None:
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file["data"] = np.ones(3)
        assert "its HDF5 is not what Keras writes" in refusal(tmp_path / "m.h5")

    def test_a_repacked_archive_is_refused_with_advice(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", bytes(1000))
        pytest.importorskip("h5py")
        assert "unpack it, and hand in its 'model.weights.h5'" in refusal(tmp_path / "m.keras")


class TestOpening:
    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("m.safetensors", b"", "is empty"),
            ("m.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; run 'git lfs pull'"),
            ("m.pt", b"<!DOCTYPE html><html>", "an HTML page"),
            ("m.bin", b"\x08\x08\x12\x07pytorch:", "is an ONNX model"),
            ("m.onnx", b"whatever", "is an ONNX model"),
            ("m.savetensors", b"whatever", "unknown format; did you mean '.safetensors'?"),
            ("m.weights", b"whatever", "numpy.savez('model.npz', **{name: array, ...})"),
            ("m.npz", b"PK\x03\x04 and no more", "it is not a whole zip archive"),
            ("m.npz", b"whatever", "it is not a whole zip archive"),
            ("m.pdparams", b"\x80\x02}q\x00.", "a Paddle file; save numpy.savez("),
            ("m.gguf", b"GGUF\x03\x00\x00\x00", "a GGUF file"),
        ],
    )
    def test_what_is_no_checkpoint_is_told_in_one_line(
        self, tmp_path: Path, name: str, content: bytes, message: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        assert message in refusal(tmp_path / name)

    def test_an_unknown_format_is_told_what_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "m.xyz").write_bytes(b"whatever")
        message = refusal(tmp_path / "m.xyz")
        assert all(name in message for name in checkpoints.names())

    def test_a_missing_file_is_told_with_the_nearest_name(self, tmp_path: Path) -> None:
        safetensors_of(tmp_path / "model.safetensors", {"a": np.ones(2, np.float32)})
        assert "did you mean 'model.safetensors'?" in refusal(tmp_path / "modle.safetensors")
        assert "does not exist; check the path" in refusal(tmp_path / "none" / "x")

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ("saved_model.pb", "a TensorFlow SavedModel"),
            ("_CHECKPOINT_METADATA", "an Orbax checkpoint"),
            ("pytorch_model.bin", "name its file 'pytorch_model.bin'"),
            ("else", "a folder without safetensors"),
        ],
    )
    def test_folders_of_others_are_told_what_they_are(self, tmp_path: Path, entry: str, message: str) -> None:
        (tmp_path / entry).write_bytes(b"x")
        assert message in refusal(tmp_path)

    def test_a_torch_file_without_torch_gets_both_ways_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(__import__("sys").modules, "torch", None)
        with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
            archive.writestr("m/data.pkl", b"\x80\x02}.")
        (tmp_path / "old.pth").write_bytes(b"\x80\x02\x8a\nlF\xfc\x9cF\xf9 j\xa8P\x19.")
        for name in ("m.pt", "old.pth"):
            with pytest.raises(MissingPackageError, match="pip install torch, or save the weights as safetensors"):
                open_checkpoint(tmp_path / name)

    @pytest.mark.parametrize(
        ("entry", "message"),
        [("m/constants.pkl", "a TorchScript program; save its weights"), ("m/archive_format", "an exported program")],
    )
    def test_programs_are_refused_with_a_way_out(self, tmp_path: Path, entry: str, message: str) -> None:
        with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
            archive.writestr(entry, b"x")
            archive.writestr("m/data.pkl", b"x")
        assert message in refusal(tmp_path / "m.pt")

    def test_an_archive_that_claims_impossible_sizes_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "m.npz"
        np.savez(path, w=np.ones(9))
        content = bytearray(path.read_bytes())
        entry = content.index(b"PK\x01\x02")
        content[entry + 24 : entry + 28] = struct.pack("<I", 2**31)
        path.write_bytes(content)
        assert "claims 2147483648 bytes, which cannot be" in refusal(path)

    def test_noise_is_never_taken_for_weights_nor_crashes(self, tmp_path: Path) -> None:
        path = tmp_path / "noise"
        rng = np.random.default_rng(1)
        for start in (b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x82\xa1a", b"\x10\0\0\0\0\0\0\0{"):
            for _ in range(5):
                path.write_bytes(start + rng.bytes(300))
                with warnings.catch_warnings(), pytest.raises((CheckpointError, MissingPackageError)):
                    warnings.simplefilter("error")
                    read_all(open_checkpoint(path))
