"""One product `y = x W`, with the weight kept in every way that exporters keep weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import ml_dtypes
import numpy as np
import onnx
from networks import model_of, normal
from onnx import TensorProto, helper, numpy_helper

IN, OUT = 6, 4
WEIGHT = np.round(normal(np.random.default_rng(7), IN, OUT) * 64) / 64  # exact in float16 and bfloat16
SCALE, ZERO_POINT = np.float32(0.03125), 3
node = helper.make_node


@dataclass(frozen=True)
class Encoding:
    """A model, the weight as its operator sees it, and which stored tensors hold it."""

    proto: onnx.ModelProto
    names: tuple[str, ...]
    weight: np.ndarray = field(default_factory=lambda: WEIGHT)


def model(
    nodes: Sequence[onnx.NodeProto], opset: int = 17, dims: Sequence[int | str] = ("N", IN), **weights: np.ndarray
) -> onnx.ModelProto:
    """From `x` to `y`."""
    made = model_of(nodes, {"x": dims}, {"y": None}, weights)
    made.opset_import[0].version = opset
    made.ir_version = 10 if opset > 20 else 8
    return made


def product(*before: onnx.NodeProto, opset: int = 17, **weights: np.ndarray) -> onnx.ModelProto:
    """`y = x w`, after some nodes that make `w`."""
    return model([*before, node("MatMul", ["x", "w"], ["y"])], opset, **weights)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def plain() -> Encoding:
    return Encoding(product(w=WEIGHT), ("w",))


def constant() -> Encoding:
    return Encoding(product(node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT))), ("w",))


def identity() -> Encoding:
    return Encoding(product(node("Identity", ["s"], ["i"]), node("Identity", ["i"], ["w"]), s=WEIGHT), ("s",))


def dropout() -> Encoding:
    return Encoding(product(node("Dropout", ["s"], ["w"]), s=WEIGHT), ("s",))


def transposed() -> Encoding:
    return Encoding(product(node("Transpose", ["s"], ["w"]), s=WEIGHT.T.copy()), ("s",))


def reshaped() -> Encoding:
    return Encoding(product(node("Reshape", ["s", "shape"], ["w"]), s=WEIGHT.reshape(-1), shape=ints(IN, -1)), ("s",))


def reshaped_by_constants() -> Encoding:
    return Encoding(
        product(
            node("Constant", [], ["shape"], value_ints=[0, -1]),
            node("Reshape", ["s", "shape"], ["w"]),
            s=WEIGHT.reshape(IN, 2, 2),
        ),
        ("s",),
    )


def flattened() -> Encoding:
    return Encoding(product(node("Flatten", ["s"], ["w"], axis=1), s=WEIGHT.reshape(IN, 2, 2)), ("s",))


def squeezed() -> Encoding:
    return Encoding(
        product(
            node("Squeeze", ["s", "axes"], ["t"]),
            node("Unsqueeze", ["t", "axes"], ["u"]),
            node("Squeeze", ["u"], ["w"]),
            s=WEIGHT[None],
            axes=ints(0),
        ),
        ("s",),
    )


def expanded() -> Encoding:
    return Encoding(product(node("Expand", ["s", "shape"], ["w"]), s=WEIGHT, shape=ints(1, OUT)), ("s",))


def cast_from(dtype: np.dtype) -> Callable[[], Encoding]:
    def made() -> Encoding:
        return Encoding(product(node("Cast", ["s"], ["w"], to=TensorProto.FLOAT), s=WEIGHT.astype(dtype)), ("s",))

    return made


def cast_integers() -> Encoding:
    whole = np.arange(-12, 12).reshape(IN, OUT)
    cast = node("Cast", ["s"], ["w"], to=TensorProto.FLOAT)
    return Encoding(product(cast, s=whole.astype(np.int8)), ("s",), whole.astype(np.float32))


def split_in_two() -> Encoding:
    nodes = [
        node("Split", ["s"], ["a", "b"], axis=1),
        node("MatMul", ["x", "a"], ["ya"]),
        node("MatMul", ["x", "b"], ["yb"]),
        node("Concat", ["ya", "yb"], ["y"], axis=1),
    ]
    return Encoding(model(nodes, s=WEIGHT), ("s",))


def sliced_backwards() -> Encoding:
    nodes = [
        node("Slice", ["s", "first", "end", "axis"], ["a"]),
        node("Slice", ["s", "last", "before", "axis", "back"], ["b"]),
        node("MatMul", ["x", "a"], ["ya"]),
        node("MatMul", ["x", "b"], ["yb"]),
        node("Concat", ["ya", "yb"], ["y"], axis=1),
    ]
    turned = np.concatenate([WEIGHT[:, :1], WEIGHT[:, :0:-1]], axis=1)
    numbers = {"first": ints(0), "end": ints(1), "axis": ints(1), "last": ints(-1), "before": ints(0), "back": ints(-1)}
    return Encoding(model(nodes, s=WEIGHT, **numbers), ("s",), turned)


def concatenated() -> Encoding:
    join = node("Concat", ["a", "b"], ["w"], axis=1)
    return Encoding(product(join, a=WEIGHT[:, :1].copy(), b=WEIGHT[:, 1:].copy()), ("a", "b"))


def stacked() -> Encoding:
    join = node("Concat", ["a", "b"], ["w"], axis=0)
    return Encoding(product(join, a=WEIGHT[:2].copy(), b=WEIGHT[2:].copy()), ("a", "b"))


def reordered() -> Encoding:
    """As LSTM gates are: sliced, joined in another order, unsqueezed."""
    nodes = [
        node("Slice", ["s", "zero", "one", "axis"], ["a"]),
        node("Slice", ["s", "one", "four", "axis"], ["b"]),
        node("Concat", ["b", "a"], ["w"], axis=1),
    ]
    numbers = {"zero": ints(0), "one": ints(1), "four": ints(4), "axis": ints(1)}
    return Encoding(product(*nodes, s=np.roll(WEIGHT, 1, axis=1), **numbers), ("s",))


def gathered() -> Encoding:
    rows = node("Gather", ["s", "rows"], ["w"], axis=0)
    return Encoding(product(rows, s=WEIGHT[::-1].copy(), rows=ints(*range(IN - 1, -1, -1))), ("s",))


def quantized(zero_point: np.ndarray) -> np.ndarray:
    """Integers that stand for about the weight."""
    info = np.iinfo(zero_point.dtype)
    return np.clip(np.rint(WEIGHT / SCALE) + zero_point, info.min, info.max).astype(zero_point.dtype)


def dequantized(dtype: type, axis: int | None = None) -> Callable[[], Encoding]:
    def made() -> Encoding:
        length = 1 if axis is None else WEIGHT.shape[axis]
        scale = SCALE * np.linspace(1, 2, length, dtype=np.float32)
        zero = (ZERO_POINT + np.arange(length) % 3).astype(dtype)
        if axis is None:
            scale, zero = scale.reshape(()), zero.reshape(())
        along = [1, 1]
        along[axis or 0] = length
        stored = quantized(zero.reshape(along))
        seen = (stored.astype(np.float32) - zero.reshape(along)) * scale.reshape(along)
        undo = node("DequantizeLinear", ["s", "scale", "zero"], ["w"], axis=axis or 0)
        return Encoding(product(undo, s=stored, scale=scale, zero=zero), ("s",), seen)

    return made


def dequantized_in_blocks() -> Encoding:
    scale = SCALE * (1 + np.arange(2 * OUT, dtype=np.float32).reshape(2, OUT))
    zero = np.arange(2 * OUT, dtype=np.int8).reshape(2, OUT) % 3
    spread = np.repeat(zero, 3, axis=0)
    stored = quantized(spread)
    seen = (stored.astype(np.float32) - spread) * np.repeat(scale, 3, axis=0)
    undo = node("DequantizeLinear", ["s", "scale", "zero"], ["w"], axis=0, block_size=3)
    return Encoding(product(undo, opset=21, s=stored, scale=scale, zero=zero), ("s",), seen)


def dequantized_then_transposed() -> Encoding:
    zero = np.int8([0, 1, 2, 3])
    stored = quantized(zero)
    seen = (stored.astype(np.float32) - zero) * SCALE
    nodes = [
        node("DequantizeLinear", ["s", "scale", "zero"], ["d"], axis=0),
        node("Transpose", ["d"], ["w"]),
    ]
    weights = {"s": stored.T.copy(), "scale": np.full(OUT, SCALE), "zero": zero}
    return Encoding(product(*nodes, **weights), ("s",), seen)


def transposed_then_dequantized() -> Encoding:
    zero = np.int8([0, 1, 2, 3])
    stored = quantized(zero)
    seen = (stored.astype(np.float32) - zero) * SCALE
    nodes = [
        node("Transpose", ["s"], ["t"]),
        node("DequantizeLinear", ["t", "scale", "zero"], ["w"], axis=1),
    ]
    weights = {"s": stored.T.copy(), "scale": np.full(OUT, SCALE), "zero": zero}
    return Encoding(product(*nodes, **weights), ("s",), seen)


def fake_quantized() -> Encoding:
    zero = np.int8(2)
    seen = (quantized(zero).astype(np.float32) - zero) * SCALE
    nodes = [
        node("QuantizeLinear", ["s", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["w"]),
    ]
    return Encoding(product(*nodes, s=seen, scale=np.array(SCALE), zero=np.array(zero)), ("s",), seen)


def sparse_of(values: np.ndarray, name: str, *, linear: bool) -> onnx.SparseTensorProto:
    """The elements that are not 0, with one index or two."""
    places = np.argwhere(values)
    indices = np.flatnonzero(values) if linear else places
    return helper.make_sparse_tensor(
        numpy_helper.from_array(values[tuple(places.T)], name),
        numpy_helper.from_array(indices.astype(np.int64), f"{name}.indices"),
        list(values.shape),
    )


WITH_ZEROS = np.where(np.arange(IN * OUT).reshape(IN, OUT) % 3, WEIGHT, np.float32(0))


def sparse_initializer() -> Encoding:
    proto = product()
    proto.graph.sparse_initializer.append(sparse_of(WITH_ZEROS, "w", linear=True))
    return Encoding(proto, ("w",), WITH_ZEROS)


def sparse_constant() -> Encoding:
    # ONNX Runtime reads sparse constants of linear indices only.
    made = node("Constant", [], ["w"], sparse_value=sparse_of(WITH_ZEROS, "v", linear=True))
    return Encoding(product(made), ("w",), WITH_ZEROS)


def also_an_input() -> Encoding:
    proto = product(w=WEIGHT)
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHT.shape))
    return Encoding(proto, ("w",))


def also_an_output() -> Encoding:
    proto = product(w=WEIGHT)
    proto.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHT.shape))
    return Encoding(proto, ("w",))


def sliced_at_computed_bounds() -> Encoding:
    """As torch exports recurrent weights without optimisation: the hidden size is the length of a state of zeros."""
    number = partial(node, "Constant", [])
    nodes = [
        number(["wide"], value_ints=[1, 2]),
        node("Expand", ["nought", "wide"], ["state"]),
        node("Shape", ["state"], ["half"], start=1, end=2),
        node("Mul", ["half", "two"], ["all"]),
        node("Slice", ["s", "zero", "half", "axis"], ["a"]),
        node("Slice", ["s", "half", "all", "axis"], ["b"]),
        node("Concat", ["b", "a"], ["w"], axis=1),
    ]
    numbers = {"nought": np.array(0, np.float32), "two": np.array(2), "zero": ints(0), "axis": ints(1)}
    return Encoding(product(*nodes, s=np.roll(WEIGHT, 2, axis=1), **numbers), ("s",))


def sliced_at_cast_bounds() -> Encoding:
    nodes = [
        node("Cast", ["first"], ["start"], to=TensorProto.INT64),
        node("Shape", ["s"], ["lengths"]),
        node("Gather", ["lengths", "last"], ["length"]),
        node("Unsqueeze", ["length", "zero"], ["end"]),
        node("Slice", ["s", "zero", "start", "axis"], ["a"]),
        node("Slice", ["s", "start", "end", "axis"], ["b"]),
        node("MatMul", ["x", "a"], ["ya"]),
        node("MatMul", ["x", "b"], ["yb"]),
        node("Concat", ["ya", "yb"], ["y"], axis=1),
    ]
    numbers = {"first": np.array([1], np.int32), "last": np.array(1), "zero": ints(0), "axis": ints(1)}
    return Encoding(model(nodes, s=WEIGHT, **numbers), ("s",))


def reshaped_by_joined_numbers() -> Encoding:
    nodes = [
        node("Constant", [], ["rows"], value_int=IN),
        node("Constant", [], ["columns"], value_int=OUT),
        node("Unsqueeze", ["rows", "axis"], ["row"]),
        node("Unsqueeze", ["columns", "axis"], ["column"]),
        node("Concat", ["row", "column"], ["shape"], axis=0),
        node("Reshape", ["s", "shape"], ["w"]),
    ]
    return Encoding(product(*nodes, s=WEIGHT.reshape(-1), axis=ints(0)), ("s",))


def expanded_by_a_choice() -> Encoding:
    """-1 stands for a length that stays, as torch has it."""
    nodes = [
        node("Shape", ["wanted"], ["many"]),
        node("ConstantOfShape", ["many"], ["ones"], value=numpy_helper.from_array(ints(1))),
        node("Neg", ["ones"], ["minus"]),
        node("Equal", ["wanted", "minus"], ["stays"]),
        node("Where", ["stays", "ones", "wanted"], ["shape"]),
        node("Expand", ["s", "shape"], ["w"]),
    ]
    return Encoding(product(*nodes, s=WEIGHT, wanted=ints(IN, -1)), ("s",))


def body(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], inputs: Sequence[onnx.ValueInfoProto] = ()):  # noqa: ANN201
    """A graph for If, Loop and Scan."""
    return helper.make_graph(
        list(nodes),
        "body",
        list(inputs),
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )


def conditional(
    then_nodes: Sequence[onnx.NodeProto], tensors: Sequence[onnx.TensorProto] = (), **weights: np.ndarray
) -> onnx.ModelProto:
    """`y = x w` if the sum of squares is not negative; else 0."""
    then_branch = body([*then_nodes, node("MatMul", ["x", "w"], ["yes"])], ["yes"])
    then_branch.initializer.extend(tensors)
    else_branch = body([node("Sub", ["x", "x"], ["z"]), node("MatMul", ["z", "nothing"], ["no"])], ["no"])
    nodes = [
        node("ReduceSumSquare", ["x"], ["squares"], keepdims=0),
        node("GreaterOrEqual", ["squares", "zero"], ["positive"]),
        node("If", ["positive"], ["y"], then_branch=then_branch, else_branch=else_branch),
    ]
    return model(nodes, zero=np.array(0, np.float32), nothing=np.ones((IN, OUT), np.float32), **weights)


def constant_in_a_branch() -> Encoding:
    made = node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT))
    return Encoding(conditional([made]), ("y/then_branch/w",))


def initializer_in_a_branch() -> Encoding:
    return Encoding(conditional([], [numpy_helper.from_array(WEIGHT, "w")]), ("y/then_branch/w",))


def from_outside_a_branch() -> Encoding:
    return Encoding(conditional([], w=WEIGHT), ("w",))


def transposed_outside_a_branch() -> Encoding:
    proto = conditional([node("Transpose", ["s"], ["w"])], s=WEIGHT.T.copy())
    return Encoding(proto, ("s",))


def in_a_loop() -> Encoding:
    """Two rounds; the second one's product is kept."""
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
    ]
    outputs = [helper.make_tensor_value_info("go_on", TensorProto.BOOL, [])]
    nodes = [node("Identity", ["go"], ["go_on"]), node("MatMul", ["x", "w"], ["after"])]
    rounds = helper.make_graph(
        nodes,
        "body",
        inputs,
        [*outputs, helper.make_tensor_value_info("after", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    made = [
        node("MatMul", ["x", "start"], ["begin"]),
        node("Loop", ["rounds", "", "begin"], ["y"], body=rounds),
    ]
    return Encoding(model(made, rounds=np.array(2), start=np.zeros((IN, OUT), np.float32)), ("y/body/w",))


def in_a_scan() -> Encoding:
    """A row of x at a time."""
    row = helper.make_tensor_value_info("row", TensorProto.FLOAT, [IN])
    step = helper.make_graph(
        [node("MatMul", ["row", "w"], ["out"])],
        "body",
        [row],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [OUT])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return Encoding(model([node("Scan", ["x"], ["y"], body=step, num_scan_inputs=1)]), ("y/body/w",))


def with_function(inside: Sequence[onnx.NodeProto], inputs: Sequence[str], **weights: np.ndarray) -> onnx.ModelProto:
    """`y = Block(...)`, a function of the model's own."""
    proto = model([node("Block", list(inputs), ["y"], domain="own", name="call")], **weights)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    formal = ["a", *(f"given{number}" for number in range(len(inputs) - 1))]
    proto.functions.append(
        helper.make_function("own", "Block", formal, ["b"], list(inside), [helper.make_opsetid("", 17)])
    )
    return proto


def constant_in_a_function() -> Encoding:
    made = node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT))
    return Encoding(with_function([made, node("MatMul", ["a", "w"], ["b"])], ["x"]), ("own::Block/w",))


def argument_of_a_function() -> Encoding:
    inside = [node("Transpose", ["given0"], ["w"]), node("MatMul", ["a", "w"], ["b"])]
    return Encoding(with_function(inside, ["x", "s"], s=WEIGHT.T.copy()), ("s",))


ENCODINGS: dict[str, Callable[[], Encoding]] = {
    made.__name__: made
    for made in (
        plain,
        constant,
        identity,
        dropout,
        transposed,
        reshaped,
        reshaped_by_constants,
        flattened,
        squeezed,
        expanded,
        cast_integers,
        split_in_two,
        sliced_backwards,
        concatenated,
        stacked,
        reordered,
        sliced_at_computed_bounds,
        sliced_at_cast_bounds,
        reshaped_by_joined_numbers,
        expanded_by_a_choice,
        gathered,
        dequantized_in_blocks,
        dequantized_then_transposed,
        transposed_then_dequantized,
        fake_quantized,
        sparse_initializer,
        sparse_constant,
        also_an_input,
        also_an_output,
        constant_in_a_branch,
        initializer_in_a_branch,
        from_outside_a_branch,
        transposed_outside_a_branch,
        in_a_loop,
        in_a_scan,
        constant_in_a_function,
        argument_of_a_function,
    )
} | {
    "float16": cast_from(np.float16),
    "float64": cast_from(np.float64),
    "bfloat16": cast_from(ml_dtypes.bfloat16),
    "int8": dequantized(np.int8),
    "uint8": dequantized(np.uint8),
    "int8 by row": dequantized(np.int8, 0),
    "uint8 by column": dequantized(np.uint8, 1),
}
