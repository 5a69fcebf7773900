"""Curves as rows, and what pickers take for a drop."""

from dataclasses import replace
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsens.listing import monotone_of, rows_of
from onnxsens.results import CurvePoint, MeasuredCurve, RunRecord


def curve(*points: tuple[float, float], technique: str = "magnitude") -> MeasuredCurve:
    return MeasuredCurve("w", technique, "kl", tuple(CurvePoint(s, d, d - 0.1, d + 0.1, 9) for s, d in points))


def test_values_worked_out_by_hand() -> None:
    # 0.4 and 0.2 are pooled to 0.3; the dense drop of 0 comes first, and what is below 0 is lifted to it.
    found = monotone_of(curve((0.2, -0.2), (0.4, 0.4), (0.6, 0.2), (0.8, 0.9)))
    assert found == pytest.approx({0.0: 0.0, 0.2: 0.0, 0.4: 0.3, 0.6: 0.3, 0.8: 0.9})
    assert monotone_of(curve((0.5, nan))) == {}


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8))
def test_it_is_the_min_max_of_means(drops: list[float]) -> None:
    """The formula of isotonic regression: the largest over starts of the smallest over ends of the mean between."""
    levels = [(place + 1) / 10 for place in range(len(drops))]
    found = monotone_of(curve(*zip(levels, drops, strict=True)))
    values = [0.0, *drops]
    for place, level in enumerate(levels, start=1):
        best = max(
            min(sum(values[first:last]) / (last - first) for last in range(place + 1, len(values) + 1))
            for first in range(place + 1)
        )
        assert found[level] == pytest.approx(max(0.0, best), abs=1e-9)


def test_rows_are_measured_then_predicted_and_only_of_the_runs_own_technique() -> None:
    made = RunRecord(
        "m", "onnxsens 1", None, (curve((0.5, 0.2)), curve((0.5, 0.6), technique="random")), {}, (),
        predicted={"w": ((0.0, 0.0), (0.5, 0.2), (1.0, 0.1))}, technique="magnitude", search_metric="kl",
    )  # fmt: skip
    rows = rows_of(made)
    assert [(row.technique, row.kind, row.sparsity) for row in rows] == [
        ("magnitude", "measured", 0.5), ("magnitude", "predicted", 0.0), ("magnitude", "predicted", 0.5),
        ("magnitude", "predicted", 1.0), ("random", "measured", 0.5),
    ]  # fmt: skip
    assert rows[3].monotone == pytest.approx(0.15) and rows[3].drop == 0.1 and rows[3].low is None
    assert rows[4].monotone == 0.6
    assert len(rows_of(replace(made, predicted={}))) == 2


def test_what_is_no_number_is_none() -> None:
    [row] = rows_of(RunRecord("m", "onnxsens 1", None, (curve((0.5, nan)),), {}, ()))
    assert (row.drop, row.low, row.high, row.monotone) == (None, None, None, None)
