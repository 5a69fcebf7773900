"""Whole output channels, which can be cut out of a model so that a smaller dense one is left."""

from onnxsens.targets.profile import Target

TARGET = Target(
    name="channel",
    title="any runtime, after whole output channels were cut out",
    technique_pattern="channel",
    operators=("Conv", "ConvTranspose", "Gemm", "MatMul"),
    dtypes=(),
    levels=None,
    least=None,
    cost="macs",
    speedup="yes",
    line=(
        "A smaller dense model is faster everywhere, but only once its zeroed channels were really cut out, which a "
        "plan does not do; the channels of an output layer are the model's outputs and have to stay."
    ),
    sources=("common knowledge", "AMD UG1333 (Vitis AI: channel pruning)"),
)
