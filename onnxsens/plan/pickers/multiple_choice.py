"""The multiple-choice knapsack: one choice for each weight, so many zeros in all, the least loss in sum.

    minimise sum_w loss(w, j_w)    subject to    sum_w zeros(w, j_w) >= wanted

Choosing a level for every layer as a knapsack over per-layer losses: Frantar & Alistarh, SPDY, ICML 2022,
arXiv:2201.13096, section 3, who solve it for run time and by dynamic programming over rounded costs; here it is
zeros, and an integer programme that says how far from the optimum it may be. Knows nothing of models or metrics.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from onnxsens.arrays import Float64Array, IntArray

GAP = 5e-4  # of the loss: far below what curves are worth
ROUNDING = 1e-12
INFEASIBLE = 2  # a status of scipy's
NODES = 20_000  # of the search tree: seconds; what is left open then is in the gap


@dataclass(frozen=True)
class Choices:
    """What may be done to one weight.

    Args:
        zeros: `[choices]`, ascending; the first is the dense weight's own.
        losses: `[choices]`, never falling, the first 0; any scale, but the same for all weights.
    """

    zeros: IntArray
    losses: Float64Array

    def __post_init__(self) -> None:
        if not (self.zeros.shape == self.losses.shape and self.zeros.size and (np.diff(self.zeros) > 0).all()):
            raise ValueError("zeros and losses are two lists of one length, zeros ascending")
        if not (self.losses[0] == 0 and np.isfinite(self.losses).all() and (np.diff(self.losses) >= 0).all()):
            raise ValueError("losses begin at 0 and never fall")


@dataclass(frozen=True)
class Allocation:
    """A choice for every weight.

    Attributes:
        picks: index into each weight's choices.
        loss: their sum.
        gap: by what share of it the least possible sum may be lower; 0 where it is proven to be the least.
    """

    picks: tuple[int, ...]
    loss: float
    gap: float


def allocate(weights: Sequence[Choices], wanted: int) -> Allocation:
    """The least loss with at least `wanted` zeros; every weight at its last choice where not even that is enough.

    The same on every run: the solver stops by its gap or after a number of nodes, never by the clock.
    """
    boldest = tuple(choices.zeros.size - 1 for choices in weights)
    if wanted >= zeros_of(weights, boldest):
        return Allocation(boldest, loss_of(weights, boldest), 0.0)
    relaxed = relax(weights, wanted)
    picks = improved(weights, relaxed.picks, wanted)
    known = loss_of(weights, picks)
    worthwhile = known * (1 - GAP)
    if relaxed.bound >= worthwhile:
        return rated(weights, picks, relaxed.bound)
    # A choice that makes even the relaxed problem dearer than a plan that is known is in no better plan.
    offered = [np.flatnonzero(relaxed.bound + reduced(each, relaxed.price) < worthwhile) for each in weights]
    if not all(each.size for each in offered):
        return Allocation(picks, known, GAP)
    bound, missing = relaxed.bound, 0
    while True:
        found, proven = solve(weights, offered, wanted + missing, known)
        if not missing:  # what is proven for more zeros than wanted is not proven for fewer
            bound = max(bound, min(proven, worthwhile))
        if found is None:
            break
        lacking = wanted - zeros_of(weights, found)
        if lacking <= 0:
            picks = min(picks, found, key=lambda each: loss_of(weights, each))
            break
        missing += lacking  # the solver's arithmetic is good to a millionth of all zeros
    return rated(weights, picks, bound)


def rated(weights: Sequence[Choices], picks: Sequence[int], bound: float) -> Allocation:
    """Picks, their loss, and the gap that a bound leaves: a loss that no picks with as many zeros are below."""
    loss = loss_of(weights, picks)
    return Allocation(tuple(picks), loss, max(0.0, 1 - bound / loss) if loss else 0.0)


@dataclass(frozen=True)
class Relaxed:
    """The problem with shares of choices allowed, solved.

    Attributes:
        picks: the solution, with the one share rounded up: as many zeros as wanted, or more.
        bound: its loss; no picks lose less.
        price: what one more zero costs.
    """

    picks: tuple[int, ...]
    bound: float
    price: float


def relax(weights: Sequence[Choices], wanted: int) -> Relaxed:
    """Along the convex hulls of all curves, the cheapest zeros first (Sinha & Zoltners, Oper. Res. 27, 1979)."""
    steps = []
    for index, choices in enumerate(weights):
        slope = 0.0
        for start, stop in pairwise(hull(choices)):
            zeros = int(choices.zeros[stop] - choices.zeros[start])
            loss = float(choices.losses[stop] - choices.losses[start])
            slope = max(slope, loss / zeros)  # of straight stretches, rounding may put a later one before an earlier
            steps.append((slope, index, stop, zeros, loss))
    picks = [0] * len(weights)
    lacking = wanted - zeros_of(weights, picks)
    bound = price = 0.0
    for slope, index, stop, zeros, loss in sorted(steps):
        if lacking <= 0:
            break
        picks[index], price = stop, slope
        bound += loss * min(1.0, lacking / zeros)
        lacking -= zeros
    return Relaxed(tuple(picks), bound, price)


def improved(weights: Sequence[Choices], picks: Sequence[int], wanted: int) -> tuple[int, ...]:
    """Lower one pick, or raise one by one and lower another, while that loses less; the best such change first."""
    current = list(picks)
    owner = np.repeat(np.arange(len(weights)), [choices.zeros.size for choices in weights])
    rank = np.concatenate([np.arange(choices.zeros.size) for choices in weights])
    zeros = np.concatenate([choices.zeros for choices in weights])
    losses = np.concatenate([choices.losses for choices in weights])
    first = np.searchsorted(owner, np.arange(len(weights)))
    while True:
        at = first + current
        spare = int(zeros[at].sum()) - wanted
        fewer, saved = zeros[at][owner] - zeros, losses[at][owner] - losses
        gain, change = 0.0, (-1, -1)
        for raised in [-1, *(index for index in at + 1 if index < owner.size and rank[index] > 0)]:
            whose = owner[raised] if raised >= 0 else -1
            room = spare - (fewer[raised] if raised >= 0 else 0)
            price = -saved[raised] if raised >= 0 else 0.0
            fitting = np.where((fewer > 0) & (fewer <= room) & (owner != whose), saved, -1.0)
            lowered = int(np.argmax(fitting))
            if fitting[lowered] - price > gain * (1 + ROUNDING) + ROUNDING * losses[at].sum():
                gain, change = float(fitting[lowered] - price), (raised, lowered)
        if change[1] < 0:
            return tuple(current)
        for index in change:
            if index >= 0:
                current[owner[index]] = int(rank[index])


def hull(choices: Choices) -> list[int]:
    """Indices of the lower convex hull of the curve, from the first choice to the last."""
    zeros, losses = choices.zeros, choices.losses
    corners: list[int] = []
    for index in range(zeros.size):
        while len(corners) > 1:
            start, middle = corners[-2:]
            rise = (losses[middle] - losses[start]) * (zeros[index] - zeros[start])
            if rise < (losses[index] - losses[start]) * (zeros[middle] - zeros[start]):
                break
            corners.pop()
        corners.append(index)
    return corners


def reduced(choices: Choices, price: float) -> Float64Array:
    """`[choices]`, at least 0: what a choice adds to the relaxed problem's loss when it is forced."""
    net = choices.losses - price * choices.zeros
    extra: Float64Array = net - net.min()
    return extra


def solve(
    weights: Sequence[Choices], offered: Sequence[IntArray], wanted: int, unit: float
) -> tuple[tuple[int, ...] | None, float]:
    """By branch and bound over the choices offered of each weight.

    Args:
        unit: losses are divided by it, so that a plan's is about 1 whatever the metric's scale.
    Returns:
        Picks, None where none was found in time or there are none; and a loss that none of the offered is below.
    """
    owner = np.repeat(np.arange(len(weights)), [each.size for each in offered])
    losses = np.concatenate([choices.losses[each] for choices, each in zip(weights, offered, strict=True)])
    zeros = np.concatenate([choices.zeros[each] for choices, each in zip(weights, offered, strict=True)])
    one_each = csr_array((np.ones(owner.size), (owner, np.arange(owner.size))))
    enough = csr_array(zeros[None, :] / wanted)
    with silent():
        found = milp(
            losses / unit,
            integrality=np.ones(owner.size, np.int64),
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(enough, 1, np.inf)],
            options={"mip_rel_gap": GAP, "node_limit": NODES},
        )
    if found.x is None:
        return None, math.inf if found.status == INFEASIBLE else 0.0
    chosen = np.flatnonzero(found.x > 0.5)
    picks = np.concatenate(offered)[chosen]
    return tuple(int(pick) for pick in picks), float(found.mip_dual_bound) * unit


@contextmanager
def silent() -> Iterator[None]:
    """Nothing on stdout, which is for results: HiGHS leaves a line there that its authors forgot, whatever `disp`."""
    try:
        kept = os.dup(1)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def zeros_of(weights: Sequence[Choices], picks: Sequence[int]) -> int:
    """In all."""
    return sum(int(choices.zeros[pick]) for choices, pick in zip(weights, picks, strict=True))


def loss_of(weights: Sequence[Choices], picks: Sequence[int]) -> float:
    """The sum."""
    return math.fsum(float(choices.losses[pick]) for choices, pick in zip(weights, picks, strict=True))
