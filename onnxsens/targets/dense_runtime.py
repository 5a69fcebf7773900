"""Runtimes that multiply by zeros as by any other number, such as ONNX Runtime."""

from onnxsens.targets.profile import Target

TARGET = Target(
    name="dense-runtime",
    title="ONNX Runtime on CPU or CUDA, and others without sparse kernels",
    technique_pattern=None,
    operators=(),
    dtypes=(),
    levels=None,
    least=None,
    cost="bytes",
    speedup="no",
    line=(
        "Zeros are computed like other numbers, and sparse initializers are made dense when the model is loaded, "
        "so only the compressed file gets smaller; for speed prune whole channels and cut them out (target channel)."
    ),
    sources=("our runs of ONNX Runtime", "microsoft/onnxruntime#5578", "microsoft/onnxruntime#31730"),
)
