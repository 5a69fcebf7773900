"""Which way the variants of a weight are run: tried out on one batch of the dense model, timed, and then kept."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.engine.questions import Route
from onnxsens.engine.runner import Outputs
from onnxsens.engine.sessions import Session
from onnxsens.errors import ModelError

# How a changed weight gets in: what holds it is made anew for each of its values, the head of what is downstream or all
# of that; or it is an input of one session.
Way = Literal["split", "input", "rebuilt"]
WAYS: tuple[Way, ...] = ("split", "input", "rebuilt")  # in order of preference between equals

# How far outputs of the dense weight may be from the whole model's, in parts of the output's largest magnitude: float32
# sums in another order stay well below that.
TOLERANCE = 1e-5
# One way is taken for another where it is faster by this much: noise is not to decide.
MARGIN = 0.9
# Where making heads takes no more than this share of the whole, no other way can be better by more than noise.
SMALL = 0.1
SHORT = 0.02  # seconds; as many runs as fit are timed, up to
MOST_RUNS = 5


@dataclass(frozen=True)
class Trial:
    """One way, tried.

    Attributes:
        once: seconds that sessions take to make which serve all levels.
        opening: seconds that a session takes to make which serves one level.
        running: seconds of a batch.
        error: largest difference to the whole model's outputs, in parts of the largest magnitude; 0 for the same bits.
        failure: why it cannot be used; the numbers mean nothing then.
    """

    once: float = 0.0
    opening: float = 0.0
    running: float = 0.0
    error: float = 0.0
    failure: str = ""

    @property
    def allowed(self) -> bool:
        """Whether it gives the whole model's answers."""
        return not self.failure

    def __str__(self) -> str:
        if self.failure:
            return self.failure
        close = "bit for bit" if self.error == 0 else f"to {self.error:.1e}"
        sessions = f"{self.once * 1e3:.3g} ms of sessions, {self.opening * 1e3:.3g} ms for each level"
        return f"{self.running * 1e3:.3g} ms a batch, {sessions}, {close}"

    def cost(self, batches: int, levels: int) -> float:
        """Seconds of so many levels on so many batches."""
        return self.once + levels * (self.opening + batches * self.running)

    def suffices(self, whole: "Trial", batches: int, levels: int) -> bool:
        """Whether no other way is worth a trial: next to nothing is wasted on sessions.

        What is left is what is run for a batch, which is optimised with all weights known.
        """
        wasted = levels * self.opening
        return self.allowed and self.running <= whole.running and wasted <= SMALL * self.cost(batches, levels)


class KeptRoutes:
    """Routes in memory."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}

    def known(self, weight: str) -> Route | None:
        """What was kept."""
        return self.routes.get(weight)

    def keep(self, weight: str, route: Route) -> None:
        """Until this object goes."""
        self.routes[weight] = route


def tried(
    run: Callable[[], Outputs],
    dense: Outputs,
    *,
    once: Callable[[], Session] | None = None,
    each: Callable[[], Session] | None = None,
) -> Trial:
    """Time sessions and a batch of the dense weight, and compare it with the whole model.

    Args:
        run: one batch.
        dense: the whole model's outputs for it; those that `run` does not give are left aside.
        once, each: make a session that serves all levels, and one that serves one.
    """
    try:
        paid_once, opening = (timed(make) if make is not None else 0.0 for make in (once, each))
        # The first run is a little slower than others; where one takes long that matters less than a second one.
        began = time.perf_counter()
        outputs = run()
        times = [time.perf_counter() - began]
        error = max((distance(dense[name], values) for name, values in outputs.items()), default=0.0)
        if error > TOLERANCE:
            return Trial(failure=f"the dense weight gives outputs that are off by {error:.1e}")
        while len(times) < MOST_RUNS and sum(times) + times[-1] < SHORT:
            times.append(timed(run))
    except ModelError as failure:
        return Trial(failure=str(failure))
    return Trial(paid_once, opening, min(times), error)


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def choose(trials: Mapping[Way, Trial], whole: Trial, batches: int, levels: int) -> Route:
    """The fastest way that is allowed, over so many levels on so many batches.

    What gives the whole model's bits is preferred to what does not, ways in the order of `WAYS`, and all of them to the
    whole model, unless the other is clearly faster.

    Args:
        trials: of ways that were tried.
        whole: the whole model, a session for each level.
    """
    costs: dict[tuple[Literal["suffix", "reference"], Way], float] = {}
    for way in WAYS:
        if way in trials and trials[way].allowed:
            # A part that is made as the whole model is, is not slower than it; where it seems so, that is noise.
            running = min(trials[way].running, whole.running) if way == "rebuilt" else trials[way].running
            costs["suffix", way] = replace(trials[way], running=running).cost(batches, levels)
    costs["reference", "rebuilt"] = whole.cost(batches, levels)
    # A stable sort: between equals the order above holds. The whole model comes last, whatever its bits.
    ordered = sorted(
        costs, key=lambda each: (each[0] == "reference", each[0] == "suffix" and trials[each[1]].error > 0)
    )
    best = ordered[0]
    for other in ordered[1:]:
        if costs[other] < MARGIN * costs[best]:
            best = other
    engine, way = best
    why = "; ".join([*(f"{name}: {trial}" for name, trial in trials.items()), f"whole model: {whole}"])
    exact = engine == "reference" or trials[way].error == 0
    return Route(engine, way, exact, why)


def distance(one: AnyArray, other: AnyArray) -> float:
    """Largest difference in parts of the largest magnitude of `one`; infinite where they differ in more than rounding.

    0 only where every bit that counts is the same.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return float("inf")
    numbers = one.dtype.kind in "fc"
    if np.array_equal(one, other, equal_nan=numbers):
        return 0.0
    if not numbers:
        return float("inf")
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(other)) or not np.array_equal(
        one[~finite], other[~finite], equal_nan=True
    ):
        return float("inf")
    first, second = one[finite].astype(np.float64), other[finite].astype(np.float64)
    scale = float(np.abs(first).max())
    return float(np.abs(first - second).max()) / scale if scale else float("inf")
