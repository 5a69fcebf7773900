"""Which of several plans loses least, measured side by side on growing blocks of samples."""

import math
from collections.abc import Mapping

from onnxsens.plan.pickers import Levels
from onnxsens.scan import Joint, Scanner


def race(scanner: Scanner, plans: Mapping[str, Levels], metric: str) -> list[tuple[str, Joint]]:
    """Plans by the drop of a metric on the search split, least first; the first one is measured on all samples.

    After every block those are left behind that cannot come first any more, with the error rate of the scanner's
    sampling: successive elimination, Even-Dar et al., JMLR 7 (2006) 1079-1105. With `exact` none is.
    """
    size = scanner.sizes["search"]
    stops = (size,) if scanner.sampling.exact else scanner.sampling.stops(size)
    joints: dict[str, Joint] = {}
    running = list(plans)
    for stop in stops:
        for name in running:
            joints[name] = scanner.joint(plans[name], "search", scanner.metrics, most=stop)
        ranges = {name: span(scanner, joints[name], metric) for name in running}
        reach = min((high for _, high in ranges.values()), default=math.inf)
        running = [name for name in running if ranges[name][0] <= reach]
    # Whoever went farther is ahead of who was left behind, whatever a few samples said.
    return sorted(joints.items(), key=lambda item: (item[0] not in running, loss(item[1], metric)))


def span(scanner: Scanner, joint: Joint, metric: str) -> tuple[float, float]:
    """The least and the largest drop that all samples may turn out to give; infinite where it failed."""
    measured = joint.measurements.get(metric)
    if measured is None:
        return math.inf, math.inf
    best, worst = scanner.sampling.extremes(metric, measured, scanner.sizes["search"])
    return best.drop, worst.drop


def loss(joint: Joint, metric: str) -> float:
    """Drop of a plan; infinite where it failed."""
    measured = joint.measurements.get(metric)
    return measured.drop if measured else math.inf
