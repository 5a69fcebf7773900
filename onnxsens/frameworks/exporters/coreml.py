"""A script that stores the zeros of a Core ML model as such, with coremltools."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.frameworks.exporters.header import header, select
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode
from onnxsens.frameworks.exporters.script import READ_MASKS, files_beside, layer_rows, script, table
from onnxsens.frameworks.exporters.torch_text import BY_TORCH

IMPORTS = """
import argparse
import itertools
import json
import math
import re
from pathlib import Path

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
from safetensors import safe_open
"""

RATIO_IMPORTS = """
import argparse
import math
import re

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
"""

NAMES = '''
# Names of the converted model for parameters that are not found by themselves: {"conv.weight": "const_0_to_fp16"}.
NAMES = {}
PREFIXES = ("", "p_", "op_")  # from torch.export, and of names that begin with a digit
SUFFIXES = ("", "_to_fp16")  # float16 models have the latter


def weights_of(mlmodel):
    """What coremltools knows of each constant that is as large as the smallest planned weight."""
    smallest = min(math.prod(layer["shape"]) for layer in LAYERS.values())
    found = cto.get_weights_metadata(mlmodel, weight_threshold=max(smallest - 1, 1))
    return {name: about for name, about in found.items() if np.ndim(about.val) > 1}


def names_of(weights):
    """The converted name of each planned parameter. Core ML ignores a name that it does not have, so each is looked up.

    By NAMES, else by the parameter's own name as converters write it, else by what else tells it apart.
    """
    weights = {name: about.val for name, about in weights.items()}
    found = {}
    for parameter, layer in LAYERS.items():
        if parameter in NAMES:
            if NAMES[parameter] not in weights:
                raise KeyError(f"NAMES has {NAMES[parameter]!r}, and the model has {', '.join(weights)}")
            found[parameter] = NAMES[parameter]
            continue
        for own in (parameter, *layer["aliases"]):
            plain = re.sub(r"\\W", "_", own, flags=re.ASCII)
            for name in (prefix + plain + suffix for prefix in PREFIXES for suffix in SUFFIXES):
                if name in weights and alike(weights[name].shape, layer["shape"]):
                    found.setdefault(parameter, name)
    for parameter, layer in LAYERS.items():
        if parameter not in found:
            free = {name: value for name, value in weights.items() if name not in found.values()}
            fits = [name for name, value in free.items() if fitting(parameter, layer, value)]
            if len(fits) != 1:
                near = [name for name, value in free.items() if alike(value.shape, layer["shape"])]
                raise KeyError(
                    f"which weight of the model is {parameter!r} is not known; put it into NAMES. Weights of shape "
                    f"{layer['shape']} without a name of the plan: {', '.join(near) or 'none'}"
                )
            found[parameter] = fits[0]
    if len(set(found.values())) != len(found):
        raise KeyError(f"two parameters of the plan have the same weight: {found}; put the right ones into NAMES")
    return found


def alike(shape, other):
    """Whether shapes are the same but for the order of axes, and axes of 1."""
    return sorted(size for size in shape if size > 1) == sorted(size for size in other if size > 1)
'''

FIT_BY_SHAPE = '''
def fitting(parameter, layer, value):
    """A weight without a name can only be told by its shape; it has to be the only one."""
    return alike(value.shape, layer["shape"])
'''

FIT_BY_ZEROS = '''
def fitting(parameter, layer, value):
    """A weight is told by its zeros: they are where the mask has them, in some order of axes."""
    mask = read_masks()[parameter]
    turned = (mask.transpose(axes) for axes in itertools.permutations(range(mask.ndim)))
    return any(each.shape == value.shape and not value[~each].any() for each in turned)
'''

PRUNE_BY_RATIO = '''
def config_of(layer, operator):
    """Settings that reach the planned count: a percentile takes all up to the one in the middle of two elements."""
    size, zeros, pattern = math.prod(layer["shape"]), layer["zeros"], layer["pattern"]
    settings = {"weight_threshold": 1}
    dim = 0 if operator.endswith("transpose") else 1  # input channels
    if pattern is not None and ":" in pattern:
        kept, group = map(int, pattern.split(":"))
        return cto.OpMagnitudePrunerConfig(n_m_ratio=(group - kept, group), dim=dim, **settings)
    if pattern is not None:
        rows, columns = map(int, pattern.removeprefix("block").split("x"))
        settings |= {"block_size": rows, "dim": 1 - dim} if columns == 1 else {"block_size": columns, "dim": dim}
    share = 1.0 if zeros == size else (zeros - 0.5) / (size - 1)
    return cto.OpMagnitudePrunerConfig(target_sparsity=share, **settings)
'''

PRUNE_BY_MASK = '''
def config_of(layer, operator):
    """Store zeros as such; the model was converted from a masked one and has them already."""
    return cto.OpThresholdPrunerConfig(threshold=0.0, minimum_sparsity_percentile=0.0, weight_threshold=1)
'''

PRUNE = '''
def prune_model(mlmodel):
    """The model with its planned weights stored as a bit mask and the values that are not zero."""
    weights = weights_of(mlmodel)
    names = names_of(weights)
    configs = {
        name: config_of(LAYERS[parameter], weights[name].child_ops[0].op_type) for parameter, name in names.items()
    }
    pruned = cto.prune_weights(mlmodel, cto.OptimizationConfig(op_name_configs=configs))
    for parameter, zeros in zeros_of(pruned, names).items():
        if zeros < LAYERS[parameter]["zeros"]:
            raise ValueError(
                f"{parameter!r} ({names[parameter]}) has {zeros} zeros and {LAYERS[parameter]['zeros']} were planned; "
                "it was not masked before conversion, or coremltools does not take the pattern for so few channels"
            )
    return pruned


def zeros_of(pruned, names):
    """How many zeros each planned weight has in a pruned model."""
    weights = cto.get_weights_metadata(cto.decompress_weights(pruned), weight_threshold=1)
    stored = {name.removesuffix("_sparsified"): about.val for name, about in weights.items() if "_sparsified" in name}
    return {parameter: int((stored[name] == 0).sum()) if name in stored else 0 for parameter, name in names.items()}
'''

MAIN = """
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an .mlpackage")
    parser.add_argument("-o", "--output", required=True, help="where the pruned .mlpackage goes")
    given = parser.parse_args()
    mlmodel = ct.models.MLModel(given.model, skip_model_load=True)
    pruned = prune_model(mlmodel)
    for parameter, zeros in zeros_of(pruned, names_of(weights_of(mlmodel))).items():
        print(f"{parameter}: {zeros} zeros, {LAYERS[parameter]['zeros']} planned")
    pruned.save(given.output)
"""

TRAPS = (
    "Names are those after conversion. A name that the model does not have is ignored by Core ML without an error, so "
    "all are looked up with cto.get_weights_metadata first, and one that is not found is an error: put it into NAMES.",
    "Where a BatchNorm was folded in, or a matrix transposed, the converter makes names up, such as const_0_to_fp16.",
    "What coremltools skips, it skips with a warning only; the zeros are counted afterwards, and too few are an error.",
    "cto.get_weights_metadata of 9.0 fails on models with an operator of a list of inputs, such as those of a "
    "GRU: 'list' object has no attribute 'val'.",
)
RATIO_TRAPS = (
    "float16 weights have many equal magnitudes, and at the threshold all of them go: somewhat more than planned.",
    "N:M and blocks need at least twice as many channels as a group has.",
)
MASK_TRAPS = (
    "The script puts no zeros in: convert the model that was masked in its own framework (such as by --to torch --mode "
    "mask). Weights that are 0 in float16 only are stored as zeros too.",
)


@dataclass(frozen=True)
class CoreMl:
    """coremltools, on a converted mlprogram."""

    name: str = "coreml"
    title: str = "Sparsity for a Core ML model, by coremltools"
    modes: tuple[Mode, ...] = ("ratio", "mask")
    ran_with: str | None = "coremltools 9.0, on Linux, where nothing can be predicted"

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
                "Use: from prune_coreml import prune_model; pruned = prune_model(mlmodel).",
                "Or: python prune_coreml.py model.mlpackage -o pruned.mlpackage",
            ),
            traps=(*TRAPS, *(MASK_TRAPS if masked else RATIO_TRAPS)),
            values="This script cannot load them: load them into the model, then mask it, then convert it. In PyTorch "
            + BY_TORCH.format(file=export.weights_file),
        )
        rows = {"LAYERS": table(layer_rows(layers))}
        doc = "Store the zeros of a Core ML model as planned."
        if masked:
            constants = {"MASKS": files_beside(export)["MASKS"], **rows}
            parts: tuple[str, ...] = (NAMES, READ_MASKS, FIT_BY_ZEROS, PRUNE_BY_MASK, PRUNE, MAIN)
            return {"prune_coreml.py": script(head, doc, IMPORTS, constants, *parts)}
        parts = (NAMES, FIT_BY_SHAPE, PRUNE_BY_RATIO, PRUNE, MAIN)
        return {"prune_coreml.py": script(head, doc, RATIO_IMPORTS, rows, *parts)}


def no_reason(layer: Layer) -> None:
    """Zeros may be anywhere."""


def refuses_ratio(layer: Layer) -> str | None:
    """Any element, N:M, or blocks along one axis."""
    pattern = layer.pattern
    if pattern is None or ":" in pattern:
        return None
    if pattern.startswith("block") and 1 in map(int, pattern.removeprefix("block").split("x")):
        return None
    return f"coremltools has no pattern '{pattern}'; use --mode mask"


EXPORTER = CoreMl()
