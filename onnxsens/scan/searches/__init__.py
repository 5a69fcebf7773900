"""Ways to look for the best level of one weight. One file each; they see a probe and nothing else."""

from collections.abc import Sequence

from onnxsens.errors import UsageError
from onnxsens.plugins import Registry
from onnxsens.scan.searches.grid import Grid
from onnxsens.scan.searches.search import (
    DENSE_POINT,
    PROBE_LEVEL,
    Acceptance,
    Conversation,
    Level,
    Observed,
    Pick,
    Search,
    tolerance,
)
from onnxsens.scan.searches.sweet_spotter import SweetSpotter
from onnxsens.scan.searches.top_down import TopDown

__all__ = [
    "DENSE_POINT",
    "PROBE_LEVEL",
    "Acceptance",
    "Conversation",
    "Grid",
    "Level",
    "Observed",
    "Pick",
    "Search",
    "SweetSpotter",
    "TopDown",
    "chosen_searches",
    "searches",
    "tolerance",
]

searches: Registry[type[Search]] = Registry(
    "searches",
    "search",
    {
        "grid": "onnxsens.scan.searches.grid:Grid",
        "sweet-spotter": "onnxsens.scan.searches.sweet_spotter:SweetSpotter",
        "top-down": "onnxsens.scan.searches.top_down:TopDown",
    },
)


def chosen_searches(
    names: Sequence[str], levels: tuple[float, ...] | None, step: float, resolution: float
) -> dict[str, Search]:
    """Searches by name; a grid where none was named.

    Args:
        levels: of the grid; None takes its own.
        step: of Top-Down.

    Raises:
        UsageError: there is no such search, or a setting makes no sense.
    """
    if levels and "grid" not in (names or ("grid",)):
        raise UsageError(f"--levels are those of the grid, and --search names {', '.join(names)}; add --search grid")
    made: dict[str, Search] = {}
    for name in names or ("grid",):
        kind = searches.get(name)
        if kind is Grid:
            made[name] = Grid(levels) if levels else Grid()
        elif kind is TopDown:
            made[name] = TopDown(step, resolution)
        elif kind is SweetSpotter:
            made[name] = SweetSpotter(resolution=resolution)
        else:
            made[name] = kind()
    return made
