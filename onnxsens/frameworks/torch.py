"""Masks on a PyTorch model, and zeros that stay zero while it is trained on.

    from onnxsens.frameworks.torch import apply

    masked = apply(model, "masks.safetensors")
    ...  # train as ever, with any optimizer of torch.optim
    masked.remove()

Zeroing the gradients would not do: momentum from before and weight decay move a parameter without one. So zeros are
written again after every optimizer step. Needs numpy and torch, and torch only once a function is called.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import PlanError
from onnxsens.frameworks.naming import check_shape, unknown
from onnxsens.frameworks.sparse_files import masks_in, read_aliases, refuse_two_plans, weights_in

# What torch puts before names: DistributedDataParallel and torch.compile.
PARALLEL = "module"
COMPILED = "_orig_mod"


@dataclass
class Held:
    """A parameter that is kept sparse. `pruned`: its shape, True where zero, on its device."""

    name: str
    parameter: Any
    pruned: Any

    def restore(self) -> None:
        """Write the zeros, +0.0 even over NaN."""
        if self.pruned.device != self.parameter.device:
            self.pruned = self.pruned.to(self.parameter.device)
        with import_module("torch").no_grad():
            self.parameter.masked_fill_(self.pruned, 0.0)


class Masked:
    """The zeros of a model, held after every step of whichever optimizer has its parameters.

    Lives, and keeps the model alive, until `remove` is called or its `with` block ends.
    """

    def __init__(self, model: Any, held: list[Held]) -> None:
        self._model = model
        self._held = held
        hooks = import_module("torch.optim.optimizer")
        self._hook = hooks.register_optimizer_step_post_hook(self._after_step)

    @property
    def sparsity(self) -> dict[str, float]:
        """Of every masked parameter, under the model's own name: zeros it has now, over its elements."""
        return {held.name: float((held.parameter == 0).sum()) / max(1, held.parameter.numel()) for held in self._held}

    def restore(self) -> None:
        """Write the zeros now; for changes that no optimizer made, such as averaged or loaded weights."""
        for held in self._held:
            held.restore()

    def check(self) -> None:
        """Raises:
        PlanError: a zero is gone, or a parameter was replaced by another one, which nothing is held in.
        """
        now = dict(self._model.named_parameters(remove_duplicate=False))
        for held in self._held:
            if held.name not in now or now[held.name] is not held.parameter:
                raise PlanError(f"parameter '{held.name}' was replaced since masks were applied; apply them again")
            lost = int((held.parameter[held.pruned.to(held.parameter.device)] != 0).sum())
            if lost:
                raise PlanError(f"{lost} zeros of '{held.name}' are gone; call restore() after what changed them")

    def remove(self) -> None:
        """Hold no longer; the parameters stay as they are."""
        self._hook.remove()

    def __enter__(self) -> "Masked":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        stepped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for held in self._held:
            if id(held.parameter) in stepped:
                held.restore()


def apply(
    model: Any,
    masks: str | Path | Mapping[str, Any],
    weights: str | Path | Mapping[str, Any] | None = None,
) -> Masked:
    """Zero what the masks zero, in place, and keep it zero.

    Nothing is changed unless every name and shape fits. Types and devices of the model stay. A tied parameter is
    zeroed once; where the model has it untied, each copy is. `module.` and `_orig_mod.` in names, on either side, are
    seen through where that leaves no doubt.

    Args:
        model: a `torch.nn.Module`.
        masks: `masks.safetensors`, or arrays or tensors by parameter, True or 1 where a value is kept.
        weights: `weights.safetensors` of the same plan, or values by parameter or buffer (running statistics are
            buffers), which are written before the zeros are.

    Raises:
        PlanError: a file is damaged, the two are of different plans, or a name or shape is not the model's.
    """
    torch = import_module("torch")
    refuse_two_plans(masks, weights)
    given = masks_in(on_host(torch, masks))
    values = weights_in(None if weights is None else on_host(torch, weights))
    aliases = read_aliases(masks) if isinstance(masks, str | Path) else {}
    names = Names(model)
    targets: dict[int, tuple[str, Any, np.ndarray[Any, Any]]] = {}
    for name, mask in given.items():
        for own, parameter in names.meant(name, aliases.get(name, ())):
            check_shape(name, mask.shape, tuple(parameter.shape), "mask")
            before = targets.setdefault(id(parameter), (own, parameter, mask))
            if not np.array_equal(before[2], mask):
                raise PlanError(f"'{before[0]}' and '{name}' are one tied parameter with two different masks; give one")
    updates = []
    for name, value in values.items():
        for place in names.places(name, aliases.get(name, ())):
            check_shape(name, value.shape, tuple(place.shape), "value")
            updates.append((place, value))
    with torch.no_grad():
        for place, value in updates:
            place.copy_(tensor_of(torch, value))
    held = [
        Held(own, parameter, torch.tensor(~mask, device=parameter.device)) for own, parameter, mask in targets.values()
    ]
    masked = Masked(model, held)
    masked.restore()
    return masked


def on_host(torch: Any, given: str | Path | Mapping[str, Any]) -> str | Path | Mapping[str, Any]:
    """The same, with tensors as arrays; 16-bit floats of torch's own, which numpy lacks, in the wider type."""
    if isinstance(given, str | Path):
        return given
    found = {}
    for name, value in given.items():
        if isinstance(value, torch.Tensor):
            plain = value.detach().cpu()
            found[name] = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
        else:
            found[name] = value
    return found


def tensor_of(torch: Any, values: AnyArray) -> Any:
    """A tensor of values of numpy's or ml_dtypes' types, on the CPU."""
    if values.dtype.kind == "V" or values.dtype.name not in torch.__dict__ or values.dtype.name.startswith("bfloat"):
        return torch.tensor(values.astype(np.float32))
    return torch.tensor(np.ascontiguousarray(values).reshape(values.shape))


class Names:
    """The parameters of a model, and how they are found."""

    def __init__(self, model: Any) -> None:
        torch = import_module("torch")
        self.parameters = dict(model.named_parameters(remove_duplicate=False))
        lazy = [name for name, parameter in self.parameters.items() if torch.nn.parameter.is_lazy(parameter)]
        if lazy:
            raise PlanError(f"parameter '{lazy[0]}' has no shape yet; call the model once, then apply the masks")
        self._buffers = dict(model.named_buffers(remove_duplicate=False))
        self._plain = by_plain(self.parameters)
        self._plain_buffers = by_plain(self._buffers)

    def meant(self, name: str, aliases: Iterable[str]) -> list[tuple[str, Any]]:
        """What a file calls by this name or an alias, by the model's own names.

        More than one where what was tied in the checkpoint is not tied in the model.

        Raises:
            PlanError: it has none, a name means several, or what is called so cannot be masked.
        """
        found = own_names(self.parameters, self._plain, (name, *aliases))
        if not found:
            raise PlanError(self._refusal(name))
        return [(own, self.parameters[own]) for own in found]

    def places(self, name: str, aliases: Iterable[str]) -> list[Any]:
        """What values of this name are for: parameters, or else buffers, such as running statistics.

        Raises:
            PlanError: it has none, or a name means several.
        """
        aliases = tuple(aliases)
        names = (name, *aliases)
        if not own_names(self.parameters, self._plain, names):
            buffers = own_names(self._buffers, self._plain_buffers, names)
            if buffers:
                return [self._buffers[own] for own in buffers]
        return [parameter for _, parameter in self.meant(name, aliases)]

    def _refusal(self, name: str) -> str:
        module, _, leaf = name.rpartition(".")
        prefix = f"{module}." if module else ""
        if f"{prefix}{leaf}_orig" in self.parameters:
            return f"'{name}' is being pruned by torch.nn.utils.prune; call prune.remove(module, '{leaf}') first"
        if f"{prefix}{leaf}_g" in self.parameters:
            return f"'{name}' is under weight norm; call torch.nn.utils.remove_weight_norm(module, '{leaf}') first"
        if any(own.startswith(f"{prefix}parametrizations.{leaf}.") for own in self.parameters):
            return (
                f"'{name}' is parametrized; call torch.nn.utils.parametrize.remove_parametrizations(module, '{leaf}') "
                "first"
            )
        if name in self._buffers:
            return f"'{name}' is a buffer, which no optimizer trains; leave it out of the masks"
        return unknown(name, list(self.parameters), "parameter")


def by_plain(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by what is left of each without wrappers."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(plain(name), []).append(name)
    return found


def own_names(tensors: Mapping[str, Any], plain_names: Mapping[str, list[str]], names: Iterable[str]) -> list[str]:
    """Which of a model's tensors are called by any of these names, by its own names.

    Raises:
        PlanError: a name means several.
    """
    own = []
    for name in names:
        found = [name] if name in tensors else plain_names.get(plain(name), [])
        if len({id(tensors[one]) for one in found}) > 1:
            raise PlanError(f"'{name}' means {' and '.join(found[:2])} of the model; give it a name that means one")
        own.extend(found[:1])
    return own


def plain(name: str) -> str:
    """A name without what parallel and compiled wrappers add to it."""
    parts = [part for part in name.split(".") if part != COMPILED]
    while len(parts) > 1 and parts[0] == PARALLEL:
        parts = parts[1:]
    return ".".join(parts)
