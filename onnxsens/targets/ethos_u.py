"""Arm Ethos-U: a weight stream that Vela compresses without loss."""

from onnxsens.targets.profile import Target

TARGET = Target(
    name="ethos-u",
    title="Arm Ethos-U, compiled by Vela",
    technique_pattern=None,
    operators=(),
    dtypes=("int8",),
    levels=None,
    least=None,
    cost="bytes",
    speedup="maybe",
    line=(
        "The compiler compresses int8 weights without loss, and zeros best where they follow each other, so the model "
        "takes less flash; it gets faster only where memory is what it waits for."
    ),
    sources=("Arm blog, pruning-clustering-arm-ethos-u-npu",),
)
