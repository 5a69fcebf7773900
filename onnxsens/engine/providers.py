"""Execution providers: which one was asked for, and whether it is really there.

`get_available_providers()` lists what the wheel was built with, not what works; a session that cannot have its
provider falls back to the CPU with no more than a warning. So a provider is believed once a session has it.
"""

import warnings
from dataclasses import dataclass

from onnxsens.engine.runtime import one_line, runtime, silenced
from onnxsens.errors import ProviderError
from onnxsens.model.working import trivial_model
from onnxsens.plugins import unknown

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
SHORT = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
# What a provider leaves to others, in order.
BACKING = {TENSORRT: [TENSORRT, CUDA, CPU], CPU: [CPU]}


@dataclass(frozen=True)
class Provider:
    """A provider that starts, and why it was taken."""

    name: str
    why: str

    @property
    def stack(self) -> list[str]:
        """What a session is asked for: the provider, and those that take the operators it has no kernel for."""
        return BACKING.get(self.name, [self.name, CPU])


def choose_provider(request: str) -> Provider:
    """Resolve `auto`, `cpu`, `cuda`, `tensorrt` or a full name to a provider that starts.

    Raises:
        ProviderError: it is unknown to this ONNX Runtime, or does not start.
    """
    if request == "auto":
        if CUDA in runtime().get_available_providers():
            failure = why_not_started(CUDA)
            if failure is None:
                return Provider(CUDA, "the fastest that starts here")
            return Provider(CPU, "CUDA does not start here")
        return Provider(CPU, "this onnxruntime is built for the CPU")
    name = SHORT.get(request.lower(), request)
    built_in = runtime().get_available_providers()
    if name not in built_in:
        known = ["auto", *SHORT, *built_in]
        message = unknown("execution provider", request, known)
        if name in SHORT.values():
            message = f"{name} is not in this onnxruntime; install a build that has it, or use --providers cpu"
        raise ProviderError(message)
    failure = why_not_started(name)
    if failure is not None:
        raise ProviderError(f"{name} is not active: {failure}; see 'onnxsens doctor', or use --providers cpu")
    return Provider(name, "asked for")


def why_not_started(name: str) -> str | None:
    """Open a session of the smallest model; None where it really has the provider."""
    with silenced(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            session = runtime().InferenceSession(trivial_model(), providers=[name])
        except Exception as error:  # native code raises many types here, UnicodeDecodeError among them
            return one_line(error)
        active = session.get_providers()
    if active[0] == name:
        return None
    return f"its libraries cannot be loaded, and onnxruntime fell back to {active[0]}"
