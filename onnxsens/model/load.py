"""Open an ONNX file safely: say what is wrong with it in one line, resolve external data, take its fingerprint.

Only protobuf parsing happens here; no checker, no shape inference, no session.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, numpy_helper

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.errors import ModelError
from onnxsens.files import chunks_of, sha256_of

MAX_PROTOBUF_BYTES = 2**31 - 1
DAMAGED = "check that the download or export finished"

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
    """A parsed ONNX file. `proto` is never changed; external tensors stay in their files until read.

    Attributes:
        sha256: of the file; where there is external data, of the file's digest and each data file's digest.
    """

    path: Path
    proto: onnx.ModelProto
    sha256: str
    external_files: tuple[Path, ...] = field(default=())

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

    def array(self, name: str) -> AnyArray:
        """The values of an initializer, read from its data file where it lives in one.

        Raises:
            ModelError: its data is missing, too short, or outside the model's folder.
        """
        return self.values(self.initializers[name])

    def values(self, tensor: onnx.TensorProto) -> AnyArray:
        """The values of a tensor of this file."""
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            tensor = copy
            try:
                external_data_helper.load_external_data_for_tensor(tensor, str(self.path.parent))
            except (ValueError, OSError, onnx.checker.ValidationError) as error:
                raise ModelError(
                    f"external data of '{tensor.name}' cannot be read: {one_line(error)}; "
                    f"put the data file beside '{self.path.name}'"
                ) from error
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise ModelError(f"values of '{tensor.name}' cannot be read: {one_line(error)}; {DAMAGED}") from error


def load_model(path: str | Path) -> Model:
    """Parse the model at `path`.

    Raises:
        ModelError: no such file, not an ONNX model, damaged, over 2 GB in one file, or ambiguous.
    """
    path = Path(path)
    head = read_head(path)
    explain_foreign(path, head)
    proto = onnx.ModelProto()
    digest = hashlib.sha256()
    content = bytearray()
    for piece in chunks_of(path):
        digest.update(piece)
        content += piece
    try:
        proto.ParseFromString(bytes(content))
    except (DecodeError, RecursionError) as error:
        raise ModelError(f"'{path}' is not an ONNX model: {one_line(error)}; {DAMAGED}") from error
    if not proto.HasField("graph") or not proto.graph.node:
        raise ModelError(f"'{path}' is not an ONNX model: it holds no graph; {DAMAGED}")
    repeated = [name for name, count in Counter(t.name for t in proto.graph.initializer).items() if count > 1]
    if repeated:
        raise ModelError(f"initializer '{repeated[0]}' is stored twice in '{path}'; which one counts is undefined")
    for tensor in proto.graph.initializer:
        if any(dim < 0 for dim in tensor.dims):
            raise ModelError(f"initializer '{tensor.name}' has the shape {list(tensor.dims)}; {DAMAGED}")
    files = external_files(path, proto)
    if not files:
        return Model(path, proto, digest.hexdigest())
    combined = hashlib.sha256(digest.digest())
    for file in files:
        combined.update(bytes.fromhex(sha256_of(file)))
    return Model(path, proto, combined.hexdigest(), files)


def read_head(path: Path) -> bytes:
    """The first bytes of the file, after what can be said about it without reading it all."""
    if not path.exists():
        raise ModelError(f"model '{path}' does not exist; check the path")
    if not path.is_file():
        raise ModelError(f"model '{path}' is not a file; name the .onnx file")
    try:
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


def external_files(path: Path, proto: onnx.ModelProto) -> tuple[Path, ...]:
    """The data files that the model's tensors name, sorted; each beneath the model's folder.

    Raises:
        ModelError: a location is absolute, leaves the folder, or is not a file.
    """
    found: dict[str, Path] = {}
    for tensor in all_tensors(proto.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if location in found:
            continue
        parts = PurePosixPath(location.replace("\\", "/"))
        if not location or "\0" in location or parts.is_absolute() or ".." in parts.parts or ":" in location:
            raise ModelError(
                f"external data of '{tensor.name}' is at '{location}', outside the model's folder; "
                "put it beside the model and save again"
            )
        file = path.parent / location
        if not file.is_file():
            raise ModelError(f"external data file '{location}' is missing; put it beside '{path.name}'")
        found[location] = file
    return tuple(found[location] for location in sorted(found))


def all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: initializers first, then Constant values and other tensor attributes, bodies included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for body in bodies(attribute):
                yield from all_tensors(body)


def bodies(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs that an attribute holds (bodies of If, Loop, Scan)."""
    return ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)


def tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Name, type and shape as the file declares them."""
    tensor = value.type.tensor_type
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        kind = dim.WhichOneof("value")
        dims.append(dim.dim_value if kind == "dim_value" else dim.dim_param if kind == "dim_param" else None)
    return TensorSpec(value.name, element_dtype(tensor.elem_type), tuple(dims))


def element_dtype(elem_type: int) -> np.dtype | None:
    """numpy's own type for an ONNX element type; None where numpy has none (strings, bfloat16, float8, int4)."""
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    except KeyError:
        return None
    return dtype if dtype.kind in "biufc" else None


def one_line(error: BaseException) -> str:
    """An exception's text on one line, short enough to read."""
    return " ".join(str(error).split())[:200] or type(error).__name__
