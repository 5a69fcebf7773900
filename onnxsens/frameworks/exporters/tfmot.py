"""A script that prunes a tf_keras model with the TensorFlow Model Optimization Toolkit."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.frameworks.exporters.header import header, select
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode
from onnxsens.frameworks.exporters.script import (
    FIND,
    PLACE_VALUES,
    READ_MASKS,
    READ_VALUES,
    files_beside,
    script,
    table,
)

IMPORTS = """
import argparse
import json
import math
import os
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # before TensorFlow is imported, or tfmot sees Keras 3

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from safetensors import safe_open
"""

RATIO_IMPORTS = (
    IMPORTS.replace("import json\nimport math\n", "")
    .replace("from pathlib import Path\n", "")
    .replace("from safetensors import safe_open\n", "")
    .replace("import os\n\n", "import os\n\n")
)

PRUNE = '''
if tf.keras.__name__.startswith("keras"):
    raise RuntimeError("TensorFlow was imported before TF_USE_LEGACY_KERAS=1 was set; set it in the environment")


def kernels_of(model):
    """The kernel of each planned layer."""
    layers = {layer.name: layer for layer in model.layers}
    found = {}
    for parameter, layer in LAYERS.items():
        if layer["layer"] not in layers:
            raise KeyError(f"the model has no layer {layer['layer']!r}; check that it is the model of the plan")
        holder = layers[layer["layer"]]
        kernel = getattr(getattr(holder, "layer", holder), layer["kernel"])
        if tuple(kernel.shape) != layer["shape"]:
            raise ValueError(f"{parameter!r} is {tuple(kernel.shape)} here and {layer['shape']} in the plan")
        found[parameter] = kernel
    return found


def wrap(model):
    """A model whose planned layers are wrapped: compile and fit it with UpdatePruningStep(), then `finish` it."""
    kernels_of(model)
    plan = {layer["layer"]: layer for layer in LAYERS.values()}

    def wrapped(layer):
        if layer.name not in plan:
            return layer
        zeros, pattern, shape = (plan[layer.name][key] for key in ("zeros", "pattern", "shape"))
        if pattern is not None:
            kept, group = map(int, pattern.split(":"))
            return tfmot.sparsity.keras.prune_low_magnitude(layer, sparsity_m_by_n=(group - kept, group))
        schedule = tfmot.sparsity.keras.ConstantSparsity(zeros / np.prod(shape), begin_step=0, end_step=0, frequency=1)
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    return tf_keras.models.clone_model(model, clone_function=wrapped)


def prune_now(wrapped):
    """Zero the planned elements without a step of training."""
    for layer in wrapped.layers:
        if hasattr(layer, "pruning_obj"):
            for step in (0, 1):  # at 0 masks of a ratio are made, at 1 those of N:M
                layer.pruning_step.assign(step)
                layer.pruning_obj.conditional_mask_update()
            layer.pruning_obj.weight_mask_op()
            layer.pruning_step.assign(-1)
    return wrapped


def finish(wrapped):
    """The model without wrappers; no zero is -0.0."""
    model = tfmot.sparsity.keras.strip_pruning(wrapped)
    for kernel in kernels_of(model).values():
        kernel.assign(tf.where(kernel == 0, tf.zeros_like(kernel), kernel))
    return model


def zeros_of(model):
    """How many zeros each planned kernel has."""
    return {parameter: int((kernel.numpy() == 0).sum()) for parameter, kernel in kernels_of(model).items()}
'''

PRUNE_BY_RATIO = '''
def prune_model(model):
    """A wrapped model with the planned numbers of zeros."""
    return prune_now(wrap(model))
'''

PRUNE_BY_MASK = '''
def load_values(model, path=VALUES):
    """Give variables what the plan's update made of them. Nothing is changed unless all of it fits."""
    variables = {variable.name.removesuffix(":0"): variable for variable in model.weights}
    values = {name.removesuffix(":0"): value for name, value in read_values(path).items()}
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    for name, value in placed(values, shapes).items():
        variables[name].assign(value)
    return model


def prune_model(model, values=VALUES):
    """A wrapped model with the updated values and the planned zeros; values=False loads none.

    Least magnitudes are those very zeros, so tfmot finds them again.
    """
    masks, kernels = read_masks(), kernels_of(model)
    load_values(model, values)
    for parameter, kernel in kernels.items():
        values = kernel.numpy()
        kernel.assign(np.where(masks[parameter], values, np.zeros_like(values)))
    return prune_now(wrap(model))
'''

MAIN = """
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a .h5 or .keras file of tf_keras")
    parser.add_argument("-o", "--output", required=True, help="where the pruned model goes")
    given = parser.parse_args()
    model = finish(prune_model(tf_keras.models.load_model(given.model, compile=False)))
    for parameter, zeros in zeros_of(model).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    model.save(given.output)
"""

MAIN_MASK = """
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a .h5 or .keras file of tf_keras")
    parser.add_argument("--no-values", action="store_true", help="do not load the updated values")
    parser.add_argument("-o", "--output", required=True, help="where the pruned model goes")
    given = parser.parse_args()
    values = not given.no_values and VALUES
    model = finish(prune_model(tf_keras.models.load_model(given.model, compile=False), values))
    print(about_values(values))
    for parameter, zeros in zeros_of(model).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    model.save(given.output)
"""

TRAPS = (
    "TF_USE_LEGACY_KERAS=1 has to be set before TensorFlow is imported: tfmot knows tf_keras only, not Keras 3.",
    "Only kernels of dense and ordinary convolution layers are pruned, at the top level of the model.",
    "Without UpdatePruningStep() among the callbacks, fit raises an error.",
    "Kept elements are counted in float32: above 4 million elements the count may be off by a few.",
    "Of equal magnitudes at the threshold all are kept.",
    "A schedule that goes on after step 0 chooses other zeros in training: optimizers move masked elements too, and "
    "masks are made anew. The one here ends at step 0; N:M is chosen once more after the first step.",
)
KERNELS = ("kernel", "pointwise_kernel")


@dataclass(frozen=True)
class Tfmot:
    """tfmot, for models of tf_keras."""

    name: str = "tfmot"
    title: str = "Sparsity for a tf_keras model, by TensorFlow Model Optimization"
    modes: tuple[Mode, ...] = ("ratio", "mask")
    ran_with: str | None = "tfmot 0.8.1, tf_keras 2.21, tensorflow 2.21"

    def files(self, export: Export) -> Mapping[str, str]:
        """One script."""
        masked = export.mode == "mask"
        layers, left_out = select(self, export, refuses_mask if masked else refuses_ratio)
        head = header(
            self,
            export,
            layers,
            left_out,
            use=(
                "Use: from prune_tfmot import prune_model, finish; wrapped = prune_model(model); compile and fit it "
                "with tfmot.sparsity.keras.UpdatePruningStep(); model = finish(wrapped).",
                "Or: python prune_tfmot.py model.h5 -o pruned.h5",
            ),
            traps=TRAPS,
            values="The script loads them before it masks; to leave them out: prune_model(model, values=False), or "
            "--no-values.",
        )
        rows = {
            layer.parameter: {
                "aliases": layer.aliases,
                "layer": split(layer.parameter)[0],
                "kernel": split(layer.parameter)[1],
                "shape": layer.shape,
                "zeros": layer.zeros,
                "pattern": None if masked else layer.pattern,
            }
            for layer in layers
        }
        doc = "Prune a tf_keras model as planned."
        if masked:
            constants = {**files_beside(export), "LAYERS": table(rows)}
            parts = (READ_MASKS, READ_VALUES, FIND, PLACE_VALUES, PRUNE, PRUNE_BY_MASK, MAIN_MASK)
            text = script(head, doc, IMPORTS, constants, *parts)
        else:
            text = script(head, doc, RATIO_IMPORTS, {"LAYERS": table(rows)}, PRUNE, PRUNE_BY_RATIO, MAIN)
        return {"prune_tfmot.py": text}


def split(parameter: str) -> tuple[str, str]:
    """Layer and kind of a variable: `fc` and `kernel` of `sequential/fc/kernel:0`."""
    path, _, kind = parameter.removesuffix(":0").rpartition("/")
    return path.rpartition("/")[2], kind


def refuses_mask(layer: Layer) -> str | None:
    """tfmot wraps layers, and prunes their kernels."""
    name, kind = split(layer.parameter)
    if kind not in KERNELS or not name:
        return f"tfmot prunes kernels of layers, and this is '{kind}'"
    if layer.operator in {"GRU", "LSTM", "RNN"}:
        return f"tfmot prunes both kernels of a {layer.operator} at one ratio"
    return None


def refuses_ratio(layer: Layer) -> str | None:
    """Any element, or N:M."""
    if reason := refuses_mask(layer):
        return reason
    if layer.pattern is not None and ":" not in layer.pattern:
        return f"tfmot has no pattern '{layer.pattern}'; use --mode mask"
    return None


EXPORTER = Tfmot()
