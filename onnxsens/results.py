"""What the stages give back: records, for the report, for `--json`, for people who call the library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from onnxsens.engine import Effect
from onnxsens.model import Inventory, Model, Skipped
from onnxsens.plan.front import Front
from onnxsens.plan.planfile import Plan
from onnxsens.plan.verification import Verdict
from onnxsens.scan import Curve, Pick, Point

BUDGET: Final = "\0"  # the word that a sparsity takes the place of; no command line can hold it


@dataclass(frozen=True)
class Inspection:
    """What is in a model file.

    Attributes:
        macs: per sample and weight; empty where the model could not be run.
        macs_note: why they are missing, or on what shapes they were counted.
    """

    model: Model
    inventory: Inventory
    macs: Mapping[str, int]
    macs_note: str


@dataclass(frozen=True)
class ScanResult:
    """What a scan was asked and what each search picked, by search and weight.

    Attributes:
        points: every level that was asked for, by weight and level; what it comes to is in the point.
        picks: only of weights that change an output; of others nothing is known.
        effects: what zeroing a whole weight does to the outputs, by weight in graph order.
        failures: weights with a point that could not be measured, and why.
        skipped: stored parameters that are no weights to the scan, with the reason.
        tolerance: on the search metric; None where searches ran without one.
        control: random pruning at the same levels, save those that leave it nothing to choose; empty unless asked for.
        predicted: curves by weight that one measured point scales; empty unless asked for. No measurements.
        unpredicted: weights without one, and why.
    """

    points: Sequence[Point]
    picks: Mapping[str, Mapping[str, Pick]]
    effects: Mapping[str, Effect]
    failures: Mapping[str, str]
    skipped: Sequence[Skipped]
    search_metric: str
    tolerance: float | None
    control: Sequence[Point] = ()
    predicted: Mapping[str, Curve] = field(default_factory=dict)
    unpredicted: Mapping[str, str] = field(default_factory=dict)

    @property
    def no_better_than_random(self) -> list[str]:
        """Weights on which random pruning costs no more: by the mean drop over the levels measured for both."""
        drops = {(point.weight, point.asked): point.observed(self.search_metric).drop for point in self.points}
        found = []
        for weight in self.effects:
            pairs = [
                (drops[weight, point.asked], point.observed(self.search_metric).drop)
                for point in self.control
                if point.weight == weight
            ]
            pairs = [pair for pair in pairs if not any(map(math.isnan, pair))]
            if pairs and sum(random for _, random in pairs) <= sum(chosen for chosen, _ in pairs):
                found.append(weight)
        return found


@dataclass(frozen=True)
class Applied:
    """A pruned model was written."""

    path: Path
    changed: Sequence[str]
    zeros: int
    parameters: int


@dataclass(frozen=True)
class Verification:
    """A plan on given samples, beside the dense model.

    Attributes:
        split: `holdout` where the samples are those the plan was made with, else `all`.
    """

    verdicts: Mapping[str, Verdict]
    failures: Mapping[str, str]
    split: str
    samples: int

    @property
    def holds(self) -> bool:
        """Whether every limit is kept."""
        return not self.failures and all(verdict.holds for verdict in self.verdicts.values())


@dataclass(frozen=True)
class Estimate:
    """What a run would take, from scratch: evaluations of a point, joint runs, and seconds of both."""

    weights: int
    points: int
    joint_runs: int
    seconds: float


@dataclass(frozen=True)
class Diagnosis:
    """What is installed, which providers start (or why not), and what is wrong."""

    python: str
    platform: str
    versions: Mapping[str, str]
    providers: Mapping[str, str]
    problems: Sequence[str]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at in a run folder.

    Attributes:
        text: what is known of it, or what is wrong with it.
    """

    name: str
    state: Literal["ok", "bad", "absent"]
    text: str


@dataclass(frozen=True)
class RunReport:
    """A run folder, looked at from outside."""

    folder: str
    findings: Sequence[Finding]

    @property
    def sound(self) -> bool:
        """Whether nothing is bad."""
        return not self.bad

    @property
    def bad(self) -> list[Finding]:
        """What is."""
        return [finding for finding in self.findings if finding.state == "bad"]


@dataclass(frozen=True)
class CurvePoint:
    """A measured level of a weight by itself.

    Attributes:
        low, high: of the drop, two standard errors on either side.
    """

    sparsity: float
    drop: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True)
class MeasuredCurve:
    """How one metric falls as one weight gets sparser, by sparsity."""

    weight: str
    technique: str
    metric: str
    points: Sequence[CurvePoint]


@dataclass(frozen=True)
class CurveRow:
    """A point of a curve as a row of a table.

    Attributes:
        kind: predicted ones have no interval and no samples.
        drop: None where it is no finite number.
        low, high: two standard errors on either side.
        monotone: what a picker takes for the drop: never falling, never below 0.
    """

    weight: str
    technique: str
    metric: str
    kind: Literal["measured", "predicted"]
    sparsity: float
    drop: float | None
    low: float | None
    high: float | None
    samples: int
    monotone: float | None


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run, from its files alone: for pages, tables, comparisons.

    Weights are in graph order where there is a plan, else in the order in which they were looked at.

    Attributes:
        model: its file name, without a folder.
        plan: None where nothing was chosen yet.
        front: the best plan at each of many sparsities; None unless asked for.
        curves: what was measured, for each weight, technique and metric; random pruning is a technique of its own.
        predicted: by weight, sparsity and drop of `search_metric` on the predicted curve through the measured points.
        foretold: by weight, for each of its measured points: sparsity, the drop that a curve through its other points
            predicts there, and the drop that was measured; only of weights with several points.
        unpredicted: weights without such a curve, and why.
        effects: what zeroing a whole weight does to the outputs, by weight.
        failures: weights with a point that could not be measured, and the last reason.
        dense: what each metric is of the dense model, on the samples of the point that has most.
        technique: of the plan's points; of a scan alone, the first that was measured.
        search_metric: what searches look at; None where nothing says so.
        doubts: what speaks against the files that this is from.
        command: words that make such a run, without folders.
        budget_command: words that make a plan of any sparsity, `BUDGET` in its place; empty without a plan.
        places: folders of this machine, which texts here may name and nothing that is passed on does.
    """

    model: str
    made_by: str
    plan: Plan | None
    curves: Sequence[MeasuredCurve]
    failures: Mapping[str, str]
    places: Sequence[str]
    front: Front | None = None
    predicted: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    unpredicted: Mapping[str, str] = field(default_factory=dict)
    effects: Mapping[str, Effect] = field(default_factory=dict)
    dense: Mapping[str, float] = field(default_factory=dict)
    technique: str | None = None
    search_metric: str | None = None
    doubts: Sequence[str] = ()
    command: Sequence[str] = ()
    foretold: Mapping[str, Sequence[tuple[float, float, float]]] = field(default_factory=dict)
    budget_command: Sequence[str] = ()

    @property
    def weights(self) -> list[str]:
        """Names of all that can be pruned and are known here."""
        planned = [weight.name for weight in self.plan.weights] if self.plan else []
        return list(dict.fromkeys([*planned, *self.effects, *(curve.weight for curve in self.curves)]))

    def curve(self, weight: str, metric: str | None = None) -> "MeasuredCurve | None":
        """The curve of a weight by the run's technique, of the search metric unless another is named."""
        wanted = (weight, self.technique, metric or self.search_metric)
        return next((one for one in self.curves if (one.weight, one.technique, one.metric) == wanted), None)
