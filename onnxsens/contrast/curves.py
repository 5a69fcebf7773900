"""The curves of a weight in two runs, side by side."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import Literal

from onnxsens.contrast.noise import beyond, of_any, p_value
from onnxsens.differences import CurvePair, DropPair
from onnxsens.results import CurvePoint, MeasuredCurve

SAME = 1e-3  # sparsities that are compared as one: weights of other shapes come to slightly different ones
DENSE = CurvePoint(0.0, 0.0, 0.0, 0.0, 1 << 62)  # by definition; no sampling is in it


def compared(a: MeasuredCurve, b: MeasuredCurve) -> CurvePair:
    """At every sparsity that was measured in one and is within the other's reach; not corrected for other weights."""
    first, second = known(a), known(b)
    points: list[DropPair] = []
    for point in first[1:]:
        twin = at(second, point.sparsity)
        if twin is not None:
            points.append(pair(point, twin))
        elif point.sparsity < second[-1].sparsity:
            points.append(against_line(point, second, measured="a"))
    points += [
        against_line(point, first, measured="b")
        for point in second[1:]
        if at(first, point.sparsity) is None and point.sparsity < first[-1].sparsity
    ]
    points.sort(key=lambda each: each.sparsity)
    told = [each for each in points if each.p is not None]
    strongest = min(told, key=lambda each: (each.p, -abs(each.difference)), default=None)
    return CurvePair(a.weight, b.weight, points, of_any([each.p for each in points]), False, strongest, None, None)


def known(curve: MeasuredCurve) -> list[CurvePoint]:
    """Points with a drop, the dense weight's first."""
    return [DENSE, *(point for point in curve.points if isfinite(point.drop) and point.sparsity > 0)]


def at(points: Sequence[CurvePoint], sparsity: float) -> CurvePoint | None:
    """The measured point at a sparsity; none at that of the dense weight."""
    near = min(points[1:], key=lambda point: abs(point.sparsity - sparsity), default=None)
    return near if near is not None and abs(near.sparsity - sparsity) <= SAME else None


def error(point: CurvePoint) -> float:
    """The standard error: two of them are on either side."""
    return (point.high - point.low) / 4


def pair(a: CurvePoint, b: CurvePoint) -> DropPair:
    """Two measured points."""
    difference = b.drop - a.drop
    p = p_value(difference, error(a), error(b), min(a.samples, b.samples))
    return DropPair(a.sparsity, "both", a.drop, b.drop, error(a), error(b), difference, p)


def against_line(point: CurvePoint, others: Sequence[CurvePoint], measured: Literal["a", "b"]) -> DropPair:
    """A measured point, and the line between the other's neighbours.

    How far the curve is from that line nobody knows, and no standard error says. So the test is whether the point lies
    outside of all that the two neighbours span, by the errors of the nearer one: a curve that rises from one to the
    other is nowhere else.
    """
    place = bisect_left([other.sparsity for other in others], point.sparsity)
    low, high = others[place - 1], others[place]
    share = (point.sparsity - low.sparsity) / (high.sparsity - low.sparsity)
    drop = low.drop + share * (high.drop - low.drop)
    away = beyond(point.drop, low.drop, high.drop)
    nearest = min((low, high), key=lambda other: abs(other.drop - point.drop))
    p = p_value(away, error(point), error(nearest), min(point.samples, low.samples, high.samples))
    line = max(error(low), error(high))
    if measured == "a":
        return DropPair(point.sparsity, "a", point.drop, drop, error(point), line, drop - point.drop, p)
    return DropPair(point.sparsity, "b", drop, point.drop, line, error(point), point.drop - drop, p)


def reach(curve: MeasuredCurve) -> float:
    """The highest sparsity that was measured."""
    return known(curve)[-1].sparsity


def mean_drop(curve: MeasuredCurve, most: float) -> float:
    """Over sparsities from 0 to `most`, on lines between measured points; `most` is within reach and above 0."""
    points = known(curve)
    area = 0.0
    for before, after in pairwise(points):
        if before.sparsity >= most:
            break
        end, drop = after.sparsity, after.drop
        if end > most:
            share = (most - before.sparsity) / (end - before.sparsity)
            end, drop = most, before.drop + share * (after.drop - before.drop)
        area += (end - before.sparsity) * (before.drop + drop) / 2
    return area / most
