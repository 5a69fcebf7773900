"""A model over 2 GB, most of it holes in a file: inspected, scanned, planned and applied in little memory."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

ROWS, COLUMNS, TABLES = 8192, 8192, 12
HIDDEN = 512
MB = 10**6

# The command line in a process that says at its end how much memory it ever had.
MEASURED = """
import sys
from onnxsens.start import main
try:
    main()
finally:
    sys.stderr.write(open("/proc/self/status").read())
"""


def run(*arguments: object) -> tuple[str, int]:
    """stdout, and the peak in bytes, pages of mapped files included."""
    code = [sys.executable, "-c", MEASURED, *map(str, arguments)]
    done = subprocess.run(code, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    found = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert found
    return done.stdout, int(found[1]) * 1024


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`y = (x @ probed) @ head` plus rows of twelve tables of 268 MB that are zero."""
    folder = tmp_path_factory.mktemp("large")
    shapes = {"probed": (COLUMNS, HIDDEN), "head": (HIDDEN, 10)}
    shapes |= {f"table{number}": (ROWS, COLUMNS) for number in range(TABLES)}
    nodes = [
        helper.make_node("MatMul", ["x", "probed"], ["h"]),
        helper.make_node("MatMul", ["h", "head"], ["y0"]),
    ]
    for number in range(TABLES):
        nodes += [
            helper.make_node("Gather", [f"table{number}", "row"], [f"taken{number}"]),
            helper.make_node("ReduceSum", [f"taken{number}"], [f"sum{number}"], keepdims=0),
            helper.make_node("Add", [f"y{number}", f"sum{number}"], [f"y{number + 1}"]),
        ]
    rng = np.random.default_rng(0)
    tensors, offset = [], 0
    with (folder / "weights.bin").open("wb") as file:
        for name, shape in shapes.items():
            tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT, data_location=1)
            for key, value in (("location", "weights.bin"), ("offset", offset), ("length", 4 * shape[0] * shape[1])):
                tensor.external_data.add(key=key, value=str(value))
            if not name.startswith("table"):
                file.seek(offset)
                file.write((rng.standard_normal(shape, dtype=np.float32) / np.float32(shape[0] ** 0.5)).tobytes())
            tensors.append(tensor)
            offset += 4 * shape[0] * shape[1]
        file.truncate(offset)
    assert offset > 3 * 2**30
    graph = helper.make_graph(
        nodes,
        "large",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", COLUMNS]),
            helper.make_tensor_value_info("row", TensorProto.INT64, ["n"]),
        ],
        [helper.make_tensor_value_info(f"y{TABLES}", TensorProto.FLOAT, ["n", 10])],
        tensors,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "large.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_model_over_2_gb_goes_all_the_way_in_bounded_memory(large: Path) -> None:
    largest, whole = 4 * ROWS * COLUMNS, (large.parent / "weights.bin").stat().st_size
    shown, peak = run("inspect", large, "--json", "--dim", "n=1")
    assert peak < 250 * MB + 1.5 * whole
    listed = {weight["name"]: weight for weight in json.loads(shown)["weights"]}
    assert listed["table3"]["sparsity"] == 1
    assert listed["probed"]["macs"] == COLUMNS * HIDDEN
    out = large.parent / "run"
    options = ("-d", "random:8", "--metric", "dense-mse", "--threads", "2")
    run("scan", large, *options, "--weights", "probed", "--levels", "0.5", "-o", out)
    shown, peak = run(
        "auto",
        large,
        *options,
        "--update",
        "none",
        "--sparsity",
        "0.999",
        "--step",
        "0.25",
        "--resolution",
        "0.1",
        "-o",
        out,
    )
    assert peak < 250 * MB + 1.5 * whole
    shown, peak = run("apply", large, out / "plan.json", "-o", large.parent / "applied.onnx")
    assert peak < 300 * MB + 2 * largest
    plan = json.loads((out / "plan.json").read_text())
    assert plan["changed"] == ["head", "probed"]
    for path in (out / "pruned.onnx", large.parent / "applied.onnx"):
        proto = onnx.load(str(path), load_external_data=False)
        data = path.parent / proto.graph.initializer[0].external_data[0].value
        assert data.stat().st_size >= whole
        assert data.stat().st_blocks * 512 < whole / 10  # what was a hole is one again
    feed = {"x": np.ones((2, COLUMNS), np.float32), "row": np.array([1, 2])}
    outputs = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for path in (large, out / "pruned.onnx", large.parent / "applied.onnx")
    ]
    np.testing.assert_array_equal(outputs[1], outputs[2])
    assert not np.allclose(outputs[0], outputs[1])
