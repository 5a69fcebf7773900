"""The graph as tracing and the engine want it: functions inlined, nodes in order, every node with a name of its own.

A copy; the user's file keeps its own form. Every stored tensor in it carries a mark that says which one of the file it
is, through inlining and copying.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import onnx

from onnxsens.errors import ModelError
from onnxsens.model.decoding import decode_names
from onnxsens.model.inlining import InliningError
from onnxsens.model.load import Model, one_line
from onnxsens.model.names import text
from onnxsens.model.stored import Stored, bodies, stored_tensors

MARK = "onnxsens:"
MAX_NODES = 2_000_000  # after inlining; functions that call each other twice over grow without bound


@dataclass(frozen=True, eq=False)
class NormalForm:
    """A model ready to be traced and run. Not to be changed.

    Attributes:
        notes: what had to be put right, for the user.
    """

    proto: onnx.ModelProto
    stored: tuple[Stored, ...]
    notes: tuple[str, ...]

    def of(self, tensor: onnx.TensorProto) -> Stored:
        """Which stored tensor of the file this one is."""
        return self.stored[int(tensor.doc_string.removeprefix(MARK))]


def normal_form(model: Model) -> NormalForm:
    """Put a copy of the model's graph in order.

    Raises:
        ModelError: inlining its functions would make it too large.
    """
    stored = tuple(model.stored.values())
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for number, own in enumerate(stored_tensors(proto)):
        own.tensor.doc_string = f"{MARK}{number}"
    notes = []
    if proto.functions:
        proto, why_not = inlined(proto, model)
        notes += (
            [f"the model's functions stay as they are, and so do weights inside them: {why_not}"] if why_not else []
        )
    undecoded = decode_names(proto, graphs(proto.graph))
    if undecoded:
        notes.append(f"{undecoded} names in the file are not UTF-8; they are escaped in the working copy")
    if sum(put_in_order(graph) for graph in graphs(proto.graph)):
        notes.append("the file's nodes are not in order; they are sorted in the working copy")
    renamed = name_nodes(proto.graph)
    if renamed:
        notes.append(f"{renamed} nodes share their name with another; they are renamed in the working copy")
    return NormalForm(proto, stored, tuple(notes))


def inlined(proto: onnx.ModelProto, model: Model) -> tuple[onnx.ModelProto, str]:
    """The model without local functions, or as it was and the reason."""
    try:
        size = inlined_size(proto)
    except RecursionError:
        raise ModelError(
            f"the functions of '{model.path.name}' are nested too deep to be inlined; export it without functions"
        ) from None
    if size > MAX_NODES:
        raise ModelError(
            f"the functions of '{model.path.name}' call each other so often that inlining them gives more than "
            f"{MAX_NODES:,} nodes; export it without functions"
        )
    try:
        result = onnx.ModelProto.FromString(model.inline(proto.SerializeToString()))
    except InliningError as error:
        return proto, one_line(error)
    left = [f"{function.domain}::{function.name}" for function in result.functions]
    if left:
        return result, f"function '{left[0]}' is of another opset than the model"
    return result, ""


def inlined_size(proto: onnx.ModelProto) -> int:
    """Nodes after inlining, counted without doing it; a function that calls itself counts as too many."""
    functions = {(function.domain, function.name): function for function in proto.functions}
    sizes: dict[tuple[str, str], int] = {}
    open_calls: list[tuple[str, str]] = []

    def size_of(nodes: Collection[onnx.NodeProto]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += function_size(key) if key in functions else 1
            total += sum(size_of(body.node) for attribute in node.attribute for body in bodies(attribute))
        return total

    def function_size(key: tuple[str, str]) -> int:
        if key in open_calls:
            return 0  # the inliner refuses recursion, and says so better
        if key not in sizes:
            open_calls.append(key)
            sizes[key] = size_of(functions[key].node)
            open_calls.pop()
        return sizes[key]

    return size_of(proto.graph.node)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all bodies inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in bodies(attribute):
                yield from graphs(body)


def put_in_order(graph: onnx.GraphProto) -> bool:
    """Sort nodes so that each comes after those it reads from, the earlier in the file first; whether that was needed.

    Nodes on a cycle stay at the end; the runtime refuses them, and says so better.
    """
    nodes = list(graph.node)
    maker = {output: number for number, node in enumerate(nodes) for output in node.output if output}
    needs = [{maker[name] for name in reads(node) if name in maker} - {number} for number, node in enumerate(nodes)]
    if all(max(needed, default=-1) < number for number, needed in enumerate(needs)):
        return False
    readers: list[list[int]] = [[] for _ in nodes]
    for number, needed in enumerate(needs):
        for earlier in needed:
            readers[earlier].append(number)
    open_needs = [len(needed) for needed in needs]
    ready = [number for number, count in enumerate(open_needs) if count == 0]
    heapify(ready)
    order = []
    while ready:
        number = heappop(ready)
        order.append(number)
        for reader in readers[number]:
            open_needs[reader] -= 1
            if open_needs[reader] == 0:
                heappush(ready, reader)
    order += sorted(set(range(len(nodes))) - set(order))
    copies = [onnx.NodeProto() for _ in nodes]
    for copy, number in zip(copies, order, strict=True):
        copy.CopyFrom(nodes[number])
    del graph.node[:]
    graph.node.extend(copies)
    return True


def reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, those that its bodies take from outside included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for body in bodies(attribute):
            names |= free_names(body)
    return names


def free_names(graph: onnx.GraphProto) -> set[str]:
    """Names that a graph reads and does not define."""
    used = {value.name for value in graph.output}
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:
        own.update(node.output)
        used |= reads(node)
    return used - own


def name_nodes(graph: onnx.GraphProto) -> int:
    """Give every node, those of bodies included, a name of its own; how many shared one before."""
    nodes = [node for each in graphs(graph) for node in each.node]
    counts = Counter(node.name for node in nodes if node.name)
    taken = set(counts)
    kept: set[str] = set()
    number = 0
    for node in nodes:
        if node.name and node.name not in kept:
            kept.add(node.name)
            continue
        stem, name = text(node.name or node.op_type), node.name
        while not name or name in taken:
            number += 1
            name = f"{stem}#{number}"
        taken.add(name)
        node.name = name
    return sum(count for count in counts.values() if count > 1)
