"""Follow every stored tensor through the graph, from where it lies to the operators that multiply by it.

Works on the normal form: functions are inlined, nodes are in order and have names of their own. Bodies of If, Loop and
Scan see what lies outside them.
"""

from collections import ChainMap
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx

from onnxsens.arrays import AnyArray
from onnxsens.model.coding import COUNTS, INTEGERS, Affine, Coding, Plain
from onnxsens.model.folding import Shaped, countable, folded, folds, reads_shape
from onnxsens.model.load import Model
from onnxsens.model.names import text
from onnxsens.model.normal import NormalForm
from onnxsens.model.operand import Operand, whole
from onnxsens.model.operators import Quantized, Slot, View, is_packed, slot_of, standard
from onnxsens.model.stored import bodies
from onnxsens.model.structure import Site, Untraceable, as_numbers, handled, handler_of

# What is known of a name: where its elements lie, what was looked up, numbers that are no stored tensor, a shape, or
# nothing.
Scope = ChainMap[str, "Operand | Lookup | AnyArray | Shaped | None"]


@dataclass(frozen=True, eq=False)
class Use:
    """An operator that multiplies by an operand.

    Attributes:
        site: the node's name in the normal form.
        label: what to call the node in a report.
        view: the operand as a matrix.
        data: which of the inputs that the node has (those left out do not count) is the other factor.
        codings: for each source of the operand; None where the operator would see bare integers.
    """

    operator: str
    domain: str
    site: str
    label: str
    slot: Slot
    operand: Operand
    view: View
    data: int
    codings: tuple[Coding | None, ...]


@dataclass(frozen=True, eq=False)
class Lookup:
    """What a Gather at run time takes out of integers; a DequantizeLinear after it says what they stand for."""

    use: Use


@dataclass(eq=False)
class Trace:
    """What became of the stored tensors, by name.

    Attributes:
        uses: operators that multiply by it, in node order.
        readers: all other operators that read it.
        packed: operators that take it in a packed form.
    """

    uses: dict[str, list[Use]] = field(default_factory=dict)
    readers: dict[str, list[str]] = field(default_factory=dict)
    packed: dict[str, list[str]] = field(default_factory=dict)


def trace(model: Model, normal: NormalForm) -> Trace:
    """Follow everything."""
    tracer = _Tracer(model, normal)
    tracer.walk(normal.proto.graph, ChainMap())
    return tracer.found


class _Tracer:
    def __init__(self, model: Model, normal: NormalForm) -> None:
        self.found = Trace()
        self._model = model
        self._normal = normal

    def walk(self, graph: onnx.GraphProto, scope: Scope) -> None:
        """One graph; `scope` is what it sees of the outside, and gets what it defines."""
        for value in graph.input:
            scope[value.name] = None
        for tensor in graph.initializer:
            scope[tensor.name] = whole(self._normal.of(tensor))
        for sparse in graph.sparse_initializer:
            scope[sparse.values.name] = whole(self._normal.of(sparse.values))
        for node in graph.node:
            for output in node.output:
                scope[output] = None
            self._node(node, scope)
        for value in graph.output:
            self._read(scope.get(value.name), "graph output")

    def _node(self, node: onnx.NodeProto, scope: Scope) -> None:
        constant = self._constant(node)
        if constant is not None:
            scope[node.output[0]] = constant
            return
        for attribute in node.attribute:
            for body in bodies(attribute):
                self.walk(body, scope.new_child())
        known = [scope.get(name) if name else None for name in node.input]
        operands = [entry if isinstance(entry, Operand) else None for entry in known]
        follows = any(isinstance(entry, Operand | Lookup) for entry in known)
        computes = folds(node.op_type, node.domain) and any(entry is not None for entry in known)
        if not follows and not computes:
            return
        site = Site(
            f"{node.domain}.{node.op_type}" if standard(node.domain) else node.op_type,
            {attribute.name: value_of(attribute) for attribute in node.attribute},
            [None if isinstance(entry, Lookup | Shaped) else entry for entry in known],
            [bool(name) for name in node.input],
            len(node.output),
            self._values,
        )
        lookup = known[0] if known else None
        if isinstance(lookup, Lookup):
            self._finish(lookup, node, site)
        handler = handler_of(node.op_type, node.domain)
        moved = handled(handler, site) if handler and operands[0] is not None else None
        if moved is not None:
            scope.update(zip(node.output, moved, strict=False))
            followed = range(len(node.input)) if node.op_type == "Concat" else range(1)
        else:
            followed = range(1 if reads_shape(node.op_type, node.domain) else 0)
            if computes:
                self._compute(node, site, known, scope)
        for index, operand in enumerate(operands):
            if operand is None or index in followed:
                continue
            if not self._use(node, site, index, operand, scope):
                self._read(operand, f"{site.operator} input {index}")

    def _compute(
        self, node: onnx.NodeProto, site: Site, known: "list[Operand | Lookup | AnyArray | Shaped | None]", scope: Scope
    ) -> None:
        """Small integers that follow from what is known, and shapes."""
        inputs: list[AnyArray | Shaped | None] = []
        for entry, given in zip(known, site.given, strict=True):
            if given and (entry is None or isinstance(entry, Lookup)):
                return
            if isinstance(entry, Operand):
                bare = countable(entry) and not reads_shape(node.op_type, node.domain)
                inputs.append(self._values(entry) if bare else Shaped(entry.shape))
            elif not isinstance(entry, Lookup):
                inputs.append(entry)
        if node.op_type == "ConstantOfShape":
            held = [each for each in node.attribute if each.HasField("t")]
            site = replace(site, attributes={each.name: self._values(whole(self._normal.of(each.t))) for each in held})
        outputs = folded(site, inputs)
        if outputs is not None:
            scope.update(zip(node.output, outputs, strict=False))

    def _use(self, node: onnx.NodeProto, site: Site, index: int, operand: Operand, scope: Scope) -> bool:
        """Whether the operator multiplies by this input, and note it."""
        if is_packed(node.op_type, node.domain, index):
            for source in operand.reached():
                self.found.packed.setdefault(source.name, []).append(site.operator)
            return True
        slot = slot_of(node.op_type, node.domain, index)
        if slot is None or not slot.fits(operand.shape, site.attributes) or slot.data >= len(site.given):
            return False
        use = Use(
            node.op_type,
            standard(node.domain),
            node.name,
            label_of(node),
            slot,
            operand,
            slot.view(operand.shape, site.attributes),
            sum(site.given[: slot.data]),
            self._codings(operand, slot.quantized, site),
        )
        bare = all(coding is None for coding in operand.codings)
        if node.op_type == "Gather" and bare and all(s.tensor.data_type in INTEGERS for s in operand.sources):
            if not node.output:
                return False
            scope[node.output[0]] = Lookup(use)
            return False  # a reader, unless what follows says more
        if node.op_type == "Gather" and bare and all(s.tensor.data_type in COUNTS for s in operand.sources):
            return False
        self._note(use)
        return True

    def _note(self, use: Use) -> None:
        for source in use.operand.reached():
            self.found.uses.setdefault(source.name, []).append(use)

    def _codings(self, operand: Operand, quantized: Quantized | None, site: Site) -> tuple[Coding | None, ...]:
        """How this operator reads the operand's elements."""
        if quantized is None:
            return operand.codings if operand.steps is None else (None,) * len(operand.codings)
        try:
            zero_point = self._parameter(quantized.zero_point, quantized, operand, site)
            if operand.steps is not None:
                other = np.any(operand.steps.zero_point != zero_point)
                return (None,) * len(operand.codings) if other else operand.codings
            if any(coding is not None for coding in operand.codings):
                return (None,) * len(operand.codings)
            scale = np.ones((), np.float32)
            if quantized.scale is not None:
                scale = Plain().decode(self._parameter(quantized.scale, quantized, operand, site))
            first = as_numbers(operand)[0]
            zero_point = zero_point.astype(first.zero_point.dtype)
            return tuple(operand.dequantized(scale, zero_point))
        except (Untraceable, ValueError):
            return (None,) * len(operand.codings)

    def _parameter(self, index: int, quantized: Quantized, operand: Operand, site: Site) -> AnyArray:
        """A scale or zero point of a weight slot, shaped to broadcast against the operand; a missing one is 0."""
        values = site.array(index)
        if values is None:
            return np.zeros((), np.uint8)
        if values.size == 1:
            return values.reshape(())
        shape = [1] * len(operand.shape)
        axes = quantized.axes_in(len(operand.shape), site.attributes)[: values.ndim]
        for axis, length in zip(axes, values.shape, strict=True) if values.ndim < len(operand.shape) else ():
            shape[axis] = length
        shaped = values.reshape(shape) if values.ndim < len(operand.shape) else values
        if np.broadcast_shapes(shaped.shape, operand.shape) != operand.shape:
            raise Untraceable
        return shaped

    def _finish(self, lookup: Lookup, node: onnx.NodeProto, site: Site) -> None:
        """A DequantizeLinear of what was looked up; one scale for all, or the elements would have several."""
        if node.op_type != "DequantizeLinear":
            return
        try:
            scale, zero_point = site.array(1), site.array(2)
            operand = lookup.use.operand
            first = as_numbers(operand)[0]
        except Untraceable:
            return
        if scale is None or scale.size != 1 or (zero_point is not None and zero_point.size != 1):
            return
        zero = first.zero_point if zero_point is None else zero_point.reshape(())
        coding = Affine(Plain().decode(scale.reshape(())), zero)
        use = lookup.use
        for source in operand.sources:
            readers = self.found.readers.get(source.name, [])
            if f"{use.operator} input 0" in readers:
                readers.remove(f"{use.operator} input 0")
        self._note(
            Use(
                use.operator,
                use.domain,
                use.site,
                use.label,
                use.slot,
                operand.read_as(1, operand.codings, node.op_type),
                use.view,
                use.data,
                (coding,) * len(operand.sources),
            )
        )

    def _constant(self, node: onnx.NodeProto) -> Operand | AnyArray | None:
        """What a Constant node holds."""
        if node.op_type != "Constant" or standard(node.domain) or not node.output:
            return None
        for attribute in node.attribute:
            if attribute.HasField("t"):
                return whole(self._normal.of(attribute.t))
            if attribute.HasField("sparse_tensor"):
                return whole(self._normal.of(attribute.sparse_tensor.values))
            name = str(attribute.name)  # it is bytes where it is no UTF-8
            if name.startswith("value_") and isinstance(value := value_of(attribute), int | float | list):
                return np.asarray(value, np.int64 if name.startswith("value_int") else np.float32)
        return None

    def _read(self, entry: "Operand | Lookup | AnyArray | Shaped | None", how: str) -> None:
        if isinstance(entry, Operand):
            for source in entry.reached():
                self.found.readers.setdefault(source.name, []).append(how)

    def _values(self, operand: Operand) -> AnyArray:
        """The elements of an operand, read from the file."""
        parts = [self._model.array(source.name).reshape(-1) for source in operand.sources]
        row = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.asarray(row[operand.positions()])  # a scalar's position finds a number, no array


def label_of(node: onnx.NodeProto) -> str:
    """The name of a node for a report: most models leave it empty, so the normal form's would say nothing."""
    name = text(node.name)
    return name if "#" not in name else text(next((output for output in node.output if output), name))


def value_of(attribute: onnx.AttributeProto) -> Any:
    """An attribute's value, where it is a number, a text, or a list of numbers."""
    kind = attribute.type
    if kind == onnx.AttributeProto.INT or (not kind and attribute.HasField("i")):
        return attribute.i
    if kind == onnx.AttributeProto.INTS or (not kind and attribute.ints):
        return list(attribute.ints)
    if attribute.HasField("s"):
        return attribute.s.decode("utf-8", "replace")
    if attribute.HasField("f"):
        return attribute.f
    return list(attribute.floats) or None
