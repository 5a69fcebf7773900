"""A script that prunes a Keras 3 model: masks by path, and a callback that holds them."""

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

import keras
import numpy as np
from safetensors import safe_open
"""

RATIO_IMPORTS = """
import argparse
import math

import keras
import numpy as np
"""

VARIABLES = '''
def variables_of(model):
    """The variable of each planned parameter."""
    paths = {variable.path: variable for variable in model.weights}
    found = {parameter: paths[find(paths, parameter, layer["aliases"])] for parameter, layer in LAYERS.items()}
    for parameter, variable in found.items():
        if tuple(variable.shape) != LAYERS[parameter]["shape"]:
            shape = LAYERS[parameter]["shape"]
            raise ValueError(f"{parameter!r} is {tuple(variable.shape)} here and {shape} in the plan")
    return found


def values_of(variable):
    """A variable's values."""
    return keras.ops.convert_to_numpy(variable)
'''

ROWS = '''
LAST_IS_OUT = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


def layers_of(layer):
    """A layer and all within it."""
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from layers_of(inner)


def rows(model, parameter, variable, pattern):
    """Places in the flat weight as [out, in]: kernel positions one after the other, input channels fastest."""
    shape = tuple(variable.shape)
    index = np.arange(math.prod(shape)).reshape(shape)
    if pattern is None:
        return index.reshape(1, -1)
    kind = variable.path.rpartition("/")[2]
    if len(shape) == 2 and kind in ("kernel", "recurrent_kernel"):
        return index.T
    holders = [layer for layer in layers_of(model) if any(each is variable for each in layer.weights)]
    holder = holders[-1] if holders else None
    if isinstance(holder, TRANSPOSED):
        return np.moveaxis(index, -2, 0).reshape(shape[-2], -1)
    if isinstance(holder, DEPTHWISE) or kind == "depthwise_kernel":
        return index.reshape(-1, shape[-2] * shape[-1]).T
    if isinstance(holder, LAST_IS_OUT) or (isinstance(holder, SEPARABLE) and kind == "pointwise_kernel"):
        return index.reshape(-1, shape[-1]).T
    raise TypeError(
        f"what is a row of {parameter!r} in a {type(holder).__name__} is not known; export with --mode mask"
    )
'''

MASKS_OF_RATIO = '''
def masks_of(model):
    """A mask for every parameter: its least magnitudes go."""
    found = {}
    for parameter, variable in variables_of(model).items():
        layer = LAYERS[parameter]
        index = rows(model, parameter, variable, layer["pattern"])
        found[parameter] = ranked_mask(values_of(variable), index, layer["zeros"], layer["pattern"])
    return found
'''

MASKS_OF_FILE = '''
def masks_of(model):
    """A mask for every parameter, from the file beside."""
    return read_masks()


def load_values(model, path=VALUES):
    """Give variables what the plan's update made of them. Nothing is changed unless all of it fits."""
    paths = {variable.path: variable for variable in model.weights}
    values = placed(read_values(path), {path: tuple(variable.shape) for path, variable in paths.items()})
    for name, value in values.items():
        paths[name].assign(value)
    return model
'''

PRUNE_BY_RATIO = '''
def prune_model(model):
    """Zero the planned elements; fit with KeepZeros(model) afterwards, or they grow again."""
    set_zeros(variables_of(model), masks_of(model))
    return model
'''

PRUNE_BY_MASK = '''
def prune_model(model, values=VALUES):
    """Load the updated values and zero the planned elements; fit with KeepZeros(model), or they grow again.

    values=False loads none.
    """
    variables, masks = variables_of(model), masks_of(model)
    load_values(model, values)
    set_zeros(variables, masks)
    return model
'''

PRUNE = '''
def set_zeros(variables, masks):
    """Every zero is +0.0, whatever was there."""
    for parameter, variable in variables.items():
        values = values_of(variable)
        variable.assign(np.where(masks[parameter], values, np.zeros_like(values)))


class KeepZeros(keras.callbacks.Callback):
    """Holds the planned elements at zero: they are set anew after every batch. Made from a pruned model."""

    def __init__(self, model):
        super().__init__()
        self.masks = masks_of(model)  # of a pruned model, those by which it was pruned

    def on_train_batch_end(self, batch, logs=None):
        # Reading self.model brings a JAX backend's state back into the variables.
        set_zeros(variables_of(self.model), self.masks)


def zeros_of(model):
    """How many zeros each planned parameter has."""
    return {name: int((values_of(variable) == 0).sum()) for name, variable in variables_of(model).items()}
'''

MAIN = """
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a .keras file")
    parser.add_argument("-o", "--output", required=True, help="where the pruned model goes, a .keras file")
    given = parser.parse_args()
    model = prune_model(keras.models.load_model(given.model))
    for parameter, zeros in zeros_of(model).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    model.save(given.output)
"""

MAIN_MASK = """
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a .keras file")
    parser.add_argument("--no-values", action="store_true", help="do not load the updated values")
    parser.add_argument("-o", "--output", required=True, help="where the pruned model goes, a .keras file")
    given = parser.parse_args()
    values = not given.no_values and VALUES
    model = prune_model(keras.models.load_model(given.model), values)
    print(about_values(values))
    for parameter, zeros in zeros_of(model).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    model.save(given.output)
"""

TRAPS = (
    "Keras 3 has no pruning of its own: without the callback, zeros grow again in fit.",
    "A path starts with the model's name or not, as the model was made; the rest of it has to be the same, and to fit "
    "one variable only.",
    "The callback writes from the host after every batch, which slows fits of large models down.",
    "Run with the TensorFlow backend.",
)


@dataclass(frozen=True)
class Keras:
    """Keras 3, by the path of each variable."""

    name: str = "keras"
    title: str = "Zeros for a Keras 3 model, by path"
    modes: tuple[Mode, ...] = ("ratio", "mask")
    ran_with: str | None = "keras 3.15.1, tensorflow 2.21"

    def files(self, export: Export) -> Mapping[str, str]:
        """One script."""
        layers, left_out = select(self, export, no_reason)
        head = header(
            self,
            export,
            layers,
            left_out,
            use=(
                "Use: from prune_keras import prune_model, KeepZeros; prune_model(model); "
                "model.fit(..., callbacks=[KeepZeros(model)]).",
                "Or: python prune_keras.py model.keras -o pruned.keras",
            ),
            traps=TRAPS,
            values="The script loads them before it masks; to leave them out: prune_model(model, values=False), or "
            "--no-values.",
        )
        rows = {"LAYERS": table(layer_rows(layers))}
        doc = "Prune a Keras model as planned."
        if export.mode == "mask":
            constants = {**files_beside(export), **rows}
            parts: tuple[str, ...] = (
                READ_MASKS, READ_VALUES, FIND, PLACE_VALUES, VARIABLES, MASKS_OF_FILE, PRUNE_BY_MASK, PRUNE, MAIN_MASK
            )  # fmt: skip
            return {"prune_keras.py": script(head, doc, IMPORTS, constants, *parts)}
        parts = (FIND, VARIABLES, ROWS, RANKING, MASKS_OF_RATIO, PRUNE_BY_RATIO, PRUNE, MAIN)
        return {"prune_keras.py": script(head, doc, RATIO_IMPORTS, rows, *parts)}


def no_reason(layer: Layer) -> None:
    """Every variable has a path."""


EXPORTER = Keras()
