"""What a file says about where its tensors came from: metadata and names that exporters leave at the nodes.

Read from the user's own file, before any tool can lose it. Names are hints; nothing here looks at values.
"""

import ast
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import onnx

from onnxsens.model.load import Model
from onnxsens.model.names import text
from onnxsens.model.normal import graphs
from onnxsens.model.weights import Inventory

PREFIX = "pkg.torch.onnx."
SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"
RULE = "pkg.onnxscript.rewriter.rule_name"
# `p_fc_weight: PARAMETER target='fc.weight'`, and of buffers and lifted constants.
TARGET = re.compile(r"^\s*(\w+): (?:PARAMETER|BUFFER|CONSTANT_TENSOR) target='(.*?)'", re.MULTILINE)
CALLED = re.compile(r"target=(?:torch\.ops\.)?([\w.]+)")
PLACEHOLDER = re.compile(r"%(\w+)")
MOST_TEXT = 1 << 20  # of one value that is parsed


@dataclass(frozen=True)
class Hint:
    """What is known of a node that uses a tensor.

    Attributes:
        operator: of ONNX.
        node: its name.
        index: which input of the node the tensor is.
        occurrence: how many nodes before it came from the same call of the source: layers of one GRU.
        path: of the module in the source, such as `enc.layers.0.linear1`; empty where it is not said.
        function: that the module called, such as `aten.linear.default`; empty where it is not said.
        parameters: for each value that this call read, in order, the source parameter that it is; empty for others.
        turned: whether the operator reads a matrix `[in, out]`; None where it does not read the tensor itself, or where
            that is not the question.
        rule: the rewriting that made the node, such as `FuseBatchNormIntoConv`; empty for none.
    """

    operator: str
    node: str
    index: int
    occurrence: int
    path: str
    function: str
    parameters: tuple[str, ...]
    rule: str
    turned: bool | None = None


@dataclass(frozen=True)
class Origins:
    """Of a whole model.

    Attributes:
        producer: of the file, with its version.
        hints: stored name to what its users say.
        parameters: every parameter and buffer that the file names; empty where it names none.
    """

    producer: str
    hints: Mapping[str, tuple[Hint, ...]] = field(repr=False)
    parameters: frozenset[str] = field(repr=False)

    def of(self, name: str) -> tuple[Hint, ...]:
        """Hints for a stored tensor."""
        return self.hints.get(name, ())


def origins(model: Model, inventory: Inventory) -> Origins:
    """Read them all."""
    proto, normal = model.proto, inventory.normal
    targets: dict[str, str] = {}
    for prop in [*proto.metadata_props, *proto.graph.metadata_props]:
        if prop.key == SIGNATURE:
            targets.update(TARGET.findall(prop.value[: 16 * MOST_TEXT]))
    sites: dict[str, Site] = {}
    hints: dict[str, list[Hint]] = {}
    weights = {weight.name for weight in inventory.weights}
    called: dict[str, str] = {}  # stored name to what the main graph calls it
    calls: Counter[tuple[str, str]] = Counter()
    for graph in graphs(normal.proto.graph):
        stored = {tensor.name: normal.of(tensor).name for tensor in graph.initializer}
        called.update({own: name for name, own in stored.items() if own not in called})
        for node in graph.node:
            site = Site(node, targets)
            site = replace(site, occurrence=calls[node.op_type, site.call])
            calls[node.op_type, site.call] += 1
            sites[node.name] = site
            for index, name in enumerate(node.input):
                if name in stored and stored[name] not in weights:
                    hints.setdefault(stored[name], []).append(site.hint(index, name))
    for weight in inventory.weights:
        used = [(consumer.site, consumer.slot.index) for consumer in weight.consumers if consumer.site in sites]
        name = called.get(weight.name, "")
        turned = {copy.name for copy in inventory.copies if copy.of == weight.name and copy.transposed}
        hints[weight.name] = [sites[site].hint(index, name, turned) for site, index in used]
    producer = " ".join(part for part in (text(proto.producer_name), text(proto.producer_version)) if part)
    return Origins(producer, {name: tuple(found) for name, found in hints.items()}, frozenset(targets.values()))


@dataclass(frozen=True, eq=False)
class Site:
    """A node, and its metadata."""

    node: onnx.NodeProto
    targets: Mapping[str, str]
    occurrence: int = 0

    @cached_property
    def said(self) -> Mapping[str, str]:
        """Metadata by key."""
        return {prop.key: prop.value[:MOST_TEXT] for prop in self.node.metadata_props}

    @property
    def call(self) -> str:
        """The call in the source that the node comes from; the node's own name where that is not said."""
        return self.said.get(PREFIX + "fx_node") or self.node.name

    def hint(self, index: int, name: str, turned: Collection[str] = ()) -> Hint:
        """For the tensor at an input.

        Args:
            name: what the graph calls it.
            turned: what it calls transposed copies of it.
        """
        call = self.said.get(PREFIX + "fx_node", "")
        function = CALLED.search(call)
        names = [self.targets.get(name, "") for name in PLACEHOLDER.findall(call.partition("args = ")[2])]
        return Hint(
            self.node.op_type,
            text(self.node.name),
            index,
            self.occurrence,
            self._path(),
            function[1] if function else "",
            tuple(names) if any(names) else (),
            self.said.get(RULE, ""),
            self._turned(name, index, turned),
        )

    def _turned(self, name: str, index: int, turned: Collection[str]) -> bool | None:
        read = self.node.input[index] if 0 <= index < len(self.node.input) else ""
        if index != 1 or self.node.op_type not in ("Gemm", "MatMul") or read not in (name, *turned):
            return None
        straight = any(each.name == "transB" and each.i for each in self.node.attribute)
        return straight == (read in turned)

    def _path(self) -> str:
        scopes = self.said.get(PREFIX + "name_scopes", "")
        if scopes:
            try:
                parts = ast.literal_eval(scopes)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                return ""
            modules = [part for part in parts[:-1] if isinstance(part, str)] if isinstance(parts, list) else []
            return modules[-1] if modules else ""
        return path_of(text(self.node.name))


def path_of(name: str) -> str:
    """The module path in a node's name as TorchScript's exporter writes it: `res.0.conv` of `/res/res.0/conv/Conv`."""
    if not name.startswith("/"):
        return ""
    path = ""
    for part in name.split("/")[1:-1]:
        path = joined(path, part)
    return path


def joined(path: str, part: str) -> str:
    """A path and what follows; children of a Sequential repeat its own name, as in `res/res.0`."""
    last = path.split(".")
    for length in range(len(last), 0, -1):
        if part.startswith(".".join(last[-length:]) + "."):
            return ".".join([*last[:-length], part])
    return f"{path}.{part}" if path else part
