"""Move stored tensors to the main graph from wherever they are: Constants, bodies, sparse initializers.

Changes the graph it is given; that is a copy of the user's.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import onnx

from onnxsens.model.normal import NormalForm, free_names, graphs
from onnxsens.model.operators import standard
from onnxsens.model.stored import bodies

Item = TypeVar("Item", onnx.TensorProto, onnx.SparseTensorProto, onnx.NodeProto)

LIFTED = "onnxsens/"


def lift(graph: onnx.GraphProto, normal: NormalForm, weights: Collection[str]) -> dict[str, str]:
    """Make every weight an initializer of the main graph, changing `graph`; weight name to initializer name.

    Besides the weights, that is done to every tensor whose data does not lie in the message itself, since only
    initializers of the main graph are known to have theirs found in all cases.
    """
    return _Lifter(normal, weights).lift(graph)


class _Lifter:
    def __init__(self, normal: NormalForm, weights: Collection[str]) -> None:
        self._normal = normal
        self._weights = weights
        self._lifted: dict[str, onnx.TensorProto] = {}
        self._taken: set[str] = set()
        self._made = 0

    def lift(self, graph: onnx.GraphProto) -> dict[str, str]:
        """Change the graph; weight name to initializer name."""
        self._taken = names_in(graph)
        self._give_plain_names(graph)
        stay = {self._normal.of(tensor).name: tensor.name for tensor in graph.initializer}
        for each in reversed(list(graphs(graph))):  # bodies first: whose nodes are refilled, its old bodies are gone
            renamed: dict[str, str] = {}
            if each is not graph:
                kept, gone = self._sorted(each.initializer, lambda tensor: [tensor])
                renamed |= {tensor.name: name for tensor, name in gone}
                refill(each.initializer, kept)
            sparse, gone = self._sorted(each.sparse_initializer, lambda tensor: [tensor.values, tensor.indices])
            renamed |= {tensor.values.name: name for tensor, name in gone}
            refill(each.sparse_initializer, sparse)
            nodes, gone = self._sorted(each.node, constants)
            renamed |= {node.output[0]: name for node, name in gone}
            refill(each.node, nodes)
            if renamed:
                refill(each.input, [value for value in each.input if value.name not in renamed])
                if each is not graph:
                    renamed = self._through_transposes(each, renamed)
                rename(each, renamed)
        graph.initializer.extend(self._lifted.values())
        stay |= {name: tensor.name for name, tensor in self._lifted.items()}
        return {name: initializer for name, initializer in stay.items() if name in self._weights}

    def _sorted(
        self, items: Iterable[Item], tensors_of: Callable[[Item], list[onnx.TensorProto]]
    ) -> tuple[list[Item], list[tuple[Item, str]]]:
        """What stays, and what is lifted with its new name."""
        kept, gone = [], []
        for item in items:
            tensors = tensors_of(item)
            outside = any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors)
            if tensors and (outside or self._normal.of(tensors[0]).name in self._weights):
                gone.append((item, self._new_name(tensors[0])))
            else:
                kept.append(item)
        return kept, gone

    def _through_transposes(self, body: onnx.GraphProto, renamed: Mapping[str, str]) -> dict[str, str]:
        """Weights come into a body through a Transpose that moves nothing; the names that they get there.

        Several of ONNX Runtime's optimisations (1.31) look for a weight in the body itself: where it is outside, a Conv
        is computed in another order, and DequantizeLinear -> MatMul is not computed at all. A Transpose is folded
        into a constant of the body before that; an Identity is not.
        """
        lifted = {tensor.name: self._normal.of(tensor) for tensor in self._lifted.values()}
        ranks = {name: len(stored.shape) for name, stored in lifted.items() if stored.name in self._weights}
        found = dict(renamed)
        for old, new in renamed.items():
            if new in ranks:
                # Not under the old name: as that of an initializer, it may be one that is used outside too.
                found[old] = self._fresh()
                order = list(range(ranks[new]))
                body.node.insert(0, onnx.helper.make_node("Transpose", [new], [found[old]], perm=order))
        return found

    def _give_plain_names(self, graph: onnx.GraphProto) -> None:
        """A name that is no text cannot be handed to a session; such an initializer gets another."""
        renamed: dict[Any, str] = {}
        for tensor in graph.initializer:
            name: str | bytes = tensor.name  # whatever the stubs say
            if not isinstance(name, str):
                renamed[name] = self._fresh()
        rename(graph, renamed)
        for tensor in graph.initializer:
            tensor.name = renamed.get(tensor.name, tensor.name)

    def _fresh(self) -> str:
        """A name that nothing in the model has."""
        while True:
            name = f"{LIFTED}{self._made}"
            self._made += 1
            if name not in self._taken:
                return name

    def _new_name(self, tensor: onnx.TensorProto) -> str:
        """The same one for all copies that inlining made."""
        stored = self._normal.of(tensor)
        if stored.name not in self._lifted:
            lifted = onnx.TensorProto()
            lifted.CopyFrom(tensor)
            lifted.name = self._fresh()
            self._lifted[stored.name] = lifted
        return self._lifted[stored.name].name


def names_in(graph: onnx.GraphProto) -> set[str]:
    """Every name that something in a graph or its bodies has."""
    found: set[str] = set()
    for each in graphs(graph):
        found |= {value.name for value in each.input} | {tensor.name for tensor in each.initializer}
        found |= {sparse.values.name for sparse in each.sparse_initializer}
        for node in each.node:
            found.update(node.output)
    return found


def constants(node: onnx.NodeProto) -> list[onnx.TensorProto]:
    """The tensors of a Constant node that has an output."""
    if node.op_type != "Constant" or standard(node.domain) or not node.output:
        return []
    found = []
    for attribute in node.attribute:
        if attribute.HasField("t"):
            found.append(attribute.t)
        if attribute.HasField("sparse_tensor"):
            found += [attribute.sparse_tensor.values, attribute.sparse_tensor.indices]
    return found


def refill(items: Any, kept: Sequence[Any]) -> None:
    """Leave only these in a list of a message; untouched where that is all of them."""
    if len(kept) == len(items):
        return
    copies = [type(item)() for item in kept]
    for copy, item in zip(copies, kept, strict=True):
        copy.CopyFrom(item)
    del items[:]
    items.extend(copies)


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Read from other names, in this graph and in bodies that see it; a name that is an output keeps it by Identity."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in names:
                node.input[index] = names[name]
        for attribute in node.attribute:
            for body in bodies(attribute):
                seen = {old: new for old, new in names.items() if old in free_names(body)}
                if seen:
                    rename(body, seen)
    for name in dict.fromkeys(value.name for value in graph.output):
        if name in names:
            graph.node.append(onnx.helper.make_node("Identity", [names[name]], [name]))


def settle_inputs(graph: onnx.GraphProto, fed: Collection[str]) -> None:
    """A stored tensor that is also an input would be a variable to the optimiser, and take another code path.

    It becomes a constant; or, where the samples give it a value, an input only.
    """
    stored = {tensor.name for tensor in graph.initializer} | {each.values.name for each in graph.sparse_initializer}
    refill(graph.input, [value for value in graph.input if value.name not in stored or value.name in fed])
    refill(graph.initializer, [tensor for tensor in graph.initializer if tensor.name not in fed])
    refill(graph.sparse_initializer, [each for each in graph.sparse_initializer if each.values.name not in fed])
