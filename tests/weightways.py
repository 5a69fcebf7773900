"""Ways of keeping a weight, drawn at random: where it is stored, as what, and what stands before its operator.

Every stored element has a number; whatever happens to the elements happens to their numbers as well, so that an operand
always knows where its elements lie and what they stand for. No code of the package.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from protos import sparse_of, tensor_of

CASTS = {"float16": np.float16, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16}
FORMS = ("float32", "float32", *CASTS, "int8", "uint8", "sparse")
STEP = np.float32(1 / 32)


@dataclass(frozen=True, eq=False)
class Operand:
    """Arrays of one shape: numbers of the stored elements, what the operator sees, what is stored for a 0.

    Attributes:
        whole: one stored tensor, of which nothing was cut.
    """

    numbers: np.ndarray
    seen: np.ndarray
    zero: np.ndarray
    whole: bool = True

    def moved(self, move: Callable[[np.ndarray], np.ndarray], *, cut: bool = False) -> "Operand":
        return Operand(move(self.numbers), move(self.seen), move(self.zero), self.whole and not cut)

    @staticmethod
    def joined(parts: Sequence["Operand"], axis: int) -> "Operand":
        arrays = [[part.numbers, part.seen, part.zero] for part in parts]
        return Operand(*(np.concatenate(each, axis) for each in zip(*arrays, strict=True)), whole=False)


@dataclass(eq=False)
class Tensor:
    """A stored tensor of the model that is being made."""

    tag: str
    name: str
    first: int
    values: np.ndarray


@dataclass(eq=False)
class Scope:
    """A graph or function that is being made.

    Attributes:
        prefix: of the inventory's names for what is stored here.
        function: it has no initializers, and takes names from outside as arguments.
        arguments: names outside that it takes, to its own.
    """

    names: "Names"
    prefix: str = ""
    function: bool = False
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    sparse: list[onnx.SparseTensorProto] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)

    def node(self, operator: str, inputs: Sequence[str], outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Append a node; the name of its output, or of all."""
        made = [self.names.new() for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), made, domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def take(self, name: str) -> str:
        """What a name of the main graph is called here."""
        return self.arguments.setdefault(name, self.names.new()) if self.function else name

    def number(self, values: Any, dtype: type = np.int64) -> str:
        """A tensor that is no weight."""
        array = np.asarray(values, dtype)
        if self.function:
            return str(self.node("Constant", [], value=numpy_helper.from_array(array)))
        name = self.names.new()
        self.initializers.append(numpy_helper.from_array(array, name))
        return name


@dataclass(eq=False)
class Names:
    """Makes names, each once."""

    count: int = 0

    def new(self) -> str:
        self.count += 1
        return f"t{self.count}"


class Ways:
    """Keeps weights.

    Attributes:
        tensors: all that was stored so far.
        shareable: names of the main graph that hold a weight, with the operand.
    """

    def __init__(self, draw: Callable[..., Any], rng: np.random.Generator) -> None:
        self.draw = draw
        self.rng = rng
        self.tensors: list[Tensor] = []
        self.shareable: list[tuple[str, Operand]] = []
        self._next = 0

    def one_of(self, choices: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(choices))

    def chance(self, one_in: int) -> bool:
        """The simple case is False, so that failures shrink towards it."""
        return bool(self.draw(st.integers(0, one_in - 1)) == one_in - 1)

    def weight(self, shape: tuple[int, ...], inner: Scope, main: Scope, *, tie: bool = True) -> tuple[str, Operand]:
        """A float32 operand of this shape in `inner`, stored there or in the main graph."""
        tied = self._tied(shape) if tie and self.chance(3) else None
        if tied is not None:
            name, operand, turn = tied
            name = inner.take(name)
            return (inner.node("Transpose", [name]), operand.moved(np.transpose)) if turn else (name, operand)
        scope = main if inner is main or self.chance(3) else inner
        after = self._moves(shape, reshapes=False)
        name, operand = self._joined(undone(shape, after), scope)
        if scope is main:
            self.shareable.append((name, operand))
        name = inner.take(name) if scope is not inner else name
        return applied(name, operand, after, inner)

    def _tied(self, shape: tuple[int, ...]) -> tuple[str, Operand, bool] | None:
        for name, operand in self.shareable:
            if operand.numbers.shape == shape:
                return name, operand, False
            if len(shape) == 2 and operand.numbers.shape == shape[::-1]:
                return name, operand, True
        return None

    def _joined(self, shape: tuple[int, ...], scope: Scope) -> tuple[str, Operand]:
        """In one piece, or in two that a Concat joins before or after they become float32."""
        how = self.one_of(["whole", "whole", "whole", "before", "after"])
        axes = [axis for axis, length in enumerate(shape) if length > 1]
        form = self._form(scope)
        if how == "whole" or not axes:
            return self._as_float(form, *self._stored(form, shape, scope), scope)
        axis = self.one_of(axes)
        parts = []
        for length in (1, shape[axis] - 1):
            part = (*shape[:axis], length, *shape[axis + 1 :])
            if how == "before":
                parts.append(self._stored(form, part, scope))
            else:
                own = self._form(scope)
                parts.append(self._as_float(own, *self._stored(own, part, scope), scope))
        name = scope.node("Concat", [name for name, _ in parts], axis=axis)
        operand = Operand.joined([operand for _, operand in parts], axis)
        return self._as_float(form, name, operand, scope) if how == "before" else (name, operand)

    def _form(self, scope: Scope) -> str:
        # ONNX Runtime 1.31 reads freed memory where a function holds a sparse Constant: sometimes it crashes.
        return str(self.one_of([form for form in FORMS if form != "sparse" or not scope.function]))

    def _stored(self, form: str, shape: tuple[int, ...], scope: Scope) -> tuple[str, Operand]:
        """Stored under another shape, and moved to this one; still of the stored type."""
        moves = self._moves(shape, reshapes=True)
        values = self._values(form, undone(shape, moves))
        name = self._store(form, values, scope)
        numbers = np.arange(self._next - values.size, self._next).reshape(values.shape)
        operand = Operand(numbers, values.astype(np.float32), np.zeros(values.shape))
        return applied(name, operand, moves, scope)

    def _values(self, form: str, shape: tuple[int, ...]) -> np.ndarray:
        """Small multiples of 1/16, exact in all types, with ties and zeros of both signs; or integers."""
        if form in {"int8", "uint8"}:
            return self.rng.integers(0 if form == "uint8" else -20, 21, shape).astype(form)
        values = self.rng.integers(-40, 41, shape).astype(np.float32) / 16
        values[self.rng.random(shape) < 0.1] = -0.0
        if form == "sparse":
            values = np.where(self.rng.random(shape) < 0.5, values, np.float32(0)) + np.float32(0)
            values.reshape(-1)[0] = 1
        return values.astype(CASTS.get(form, np.float32))

    def _store(self, form: str, values: np.ndarray, scope: Scope) -> str:
        """Into the file, as an initializer or a Constant."""
        tag = f"weight {len(self.tensors)}"
        constant = scope.function or self.chance(3)
        raw = not self.chance(3)
        if constant and form == "sparse":
            name = scope.node("Constant", [], sparse_value=sparse_of(values, "s", tag))
        elif constant:
            name = scope.node("Constant", [], value=tensor_of(values, "", tag, raw=raw))
        elif form == "sparse":
            name = scope.names.new()
            scope.sparse.append(sparse_of(values, name, tag))
        else:
            name = scope.names.new()
            scope.initializers.append(tensor_of(values, name, tag, raw=raw))
        self.tensors.append(Tensor(tag, scope.prefix + name, self._next, values))
        self._next += values.size
        return name

    def _as_float(self, form: str, name: str, operand: Operand, scope: Scope) -> tuple[str, Operand]:
        """float32 from what is stored."""
        if form in CASTS:
            return scope.node("Cast", [name], to=onnx.TensorProto.FLOAT), operand
        if form not in {"int8", "uint8"}:
            return name, operand
        shape = operand.numbers.shape
        axis = self.draw(st.none() | st.integers(0, len(shape) - 1))
        length = 1 if axis is None else shape[axis]
        scale = STEP * (1 + np.arange(length, dtype=np.float32) / 4)
        zero = np.arange(length) % 3 + (9 if form == "uint8" else 0)
        along = [length if place == axis else 1 for place in range(len(shape))]
        if axis is None:
            along, scale, zero = [], scale.reshape(()), zero.reshape(())
        inputs = [name, scope.number(scale, np.float32), scope.number(zero, np.dtype(form).type)]
        seen = (operand.seen - zero.reshape(along).astype(np.float32)) * scale.reshape(along)
        made = Operand(operand.numbers, seen, np.broadcast_to(zero.reshape(along), shape), operand.whole)
        return scope.node("DequantizeLinear", inputs, axis=axis or 0), made

    def _moves(self, shape: tuple[int, ...], *, reshapes: bool) -> "list[Move]":
        """What stands between a tensor and this shape, the last move first drawn."""
        moves: list[Move] = []
        for _ in range(self.one_of([0, 0, 1, 2])):
            kinds = ["Identity", "Transpose", "Squeeze", "Split"] + (["Reshape", "Flatten"] if reshapes else [])
            kind = self.one_of(kinds)
            if kind in {"Split", "Flatten"} and len(shape) != 2:
                kind = "Transpose"
            moves.insert(0, made_move(kind, shape, self.rng))
            shape = moves[0].before
        return moves


@dataclass(frozen=True, eq=False)
class Move:
    """From one shape to the next: as nodes, and as arrays."""

    before: tuple[int, ...]
    nodes: Callable[[Scope, str], str]
    apply: Callable[[np.ndarray], np.ndarray]
    cuts: bool = False


def made_move(kind: str, after: tuple[int, ...], rng: np.random.Generator) -> Move:
    """A move that ends in the shape `after`."""
    if kind == "Identity":
        return Move(after, lambda scope, name: scope.node("Identity", [name]), lambda a: a)
    if kind == "Transpose":
        order = rng.permutation(len(after)).tolist()
        before = tuple(after[order.index(axis)] for axis in range(len(after)))
        return Move(
            before, lambda scope, name: scope.node("Transpose", [name], perm=order), lambda a: a.transpose(order)
        )
    if kind == "Squeeze":
        axis = int(rng.integers(len(after) + 1))
        before = (*after[:axis], 1, *after[axis:])
        return Move(
            before,
            lambda scope, name: scope.node("Squeeze", [name, scope.number([axis])]),
            lambda a: a.squeeze(axis),
        )
    if kind == "Split":  # and Concat in the other order, or what two Slices cut out
        return two_halves(after, axis=int(rng.integers(2)), slices=bool(rng.integers(2)))
    if kind == "Flatten":
        before = (after[0], 1, after[1])
        return Move(before, lambda scope, name: scope.node("Flatten", [name], axis=1), lambda a: a.reshape(after))
    flat = (int(np.prod(after)),)
    return Move(
        flat, lambda scope, name: scope.node("Reshape", [name, scope.number(after)]), lambda a: a.reshape(after)
    )


def two_halves(shape: tuple[int, ...], axis: int, *, slices: bool) -> Move:
    """The last element of an axis comes first."""
    length = shape[axis]

    def nodes(scope: Scope, name: str) -> str:
        if length == 1:
            return str(scope.node("Identity", [name]))
        if slices:
            on, step = scope.number([axis]), scope.number([1])
            cuts = [([0], [length - 1]), ([-1], [2**31])]
            parts = [
                scope.node("Slice", [name, scope.number(start), scope.number(end), on, step]) for start, end in cuts
            ]
        else:
            parts = scope.node("Split", [name, scope.number([length - 1, 1])], 2, axis=axis)
        return str(scope.node("Concat", parts[::-1], axis=axis))

    return Move(shape, nodes, lambda a: np.roll(a, 1, axis), cuts=length > 1)


def undone(shape: tuple[int, ...], moves: Sequence[Move]) -> tuple[int, ...]:
    """The shape before all moves."""
    return moves[0].before if moves else shape


def applied(name: str, operand: Operand, moves: Sequence[Move], scope: Scope) -> tuple[str, Operand]:
    """The moves as nodes, and what they do to the operand."""
    for move in moves:
        name = move.nodes(scope, name)
        operand = operand.moved(move.apply, cut=move.cuts)
    return name, operand
