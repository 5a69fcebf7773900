"""Operators that move stored elements without computing with them: what each does to an operand.

One table, like that of the operators that multiply. A handler returns its outputs, or raises `Untraceable` where the
node does something else than move elements, or does it in a way that is known at run time only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray, FloatArray
from onnxsens.model.coding import FLOATS, INTEGERS, Affine, Plain
from onnxsens.model.layout import Shape
from onnxsens.model.operand import Operand, joined
from onnxsens.model.operators import standard

LARGEST = (2**31 - 1, 2**63 - 1)


class Untraceable(Exception):  # noqa: N818 - never seen by a user; says that an operand ends here
    """The elements cannot be followed through this node."""


@dataclass(frozen=True, eq=False)
class Site:
    """A node, as a handler sees it.

    Attributes:
        inputs: for each input, what is known of it; None where it is computed or missing.
        given: for each input, whether the node has it.
        values: the elements of a known input.
    """

    operator: str
    attributes: Mapping[str, Any]
    inputs: Sequence[Operand | AnyArray | None]
    given: Sequence[bool]
    outputs: int
    values: Callable[[Operand], AnyArray]

    def main(self) -> Operand:
        """The first input."""
        operand = self.inputs[0] if self.inputs else None
        if not isinstance(operand, Operand):
            raise Untraceable
        return operand

    def array(self, index: int) -> AnyArray | None:
        """An input that has to be known; None where the node does not have it."""
        if index >= len(self.given) or not self.given[index]:
            return None
        known = self.inputs[index]
        if known is None:
            raise Untraceable
        return self.values(known) if isinstance(known, Operand) else known

    def integers(self, index: int, attribute: str) -> list[int] | None:
        """A list that newer opsets take as an input and older ones as an attribute."""
        if attribute in self.attributes:
            return [int(value) for value in self.attributes[attribute]]
        found = self.array(index)
        return None if found is None else [int(value) for value in found.reshape(-1)]


def identity(site: Site) -> list[Operand]:
    """Identity, and Dropout where it does not train."""
    operand = site.main()
    if site.operator == "Dropout":
        training = site.array(2)
        if (training is not None and training.any()) or site.outputs > 1:
            raise Untraceable
    return [operand.read_as(operand.elem_type, operand.codings, site.operator)]


def cast(site: Site) -> list[Operand]:
    """Floats to floats; integers to floats stand for themselves from there on."""
    operand, to = site.main(), site.attributes.get("to")
    if to not in FLOATS:
        raise Untraceable
    return [operand.read_as(to, as_numbers(operand), site.operator)]


def as_numbers(operand: Operand) -> list[Any]:
    """Codings of an operand whose bare integers are taken for numbers."""
    codings = []
    for source, coding in zip(operand.sources, operand.codings, strict=True):
        if coding is None and source.tensor.data_type not in INTEGERS:
            raise Untraceable
        codings.append(coding or Affine(np.ones((), np.float32), np.zeros((), element_type(source.tensor.data_type))))
    return codings


def element_type(elem_type: int) -> np.dtype[Any]:
    """Of integers that can be weights; numpy knows them all."""
    from onnx.helper import tensor_dtype_to_np_dtype

    return tensor_dtype_to_np_dtype(elem_type)


def transpose(site: Site) -> list[Operand]:
    """Axes reversed, or as `perm` says."""
    operand = site.main()
    order = site.attributes.get("perm", range(len(operand.shape) - 1, -1, -1))
    if sorted(order) != list(range(len(operand.shape))):
        raise Untraceable
    return [operand.transposed(order, site.operator)]


def reshape(site: Site) -> list[Operand]:
    """0 keeps a length, -1 takes what is left."""
    operand = site.main()
    wanted = site.integers(1, "shape")
    if wanted is None:
        raise Untraceable
    if not site.attributes.get("allowzero", 0):
        wanted = [operand.shape[axis] if length == 0 else length for axis, length in enumerate(wanted)]
    known = prod(length for length in wanted if length != -1)
    shape = tuple(operand.size // known if length == -1 and known else length for length in wanted)
    return [reshaped(operand, shape, site.operator)]


def reshaped(operand: Operand, shape: Shape, operator: str) -> Operand:
    """Checked: as many elements as before."""
    if prod(shape) != operand.size or min(shape, default=0) < 0:
        raise Untraceable
    return operand.reshaped(shape, operator)


def flatten(site: Site) -> list[Operand]:
    """To two axes."""
    operand = site.main()
    axis = site.attributes.get("axis", 1)
    axis += len(operand.shape) if axis < 0 else 0
    return [reshaped(operand, (prod(operand.shape[:axis]), prod(operand.shape[axis:])), site.operator)]


def squeeze(site: Site) -> list[Operand]:
    """Without the named axes; all of length 1 where none is named."""
    operand = site.main()
    axes = site.integers(1, "axes")
    rank = len(operand.shape)
    gone = {axis % rank for axis in axes} if axes else {i for i in range(rank) if operand.shape[i] == 1}
    return [reshaped(operand, tuple(n for axis, n in enumerate(operand.shape) if axis not in gone), site.operator)]


def unsqueeze(site: Site) -> list[Operand]:
    """With axes of length 1 at the named places of the result."""
    operand = site.main()
    axes = site.integers(1, "axes") or []
    rank = len(operand.shape) + len(axes)
    new = {axis % rank for axis in axes}
    if len(new) < len(axes):
        raise Untraceable
    lengths = iter(operand.shape)
    return [reshaped(operand, tuple(1 if axis in new else next(lengths) for axis in range(rank)), site.operator)]


def cut_by_slices(site: Site) -> list[Operand]:
    """Slice: starts, ends, axes, steps; as numpy cuts, but that the end of a step backwards may be before 0."""
    operand = site.main()
    starts, ends = site.integers(1, "starts"), site.integers(2, "ends")
    if starts is None or ends is None:
        raise Untraceable
    axes = site.integers(3, "axes")
    steps = site.integers(4, "steps")
    ranges = [slice(None)] * len(operand.shape)
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[number] if axes else number
        ranges[axis] = one_slice(operand.shape[axis], start, end, steps[number] if steps else 1)
    found = operand.cut(partial(getitem, tuple(ranges)), site.operator)
    if found.shape == operand.shape and all(one.step in (None, 1) for one in ranges):
        found = operand.read_as(operand.elem_type, operand.codings, site.operator)  # the whole of it
    return [found]


def one_slice(length: int, start: int, end: int, step: int) -> slice:
    """ONNX's rule for one axis, as a Python slice without negative numbers.

    The largest integers stand for the end in either direction, as ONNX Runtime has it; the operator's text leaves it
    open for steps backwards.
    """
    if step < 0 and end in LARGEST:
        end = -length - 1
    start += length if start < 0 else 0
    end += length if end < 0 else 0
    if step > 0:
        return slice(min(max(start, 0), length), min(max(end, 0), length), step)
    first, last = min(max(start, 0), length - 1), min(max(end, -1), length - 1)
    return slice(first, None if last < 0 else last, step)


def split(site: Site) -> list[Operand]:
    """Parts of given or equal lengths; the last one may be shorter."""
    operand = site.main()
    axis = site.attributes.get("axis", 0) % len(operand.shape)
    length = operand.shape[axis]
    sizes = site.integers(1, "split")
    if sizes is None:
        each = -(-length // site.outputs)
        sizes = [min(each, length - start) for start in range(0, length, each)]
    if sum(sizes) != length or min(sizes) < 0:
        raise Untraceable
    ends = np.cumsum(sizes).tolist()
    ranges = [(*[slice(None)] * axis, slice(end - size, end)) for end, size in zip(ends, sizes, strict=True)]
    return [operand.cut(partial(getitem, one), site.operator) for one in ranges]


def getitem(ranges: tuple[slice, ...], values: AnyArray) -> AnyArray:
    """A cut that is known now and made later."""
    return values[ranges]


def concat(site: Site) -> list[Operand]:
    """Side by side, where every part is known."""
    parts = [operand for operand in site.inputs if isinstance(operand, Operand) and operand.steps is None]
    rank = len(parts[0].shape) if parts else 0
    if len(parts) < len(site.inputs) or not rank or len({part.elem_type for part in parts}) > 1:
        raise Untraceable
    axis = site.attributes["axis"] % rank
    if len({(*part.shape[:axis], *part.shape[axis + 1 :]) for part in parts}) > 1:
        raise Untraceable
    return [joined(parts, axis, site.operator)]


def gather(site: Site) -> list[Operand]:
    """Rows that are known beforehand."""
    operand = site.main()
    indices = site.array(1)
    axis = site.attributes.get("axis", 0) % len(operand.shape)
    if indices is None or indices.dtype.kind not in "iu":
        raise Untraceable
    return [operand.cut(lambda values: np.take(values, indices, axis=axis), site.operator)]


def expand(site: Site) -> list[Operand]:
    """Where it repeats nothing."""
    operand = site.main()
    shape = tuple(site.integers(1, "shape") or ())
    if len(shape) > len(operand.shape) or np.broadcast_shapes(operand.shape, shape) != operand.shape:
        raise Untraceable
    return [operand.read_as(operand.elem_type, operand.codings, site.operator)]


def quantize(site: Site) -> list[Operand]:
    """Floating-point weights of quantization-aware training: 0 becomes the zero point, and 0 again afterwards."""
    operand = site.main()
    if any(not isinstance(coding, Plain) for coding in operand.codings) or operand.steps is not None:
        raise Untraceable
    scale, zero_point = scale_and_zero_point(site, operand)
    return [operand.read_as(operand.elem_type, operand.codings, site.operator, steps=Affine(scale, zero_point))]


def dequantize(site: Site) -> list[Operand]:
    """Per tensor, per axis or blocked."""
    operand = site.main()
    scale, zero_point = scale_and_zero_point(site, operand)
    if operand.steps is not None:
        if np.any(zero_point != operand.steps.zero_point):
            raise Untraceable
        return [operand.read_as(operand.elem_type, operand.codings, site.operator, steps=None)]
    if any(coding is not None for coding in operand.codings):
        raise Untraceable
    if any(source.tensor.data_type not in INTEGERS for source in operand.sources):
        # A packed or 8-bit floating-point type: followed, so that it can be listed with its reason.
        return [operand.read_as(operand.elem_type, operand.codings, site.operator)]
    return [operand.read_as(1, operand.dequantized(scale, zero_point), site.operator)]


def scale_and_zero_point(site: Site, operand: Operand) -> tuple[FloatArray, AnyArray]:
    """Inputs 1 and 2 of a (de)quantizing node, shaped so that they broadcast against the operand."""
    scale = site.array(1)
    if scale is None:
        raise Untraceable
    zero_point = site.array(2)
    if zero_point is None:
        wide = operand.elem_type if operand.elem_type in INTEGERS else 3
        zero_point = np.zeros((), element_type(wide))
    axis = site.attributes.get("axis", 1)
    block = site.attributes.get("block_size", 0)
    scale = Plain().decode(scale)
    return along(scale, operand.shape, axis, block), along(zero_point, operand.shape, axis, block)


def along(values: AnyArray, shape: Shape, axis: int, block: int) -> AnyArray:
    """A scalar, a vector along `axis`, or one value for each `block` elements of `axis`."""
    if values.size == 1:
        return values.reshape(())
    if block < 0:
        raise Untraceable
    if block:
        return fitting(np.take(values, np.arange(shape[axis]) // block, axis=axis), shape)
    return fitting(values.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))]), shape)


def fitting(values: AnyArray, shape: Shape) -> AnyArray:
    """Checked: broadcasts against `shape`, and does not widen it."""
    if np.broadcast_shapes(values.shape, shape) != shape:
        raise Untraceable
    return values


Handler = Callable[[Site], list[Operand]]

STRUCTURAL: Mapping[tuple[str, str], Handler] = {
    ("", "Identity"): identity,
    ("", "Dropout"): identity,
    ("", "Cast"): cast,
    ("", "Transpose"): transpose,
    ("", "Reshape"): reshape,
    ("", "Flatten"): flatten,
    ("", "Squeeze"): squeeze,
    ("", "Unsqueeze"): unsqueeze,
    ("", "Slice"): cut_by_slices,
    ("", "Split"): split,
    ("", "Concat"): concat,
    ("", "Gather"): gather,
    ("", "Expand"): expand,
    ("", "QuantizeLinear"): quantize,
    ("", "DequantizeLinear"): dequantize,
    ("com.microsoft", "QuantizeLinear"): quantize,
    ("com.microsoft", "DequantizeLinear"): dequantize,
}


def handler_of(operator: str, domain: str) -> Handler | None:
    """What follows elements through this operator."""
    return STRUCTURAL.get((standard(domain), operator))


def handled(handler: Handler, site: Site) -> list[Operand] | None:
    """The outputs, or None where the elements cannot be followed.

    A node whose shapes do not fit each other is the runtime's to refuse; here it ends the way.
    """
    try:
        return handler(site)
    except (Untraceable, ValueError, IndexError, KeyError, TypeError, ArithmeticError):
        return None
