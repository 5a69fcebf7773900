"""Targets and what they say of a model's weights, as tables and as plain data."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from onnxsens.report.inventory import stored_as, used_by
from onnxsens.report.tables import FOLDED, LEFT, RIGHT, table
from onnxsens.report.text import count, inert, rounded
from onnxsens.targets import Assessment, Judgement, Target


def overview(targets: Sequence[Target]) -> RenderableType:
    """All at a glance, then the truth about each and where it is from."""
    rows = table(
        "where zeros pay",
        [
            ("target", LEFT),
            ("pattern", LEFT),
            ("operators", FOLDED),
            ("stored as", FOLDED),
            ("sparsity", FOLDED),
            ("faster", LEFT),
        ],
        [
            [
                inert(target.name),
                target.technique_pattern or "any",
                any_or(target.operators),
                any_or(target.dtypes),
                sparsities(target),
                target.speedup,
            ]
            for target in targets
        ],
    )
    return Group(rows, *(part for target in targets for part in (Text(), honest(target))))


def detail(target: Target, assessment: Assessment | None = None) -> RenderableType:
    """One target, and what it says of each weight of a model."""
    facts = [
        ("pattern", target.technique_pattern or "any"),
        ("operators", any_or(target.operators)),
        ("stored as", any_or(target.dtypes)),
        ("sparsity", sparsities(target)),
        ("zeros save", COSTS[target.cost]),
        ("faster", target.speedup),
    ]
    shown = [
        Text(inert(target.title), style="bold"),
        Text("\n".join(f"{name}: {value}" for name, value in facts)),
        Text(),
        honest(target),
    ]
    return Group(*shown, *([Text(), judged(assessment)] if assessment else []))


COSTS = {"bytes": "compressed bytes", "macs": "multiply-accumulates", "zeros": "themselves; nothing else is counted"}


def judged(assessment: Assessment) -> RenderableType:
    """Every weight, eligible or not, and their sum."""
    rows = [
        [
            inert(judgement.weight.name),
            inert(used_by(judgement.weight)),
            "x".join(map(str, judgement.weight.shape)),
            inert(stored_as(judgement.weight)),
            rounded(judgement.weight.size),
            inert(verdict(judgement)),
        ]
        for judgement in assessment.judgements
    ]
    columns = [
        ("weight", FOLDED),
        ("used by", FOLDED),
        ("shape", LEFT),
        ("stored as", FOLDED),
        ("elements", RIGHT),
        ("eligible", FOLDED),
    ]
    eligible, every = (
        sum(judgement.weight.size for judgement in some) for some in (assessment.eligible, assessment.judgements)
    )
    return Group(
        table(f"weights of {inert(assessment.model)}", columns, rows),
        Text(),
        Text(
            f"{len(assessment.eligible)} of {len(assessment.judgements)} weights are eligible, with "
            f"{count(eligible)} of {count(every)} parameters"
        ),
    )


def verdict(judgement: Judgement) -> str:
    """`yes`, `yes, but ...` or `no: ...`."""
    if judgement.refusal is not None:
        return f"no: {judgement.refusal}"
    return "yes" if judgement.doubt is None else f"yes, but {judgement.doubt}"


def honest(target: Target) -> Text:
    """The truth about it, and where that is from."""
    sources = "; ".join(map(inert, target.sources))
    return Text.assemble((inert(target.name), "bold"), f": {target.line}\n", (f"source: {sources}", "dim"))


def any_or(names: Sequence[str]) -> str:
    """The names in a row, or `any` where there are none."""
    return ", ".join(names) or "any"


def sparsities(target: Target) -> str:
    """`any`, `from 75 %` or `70, 80, 90 %`."""
    if target.levels is not None:
        return f"{', '.join(f'{level * 100:g}' for level in target.levels)} %"
    return "any" if target.least is None else f"from {target.least * 100:g} %"


def record(target: Target) -> dict[str, Any]:
    """All that is said of a target."""
    return {
        "name": target.name,
        "title": target.title,
        "pattern": target.technique_pattern,
        "operators": list(target.operators) or None,
        "dtypes": list(target.dtypes) or None,
        "levels": None if target.levels is None else list(target.levels),
        "least": target.least,
        "cost": target.cost,
        "speedup": target.speedup,
        "line": target.line,
        "sources": list(target.sources),
    }


def document(target: Target, assessment: Assessment | None = None) -> dict[str, Any]:
    """A target, and what it says of each weight of a model."""
    made: dict[str, Any] = {"target": record(target)}
    if assessment:
        made["model"] = {"file": assessment.model}
        made["weights"] = [
            {
                "name": judgement.weight.name,
                "op": judgement.weight.operator,
                "shape": list(judgement.weight.shape),
                "dtype": judgement.weight.dtype,
                "parameters": judgement.weight.size,
                "eligible": judgement.refusal is None,
                "reason": judgement.refusal,
                "doubt": judgement.doubt,
            }
            for judgement in assessment.judgements
        ]
    return made
