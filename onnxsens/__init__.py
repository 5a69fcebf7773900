"""onnxsens: how much can each layer of an ONNX model lose?

The stages of the command line, under the same names. Imported on first use, so that `import onnxsens` is quick.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxsens.api import apply, auto, inspect, plan, scan, verify
    from onnxsens.checking import check_run
    from onnxsens.errors import OnnxsensError
    from onnxsens.forecast import estimate
    from onnxsens.frameworks.mapfile import Map, read_map
    from onnxsens.handover import export, map_model
    from onnxsens.options import Guard, Options
    from onnxsens.plan import Goal, Plan, read_plan
    from onnxsens.reporting import report
    from onnxsens.scan import Grid, SweetSpotter, TopDown

__all__ = [
    "Goal",
    "Grid",
    "Guard",
    "Map",
    "OnnxsensError",
    "Options",
    "Plan",
    "SweetSpotter",
    "TopDown",
    "apply",
    "auto",
    "check_run",
    "estimate",
    "export",
    "inspect",
    "map_model",
    "plan",
    "read_map",
    "read_plan",
    "report",
    "scan",
    "verify",
]

_HOMES = {
    "Goal": "onnxsens.plan",
    "Grid": "onnxsens.scan",
    "Guard": "onnxsens.options",
    "Map": "onnxsens.frameworks.mapfile",
    "OnnxsensError": "onnxsens.errors",
    "Options": "onnxsens.options",
    "Plan": "onnxsens.plan",
    "SweetSpotter": "onnxsens.scan",
    "TopDown": "onnxsens.scan",
    "apply": "onnxsens.api",
    "auto": "onnxsens.api",
    "check_run": "onnxsens.checking",
    "estimate": "onnxsens.forecast",
    "export": "onnxsens.handover",
    "inspect": "onnxsens.api",
    "map_model": "onnxsens.handover",
    "plan": "onnxsens.api",
    "read_map": "onnxsens.frameworks.mapfile",
    "read_plan": "onnxsens.plan",
    "report": "onnxsens.reporting",
    "scan": "onnxsens.api",
    "verify": "onnxsens.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'onnxsens' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public names."""
    return __all__


class _Package(ModuleType):
    """`scan` and `plan` are functions for users, and rooms of the package.

    Importing a room binds its name here; the function would be gone from then on.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
