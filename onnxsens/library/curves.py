"""Measured curves as arrays and tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxsens.errors import MissingPackageError
from onnxsens.results import MeasuredCurve

if TYPE_CHECKING:
    from pandas import DataFrame

NUMBERS = ("sparsity", "drop", "low", "high")


@dataclass(frozen=True, eq=False)
class Curve:
    """How one metric falls as one weight, and no other, gets sparser.

    All arrays are read-only, of one length, and sorted by sparsity.

    Attributes:
        sparsity: share of zeros that the weight had, in [0, 1]; what comes nearest to the level that was asked for.
        drop: quality lost, in the metric's unit; positive where the pruned model is worse.
        low, high: of the drop, two standard errors on either side.
        samples: on how many each was measured.
    """

    weight: str
    metric: str
    technique: str
    sparsity: NDArray[np.float64] = field(repr=False)
    drop: NDArray[np.float64] = field(repr=False)
    low: NDArray[np.float64] = field(repr=False)
    high: NDArray[np.float64] = field(repr=False)
    samples: NDArray[np.int64] = field(repr=False)

    @classmethod
    def of(cls, measured: MeasuredCurve) -> "Curve":
        """From the record."""
        columns = {name: np.array([getattr(each, name) for each in measured.points], np.float64) for name in NUMBERS}
        samples = np.array([point.samples for point in measured.points], np.int64)
        for column in (*columns.values(), samples):
            column.flags.writeable = False
        return cls(measured.weight, measured.metric, measured.technique, **columns, samples=samples)

    def __len__(self) -> int:
        return len(self.sparsity)


def table_of(curves: Mapping[str, Curve]) -> NDArray[np.void]:
    """One row a measured point: `weight` (as long as the longest name), `sparsity`, `drop`, `low`, `high`, `samples`.

    Weights in their order here, points by sparsity. Nothing is rounded or left out.
    """
    longest = max((len(name) for name in curves), default=1) or 1
    numbers = [(name, np.float64) for name in NUMBERS]
    made = np.zeros(sum(map(len, curves.values())), [("weight", f"U{longest}"), *numbers, ("samples", np.int64)])
    at = 0
    for name, curve in curves.items():
        rows = made[at : at + len(curve)]
        rows["weight"] = name
        for column in (*NUMBERS, "samples"):
            rows[column] = getattr(curve, column)
        at += len(curve)
    return made


def pandas() -> Any:
    """The package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import pandas as package
    except ImportError as error:
        raise MissingPackageError("to_pandas() needs pandas, which is not installed; pip install pandas") from error
    return package


def frame_of(curves: Mapping[str, Curve]) -> "DataFrame":
    """The same rows as a table; the names of weights whole."""
    columns: dict[str, Any] = {
        "weight": [name for name, curve in curves.items() for _ in range(len(curve))],
        **{
            column: np.concatenate([getattr(curve, column) for curve in curves.values()]) if curves else []
            for column in (*NUMBERS, "samples")
        },
    }
    frame: DataFrame = pandas().DataFrame(columns)
    return frame
