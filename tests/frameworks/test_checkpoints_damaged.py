"""Files of weights that are damaged, endless, or meant to do harm: one line, nothing run, and an end in sight."""

import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from damaging import cases, damaged
from safetensors.numpy import save_file

from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints import keras_apart, open_checkpoint
from onnxsens.frameworks.checkpoints import torch as torch_format

TENSORS: Mapping[str, np.ndarray] = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.bias": np.ones(3, np.float16),
    "n": np.zeros((0, 2), np.int64),
}


def read_all(path: Path) -> None:
    for parameter in open_checkpoint(path).parameters:
        values = parameter.read()
        assert values.shape == parameter.shape
        assert values.dtype.name == parameter.dtype


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_all(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < len(str(path)) + 400
    return message


def safetensors(folder: Path) -> Path:
    save_file(dict(TENSORS), folder / "m.safetensors", {"format": "pt"})
    return folder / "m.safetensors"


def index(folder: Path) -> Path:
    save_file(dict(TENSORS), folder / "one.safetensors")
    path = folder / "m.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(TENSORS, "one.safetensors")}))
    return path


def npz(folder: Path) -> Path:
    np.savez(folder / "m.npz", **TENSORS)
    return folder / "m.npz"


def packed_npz(folder: Path) -> Path:
    np.savez_compressed(folder / "m.npz", **TENSORS)
    return folder / "m.npz"


def as_flax(values: np.ndarray) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(1, msgspec.msgpack.encode((list(values.shape), values.dtype.name, values.tobytes())))


def flax(folder: Path) -> Path:
    tree = {"params": {name: as_flax(values) for name, values in TENSORS.items()}, "step": 3, "list": [None, "x"]}
    (folder / "m.msgpack").write_bytes(msgspec.msgpack.encode(tree))
    return folder / "m.msgpack"


@pytest.mark.parametrize("write", [safetensors, index, npz, packed_npz, flax])
def test_damage_is_one_line_or_tensors(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    read_all(path)
    content = path.read_bytes()
    refused = 0
    for case in cases(content, seed=11, number=600):
        path.write_bytes(case)
        try:
            read_all(path)
        except CheckpointError as error:
            assert str(error).isprintable()
            refused += 1
    assert refused > 200


DAMAGED_FILES = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from damaging import cases
from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints import open_checkpoint

path, refused = Path(sys.argv[1]), 0
content = path.read_bytes()
for case in cases(content, seed=13, number=int(sys.argv[2])):
    path.write_bytes(case)
    try:
        for parameter in open_checkpoint(path).parameters:
            parameter.read()
    except CheckpointError as error:
        assert str(error).isprintable(), error
        refused += 1
print(refused)
"""


def refused_apart(path: Path, number: int) -> int:
    """How many of so many damaged copies are refused; in a process of their own, since a library reads them."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DAMAGED_FILES, str(path), str(number)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


class TestSafetensors:
    def by_hand(self, path: Path, header: bytes, values: bytes = b"") -> Path:
        path.write_bytes(len(header).to_bytes(8, "little") + header + values)
        return path

    @pytest.mark.parametrize(
        ("header", "fragment"),
        [
            (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"dtype":"I32"}}', "it has 'dtype' twice"),
            (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', "it has NaN"),
            (b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', "not what the format allows"),
            (b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', "not what the format allows"),
            (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}', "not what the format allows"),
            (b'{"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}}', "not what the format allows"),
            (rb'{"\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "half of a surrogate pair"),
            (b'{"a":{"dtype":"F32","shape":[%s1],"data_offsets":[0,4]}}' % (b"1," * 32), "that no array can have"),
            (b'{"a":{"dtype":"F32","shape":[%s1],"data_offsets":[0,4]}}' % (b"%d," % 2**62 * 10**5), "no array can"),
            (b'{"a":{"dtype":"F32","shape":[%d,0,%d],"data_offsets":[0,0]}}' % (2**40, 2**40), "no array can have"),
        ],
    )
    def test_headers_that_two_readers_may_take_for_two_are_refused(
        self, tmp_path: Path, header: bytes, fragment: str
    ) -> None:
        assert fragment in refusal(self.by_hand(tmp_path / "m.safetensors", header, bytes(4)))

    def test_an_index_that_is_too_large_is_not_read(self, tmp_path: Path) -> None:
        path = index(tmp_path)
        os.truncate(path, 1 << 40)  # a hole
        assert "is no index of shards" in refusal(path)


class TestNpz:
    def entry(self, folder: Path, header: str, values: bytes = b"") -> Path:
        text = header.encode() + b"\n"
        with zipfile.ZipFile(folder / "m.npz", "w") as archive:
            archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + values)
        return folder / "m.npz"

    @pytest.mark.parametrize(
        "shape", ["(" + "-" * 9000 + "1,)", "(" * 300, f"({2**62}, {2**62}, 0)", "(" + "1, " * 33 + ")", "(1, '"]
    )
    def test_a_header_without_sense_is_refused(self, tmp_path: Path, shape: str) -> None:
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
        assert "does not begin like an array" in refusal(self.entry(tmp_path, header))

    def test_other_compressions_are_refused(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("a.npy", b"")
        assert "compressed in a way that no framework writes" in refusal(tmp_path / "m.npz")


class TestFlax:
    def test_a_tree_that_is_too_deep_for_any_model_is_refused(self, tmp_path: Path) -> None:
        for depth, read in ((99, True), (101, False), (400, False)):
            content = msgspec.msgpack.encode(as_flax(np.ones(2, np.float32)))
            (tmp_path / "m.msgpack").write_bytes(b"\x81\xa1k" * depth + content)
            if read:
                read_all(tmp_path / "m.msgpack")
            else:
                assert "nested more than 100 deep" in refusal(tmp_path / "m.msgpack")

    def test_long_keys_in_each_other_do_not_multiply(self, tmp_path: Path) -> None:
        key = msgspec.msgpack.encode("k" * 60_000)
        (tmp_path / "m.msgpack").write_bytes(b"\x81\xa1k" + (b"\x81" + key) * 90 + b"\xc0")
        assert "is a name of 60,002 letters" in refusal(tmp_path / "m.msgpack")

    @pytest.mark.parametrize("kind", [b"\xdd", b"\xdf"])
    def test_counts_that_no_file_holds_are_refused(self, tmp_path: Path, kind: bytes) -> None:
        (tmp_path / "m.msgpack").write_bytes(b"\x81\xa1k" + kind + b"\xff" * 4 + b"\xc0")
        assert "no whole msgpack file" in refusal(tmp_path / "m.msgpack")


class TestKeras:
    @pytest.fixture
    def h5py(self, needed: Callable[[str], ModuleType]) -> Any:
        return needed("h5py")

    def written(self, h5py: Any, path: Path) -> Path:
        with h5py.File(path, "w") as file:
            file.require_group("vars").attrs["name"] = "model"
            group = file.require_group("layers/dense/vars")
            group.attrs["name"] = "fc"
            group["0"] = TENSORS["a.weight"]
        return path

    def test_damage_is_one_line_or_tensors(self, tmp_path: Path, h5py: Any) -> None:
        path = self.written(h5py, tmp_path / "m.weights.h5")
        read_all(path)
        content = path.read_bytes()
        rng = np.random.default_rng(13)
        for case in [content[:-1], content[: len(content) // 2], *(damaged(content, rng) for _ in range(10))]:
            path.write_bytes(case)
            try:
                read_all(path)
            except CheckpointError as error:
                assert str(error).isprintable()

    def test_a_file_that_holds_its_library_up_for_ever_is_given_up(
        self, tmp_path: Path, h5py: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of an object in the heap of texts, the size is 0: HDF5 1.14 looks for the next one where it is itself."""
        monkeypatch.setattr(keras_apart, "PATIENCE", 3.0)
        path = self.written(h5py, tmp_path / "m.weights.h5")
        content = bytearray(path.read_bytes())
        heap = content.index(b"GCOL")
        content[heap + 24 : heap + 32] = bytes(8)
        path.write_bytes(content)
        started = time.monotonic()
        assert "its HDF5 " in refusal(path)
        assert time.monotonic() - started < 60

    def test_values_that_do_not_lie_there_as_they_are_are_read_too(self, tmp_path: Path, h5py: Any) -> None:
        values = np.arange(2000, dtype=np.float32).reshape(40, 50)
        kept: dict[str, dict[str, Any]] = {
            "packed": {"data": values, "chunks": (10, 50), "compression": "gzip"},
            "turned": {"data": values, "dtype": ">f4"},
            "plain": {"data": values},
            "number": {"data": np.float32(3)},
            "nothing": {"data": values[:0]},
            "truth": {"data": values > 5},
        }
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.attrs["layer_names"] = ["fc"]
            file.create_group("fc").attrs["weight_names"] = list(kept)
            for name, fields in kept.items():
                file["fc"].create_dataset(name, **fields)
        read = {each.name: each.read() for each in open_checkpoint(tmp_path / "m.h5").parameters}
        assert list(read) == list(kept)
        for name in ("packed", "turned", "plain"):
            assert read[name].dtype == np.float32
            np.testing.assert_array_equal(read[name], values)
        assert (read["number"], read["nothing"].shape, read["truth"].sum()) == (3, (0, 50), 1994)

    def test_groups_that_hold_each_other_come_to_an_end(self, tmp_path: Path, h5py: Any) -> None:
        """A group within itself, and 60 groups of which each holds the next one twice: 2^60 ways."""
        path = self.written(h5py, tmp_path / "m.weights.h5")
        with h5py.File(path, "a") as file:
            file["layers/again"] = file["layers"]
        assert "its HDF5 is not what Keras writes" in refusal(path)
        path = self.written(h5py, tmp_path / "n.weights.h5")
        with h5py.File(path, "a") as file:
            group = file["layers"]
            for _ in range(60):
                inner = group.create_group("x")
                group["y"] = inner
                group = inner
        assert "its HDF5 is not what Keras writes" in refusal(path)

    @pytest.mark.parametrize("config", [b'{"a": 1, "a": 2}', b"[" * 10**5, b"{", b'"text"'])
    def test_a_config_without_sense_is_refused(self, tmp_path: Path, h5py: Any, config: bytes) -> None:
        weights = self.written(h5py, tmp_path / "model.weights.h5")
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.writestr("config.json", config)
            archive.write(weights, "model.weights.h5")
        assert "its 'config.json' is not what Keras writes" in refusal(tmp_path / "m.keras")

    def test_damage_in_a_config_is_found(self, tmp_path: Path, h5py: Any) -> None:
        weights = self.written(h5py, tmp_path / "model.weights.h5")
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.writestr("config.json", b'{"config": {"name": "model"}}', zipfile.ZIP_DEFLATED)
            archive.write(weights, "model.weights.h5")
        content = (tmp_path / "m.keras").read_bytes()
        start = content.index(b"config.json") + len(b"config.json")
        for position in range(start, start + 20):
            other = content[:position] + bytes([content[position] ^ 255]) + content[position + 1 :]
            (tmp_path / "m.keras").write_bytes(other)
            assert "its 'config.json' " in refusal(tmp_path / "m.keras")


class Deed:
    """What its pickle asks whoever loads it to do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.filterwarnings("ignore")  # torch warns of its own older formats
class TestTorch:
    @pytest.fixture
    def torch(self, needed: Callable[[str], ModuleType]) -> Any:
        return needed("torch")

    def save(self, torch: Any, content: object, path: Path, *, zipped: bool = True) -> Path:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        return path

    @pytest.mark.parametrize("zipped", [True, False])
    def test_nothing_that_a_file_asks_for_is_done(self, tmp_path: Path, torch: Any, zipped: bool) -> None:
        marker = tmp_path / "done"
        path = self.save(torch, {"w": torch.ones(2), "x": Deed(marker)}, tmp_path / "m.pt", zipped=zipped)
        assert "which are not loaded for safety" in refusal(path)
        assert not marker.exists()
        (tmp_path / "plain.pt").write_bytes(pickle.dumps({"w": Deed(marker)}, protocol=2))
        refusal(tmp_path / "plain.pt")
        assert not marker.exists()
        pickle.loads((tmp_path / "plain.pt").read_bytes())  # that it would have been done
        assert marker.is_dir()

    @pytest.mark.parametrize("zipped", [True, False])
    def test_damage_is_one_line_or_tensors(self, tmp_path: Path, torch: Any, zipped: bool) -> None:
        state = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3, dtype=torch.float16)}
        path = self.save(torch, state, tmp_path / "m.pt", zipped=zipped)
        read_all(path)
        assert refused_apart(path, 300) > 50

    def test_lists_that_hold_themselves_or_each_other_come_to_an_end(
        self, tmp_path: Path, torch: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        itself: list[Any] = [torch.ones(2)]
        itself.append(itself)
        assert "nested more than 100 deep" in refusal(self.save(torch, {"w": itself}, tmp_path / "m.pt"))
        monkeypatch.setattr(torch_format, "MOST_LEAVES", 1000)
        doubled: list[Any] = []
        for _ in range(60):
            doubled = [doubled, doubled]
        started = time.process_time()
        path = self.save(torch, {"w": torch.ones(2), "x": doubled}, tmp_path / "m.pt")
        assert "holds more than 1,000 things" in refusal(path)
        assert time.process_time() - started < 20

    def test_an_archive_that_was_packed_again_is_refused_unread(self, tmp_path: Path, torch: Any) -> None:
        path = self.save(torch, {"w": torch.zeros(1000)}, tmp_path / "m.pt")
        with (
            zipfile.ZipFile(path) as archive,
            zipfile.ZipFile(tmp_path / "n.pt", "w", zipfile.ZIP_DEFLATED) as other,
        ):
            for name in archive.namelist():
                other.writestr(name, archive.read(name))
        assert "was packed again; hand in the file that torch.save wrote" in refusal(tmp_path / "n.pt")
