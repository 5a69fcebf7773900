"""Which targets gain from a plan, by what the plan alone says of its weights: operator, storage, pattern, sparsity.

`onnxsens targets NAME MODEL` looks at the model itself, at what else a weight is used by and at its channels.
"""

import re
from collections import Counter
from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import Any

from onnxsens.plan.planfile import Plan, PlannedWeight, size_of
from onnxsens.plugins import sound
from onnxsens.report.text import percent
from onnxsens.targets import Speedup, Target, targets

ISSUE = re.compile(r"([\w.-]+/[\w.-]+)#(\d+)")


@dataclass(frozen=True)
class Source:
    """Where something is from; `link` is empty where it has no address that is sure to last."""

    text: str
    link: str


@dataclass(frozen=True)
class Gain:
    """One target.

    Attributes:
        faster: whether this plan is expected to make the model faster there.
        why: how many weights count there, or why none does.
    """

    name: str
    title: str
    faster: Speedup
    smaller: str
    why: str
    line: str
    sources: list[Source]
    aimed: bool


SMALLER = {
    "bytes": "compressed bytes",
    "macs": "multiply-accumulates, where they are skipped",
    "zeros": "what is stored",
}


def gains(plan: Plan) -> list[Gain]:
    """Every target: those that gain first."""
    found = [gain(target, plan) for target in sound(targets)[0].values()]  # `onnxsens targets` tells of the others
    return sorted(found, key=lambda each: (("yes", "maybe", "no").index(each.faster), each.name))


def gain(target: Target, plan: Plan) -> Gain:
    """What a target makes of the plan."""
    pruned = [weight for weight in plan.weights if weight.zeros]
    refused = [reason for weight in pruned if (reason := refusal(target, weight))]
    taken = len(pruned) - len(refused)
    why = f"{taken} of {len(pruned)} pruned weights are as it takes them"
    if refused:
        reason, times = Counter(refused).most_common(1)[0]
        why += f"; the others: {reason}" if times == len(refused) else f"; of most others: {reason}"
    return Gain(
        name=target.name,
        title=target.title,
        faster=target.speedup if taken else "no",
        smaller=SMALLER[target.cost] if taken else "-",
        why=why,
        line=target.line,
        sources=[source(text) for text in target.sources],
        aimed=plan.objective.target == target.name,
    )


def refusal(target: Target, weight: PlannedWeight) -> str | None:
    """Why the zeros of a planned weight gain nothing there; None where they may."""
    if target.operators and weight.op not in target.operators:
        return f"{weight.op} is none of {', '.join(target.operators)}"
    if target.dtypes and weight.dtype not in target.dtypes:
        return f"stored as {weight.dtype}, not as {' or '.join(target.dtypes)}"
    if target.technique_pattern is not None and weight.pattern != target.technique_pattern:
        return f"the zeros are {weight.pattern or 'anywhere'}, and have to be {target.technique_pattern}"
    if target.least is not None and weight.sparsity < target.least:
        return f"less than {percent(target.least)} sparse"
    return target.unfit(stand_in(weight))


def stand_in(weight: PlannedWeight) -> Any:
    """As much of a model's weight as a plan knows: its first operator, and the shape that it is stored in."""
    shape, size = tuple(weight.shape), size_of(weight)
    columns = size // max(shape[0], 1) if shape else 1
    return SimpleNamespace(
        name=weight.name,
        shape=shape,
        size=size,
        dtype=weight.dtype,
        encoding=weight.encoding,
        operator=weight.op,
        consumers=(SimpleNamespace(operator=weight.op, shape=shape),),
        readers=(),
        matrix_shape=(shape[0] if shape else 1, columns),
        channels=columns // max(prod(shape[2:]), 1) if "Conv" in weight.op else columns,
    )


def source(text: str) -> Source:
    """With its address where it is an issue on GitHub."""
    found = ISSUE.match(text)
    return Source(text, f"https://github.com/{found[1]}/issues/{found[2]}" if found else "")
