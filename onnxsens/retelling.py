"""The command that makes such a run, told from what the run and its plan hold. No folder is in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import PurePath
from typing import Any

from onnxsens.options import Options
from onnxsens.plan.planfile import Objective, Plan
from onnxsens.usercode import is_code, without_folder

# Options that are called otherwise on the command line than in the record, or repeated there.
NAMES = {"provider": "--providers", "dims": "--dim", "metrics": "--metric", "custom_op_libs": "--custom-op-lib"}
# What changes how fast a run is, and no more than its last bits.
LEFT_OUT = {"data", "threads", "jobs", "cache_memory", "guard"}
PROVIDERS = {"CPUExecutionProvider": "auto", "CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "tensorrt"}
PLAIN = {"technique": ("auto", "obs"), "update": ("auto", "reconstruct")}  # what a plan takes where nothing is said
PLAIN_SCAN = {"technique": ("auto", "magnitude"), "update": ("auto", "none")}


def command_of(
    settings: Mapping[str, Any],
    plan: Plan | None,
    model: str,
    goal: tuple[str, ...] = (),
    *,
    front: bool = False,
    scan: Sequence[str] | None = (),
) -> list[str]:
    """Its words, the first of them `onnxsens`; none where the run's store does not say what it was made from.

    Args:
        model: the model's file name.
        goal: in place of the plan's own.
        front: whether it measures the front too.
        scan: options of a scan alone; None where nobody knows them, so that nobody knows the command either.
    """
    data = settings.get("data")
    if not isinstance(data, str) or (plan is None and scan is None):
        return []
    words = ["onnxsens", "auto" if plan else "scan", model, "-d", without_path(data)]
    if plan:
        words += goal or goal_of(plan.objective)
        words += plan.objective.limits
    else:
        words += scan or ()
    words += [word for pair in options_of(settings, plan) for word in pair]
    if plan and plan.steps:
        words += ["--iterative", str(len(plan.steps))]
    words += ["--pareto"] if front else []
    return [*words, "-o", "out/"]


def goal_of(objective: Objective) -> list[str]:
    """What was asked of the plan."""
    words = [word for name, limit in objective.max_drop.items() for word in ("--max-drop", f"{name}={number(limit)}")]
    for option, value in (("--sparsity", objective.sparsity), ("--size", objective.size), ("--macs", objective.macs)):
        words += [] if value is None else [option, number(value)]
    words += [] if objective.target is None else ["--target", objective.target]
    if objective.kind == "max-drop" and objective.confidence != 0.95:
        words += ["--confidence", "none" if objective.confidence is None else number(objective.confidence)]
    return words


def options_of(settings: Mapping[str, Any], plan: Plan | None) -> Iterator[tuple[str, ...]]:
    """Options that are not what they are where nothing is said."""
    plain = PLAIN if plan else PLAIN_SCAN
    asked = set(plan.objective.max_drop) if plan else set()
    defaults = Options(data="")
    for each in fields(Options):
        value = settings.get(each.name)
        option = NAMES.get(each.name, f"--{each.name.replace('_', '-')}")
        if each.name in LEFT_OUT or value is None or value in plain.get(each.name, ()):
            continue
        if each.name == "technique" and plan and plan.objective.target is not None:
            continue  # the target has chosen it
        if each.name == "provider":
            value = PROVIDERS.get(value, value)
        if value in (getattr(defaults, each.name), [], {}):
            continue
        if isinstance(value, bool):
            yield (option,)
        elif isinstance(value, dict):
            yield from ((option, f"{name}={length}") for name, length in value.items())
        elif isinstance(value, list):
            shown = (without_path(item) if each.name == "custom_op_libs" else without_folder(item) for item in value)
            yield from ((option, item) for item in shown if item not in asked)
        else:
            yield (option, without_folder(value) if isinstance(value, str) else number(value))


def without_path(spec: str) -> str:
    """A file, folder or function without the folder it is in; `random:256` as it is."""
    return without_folder(spec) if is_code(spec) else PurePath(spec.replace("\\", "/")).name


def number(value: float) -> str:
    """As people write it, and no digit less."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
