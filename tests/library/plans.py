"""Plans, curves and runs for what shows them."""

from onnxsens.plan.planfile import (
    Choice,
    DataSource,
    Generator,
    MetricQuality,
    ModelSource,
    Objective,
    Plan,
    PlannedWeight,
    Quality,
    Totals,
)
from onnxsens.results import CurvePoint, MeasuredCurve, RunRecord

DIGEST = "0" * 64


def weight(name: str = "w", zeros: int = 50, op: str = "MatMul") -> PlannedWeight:
    """Of 100 elements."""
    return PlannedWeight(
        name=name, op=op, shape=[10, 10], dtype="float32", encoding="initializer", level=zeros / 100,
        sparsity=zeros / 100, zeros=zeros, pattern="unstructured", macs=100, effect="effective", picks={},
        failure=None, sha256=DIGEST,
    )  # fmt: skip


def plan_of(*weights: PlannedWeight, text: str = "plain", verified: bool | None = True) -> Plan:
    """A plan in which every text that a model, a user or another program can set is this one."""
    size, zeros = 100 * len(weights), sum(each.zeros for each in weights)
    metric = MetricQuality(
        unit=text, higher_is_better=True, dense=0.9, pruned=0.89, drop=0.01, low=0.005, high=0.015, bound=0.016,
        limit=0.02, search_drop=0.01, predicted_drop=None,
    )  # fmt: skip
    return Plan(
        schema="onnxsens.plan/1",
        generator=Generator(name=text, version=text, onnx=text, onnxruntime=text, numpy=text, provider=text),
        model=ModelSource(file=text, sha256=DIGEST, parameters=size),
        data=DataSource(sha256=DIGEST, samples=10, search=5, holdout=5, seed=0, scan_samples=5),
        technique=text,
        level_kind="sparsity",
        objective=Objective(kind="max-drop", max_drop={text: 0.02}, sparsity=None, confidence=0.95, search_metric=text),
        totals=Totals(
            parameters=size, zeros=zeros, sparsity=zeros / max(size, 1), macs_dense=None, macs_nonzero=None,
            bytes_dense=400, bytes_zlib_dense=300, bytes_zlib_pruned=200,
        ),
        quality=Quality(samples=5, looks=1, verified=verified, metrics={text: metric}, failures={}),
        choice=Choice(picker=text, exact=False, proposals=[], disagreement=None, points=3, joint_runs=1),
        weights=list(weights),
        skipped=[],
        changed=[],
    )  # fmt: skip


def curve(name: str = "w", metric: str = "plain", *, drops: tuple[float, ...] = (0.1, 0.2, 0.4)) -> MeasuredCurve:
    """Points evenly between 0 and 1."""
    levels = [(number + 1) / (len(drops) + 1) for number in range(len(drops))]
    points = tuple(
        CurvePoint(level, drop, drop - 0.01, drop + 0.01, 64) for level, drop in zip(levels, drops, strict=True)
    )
    return MeasuredCurve(name, "magnitude", metric, points)


def run_of(plan: Plan | None, *curves: MeasuredCurve, metric: str = "plain") -> RunRecord:
    """Of these curves."""
    return RunRecord("plain", "onnxsens 1", plan, curves, {}, (), technique="magnitude", search_metric=metric)
