"""TensorRT on GPUs with sparse tensor cores: two of four input channels."""

from onnxsens.model import Weight
from onnxsens.targets.profile import Target

LARGE = 256  # channels in and out that sparse kernels are reported to need


def doubt(weight: Weight) -> str | None:
    """Small layers."""
    out = weight.matrix_shape[0]
    if min(out, weight.channels) > LARGE:
        return None
    return f"{weight.channels} input and {out} output channels; gains are reported above {LARGE} of each"


TARGET = Target(
    name="tensorrt-2to4",
    title="NVIDIA TensorRT with --sparsity=enable",
    technique_pattern="2:4",
    operators=("Conv", "Gemm", "MatMul"),
    dtypes=(),
    levels=(0.5,),
    least=None,
    cost="macs",
    speedup="maybe",
    line=(
        "A dense and a sparse kernel are timed for each layer and the faster one is kept, often the dense one: sparse "
        "ones are reported to win where there are more than 256 input (C) and output (K) channels, 3x3 rather than "
        "1x1, and not to be taken on Jetson for int8 with explicit Q/DQ."
    ),
    sources=("NVIDIA/TensorRT#3849", "NVIDIA/TensorRT#4065", "NVIDIA/TensorRT#4694", "NVIDIA/TensorRT#2169"),
    doubt=doubt,
)
