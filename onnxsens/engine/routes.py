"""Which way the variants of a weight are run: tried out on one batch of the dense model, timed, and then kept."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.engine.questions import Route
from onnxsens.engine.runner import Outputs
from onnxsens.engine.sessions import Session
from onnxsens.errors import ModelError

Way = Literal["input", "rebuilt"]

# How far outputs of the dense weight may be from the whole model's, in parts of the output's largest magnitude: float32
# sums in another order stay well below that.
TOLERANCE = 1e-5
# One way is taken for another where it is faster by this much: noise is not to decide.
MARGIN = 0.9
SHORT = 0.1  # seconds; as many runs as fit are timed, up to
MOST_RUNS = 5


@dataclass(frozen=True)
class Trial:
    """One way, tried.

    Attributes:
        opening: seconds that a session takes to make.
        running: seconds of a batch.
        error: largest difference to the whole model's outputs, in parts of the largest magnitude; 0 for the same bits.
        failure: why it cannot be used; the numbers mean nothing then.
    """

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
        return f"{self.running * 1e3:.3g} ms a batch and {self.opening * 1e3:.3g} ms a session, {close}"


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


def tried(opened: Callable[[], Session], run: Callable[[Session], Outputs], dense: Outputs) -> Trial:
    """Time a session and a batch of the dense weight, and compare it with the whole model.

    Args:
        run: one batch.
        dense: the whole model's outputs for it; those that `run` does not give are left aside.
    """
    try:
        began = time.perf_counter()
        session = opened()
        opening = time.perf_counter() - began
        # The first run is a little slower than others; where one takes long that matters less than a second one.
        began = time.perf_counter()
        outputs = run(session)
        times = [time.perf_counter() - began]
        error = max((distance(dense[name], values) for name, values in outputs.items()), default=0.0)
        if error > TOLERANCE:
            return Trial(failure=f"the dense weight gives outputs that are off by {error:.1e}")
        while len(times) < MOST_RUNS and sum(times) + times[-1] < SHORT:
            began = time.perf_counter()
            run(session)
            times.append(time.perf_counter() - began)
    except ModelError as failure:
        return Trial(failure=str(failure))
    return Trial(opening, min(times), error)


def choose(trials: Mapping[Way, Trial], whole: Trial, batches: int, levels: int) -> Route:
    """The fastest way that is allowed, over so many levels on so many batches.

    What gives the whole model's bits is preferred to what does not, an input to sessions made anew, and both to the
    whole model, unless the other is clearly faster.
    """
    costs: dict[tuple[Literal["suffix", "reference"], Way], float] = {}
    if trials["input"].allowed:
        costs["suffix", "input"] = trials["input"].opening + levels * batches * trials["input"].running
    if trials["rebuilt"].allowed:
        # A part of the model, made in the same way, is not slower than all of it; where it seems so, that is noise.
        running = min(trials["rebuilt"].running, whole.running)
        costs["suffix", "rebuilt"] = levels * (trials["rebuilt"].opening + batches * running)
    costs["reference", "rebuilt"] = levels * (whole.opening + batches * whole.running)
    # A stable sort: between equals the order above holds. The whole model comes last, whatever its bits.
    ordered = sorted(costs, key=lambda each: (each[0] == "reference", trials[each[1]].error > 0))
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
