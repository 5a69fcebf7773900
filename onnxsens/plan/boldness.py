"""How bold a family of plans may be: the boldest plan that is accepted, or that loses no more than another.

Knows families and what is said of their plans; no model, no measurement.
"""

import math
from collections.abc import Callable

from onnxsens.plan.pickers import Family

LEAST_STEP = 0.1  # of a bracket, that a guess stays away from its ends, so that it shrinks on both sides


def boldest(accepted: Callable[[float], bool], family: Family, start: float, stride: float) -> float:
    """The boldest accepted point of a family, to its precision: stride out from `start`, then bisect.

    Boldness 0, the dense model, counts as accepted without being asked.
    """
    low, high = bracket(accepted, family.highest, start, stride)
    while high - low > family.precision and low < family.highest:
        middle = (low + high) / 2
        low, high = (middle, high) if accepted(middle) else (low, middle)
    return low


def boldest_losing(
    drop: Callable[[float], float], limit: float, family: Family, start: float, stride: float, precision: float
) -> float:
    """The boldest point of a family whose drop is at most `limit`, to a precision; knowing drops, it asks for few.

    Stride out from `start`; then, instead of halving the bracket, go where the logarithm of the drop would pass that of
    the limit on a straight line: it is nearly one, over octaves of a tolerance and over sparsities alike.
    """
    known: dict[float, float] = {0.0: 0.0}

    def accepted(at: float) -> bool:
        known[at] = drop(at)
        return known[at] <= limit

    low, high = bracket(accepted, family.highest, min(max(start, precision), family.highest), stride)
    while high - low > precision and low < family.highest:
        at = between(low, known[low], high, known.get(high, math.inf), limit)
        low, high = (at, high) if accepted(at) else (low, at)
    return low


def bracket(accepted: Callable[[float], bool], highest: float, start: float, stride: float) -> tuple[float, float]:
    """An accepted point and one above it that is not, or is the highest; strides from `start` on double."""
    low, high, at = 0.0, highest, start
    if accepted(at):
        low = at
        while low < highest:
            at = min(low + stride, highest)
            if not accepted(at):
                return low, at
            low, stride = at, stride * 2
        return low, high
    high = at
    while (at := high - stride) > 0:
        if accepted(at):
            return at, high
        high, stride = at, stride * 2
    return low, high


def between(low: float, below: float, high: float, above: float, limit: float) -> float:
    """Where a drop would pass the limit, well inside the bracket; its middle where logarithms say nothing."""
    share = 0.5
    if 0 < below <= limit < above < math.inf:
        share = math.log(limit / below) / math.log(above / below)
    return low + min(max(share, LEAST_STEP), 1 - LEAST_STEP) * (high - low)
