"""PyTorch: what `torch.save` wrote, read by `torch.load(weights_only=True)` and by nothing else.

Without torch such a file is not read at all: any other way to read it runs what is in it. Values stay in the file's
mapping where torch can map it.
"""

import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import CheckpointError, MissingPackageError
from onnxsens.frameworks.checkpoints.archives import MAGIC, entries_of
from onnxsens.frameworks.checkpoints.checkpoint import (
    OTHER_NUMBERS,
    Checkpoint,
    Parameter,
    damaged,
    dtype_named,
    listed,
    quoted,
    refuse_endless,
)

# Where trainers keep the weights among other things, the likeliest first.
KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
AVERAGES = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema")
# What wrappers put before every name.
WRAPPERS = ("module.", "_orig_mod.")
LEGACY = re.compile(rb"\x80[\x02-\x05]")
OF_ANOTHER = ".safetensors"
MOST_LEAVES = 1_000_000
LARGEST_REPEATED = 1 << 26  # bytes; an expanded tensor repeats its storage, however often a file says
SAVE_WEIGHTS = "save its weights alone: torch.save(model.state_dict(), 'model.pt')"


@dataclass(frozen=True)
class Torch:
    """A state dict, alone or among a trainer's other things; names are its keys."""

    name = "torch"
    title = "a state dict as torch.save writes it (needs torch)"
    suffixes = (".pt", ".pth", ".bin", ".ckpt", ".th", ".tar")

    def recognises(self, path: Path, head: bytes) -> bool:
        """torch's zip archive, or the format before it; Paddle's files begin like the latter."""
        if head.startswith(MAGIC):
            return any(entry.endswith(("/data.pkl", "/constants.pkl", "/archive_format")) for entry in entries_of(path))
        return LEGACY.match(head) is not None and path.suffix != ".pdparams"

    def open(self, path: Path) -> Checkpoint:
        """Tied parameters, which share their storage, are one parameter with aliases."""
        with path.open("rb") as file:
            zipped = file.read(len(MAGIC)) == MAGIC
        if zipped:
            refuse_programs(path)
        torch = torch_for(path)
        content = loaded(torch, path, zipped)
        if not isinstance(content, Mapping | list | tuple):
            raise CheckpointError(
                f"checkpoint '{path}' holds a {type(content).__name__}, no state dict; {SAVE_WEIGHTS}"
            )
        notes = [] if zipped else ["a file of the format before torch 1.6 cannot be mapped; it is in memory as a whole"]
        if path.name.endswith(OF_ANOTHER):
            notes = [f"a file of torch.save, though it is called {OF_ANOTHER}; it is in memory as a whole"]
        try:
            tensors, others, more = named_tensors(torch, content)
        except ValueError as error:
            raise damaged(path, str(error)) from error
        notes.extend(more)
        if others:
            notes.append(f"{listed(others)} left out: no plain tensors of numbers")
        notes.extend(notes_on([name for name, _ in tensors]))
        return Checkpoint(path, self.name, tuple(parameters_of(tensors)), tuple(notes))


FORMAT = Torch()


def refuse_programs(path: Path) -> None:
    """Raises:
    CheckpointError: the archive holds code beside the weights, which torch would have to load as well; or it was
        packed by something else than torch, which compresses nothing.
    """
    entries = entries_of(path)
    for entry in entries:
        if entry.endswith("/archive_format") or entry.endswith("models/model.json"):
            raise CheckpointError(
                f"checkpoint '{path}' is an exported program; save its weights alone: "
                "torch.save(dict(torch.export.load(path).state_dict), 'model.pt')"
            )
        if entry.endswith("/constants.pkl"):
            raise CheckpointError(
                f"checkpoint '{path}' is a TorchScript program; save its weights alone: "
                "torch.save(torch.jit.load(path).state_dict(), 'model.pt')"
            )
    if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
        raise CheckpointError(f"checkpoint '{path}' was packed again; hand in the file that torch.save wrote")


def torch_for(path: Path) -> Any:
    """The package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return import_module("torch")
    except ImportError as error:
        raise MissingPackageError(
            f"checkpoint '{path}' is PyTorch's, and torch is missing; pip install torch, or save the weights as "
            "safetensors where torch is: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
        ) from error


def loaded(torch: Any, path: Path, zipped: bool) -> Any:
    """What was saved, on the CPU; mapped where the format allows it.

    Raises:
        CheckpointError: it is damaged, or holds more than tensors and plain containers.
    """
    try:
        with warnings.catch_warnings():
            # What torch has to say about its own past formats is nothing that a user can act on.
            warnings.simplefilter("ignore")
            if path.name.endswith(OF_ANOTHER):  # torch 2.13 goes by the name of a path before it looks inside
                with path.open("rb") as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # on damaged files torch raises whatever its parts do: eight types were seen
        text = str(error)
        foreign = re.search(r"(?:GLOBAL|[Cc]lass|global:?)\s+([A-Za-z_][\w.]*\.\w+)", text)
        if "eights only load failed" in text and foreign and "nsupported" in text:
            raise CheckpointError(
                f"checkpoint '{path}' holds Python objects ({quoted(foreign[1])}), which are not loaded for safety; "
                f"where the file is trusted, {SAVE_WEIGHTS}"
            ) from error
        raise damaged(path, "torch cannot read it as weights") from error


def named_tensors(torch: Any, content: Any) -> tuple[list[tuple[str, Any]], list[str], list[str]]:
    """The tensors by name, the names of what is none, and notes on where they were."""
    notes = []
    while isinstance(content, Mapping):
        nested = [key for key in KEYS if holds_tensors(torch, content.get(key))]
        if not nested:
            break
        spare = [key for key in (*nested[1:], *AVERAGES) if holds_tensors(torch, content.get(key))]
        notes.append(f"the weights are those under '{nested[0]}'; all else in the file is left out")
        if spare:
            notes.append(f"other weights under {listed(spare)} are not read; to use them, save them alone")
        content = content[nested[0]]
    tensors: list[tuple[str, Any]] = []
    others: list[tuple[str, Any]] = []
    for name, value in flat(content):
        (tensors if is_plain(torch, value) else others).append((name, value))
    return tensors, [name for name, value in others if isinstance(value, torch.Tensor)], notes


def holds_tensors(torch: Any, value: Any) -> bool:
    """Whether it is a dict with a tensor in it, at any depth."""
    return isinstance(value, Mapping) and any(isinstance(leaf, torch.Tensor) for _, leaf in flat(value))


def flat(content: Any) -> Iterator[tuple[str, Any]]:
    """Leaves of nested dicts, lists and tuples by name, keys joined with dots.

    Raises:
        ValueError: a dict or list holds itself, or all of them together hold each other far too often.
    """
    left = MOST_LEAVES

    def walked(content: Any, prefix: str, levels: int) -> Iterator[tuple[str, Any]]:
        nonlocal left
        items: Iterable[tuple[Any, Any]] = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, value in items:
            name = f"{prefix}{key}"
            refuse_endless(name, levels)
            left -= 1
            if left < 0:
                raise ValueError(f"it holds more than {MOST_LEAVES:,} things")
            if isinstance(value, Mapping | list | tuple):
                yield from walked(value, f"{name}.", levels + 1)
            else:
                yield name, value

    return walked(content, "", 1)


def is_plain(torch: Any, value: Any) -> bool:
    """Whether it is a dense tensor with numbers that numpy or ml_dtypes know."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= max(value.untyped_storage().nbytes(), LARGEST_REPEATED)
        and dtype_named(str(value.dtype).removeprefix("torch.")) is not None
    )


def parameters_of(tensors: list[tuple[str, Any]]) -> Iterator[Parameter]:
    """One for each storage and view of it."""
    found: dict[object, list[tuple[str, Any]]] = {}
    for name, tensor in tensors:
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        key = (place, tensor.dtype) if tensor.numel() else name  # empty ones are all at address 0
        found.setdefault(key, []).append((name, tensor))
    for same in found.values():
        name, tensor = same[0]
        dtype = str(tensor.dtype).removeprefix("torch.")
        aliases = tuple(other for other, _ in same[1:])
        yield Parameter(name, tuple(tensor.shape), dtype, partial(values_of, tensor, dtype), aliases)


def values_of(tensor: Any, dtype: str) -> AnyArray:
    """A read-only array of the tensor's memory where that is contiguous, else a copy."""
    torch = import_module("torch")
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    if dtype in OTHER_NUMBERS:
        values: AnyArray = plain.view(torch.int16 if plain.element_size() == 2 else torch.uint8).numpy()
        values = values.view(np.dtype(dtype_named(dtype)))
    else:
        values = plain.numpy()
    values.setflags(write=False)
    return values


def notes_on(names: list[str]) -> list[str]:
    """On names that a wrapper or a pruning tool changed."""
    notes = [
        f"every name begins with '{wrapper}', which a wrapper added; it is kept, and appliers do without it"
        for wrapper in WRAPPERS
        if names and all(name.startswith(wrapper) for name in names)
    ]
    masked = [name for name in names if name.endswith("_orig") and f"{name.removesuffix('_orig')}_mask" in names]
    if masked:
        notes.append(
            f"{listed(masked)}: torch.nn.utils.prune is still at work on the model; prune.remove makes it permanent"
        )
    return notes
