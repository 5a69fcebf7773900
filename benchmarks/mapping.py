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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file


def parameters(blocks: int, width: int, seed: int) -> dict[str, np.ndarray]:
    """Of a model of so many blocks, about 50 MB each at a width of 1,024."""
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}
    for number in range(blocks):
        for name, shape in (
            ("attention.qkv.weight", (3 * width, width)),
            ("attention.out.weight", (width, width)),
            ("up.weight", (4 * width, width)),
            ("down.weight", (width, 4 * width)),
        ):
            made[f"blocks.{number}.{name}"] = rng.standard_normal(shape, np.float32) * 0.02
    return made


def exported(given: dict[str, np.ndarray], path: Path) -> None:
    """An ONNX file with these parameters as exporters leave them: transposed, one in three parts, one scaled."""
    rng = np.random.default_rng(9)
    nodes, tensors = [], []
    value = "x"
    blocks, width = len(given) // 4, given["blocks.0.up.weight"].shape[1]

    def multiply(name: str, weight: np.ndarray) -> None:
        nonlocal value
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(weight), name))
        nodes.append(helper.make_node("MatMul", [value, name], [f"{name}_out"]))
        value = f"{name}_out"

    for number in range(blocks):
        qkv = given[f"blocks.{number}.attention.qkv.weight"]
        for part, name in enumerate("qkv"):
            multiply(f"val_{number}_{name}", qkv[part * width : (part + 1) * width].T)
        multiply(f"val_{number}_out", given[f"blocks.{number}.attention.out.weight"].T)
        scale = rng.uniform(0.5, 2, (4 * width, 1)).astype(np.float32)
        multiply(f"val_{number}_up", (given[f"blocks.{number}.up.weight"] * scale).T)
        multiply(f"val_{number}_down", given[f"blocks.{number}.down.weight"].T)
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", width])],
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Both cases, for a number of blocks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mapping", description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=7, help="about 50 MB each")
    parser.add_argument("--width", type=int, default=1024, help="of a block")
    given_options = parser.parse_args(arguments)
    blocks, width = given_options.blocks, given_options.width
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = parameters(blocks, width, seed=0)
        exported(given, folder / "model.onnx")
        save_file(given, folder / "own.safetensors")
        np.savez(folder / "own.npz", **given)  # type: ignore[arg-type]  # no array is called allow_pickle
        del given
        save_file(parameters(blocks, width, seed=1), folder / "other.safetensors")
        size = (folder / "own.safetensors").stat().st_size / 1e6
        for what in ("own.safetensors", "own.npz", "other.safetensors"):
            seconds, peak, code = measured(folder / "model.onnx", folder / what)
            print(f"{what:>18}: {size:,.1f} MB, {seconds:.1f} s, peak {peak:,.0f} MB ({peak / size:.2f}x), exit {code}")


if __name__ == "__main__":
    main()
