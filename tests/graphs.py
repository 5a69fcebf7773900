"""Small random models, all of which ONNX Runtime runs, whose weights are kept in randomly drawn ways.

Hypothesis draws the structure, so that a failure shrinks; values come from a seeded generator. What is expected of
each weight is worked out beside the graph and shares no code with the package.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from expectations import Known, Rows, columns, conv_rows, einsum_rows, transposed_rows
from hypothesis import strategies as st
from onnx import TensorProto, helper
from weightways import Names, Operand, Scope, Ways

IR_OF = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
LENGTH = 2  # of the batch, and of sequences
SIDE = 4
WORDS = 5


@dataclass(frozen=True, eq=False)
class Generated:
    """A model, what to feed it, and every stored tensor that is known to be a weight."""

    proto: onnx.ModelProto
    feed: dict[str, np.ndarray]
    known: tuple[Known, ...]


@st.composite
def graphs(draw: Callable[..., Any]) -> Generated:
    """One to five layers with activations in between."""
    maker = _Maker(draw, np.random.default_rng(draw(st.integers(0, 2**16))))
    return maker.made()


class _Maker:
    def __init__(self, draw: Callable[..., Any], rng: np.random.Generator) -> None:
        self.rng = rng
        self.names = Names()
        self.ways = Ways(draw, rng)
        self.main = Scope(self.names)
        self.opset = self.ways.one_of(sorted(IR_OF))
        self.functions: list[onnx.FunctionProto] = []
        self.uses: list[tuple[str, Operand, list[np.ndarray]]] = []
        self.inner = self.main  # where the layer at hand is made

    def made(self) -> Generated:
        """Draw all of it."""
        start = self.ways.one_of(["vector", "image", "sequence", "words"])
        width = self.ways.one_of([3, 2, 4])
        dims = {
            "vector": (LENGTH, width),
            "image": (LENGTH, width, SIDE, SIDE),
            "sequence": (LENGTH, LENGTH, width),
            "words": (LENGTH,),
        }
        shape: tuple[int, ...] = dims[start]
        words = start == "words"
        x = self.rng.integers(0, WORDS, shape) if words else self.rng.standard_normal(shape, dtype=np.float32)
        name = "x"
        for number in range(self.ways.one_of([1, 2, 3, 4, 5])):
            if number and self.ways.chance(3):
                name, shape = self._flattened(name, shape)
            layers = {1: WORD_LAYERS, 2: VECTOR, 3: SEQUENCE, 4: IMAGE}[len(shape)]
            name, shape = self._placed(self.ways.one_of(layers), name, shape)
            activation = self.ways.one_of(["", "Relu", "Tanh", "Sigmoid"])
            name = self.main.node(activation, [name]) if activation else name
        return Generated(self._model(name, dims[start], words=words), {"x": x}, tuple(self._known()))

    def _flattened(self, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """To a vector for each sample."""
        if len(shape) == 4:
            return self.main.node("Flatten", [self.main.node("GlobalAveragePool", [x])]), shape[:2]
        if len(shape) == 3:
            return self.main.node("ReduceSum", [x, self.main.number([0])], keepdims=0), shape[1:]
        return x, shape

    def _placed(self, layer: Callable[..., Any], x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """The layer in the main graph, in a body, or in a function."""
        place = self.ways.one_of(["main", "main", "main", "If", "Loop", "function"])
        if place == "main":
            self.inner = self.main
            return layer(self, x, shape)
        result = self.names.new()
        if place == "function":
            called = f"Block{len(self.functions)}"
            self.inner = Scope(self.names, f"own::{called}/", function=True)
            made, shape = layer(self, self.inner.take(x), shape)
            self._function(called, made, result)
        else:
            self.inner = Scope(self.names, f"{result}/{'then_branch' if place == 'If' else 'body'}/")
            made, shape = layer(self, x, shape)
            (self._if if place == "If" else self._loop)(x, made, result)
        return result, shape

    def _function(self, called: str, made: str, result: str) -> None:
        call = helper.make_node(called, list(self.inner.arguments), [result], domain="own")
        self.main.nodes.append(call)
        formal = list(self.inner.arguments.values())
        opset = [helper.make_opsetid("", self.opset)]
        self.functions.append(helper.make_function("own", called, formal, [made], self.inner.nodes, opset))

    def _if(self, x: str, made: str, result: str) -> None:
        """A condition that is not known beforehand and holds."""
        squares = self.main.node("ReduceSumSquare", [self.main.node("Cast", [x], to=TensorProto.FLOAT)], keepdims=0)
        holds = self.main.node("GreaterOrEqual", [squares, self.main.number(0, np.float32)])
        other = Scope(self.names)
        no = other.node("Cast", [x], to=TensorProto.FLOAT)
        branches = {"then_branch": body(self.inner, [made]), "else_branch": body(other, [no])}
        self.main.nodes.append(helper.make_node("If", [holds], [result], **branches))

    def _loop(self, x: str, made: str, result: str) -> None:
        """Two rounds that both make the same."""
        go, kept = self.names.new(), self.names.new()
        go_on = self.inner.node("Identity", [go])
        inputs = [
            helper.make_tensor_value_info(self.names.new(), TensorProto.INT64, []),
            helper.make_tensor_value_info(go, TensorProto.BOOL, []),
            helper.make_tensor_value_info(kept, TensorProto.FLOAT, None),
        ]
        rounds = body(self.inner, [made], inputs)
        rounds.output.insert(0, helper.make_tensor_value_info(go_on, TensorProto.BOOL, []))
        begin = self.main.node("Cast", [x], to=TensorProto.FLOAT)
        self.main.nodes.append(helper.make_node("Loop", [self.main.number(2), "", begin], [result], body=rounds))

    # Layers: name and shape of the data to those of the result.

    def _weight(self, operator: str, shape: tuple[int, ...], rows: Callable[[np.ndarray], Rows]) -> str:
        name, operand = self.ways.weight(shape, self.inner, self.main)
        self.uses.append((operator, operand, list(rows(operand.numbers))))
        return name

    def words(self, x: str, shape: tuple[int, ...]) -> Any:
        width = self.ways.one_of([3, 2, 4])
        if self.ways.chance(2):
            weight = self._weight("Gather", (width, WORDS), iter)
            return self.inner.node("Transpose", [self.inner.node("Gather", [weight, x], axis=1)]), (*shape, width)
        weight = self._weight("Gather", (WORDS, width), lambda w: iter(w.T))
        return self.inner.node("Gather", [weight, x]), (*shape, width)

    def matmul(self, x: str, shape: tuple[int, ...]) -> Any:
        out = self.ways.one_of([3, 2, 4])
        dims = shape[:1] if len(shape) == 3 and self.ways.chance(2) else ()
        weight = self._weight("MatMul", (*dims, shape[-1], out), columns)
        return self.inner.node("MatMul", [x, weight]), (*shape[:-1], out)

    def matmul_left(self, x: str, shape: tuple[int, ...]) -> Any:
        out = self.ways.one_of([3, 2, 4])
        weight = self._weight("MatMul", (out, shape[1]), iter)
        turned = self.inner.node("MatMul", [weight, self.inner.node("Transpose", [x])])
        return self.inner.node("Transpose", [turned]), (shape[0], out)

    def gemm(self, x: str, shape: tuple[int, ...]) -> Any:
        out, turn = self.ways.one_of([3, 2, 4]), self.ways.one_of([0, 1])
        dims = (out, shape[1]) if turn else (shape[1], out)
        weight = self._weight("Gemm", dims, lambda w: iter(w) if turn else columns(w))
        return self.inner.node("Gemm", [x, weight], transB=turn), (shape[0], out)

    def gemm_left(self, x: str, shape: tuple[int, ...]) -> Any:
        out, turn = self.ways.one_of([3, 2, 4]), self.ways.one_of([0, 1])
        dims = (shape[1], out) if turn else (out, shape[1])
        weight = self._weight("Gemm", dims, lambda w: columns(w) if turn else iter(w))
        return self.inner.node("Transpose", [self.inner.node("Gemm", [weight, x], transA=turn, transB=1)]), (
            shape[0],
            out,
        )

    def two_products(self, x: str, shape: tuple[int, ...]) -> Any:
        """One tensor, split for two operators."""
        out = self.ways.one_of([3, 2, 4])
        # Not a tied one: what is split one way and then another has rows of different widths.
        name, operand = self.ways.weight((shape[1], out), self.inner, self.main, tie=False)
        parts = self.inner.node("Split", [name, self.inner.number([1, out - 1])], 2, axis=1)
        for part in (slice(0, 1), slice(1, None)):
            one = operand.moved(lambda a, part=part: a[:, part], cut=True)
            self.uses.append(("MatMul", one, list(columns(one.numbers))))
        made = [self.inner.node("MatMul", [x, part]) for part in parts]
        return self.inner.node("Concat", made, axis=1), (shape[0], out)

    def einsum(self, x: str, shape: tuple[int, ...]) -> Any:
        out = self.ways.one_of([3, 2, 4])
        data = "abc"[: len(shape)]
        batch = data[0] if len(shape) == 3 and self.ways.chance(2) else ""
        labels = "".join(self.rng.permutation([*batch, data[-1], "o"]).tolist())
        lengths = dict(zip(data, shape, strict=True)) | {"o": out}
        weight = self._weight("Einsum", tuple(lengths[label] for label in labels), einsum_rows(labels, data[-1]))
        equation = f"{data},{labels}->{data[:-1]}o"
        return self.inner.node("Einsum", [x, weight], equation=equation), (*shape[:-1], out)

    def recurrent(self, x: str, shape: tuple[int, ...]) -> Any:
        operator, gates = self.ways.one_of([("GRU", 3), ("LSTM", 4)])
        hidden, directions = self.ways.one_of([2, 3]), self.ways.one_of([1, 2])
        inputs = [
            self._weight(operator, (directions, gates * hidden, width), lambda w: iter(w.reshape(-1, w.shape[2])))
            for width in (shape[2], hidden)
        ]
        direction = "bidirectional" if directions == 2 else "forward"
        made = self.inner.node(operator, [x, *inputs], hidden_size=hidden, direction=direction)
        turned = self.inner.node("Transpose", [made], perm=[0, 2, 1, 3])
        result = (*shape[:2], directions * hidden)
        return self.inner.node("Reshape", [turned, self.inner.number(result)]), result

    def conv(self, x: str, shape: tuple[int, ...]) -> Any:
        channels = shape[1]
        groups = self.ways.one_of([group for group in range(1, channels + 1) if channels % group == 0])
        out, (high, wide) = groups * self.ways.one_of([1, 2]), self.ways.one_of([(1, 1), (3, 3), (1, 3)])
        weight = self._weight("Conv", (out, channels // groups, high, wide), conv_rows)
        pads = [high // 2, wide // 2] * 2
        return self.inner.node("Conv", [x, weight], group=groups, pads=pads), (shape[0], out, SIDE, SIDE)

    def conv_transpose(self, x: str, shape: tuple[int, ...]) -> Any:
        channels = shape[1]
        groups = self.ways.one_of([group for group in range(1, channels + 1) if channels % group == 0])
        out, (high, wide) = self.ways.one_of([1, 2]), self.ways.one_of([(1, 1), (3, 3), (1, 3)])
        dims = (channels, out, high, wide)
        weight = self._weight("ConvTranspose", dims, lambda w: transposed_rows(w, groups))
        pads = [high // 2, wide // 2] * 2
        made = self.inner.node("ConvTranspose", [x, weight], group=groups, pads=pads)
        return made, (shape[0], groups * out, SIDE, SIDE)

    def _known(self) -> Iterator[Known]:
        """Where an operator has the whole tensor, the first such; else an element is in the first row that has it.

        The operators that are given most come first, at equal numbers the one with the first element.
        """
        for tensor in self.ways.tensors:
            last = tensor.first + tensor.values.size
            seen, zero = np.empty(tensor.values.size, np.float32), np.empty(tensor.values.size)
            uses, consumers = [], []
            for operator, operand, rows in self.uses:
                mine = (operand.numbers >= tensor.first) & (operand.numbers < last)
                places = operand.numbers[mine] - tensor.first
                if not places.size:
                    continue
                consumers.append(operator)
                seen[places], zero[places] = operand.seen[mine], operand.zero[mine]
                uses.append((not operand.whole, -places.size, places.min(), len(uses), rows))
            matrix: list[list[int]] = []
            for *_, rows in sorted(uses):
                done = {place for row in matrix for place in row}
                inside = [
                    [place - tensor.first for place in row.tolist() if tensor.first <= place < last] for row in rows
                ]
                new = [[place for place in row if place not in done] for row in inside]
                matrix += [row for row in new if row]
            if len({len(row) for row in matrix}) > 1:
                continue  # a Concat cut through the groups of a ConvTranspose: refused
            yield Known(
                tensor.tag,
                tensor.name,
                np.array(matrix),
                tensor.values,
                seen.reshape(tensor.values.shape),
                zero.astype(tensor.values.dtype).reshape(tensor.values.shape),
                tuple(consumers),
            )

    def _model(self, result: str, dims: tuple[int, ...], *, words: bool) -> onnx.ModelProto:
        """All together; some weights are listed as inputs or outputs too, and nodes are shuffled and misnamed."""
        kind = TensorProto.INT64 if words else TensorProto.FLOAT
        graph = helper.make_graph(
            self.main.nodes,
            "made",
            [helper.make_tensor_value_info("x", kind, dims)],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
            self.main.initializers,
            sparse_initializer=self.main.sparse,
        )
        for tensor in self.main.initializers:
            if tensor.doc_string and self.ways.chance(4):
                info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                no_numpy = tensor.data_type == TensorProto.BFLOAT16  # sessions cannot hand it out
                self.ways.one_of([graph.input] if no_numpy else [graph.input, graph.output]).append(info)
        naming = self.ways.one_of(["", "same", "own", "mixed"])
        for number, node in enumerate(graph.node):
            node.name = {"mixed": ["", "same", f"n{number}"][number % 3], "own": f"n{number}"}.get(naming, naming)
        if self.ways.chance(3):
            nodes = [graph.node[place] for place in self.rng.permutation(len(graph.node))]
            copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
            del graph.node[:]
            graph.node.extend(copies)
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid("own", 1)] if self.functions else []
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_OF[self.opset], functions=self.functions)


def body(scope: Scope, outputs: list[str], inputs: list[onnx.ValueInfoProto] | None = None) -> onnx.GraphProto:
    """A graph for If and Loop."""
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    return helper.make_graph(
        scope.nodes, "body", inputs or [], results, scope.initializers, sparse_initializer=scope.sparse
    )


VECTOR = [_Maker.matmul, _Maker.matmul_left, _Maker.gemm, _Maker.gemm_left, _Maker.einsum, _Maker.two_products]
SEQUENCE = [_Maker.recurrent, _Maker.recurrent, _Maker.matmul, _Maker.einsum]
IMAGE = [_Maker.conv, _Maker.conv, _Maker.conv_transpose]
WORD_LAYERS = [_Maker.words]
