"""What two runs were made from and what they came to, field by field. No folder is in it."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal

from onnxsens.differences import FieldPair
from onnxsens.plan.planfile import Plan
from onnxsens.results import RunRecord
from onnxsens.retelling import without_path
from onnxsens.usercode import without_folder

Value = str | int | float | bool | None
# In these a file has its folder, which nothing that is passed on names.
PATHS = {"model", "data"}
LISTED = {"metrics", "custom_op_libs"}


def fields_of(
    a: RunRecord, b: RunRecord, a_identity: Mapping[str, str], b_identity: Mapping[str, str],
    a_settings: Mapping[str, Any], b_settings: Mapping[str, Any],
) -> list[FieldPair]:  # fmt: skip
    """All of them, the same ones too, in a fixed order."""
    found = table("identity", origin(a, a_identity), origin(b, b_identity))
    told = {each.name for each in found}
    chosen = table("setting", settings(a_settings) | goal(a.plan), settings(b_settings) | goal(b.plan))
    found += [each for each in chosen if each.name not in told]
    return found + table("total", totals(a.plan), totals(b.plan))


def table(
    part: Literal["identity", "setting", "total"], a: Mapping[str, Value], b: Mapping[str, Value]
) -> list[FieldPair]:
    """Fields of both, in the order of A."""
    return [FieldPair(part, name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b])]


def origin(run: RunRecord, identity: Mapping[str, str]) -> dict[str, Value]:
    """Model, data, versions; of a plan alone what it says of them."""
    found: dict[str, Value] = {"model": run.model}
    plan = run.plan
    if plan:
        found |= {
            "model_sha256": plan.model.sha256,
            "parameters": plan.model.parameters,
            "data_sha256": plan.data.sha256,
            "samples": plan.data.samples,
            "search_samples": plan.data.search,
            "holdout_samples": plan.data.holdout,
            "seed": str(plan.data.seed),
            "onnxsens": plan.generator.version,
            "onnx": plan.generator.onnx,
            "onnxruntime": plan.generator.onnxruntime,
            "numpy": plan.generator.numpy,
            "provider": plan.generator.provider,
        }
    return found | dict(identity)


def settings(stored: Mapping[str, Any]) -> dict[str, Value]:
    """Options as they were given, files without their folders."""
    found: dict[str, Value] = {}
    for name, value in sorted(stored.items()):
        if name in PATHS:
            found[name] = None if value is None else without_path(str(value))
        elif isinstance(value, list):
            short = without_folder if name == "metrics" else (lambda text: PurePath(text.replace("\\", "/")).name)
            found[name] = ", ".join(short(str(each)) for each in value) or "none"
        elif isinstance(value, dict):
            found[name] = ", ".join(f"{key}={each}" for key, each in sorted(value.items())) or "none"
        else:
            found[name] = "none" if value is None else value
    return found


def goal(plan: Plan | None) -> dict[str, Value]:
    """What a plan was to be."""
    if plan is None:
        return {}
    aim = plan.objective
    return {
        "plan_technique": plan.technique,
        "plan_update": plan.update,
        "goal": aim.kind,
        "goal_max_drop": ", ".join(f"{name}={most:g}" for name, most in sorted(aim.max_drop.items())) or "none",
        "goal_sparsity": "none" if aim.sparsity is None else aim.sparsity,
        "goal_size": "none" if aim.size is None else aim.size,
        "goal_macs": "none" if aim.macs is None else aim.macs,
        "goal_target": aim.target or "none",
        "goal_confidence": "none" if aim.confidence is None else aim.confidence,
        "goal_limits": " ".join(aim.limits) or "none",
        "search_metric": aim.search_metric,
        "exact": plan.choice.exact,
    }


def totals(plan: Plan | None) -> dict[str, Value]:
    """What a plan came to."""
    if plan is None:
        return {}
    found = plan.totals
    return {
        "picker": plan.choice.picker,
        "weights": len(plan.weights),
        "planned_parameters": found.parameters,
        "zeros": found.zeros,
        "sparsity": found.sparsity,
        "macs_dense": found.macs_dense,
        "macs_nonzero": found.macs_nonzero,
        "bytes_dense": found.bytes_dense,
        "bytes_zlib_dense": found.bytes_zlib_dense,
        "bytes_zlib_pruned": found.bytes_zlib_pruned,
        "verified": "no quality goal" if plan.quality.verified is None else plan.quality.verified,
    }
