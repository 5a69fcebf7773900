"""Plans, exports and masks made by hand, and written exports loaded as modules."""

import hashlib
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxsens.frameworks.exporters import Export, Layer, Mode, exporters
from onnxsens.plan.planfile import (
    Choice,
    DataSource,
    Generator,
    ModelSource,
    Objective,
    Plan,
    PlannedWeight,
    Quality,
    Totals,
)

VERSION = "0.1.0"


def layer(parameter: str, shape: tuple[int, ...], zeros: int, pattern: str | None = None, **more: Any) -> Layer:
    """A layer with plain answers to all that is not said."""
    known: dict[str, Any] = {
        "aliases": (),
        "dtype": "float32",
        "operator": "Conv" if len(shape) > 2 else "Gemm",
        "tensors": (f"onnx::{parameter}",),
        "confidence": "exact",
        "rescaled": False,
    }
    sparsity = zeros / math.prod(shape)
    return Layer(parameter=parameter, shape=shape, zeros=zeros, sparsity=sparsity, pattern=pattern, **(known | more))


def plan_of(layers: tuple[Layer, ...], file: str = "model.onnx") -> Plan:
    """A plan for a weight of the same shape for each layer; what it says of quality is made up."""
    weights = [
        PlannedWeight(
            name=each.tensors[0],
            op=each.operator,
            shape=list(each.shape),
            dtype=each.dtype,
            encoding="initializer",
            level=each.sparsity,
            sparsity=each.sparsity,
            zeros=each.zeros,
            pattern=each.pattern,
            macs=None,
            effect="effective",
            picks={},
            failure=None,
            sha256=hashlib.sha256(ascii(each.tensors[0]).encode()).hexdigest(),
        )
        for each in layers
    ]
    parameters, zeros = sum(each.size for each in layers), sum(each.zeros for each in layers)
    return Plan(
        schema="onnxsens.plan/1",
        generator=Generator(name="onnxsens", version=VERSION, onnx="", onnxruntime="", numpy="", provider=""),
        model=ModelSource(file=file, sha256="ab" * 32, parameters=parameters),
        data=DataSource(sha256="cd" * 32, samples=8, search=4, holdout=4, seed=0, scan_samples=4),
        technique="magnitude",
        level_kind="sparsity",
        objective=Objective(kind="knee", max_drop={}, sparsity=None, confidence=None, search_metric="kl"),
        totals=Totals(
            parameters=parameters,
            zeros=zeros,
            sparsity=zeros / max(parameters, 1),
            macs_dense=None,
            macs_nonzero=None,
            bytes_dense=4 * parameters,
            bytes_zlib_dense=0,
            bytes_zlib_pruned=0,
        ),
        quality=Quality(samples=4, looks=1, verified=None, metrics={}, failures={}),
        choice=Choice(picker="uniform", exact=True, proposals=[], disagreement=None, points=0, joint_runs=0),
        weights=weights,
        skipped=[],
        changed=[weight.name for weight in weights],
    )


def export_of(*layers: Layer, mode: Mode = "ratio", **more: Any) -> Export:
    """An export of these layers."""
    known: dict[str, Any] = {
        "left_out": (),
        "masks_file": "masks.safetensors",
        "weights_file": None,
        "version": VERSION,
    }
    return Export(plan=more.pop("plan", None) or plan_of(layers), mode=mode, layers=layers, **(known | more))


def random_masks(layers: tuple[Layer, ...]) -> dict[str, NDArray[np.uint8]]:
    """For each layer a mask with its zeros anywhere: not those of least magnitude."""
    rng = np.random.default_rng(0)
    masks = {}
    for each in layers:
        flat = np.ones(each.size, np.uint8)
        flat[rng.permutation(each.size)[: each.zeros]] = 0
        masks[each.parameter] = flat.reshape(each.shape)
    return masks


def write_safetensors(tensors: Mapping[str, NDArray[Any]], path: Path, about: Mapping[str, str]) -> None:
    """By hand, so that nothing of ours and no library vouches for the file: header length, header, bytes."""
    names = {"uint8": "U8", "float32": "F32", "bfloat16": "BF16"}
    head: dict[str, Any] = {"__metadata__": dict(about)}
    offset = 0
    for name, tensor in tensors.items():
        head[name] = {
            "dtype": names[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(head).encode()
    body = b"".join(np.ascontiguousarray(tensor).tobytes() for tensor in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def write_masks(layers: tuple[Layer, ...], path: Path, *, packed: bool = False) -> dict[str, NDArray[np.uint8]]:
    """`masks.safetensors` of random masks, which are returned."""
    masks = random_masks(layers)
    about = {
        "format": "onnxsens.masks/1",
        "packing": "bits" if packed else "bytes",
        "shapes": json.dumps({each.parameter: each.shape for each in layers}),
        "aliases": json.dumps({each.parameter: each.aliases for each in layers if each.aliases}),
        "plan_sha256": "ef" * 32,
        "model_sha256": "ab" * 32,
    }
    stored = {name: np.packbits(mask, axis=None) if packed else mask for name, mask in masks.items()}
    write_safetensors(stored, path, about)
    return masks


def write_values(values: Mapping[str, NDArray[Any]], folder: Path, plan: str = "ef" * 32) -> None:
    """`weights.safetensors` of a plan: that of `write_masks`, unless told otherwise."""
    about = {"format": "onnxsens.weights/1", "plan_sha256": plan, "model_sha256": "ab" * 32}
    write_safetensors(values, folder / "weights.safetensors", about)


def two_plans(folder: Path, name: str, shape: tuple[int, ...]) -> tuple[Path, Path]:
    """Masks and updated values of one parameter, which are of different plans."""
    each = layer(name, shape, math.prod(shape) // 2)
    write_masks((each,), folder / "masks.safetensors")
    write_values({name: np.ones(shape, "f4")}, folder, "99" * 32)
    return folder / "masks.safetensors", folder / "weights.safetensors"


def ran(script: Path, *arguments: str, fails: bool = False) -> str:
    """What a script prints that is run in its folder; what it ends with where it has to fail."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_USE_LEGACY_KERAS", None)
    command = [sys.executable, "-W", "ignore", script.name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=script.parent, env=environment, check=False)
    assert bool(done.returncode) is fails, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stderr if fails else done.stdout


def written(name: str, export: Export, folder: Path) -> list[Path]:
    """The files of an export, in a folder."""
    paths = []
    for file, text in exporters.get(name).files(export).items():
        paths.append(folder / file)
        paths[-1].write_text(text, encoding="utf-8", newline="")
    return paths


def imported(path: Path) -> ModuleType:
    """A written script as a module; nothing of onnxsens is in reach of it."""
    assert "onnxsens" not in [line.split()[1] for line in path.read_text().splitlines() if line.startswith("import ")]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(name: str, folder: Path, *layers: Layer, mode: Mode = "ratio", **more: Any) -> ModuleType:
    """Export, write and import a script; masks lie beside in mode `mask`."""
    if mode == "mask":
        write_masks(layers, folder / "masks.safetensors")
    [path] = written(name, export_of(*layers, mode=mode, **more), folder)
    return imported(path)
