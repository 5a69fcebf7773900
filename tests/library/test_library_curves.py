"""Curves as arrays and tables."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsens.errors import MissingPackageError
from onnxsens.library.curves import Curve, frame_of, table_of
from onnxsens.results import CurvePoint, MeasuredCurve

numbers = st.floats(allow_nan=False, allow_infinity=False)
# numpy ends a text at its last sign that is not NUL; no name of a tensor ends with one.
names = st.text(min_size=1).filter(lambda text: not text.endswith("\0"))
points = st.builds(CurvePoint, st.floats(0, 1), numbers, numbers, numbers, st.integers(0, 2**60))
measured = st.dictionaries(names, st.lists(points, max_size=4))


def curves_of(found: dict[str, list[CurvePoint]]) -> dict[str, Curve]:
    return {name: Curve.of(MeasuredCurve(name, "magnitude", "kl", each)) for name, each in found.items()}


def rows_of(found: dict[str, list[CurvePoint]]) -> list[tuple[Any, ...]]:
    return [
        (name, each.sparsity, each.drop, each.low, each.high, each.samples)
        for name, several in found.items()
        for each in several
    ]


@settings(deadline=None)
@given(measured)
def test_a_table_has_every_point_to_the_last_bit(found: dict[str, list[CurvePoint]]) -> None:
    table = table_of(curves_of(found))
    assert table.dtype.names == ("weight", "sparsity", "drop", "low", "high", "samples")
    assert table.tolist() == rows_of(found)


@settings(deadline=None)
@given(measured)
def test_a_frame_has_them_too(found: dict[str, list[CurvePoint]]) -> None:
    pytest.importorskip("pandas")
    frame = frame_of(curves_of(found))
    assert list(frame.columns) == ["weight", "sparsity", "drop", "low", "high", "samples"]
    assert [tuple(row) for row in frame.itertuples(index=False)] == rows_of(found)


def test_without_pandas_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # an import of it fails
    with pytest.raises(MissingPackageError, match="pip install pandas") as caught:
        frame_of({})
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)


def test_arrays_of_a_curve_cannot_be_written_to() -> None:
    (curve,) = curves_of({"w": [CurvePoint(0.5, 1.0, 0.5, 1.5, 64)]}).values()
    for name in ("sparsity", "drop", "low", "high", "samples"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(curve, name)[0] = 7
    assert (curve.samples.dtype, curve.drop.dtype, len(curve)) == (np.int64, np.float64, 1)
