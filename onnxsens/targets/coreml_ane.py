"""Core ML on the Apple Neural Engine: a bit mask and the values that are not zero."""

from onnxsens.targets.profile import Target

TARGET = Target(
    name="coreml-ane",
    title="Core ML on the Apple Neural Engine",
    technique_pattern=None,
    operators=(),
    dtypes=(),
    levels=None,
    least=0.75,
    cost="zeros",
    speedup="maybe",
    line=(
        "A bit mask and the other values are stored, so size falls in step with zeros; latency falls only in layers "
        "that wait for their weights, from 75 % on, or with zeros in blocks of at least 2."
    ),
    sources=("apple.github.io/coremltools, opt-pruning-perf", "apple.github.io/coremltools, opt-whats-new"),
)
