"""Which of the plans that were measured so far answers the goal best: for whoever watches. Decides nothing."""

from onnxsens.plan.goal import Goal
from onnxsens.scan import Joint, Observer
from onnxsens.scan.observers import tell_best

NEARLY = 1e-3  # of a share that a goal asks for


class Leader:
    """Hears of every whole plan, and tells when one is better than all before it.

    With limits that is one with more zeros that keeps them on the samples that it was measured on; with a sparsity, one
    that has it and loses less. Other goals have no such order while they are looked for.

    Args:
        metric: the one that is searched by.
    """

    def __init__(self, goal: Goal, metric: str, observer: Observer) -> None:
        self._goal = goal
        self._metric = metric
        self._observer = observer
        self._best: float | None = None

    def __call__(self, joint: Joint) -> None:
        """One more plan, measured on samples of the search split."""
        worth = self._worth(joint)
        if worth is None or (self._best is not None and worth <= self._best):
            return
        self._best = worth
        names = self._goal.max_drop or {self._metric: 0.0}
        drops = ", ".join(f"{name} drop {joint.measurements[name].drop:.3g}" for name in names)
        tell_best(self._observer, f"{joint.sparsity:.1%} zeros, {drops}, not checked yet")

    def _worth(self, joint: Joint) -> float | None:
        """Larger is better; None where it is no answer."""
        measured = joint.measurements
        if not joint.sparsity > 0:
            return None
        if self._goal.max_drop:
            limits = self._goal.max_drop.items()
            keeps = all(name in measured and measured[name].drop <= limit for name, limit in limits)
            return joint.sparsity if keeps else None
        if self._goal.sparsity is None or joint.sparsity < self._goal.sparsity - NEARLY or self._metric not in measured:
            return None
        return -measured[self._metric].drop
