"""Greedy: from the dense model, again and again the cheapest next step, until there are zeros enough."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnxsens.plan.pickers.multiple_choice import Allocation, Choices, rated, relax
from onnxsens.plan.pickers.offers import AdditiveFamily
from onnxsens.plan.pickers.picker import Ground, Picker


@dataclass(frozen=True)
class Greedy(Picker):
    """The weight whose next level costs the least predicted loss per zero gained goes there.

    It looks one step ahead: where curves are convex that is the Lagrangian's plan, elsewhere a steep step hides a
    flat one behind it. Its gap says what that may have cost.
    """

    name: ClassVar[str] = "greedy"

    def family(self, ground: Ground) -> AdditiveFamily:
        """Curves once; a target is then a walk along them."""
        return AdditiveFamily(ground, marginal)


def marginal(weights: Sequence[Choices], wanted: int) -> Allocation:
    """One choice further in the weight where that is cheapest per zero, until `wanted`; ties to the earlier weight."""
    picks = [0] * len(weights)
    lacking = wanted - sum(int(choices.zeros[0]) for choices in weights)
    steps = [(price_of(choices, 1), index) for index, choices in enumerate(weights) if choices.zeros.size > 1]
    heapq.heapify(steps)
    while lacking > 0 and steps:
        _, index = heapq.heappop(steps)
        choices = weights[index]
        picks[index] += 1
        at = picks[index]
        lacking -= int(choices.zeros[at] - choices.zeros[at - 1])
        if at + 1 < choices.zeros.size:
            heapq.heappush(steps, (price_of(choices, at + 1), index))
    return rated(weights, picks, relax(weights, wanted).bound)


def price_of(choices: Choices, pick: int) -> float:
    """Loss per zero of the step from the choice before to this one."""
    rise = choices.losses[pick] - choices.losses[pick - 1]
    return float(rise / (choices.zeros[pick] - choices.zeros[pick - 1]))
