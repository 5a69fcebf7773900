"""The models among the test data of the `onnx` wheel, and its "light" networks with weights filled in."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.conformance.cases import Case, fresh, variants, wanted, with_expected, with_samples
from tests.conformance.filling import fill

SOURCE = "onnx test data"
FILLED = "onnx light networks, filled"

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def onnx_data(scratch: Path, patterns: Sequence[str]) -> Iterator[Case]:
    """Every model of the wheel's test data, with its first data set where it has one."""
    for path in sorted(DATA.rglob("*.onnx")):
        light = path.parent.name == "light"
        name = f"{path.parent.parent.name}/{path.parent.name}" if path.name == "model.onnx" else path.stem
        if not wanted(f"{SOURCE}/{name}", patterns):
            continue
        folder = fresh(scratch, ["data", *name.split("/")])
        model = onnx.load(str(path))
        case = Case(SOURCE, name, str(path), weighty=light)
        inputs = ramps(model) if light else read_set(path.parent, "input", model.graph.input)
        given = [value.name for value in fed(model)]
        case = with_samples(case, folder, variants(dict(zip(given, inputs, strict=False))))
        outputs = (
            [numpy_helper.to_array(onnx.load_tensor(str(path.with_name(f"{path.stem}_output_0.pb"))))]
            if light
            else read_set(path.parent, "output", model.graph.output)
        )
        yield with_expected(case, folder, outputs)


def filled_networks(scratch: Path, patterns: Sequence[str]) -> Iterator[Case]:
    """The light networks, whose weights are made by ConstantOfShape, with real numbers in their place."""
    for seed, path in enumerate(sorted((DATA / "light").glob("*.onnx"))):
        if not wanted(f"{FILLED}/{path.stem}", patterns):
            continue
        folder = fresh(scratch, ["filled", path.stem])
        rng = np.random.default_rng(seed)
        model = onnx.load(str(path))
        count = fill(model, rng)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        samples = [
            {value.name: rng.standard_normal(lengths(value), np.float32) for value in fed(model)} for _ in range(2)
        ]
        note = f"{count} ConstantOfShape nodes replaced by initializers, seed {seed}"
        yield with_samples(
            Case(FILLED, path.stem, str(folder / "model.onnx"), notes=(note,), weighty=True), folder, samples
        )


def fed(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Graph inputs that no initializer gives a value."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def lengths(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """The declared shape; 1 where the length is free."""
    return tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)


def ramps(model: onnx.ModelProto) -> list[np.ndarray]:
    """What onnx's own runner feeds the light networks: 0, 1/n, 2/n, ..."""
    found = []
    for value in fed(model):
        shape = lengths(value)
        size = int(np.prod(shape))
        found.append((np.arange(size).reshape(shape) / size).astype(np.float32))
    return found


def read_set(folder: Path, kind: str, values: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    """Inputs or outputs of the first data set, in order; [] where one of them is no tensor, or there is none."""
    if any(not value.type.HasField("tensor_type") for value in values):
        return []
    files = [folder / "test_data_set_0" / f"{kind}_{position}.pb" for position in range(len(values))]
    return [numpy_helper.to_array(onnx.load_tensor(str(file))) for file in files if file.exists()]
