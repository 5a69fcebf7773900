"""Time and memory of `onnxsens map` on a model of some hundred megabytes: `python -m benchmarks.mapping`.

The model is a chain of transformer-like blocks whose weights an exporter has transposed, cut in three or scaled; the
checkpoint has the parameters as they were. A second checkpoint, of another model of the same shapes, is the worst
case: nothing is found, so every way is tried.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

WIDTH = 1024


def parameters(blocks: int, seed: int) -> dict[str, np.ndarray]:
    """Of a model of so many blocks, about 50 MB each."""
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}
    for number in range(blocks):
        for name, shape in (
            ("attention.qkv.weight", (3 * WIDTH, WIDTH)),
            ("attention.out.weight", (WIDTH, WIDTH)),
            ("up.weight", (4 * WIDTH, WIDTH)),
            ("down.weight", (WIDTH, 4 * WIDTH)),
        ):
            made[f"blocks.{number}.{name}"] = rng.standard_normal(shape, np.float32) * 0.02
    return made


def exported(given: dict[str, np.ndarray], path: Path) -> None:
    """An ONNX file with these parameters as exporters leave them: transposed, one in three parts, one scaled."""
    rng = np.random.default_rng(9)
    nodes, tensors = [], []
    value = "x"
    blocks = len(given) // 4

    def multiply(name: str, weight: np.ndarray) -> None:
        nonlocal value
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(weight), name))
        nodes.append(helper.make_node("MatMul", [value, name], [f"{name}_out"]))
        value = f"{name}_out"

    for number in range(blocks):
        qkv = given[f"blocks.{number}.attention.qkv.weight"]
        for part, name in enumerate("qkv"):
            multiply(f"val_{number}_{name}", qkv[part * WIDTH : (part + 1) * WIDTH].T)
        multiply(f"val_{number}_out", given[f"blocks.{number}.attention.out.weight"].T)
        scale = rng.uniform(0.5, 2, (4 * WIDTH, 1)).astype(np.float32)
        multiply(f"val_{number}_up", (given[f"blocks.{number}.up.weight"] * scale).T)
        multiply(f"val_{number}_down", given[f"blocks.{number}.down.weight"].T)
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", WIDTH])],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))


def measured(model: Path, checkpoint: Path) -> tuple[float, float, int]:
    """Seconds, peak memory in MB, exit code.

    The peak is the process's own: what the system counts for a child begins with the size of its parent.
    """
    code = (
        "import sys\n"
        "from onnxsens.errors import OnnxsensError\n"
        "from onnxsens.handover import map_model\n"
        "from onnxsens.frameworks.mapping import covered\n"
        "status = 0\n"
        "try:\n"
        "    print(covered(map_model(sys.argv[1], sys.argv[2]).coverage), file=sys.stderr)\n"
        "except OnnxsensError as error:\n"
        "    print(error, file=sys.stderr)\n"
        "    status = error.exit_code\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(peak.split()[1])\n"
        "sys.exit(status)\n"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, str(model), str(checkpoint)], check=False, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - started, int(done.stdout) / 1024, done.returncode


def main() -> None:
    """Both cases, for a number of blocks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=7, help="about 50 MB each")
    blocks = parser.parse_args().blocks
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = parameters(blocks, seed=0)
        exported(given, folder / "model.onnx")
        save_file(given, folder / "own.safetensors")
        del given
        save_file(parameters(blocks, seed=1), folder / "other.safetensors")
        size = (folder / "own.safetensors").stat().st_size / 1e6
        for what in ("own", "other"):
            seconds, peak, code = measured(folder / "model.onnx", folder / f"{what}.safetensors")
            print(f"{what:>6}: {size:,.0f} MB, {seconds:.1f} s, peak {peak:,.0f} MB ({peak / size:.2f}x), exit {code}")


if __name__ == "__main__":
    main()
