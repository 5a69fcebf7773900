"""What can be done after a command: the commands themselves, with the names and options of the run that was made."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from onnxsens.artefacts import PLAN_FILE, PRUNED_FILE, REPORT_FILE
from onnxsens.options import Options
from onnxsens.plan.planfile import Plan
from onnxsens.results import Verification
from onnxsens.retelling import NAMES, PROVIDERS
from onnxsens.scan.store import FILE as STORE_FILE
from onnxsens.usercode import is_code

Steps = list[tuple[str, str | Sequence[str]]]

# Fields that say how samples are read and run, and so are needed to measure the same again.
READING = ("scale", "mean", "std", "dims", "output", "class_axis", "provider", "batch_size", "custom_op_libs")
OPENERS = {"darwin": "open", "win32": "start"}
BROWSER = "see the plan, and a curve for every weight, in a browser"


def after_plan(
    made: Plan,
    folder: Path,
    model: Path,
    options: Options,
    limits: Sequence[str],
    *,
    masks: bool,
    pruned: bool,
) -> Steps:
    """After `auto` and `plan`.

    Args:
        limits: as they were given, `METRIC=X`.
        masks: whether they lie beside the plan, under the names of the source.
        pruned: whether the pruned model beside the plan is that of this plan.
    """
    steps: Steps = []
    if made.quality.verified is False:
        allowed = bounds_of(made)
        if allowed:
            words = ["onnxsens", "plan", str(folder), *code_of(options), *limited(allowed)]
            steps.append(("allow what this plan may lose, at the bound that was measured", words))
        steps.append(("or be surer of a small loss", "give more samples, or a larger --holdout, for a closer bound"))
    steps.append((BROWSER, [OPENERS.get(sys.platform, "xdg-open"), str(folder / REPORT_FILE)]))
    if not pruned:
        force = ["--force"] if (folder / PRUNED_FILE).exists() else []
        words = ["onnxsens", "apply", str(model), str(folder / PLAN_FILE), "-o", str(folder / PRUNED_FILE), *force]
        steps.append(("write the pruned model", words))
    goal = [text for text in limits if is_code(text.rpartition("=")[0])]
    own = limits if goal else [] if made.objective.max_drop else limited(bounds_of(made))[1:]
    if own or made.objective.max_drop:
        words = ["onnxsens", "verify", str(model), str(folder / PLAN_FILE), "-d", options.data, *reading(options)]
        words += [word for text in own if text != "--max-drop" for word in ("--max-drop", text)]
        if made.quality.verified is not False:
            steps.append(("check it as a gate, on these samples or on others", words))
    return [*steps, *back_to_the_framework(made, folder, model, masks=masks)]


def back_to_the_framework(made: Plan, folder: Path, model: Path, *, masks: bool) -> Steps:
    """What there is to be done where the model came from."""
    if made.level_kind != "sparsity" or not made.totals.zeros:
        return []
    if masks:
        apply = "onnxsens.frameworks.torch.apply(model, masks), or .keras, or .jax, holds the zeros"
        return [("fine-tune it, with masks.safetensors and weights.safetensors", apply)]
    if any(weight.source is not None for weight in made.weights):
        words = ["onnxsens", "export", str(folder / PLAN_FILE), "--model", str(model), "--to", "masks"]
        words += ["-o", str(folder / "masks"), *(["--force"] if (folder / "masks").exists() else [])]
        return [("fine-tune it: masks under the names of your framework", words)]
    return [("fine-tune it", "give the same command --checkpoint FILE to get masks under the names of your framework")]


def after_scan(folder: Path, options: Options, *, plannable: bool) -> Steps:
    """After `scan`.

    Args:
        plannable: whether a plan can be made in its folder.
    """
    report = ["onnxsens", "report", str(folder), "-o", str(folder / REPORT_FILE)]
    report += ["--force"] if (folder / REPORT_FILE).exists() else []
    steps: Steps = []
    if plannable and not any(map(is_code, (*options.metrics, options.search_metric or ""))):
        words = ["onnxsens", "plan", str(folder), *code_of(options), "--sparsity", "0.5"]
        steps.append(("choose a level for every weight", words))
    return [*steps, ("see a curve for every weight in a browser", report)]


def after_verification(result: Verification, plan: Path, model: Path, options: Options) -> Steps:
    """After `verify` found a limit exceeded."""
    bounds = {name: each.bound for name, each in result.verdicts.items()}
    tight = {name: each.limit for name, each in result.verdicts.items() if each.limit is not None}
    steps: Steps = []
    if (plan.parent / STORE_FILE).exists() and not result.failures and not any(map(is_code, tight)):
        words = ["onnxsens", "plan", str(plan.parent), *code_of(options), *limited(tight)]
        steps.append(("prune less: choose a plan that is to keep this", words))
    if all(map(math.isfinite, bounds.values())) and not result.failures:
        words = ["onnxsens", "verify", str(model), str(plan), "-d", options.data, *reading(options)]
        merged = {name: max(upward(bounds[name]), limit) for name, limit in tight.items()}
        steps.append(("or allow what was measured", [*words, *limited(merged)]))
    return steps


def bounds_of(made: Plan) -> dict[str, float]:
    """The drops that a plan certainly keeps, a little rounded up: of its limits, or of the first metric."""
    metrics = made.quality.metrics
    wanted = list(made.objective.max_drop) or list(metrics)[:1]
    highs = {name: metrics[name].high for name in wanted if name in metrics}
    if len(highs) < len(wanted) or any(map(is_code, highs)):
        return {}
    known = {name: high for name, high in highs.items() if high is not None}
    limits = made.objective.max_drop
    return {name: max(upward(high), limits.get(name, 0.0)) for name, high in known.items()} if known else {}


def upward(value: float) -> float:
    """The next number of two digits above; at least 0.001."""
    value = max(value, 1e-3)
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    found = float(f"{value:.1e}")
    while found <= value:
        found = float(f"{found + unit:.1e}")
    return found


def limited(limits: Mapping[str, float]) -> list[str]:
    """Words for limits."""
    return [word for name, limit in limits.items() for word in ("--max-drop", f"{name}={limit:g}")]


def code_of(options: Options) -> list[str]:
    """Code of the user's, which a run does not start by itself."""
    words = ["-d", options.data] if is_code(options.data) else []
    return words + [word for library in options.custom_op_libs for word in ("--custom-op-lib", library)]


def reading(options: Options) -> list[str]:
    """Words for how samples are read and the model is run, where they are not what they are by themselves."""
    plain = {each.name: getattr(Options(data=""), each.name) for each in fields(Options)}
    words: list[str] = []
    for name in READING:
        value = getattr(options, name)
        value = PROVIDERS.get(value, value) if name == "provider" else value
        if value == plain[name]:
            continue
        option = NAMES.get(name, f"--{name.replace('_', '-')}")
        if isinstance(value, Mapping):
            words += [word for key, length in value.items() for word in (option, f"{key}={length}")]
        elif isinstance(value, str | int | float):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
        else:
            words += [word for each in value for word in (option, each)]
    return words
