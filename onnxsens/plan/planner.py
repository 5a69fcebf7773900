"""From a scan to a plan: choose, look at the hold-out split, tighten and choose again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.arrays import FloatArray
from onnxsens.engine import Measurement
from onnxsens.errors import GoalError
from onnxsens.metrics import Metric
from onnxsens.model import Model, Weight
from onnxsens.plan.ensemble import Accepts, Candidate, Ensemble
from onnxsens.plan.goal import LOOKS, Goal
from onnxsens.plan.pickers import Ground, Levels
from onnxsens.plan.pickers.sweet_spotter import SweetSpotterPicker
from onnxsens.plan.verification import Verdict, judge, predicted_bound
from onnxsens.scan import Joint, Scanner

TYPICAL_JOINT_RUNS = 50
LEAST_SHARE = 0.25  # of the search metric's drop that is left to the next choice after a failed look


@dataclass(frozen=True)
class Chosen:
    """A plan with its last look: which candidates there were, and what the hold-out split said of the best."""

    candidates: list[Candidate]
    holdout: Joint
    verdicts: Mapping[str, Verdict]
    looks: int
    verified: bool | None

    @property
    def best(self) -> Candidate:
        """The plan itself."""
        return self.candidates[0]


@dataclass(frozen=True)
class Task:
    """What is to be planned, and with what.

    Attributes:
        metrics: every metric the scanner measures, by spec.
        search_metric: the one that tolerances are on.
        effects: whether a weight has any effect on the outputs; one without is left dense, since nothing is known
            of what pruning it does.
    """

    scanner: Scanner
    model: Model
    metrics: Mapping[str, Metric]
    search_metric: str
    goal: Goal
    effects: Mapping[str, bool]

    def matrix(self, weight: Weight) -> FloatArray:
        """A weight's dense values `[out, in]`."""
        values: FloatArray = weight.layout.to_matrix(self.model.array(weight.name))
        return values


def typical_levels(step: float, resolution: float) -> int:
    """How many levels the searches ask of a weight on a typical curve: Top-Down stops past the middle."""
    bisections = max(0, math.ceil(math.log2(step / resolution)))
    return math.ceil(0.7 / step) + bisections + SweetSpotterPicker.cap


class Planner:
    """Chooses a level for every weight and checks the choice.

    Args:
        step, resolution: of the searches, in sparsity.

    Raises:
        GoalError: no weight has any effect.
    """

    def __init__(self, task: Task, step: float, resolution: float) -> None:
        self._task = task
        self._scanner = task.scanner
        live = [weight for weight in task.scanner.weights if task.effects[weight.name]]
        if not live:
            raise GoalError("no weight has any effect on the outputs of these samples; use samples of the real task")
        ground = Ground(task.scanner, live, task.matrix, task.search_metric, step, resolution)
        self._ensemble = Ensemble(ground, self._measure)
        self._expected = len(live) * typical_levels(step, resolution) + TYPICAL_JOINT_RUNS

    def choose(self) -> Chosen:
        """The plan for the goal, checked on the hold-out split.

        Raises:
            GoalError: no plan but the dense model keeps the limits.
        """
        if self._task.goal.kind == "max-drop":
            return self._choose_within()
        self._scanner.observer.stage("choice", self._expected)
        if self._task.goal.sparsity is not None:
            candidates = self._ensemble.at(self._task.goal.sparsity)
        else:
            candidates = self._ensemble.knee()
        return self._look(candidates, 1, None)

    def _choose_within(self) -> Chosen:
        """At most three looks, each but the first with limits tightened by what was missing in the one before."""
        goal = self._task.goal
        limits = dict(goal.max_drop)
        chosen: Chosen | None = None
        for look in range(1, LOOKS + 1):
            again = f"choice {look}" if look > 1 else "choice"
            self._scanner.observer.stage(again, self._expected if look == 1 else TYPICAL_JOINT_RUNS)
            candidates = self._ensemble.within(self._accepts(limits, look))
            if not candidates or candidates[0].sparsity == 0:
                break
            chosen = self._look(candidates, look, verified=False)
            if all(name in chosen.verdicts and chosen.verdicts[name].holds for name in goal.max_drop):
                return self._look(candidates, look, verified=True)
            limits = self._tightened(limits, chosen, look + 1)
        if chosen is None:
            raise GoalError(
                f"no plan keeps {self._limits_text()} on the search split, not even the mildest; "
                "allow a larger drop, or give more samples"
            )
        return chosen

    def _tightened(self, limits: Mapping[str, float], failed: Chosen, look: int) -> dict[str, float]:
        """Limits for the next choice: less by what was missing, and a cap on the search metric.

        The cap makes the next plan milder also where the goal's metric is too coarse to tell: a plan may lose no
        sample of two hundred on the search split, and three on the hold-out split.
        """
        tighter = dict(limits)
        allowed_share = 1.0
        for name, limit in self._task.goal.max_drop.items():
            verdict = failed.verdicts.get(name)
            if verdict is None or verdict.holds:
                continue
            gap = verdict.bound - limit
            tighter[name] = max(limits[name] - gap, self._predicted_dense(name, look))
            allowed_share = min(allowed_share, max(limit / verdict.bound, LEAST_SHARE))
        searched = failed.best.joint.measurements.get(self._task.search_metric)
        if searched is not None:
            cap = searched.drop * allowed_share
            tighter[self._task.search_metric] = min(cap, tighter.get(self._task.search_metric, cap))
        return tighter

    def _look(self, candidates: list[Candidate], look: int, verified: bool | None) -> Chosen:
        joint = self._scanner.joint(candidates[0].levels, "holdout", self._scanner.metrics)
        return Chosen(
            candidates, joint, judge(self._task.metrics, joint.measurements, self._task.goal, look), look, verified
        )

    def _measure(self, levels: Levels) -> Joint:
        return self._scanner.joint(levels, "search", self._scanner.metrics)

    def _accepts(self, limits: Mapping[str, float], look: int) -> Accepts:
        """Good enough on the search split to be expected to pass the look on the hold-out split.

        A limit on a metric that is not the goal's is a cap on what was measured, with no margin.
        """
        goals = self._task.goal.max_drop

        def loss(joint: Joint, name: str) -> float:
            measured = joint.measurements[name]
            return self._predicted(name, measured, look) if name in goals else measured.drop

        def accepts(joint: Joint) -> bool:
            return all(name in joint.measurements and loss(joint, name) <= limit for name, limit in limits.items())

        return accepts

    def _predicted(self, name: str, measured: Measurement, look: int) -> float:
        samples = self._scanner.sizes["holdout"]
        return predicted_bound(self._task.metrics[name], measured, samples, self._task.goal.alpha(look))

    def _predicted_dense(self, name: str, look: int) -> float:
        """What the bound of a plan that loses nothing is expected to be."""
        samples = self._scanner.sizes["search"]
        return self._predicted(name, Measurement(samples, 0.0, 0.0, 0.0, 0.0), look)

    def _limits_text(self) -> str:
        return " and ".join(
            f"a drop of at most {limit:g} in {name}" for name, limit in self._task.goal.max_drop.items()
        )
