"""What differs between two runs, and whether it is more than noise. Arithmetic on records; opens nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnxsens.contrast.curves import compared, mean_drop, reach
from onnxsens.contrast.noise import ALPHA, BOUND95, holm, p_value
from onnxsens.contrast.origins import fields_of
from onnxsens.contrast.pairing import paired
from onnxsens.differences import CurvePair, QualityPair, RunDifference, WeightPair
from onnxsens.errors import UsageError
from onnxsens.plugins import unknown
from onnxsens.results import MeasuredCurve, RunRecord
from onnxsens.techniques import kinds

FEWEST_RANKED = 3
SAMPLES = (
    "both were measured on the same samples, so their errors move together; only the errors of each are kept, and they "
    "are taken for independent, so that a difference has to be larger than it would to count as more than noise"
)
MASKS = "which elements are zero is not compared, only how many"


@dataclass(frozen=True)
class Side:
    """A run, or a plan alone, and what its store says that it was made from.

    Attributes:
        alone: whether it is a plan without its run.
    """

    run: RunRecord
    identity: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False


def contrast(a: Side, b: Side, metric: str | None = None, alpha: float = ALPHA) -> RunDifference:
    """What differs.

    Args:
        metric: whose curves are compared; None takes what both search by, else the first that both have.
        alpha: the chance of any false alarm at all.
    Raises:
        UsageError: there are no curves of that metric in both.
    """
    weights = paired(a.run, b.run)
    metric, notes = metric_of(a, b, metric)
    a_kind, b_kind = level_kind_of(a.run), level_kind_of(b.run)
    if metric is not None and a_kind != b_kind:
        metric = None
        notes = [
            f"no curves are compared: levels of A are {a_kind}, those of B are {b_kind}, and a share of one is none of "
            "the other"
        ]
    curves, ranked_to = curves_of(a.run, b.run, weights, metric)
    quality = qualities(a.run, b.run)
    corrected = holm([each.p for each in curves] + [each.p for each in quality])
    told = [(p, p is not None and p <= alpha) for p in corrected]
    curves = [replace(c, p=p, more_than_noise=more) for c, (p, more) in zip(curves, told, strict=False)]
    quality = [replace(q, p=p, more_than_noise=more) for q, (p, more) in zip(quality, told[len(curves) :], strict=True)]
    ranks = [(each.a_mean, each.b_mean) for each in curves if each.a_mean is not None and each.b_mean is not None]
    return RunDifference(
        a.run.model,
        b.run.model,
        metric,
        a.run.technique,
        b.run.technique,
        fields_of(a.run, b.run, a.identity, b.identity, a.settings, b.settings),
        weights,
        curves,
        quality,
        [*notes, *notes_of(a, b, weights, curves)],
        spearman(ranks),
        len(ranks),
        ranked_to,
        alpha,
        sum(p is not None for p in corrected),
    )


def metric_of(a: Side, b: Side, wanted: str | None) -> tuple[str | None, list[str]]:
    """Whose curves can be compared, and what is to be said of that.

    Raises:
        UsageError: `wanted` is not in both.
    """
    of_a, of_b = (
        {curve.metric: None for curve in run.curves if curve.technique == run.technique} for run in (a.run, b.run)
    )
    both = [name for name in of_a if name in of_b]
    if wanted is not None and wanted not in both:
        raise UsageError(unknown("metric of both runs", wanted, both or ["none"]))
    without = [name for name, curves in (("A", of_a), ("B", of_b)) if not curves]
    if without:
        holds = "holds" if len(without) == 1 else "hold"
        alone = any(side.alone for side, curves in ((a, of_a), (b, of_b)) if not curves)
        steps = any(side.run.plan and side.run.plan.steps for side, curves in ((a, of_a), (b, of_b)) if not curves)
        more = "; give run folders for that" if alone else ""
        more = "; each step of an iterative plan is a run with its own, in the folder steps" if steps else more
        return None, [f"{' and '.join(without)} {holds} no curves, so none are compared{more}"]
    if not both:
        return None, [
            f"no curves are compared: A was measured by {', '.join(of_a)}, B by {', '.join(of_b)}, and none is both's"
        ]
    notes = []
    if a.run.search_metric != b.run.search_metric:
        notes.append(f"A searches by {a.run.search_metric}, B by {b.run.search_metric}")
    usual = (
        a.run.search_metric if a.run.search_metric == b.run.search_metric and a.run.search_metric in both else both[0]
    )
    return wanted or usual, notes


def level_kind_of(run: RunRecord) -> str:
    """What levels of its curves are: of a scan alone, by its technique."""
    if run.plan is not None:
        return run.plan.level_kind
    if run.technique is not None and run.technique in kinds.names():
        return kinds.get(run.technique).level_kind
    return "sparsity"


def curves_of(
    a: RunRecord, b: RunRecord, weights: Sequence[WeightPair], metric: str | None
) -> tuple[list[CurvePair], float | None]:
    """Pairs of curves, uncorrected, and up to what sparsity sensitivities are averaged."""
    found: list[tuple[MeasuredCurve, MeasuredCurve]] = []
    for pair in weights:
        one = a.curve(pair.a, metric) if pair.a is not None and pair.b is not None and metric else None
        other = b.curve(pair.b, metric) if one is not None and pair.b is not None else None
        if one is not None and other is not None:
            found.append((one, other))
    most = min((min(reach(one), reach(other)) for one, other in found), default=0.0)
    if most <= 0:
        return [compared(one, other) for one, other in found], None
    return [
        replace(compared(one, other), a_mean=mean_drop(one, most), b_mean=mean_drop(other, most))
        for one, other in found
    ], most


def qualities(a: RunRecord, b: RunRecord) -> list[QualityPair]:
    """Metrics that both plans were checked by, uncorrected. Errors are those that the 95 % intervals come from."""
    if a.plan is None or b.plan is None:
        return []
    rows = []
    for name, one in a.plan.quality.metrics.items():
        other = b.plan.quality.metrics.get(name)
        if other is None:
            continue
        difference = other.drop - one.drop
        p = 1.0 if difference == 0 else None
        if one.low is not None and one.high is not None and other.low is not None and other.high is not None:
            errors = ((one.high - one.low) / (2 * BOUND95), (other.high - other.low) / (2 * BOUND95))
            p = p_value(difference, *errors, min(a.plan.quality.samples, b.plan.quality.samples))
        rows.append(
            QualityPair(name, one.drop, other.drop, one.low, one.high, other.low, other.high, difference, p, False)
        )
    return rows


def spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Rank correlation, ties at their mean rank; None for fewer than three, or where one has one value only."""
    if len(pairs) < FEWEST_RANKED or any(len(set(side)) == 1 for side in zip(*pairs, strict=True)):
        return None
    from scipy.stats import spearmanr

    return float(spearmanr([one for one, _ in pairs], [other for _, other in pairs]).statistic)


def notes_of(a: Side, b: Side, weights: Sequence[WeightPair], curves: Sequence[CurvePair]) -> list[str]:
    """What is to be minded."""
    said = []
    rules = {pair.rule for pair in weights if pair.rule}
    if "source" in rules:
        said.append("weights whose names differ were matched by the names of their parameters in the source framework")
    if "order" in rules:
        said.append(
            "no name is in both, so weights were matched by operator and shape in the order of the graph: a guess"
        )
    if not rules and a.run.weights and b.run.weights:
        said.append(
            "no weight of A is one of B by name, by source or by operator and shape; nothing of them is compared"
        )
    if any(None not in (pair.a_shape, pair.b_shape) and pair.a_shape != pair.b_shape for pair in weights if pair.rule):
        said.append("some matched weights have other shapes in B")
    if curves and a.run.technique != b.run.technique:
        said.append(f"curves of A are by {a.run.technique}, those of B by {b.run.technique}")
    if curves and same_samples(a, b):
        said.append(SAMPLES)
    if curves and not any(curve.points for curve in curves):
        said.append("no weight was measured at sparsities that can be compared")
    return [*said, MASKS]


def same_samples(a: Side, b: Side) -> bool:
    """Whether the data and how they were split are the same, as far as is known."""

    def split(side: Side) -> tuple[object, ...]:
        data = side.run.plan.data if side.run.plan else None
        known = side.identity
        digest = known.get("data_sha256") or (data and data.sha256)
        return digest, known.get("seed") or (data and str(data.seed)), known.get("holdout")

    return split(a) == split(b)
