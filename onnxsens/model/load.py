"""Open an ONNX file safely: say what is wrong with it in one line, resolve external data, take its fingerprint.

Only protobuf parsing happens here; no checker, no shape inference, no session. Large payloads are not parsed at all:
they stay in their files, the model's own among them, until they are read.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.errors import ModelError
from onnxsens.model import values, wire
from onnxsens.model.external import DataFiles, data_files, notes_on
from onnxsens.model.inlining import Inline, inline_here
from onnxsens.model.interface import tensor_spec
from onnxsens.model.limits import DEFAULT, ReadLimits
from onnxsens.model.mapping import MappedFile
from onnxsens.model.messages import DAMAGED, every_message
from onnxsens.model.names import shown
from onnxsens.model.stored import Stored, every_tensor, stored_tensors

MAX_PROTOBUF_BYTES = 2**31 - 1

# What else people hand in under the name of .onnx, by first bytes.
LOOKS_LIKE = (
    (b"version https://git-lfs", "a Git LFS pointer", "run 'git lfs pull' to fetch the model"),
    (b"<!DOCTYPE", "an HTML page", "download the file itself, not the page about it"),
    (b"<html", "an HTML page", "download the file itself, not the page about it"),
    (b"PK\x03\x04", "a zip archive (a PyTorch checkpoint is one)", "export the model to ONNX first"),
    (b"\x80\x02", "a pickle", "export the model to ONNX first"),
    (b"\x89HDF", "an HDF5 file", "export the model to ONNX first"),
    (b"{", "a JSON text", "hand in the .onnx file"),
)


@dataclass(frozen=True, eq=False)
class Model:
    """A parsed ONNX file. `proto` is never changed; large and external tensors stay in their files until read.

    Attributes:
        proto: large payloads are external data at a reserved location; `files.place_of` says where the bytes are.
        sha256: of the file; where there is external data, of the file's digest and each data file's digest.
        external_files: real paths of the data files.
        notes: what is unusual about the data files, one line each.
        inline: who inlines its functions, in which process.
        limits: that it was opened with.
    """

    path: Path
    proto: onnx.ModelProto
    sha256: str
    files: DataFiles
    external_files: tuple[Path, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    inline: Inline = field(default=inline_here, repr=False)
    limits: ReadLimits = field(default=DEFAULT, repr=False)

    @cached_property
    def initializers(self) -> dict[str, onnx.TensorProto]:
        """Dense initializers of the main graph, by name, in file order."""
        return {tensor.name: tensor for tensor in self.proto.graph.initializer}

    @cached_property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What has to be fed: graph inputs that no initializer gives a value."""
        given = self.initializers.keys() | {sparse.values.name for sparse in self.proto.graph.sparse_initializer}
        return tuple(tensor_spec(value) for value in self.proto.graph.input if value.name not in given)

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return tuple(tensor_spec(value) for value in self.proto.graph.output)

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """Every tensor of the file, bodies and functions included, under a name of its own."""
        return {stored.name: stored for stored in stored_tensors(self.proto)}

    def array(self, name: str) -> AnyArray:
        """The values of a stored tensor, read-only; of a sparse one, the dense tensor that it stands for.

        Raises:
            ModelError: the values do not fit the shape, or a sparse tensor's indices are nonsense.
        """
        stored = self.stored[name]
        if stored.indices is None:
            return self.values(stored.tensor)
        return values.dense(self.values(stored.tensor), self.values(stored.indices), stored.shape, name)

    def values(self, tensor: onnx.TensorProto) -> AnyArray:
        """The values of a tensor of this file, read-only.

        Where they are in a file they are mapped, not read; copied where their place there does not suit their type.
        """
        place = self.files.place_of(tensor)
        if place is None:
            return values.from_message(tensor)
        if place.offset % values.numpy_type(tensor.data_type, tensor.name).itemsize == 0:
            return values.from_bytes(tensor, place.file.view(place.offset, place.length))
        content = np.empty(place.length, np.uint8)
        filled = 0
        for piece in place.file.pieces(place.offset, place.length):
            content[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
        return values.from_bytes(tensor, content)


def load_model(path: str | Path, limits: ReadLimits = DEFAULT) -> Model:
    """Parse the model at `path`.

    Raises:
        ModelError: no such file, not an ONNX model, damaged, over 2 GB in one file or over the limits, or ambiguous; or
            its external data is missing or not allowed.
    """
    path = Path(path)
    explain_foreign(path, read_head(path, limits))
    try:
        own = MappedFile(Path(os.path.realpath(path)))
        digest = own.sha256()
        proto = parsed(path, own)
    except OSError as error:
        raise ModelError(f"model '{path}' cannot be read: {error.strerror}; check permissions") from error
    repeated = [name for name, count in Counter(t.name for t in proto.graph.initializer).items() if count > 1]
    if repeated:
        raise ModelError(
            f"initializer '{shown(repeated[0])}' is stored twice in '{path}'; which one counts is undefined"
        )
    for stored in stored_tensors(proto):
        values.check_dims(stored.shape, stored.name)
    refuse_wide(path, proto, limits)
    tensors = [tensor for _, tensor in every_tensor(proto)]
    for tensor in tensors:
        values.refuse_unfilled(tensor)
    files = data_files(path, own, tensors, limits)
    if not files.by_location:
        return Model(path, proto, digest.hexdigest(), files, limits=limits)
    combined = hashlib.sha256(digest.digest())
    found = [files.by_location[location] for location in sorted(files.by_location)]
    for file in found:
        combined.update(file.sha256().digest())
    paths = tuple(dict.fromkeys(file.path for file in found))
    return Model(path, proto, combined.hexdigest(), files, paths, tuple(notes_on(files, tensors)), limits=limits)


def refuse_wide(path: Path, proto: onnx.ModelProto, limits: ReadLimits) -> None:
    """Raises:
    ModelError: a few values and a shape stand for more bytes of zeros than are read.
    """
    written_out = 0
    for stored in stored_tensors(proto):
        if stored.indices is not None:
            itemsize = values.numpy_type(stored.tensor.data_type, stored.name).itemsize
            written_out += prod(stored.shape) * itemsize
    if written_out > limits.max_model_bytes:
        raise ModelError(
            f"the sparse tensors of '{path.name}' take {written_out:,} bytes when written out, and at most "
            f"{limits.max_model_bytes:,} are read; give --max-model-bytes to read more"
        )


def parsed(path: Path, own: MappedFile) -> onnx.ModelProto:
    """The message, without the large payloads."""
    proto = onnx.ModelProto()
    try:
        content = wire.skeleton(own.map())
        try:
            proto.ParseFromString(content)
        except (DecodeError, RecursionError) as error:
            every_message(content)  # knows where the damage is, or that it is nested too deep
            raise ModelError(f"{one_line(error)}; {DAMAGED}") from error
    except ModelError as error:
        raise ModelError(f"'{path}' is not an ONNX model, or {error}") from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ModelError(f"'{path}' is not an ONNX model: it holds no graph; {DAMAGED}")
    return proto


def read_head(path: Path, limits: ReadLimits) -> bytes:
    """The first bytes of the file, after what can be said about it without reading it all."""
    try:
        if not path.exists():
            raise ModelError(f"model '{path}' does not exist; check the path")
        if not path.is_file():
            raise ModelError(f"model '{path}' is not a file; name the .onnx file")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise ModelError(f"model '{path}' cannot be read: {error.strerror}; check permissions") from error
    if size == 0:
        raise ModelError(f"'{path}' is not an ONNX model: the file is empty; {DAMAGED}")
    if size > MAX_PROTOBUF_BYTES:
        raise ModelError(
            f"'{path}' is {size / 2**30:.1f} GiB, and one ONNX file holds at most 2 GiB; save it with external data"
        )
    if size > limits.max_model_bytes:
        raise ModelError(
            f"'{path}' has {size:,} bytes, and at most {limits.max_model_bytes:,} are read; give --max-model-bytes to "
            "read more"
        )
    return head


def explain_foreign(path: Path, head: bytes) -> None:
    """Refuse what is recognisably something else."""
    for magic, what, remedy in LOOKS_LIKE:
        if head.lstrip().lower().startswith(magic.lower()):
            raise ModelError(f"'{path}' is not an ONNX model: it looks like {what}; {remedy}")
    if (
        head.isascii()
        and head.replace(b"\n", b"").replace(b"\r", b"").replace(b"\t", b"").decode("ascii").isprintable()
    ):
        raise ModelError(f"'{path}' is not an ONNX model: it looks like a text file; hand in the .onnx file")


def one_line(error: BaseException) -> str:
    """An exception's text on one line, short enough to read."""
    return " ".join(str(error).split())[:200] or type(error).__name__
