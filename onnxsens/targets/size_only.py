"""The file itself: what it takes to store or download it."""

from onnxsens.targets.profile import Target

TARGET = Target(
    name="size-only",
    title="compressed size of the file, for downloads and flash",
    technique_pattern=None,
    operators=(),
    dtypes=(),
    levels=None,
    least=None,
    cost="bytes",
    speedup="no",
    line=(
        "Zeros of any weight and pattern shrink what zlib makes of the file, in float32, float16 and int8 alike; "
        "the uncompressed file keeps its size, and nothing gets faster."
    ),
    sources=("our measurements with zlib at sparsities from 0 to 0.95",),
)
