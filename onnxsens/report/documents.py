"""Records as plain data for `--json`."""

import math
from dataclasses import asdict
from typing import Any

import msgspec

from onnxsens.engine.questions import Measurement
from onnxsens.plan.front import Front
from onnxsens.plan.planfile import Plan
from onnxsens.results import Inspection, RunRecord, RunReport, ScanResult, Verification
from onnxsens.scan import Point


def record(result: Any) -> dict[str, Any]:
    """Any flat record; paths become text."""
    return asdict(result)


def inspection(result: Inspection) -> dict[str, Any]:
    """Weights, skipped tensors, and the account."""
    inventory = result.inventory
    return {
        "model": {"file": result.model.path.name, "sha256": result.model.sha256},
        "weights": [
            {
                "name": weight.name,
                "op": weight.operator,
                "shape": list(weight.shape),
                "dtype": weight.dtype,
                "encoding": weight.encoding,
                "place": weight.place,
                "parameters": weight.size,
                "zeros": weight.zeros,
                "sparsity": weight.zeros / weight.size,
                "macs": result.macs.get(weight.name),
                "consumers": [
                    {
                        "op": consumer.operator,
                        "node": consumer.node,
                        "input": consumer.slot.index,
                    }
                    for consumer in weight.consumers
                ],
                "readers": list(weight.readers),
            }
            for weight in inventory.weights
        ],
        "skipped": [asdict(row) for row in inventory.skipped],
        "planned_parameters": inventory.planned_parameters,
        "skipped_parameters": inventory.parameters - inventory.planned_parameters,
        "parameters": inventory.parameters,
        "macs_note": result.macs_note,
        "notes": list(inventory.notes),
    }


def measurement(measured: Measurement) -> dict[str, Any]:
    """A measurement without its per-sample values; a level that changes nothing has a drop of 0 and no values."""
    return {
        "samples": measured.samples,
        "drop": measured.drop,
        "standard_error": measured.standard_error,
        "dense": None if math.isnan(measured.dense) else measured.dense,
        "pruned": None if math.isnan(measured.pruned) else measured.pruned,
    }


def point(item: Point) -> dict[str, Any]:
    """A level that was asked for, and what it comes to."""
    return {
        "weight": item.weight,
        "technique": item.technique,
        "level": item.asked,
        "sparsity": item.sparsity,
        "zeros": item.zeros,
        "measurements": {name: measurement(measured) for name, measured in item.measurements.items()},
        "failures": dict(item.failures),
    }


def scan(result: ScanResult) -> dict[str, Any]:
    """Every level asked for, every pick."""
    return {
        "search_metric": result.search_metric,
        "tolerance": result.tolerance,
        "points": [point(item) for item in result.points],
        "control": [point(item) for item in result.control],
        "no_better_than_random": result.no_better_than_random,
        "predicted": {
            weight: {
                "scaled_at": curve.points[-1].level,
                "levels": (levels := [zeros / curve.size for zeros in curve.shape.zeros]),
                "relative_errors": curve.shape.errors,
                "drops": [curve.drop_at(level) for level in levels],
            }
            for weight, curve in result.predicted.items()
            if curve.shape
        },
        "unpredicted": dict(result.unpredicted),
        "picks": {
            name: {weight: asdict(pick) for weight, pick in picks.items()} for name, picks in result.picks.items()
        },
        "effects": dict(result.effects),
        "failures": dict(result.failures),
        "skipped": [asdict(row) for row in result.skipped],
    }


def plan(made: Plan) -> Any:
    """The plan as in its file."""
    return msgspec.to_builtins(made)


def front(found: Front) -> Any:
    """The front as in its file."""
    return msgspec.to_builtins(found)


def findings(result: RunReport) -> dict[str, Any]:
    """What was looked at in a run folder."""
    return {"run": result.folder, "sound": result.sound, "checks": [asdict(finding) for finding in result.findings]}


def page(result: RunRecord) -> dict[str, Any]:
    """What is on the page of a run."""
    return {
        "model": result.model,
        "plan": result.plan is not None,
        "curves": [asdict(curve) for curve in result.curves],
        "failures": dict(result.failures),
    }


def verification(result: Verification) -> dict[str, Any]:
    """Each limit, kept or not."""
    return {
        "holds": result.holds,
        "split": result.split,
        "samples": result.samples,
        "metrics": {
            name: {
                **measurement(item.measurement),
                "bound": item.bound,
                "low": item.low,
                "high": item.high,
                "limit": item.limit,
                "holds": item.holds,
            }
            for name, item in result.verdicts.items()
        },
        "failures": dict(result.failures),
    }
