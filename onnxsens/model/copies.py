"""Stored tensors that hold the numbers of another one, in the same order or with the axes in another: one weight.

Exporters break ties. An embedding that is tied to the output head is stored once for its Gather, and once more,
transposed, for the head's MatMul. In the normal form that is made here each copy gives way to the first of them, so
that tracing sees one weight with several consumers, and what runs sees one tensor to change.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import permutations
from math import prod

import numpy as np
import onnx

from onnxsens.arrays import AnyArray
from onnxsens.model.coding import Affine
from onnxsens.model.lifting import constants, refill, rename
from onnxsens.model.load import Model
from onnxsens.model.normal import NormalForm, free_names, graphs, name_nodes
from onnxsens.model.weights import Copy, Weight

# With fewer elements or values than this, tensors may agree by chance: masks, constants, small tables.
SMALLEST = 64
DISTINCT = 16
MOST_AXES = 5  # whose orders are tried; 120 of them
PIECE = 2**16  # elements that are compared at once


def copies_among(model: Model, normal: NormalForm, weights: Sequence[Weight]) -> list[Copy]:
    """Weights of the main graph that are copies, each of the first that has its values.

    Values are compared of those that are alike in all that the order of axes leaves as it is, cheap to tell first: the
    lengths of axes, zeros, then the diagonal, then the sum of all elements.

    Args:
        weights: as the file stores them, one after the other.
    """
    names = names_of(normal)
    ends = {value.name for value in (*normal.proto.graph.input, *normal.proto.graph.output)}
    groups = [[weight for weight in weights if large(weight) and names.get(weight.name, "") not in {"", *ends}]]
    keys: list[Callable[[Weight], object]] = [
        lambda weight: (weight.dtype, tuple(sorted(weight.shape)), weight.zeros),
        lambda weight: diagonal(model.array(weight.name)),
        lambda weight: int(bits(model.array(weight.name)).sum(dtype=np.uint64)),
    ]
    for key in keys:
        groups = [alike for group in groups for alike in parted(group, key)]
    found = [copy for group in groups for copy in copies_within(model, group)]
    order = {weight.name: number for number, weight in enumerate(weights)}
    return sorted(found, key=lambda copy: order[copy.name])


def large(weight: Weight) -> bool:
    """Whether it has axes, and elements, enough to be told from others."""
    return len(weight.shape) > 1 and weight.size >= SMALLEST


def parted(group: Sequence[Weight], key: Callable[[Weight], object]) -> list[list[Weight]]:
    """Those that agree; who is alone is left out."""
    parts: dict[object, list[Weight]] = defaultdict(list)
    for weight in group if len(group) > 1 else ():
        parts[key(weight)].append(weight)
    return [part for part in parts.values() if len(part) > 1]


def names_of(normal: NormalForm) -> dict[str, str]:
    """Stored tensors of the main graph itself, and what they are called in the normal form; sparse ones left out."""
    graph = normal.proto.graph
    named = [(tensor, tensor.name) for tensor in graph.initializer]
    named += [(tensor, node.output[0]) for node in graph.node for tensor in constants(node)]
    stored = ((normal.of(tensor), name) for tensor, name in named if tensor.doc_string)
    return {each.name: name for each, name in stored if not each.owner and each.indices is None}


def copies_within(model: Model, weights: Sequence[Weight]) -> Iterator[Copy]:
    """Those that are copies of one before them."""
    firsts: list[Weight] = []
    for weight in (weight for weight in weights if is_varied(bits(model.array(weight.name)))):
        copy = next((copy for first in firsts if (copy := as_copy(model, weight, first))), None)
        if copy is None:
            firsts.append(weight)
        else:
            yield copy


def as_copy(model: Model, weight: Weight, first: Weight) -> Copy | None:
    """A weight as a copy of another one, bit by bit and meaning the same numbers; None where it is none."""
    rank = len(first.shape)
    one, other = bits(model.array(first.name)), bits(model.array(weight.name))
    for order in permutations(range(rank)) if rank <= MOST_AXES else (tuple(range(rank)),):
        copy = Copy(weight.name, first.name, order)
        if one.transpose(order).shape != weight.shape:
            continue
        same = equal(one.transpose(order), other) if copy.transposed else first.sha256 == weight.sha256
        if same and means_the_same(weight, first, order):
            return copy
    return None


def means_the_same(weight: Weight, first: Weight, order: Sequence[int]) -> bool:
    """Whether elements of both, once the axes are in order, stand for numbers by the same scales and zero points."""
    one, other = first.coding, weight.coding
    if not (isinstance(one, Affine) and isinstance(other, Affine)):
        return type(one) is type(other)
    pairs = ((one.scale, other.scale), (one.zero_point, other.zero_point))
    return all(
        equal(np.broadcast_to(before, first.shape).transpose(order), np.broadcast_to(after, weight.shape))
        for before, after in pairs
    )


def diagonal(values: AnyArray) -> bytes:
    """The elements whose place is the same number on each axis."""
    return bytes(values[(np.arange(min(values.shape)),) * values.ndim].tobytes())


def bits(values: AnyArray) -> AnyArray:
    """The same elements as integers, so that NaN equals itself and 0.0 is not -0.0."""
    return values.view(f"u{values.dtype.itemsize}")


def equal(one: AnyArray, other: AnyArray) -> bool:
    """Whether two arrays of a shape have the same elements, a piece at a time."""
    rows = max(PIECE // max(prod(one.shape[1:]), 1), 1)
    pieces = (slice(start, start + rows) for start in range(0, len(one), rows))
    return all(np.array_equal(one[piece], other[piece]) for piece in pieces)


def is_varied(values: AnyArray) -> bool:
    """Whether there are so many different values that another tensor does not have them by chance."""
    flat = values.reshape(-1)
    seen: set[int] = set()
    for start in range(0, flat.size, PIECE):
        seen.update(np.unique(flat[start : start + PIECE])[:DISTINCT].tolist())
        if len(seen) >= DISTINCT:
            return True
    return False


def as_one(normal: NormalForm, copies: Collection[Copy]) -> NormalForm:
    """The normal form in which whatever read a copy reads its weight, through a Transpose where that is needed.

    A copy that a body reads gives way to a Transpose in any case: in there, the weight's name may be another tensor's.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(normal.proto)
    graph = proto.graph
    names = names_of(normal)
    inner = {name for body in graphs(graph) if body is not graph for name in free_names(body)}
    turned = [copy for copy in copies if copy.transposed or names[copy.name] in inner]
    gone = {names[copy.name] for copy in copies}
    refill(graph.initializer, [tensor for tensor in graph.initializer if tensor.name not in gone])
    # In place, so that nodes stay in order: a weight is stored before its copies, and initializers before Constants.
    held = {node.output[0]: node for node in graph.node if constants(node)}
    for number, copy in enumerate(turned):
        node = onnx.helper.make_node("Transpose", [names[copy.of]], [names[copy.name]], perm=copy.order)
        if names[copy.name] in held:
            held[names[copy.name]].CopyFrom(node)
        else:
            graph.node.insert(number, node)
    refill(graph.node, [node for node in graph.node if not constants(node) or node.output[0] not in gone])
    rename(graph, {names[copy.name]: names[copy.of] for copy in copies if copy not in turned})
    name_nodes(graph)
    return NormalForm(proto, normal.stored, normal.notes)


def note_on(copies: Sequence[Copy]) -> str:
    """What the user should know of them."""
    first = f"'{copies[0].name}' is {copies[0].kind} of '{copies[0].of}'"
    if len(copies) == 1:
        return f"{first}; they are pruned as one weight"
    return f"{len(copies)} stored tensors are copies of others ({first}); each is pruned as one weight with its copies"
