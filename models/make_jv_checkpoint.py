"""Write the PyTorch state dict of `jv_transformer.onnx`, as it was before the export: `jv_transformer.safetensors`.

The scripts that trained the `jv_*` models are not kept, but nothing is lost in this one: the exporter left all numbers
as they were, transposed the weights of Linear layers on 3-D inputs and called them `onnx::MatMul_228` and so on. The
bias that is added to what such a MatMul gives kept its name, and so says whose weight it is.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save

HERE = Path(__file__).parent


def state_dict(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Every float initializer under PyTorch's name and in PyTorch's layout."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    readers = {name: node for node in model.graph.node for name in node.input}
    made = {}
    for name, values in tensors.items():
        if values.dtype != np.float32:
            continue
        if name.startswith("onnx::MatMul"):
            added = readers[readers[name].output[0]]
            (bias,) = (other for other in added.input if other in tensors)
            made[bias.removesuffix("bias") + "weight"] = np.ascontiguousarray(values.T)
        elif "." in name:
            made[name] = values
    return dict(sorted(made.items()))


def main() -> None:
    """Write it beside the model, or where told."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=HERE / "jv_transformer.safetensors")
    output = parser.parse_args().output
    output.write_bytes(save(state_dict(onnx.load(str(HERE / "jv_transformer.onnx")))))
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
