"""Workbenches for tests: a model and samples, opened as the commands open them."""

from pathlib import Path
from typing import Any

import onnx
from networks import samples_file, saved

from onnxsens.options import Options
from onnxsens.station import Station


def bench_of(
    proto: onnx.ModelProto, folder: Path, shape: tuple[int, ...], classes: int | None = 5, **options: Any
) -> Station:
    """A workbench over random samples; give `data` for others."""
    model = saved(proto, folder / "m.onnx")
    data = options.pop("data", None) or str(samples_file(folder / "d.npz", shape, classes))
    return Station(model, Options(**{"data": data, "provider": "cpu", "threads": 1} | options))
