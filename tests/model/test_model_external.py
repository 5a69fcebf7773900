"""Which data files are read: every row of a table, against ONNX Runtime where it runs the model.

The model is `y = x @ w` with `w` in a data file, so that a session's output for the unit matrix is `w`.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import model_of, normal, saved
from onnx import TensorProto, helper, numpy_helper

from onnxsens.errors import ModelError
from onnxsens.model import Model, ReadLimits, load_model

W = normal(np.random.default_rng(5), 4, 8)
BYTES = W.tobytes()
EXPORT_AGAIN = "; export the model again$"


def external(name: str = "w", shape: tuple[int, ...] = (4, 8), **entries: Any) -> TensorProto:
    """A float32 tensor whose data is elsewhere."""
    tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def product(*tensors: TensorProto) -> onnx.ModelProto:
    proto = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 4]}, {"y": ["N", 8]}, {})
    proto.graph.initializer.extend(tensors)
    return proto


def model_at(folder: Path, location: str = "w.bin", content: bytes | None = BYTES, **entries: Any) -> Path:
    """The model in `folder`, with `content` at the location unless that is None."""
    if content is not None:
        (folder / location).parent.mkdir(exist_ok=True)
        (folder / location).write_bytes(content)
    return saved(product(external(location=location, **entries)), folder / "m.onnx")


def session_output(path: Path) -> np.ndarray | None:
    """What ONNX Runtime computes; None where it refuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"x": np.eye(4, dtype=np.float32)})[0])
    except Exception:  # its own errors share no base class
        return None


def in_a_folder(root: Path) -> Path:
    (root / "data").mkdir()
    return model_at(root, "data/w.bin")


def in_a_dotted_place(root: Path) -> Path:
    return model_at(root, "./w.bin")


def folder_by_link(root: Path) -> Path:
    (root / "real").mkdir()
    model_at(root / "real")
    (root / "link").symlink_to("real", target_is_directory=True)
    return root / "link" / "m.onnx"


def hugging_face(root: Path) -> Path:
    """Both files are links from a snapshot into the folder of blobs."""
    (root / "blobs").mkdir()
    (root / "snapshots" / "abc").mkdir(parents=True)
    model_at(root / "blobs", "m.onnx_data").rename(root / "blobs" / "0123")
    (root / "blobs" / "m.onnx_data").rename(root / "blobs" / "4567")
    (root / "snapshots" / "abc" / "m.onnx").symlink_to("../../blobs/0123")
    (root / "snapshots" / "abc" / "m.onnx_data").symlink_to("../../blobs/4567")
    return root / "snapshots" / "abc" / "m.onnx"


def linked_within(root: Path) -> Path:
    path = model_at(root, content=None)
    (root / "kept").mkdir()
    (root / "kept" / "w.bin").write_bytes(BYTES)
    (root / "w.bin").symlink_to("kept/w.bin")
    return path


def folder_linked_within(root: Path) -> Path:
    path = model_at(root, "data/w.bin", None)
    (root / "kept").mkdir()
    (root / "kept" / "w.bin").write_bytes(BYTES)
    (root / "data").symlink_to("kept", target_is_directory=True)
    return path


def hard_linked(root: Path) -> Path:
    path = model_at(root)
    os.link(root / "w.bin", root / "other.bin")
    return path


def two_on_one_range(root: Path) -> Path:
    (root / "w.bin").write_bytes(BYTES)
    return saved(product(external(location="w.bin"), external("v", location="w.bin", offset=0)), root / "m.onnx")


READ: dict[str, Callable[[Path], Path]] = {
    "whole file": model_at,
    "offset and length": lambda root: model_at(root, content=b"1234" + BYTES, offset=4, length=len(BYTES)),
    "no length, longer file": lambda root: model_at(root, content=BYTES + b"more"),
    "odd offset": lambda root: model_at(root, content=b"abc" + BYTES, offset=3),
    "unknown entries": lambda root: model_at(root, offset=0, checksum="abc"),
    "folder": in_a_folder,
    "dotted": in_a_dotted_place,
    "colon in the name": lambda root: model_at(root, "layer:0.bin"),
    "model in a linked folder": folder_by_link,
    "hugging face cache": hugging_face,
    "link within the folder": linked_within,
    "linked folder within": folder_linked_within,
    "hard link": hard_linked,
    "one range for two tensors": two_on_one_range,
}


@pytest.mark.parametrize("case", READ)
def test_what_is_within_the_rules_is_read_as_onnxruntime_reads_it(tmp_path: Path, case: str) -> None:
    path = READ[case](tmp_path)
    np.testing.assert_array_equal(load_model(path).array("w"), W)
    np.testing.assert_array_equal(session_output(path), W)


def outside(root: Path) -> Path:
    """A folder for the model, beside which data lies."""
    (root / "secret.bin").write_bytes(BYTES)
    (root / "inner").mkdir()
    return root / "inner"


def link_out(root: Path) -> Path:
    path = model_at(outside(root), content=None)
    (path.parent / "w.bin").symlink_to(root / "secret.bin")
    return path


def folder_link_out(root: Path) -> Path:
    path = model_at(outside(root), "data/secret.bin", None)
    (path.parent / "data").symlink_to(root, target_is_directory=True)
    return path


def link_out_of_both_folders(root: Path) -> Path:
    """The model is a link itself; its data is a link to a third folder."""
    path = model_at(outside(root), content=None)
    (root / "seen").mkdir()
    (root / "seen" / "m.onnx").symlink_to(path)
    (root / "seen" / "w.bin").symlink_to(root / "secret.bin")
    return root / "seen" / "m.onnx"


def beside_the_target_only(root: Path) -> Path:
    """The model is a link, and its data lies where the link leads to, not where the link is."""
    (root / "kept").mkdir()
    (root / "seen").mkdir()
    (root / "seen" / "m.onnx").symlink_to(model_at(root / "kept"))
    return root / "seen" / "m.onnx"


def pipe(root: Path) -> Path:
    os.mkfifo(root / "w.bin")
    return model_at(root, content=None)


def socket_file(root: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)  # a socket's path is short
        try:
            server.bind("w.bin")
        finally:
            os.chdir(here)
    return model_at(root, content=None)


def a_folder(root: Path) -> Path:
    (root / "w.bin").mkdir()
    return model_at(root, content=None)


def unreadable(root: Path) -> Path:
    (root / "w.bin").symlink_to("w.bin")
    return model_at(root, content=None)


def overlap_bomb(root: Path) -> Path:
    """150 kB of model and 1 MB of data that make 2 GB of weights."""
    (root / "w.bin").write_bytes(bytes(1 << 20))
    many = [external(f"w{number}", (1 << 18,), location="w.bin") for number in range(2000)]
    return saved(product(*many), root / "m.onnx")


def bomb_of_hard_links(root: Path) -> Path:
    """One file under many names is not more bytes."""
    (root / "w0.bin").write_bytes(bytes(1 << 20))
    for number in range(1, 32):
        os.link(root / "w0.bin", root / f"w{number}.bin")
    many = [external(f"w{number}", (1 << 18,), location=f"w{number}.bin") for number in range(32)]
    return saved(product(*many), root / "m.onnx")


def too_much(root: Path) -> Path:
    """A file with a hole is large and costs nothing."""
    with (root / "w.bin").open("wb") as file:
        file.truncate(65 << 30)
    return saved(product(external(shape=(65 << 28,), location="w.bin")), root / "m.onnx")


def two_locations(root: Path) -> Path:
    proto = product(external(location="w.bin"))
    proto.graph.initializer[0].external_data.add(key="location", value="v.bin")
    (root / "w.bin").write_bytes(BYTES)
    return saved(proto, root / "m.onnx")


def not_utf8(root: Path) -> Path:
    content = product(external(location="w.bin")).SerializeToString().replace(b"w.bin", b"\xff.bin")
    (root / "m.onnx").write_bytes(content)
    return root / "m.onnx"


def before_nul(root: Path) -> Path:
    (root / "w.bin").write_bytes(BYTES)
    return model_at(root, "w.bin\0.txt", None)


def of_strings(root: Path) -> Path:
    path = model_at(root)
    proto = onnx.load(str(path), load_external_data=False)
    proto.graph.initializer[0].data_type = TensorProto.STRING
    return saved(proto, path)


def of_no_type(root: Path) -> Path:
    path = model_at(root)
    proto = onnx.load(str(path), load_external_data=False)
    proto.graph.initializer[0].data_type = 99
    return saved(proto, path)


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda root: model_at(root, content=None), r"data file 'w\.bin' is missing, which holds 'w'; "),
    "no location": (lambda root: model_at(root, "", None), "of 'w' is at '', outside the model's folder; "),
    "up": (lambda root: model_at(outside(root), "../secret.bin", None), r"'\.\./secret\.bin', outside"),
    "down and up": (lambda root: model_at(outside(root), "a/../../secret.bin", None), "outside the model's folder"),
    "absolute": (lambda root: model_at(root, str(root / "w.bin"), None), "outside the model's folder"),
    "device": (lambda root: model_at(root, "/dev/zero", None), "'/dev/zero', outside the model's folder"),
    "drive": (lambda root: model_at(root, "C:w.bin", None), "'C:w.bin', outside the model's folder"),
    "backslash": (lambda root: model_at(root, "..\\w.bin", None), "outside the model's folder"),
    "NUL": (before_nul, r"'w\.bin\\x00\.txt', outside the model's folder"),
    "path that is too long": (
        lambda root: model_at(root, "a" * 5000, None),
        r"at 'a{200}\.\.\.', a path of 5,000 characters; export the model again$",
    ),
    "path of too many folders": (lambda root: model_at(root, "a/" * 10**6, None), "a path of 2,000,000 characters"),
    "newline": (lambda root: model_at(root, "a\nb", None), r"'a\\nb' is missing"),
    "not UTF-8": (not_utf8, r"'\\xff\.bin', outside the model's folder"),
    "link out": (link_out, "outside the model's folder"),
    "linked folder out": (folder_link_out, "outside the model's folder"),
    "link out of both folders": (link_out_of_both_folders, "outside the model's folder"),
    "beside the target only": (beside_the_target_only, "is missing, which holds 'w'"),
    "pipe": (pipe, r"of 'w' is at 'w\.bin', which is not a regular file; "),
    "socket": (socket_file, r"of 'w' at 'w\.bin' cannot be read"),
    "a folder": (a_folder, r"of 'w' is at 'w\.bin', which is not a regular file; "),
    "link to itself": (unreadable, r"of 'w' at 'w\.bin' cannot be read: Too many levels"),
    "short file": (lambda root: model_at(root, content=BYTES[:-1]), "ends at byte 128 of a file of 127 bytes; "),
    "empty file": (lambda root: model_at(root, content=b""), "ends at byte 128 of a file of 0 bytes; "),
    "length past the end": (
        lambda root: model_at(root, content=BYTES[:9], length=128),
        "of 'w' at 'w.bin' cannot be read: it ends at byte 128 of a file of 9 bytes",
    ),
    "offset past the end": (lambda root: model_at(root, offset=1000), "ends at byte 1128 of a file of 128 bytes; "),
    "length of another shape": (
        lambda root: model_at(root, length=64),
        "has 64 bytes where its shape and type take 128",
    ),
    "huge length": (lambda root: model_at(root, length=10**15), f"1000000000000000 bytes where .* 128{EXPORT_AGAIN}"),
    "huge offset": (lambda root: model_at(root, offset=9 * 10**18), "ends at byte 9000000000000000128 of a file"),
    "longer than any number": (lambda root: model_at(root, offset="9" * 5000), "which is no number of bytes"),
    "negative offset": (lambda root: model_at(root, offset=-4), f"the offset '-4', which is no number.*{EXPORT_AGAIN}"),
    "negative length": (lambda root: model_at(root, length=-1), "the length '-1', which is no number of bytes"),
    "signed offset": (lambda root: model_at(root, offset="+0"), r"the offset '\+0', which is no number of bytes"),
    "words": (lambda root: model_at(root, length="many"), "the length 'many', which is no number of bytes"),
    "other digits": (lambda root: model_at(root, offset="٣"), "which is no number of bytes"),
    "empty offset": (lambda root: model_at(root, offset=""), "the offset '', which is no number of bytes"),
    "two locations": (two_locations, f"of 'w' at 'w.bin' has two entries 'location'{EXPORT_AGAIN}"),
    "memory marker": (lambda root: model_at(root, "*/_ORT_MEM_ADDR_/*", None), "is missing, which holds 'w'"),
    "overlap bomb": (overlap_bomb, r"claim 2,097,152,000 bytes .* have 1,048,576, as with 'w\.bin'"),
    "bomb of hard links": (bomb_of_hard_links, "claim 33,554,432 bytes .* have 1,048,576, as with"),
    "more than 64 GiB": (
        too_much,
        "'m.onnx' takes 69,793,218,[0-9]{3} bytes with its external data, and at most 68,719,476,736 are read; "
        "give --max-model-bytes to read more$",
    ),
    "strings": (of_strings, "holds strings as raw data"),
    "unknown type": (of_no_type, "has the element type 99, which onnx does not know"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_against_the_rules_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    make, pattern = REFUSED[case]
    path = make(tmp_path)
    with pytest.raises(ModelError, match=pattern) as caught:
        load_model(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


# It runs what stands before a NUL; and what is out of proportion would take gigabytes to ask it.
NOT_ASKED = {"NUL", "overlap bomb", "bomb of hard links", "more than 64 GiB"}


@pytest.mark.parametrize("case", sorted(REFUSED.keys() - NOT_ASKED))
def test_nothing_that_is_refused_would_have_run(tmp_path: Path, case: str) -> None:
    assert session_output(REFUSED[case][0](tmp_path)) is None


LINKS = {"hugging face cache", "link within the folder", "linked folder within", "hard link"}


@pytest.mark.parametrize("case", READ)
def test_who_wants_no_links_gets_none(tmp_path: Path, case: str) -> None:
    path = READ[case](tmp_path)
    strict = ReadLimits(strict_links=True)
    if case not in LINKS:
        np.testing.assert_array_equal(load_model(path, strict).array("w"), W)
        return
    with pytest.raises(
        ModelError, match=r"of 'w' at '.*' (is reached through a link|has 2 names on disk .*), which --"
    ):
        load_model(path, strict)


def test_the_limit_is_on_the_model_and_its_data_together(tmp_path: Path) -> None:
    path = model_at(tmp_path)
    both = path.stat().st_size + len(BYTES)
    assert load_model(path, ReadLimits(max_model_bytes=both)).limits.max_model_bytes == both
    with pytest.raises(ModelError, match=rf"takes {both} bytes with its external data, and at most {both - 1} are"):
        load_model(path, ReadLimits(max_model_bytes=both - 1))


def noted(path: Path) -> tuple[str, ...]:
    return load_model(path).notes


def test_what_is_usual_has_no_notes(tmp_path: Path) -> None:
    assert noted(model_at(tmp_path)) == ()


def test_odd_things_that_are_allowed_are_noted(tmp_path: Path) -> None:
    for case, note in {
        "hard link": "'w.bin' has 2 names on disk (hard links): a change through one changes all",
        "odd offset": "'w.bin': 1 tensors begin where their element size does not divide the offset, "
        "first 'w' at byte 3",
        "one range for two tensors": "'w.bin': 1 tensors share bytes with another, first 'w' with 'v'",
    }.items():
        folder = tmp_path / case
        folder.mkdir()
        assert noted(READ[case](folder)) == (note,)


def test_neighbours_do_not_share_bytes(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(BYTES * 3)
    tensors = [external(f"w{number}", location="w.bin", offset=128 * number) for number in (2, 0, 1)]
    assert noted(saved(product(*tensors), tmp_path / "m.onnx")) == ()


def test_the_files_are_listed_by_real_path_once(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(BYTES)
    tensors = [external("w", location="w.bin"), external("v", location="./w.bin")]
    assert load_model(saved(product(*tensors), tmp_path / "m.onnx")).external_files == (tmp_path.resolve() / "w.bin",)
    cache = tmp_path / "cache"
    cache.mkdir()
    assert load_model(hugging_face(cache)).external_files == (cache.resolve() / "blobs" / "4567",)


def test_every_place_a_tensor_can_be_is_checked(tmp_path: Path) -> None:
    """In a node, a body, a function, and as the indices of a sparse tensor."""
    bad = external(location="../w.bin")
    constant = helper.make_node("Constant", [], ["c"], value=bad)
    body = helper.make_graph([], "b", [], [], [bad])
    sparse = onnx.SparseTensorProto(values=numpy_helper.from_array(W.ravel(), "s"), indices=bad, dims=[4, 8])
    for number, change in enumerate(
        [
            lambda proto: proto.graph.node.append(constant),
            lambda proto: proto.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=body)),
            lambda proto: proto.functions.append(
                helper.make_function("d", "F", [], ["c"], [constant], [helper.make_opsetid("", 17)])
            ),
            lambda proto: proto.graph.sparse_initializer.append(sparse),
        ]
    ):
        proto = product(numpy_helper.from_array(W, "w"))
        change(proto)
        with pytest.raises(ModelError, match="outside the model's folder"):
            load_model(saved(proto, tmp_path / f"{number}.onnx"))


class TestReading:
    def two(self, folder: Path) -> Model:
        (folder / "w.bin").write_bytes(BYTES + BYTES)
        return load_model(
            saved(product(external(location="w.bin"), external("v", location="w.bin", offset=128)), folder / "m.onnx")
        )

    def test_arrays_are_read_only(self, tmp_path: Path) -> None:
        for case in ("whole file", "odd offset"):
            folder = tmp_path / case
            folder.mkdir()
            assert not load_model(READ[case](folder)).array("w").flags.writeable

    def test_they_outlive_the_model_and_the_file(self, tmp_path: Path) -> None:
        row = self.two(tmp_path).array("v")[2]
        (tmp_path / "w.bin").unlink()
        np.testing.assert_array_equal(row, W[2])

    def test_a_file_that_becomes_shorter_is_an_error_and_no_crash(self, tmp_path: Path) -> None:
        model = self.two(tmp_path)
        model.array("w")
        os.truncate(tmp_path / "w.bin", 100)
        with pytest.raises(ModelError, match="became shorter"):
            model.array("v")

    def test_a_file_that_was_replaced_before_it_was_read_is_an_error(self, tmp_path: Path) -> None:
        model = self.two(tmp_path)
        (tmp_path / "w.bin").unlink()
        with pytest.raises(ModelError, match="open the model again"):
            model.array("w")
        (tmp_path / "w.bin").write_bytes(b"other")
        with pytest.raises(ModelError, match="changed since"):
            model.array("w")

    def test_who_hands_on_the_path_can_look_once_more(self, tmp_path: Path) -> None:
        model = self.two(tmp_path)
        model.files.refuse_changed()
        for changed in (tmp_path / "w.bin", model.path):
            content = changed.read_bytes()
            status = changed.stat()
            os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
            with pytest.raises(ModelError, match=f"{changed.name}' changed since the model was opened; open the model"):
                model.files.refuse_changed()
            changed.unlink()
            with pytest.raises(ModelError, match=f"{changed.name}' cannot be read any more: No such file"):
                model.files.refuse_changed()
            changed.write_bytes(content)
            model = load_model(model.path)

    def test_hundreds_of_data_files_do_not_use_up_descriptors(self, tmp_path: Path) -> None:
        tensors = []
        for number in range(200):
            (tmp_path / f"{number}.bin").write_bytes(BYTES)
            tensors.append(external(f"w{number}", location=f"{number}.bin"))
        model = load_model(saved(product(*tensors), tmp_path / "m.onnx"))
        for tensor in tensors:
            np.testing.assert_array_equal(model.array(tensor.name), W)
        assert sum(file._map is not None for file in model.files.by_location.values()) == 1


PEAK = """
import sys
from pathlib import Path
from onnxsens.model import load_model, write_model

def peak():
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024

before = peak()
model = load_model(sys.argv[1])
for name in model.stored:
    assert model.array(name).max() == 0
write_model(model, {"w3": model.array("w3") + 1}, Path(sys.argv[2]))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak of a process")
@pytest.mark.parametrize("inside", [False, True], ids=["external", "inline"])
def test_memory_does_not_grow_with_the_number_of_tensors(tmp_path: Path, inside: bool) -> None:
    """16 tensors of 8 MiB; two of them at a time are in memory, and one may be mapped while it is copied."""
    shape, size = (1 << 11, 1 << 10), 1 << 23
    tensors = [external(f"w{number}", shape, location="w.bin", offset=number * size) for number in range(16)]
    if inside:
        tensors = [numpy_helper.from_array(np.zeros(shape, np.float32), tensor.name) for tensor in tensors]
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(16 * size)
    path = saved(product(*tensors), tmp_path / "m.onnx")
    command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / "out.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 3 * 8 + 30
