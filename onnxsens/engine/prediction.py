"""Relative errors of a weight's own output at many levels, from the moments of its inputs; no model is run for them.

`tr((W - W') G (W - W')^T) / tr(W G W^T)` with `G = X^T X`: the sum of squares of what changes in the outputs, before
bias and activation, over that of the outputs themselves.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import Float64Array, FloatArray, IntArray
from onnxsens.engine.calibration import Sampling, calibrate
from onnxsens.engine.grams import Gram
from onnxsens.engine.runner import ModelRunner
from onnxsens.model import dense_matrix
from onnxsens.model.features import Source
from onnxsens.techniques import PreparedWeight, Technique
from onnxsens.techniques.threads import threads_for


@dataclass(frozen=True)
class Prediction:
    """What levels do to a weight's own output.

    Attributes:
        levels, steps: the levels, and the integers that say what each does (`Technique.steps`).
        errors: relative; 0 where nothing changes, 1 where nothing is left.
        rows: input rows that it rests on.
    """

    weight: str
    technique: str
    levels: tuple[float, ...]
    steps: tuple[int, ...]
    errors: tuple[float, ...]
    rows: int


@dataclass(frozen=True)
class Unpredicted:
    """A weight that goes without, and why."""

    weight: str
    reason: str


def relative_errors(
    gram: Gram, dense: FloatArray, prepared: PreparedWeight, levels: Sequence[float]
) -> Float64Array | None:
    """One for each level, at least 0; None where the dense output is 0 everywhere.

    Args:
        dense: `[out, in]`.
        prepared: the same weight under a technique.
    """
    whole = gram.energy(dense)
    if whole <= 0:
        return None
    return np.array([gram.energy(change(dense, prepared.at(level))) for level in levels]) / whole


def change(dense: FloatArray, variant: FloatArray) -> FloatArray:
    """What is lost, in the place of `variant`: both may be large."""
    return np.subtract(dense, variant, out=variant)


def predict(
    runner: ModelRunner,
    sources: Mapping[str, tuple[Source, ...] | str],
    technique: Technique,
    levels: Sequence[float],
    indices: IntArray,
    sampling: Sampling,
) -> Iterator[Prediction | Unpredicted]:
    """For each weight in `sources`: one calibration pass or a few, and arithmetic.

    Args:
        indices: samples of the data set to calibrate on.
    """
    yield from predict_from(runner, calibrate(runner, sources, indices, sampling), technique, levels)


def predict_from(
    runner: ModelRunner, grams: Iterable[tuple[str, Gram | str]], technique: Technique, levels: Sequence[float]
) -> Iterator[Prediction | Unpredicted]:
    """The same of moments that are at hand."""
    for name, gram in grams:
        if isinstance(gram, str):
            yield Unpredicted(name, gram)
            continue
        weight = runner.inventory.weight(name)
        refused = technique.refuses(weight.matrix_shape, weight.channels)
        if refused:
            yield Unpredicted(name, f"it stays dense: {refused}")
            continue
        dense = dense_matrix(runner.model, weight)
        with threads_for(dense.shape[1]):
            prepared = technique.prepare(dense, gram.moments() if technique.needs_moments else None)
            errors = relative_errors(gram, dense, prepared, levels)
        if errors is None:
            yield Unpredicted(name, "its output is 0 on these samples")
        elif not np.isfinite(errors).all():
            yield Unpredicted(name, "its output is too large for an error of it")
        else:
            steps = tuple(technique.steps(weight.matrix_shape, level) for level in levels)
            yield Prediction(name, technique.name, tuple(levels), steps, tuple(errors.tolist()), gram.taken)
