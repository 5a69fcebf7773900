"""Records as plain data for `--json`."""

from dataclasses import asdict
from typing import Any

import msgspec

from onnxsens.engine.questions import Measurement
from onnxsens.plan.planfile import Plan
from onnxsens.results import Inspection, ScanResult, Verification


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
                "parameters": weight.size,
                "zeros": weight.zeros,
                "macs": result.macs.get(weight.name),
                "consumers": [
                    {"op": consumer.operator, "node": consumer.node, "input": consumer.slot.index}
                    for consumer in weight.consumers
                ],
                "readers": list(weight.readers),
            }
            for weight in inventory.weights
        ],
        "skipped": [asdict(row) for row in inventory.skipped],
        "planned_parameters": inventory.planned_parameters,
        "parameters": inventory.parameters,
        "macs_note": result.macs_note,
    }


def measurement(measured: Measurement) -> dict[str, Any]:
    """A measurement without its per-sample values."""
    return {
        "samples": measured.samples,
        "drop": measured.drop,
        "standard_error": measured.standard_error,
        "dense": measured.dense,
        "pruned": measured.pruned,
    }


def scan(result: ScanResult) -> dict[str, Any]:
    """Every point, every pick."""
    return {
        "search_metric": result.search_metric,
        "tolerance": result.tolerance,
        "points": [
            {
                "weight": point.weight,
                "technique": point.technique,
                "level": point.asked,
                "sparsity": point.sparsity,
                "zeros": point.zeros,
                "measurements": {name: measurement(item) for name, item in point.measurements.items()},
                "failures": dict(point.failures),
            }
            for point in result.points
        ],
        "picks": {
            name: {weight: asdict(pick) for weight, pick in picks.items()} for name, picks in result.picks.items()
        },
        "effects": dict(result.effects),
        "failures": dict(result.failures),
    }


def plan(made: Plan) -> Any:
    """The plan as in its file."""
    return msgspec.to_builtins(made)


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
