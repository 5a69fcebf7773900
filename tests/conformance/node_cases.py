"""The node cases of the `onnx` wheel: one operator, inputs, expected outputs.

Where an input stands at a weight's place, it becomes an initializer, so that there is something to prune.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.conformance.cases import Case, fresh, variants, wanted, with_expected, with_samples
from tests.conformance.slots import companions, weight_inputs

SOURCE = "onnx node cases"

# The newest that ONNX Runtime 1.31 takes.
OPSET = 26
IR_VERSION = 13


def node_cases(scratch: Path, patterns: Sequence[str], operator: str | None = None) -> Iterator[Case]:
    """Every node case that is wanted, written to `scratch`.

    Args:
        operator: only cases of this one, which are collected faster.
    """
    for case in collected(operator):
        if not wanted(f"{SOURCE}/{case.name}", patterns):
            continue
        folder = fresh(scratch, ["node", case.name])
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        names = [value.name for value in model.graph.input]
        given, expected = case.data_sets[0]
        inputs = {name: dense(value) for name, value in zip(names, given, strict=False)}
        notes = [*lower(model)]
        promoted = promote(model, inputs)
        if promoted:
            notes.append(f"made initializers: {', '.join(promoted)}")
        path = folder / "model.onnx"
        path.write_bytes(model.SerializeToString())
        fed = {name: value for name, value in inputs.items() if name not in promoted}
        made = Case(SOURCE, case.name, str(path), rtol=case.rtol, atol=case.atol, notes=tuple(notes))
        made = with_samples(made, folder, variants(fed))
        yield with_expected(made, folder, [dense(value) for value in expected])


def collected(operator: str | None) -> list[Any]:
    """All node cases of the installed onnx, or those of one operator."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference code of some cases divides by zero on purpose
        return list(collect_testcases(operator))


def dense(value: Any) -> Any:
    """A case's input or output as an array, where it is a tensor."""
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def lower(model: onnx.ModelProto) -> list[str]:
    """Lower opset and IR to what ONNX Runtime takes, where no operator of the model has changed since."""
    notes = []
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx") or entry.version <= OPSET:
            continue
        if all(since(node, entry.version) <= OPSET for node in model.graph.node):
            notes.append(f"opset {entry.version} lowered to {OPSET}")
            entry.version = OPSET
    if model.ir_version > IR_VERSION:
        notes.append(f"IR {model.ir_version} lowered to {IR_VERSION}")
        model.ir_version = IR_VERSION
    return notes


def since(node: onnx.NodeProto, opset: int) -> int:
    """The opset that last changed this operator."""
    if node.domain not in ("", "ai.onnx"):
        return 0
    return int(onnx.defs.get_schema(node.op_type, opset, "").since_version)


def promote(model: onnx.ModelProto, inputs: dict[str, Any]) -> list[str]:
    """Make initializers of the inputs at weights' places, unless nothing would be left to feed; their names."""
    graph = model.graph
    found = [name for name in weight_inputs(graph) if isinstance(inputs.get(name), np.ndarray)]
    if found:
        found += [name for name in companions(graph) if name not in found]
    if len(found) == len(inputs):
        return []
    graph.initializer.extend(numpy_helper.from_array(inputs[name], name) for name in found)
    if model.ir_version >= 4:  # before that, initializers had to be listed as inputs
        kept = [value for value in graph.input if value.name not in found]
        del graph.input[:]
        graph.input.extend(kept)
    return found
