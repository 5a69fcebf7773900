"""onnxsens: how much can each layer of an ONNX model lose?

    import onnxsens

    run = onnxsens.scan("model.onnx", "samples.npz", levels=[0.5, 0.7, 0.9], metrics=["accuracy"], out="run/")
    plan = run.plan(max_drop={"accuracy": 0.01})
    plan.apply("pruned.onnx")

The stages of the command line, under the same names and with the same words. Imported on first use, so that `import
onnxsens` is quick. Not thread-safe: one call at a time.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxsens.api import apply, inspect
    from onnxsens.checking import check_run
    from onnxsens.errors import OnnxsensError
    from onnxsens.forecast import estimate
    from onnxsens.frameworks.mapfile import Map, read_map
    from onnxsens.handover import export, map_model
    from onnxsens.library.curves import Curve
    from onnxsens.library.making import auto, plan
    from onnxsens.library.measuring import scan
    from onnxsens.library.opening import open_plan, open_run
    from onnxsens.library.planned import Plan
    from onnxsens.library.progress import Progress
    from onnxsens.library.run import Run
    from onnxsens.library.verifying import verify
    from onnxsens.options import Guard, Options
    from onnxsens.plan import Goal, read_plan
    from onnxsens.plan import Plan as PlanRecord
    from onnxsens.reporting import curves, diff, report
    from onnxsens.scan import Grid, SweetSpotter, TopDown

__all__ = [
    "Curve",
    "Goal",
    "Grid",
    "Guard",
    "Map",
    "OnnxsensError",
    "Options",
    "Plan",
    "PlanRecord",
    "Progress",
    "Run",
    "SweetSpotter",
    "TopDown",
    "apply",
    "auto",
    "check_run",
    "curves",
    "diff",
    "estimate",
    "export",
    "inspect",
    "map_model",
    "open_plan",
    "open_run",
    "plan",
    "read_map",
    "read_plan",
    "report",
    "scan",
    "verify",
]

# Where each is; after a colon, what it is called there.
_HOMES = {
    "Curve": "onnxsens.library.curves",
    "Goal": "onnxsens.plan",
    "Grid": "onnxsens.scan",
    "Guard": "onnxsens.options",
    "Map": "onnxsens.frameworks.mapfile",
    "OnnxsensError": "onnxsens.errors",
    "Options": "onnxsens.options",
    "Plan": "onnxsens.library.planned",
    "PlanRecord": "onnxsens.plan:Plan",
    "Progress": "onnxsens.library.progress",
    "Run": "onnxsens.library.run",
    "SweetSpotter": "onnxsens.scan",
    "TopDown": "onnxsens.scan",
    "apply": "onnxsens.library.plain",
    "auto": "onnxsens.library.making",
    "check_run": "onnxsens.library.plain",
    "curves": "onnxsens.library.plain",
    "diff": "onnxsens.library.plain",
    "estimate": "onnxsens.library.plain",
    "export": "onnxsens.library.plain",
    "inspect": "onnxsens.library.plain",
    "map_model": "onnxsens.library.plain",
    "open_plan": "onnxsens.library.opening",
    "open_run": "onnxsens.library.opening",
    "plan": "onnxsens.library.making",
    "read_map": "onnxsens.library.plain",
    "read_plan": "onnxsens.library.plain",
    "report": "onnxsens.library.plain",
    "scan": "onnxsens.library.measuring",
    "verify": "onnxsens.library.verifying",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name in _HOMES:
        home, _, own = _HOMES[name].partition(":")
        return getattr(import_module(home), own or name)
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
