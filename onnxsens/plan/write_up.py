"""A chosen plan as a record: the choice, its evidence, and the account of every parameter."""

from collections.abc import Mapping, Sequence

from onnxsens.arrays import AnyArray
from onnxsens.model.storage import compressed_bytes
from onnxsens.plan.application import CarriedTensors, PrunedWeights
from onnxsens.plan.costs import remaining_macs
from onnxsens.plan.ensemble import agreement, searching
from onnxsens.plan.pickers import Levels
from onnxsens.plan.planfile import (
    SCHEMA,
    Alternative,
    Changes,
    Choice,
    DataSource,
    Generator,
    MetricQuality,
    ModelSource,
    Objective,
    Plan,
    PlannedWeight,
    Proposal,
    Quality,
    SkippedParameters,
    Totals,
)
from onnxsens.plan.planner import Chosen
from onnxsens.plan.task import Task
from onnxsens.usercode import without_folder


def write_up(
    task: Task,
    chosen: Chosen,
    generator: Generator,
    data: DataSource,
    macs: Mapping[str, int] | None,
    spent: tuple[int, int],
    new: PrunedWeights | CarriedTensors,
    changes: Changes | None = None,
    updates: Sequence[Alternative] = (),
    baselines: Sequence[Alternative] = (),
) -> Plan:
    """The plan as a record.

    Args:
        macs: per sample and weight, None where the model could not be asked.
        spent: points and joint runs of the whole run so far.
        new: every tensor that the plan changes.
        changes: the file that has them, where they depend on data.
        updates, baselines: what it is compared with.
    """
    scanner, best = task.scanner, chosen.best
    levels = {weight.name: best.levels.get(weight.name, 0.0) for weight in scanner.weights}
    carried = best.carried
    zeros = {weight.name: new.zeros(weight.name) if weight.name in new else weight.zeros for weight in scanner.weights}
    failures = scanner.failures()
    weights = [
        PlannedWeight(
            name=weight.name,
            op=weight.operator,
            shape=list(weight.shape),
            dtype=weight.dtype,
            encoding=weight.encoding,
            level=levels[weight.name],
            sparsity=zeros[weight.name] / weight.size,
            zeros=zeros[weight.name],
            pattern=scanner.technique.pattern_name,
            macs=None if macs is None else macs[weight.name],
            effect=task.effects[weight.name],
            picks={
                candidate.picker: candidate.levels.get(weight.name, 0.0)
                for candidate in sorted(chosen.candidates, key=lambda candidate: candidate.picker)
            },
            failure=without_folders(failures[weight.name], task) if weight.name in failures else None,
            sha256=weight.sha256,
            setting=scanner.technique.setting(levels[weight.name]),
            limited=task.allowed[weight.name].range.why or None if weight.name in task.allowed else None,
            not_updated=carried.why_not.get(weight.name) if carried else None,
        )
        for weight in scanner.weights
    ]
    sizes = {weight.name: weight.size for weight in task.live}
    bytes_dense, compressed_dense, compressed_pruned = stored_bytes(task, new)
    return Plan(
        schema=SCHEMA,
        generator=generator,
        model=ModelSource(file=task.model.path.name, sha256=task.model.sha256, parameters=scanner.inventory.parameters),
        data=data,
        technique=scanner.technique.name if task.carrying is None else task.carrying.technique,
        update="none" if task.carrying is None else task.carrying.method,
        calibration=best.fitted_on,
        changes=changes,
        updates=list(updates),
        baselines=list(baselines),
        level_kind=scanner.technique.level_kind,
        objective=Objective(
            kind=task.goal.kind,
            max_drop={without_folder(name): limit for name, limit in task.goal.max_drop.items()},
            sparsity=task.goal.sparsity,
            confidence=task.goal.confidence,
            search_metric=without_folder(task.search_metric),
            size=task.goal.size,
            macs=task.goal.macs,
            target=task.goal.target,
            limits=task.goal.constraints.words(),
        ),
        totals=Totals(
            parameters=scanner.inventory.planned_parameters,
            zeros=sum(weight.zeros for weight in weights),
            sparsity=sum(zeros.values()) / scanner.inventory.planned_parameters,
            macs_dense=None if macs is None else sum(macs.values()),
            macs_nonzero=None
            if macs is None
            else sum(
                remaining_macs(macs[weight.name], sizes_of, weight.zeros)
                for weight, sizes_of in zip(weights, (item.size for item in scanner.weights), strict=True)
            ),
            bytes_dense=bytes_dense,
            bytes_zlib_dense=compressed_dense,
            bytes_zlib_pruned=compressed_pruned,
        ),
        quality=describe_quality(task, chosen),
        choice=Choice(
            picker=best.picker,
            exact=scanner.sampling.exact,
            proposals=[
                Proposal(
                    picker=candidate.picker,
                    baseline=candidate.baseline,
                    sparsity=candidate.sparsity,
                    samples=max((m.samples for m in candidate.joint.measurements.values()), default=0),
                    gap=candidate.gap,
                    drops={without_folder(name): m.drop for name, m in sorted(candidate.joint.measurements.items())},
                )
                for candidate in chosen.candidates
            ],
            disagreement=agreement(searching(chosen.candidates), sizes),
            points=spent[0],
            joint_runs=spent[1],
            carried_out=chosen.rebuilds,
        ),
        weights=weights,
        skipped=[
            SkippedParameters(
                name=row.name,
                shape=list(row.shape),
                dtype=row.dtype,
                tensors=row.tensors,
                parameters=row.parameters,
                reason=row.reason,
            )
            for row in scanner.inventory.skipped
        ],
        changed=sorted(new),
    )


def stored_bytes(task: Task, new: Mapping[str, AnyArray]) -> tuple[int, int, int]:
    """Bytes of all planned weights as stored: dense, dense compressed, pruned compressed. One weight at a time."""
    plain = compressed = after = 0
    for weight in task.scanner.weights:
        dense = task.model.array(weight.name)
        small = compressed_bytes(dense)
        plain += dense.nbytes
        compressed += small
        after += compressed_bytes(new[weight.name]) if weight.name in new else small
    return plain, compressed, after


def predicted_drop(task: Task, levels: Levels, metric: str) -> float:
    """What the single-layer curves add up to."""
    return sum(
        task.scanner.curve(weight, metric).drop_at(task.scanner.zeros(weight, levels[weight.name]) / weight.size)
        for weight in task.live
    )


def describe_quality(task: Task, chosen: Chosen) -> Quality:
    """How the plan fared on the hold-out split, beside what was expected."""
    scanner = task.scanner
    searched = chosen.best.joint.measurements
    return Quality(
        samples=task.scanner.sizes["holdout"],
        looks=chosen.looks,
        verified=chosen.verified,
        metrics={
            without_folder(name): MetricQuality(
                unit=task.metrics[name].unit,
                higher_is_better=task.metrics[name].higher_is_better,
                dense=verdict.measurement.dense,
                pruned=verdict.measurement.pruned,
                drop=verdict.measurement.drop,
                low=verdict.low,
                high=verdict.high,
                bound=verdict.bound,
                limit=verdict.limit,
                search_drop=searched[name].drop if name in searched else None,
                predicted_drop=predicted_drop(task, chosen.best.levels, name)
                if name == task.search_metric or scanner.sampling.exact
                else None,
            )
            for name, verdict in chosen.verdicts.items()
        },
        failures={without_folder(name): without_folders(text, task) for name, text in chosen.holdout.failures.items()},
    )


def without_folders(text: str, task: Task) -> str:
    """A message that may quote the specs of metrics; a plan holds no paths."""
    for name in task.metrics:
        text = text.replace(name, without_folder(name))
    return text
