"""The one place where sessions are made: a model file, how to run it, and what it is given besides.

A session either has the execution provider that was asked for, or there is none; and whatever native code raises,
when it loads a model or runs it, comes out as one line.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.engine.arena import share_arena
from onnxsens.engine.devices import BFLOAT16, HOLDABLE, HOST, Held, device_of, hold, plain
from onnxsens.engine.failures import explained, version
from onnxsens.engine.fitting import is_out_of_memory
from onnxsens.engine.providers import CPU, Provider
from onnxsens.engine.runtime import one_line, runtime, silenced
from onnxsens.errors import InputError, ModelError, OutOfMemoryError, ProviderError
from onnxsens.model import Model
from onnxsens.signals import stoppable

# What `run` can hand back as a numpy array, and its type there; ONNX Runtime fails on others, bfloat16 among them.
READABLE: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    **{
        f"tensor({name})": np.dtype(name)
        for name in (
            "float16", "bool",
            "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        )
    },
}  # fmt: skip


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
        device: where its kernels want their tensors.
        dtypes: of the readable ones.
        tidy: whether what the arena has to spare goes back to the system after the next run.
    """

    def __init__(self, native: Any, model: Model, provider: Provider) -> None:
        self._native = native
        self._model = model
        self._provider = provider
        self.device = device_of(provider)
        self.tidy = False
        try:
            self._required = [value.name for value in native.get_inputs() if not value.type.startswith("optional")]
            self._kinds = kinds = {value.name: value.type for value in native.get_outputs()}
        except UnicodeDecodeError as error:
            raise ModelError(
                f"an input or output of '{model.path}' has a name that is not UTF-8, by which nothing can be fed or "
                "read; rename it"
            ) from error
        self.readable = [name for name, kind in kinds.items() if kind in READABLE]
        self.unreadable = {name: kind for name, kind in kinds.items() if kind not in READABLE}
        self.dtypes = {name: READABLE[kinds[name]] for name in self.readable}

    def end_profiling(self) -> Path:
        """Stop recording; where the record is."""
        return Path(self._native.end_profiling())

    def run(self, names: Sequence[str], feed: Mapping[str, AnyArray]) -> list[AnyArray]:
        """The outputs `names`, of which there is at least one.

        An optional input that `feed` leaves out is empty: ONNX Runtime takes that for None.

        Raises:
            ModelError: it does not run on this.
            OutOfMemoryError: it would, with more memory.
        """
        options = self._how()
        try:
            with stoppable(partial(setattr, options, "terminate", True)):
                return list(self._native.run(list(names), dict(feed), options))
        except Exception as error:  # native code raises many types here, UnicodeDecodeError among them
            raise self._refused(error) from error

    def _how(self) -> Any:
        """Options of the next run, which can be stopped by them."""
        options = runtime().RunOptions()
        if self.tidy and self._provider.name == CPU:
            self.tidy = False
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options

    def run_held(
        self, to_host: Sequence[str], to_hold: Sequence[str], feed: Mapping[str, AnyArray | Held]
    ) -> tuple[list[AnyArray], dict[str, Held]]:
        """The outputs `to_host` as arrays, and the outputs `to_hold`, which stay on the session's device.

        What is held goes in without being copied; bfloat16 can be fed and read, strings cannot.

        Raises:
            ModelError: it does not run on this.
            OutOfMemoryError: it would, with more memory.
            ValueError: a name that is asked for twice or is no output, or an output that cannot be held.
        """
        names = [*to_host, *to_hold]
        unknown = [name for name in names if self._kinds.get(name) not in HOLDABLE]
        if unknown or len(set(names)) < len(names):
            raise ValueError(f"outputs asked for: {names}; each has to be there once, and be a tensor of numbers")
        missing = [name for name in self._required if name not in feed]
        if missing:  # ONNX Runtime does not look at this where inputs are bound
            raise ModelError(f"onnxruntime cannot run '{self._model.path.name}': {missing} not fed; feed all inputs")
        try:
            # A binding does not keep what is bound alive in every version; this does.
            given = {
                name: value.native if isinstance(value, Held) else native_value(value) for name, value in feed.items()
            }
            binding = self._native.io_binding()
            for name, value in given.items():
                binding.bind_ortvalue_input(name, value)
            for name in to_host:
                binding.bind_output(name, HOST.kind, HOST.number)
            for name in to_hold:
                binding.bind_output(name, self.device.kind, self.device.number)
            options = runtime().RunOptions()
            with stoppable(partial(setattr, options, "terminate", True)):
                self._native.run_with_iobinding(binding, options)
            found = dict(zip(names, binding.get_outputs(), strict=True))
        except Exception as error:  # native code
            raise self._refused(error) from error
        # On the host a tensor keeps its allocator alive; what a device's allocator needs of its session is not known.
        owner = None if self.device == HOST else self._native
        held = {name: Held(found[name], self.device, owner) for name in to_hold}
        for name in held.keys() & feed.keys():  # an input that is an output, and its memory the feed's
            held[name] = hold(held[name].numpy(), self.device)
        return [Held(found[name], HOST).numpy(copy=name in feed) for name in to_host], held

    def _refused(self, error: BaseException) -> ModelError:
        why = explained(error, self._model, self._provider.name)
        if is_out_of_memory(error):
            return OutOfMemoryError(
                f"onnxruntime runs out of memory with '{self._model.path.name}': {why}; give a smaller --batch-size"
            )
        return ModelError(f"onnxruntime cannot run '{self._model.path.name}': {why}")


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
    # Threads that wait by spinning slow down whichever session runs next: 4.6 ms a batch became 12.5 ms where three
    # sessions took turns. Alone, a session is as fast without.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    if provider.name == CPU:
        share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
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
        return kind.ortvalue_from_numpy_with_onnx_type(plain(values), BFLOAT16)
    return kind.ortvalue_from_numpy(plain(values))


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
