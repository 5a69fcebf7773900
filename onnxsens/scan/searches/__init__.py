"""Ways to look for the best level of one weight. One file each; they see a probe and nothing else."""

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
