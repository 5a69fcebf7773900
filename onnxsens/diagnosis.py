"""What is installed here, what conflicts, and what works: the facts behind `doctor`."""

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from onnxsens.engine import Evaluator
from onnxsens.engine.providers import why_not_started
from onnxsens.engine.questions import Routes
from onnxsens.engine.runtime import runtime
from onnxsens.native import processes
from onnxsens.options import Guard
from onnxsens.results import Diagnosis
from onnxsens.scan import Nobody

PACKAGES = (
    "onnxsens",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "numpy",
    "scipy",
    "msgspec",
    "click",
    "rich",
    "pillow",
)


def diagnose(guard: Guard | None = None) -> Diagnosis:
    """Look at packages and start every provider once."""
    guard = guard or Guard()
    versions = {name: found for name in PACKAGES if (found := installed(name)) is not None}
    problems = []
    if "onnxruntime" in versions and "onnxruntime-gpu" in versions:
        problems.append(
            "onnxruntime and onnxruntime-gpu are both installed, and the CPU wheel wins silently; "
            "run 'pip uninstall -y onnxruntime onnxruntime-gpu' and then 'pip install onnxruntime-gpu'"
        )
    if guard.in_process:
        providers = started_providers()
    else:
        with processes(starter, (), guard, Nobody()) as crew:
            providers = crew.call("providers", doing="started execution providers")
    if providers.get("CPUExecutionProvider") != "starts":
        problems.append("not even the CPU provider starts; reinstall onnxruntime")
    return Diagnosis(platform.python_version(), platform.platform(), versions, providers, problems)


def started_providers() -> dict[str, str]:
    """Name to `starts`, or why it does not."""
    return {name: why_not_started(name) or "starts" for name in runtime().get_available_providers()}


class Starter:
    """What a process serves that starts providers."""

    @property
    def evaluator(self) -> Evaluator:
        """None."""
        raise NotImplementedError

    def call(self, name: str, *arguments: Any) -> Any:
        """`providers`, the only one."""
        if name != "providers":
            raise ValueError(f"'{name}' is no call")
        return started_providers()


def starter(*, routes: Routes, tell: Callable[[object], None]) -> Starter:
    """What such a process serves."""
    return Starter()


def installed(package: str) -> str | None:
    """Version of a package, None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
