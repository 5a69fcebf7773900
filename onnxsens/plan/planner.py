"""From a scan to a plan: choose, look at the hold-out split, tighten and choose again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onnxsens.engine import DENSE, Measurement
from onnxsens.errors import GoalError
from onnxsens.plan.budgets import CompressedBytes, Macs, Zeros
from onnxsens.plan.climbing import CORRECTIONS, Climb
from onnxsens.plan.ensemble import Accepts, Candidate, Ensemble
from onnxsens.plan.evolution import Evolution
from onnxsens.plan.goal import LOOKS
from onnxsens.plan.leading import Leader
from onnxsens.plan.pickers import MEMBERS, Ground, Levels
from onnxsens.plan.pickers.sweet_spotter import SweetSpotterPicker
from onnxsens.plan.racing import race
from onnxsens.plan.task import Task, limited, saving_of
from onnxsens.plan.verification import Verdict, judge, predicted_bound
from onnxsens.scan import Joint
from onnxsens.techniques import Sparsity
from onnxsens.techniques.patterns import UNSTRUCTURED

TYPICAL_JOINT_RUNS = 50
LEAST_SHARE = 0.25  # of a limit that is left to the next choice after a failed look
ROUNDING = 1e-12
FRONT = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True)
class Chosen:
    """A plan with its last look: which candidates there were, and what the hold-out split said of the best."""

    candidates: list[Candidate]
    holdout: Joint
    verdicts: Mapping[str, Verdict]
    looks: int
    verified: bool | None
    rebuilds: int = 0

    @property
    def best(self) -> Candidate:
        """The plan itself."""
        return self.candidates[0]


def typical_levels(step: float, resolution: float) -> int:
    """How many levels the searches ask of a weight on a typical curve: Top-Down stops past the middle."""
    bisections = max(0, math.ceil(math.log2(step / resolution)))
    return math.ceil(0.7 / step) + bisections + SweetSpotterPicker.cap


@dataclass(frozen=True)
class Limits:
    """What a choice has to keep on the search split.

    Attributes:
        goals: metric to the largest bound that may be predicted for the hold-out split.
        caps: metric to the largest drop that may be measured.
    """

    goals: Mapping[str, float]
    caps: Mapping[str, float]


class Planner:
    """Chooses a level for every weight and checks the choice.

    Args:
        step, resolution: of the searches, in sparsity.
        members: pickers, in the order in which they are asked.

    Raises:
        GoalError: no weight has any effect.
    """

    def __init__(self, task: Task, step: float, resolution: float, members: Sequence[str] = MEMBERS) -> None:
        self._task = task
        self._refine = set(members) >= set(MEMBERS)
        self._scanner = task.scanner
        live = task.live
        if not live:
            why = next((each.range.why for each in task.allowed.values() if each.fixed), "")
            if why:
                raise GoalError(f"no weight is left that may be pruned, by {why} and the like; allow some")
            raise GoalError("no weight has any effect on the outputs of these samples; use samples of the real task")
        self._saving = saving_of(task)
        prices = {weight.name: max(round(self._saving.price(weight)), 1) for weight in live}
        ground = Ground(task.scanner, live, task.matrix, task.search_metric, step, resolution, prices)
        ensemble = Ensemble(ground, self._measure, self._race, members, self._saving.of, limited(task))
        self._ensemble: Ensemble | Climb = ensemble
        if task.carrying is not None:
            self._ensemble = Climb(ensemble, task.scanner, task.carrying, task.search_metric, self._missing)
        self._expected = len(live) * typical_levels(step, resolution) + TYPICAL_JOINT_RUNS

    def choose(self) -> Chosen:
        """The plan for the goal, checked on the hold-out split.

        Raises:
            GoalError: no plan but the dense model keeps the limits.
        """
        self._scanner.on_joint = Leader(self._task.goal, self._task.search_metric, self._scanner.observer)
        if self._task.goal.kind == "max-drop":
            return self._choose_within()
        self._scanner.observer.stage("choice", self._expected)
        share = self._share_to_save()
        if share is not None:
            candidates = self._at_share(share)
        else:
            candidates = self._ensemble.knee()
            if not candidates:
                raise GoalError(
                    "no plan gets even a tenth of all weights to zero: the rest has no effect on the outputs and is "
                    "left dense; use samples that reach it, or give --sparsity"
                )
        return self._look(self._refined(candidates), 1, None)

    def _refined(self, candidates: list[Candidate], accepts: Accepts | None = None) -> list[Candidate]:
        """With the best one refined on joint runs, where that is worth it."""
        task = self._task
        plain = isinstance(task.scanner.technique, Sparsity) and task.scanner.technique.pattern_name == UNSTRUCTURED
        counted = isinstance(self._saving, Zeros)  # switches keep the number of zeros, and nothing else
        if not (candidates and plain and counted and self._refine) or task.carrying is not None or len(task.live) < 2:
            return candidates
        evolution = Evolution(
            task.scanner, tuple(task.live), task.search_metric, self._measure, limited(task), task.seed
        )
        better = evolution.refined(candidates[0], accepts)
        return candidates if better is None else [better, *candidates]

    def front(self) -> list[Candidate]:
        """The best plan at each of many sparsities, on samples of the search split."""
        self._scanner.observer.stage("front", len(FRONT))
        found = [self._ensemble.best_at(share) for share in FRONT]
        return [each for each in found if each is not None]

    def _share_to_save(self) -> float | None:
        """What the goal's budget leaves to be saved, as a share of what the dense model costs; None without one.

        Raises:
            GoalError: the budget is less than what no zero saves.
        """
        goal = self._task.goal
        if goal.sparsity is not None:
            return goal.sparsity
        if goal.macs is not None and isinstance(self._saving, Macs):
            left = goal.macs if goal.macs <= 1 else goal.macs / self._saving.total
            return max(1 - left, 0.0)
        if goal.size is not None and isinstance(self._saving, CompressedBytes):
            emptied = self._saving.bytes_of(dict.fromkeys((weight.name for weight in self._task.live), 1.0))
            if goal.size < emptied:
                raise GoalError(
                    f"a size of {goal.size} bytes cannot be met: with all weights at zero they take {emptied} bytes, "
                    f"compressed, and dense {self._saving.total}; allow more"
                )
            return max(1 - goal.size / self._saving.total, 0.0)
        return None

    def _missing(self, candidate: Candidate) -> float:
        """What a plan has to save besides to keep a budget of bytes, as a share; 0 or less where it keeps it."""
        goal = self._task.goal
        if goal.size is None:
            return 0.0
        assert isinstance(self._saving, CompressedBytes)
        # A little more than that: values of a sparser plan compress differently again.
        return 1.1 * (self._taken(candidate) - goal.size) / self._saving.total

    def _taken(self, candidate: Candidate) -> int:
        """Bytes of a plan's weights as they would be written, compressed."""
        assert isinstance(self._saving, CompressedBytes)
        if candidate.carried is None or self._task.carrying is None:
            return self._saving.exactly(candidate.levels)
        changed = self._task.carrying.carrier.compressed(candidate.carried.name)
        others = {weight.name: 0.0 for weight in self._scanner.weights if weight.name not in changed}
        return sum(changed.values()) + self._saving.bytes_of(others, only=others)

    def _kept_to_size(self, candidates: list[Candidate], share: float) -> list[Candidate]:
        """The same, or others that save a little more: a budget of bytes is shared out by what is nearly true of them.

        Raises:
            GoalError: the budget is kept by none that was tried.
        """
        for _ in range(CORRECTIONS):
            if isinstance(self._ensemble, Climb) or (missing := self._missing(candidates[0])) <= 0:
                break  # a climb has done so itself
            share += missing
            candidates = self._ensemble.at(share) or candidates
        if self._missing(candidates[0]) > 0:
            raise GoalError(
                f"a size of {self._task.goal.size} bytes cannot be met: the sparsest plan that was tried takes "
                f"{self._taken(candidates[0])}, compressed; allow more"
            )
        return candidates

    def _at_share(self, share: float) -> list[Candidate]:
        dense = self._saving.of({})
        if dense >= share:
            self._scanner.observer.note("the dense model keeps the budget already; the plan changes nothing")
        candidates = self._ensemble.at(share)
        if not candidates:
            effects = self._task.effects.items()
            frozen = [name for name, effect in effects if effect not in ("effective", "not measured")]
            unknown = [name for name, effect in effects if effect == "not measured"]
            reasons = [f"without effect on the outputs, and left dense: {', '.join(frozen[:3])}"] if frozen else []
            reasons += [f"not measured, and left dense: {', '.join(unknown[:3])}"] if unknown else []
            reason = f" ({'; '.join(reasons)})" if reasons else ""
            what = f"a {self._task.goal.kind} budget that saves {share:.1%} of the dense model's"
            if self._task.goal.kind == "sparsity":
                what = f"a sparsity of {share:g} over all prunable weights"
            raise GoalError(f"{what} cannot be met{reason}; ask for less")
        return self._kept_to_size(candidates, share)

    def _choose_within(self) -> Chosen:
        """At most three looks, each but the first with limits tightened by what was missing in the one before."""
        goal = self._task.goal
        limits = Limits(dict(goal.max_drop), {})
        chosen: Chosen | None = None
        for look in range(1, LOOKS + 1):
            again = f"choice {look}" if look > 1 else "choice"
            self._scanner.observer.stage(again, self._expected if look == 1 else TYPICAL_JOINT_RUNS)
            push = goal.confidence is not None
            accepts = self._accepts(limits, look)
            candidates = self._refined(self._ensemble.within(accepts, self._likely_loss(limits), push=push), accepts)
            if not candidates or candidates[0].sparsity <= self._scanner.sparsity({}):
                break
            chosen = self._look(candidates, look, verified=False)
            if all(name in chosen.verdicts and chosen.verdicts[name].holds for name in goal.max_drop):
                return replace(chosen, verified=True)
            limits = self._tightened(limits, chosen)
        if chosen is None:
            raise GoalError(
                f"no plan can be expected to keep {self._limits_text()}, not even the mildest that was tried; "
                "allow a larger drop, or give more samples"
            )
        return chosen

    def _likely_loss(self, limits: Limits) -> float | None:
        """The drop of the search metric near which a plan comes to its limits; only a place to begin looking.

        Twice the limit of a share of right answers is what KL had at that place on the models that ship with this.
        """
        metric = self._task.search_metric
        own = {**limits.goals, **limits.caps}.get(metric)
        if own is not None or metric != "kl":
            return own
        shares = [limit for name, limit in limits.goals.items() if self._task.metrics[name].unit == "fraction"]
        return 2 * min(shares) if shares and min(shares) > 0 else None

    def _tightened(self, limits: Limits, failed: Chosen) -> Limits:
        """Limits for the next choice: less by what was missing, and a cap on the search metric.

        Less by the gap, but never below a share of the limit: a gap larger than the limit would leave nothing to
        choose. The cap makes the next plan milder also where the goal's metric is too coarse to tell: a plan may
        lose no sample of two hundred on the search split, and three on the hold-out split.
        """
        tighter, caps = dict(limits.goals), dict(limits.caps)
        left = 1.0
        for name, limit in self._task.goal.max_drop.items():
            verdict = failed.verdicts.get(name)
            if verdict is None or verdict.holds:
                continue
            # After the second failed look there is one left, and a milder plan is better than none.
            share = max(limit / verdict.bound, LEAST_SHARE) ** failed.looks
            tighter[name] = max(tighter[name] - (verdict.bound - limit), tighter[name] * share)
            left = min(left, share)
        searched = failed.best.joint.measurements.get(self._task.search_metric)
        if searched is not None:
            cap = searched.drop * left
            caps[self._task.search_metric] = min(cap, caps.get(self._task.search_metric, cap))
        return Limits(tighter, caps)

    def _look(self, candidates: list[Candidate], look: int, verified: bool | None) -> Chosen:
        best = candidates[0]
        base = DENSE if best.carried is None else best.carried.name
        joint = self._scanner.joint(best.levels, "holdout", self._scanner.metrics, base=base)
        verdicts = judge(joint.measurements, self._task.goal, look)
        rebuilds = self._ensemble.rebuilds if isinstance(self._ensemble, Climb) else 0
        return Chosen(candidates, joint, verdicts, look, verified, rebuilds)

    def _measure(self, levels: Levels, accepts: Accepts | None = None, most: int | None = None) -> Joint:
        """On the search split, as in `Measure`."""
        scanner = self._scanner
        decided = accepts and scanner.sampling.decided_joint(accepts, scanner.sizes["search"])
        return scanner.joint(levels, "search", scanner.metrics, decided, most)

    def _race(self, plans: Mapping[str, Levels], metric: str) -> list[tuple[str, Joint]]:
        """Plans by what they lose, least first; those that cannot win any more are taken no further."""
        return race(self._scanner, plans, metric)

    def _accepts(self, limits: Limits, look: int) -> Accepts:
        """Good enough on the search split to be expected to pass the look on the hold-out split.

        Where samples are so few that even a plan that loses nothing has a wider bound, such a plan is good enough.
        """
        floors = {name: self._predicted_lossless(name, look) for name in limits.goals}

        def accepts(joint: Joint) -> bool:
            measured = joint.measurements
            return all(
                name in measured and self._predicted(measured[name], look) <= max(limit, floors[name]) + ROUNDING
                for name, limit in limits.goals.items()
            ) and all(name in measured and measured[name].drop <= cap + ROUNDING for name, cap in limits.caps.items())

        return accepts

    def _predicted(self, measured: Measurement, look: int) -> float:
        return predicted_bound(measured, self._scanner.sizes["holdout"], self._task.goal.alpha(look))

    def _predicted_lossless(self, name: str, look: int) -> float:
        """What the bound of a plan that changes no sample is expected to be: above 0 for metrics of 0 and 1 only."""
        samples = self._scanner.sizes["search"]
        return self._predicted(Measurement(samples, 0.0, 0.0, 0.0, 0.0, binary=name in self._task.binary), look)

    def _limits_text(self) -> str:
        return " and ".join(
            f"a drop of at most {limit:g} in {name}" for name, limit in self._task.goal.max_drop.items()
        )
