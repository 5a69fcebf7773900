"""The evaluators that keep one contract, made over a workbench."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.engine import (
    Change,
    Evaluator,
    KeptRoutes,
    Measurement,
    Question,
    ReferenceEvaluator,
    Route,
    SuffixEvaluator,
)
from onnxsens.station import Station

ENGINES = ("reference", "split", "input", "rebuilt", "chosen", "held split", "held input", "held rebuilt")
HELD = "held "  # as on a GPU: tensors are held where sessions run, here in the memory of the host
PLENTY = 2**30


class OneWay(KeptRoutes):
    """Every weight goes one way, whatever is faster; many together go as they like."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self._way = way

    def known(self, weight: str) -> Route | None:
        if not weight:
            return super().known(weight)
        return Route("suffix", self._way, exact=False, why="a test says so")  # type: ignore[arg-type]


@contextmanager
def evaluator_over(bench: Station, engine: str, **options: Any) -> Iterator[Evaluator]:
    """The evaluator called so; its own runner is the workbench's."""
    shared = (bench.runner, bench.inventory, bench.split, list(bench.metrics.values()), bench.binary)
    if engine == "reference":
        yield ReferenceEvaluator(*shared, bench.outlook.reading)
        return
    way = engine.removeprefix(HELD)
    routes = options.pop("routes", None) or (KeptRoutes() if way == "chosen" else OneWay(way))
    made: dict[str, Any] = {"cache_bytes": PLENTY, "spill": None, "say": lambda line: None} | options
    if engine.startswith(HELD):
        made["held"] = True
    evaluator = SuffixEvaluator(*shared, bench.outlook.reading, routes=routes, **made)
    try:
        yield evaluator
    finally:
        evaluator._holding.close()  # `close` would take the workbench's runner with it


def levels_of(
    weight: str, samples: tuple[int, int], metrics: tuple[str, ...], levels: tuple[float, ...] = (0.3, 0.8)
) -> list[Question]:
    """One question a level, with per-sample drops."""
    return [
        Question((Change(weight, "magnitude", level),), "search", samples, metrics, values=True) for level in levels
    ]


def assert_alike(one: Measurement, other: Measurement, tolerance: float = 1e-4) -> None:
    """Per-sample drops that agree to rounding."""
    assert one.samples == other.samples
    assert one.drops is not None
    assert other.drops is not None
    scale = float(np.abs(other.drops).max())
    np.testing.assert_allclose(one.drops, other.drops, rtol=tolerance, atol=tolerance * scale + 1e-9)


def store_of(folder: Path) -> Path:
    """A folder for what does not fit in memory."""
    return folder / "spill"
