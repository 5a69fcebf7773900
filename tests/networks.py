"""Small ONNX models made in the tests. Opset and IR are pinned: the newest ones are ahead of ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Arrays = Mapping[str, np.ndarray]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    weights: Arrays,
) -> onnx.ModelProto:
    """A float32 model; dims are numbers, names or None."""

    def infos(specs: Mapping[str, Sequence[Any]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in specs.items()]

    graph = helper.make_graph(
        list(nodes),
        "made",
        infos(inputs),
        infos(outputs),
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def saved(proto: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def convolutional(seed: int = 0, batch: int | str = "N") -> onnx.ModelProto:
    """Conv, depthwise Conv, grouped ConvTranspose, mean, Gemm: 5 logits from [n, 2, 8, 8]."""
    rng = np.random.default_rng(seed)
    weights = {
        "first": normal(rng, 4, 2, 3, 3),
        "first.bias": normal(rng, 4),
        "depthwise": normal(rng, 4, 1, 3, 3),
        "up": normal(rng, 4, 3, 2, 2),
        "head": normal(rng, 5, 6),
        "head.bias": normal(rng, 5),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first", "first.bias"], ["a"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], group=4, pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("ConvTranspose", ["d", "up"], ["e"], group=2, strides=[2, 2], kernel_shape=[2, 2]),
        helper.make_node("ReduceMean", ["e"], ["f"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["f", "head", "head.bias"], ["logits"], transB=1),
    ]
    return model_of(nodes, {"x": [batch, 2, 8, 8]}, {"logits": [batch, 5]}, weights)


def tied(seed: int = 0) -> onnx.ModelProto:
    """One square weight used by two MatMuls, then a head."""
    rng = np.random.default_rng(seed)
    weights = {"shared": normal(rng, 6, 6), "head": normal(rng, 6, 3)}
    nodes = [
        helper.make_node("MatMul", ["x", "shared"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "shared"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "head"], ["logits"]),
    ]
    return model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights)


def tied_embedding(seed: int = 0) -> onnx.ModelProto:
    """40 logits for 6 words, by the table of the words: stored for the Gather, and transposed for the head's MatMul."""
    rng = np.random.default_rng(seed)
    table = normal(rng, 40, 16)
    weights = {
        "table": table,
        "mid": normal(rng, 16, 16),
        "mid.bias": normal(rng, 16),
        "onnx::MatMul_9": table.T.copy(),
    }
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["b"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["b", "mid", "mid.bias"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "onnx::MatMul_9"], ["logits"]),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 40]}, weights)
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    return proto


def greedy(source: str, result: str, rows: int) -> list[onnx.NodeProto]:
    """`result` = `source`; for more than so many rows it takes more memory than any machine has."""
    return [
        helper.make_node("Shape", [source], ["rows"], start=0, end=1),
        helper.make_node("Constant", [], ["few"], value_ints=[rows]),
        helper.make_node("Constant", [], ["much"], value_ints=[2**46]),
        helper.make_node("Constant", [], ["little"], value_ints=[1]),
        helper.make_node("Greater", ["rows", "few"], ["many"]),
        helper.make_node("Where", ["many", "much", "little"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["big"], name="fill"),
        helper.make_node("ReduceMax", ["big"], ["most"], keepdims=0),
        helper.make_node("Add", [source, "most"], [result]),
    ]


def of_the_batch(seed: int = 0, memory_for: int | None = None) -> onnx.ModelProto:
    """Two MatMuls, and between them something that depends on what else is in the batch.

    Args:
        memory_for: rows that there is memory for.
    """
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        *(greedy("a", "g", memory_for) if memory_for else [helper.make_node("Identity", ["a"], ["g"])]),
        helper.make_node("ReduceMax", ["g"], ["largest"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["g", "largest"], ["b"]),
        helper.make_node("MatMul", ["b", "last"], ["logits"]),
    ]
    weights = {"first": normal(rng, 6, 6), "last": normal(rng, 6, 3)}
    return model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights)


def with_dead_weight(seed: int = 0) -> onnx.ModelProto:
    """The branch through `dead` is multiplied by zero."""
    rng = np.random.default_rng(seed)
    weights = {"live": normal(rng, 6, 3), "dead": normal(rng, 6, 3), "zero": np.zeros(1, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "live"], ["a"]),
        helper.make_node("MatMul", ["x", "dead"], ["b"]),
        helper.make_node("Mul", ["b", "zero"], ["c"]),
        helper.make_node("Add", ["a", "c"], ["logits"]),
    ]
    return model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights)


def with_idle_branch(seed: int = 0) -> onnx.ModelProto:
    """A branch of two nodes that no output depends on; nodes are not sorted."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["x", "idle"], ["b"]),
        helper.make_node("MatMul", ["x", "live"], ["logits"]),
    ]
    weights = {"live": normal(rng, 6, 3), "idle": normal(rng, 6, 3)}
    return model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights)


def noisy(seed: int = 0) -> onnx.ModelProto:
    """A fresh random number in every output."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("RandomNormalLike", ["a"], ["r"], scale=0.5),
        helper.make_node("Add", ["a", "r"], ["logits"]),
    ]
    return model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, {"w": normal(rng, 6, 3)})


def with_external_data(proto: onnx.ModelProto, path: Path) -> Path:
    """Saved with every initializer in a data file."""
    onnx.save_model(
        proto,
        str(path),
        save_as_external_data=True,
        location=f"{path.stem}.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    return path


def samples_file(path: Path, shape: Sequence[int], classes: int | None, samples: int = 60, seed: int = 1) -> Path:
    """Random samples under the name `x`, with random labels where there are classes."""
    rng = np.random.default_rng(seed)
    arrays = {"x": normal(rng, samples, *shape)}
    if classes:
        arrays["labels"] = rng.integers(0, classes, samples)
    np.savez(path, **arrays)
    return path


def oracle(model: Path, changes: Arrays, feed: Arrays) -> list[np.ndarray]:
    """onnx.load, put the values in, new session, run: shares no code with the package."""
    import onnxruntime

    proto = onnx.load(str(model))
    for tensor in proto.graph.initializer:
        if tensor.name in changes:
            tensor.CopyFrom(numpy_helper.from_array(changes[tensor.name], tensor.name))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feed)))


def smallest_zeroed(weight: np.ndarray, zeros: int) -> np.ndarray:
    """The `zeros` smallest magnitudes set to zero, one at a time; shares no code with the package."""
    pruned = weight.copy()
    flat = pruned.reshape(-1)
    left = [(abs(float(value)), position) for position, value in enumerate(flat)]
    for _, position in sorted(left)[:zeros]:
        flat[position] = 0.0
    return pruned
