"""OpenVINO on CPU: weights of matrix products that are unpacked on the fly."""

from onnxsens.model import Weight
from onnxsens.targets.profile import Target


def doubt(weight: Weight) -> str | None:
    """What the documentation does not speak of."""
    return None if weight.dtype == "int8" else f"stored as {weight.dtype}; documented for int8"


TARGET = Target(
    name="openvino-cpu",
    title="OpenVINO on CPU with CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE",
    technique_pattern=None,
    operators=("MatMul", "Gemm"),
    dtypes=(),
    levels=None,
    least=0.8,
    cost="zeros",
    speedup="maybe",
    line=(
        "Weights of matrix products that are sparser than the rate that is set (0.8 here) are kept packed and unpacked "
        "on the fly, which saves memory traffic and so helps at batch 1 or in decoding; documented for int8 "
        "Transformers on 4th generation Xeon."
    ),
    sources=(
        "docs.openvino.ai, CPU device",
        "docs.openvino.ai, notebook sparsity-optimization",
        "our run of OpenVINO 2026.4.1 (accepts the property)",
    ),
    doubt=doubt,
)
