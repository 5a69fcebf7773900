"""XNNPACK, the CPU kernels of LiteRT and others: sparse 1x1 convolutions."""

from onnxsens.model import Weight
from onnxsens.targets.profile import Target


def unfit(weight: Weight) -> str | None:
    """Convolutions of one position, and fully connected layers."""
    for consumer in weight.consumers:
        kernel = consumer.shape[2:]
        if consumer.operator == "Conv" and kernel != (1, 1):
            return f"its Conv has a kernel of {'x'.join(map(str, kernel))}, not 1x1"
        if consumer.operator != "Conv" and kernel:
            shape = "x".join(map(str, consumer.shape))
            return f"its {consumer.operator} takes a stack of matrices, {shape}, and is no fully connected layer"
    return None


def doubt(weight: Weight) -> str | None:
    """The newer half of it."""
    if any(consumer.operator != "Conv" for consumer in weight.consumers):
        return "only newer versions have sparse fully connected layers"
    return None


TARGET = Target(
    name="xnnpack",
    title="XNNPACK on CPU, through LiteRT and others that call it",
    technique_pattern=None,
    operators=("Conv", "Gemm", "MatMul"),
    dtypes=("float32", "float16"),
    levels=(0.7, 0.8, 0.9),
    least=2 / 3,
    cost="macs",
    speedup="maybe",
    line=(
        "Sparse kernels are used for the 1x1 convolutions of a cluster, in newer versions also for fully connected "
        "layers, if more than two thirds of those filters are zeros together; one layer of a kind that the cluster "
        "cannot hold switches all of it back to dense, and there is nothing for int8."
    ),
    sources=(
        "google/XNNPACK, src/subgraph.c, xnn_subgraph_rewrite_for_nchw",
        "ai.googleblog.com, March 2021",
        "google/XNNPACK#1419 (int8)",
    ),
    unfit=unfit,
    doubt=doubt,
)
