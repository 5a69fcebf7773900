"""What is installed here, what conflicts, and what works: the facts behind `doctor`."""

import platform
from importlib.metadata import PackageNotFoundError, version

from onnxsens.engine.providers import why_not_started
from onnxsens.engine.runtime import runtime
from onnxsens.results import Diagnosis

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


def diagnose() -> Diagnosis:
    """Look at packages and start every provider once."""
    versions = {name: found for name in PACKAGES if (found := installed(name)) is not None}
    problems = []
    if "onnxruntime" in versions and "onnxruntime-gpu" in versions:
        problems.append(
            "onnxruntime and onnxruntime-gpu are both installed, and the CPU wheel wins silently; "
            "run 'pip uninstall -y onnxruntime onnxruntime-gpu' and then 'pip install onnxruntime-gpu'"
        )
    providers = {name: why_not_started(name) or "starts" for name in runtime().get_available_providers()}
    if providers.get("CPUExecutionProvider") != "starts":
        problems.append("not even the CPU provider starts; reinstall onnxruntime")
    return Diagnosis(platform.python_version(), platform.platform(), versions, providers, problems)


def installed(package: str) -> str | None:
    """Version of a package, None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
