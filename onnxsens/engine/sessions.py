"""The one place where sessions are made: a model file, how to run it, and what it is given besides.

A session either has the execution provider that was asked for, or there is none; and whatever native code raises,
when it loads a model or runs it, comes out as one line.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.engine.failures import explained, version
from onnxsens.engine.providers import CPU, Provider
from onnxsens.engine.runtime import one_line, runtime, silenced
from onnxsens.errors import InputError, ModelError, ProviderError
from onnxsens.model import Model

BFLOAT16 = 16  # the number of the type in ONNX; numpy knows it by name only

# What `run` can hand back as a numpy array; ONNX Runtime fails on others, bfloat16 among them.
READABLE = frozenset(
    f"tensor({name})"
    for name in (
        "float", "double", "float16", "bool",
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How sessions are made. Part of the result: another recipe may change last bits.

    Attributes:
        optimisation: ONNX Runtime's graph optimisation level, `all` or `none`.
        threads: inside an operator.
        batch_size: samples of one run; a model with a fixed batch overrides it.
    """

    provider: str
    threads: int
    batch_size: int
    optimisation: str = "all"

    def as_dict(self) -> dict[str, str | int]:
        """For the run's identity."""
        return asdict(self)


def default_threads() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Session:
    """A model that is loaded.

    Attributes:
        readable: names of the outputs that come back as arrays, in the model's order.
        unreadable: other outputs, name to type in ONNX Runtime's words.
    """

    def __init__(self, native: Any, model: Model, provider: Provider) -> None:
        self._native = native
        self._model = model
        self._provider = provider
        kinds = {value.name: value.type for value in native.get_outputs()}
        self.readable = [name for name, kind in kinds.items() if kind in READABLE]
        self.unreadable = {name: kind for name, kind in kinds.items() if kind not in READABLE}

    def end_profiling(self) -> Path:
        """Stop recording; where the record is."""
        return Path(self._native.end_profiling())

    def run(self, names: Sequence[str], feed: Mapping[str, AnyArray]) -> list[AnyArray]:
        """The outputs `names`, of which there is at least one.

        An optional input that `feed` leaves out is empty: ONNX Runtime takes that for None.

        Raises:
            ModelError: it does not run on this.
        """
        try:
            return list(self._native.run(list(names), dict(feed)))
        except Exception as error:  # native code raises many types here, UnicodeDecodeError among them
            why = explained(error, self._model, self._provider.name)
            raise ModelError(f"onnxruntime cannot run '{self._model.path.name}': {why}") from error


def open_session(
    path: Path,
    model: Model,
    provider: Provider,
    recipe: Recipe,
    overrides: Mapping[str, AnyArray] | None = None,
    *,
    data_folder: Path | None = None,
    libraries: Sequence[str | Path] = (),
    profile: Path | None = None,
) -> Session:
    """Load the model at `path`.

    Args:
        path: the user's file, or a copy made from it.
        model: the user's file, parsed; for messages.
        overrides: initializer name to values of its shape and type, ml_dtypes' bfloat16 included. The initializer
            must be stored as external data: then every fusion and repacking sees the new values.
        data_folder: where the external data is, if not beside `path`.
        libraries: with the kernels of custom operators.
        profile: record every execution in a file whose name begins so.
    Raises:
        ModelError: it cannot be loaded; the message names operator, domain and versions as far as they are known.
        ProviderError: it is not on the provider that was asked for.
        InputError: a library is not one of custom operators.
    """
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = recipe.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    levels = ort.GraphOptimizationLevel
    # Without optimisation no intermediate tensor is fused away.
    options.graph_optimization_level = (
        levels.ORT_DISABLE_ALL if recipe.optimisation == "none" else levels.ORT_ENABLE_ALL
    )
    if data_folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(data_folder))
    if profile is not None:
        # A weight that was packed for its kernel is no tensor any more, and missing among the inputs.
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    register(options, libraries)
    # Values and the arrays beneath them must outlive the options: a collected one is a segfault.
    arrays = {name: np.ascontiguousarray(values) for name, values in (overrides or {}).items()}
    held = [native_value(values) for values in arrays.values()]
    if held:
        options.add_external_initializers(list(arrays), held)
    try:
        if provider.name == CPU:
            native = without_fallback(path, options, provider)
        else:
            with silenced():
                native = without_fallback(path, options, provider)
    except Exception as error:  # native code raises many types here, UnicodeDecodeError among them
        raise ModelError(
            f"onnxruntime cannot load '{model.path.name}': {explained(error, model, provider.name)}"
        ) from error
    if native.get_providers()[0] != provider.name:
        raise ProviderError(
            f"{provider.name} is not active: the session fell back to {native.get_providers()[0]}; "
            "use --providers cpu, or mend the installation (see 'onnxsens doctor')"
        )
    return Session(native, model, provider)


def without_fallback(path: Path, options: Any, provider: Provider) -> Any:
    """A native session. Its Python wrapper would print and try again on the CPU, when it loads and even as it runs."""
    return runtime().InferenceSession(str(path), options, providers=provider.stack, enable_fallback=0)


def native_value(values: AnyArray) -> Any:
    """An array as ONNX Runtime holds it, over the same memory."""
    kind = runtime().OrtValue
    if values.dtype.name == "bfloat16":
        return kind.ortvalue_from_numpy_with_onnx_type(values.view(np.uint16), BFLOAT16)
    return kind.ortvalue_from_numpy(values)


def register(options: Any, libraries: Sequence[str | Path]) -> None:
    """Load libraries of custom operators into a session's options.

    Raises:
        InputError: one is missing, or no library of custom operators for this onnxruntime.
    """
    for library in libraries:
        if not Path(library).is_file():
            raise InputError(f"--custom-op-lib '{library}' is not a file; check the path")
        try:
            options.register_custom_ops_library(str(Path(library).resolve()))
        except Exception as error:  # native code
            raise InputError(
                f"--custom-op-lib '{library}' is no library of custom operators for {version()}: {one_line(error)}"
            ) from error
