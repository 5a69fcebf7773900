"""Networks of known architectures with seeded random weights, drawn with onnx.helper as PyTorch's exporter writes them.

Convolutions have no bias and are followed by BatchNormalization. Weights are He's, not trained: right for timing, and
of no use for judging a plan.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from benchmarks.graph import Graph


def resnet18(seed: int = 0, side: int = 224) -> onnx.ModelProto:
    """Source: He et al., CVPR 2016, arXiv:1512.03385, table 1."""
    return resnet("resnet18", seed, side, (2, 2, 2, 2), bottleneck=False)


def resnet50(seed: int = 0, side: int = 224) -> onnx.ModelProto:
    """The same table; the stride is in the 3 x 3 convolution, as torchvision has it."""
    return resnet("resnet50", seed, side, (3, 4, 6, 3), bottleneck=True)


def resnet(name: str, seed: int, side: int, depths: tuple[int, ...], *, bottleneck: bool) -> onnx.ModelProto:
    """A ResNet for images of 224 x 224, with 1000 classes."""
    graph = Graph(seed)
    x = normed(graph, "image", "conv1", (3, 64), 7, stride=2)
    x = graph.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    inside = 64
    for stage, depth in enumerate(depths):
        width = 64 << stage
        outside = 4 * width if bottleneck else width
        for number in range(depth):
            stride = 2 if stage and not number else 1
            layers = [(width, 1, 1), (width, 3, stride), (outside, 1, 1)] if bottleneck else (
                [(width, 3, stride), (width, 3, 1)])  # fmt: skip
            x = residual(graph, x, f"layer{stage + 1}.{number}", inside, layers)
            inside = outside
    return classified(graph, x, name, inside, 1000, side)


def resnet20(seed: int = 0, side: int = 32) -> onnx.ModelProto:
    """The one for CIFAR: section 4.2 of the same paper, with projections where sizes change."""
    graph = Graph(seed)
    x = normed(graph, "image", "conv1", (3, 16), 3)
    inside = 16
    for stage, width in enumerate((16, 32, 64)):
        for number in range(3):
            stride = 2 if stage and not number else 1
            x = residual(graph, x, f"layer{stage + 1}.{number}", inside, [(width, 3, stride), (width, 3, 1)])
            inside = width
    return classified(graph, x, "resnet20", inside, 10, side)


def mobilenet_v2(seed: int = 0, side: int = 224) -> onnx.ModelProto:
    """Source: Sandler et al., CVPR 2018, arXiv:1801.04381, table 2."""
    graph = Graph(seed)
    x = normed(graph, "image", "features.0", (3, 32), 3, stride=2, act="Clip")
    inside, position = 32, 1
    for expansion, outside, repeats, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for number in range(repeats):
            name, stride, width = f"features.{position}", first if number == 0 else 1, inside * expansion
            y = x
            if expansion > 1:
                y = normed(graph, y, f"{name}.expand", (inside, width), 1, act="Clip")
            y = normed(graph, y, f"{name}.depthwise", (width, width), 3, stride=stride, group=width, act="Clip")
            y = normed(graph, y, f"{name}.project", (width, outside), 1, act=None)
            x = graph.node("Add", [x, y]) if stride == 1 and inside == outside else y
            inside, position = outside, position + 1
    x = normed(graph, x, f"features.{position}", (inside, 1280), 1, act="Clip")
    return classified(graph, x, "mobilenet_v2", 1280, 1000, side)


def vit_tiny(seed: int = 0, side: int = 224) -> onnx.ModelProto:
    """ViT-Ti/16: 12 layers of 192 and 3 heads. Sources: arXiv:2010.11929 and, for this size, arXiv:2012.12877."""
    graph, width = Graph(seed), 192
    patches = (side // 16) ** 2
    x = graph.conv("image", "patch_embed", (3, width), 16, stride=16, pad=0, bias=True)
    x = graph.node("Reshape", [x, graph.constant([0, width, patches], np.int64)])
    x = graph.node("Transpose", [x], perm=[0, 2, 1])
    batch = graph.node("Gather", [graph.node("Shape", [x]), graph.constant([0], np.int64)])
    shape = graph.node("Concat", [batch, graph.constant([1, width], np.int64)], axis=0)
    token = graph.node("Expand", [graph.normal("class_token", [1, 1, width], 1.0), shape])
    x = graph.node("Concat", [token, x], axis=1)
    x = graph.node("Add", [x, graph.normal("positions", [1, patches + 1, width], 0.5)])
    for number in range(12):
        x = encoder_layer(graph, x, f"blocks.{number}", (patches + 1, width, 3), fused=True)
    x = graph.layer_norm(x, "norm", width)
    graph.head(graph.node("Gather", [x, graph.constant(0, np.int64)], axis=1), (width, 1000))
    return graph.model("vit_tiny", "image", [3, side, side])


def transformer(seed: int = 0, tokens: int = 128) -> onnx.ModelProto:
    """A text classifier: 4,000 words, 12 pre-norm layers of 256 with 4 heads, the mean, 16 classes."""
    graph, width = Graph(seed), 256
    x = graph.node("Gather", [graph.normal("embedding", [WORDS, width], 1.0), "tokens"])
    x = graph.node("Add", [x, graph.normal("positions", [1, tokens, width], 0.5)])
    for number in range(12):
        x = encoder_layer(graph, x, f"layers.{number}", (tokens, width, 4), fused=False)
    x = graph.node("ReduceMean", [graph.layer_norm(x, "norm", width)], axes=[1], keepdims=0)
    graph.head(x, (width, 16))
    return graph.model("transformer", "tokens", [tokens], TensorProto.INT64)


def chain(seed: int = 0, side: int = 32, depth: int = 8, channels: int = 32, width: int = 32) -> onnx.ModelProto:
    """`depth` equal 3 x 3 convolutions in a row, so that growth with depth can be seen; each with bias and Relu.

    Where the image has as many channels as the layers, the first layer costs what the others do.
    """
    graph, x = Graph(seed), "image"
    for number in range(depth):
        inside = width if number else channels
        x = graph.node("Relu", [graph.conv(x, f"layers.{number}", (inside, width), 3, bias=True)])
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])], axis=1)
    graph.head(x, (width, 10))
    return graph.model(f"chain{depth}", "image", [channels, side, side])


WORDS = 4000

NETWORKS: dict[str, Callable[..., onnx.ModelProto]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnet20": resnet20,
    "mobilenet_v2": mobilenet_v2,
    "vit_tiny": vit_tiny,
    "transformer": transformer,
    "chain": chain,
}


def normed(graph: Graph, data: str, name: str, channels: tuple[int, int], side: int, *, stride: int = 1,
           group: int = 1, act: str | None = "Relu") -> str:  # fmt: skip
    """Conv, BatchNormalization, and Relu, Clip (to 6) or nothing."""
    x = graph.conv(data, name, channels, side, stride=stride, group=group)
    x = graph.batch_norm(x, f"{name}.bn", channels[1])
    if act == "Clip":
        return graph.node("Clip", [x, graph.constant(0.0, np.float32), graph.constant(6.0, np.float32)])
    return graph.node(act, [x]) if act else x


def residual(graph: Graph, data: str, name: str, inside: int, layers: list[tuple[int, int, int]]) -> str:
    """Layers `(channels, side, stride)` beside a shortcut, which is a 1 x 1 convolution where shapes differ."""
    x, channels, strides = data, inside, 1
    for number, (outside, side, stride) in enumerate(layers, start=1):
        last = number == len(layers)
        x = normed(graph, x, f"{name}.conv{number}", (channels, outside), side, stride=stride,
                   act=None if last else "Relu")  # fmt: skip
        channels, strides = outside, strides * stride
    if strides > 1 or channels != inside:
        data = normed(graph, data, f"{name}.downsample", (inside, channels), 1, stride=strides, act=None)
    return graph.node("Relu", [graph.node("Add", [x, data])])


def classified(graph: Graph, data: str, name: str, width: int, classes: int, side: int) -> onnx.ModelProto:
    """Mean over positions, and the last layer."""
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [data])], axis=1)
    graph.head(x, (width, classes))
    return graph.model(name, "image", [3, side, side])


def encoder_layer(graph: Graph, data: str, name: str, sizes: tuple[int, int, int], *, fused: bool) -> str:
    """Pre-norm attention and a feed-forward block of four times the width.

    Args:
        sizes: positions, width, heads.
        fused: query, key and value are one weight, as timm has it.
    """
    positions, width, heads = sizes
    y = graph.layer_norm(data, f"{name}.norm1", width)
    part = width // heads
    if fused:
        y = graph.linear(y, f"{name}.qkv", (width, 3 * width))
        y = graph.node("Reshape", [y, graph.constant([0, positions, 3, heads, part], np.int64)])
        y = graph.node("Transpose", [y], perm=[2, 0, 3, 1, 4])
        q, k, v = (graph.node("Gather", [y, graph.constant(number, np.int64)], axis=0) for number in range(3))
        k = graph.node("Transpose", [k], perm=[0, 1, 3, 2])
    else:
        split = graph.constant([0, positions, heads, part], np.int64)
        parts = {}
        for each, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            linear = graph.linear(y, f"{name}.{each}", (width, width))
            parts[each] = graph.node("Transpose", [graph.node("Reshape", [linear, split])], perm=order)
        q, k, v = parts["query"], parts["key"], parts["value"]
    scores = graph.node("Mul", [graph.node("MatMul", [q, k]), graph.constant(part**-0.5, np.float32)])
    mixed = graph.node("MatMul", [graph.node("Softmax", [scores], axis=-1), v])
    mixed = graph.node("Transpose", [mixed], perm=[0, 2, 1, 3])
    mixed = graph.node("Reshape", [mixed, graph.constant([0, positions, width], np.int64)])
    x = graph.node("Add", [data, graph.linear(mixed, f"{name}.proj", (width, width))])
    y = graph.linear(graph.layer_norm(x, f"{name}.norm2", width), f"{name}.fc1", (width, 4 * width))
    return graph.node("Add", [x, graph.linear(graph.gelu(y), f"{name}.fc2", (4 * width, width))])
