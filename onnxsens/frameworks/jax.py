"""Masks on a tree of JAX parameters (Flax linen, Flax nnx, plain dicts), and zeros that stay zero under optax.

    from onnxsens.frameworks.jax import apply, hold

    params = apply(params, "masks.safetensors")
    optimizer = optax.chain(optax.adamw(1e-3), hold(params, "masks.safetensors"))

Needs numpy, JAX and, for `hold`, optax, and those only once a function is called.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from onnxsens.errors import PlanError
from onnxsens.frameworks.naming import check_shape, resolve
from onnxsens.frameworks.sparse_files import masks_in, refuse_two_plans, weights_in

# What nnx puts around an array: not a part of its name.
INSIDE = ("value", "raw_value")


def apply(
    params: Any,
    masks: str | Path | Mapping[str, Any],
    weights: str | Path | Mapping[str, Any] | None = None,
) -> Any:
    """The parameters with the zeros of the masks; what came in is not changed.

    Names are the tree's keys, joined with '/'. A part in front, such as `params/`, may be missing on either side where
    that leaves no doubt. Works under `jax.jit`.

    Args:
        params: nested dicts of arrays, an nnx state, or an nnx module, of which a new one is made.
        masks: `masks.safetensors`, or arrays by parameter, True or 1 where a value is kept.
        weights: `weights.safetensors`, or values by parameter, which are written before the zeros are.

    Raises:
        PlanError: the file is damaged, or a name or shape is not the tree's.
    """
    if is_module(params):
        nnx = import_module("flax.nnx")
        definition, state = nnx.split(params)
        return nnx.merge(definition, apply(state, masks, weights))
    jnp = import_module("jax.numpy")
    tree = import_module("jax.tree_util")
    refuse_two_plans(masks, weights)
    given = masks_in(masks)
    values = weights_in(weights)
    names, leaves, structure = flattened(params)
    known = {name: {number} for number, name in enumerate(names)}
    updated = resolve(values, known, "parameter")
    chosen = resolve(given, known, "parameter")
    for name, number in updated.items():
        check_shape(name, values[name].shape, tuple(leaves[number].shape), "value")
        leaves[number] = jnp.asarray(values[name], leaves[number].dtype)
    for name, number in chosen.items():
        check_shape(name, given[name].shape, tuple(leaves[number].shape), "mask")
        leaves[number] = jnp.where(given[name], leaves[number], jnp.zeros_like(leaves[number]))
    return tree.tree_unflatten(structure, leaves)


class HoldState(NamedTuple):
    """Of `hold`: for each leaf of the parameters its mask, None where it has none."""

    kept: tuple[Any, ...]


def hold(params: Any, masks: str | Path | Mapping[str, Any]) -> Any:
    """An `optax.GradientTransformation` after which every masked element is 0; chain it last.

    Where the parameters are handed to `update`, as for weight decay, an element that is not 0 becomes 0 as well; else
    the ones that are 0 stay 0.

    Args:
        params: the tree that is trained, or one that it is a part of, such as all that an nnx module holds.
        masks: as for `apply`.

    Raises:
        PlanError: the file is damaged, or a name or shape is not the tree's.
    """
    optax = import_module("optax")
    jnp = import_module("jax.numpy")
    tree = import_module("jax.tree_util")
    given = masks_in(masks)
    if is_module(params):
        params = import_module("flax.nnx").state(params)
    names, leaves, _ = flattened(params)
    chosen = resolve(given, {name: {number} for number, name in enumerate(names)}, "parameter")
    by_leaf = {}
    for name, number in chosen.items():
        check_shape(name, given[name].shape, tuple(leaves[number].shape), "mask")
        by_leaf[names[number]] = given[name]

    def init(params: Any) -> HoldState:
        names, _, _ = flattened(params)
        absent = sorted(set(by_leaf) - set(names))
        if absent:
            raise PlanError(f"parameter '{absent[0]}' has a mask and is not trained; leave it out of the masks")
        return HoldState(tuple(jnp.asarray(by_leaf[name]) if name in by_leaf else None for name in names))

    def update(updates: Any, state: HoldState, params: Any = None) -> tuple[Any, HoldState]:
        steps, structure = tree.tree_flatten(updates)
        before = [None] * len(steps) if params is None else tree.tree_leaves(params)
        if not len(steps) == len(before) == len(state.kept):
            raise PlanError(
                f"{len(steps)} updates for {len(state.kept)} parameters; chain hold() last, outside of optax.masked"
            )
        held = []
        for step, kept, value in zip(steps, state.kept, before, strict=True):
            if kept is None:
                held.append(step)
            else:
                back = jnp.zeros_like(step) if value is None else -value.astype(step.dtype)
                held.append(jnp.where(kept, step, back))
        return tree.tree_unflatten(structure, held), state

    return optax.GradientTransformation(init, update)


def is_module(params: Any) -> bool:
    """Whether it is a module of Flax nnx, told without importing Flax."""
    return any(base.__module__.startswith("flax.nnx") and base.__name__ == "Module" for base in type(params).__mro__)


def flattened(params: Any) -> tuple[list[str], list[Any], Any]:
    """Names, leaves and structure of a tree, in JAX's order.

    Raises:
        PlanError: two leaves have one name.
    """
    tree = import_module("jax.tree_util")
    pairs, structure = tree.tree_flatten_with_path(params)
    names = [name_of(path) for path, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise PlanError(f"the parameters have two arrays called '{twice}'; rename one")
    return names, [leaf for _, leaf in pairs], structure


def name_of(path: tuple[Any, ...]) -> str:
    """A path of JAX as a name: `params/Dense_0/kernel`."""
    parts = [next(getattr(key, kind) for kind in ("key", "name", "idx") if hasattr(key, kind)) for key in path]
    if len(parts) > 1 and parts[-1] in INSIDE and type(path[-1]).__name__ == "GetAttrKey":
        parts = parts[:-1]
    return "/".join(str(part) for part in parts)
