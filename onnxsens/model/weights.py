"""The records of a model's weights, what makes a stored tensor one, and the reason where it is none."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
import onnx

from onnxsens.arrays import AnyArray, FloatArray
from onnxsens.model.coding import FLOATS, INTEGERS, Coding, merged
from onnxsens.model.layout import Layout, Shape
from onnxsens.model.load import Model
from onnxsens.model.normal import NormalForm
from onnxsens.model.operators import Slot
from onnxsens.model.parts import Refused, arrange
from onnxsens.model.stored import Stored
from onnxsens.model.tracing import Trace, Use


@dataclass(frozen=True)
class Consumer:
    """A node that multiplies by the weight, or by a part of it.

    Attributes:
        node: its name, or that of its output where it has none.
        site: its name in the normal form of the model, unique.
        shape, rows: of what the operator is given, which may hold other weights too.
        elements: how many elements of this weight that holds.
        data: which of the inputs that the node has (those left out do not count) is the other factor.
    """

    operator: str
    node: str
    slot: Slot
    site: str
    shape: Shape
    rows: int
    elements: int
    data: int

    def macs(self, data: Shape, output: Shape) -> int:
        """Multiply-accumulates of this weight in one execution, by the shapes of the data and the first output."""
        size = prod(self.shape)
        return self.slot.macs(size, self.rows, self.shape, data, output) * self.elements // size


@dataclass(frozen=True)
class Weight:
    """A stored tensor that can be pruned.

    Attributes:
        name: the initializer's name, the id of the weight everywhere; prefixed where it lives in a body or function.
        dtype: as stored, by ONNX's name.
        encoding: how it is kept and what stands between it and its first operator, such as `Constant -> Transpose`.
        place: the body or function it lives in; empty for the main graph.
        consumers: all that multiply by it; a tied weight has several, and its matrix view is the first one's.
        readers: operators that use it in any other way.
        zeros: elements that are zero already, in the operator's eyes.
        sha256: of the little-endian bytes of its dense values, as stored.
    """

    name: str
    shape: Shape
    dtype: str
    encoding: str
    place: str
    consumers: tuple[Consumer, ...]
    readers: tuple[str, ...]
    zeros: int
    sha256: str
    layout: Layout = field(repr=False, compare=False)
    coding: Coding = field(repr=False, compare=False)

    @property
    def operator(self) -> str:
        """Operator of the first consumer."""
        return self.consumers[0].operator

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Of its matrix view, `[out, in]`."""
        return self.layout.rows, self.size // self.layout.rows

    @property
    def channels(self) -> int:
        """Input channels of a group, which lie side by side in a row, once for each kernel position."""
        kernel = self.consumers[0].shape[2:] if "Conv" in self.operator else ()
        return self.matrix_shape[1] // prod(kernel)


@dataclass(frozen=True)
class Copy:
    """A stored tensor that has the values of a weight, and takes them when they change.

    Attributes:
        name, of: of the copy, and of the weight.
        order: the weight's axes in the order in which the copy has them.
    """

    name: str
    of: str
    order: tuple[int, ...]

    @property
    def transposed(self) -> bool:
        """Whether the order is another one."""
        return self.order != tuple(range(len(self.order)))

    @property
    def kind(self) -> str:
        """In words."""
        return "a transposed copy" if self.transposed else "a copy"

    def values(self, weight: AnyArray) -> AnyArray:
        """What it stores where the weight stores these."""
        return np.ascontiguousarray(weight.transpose(self.order))


@dataclass(frozen=True)
class Skipped:
    """Stored parameters that are not planned: one tensor, or a row of `tensors` small ones."""

    name: str
    shape: Shape
    dtype: str
    parameters: int
    reason: str
    tensors: int = 1


@dataclass(frozen=True)
class Inventory:
    """Every stored parameter of a model, in graph order: those that can be pruned, and the rest.

    Attributes:
        notes: what the user should know of how the model was read.
        copies: skipped tensors that are written with the weight whose values they have.
    """

    weights: tuple[Weight, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    normal: NormalForm = field(repr=False, compare=False)
    copies: tuple[Copy, ...] = ()

    @property
    def planned_parameters(self) -> int:
        """Elements of the prunable weights; a tied one counts once."""
        return sum(weight.size for weight in self.weights)

    @property
    def parameters(self) -> int:
        """All elements in the file."""
        return self.planned_parameters + sum(row.parameters for row in self.skipped)

    @cached_property
    def _by_name(self) -> dict[str, Weight]:
        return {weight.name: weight for weight in self.weights}

    def weight(self, name: str) -> Weight:
        """The weight called `name`."""
        return self._by_name[name]

    def with_copies(self, values: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Stored tensors and values, and what copies of them are to store."""
        copies = {copy.name: copy.values(values[copy.of]) for copy in self.copies if copy.of in values}
        return self.without_copies(values) | copies

    def without_copies(self, values: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Those of stored tensors and values that are no copies: what a working copy of the model has."""
        left_out = {copy.name for copy in self.copies}
        return {name: array for name, array in values.items() if name not in left_out}


def dense_matrix(model: Model, weight: Weight) -> FloatArray:
    """A weight's values `[out, in]`, as its operator sees them; 0 where and only where it sees 0."""
    values: FloatArray = weight.layout.to_matrix(weight.coding.decode(model.array(weight.name)))
    return values


def stored_values(model: Model, weight: Weight, matrix: FloatArray) -> AnyArray:
    """A weight with these values `[out, in]`, in the stored type and shape.

    Elements that are equal to the dense ones keep their bits.
    """
    return weight.coding.encode(weight.layout.from_matrix(matrix), model.array(weight.name))


def weigh(model: Model, tensor: Stored, found: Trace, *, opaque: bool = False) -> Weight | str | None:
    """The record of a prunable tensor, the reason why it is none, or None for one that is not worth a row.

    Args:
        opaque: whether local functions are left in the normal form, into which nothing is followed.
    """
    uses = found.uses.get(tensor.name, [])
    readers = found.readers.get(tensor.name, [])
    if tensor.name in found.packed:
        return f"{found.packed[tensor.name][0]} keeps it in a packed form, which is not pruned yet"
    if not uses:
        return why_unused(tensor, readers, opaque=opaque)
    coding = coding_of(tensor, uses)
    if coding is None:
        return why_not_read(tensor, uses)
    try:
        layout = arrange(tensor, uses)
    except Refused as reason:
        return str(reason)
    stored = model.array(tensor.name)
    broken = coding.broken(stored)
    if broken:
        return f"{broken} of its values are NaN or infinite"
    return Weight(
        tensor.name,
        tensor.shape,
        type_name(tensor.tensor),
        encoding_of(tensor, uses[0]),
        tensor.owner,
        tuple(consumer_of(tensor, use) for use in uses),
        tuple(readers),
        coding.zeros(stored),
        digest_of(stored),
        layout,
        coding,
    )


def why_unused(tensor: Stored, readers: Sequence[str], *, opaque: bool) -> str | None:
    """Why a tensor that nothing multiplies by is left alone; None for small ones and those that are no weights.

    8-bit integers with axes that something reads are most likely quantized weights.
    """
    likely = is_float(tensor.tensor) or (tensor.tensor.data_type in BYTES and bool(readers))
    if len(tensor.shape) < 2 or not likely:
        return None
    if tensor.kind == "attribute":
        return "value of an attribute"
    if readers:
        return f"not the weight of a supported operator ({readers[0]})"
    if opaque and tensor.owner.startswith("function"):
        return "inside a function that could not be inlined"
    return "no node reads it"


def why_not_read(tensor: Stored, uses: Sequence[Use]) -> str:
    """Why it is not known what a weight's elements stand for."""
    if tensor.tensor.data_type not in FLOATS | INTEGERS:
        return f"elements of type {type_name(tensor.tensor)} are not pruned yet"
    if any(use.codings[index_of(tensor, use)] is not None for use in uses):
        return "the operators that read it disagree on which value is zero"
    if tensor.tensor.data_type in INTEGERS:
        return f"{uses[0].operator} takes its integers without a scale and zero point that are known beforehand"
    return f"{uses[0].operator} takes it quantized with another zero point"


def coding_of(tensor: Stored, uses: Sequence[Use]) -> Coding | None:
    """The one coding of a tensor in all its uses; None where they disagree."""
    coding = uses[0].codings[index_of(tensor, uses[0])]
    for use in uses[1:]:
        coding = merged(coding, use.codings[index_of(tensor, use)])
    return coding


def index_of(tensor: Stored, use: Use) -> int:
    """Which source of the use's operand a tensor is."""
    return next(index for index, source in enumerate(use.operand.sources) if source.name == tensor.name)


def consumer_of(tensor: Stored, use: Use) -> Consumer:
    """The record of a use."""
    operand = use.operand
    elements = prod(tensor.shape)
    if operand.moves is None:
        offsets = operand.offsets()
        index = index_of(tensor, use)
        positions = operand.positions()
        elements = int(((positions >= offsets[index]) & (positions < offsets[index + 1])).sum())
    return Consumer(use.operator, use.label, use.slot, use.site, operand.shape, use.view.rows, elements, use.data)


BYTES = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8})
KINDS = {"sparse initializer": "sparse", "constant": "Constant", "sparse constant": "sparse Constant"}


def encoding_of(tensor: Stored, use: Use) -> str:
    """How it is kept, and the operators between it and the first one that multiplies by it."""
    kept = KINDS.get(tensor.kind, "initializer")
    return " -> ".join([kept, *use.operand.through])


def digest_of(values: AnyArray) -> str:
    """SHA-256 of the little-endian bytes."""
    ordered = values.astype(values.dtype.newbyteorder("<"), copy=False) if values.dtype.kind in "fiu" else values
    return hashlib.sha256(np.ascontiguousarray(ordered).view(np.uint8).data).hexdigest()


def is_float(tensor: onnx.TensorProto) -> bool:
    """Whether it holds floating-point numbers, of the kinds that numpy does not know too."""
    return type_name(tensor).startswith(("float", "double", "bfloat"))


def type_name(tensor: onnx.TensorProto) -> str:
    """ONNX's name of the element type, in lower case; `type N` for a number ONNX has no name for."""
    try:
        name = str(onnx.TensorProto.DataType.Name(tensor.data_type)).lower()
    except ValueError:
        return f"type {tensor.data_type}"
    return {"float": "float32", "double": "float64"}.get(name, name)
