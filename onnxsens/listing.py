"""Curves as rows, for tables: each point that was measured or predicted, and the value that pickers take for it.

Arithmetic on records; opens nothing.
"""

from collections.abc import Iterator, Sequence
from math import isfinite

from onnxsens.results import CurveRow, MeasuredCurve, RunRecord


def rows_of(run: RunRecord) -> list[CurveRow]:
    """All of a run's points, weight by weight in its order, measured before predicted, by sparsity."""
    place = {name: number for number, name in enumerate(run.weights)}
    found = sorted(run.curves, key=lambda curve: (place[curve.weight], curve.technique, curve.metric))
    shaped = {name for name, shape in run.predicted.items() if shape}
    rows: list[CurveRow] = []
    for curve in found:
        own = curve.weight in shaped and (curve.technique, curve.metric) == (run.technique, run.search_metric)
        rows += rows_of_curve(curve, run.predicted[curve.weight] if own else ())
    return rows


def rows_of_curve(curve: MeasuredCurve, predicted: Sequence[tuple[float, float]] = ()) -> Iterator[CurveRow]:
    """Of one curve.

    Args:
        predicted: sparsity and drop on the predicted curve through the same weight's points.
    """
    monotone = monotone_of(curve, predicted)
    for point in curve.points:
        fine = isfinite(point.drop)
        yield CurveRow(
            curve.weight,
            curve.technique,
            curve.metric,
            "measured",
            point.sparsity,
            point.drop if fine else None,
            point.low if isfinite(point.low) else None,
            point.high if isfinite(point.high) else None,
            point.samples,
            monotone.get(point.sparsity) if fine else None,
        )
    for level, drop in predicted:
        yield CurveRow(
            curve.weight, curve.technique, curve.metric, "predicted", level, drop, None, None, 0, monotone[level]
        )


def monotone_of(curve: MeasuredCurve, predicted: Sequence[tuple[float, float]] = ()) -> dict[float, float]:
    """By sparsity, drops that never fall and are never below 0: what pickers that minimise a loss reckon with.

    The least-squares fit to all points with one weight, after the dense weight's drop of 0 (isotonic regression). Where
    there is a predicted curve it is fitted to that, put through the measured points. Pickers tell predicted curves at
    levels of their own, so between measured points their values may differ in the last digits.
    """
    from scipy.optimize import isotonic_regression

    known = {level: drop for level, drop in predicted if isfinite(drop)}
    known |= {point.sparsity: point.drop for point in curve.points if isfinite(point.drop)}
    levels = sorted({0.0, *known})
    if not known:
        return {}
    fitted = isotonic_regression([known.get(level, 0.0) for level in levels]).x.tolist()
    return {level: 0.0 if level == 0 else max(0.0, drop) for level, drop in zip(levels, fitted, strict=True)}
