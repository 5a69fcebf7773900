"""A script with masks for a tree of JAX parameters, and an optax transformation that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.frameworks.exporters.header import header, select
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode
from onnxsens.frameworks.exporters.script import (
    FIND,
    PLACE_VALUES,
    RANKING,
    READ_MASKS,
    READ_VALUES,
    files_beside,
    layer_rows,
    script,
    table,
)

IMPORTS = """
import argparse
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors import safe_open
"""

RATIO_IMPORTS = IMPORTS.replace("import json\n", "").replace("from pathlib import Path\n", "").replace(
    "from safetensors import safe_open\n", ""
)  # fmt: skip

TREE = '''
def named(params):
    """The leaves of a tree by name, keys joined with '/', and the tree's form."""
    leaves, form = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    # A State of flax.nnx has the array in a field of each leaf.
    names = [name.removesuffix("/value").replace(".", "/") for name in names]
    return dict(zip(names, [leaf for _, leaf in leaves], strict=True)), form


def masks(params):
    """A tree like `params` with True where an element is kept, and for parameters that are not planned."""
    leaves, form = named(params)
    kept = {name: np.ones(jnp.shape(leaf), bool) for name, leaf in leaves.items()}
    for name, (parameter, layer) in planned(leaves).items():
        if jnp.shape(leaves[name]) != layer["shape"]:
            shape = jnp.shape(leaves[name])
            raise ValueError(f"{parameter!r} is {shape} here and {layer['shape']} in the plan")
        kept[name] = mask_of(parameter, layer, leaves[name])
    return jax.tree_util.tree_unflatten(form, list(kept.values()))


def planned(leaves):
    """The plan's layers by their names in the tree."""
    found = {}
    for parameter, layer in LAYERS.items():
        own = parameter.replace(".", "/")
        name = find(leaves, own, [alias.replace(".", "/") for alias in layer["aliases"]])
        if name in found:
            raise KeyError(f"{parameter!r} and {found[name][0]!r} are both {name!r}; check that it is the plan's model")
        found[name] = parameter, layer
    return found


def zeroed(params):
    """The same tree with the planned elements at +0.0."""

    def zeroed_leaf(leaf, mask):  # keys of random numbers have no zeros
        return leaf if mask.all() else jnp.where(mask, leaf, jnp.zeros_like(leaf))

    return jax.tree.map(zeroed_leaf, params, masks(params))


def keep_zeros(optimizer, params):
    """An optimizer that never moves what is zero: its updates are masked last, weight decay included.

    The masks are made here: of pruned parameters they are those by which these were pruned.
    """
    kept = masks(params)

    def masked(updates, params=None):
        return jax.tree.map(lambda update, mask: jnp.where(mask, update, jnp.zeros_like(update)), updates, kept)

    return optax.chain(optimizer, optax.stateless(masked))


def zeros_of(params):
    """How many zeros each planned parameter has."""
    leaves, _ = named(params)
    return {parameter: int((leaves[name] == 0).sum()) for name, (parameter, _) in planned(leaves).items()}
'''

PRUNE_BY_RATIO = '''
def prune(params):
    """The same tree with the planned elements at +0.0."""
    return zeroed(params)
'''

PRUNE_BY_MASK = '''
def load_values(params, path=VALUES):
    """The same tree with what the plan's update made of its leaves."""
    leaves, form = named(params)
    shapes = {name: jnp.shape(leaf) for name, leaf in leaves.items()}
    values = {name.replace(".", "/"): value for name, value in read_values(path).items()}
    for name, value in placed(values, shapes).items():
        leaves[name] = jnp.asarray(value, leaves[name].dtype)
    return jax.tree_util.tree_unflatten(form, list(leaves.values()))


def prune(params, values=VALUES):
    """The same tree with the updated values, and the planned elements at +0.0; values=False takes no values.

    Values may be of statistics too: hand in a tree that has them, of flax linen with 'batch_stats'.
    """
    return zeroed(load_values(params, values))
'''

MASK_OF_RATIO = '''
def mask_of(parameter, layer, values):
    """The least magnitudes go. Kernels have outputs last: [..., in, out]."""
    index = np.arange(math.prod(layer["shape"])).reshape(layer["shape"])
    index = index.reshape(1, -1) if layer["pattern"] is None else index.reshape(-1, layer["shape"][-1]).T
    return ranked_mask(np.asarray(values), index, layer["zeros"], layer["pattern"])
'''

MASK_OF_FILE = '''
def mask_of(parameter, layer, values):
    """From the file beside."""
    return read_masks()[parameter]
'''

MAIN = """
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("params", help="an .npz file of parameters by name")
    parser.add_argument("-o", "--output", required=True, help="where the pruned parameters go, an .npz file")
    given = parser.parse_args()
    with np.load(given.params) as file:
        params = prune(dict(file))
    for parameter, zeros in zeros_of(params).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    np.savez(given.output, **{name: np.asarray(value) for name, value in params.items()})
"""

MAIN_MASK = """
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("params", help="an .npz file of parameters by name")
    parser.add_argument("--no-values", action="store_true", help="do not load the updated values")
    parser.add_argument("-o", "--output", required=True, help="where the pruned parameters go, an .npz file")
    given = parser.parse_args()
    values = not given.no_values and VALUES
    with np.load(given.params) as file:
        params = prune(dict(file), values)
    print(about_values(values))
    for parameter, zeros in zeros_of(params).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    np.savez(given.output, **{name: np.asarray(value) for name, value in params.items()})
"""

TRAPS = (
    "A mask alone does not hold zeros: train with keep_zeros(optimizer, params), made after pruning. optax.masked is "
    "something else: it lets updates pass where its mask is False.",
    "Names are keys joined with '/'; what comes first, such as 'params', may be missing on either side if one fits.",
)
RATIO_TRAPS = ("Nested lists in a tree of flax.nnx count as keys: their numbers are part of the name.",)


@dataclass(frozen=True)
class Jax:
    """Any tree of JAX arrays: flax linen, flax nnx, haiku."""

    name: str = "jax"
    title: str = "Masks for a tree of JAX parameters, with optax"
    modes: tuple[Mode, ...] = ("ratio", "mask")
    ran_with: str | None = "jax 0.10.2, flax 0.12.8, optax 0.2.8"

    def files(self, export: Export) -> Mapping[str, str]:
        """One script."""
        masked = export.mode == "mask"
        layers, left_out = select(self, export, no_reason if masked else refuses_ratio)
        head = header(
            self,
            export,
            layers,
            left_out,
            use=(
                "Use: from prune_jax import prune, keep_zeros; params = prune(params); "
                "optimizer = keep_zeros(optax.adam(1e-3), params).",
                "With flax.nnx, params is nnx.state(model, nnx.Param), and nnx.update(model, prune(params)).",
                "Or: python prune_jax.py params.npz -o pruned.npz",
            ),
            traps=TRAPS if masked else (*TRAPS, *RATIO_TRAPS),
            values="The script puts them into the tree before it masks, also into statistics where it has values of "
            "any: hand in all that it names. To leave them out: prune(params, values=False), or --no-values.",
        )
        rows = {"LAYERS": table(layer_rows(layers))}
        doc = "Prune a tree of JAX parameters as planned."
        if masked:
            constants = {**files_beside(export), **rows}
            parts: tuple[str, ...] = (
                READ_MASKS, READ_VALUES, FIND, PLACE_VALUES, TREE, PRUNE_BY_MASK, MASK_OF_FILE, MAIN_MASK
            )  # fmt: skip
            return {"prune_jax.py": script(head, doc, IMPORTS, constants, *parts)}
        parts = (FIND, TREE, PRUNE_BY_RATIO, MASK_OF_RATIO, RANKING, MAIN)
        return {"prune_jax.py": script(head, doc, RATIO_IMPORTS, rows, *parts)}


def no_reason(layer: Layer) -> None:
    """Every leaf has a name."""


def refuses_ratio(layer: Layer) -> str | None:
    """A tree says nothing of layers: rows are known of kernels [..., in, out] alone."""
    if layer.pattern is None:
        return None
    kernel = layer.parameter.replace(".", "/").rpartition("/")[2] == "kernel"
    if kernel and (layer.operator == "Conv" or (len(layer.shape) == 2 and layer.operator != "ConvTranspose")):
        return None
    return f"what is a row of it for the pattern '{layer.pattern}' is not known in a tree; use --mode mask"


EXPORTER = Jax()
