"""Peak memory of what is done with large models: a 3 GiB one with external data, and a 1 GiB one in one file.

    python benchmarks/large_model.py [--layers 12] [--width 8192] [--folder FOLDER]

The model with external data is a file with holes, so that it costs little disk: `h = x @ probed`, then `h + h @ w_i`
with weights that are zero, then `h @ head`. `probed` and `head` are seeded and not zero, so that pruning `probed` shows
in the output. Every stage runs in a process of its own, which says the most memory it ever had (VmHWM, which counts the
pages of files that are mapped). Linux only.
"""

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from math import prod
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from msgspec.structs import replace
from onnx import TensorProto, helper

import onnxsens
from onnxsens.model import load_model, take_inventory, write_model
from onnxsens.plan import write_plan

ROWS = 1 << 8  # of a weight, written at a time
MB = 1_000_000


# Stages that run the model in their own process: what a worker may take is more.
RUNS = ("inspect", "scan")


class Case(NamedTuple):
    """A model, and how much memory a stage may take with it: one that reads and writes, and one that runs it."""

    name: str
    path: Path
    limit: int
    worker_limit: int


def nothing(path: Path) -> None:
    """What the imports alone take."""


def load(path: Path) -> None:
    """Open the model."""
    load_model(path)


def inventory(path: Path) -> None:
    """Open it and find its weights."""
    take_inventory(load_model(path))


def read(path: Path) -> None:
    """Open it and read every tensor once, one after the other."""
    model = load_model(path)
    for name in model.stored:
        model.array(name).max()


def inspect_all(path: Path) -> None:
    """What `onnxsens inspect` does, the run for MACs included."""
    onnxsens.inspect(path, {"n": 1})


def scan(path: Path) -> None:
    """One weight at one level, on two samples; whole models run in this process."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        run = onnxsens.scan(
            path, "random:2", out=folder, levels=[0.5], metrics=["dense-mse"], providers="cpu", weights=["probed"]
        )
        assert run.curves_of("dense-mse")["probed"].drop[0] > 0


def apply(path: Path) -> None:
    """Carry out a plan that prunes one weight."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        done = onnxsens.apply(path, path.with_suffix(".plan.json"), Path(folder) / "out.onnx")
        assert done.changed == ["probed"]


def write(path: Path) -> None:
    """Open it, halve one weight, and write it all again."""
    model = load_model(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        write_model(model, {"probed": model.array("probed") * np.float32(0.5)}, Path(folder) / "out.onnx")


STAGES: dict[str, Callable[[Path], None]] = {
    "imports": nothing,
    "load": load,
    "inventory": inventory,
    "read all": read,
    "write": write,
    "inspect": inspect_all,
    "apply": apply,
    "scan": scan,
}


def chain(layers: int, width: int) -> onnx.ModelProto:
    """The graph, with weights that have names and shapes and no data yet."""
    shapes = {"probed": [width, width], **{f"w{number}": [width, width] for number in range(1, layers)}}
    shapes["head"] = [width, 10]
    nodes = [helper.make_node("MatMul", ["x", "probed"], ["h0"])]
    for number in range(1, layers):
        nodes.append(helper.make_node("MatMul", [f"h{number - 1}", f"w{number}"], [f"m{number}"]))
        nodes.append(helper.make_node("Add", [f"h{number - 1}", f"m{number}"], [f"h{number}"]))
    nodes.append(helper.make_node("MatMul", [f"h{layers - 1}", "head"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [TensorProto(name=name, dims=dims, data_type=TensorProto.FLOAT) for name, dims in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def with_external_data(folder: Path, layers: int, width: int) -> Path:
    """The model with its weights in one data file, whose zeros are holes."""
    proto = chain(layers, width)
    rng = np.random.default_rng(0)
    with (folder / "weights.bin").open("wb") as file:
        offset = 0
        for tensor in proto.graph.initializer:
            rows, columns = tensor.dims
            length = 4 * rows * columns
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "weights.bin"), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
            if tensor.name in ("probed", "head"):
                file.seek(offset)
                for _ in range(0, rows, ROWS):
                    part = rng.standard_normal((min(ROWS, rows), columns), dtype=np.float32) / np.float32(rows**0.5)
                    file.write(part.tobytes())
            offset += length
        file.truncate(offset)
    path = folder / "external.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def in_one_file(folder: Path, layers: int, width: int) -> Path:
    """The same model with all its weights inside."""
    proto = chain(layers, width)
    rng = np.random.default_rng(0)
    for tensor in proto.graph.initializer:
        if tensor.name in ("probed", "head"):
            tensor.raw_data = rng.standard_normal(tuple(tensor.dims), dtype=np.float32).tobytes()
        else:
            tensor.raw_data = bytes(4 * prod(tensor.dims))
    path = folder / "inline.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def write_plan_for(path: Path, small: Path) -> None:
    """A plan that zeroes half of `probed` and nothing else, made from that of a small model of the same graph."""
    made = onnxsens.auto(small, "random:8", metrics=["dense-mse"], providers="cpu", sparsity=0.95, update="none").record
    model = load_model(path)
    shapes = {name: list(stored.shape) for name, stored in model.stored.items()}
    weights = []
    for weight in made.weights:
        size = prod(shapes[weight.name])
        level = 0.5 if weight.name == "probed" else 0.0
        zeros = size // 2 if weight.name == "probed" else 0 if weight.name == "head" else size
        weights.append(replace(weight, shape=shapes[weight.name], level=level, zeros=zeros, sparsity=zeros / size))
    total = sum(prod(shape) for shape in shapes.values())
    write_plan(
        replace(
            made,
            model=replace(made.model, file=path.name, sha256=model.sha256, parameters=total),
            totals=replace(made.totals, parameters=total, zeros=sum(weight.zeros for weight in weights)),
            weights=weights,
            changed=["probed"],
        ),
        path.with_suffix(".plan.json"),
    )


def run_stage(sender: Connection, stage: str, path: Path) -> None:
    """In a process of its own: do it, and send its seconds and its peak in bytes."""
    started = time.perf_counter()
    STAGES[stage](path)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    sender.send((seconds, int(peak.split()[1]) * 1024))


def measured(stage: str, path: Path) -> tuple[float, int]:
    """Seconds and peak bytes of a stage."""
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=run_stage, args=(sender, stage, path))
    process.start()
    sender.close()  # so that a child that dies is the end of the pipe, not a wait for ever
    try:
        seconds, peak = receiver.recv()
    finally:
        process.join()
    return float(seconds), int(peak)


def main() -> None:
    """Make the models, and print one row a stage and model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=12, help="weights of the model with external data")
    parser.add_argument("--width", type=int, default=8192, help="rows and columns of each weight")
    parser.add_argument("--folder", default=None, help="where to work; has to have room for the model once")
    arguments = parser.parse_args()
    layers, width = arguments.layers, arguments.width
    weight = 4 * width**2
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        needed = (layers + 10) * weight
        if shutil.disk_usage(folder).free < needed:
            parser.error(f"'{folder}' has less than {needed:,} free bytes; give --folder")
        inline = in_one_file(folder, 4, width)
        external = with_external_data(folder, layers, width)
        size = inline.stat().st_size
        cases = [
            Case("external", external, 300 * MB + 2 * weight, 250 * MB + int(1.5 * layers * weight)),
            Case("inline", inline, 300 * MB + int(2.2 * size), 250 * MB + int(1.5 * size)),
        ]
        for case, depth in zip(cases, (layers, 4), strict=True):
            (folder / "small").mkdir(exist_ok=True)
            write_plan_for(case.path, in_one_file(folder / "small", depth, 64))
        print(f"{'model':9} {'stage':10} {'seconds':>8} {'peak, MB':>9} {'limit, MB':>10}")
        for case in cases:
            for stage in STAGES:
                seconds, peak = measured(stage, case.path)
                limit = case.worker_limit if stage in RUNS else case.limit
                over = "  over" if peak > limit else ""
                print(f"{case.name:9} {stage:10} {seconds:8.2f} {peak / MB:9.0f} {limit / MB:10.0f}{over}", flush=True)


if __name__ == "__main__":
    main()
